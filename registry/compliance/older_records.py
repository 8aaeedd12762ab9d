"""Records from before editions, held as data: against the manifest, how the version was made, and what was scored. Pure.

They were written by derivations that this release does not have, so nothing in them is derived again and no sentence is compared.
What they repeat of signed figures is held to those: files, base, data, operations, and the figures of the evaluation beside them.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.compliance.making import Production
from peft_registry.registry.compliance.merging import evaluation_of_merge
from peft_registry.registry.compliance.recorded_evaluation import evaluation_section
from peft_registry.registry.compliance.recorded_result import file_digests
from peft_registry.registry.compliance.recorded_run import counts_earlier_runs
from peft_registry.schemas.codes import code_in, says
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.run import RunRecord

_FIGURES = ("runs", "metrics", "delta", "bias")

ManifestFinder = Callable[[Digest], Manifest | None]
"""The manifest with a digest; None where it is not at hand."""


@dataclass(frozen=True, slots=True)
class OlderClaims:
    """What a record says of its manifest; all that is kept of it until the manifest is at hand."""

    is_first_form: bool
    data: frozenset[str]
    bases: frozenset[str]
    files: Digest | None

    @classmethod
    def of(cls, record: RecordSections) -> "OlderClaims":
        listed = record.change.artifact_digests
        return cls(
            is_first_form=not isinstance(record, ModificationRecord),
            data=frozenset(str(data.digest.value) for data in record.data if data.digest.known),
            bases=frozenset(str(base.tensor_digest.value) for base in record.base if base.role.value == "base"),
            files=_listing(listed.value) if listed.known else None,
        )


def claimed_otherwise(claims: OlderClaims, manifest: Manifest, find: ManifestFinder) -> Iterator[str]:
    """What a record says of files, base and data and its manifest does not, a line each.

    Args:
        claims: of the record.
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


def figures_otherwise(
    record: RecordSections, production: Production | None, evaluation: EvaluationRecord | None
) -> Iterator[str]:
    """Figures of a first record that are not those of the run or the evaluation that are signed with it, a line each."""
    yield from _computed_otherwise(record, production)
    if production is None:
        return
    if isinstance(production, MergeRecord):
        built = evaluation_of_merge(production, evaluation, None)
    else:
        built = evaluation_section(evaluation, production if isinstance(production, RunRecord) else None)
    for name in _FIGURES:
        recorded = getattr(record.evaluation, name)
        expected = getattr(built, name)
        if recorded.known != expected.known or not agrees(recorded.value, expected.value):
            yield f"evaluation.{name}: it is not what the evaluation says that is signed beside it"


def agrees(recorded: Any, built: Any) -> bool:  # any JSON values
    """Whether two ways of writing the same figures have nothing in which they differ.

    Either may have more keys. Texts are not compared: who wrote the figures may have worded them otherwise.
    """
    if isinstance(recorded, dict) and isinstance(built, dict):
        return all(agrees(recorded[key], built[key]) for key in recorded.keys() & built.keys() if key not in _WORDED)
    said = code_in(built)
    if said is not None and isinstance(recorded, str):
        return says(recorded, said.code)  # what a figure is of has a code now, and had a text
    if isinstance(recorded, list) and isinstance(built, list):
        return len(recorded) == len(built) and all(map(agrees, recorded, built))
    return bool(recorded == built)


_WORDED = frozenset({"conclusion_reason", "null_reason", "interval", "trained_on", "plan"})


def _computed_otherwise(record: RecordSections, production: Production | None) -> Iterator[str]:
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
