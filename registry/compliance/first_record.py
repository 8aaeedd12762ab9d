"""Whether the record that a version is registered with is of that version: of its manifest, and of what was signed beside it. Pure.

The manifest says which files, base and data the version has; the run record says what was computed, and the evaluation what was
scored. A record says all of this again for people, and whoever holds the home's key could write there what they like.

A record of the first form, or of other rules than those of this tool, may write figures in another way: its figures are held to
those that were signed as far as both ways have them, and what it derives to nothing.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.base_facts import facts_by_path
from peft_registry.registry.compliance.carried_values import agrees, is_by_these_rules
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.inheritance import with_limits_of_data
from peft_registry.registry.compliance.merging import evaluation_of_merge
from peft_registry.registry.compliance.recorded_evaluation import (
    WRITTEN_BY_EVALUATIONS,
    EvaluationSigner,
    evaluation_section,
)
from peft_registry.registry.compliance.recorded_result import BaseInput, base_section, file_digests, upstream_terms
from peft_registry.registry.compliance.recorded_run import counts_earlier_runs
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import Evaluation, ModificationRecord, RecordSections
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Value

_FIGURES = frozenset(f"evaluation.{name}" for name in ("runs", "metrics", "delta", "bias"))
_SIGNED = frozenset(("evaluation.signed_by", "evaluation.signed_at"))


@dataclass(frozen=True, slots=True)
class SignedBeside:
    """What is signed with a version's record: how it was made, its evaluation, and whose key signed that; None for nothing."""

    production: RunRecord | MergeRecord | ImportRecord | None = None
    evaluation: EvaluationRecord | None = None
    key_id: str | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class RecordClaims:
    """What a record says of its manifest: all that is kept of it until the manifest is at hand."""

    is_first_form: bool
    data: frozenset[str]
    bases: frozenset[str]
    files: Digest | None

    @classmethod
    def of(cls, record: RecordSections) -> "RecordClaims":
        listed = record.change.artifact_digests
        return cls(
            is_first_form=not isinstance(record, ModificationRecord),
            data=frozenset(str(data.digest.value) for data in record.data if data.digest.known),
            bases=frozenset(str(base.tensor_digest.value) for base in record.base if base.role.value == "base"),
            files=_listing(listed.value) if listed.known else None,
        )


ManifestFinder = Callable[[Digest], Manifest | None]
"""The manifest with a digest; None where it is not at hand."""


def check_manifest(claims: RecordClaims, manifest: Manifest, find: ManifestFinder) -> Iterator[str]:
    """What a record says of its files, base and data and its manifest does not, a line each.

    Args:
        claims: what the record says.
        manifest: of the version.
        find: finds the manifests of what the version was made from, at any distance.
    """
    named = {str(data.sha256) for data in manifest.data}
    for digest in sorted(named - claims.data):
        yield f"data: {digest} is in the manifest, and the record leaves it out"
    inherited, is_complete = _data_of_ancestors(manifest, find)
    if not claims.is_first_form:  # that form took nothing over from what a version was made from
        for digest in sorted(inherited - named - claims.data):
            yield f"data: {digest} went into what it was made from, and the record leaves it out"
    if is_complete:
        for digest in sorted(claims.data - named - inherited):
            yield f"data: {digest} is not in the manifest" + (", nor in one of those before" if inherited else "")
    if manifest.base is not None and claims.bases != {str(manifest.base.identity.weights)}:
        recorded = ", ".join(sorted(claims.bases)) or "none"
        yield f"base: the manifest names {manifest.base.identity.weights}, and the record {recorded}"
    if claims.files is None:
        if not claims.is_first_form:
            yield "change.artifact_digests: the record does not say which files the manifest lists"
    elif claims.files != _listing(file_digests(manifest.files)):
        yield "change.artifact_digests: these are not the files of the manifest"


def check_base(record: RecordSections, manifest: Manifest, stated: Sequence[BaseRecord]) -> Iterator[str]:
    """What a record says of its base without naming a statement, and is recorded of that base otherwise, a line each.

    A value that names a statement is held against that (`inherited_values.py`). What nobody recorded of the base may be stated.

    Args:
        record: of a version.
        manifest: of the version.
        stated: every record of the base that was signed.
    """
    if manifest.base is None or not stated:
        return
    inputs = [BaseInput(name=base.name or "", record=base) for base in stated]  # older ones have no name
    sections = [base_section(base) for base in inputs]
    terms = [upstream_terms(base) for base in inputs]
    for position, used in enumerate(record.base):
        if used.role.value != "base" or used.tensor_digest.value != str(manifest.base.identity.weights):
            continue
        for name in (*_facts_of_a_base(), "params_total", "revision"):
            recorded = getattr(used, name)
            if _contradicts(recorded, [getattr(section, name) for section in sections]):
                yield f"base[{position}].{name}: it names no statement, and the base is recorded otherwise"
    for position, term in enumerate(record.upstream if isinstance(record, ModificationRecord) else ()):
        if len(record.base) == 1 and _contradicts(term.eu_exclusion, [other.eu_exclusion for other in terms]):
            yield f"upstream[{position}].eu_exclusion: it names no statement, and the base is recorded otherwise"


def _facts_of_a_base() -> tuple[str, ...]:
    """The fields of a base in a record that the record of the base states."""
    return tuple(path.removeprefix("base[].") for path in facts_by_path() if path.startswith("base[]."))


def _contradicts(recorded: Value, stated: Sequence[Value]) -> bool:
    """Whether a value that rests on nobody's statement is another than each that is known."""
    known = [value for value in stated if value.known]
    return recorded.known and not recorded.evidence and bool(known) and _says(recorded) not in map(_says, known)


def _says(value: Value) -> tuple[object, ...]:
    return value.value, value.source, value.asserted_by


def check_beside(record: RecordSections, beside: SignedBeside) -> Iterator[str]:
    """What a first record says and what is signed beside it does not give, a line each."""
    yield from _computed_otherwise(record, beside.production)
    yield from _evaluated_otherwise(record, beside)
    if isinstance(record, ModificationRecord) and is_by_these_rules(record):
        assessed = with_assessment(record)
        if assessed != record:
            for leaf, derived in zip(leaves(record), leaves(assessed), strict=True):
                if leaf.value != derived.value:
                    yield f"{leaf.path}: it does not follow from the rest of the record"


def _data_of_ancestors(manifest: Manifest, find: ManifestFinder) -> tuple[set[str], bool]:
    """The digests of the data that went into what a version was made from, and whether all of its manifests were at hand."""
    data: set[str] = set()
    is_complete = True
    seen: set[Digest] = set()
    waiting = set(manifest.made_from)
    while waiting:
        digest = waiting.pop()
        seen.add(digest)
        ancestor = find(digest)
        if ancestor is None:
            is_complete = False
            continue
        data |= {str(dataset.sha256) for dataset in ancestor.data}
        waiting |= ancestor.made_from - seen
    return data, is_complete


def _listing(entries: list[dict[str, object]]) -> Digest:
    return Digest.of(json.dumps(entries, sort_keys=True).encode())


def _computed_otherwise(
    record: RecordSections, production: RunRecord | MergeRecord | ImportRecord | None
) -> Iterator[str]:
    compute = record.compute
    if isinstance(production, MergeRecord):
        return  # what went into its parts is recorded of them
    if not isinstance(production, RunRecord):
        for name in ("conservative_flop", "param_update_flop"):
            figure = getattr(compute, name)
            if figure.known and (production is None or figure.source == "measured"):
                yield f"compute.{name}: no record of a run is signed beside it"
        return
    figures = {
        "conservative_flop": (compute.conservative_flop, production.compute.conservative_flop),
        "param_update_flop": (compute.param_update_flop, production.compute.param_update_flop),
    }
    steps = {"conservative_flop": "step_flop", "param_update_flop": "step_param_update_flop"}
    for name, (recorded, measured) in figures.items():
        figure = compute.inputs.value.get(steps[name]) if counts_earlier_runs(compute) else recorded.value
        if figure != measured.value:
            yield f"compute.{name}: the record of the run has {measured.value}, and this record {figure}"


def _evaluated_otherwise(record: RecordSections, beside: SignedBeside) -> Iterator[str]:
    by_these_rules = isinstance(record, ModificationRecord) and is_by_these_rules(record)
    # what nobody says how it was made may leave open what was scored, and state no more than was
    is_exact = by_these_rules and beside.production is not None
    built = _section(record, beside)
    # only what was made from others has limits that come from their data
    limited = with_limits_of_data(built, record.data).limitations
    for path in sorted(WRITTEN_BY_EVALUATIONS):
        name = path.partition(".")[2]
        recorded, expected = getattr(record.evaluation, name), getattr(built, name)
        if name == "limitations" and recorded == limited:
            continue
        if beside.production is None and not recorded.known:
            continue
        if recorded != expected and (is_exact or not _is_written_otherwise(path, recorded, expected)):
            yield f"{path}: it is not what the evaluation says that is signed beside it"


def _section(record: RecordSections, beside: SignedBeside) -> Evaluation:
    signer = None
    recorded = record.evaluation.signed_by
    if beside.evaluation is not None and beside.key_id is not None:
        row = recorded.value[0] if isinstance(recorded.value, list) and recorded.value else {}
        person = beside.person or (row.get("person") if isinstance(row, dict) else None)
        signer = EvaluationSigner(key_id=beside.key_id, person=person, at=record.record_created_at)
    if isinstance(beside.production, MergeRecord):
        return evaluation_of_merge(beside.production, beside.evaluation, signer)
    run = beside.production if isinstance(beside.production, RunRecord) else None
    return evaluation_section(beside.evaluation, run, signer)


def _is_written_otherwise(path: str, recorded: Value, expected: Value) -> bool:
    """Whether a value of other rules says the same: figures that agree; who signed, and under which plan, some did not say."""
    if path in _FIGURES:
        return recorded.known == expected.known and agrees(recorded.value, expected.value)
    if path in _SIGNED:
        return not recorded.known or agrees(recorded.value, expected.value)
    return True
