"""A modification record is a fold over signed inputs: the one function that makes the first, the one that makes each next. Pure.

Whoever writes a record and whoever checks one do the same: read the inputs, derive, and compare. Nothing else in this tool says
what a record has to hold. The id of a record, its time and its signer are not derived: they are held against its registration and
the log.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from peft_registry.registry.compliance.ancestors import Ancestor, trained_runs
from peft_registry.registry.compliance.answers import SignedAnswers, answers_as_reason, value_of_answer
from peft_registry.registry.compliance.assessment import as_answered, with_assessment
from peft_registry.registry.compliance.facts import declared_values
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.importing import ImportedChange, build_import_modification
from peft_registry.registry.compliance.known_elsewhere import known_of_base, known_of_organisation
from peft_registry.registry.compliance.making import Production
from peft_registry.registry.compliance.merging import build_merge_modification
from peft_registry.registry.compliance.modification import ChangeFigures, build_modification_record
from peft_registry.registry.compliance.recorded_evaluation import EvaluationSignature, with_later_evaluations
from peft_registry.registry.compliance.recorded_result import BaseInput, Scan, Signing
from peft_registry.registry.compliance.superseding import in_third_form, may_replace, superseding
from peft_registry.schemas.base_model import BaseRecord, DeclaredFacts
from peft_registry.schemas.codes import Said, code
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import ModificationRecord, RecordInput, RecordSections
from peft_registry.schemas.observations import Observations, ObservedAncestor, ObservedBase, ObservedSigning
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Timestamp, Value

RELATIVE_BOUND = 1e-9
"""By how much of itself a recorded number may differ from the derived one: the last bit of a logarithm differs between machines."""

_OF_BASE = ("base", "upstream", "compute", "use", "product")
_OF_ANCESTORS = ("base", "upstream", "compute", "data", "data_gaps", "use", "evaluation", "gpai", "product")
_LONGEST_QUOTE = 80  # characters of a value


@dataclass(frozen=True, slots=True)
class FirstInputs:
    """What the first record of a version follows from.

    Attributes:
        manifest: of the version.
        production: the run, the merge or the import that made it.
        observations: what this tool saw then.
        bases: the models that went in, as `observations` names them, each with its signed record.
        ancestors: likewise the results that it was made from, at any distance.
        evaluation: the one that is signed with the record, if any.
        absent: what a reader does not have, a line each; the sections that follow from it cannot be derived.
    """

    manifest: Manifest
    production: Production
    observations: Observations
    bases: tuple[BaseInput, ...]
    ancestors: tuple[Ancestor, ...] = ()
    evaluation: EvaluationRecord | None = None
    absent_bases: tuple[str, ...] = ()
    absent_ancestors: tuple[str, ...] = ()

    @property
    def not_derived(self) -> tuple[str, ...]:
        """The sections that follow from what is not here."""
        of_base = _OF_BASE if self.absent_bases else ()
        of_ancestors = _OF_ANCESTORS if self.absent_ancestors else ()
        return tuple(dict.fromkeys((*of_base, *of_ancestors)))


def derive_first(inputs: FirstInputs, *, refuses_facts: bool = True) -> ModificationRecord:
    """The first record of a version.

    Args:
        inputs: that it follows from.
        refuses_facts: what a facts file states and cannot is refused, as whoever makes a version is told. Whoever checks a record
            leaves it out: a record that has it then follows from nothing.

    Raises:
        KnownError: as `with_facts`, where the facts file states what it cannot.
        ValidationError: what was observed is not of the kind of making that is signed with it.
    """
    seen = inputs.observations
    common: dict[str, Any] = {  # the arguments that the three kinds of making share
        "record_id": seen.record_id,
        "now": seen.made_at,
        "name": seen.name,
        "manifest": inputs.manifest,
        "tool_version": seen.tool_version,
        "signing": _signing(seen),
        "scans": tuple(Scan.model_validate(scan) for scan in seen.scans),
        "facts": seen.facts,
        "refuses_facts": refuses_facts,
    }
    production = inputs.production
    if isinstance(production, ImportRecord):
        change = ImportedChange.model_validate(seen.change)
        return build_import_modification(imported_as=production, base=inputs.bases[0], change=change, **common)
    common |= {
        "ancestors": tuple(map(_as_answered, inputs.ancestors)),
        "profile": seen.profile or OrganisationProfile(),
        "evaluation": inputs.evaluation,
    }
    if isinstance(production, MergeRecord):
        trained = trained_runs(inputs.ancestors)
        return build_merge_modification(merge=production, base=inputs.bases[0], trained=trained, **common)
    figures = None if seen.change is None else ChangeFigures.model_validate(seen.change)
    return build_modification_record(
        run=production, bases=inputs.bases, change=figures, optimiser=seen.optimiser, **common
    )


def _as_answered(ancestor: Ancestor) -> Ancestor:
    """What is only proposed in the record of an ancestor is inherited from nobody."""
    return ancestor if ancestor.record is None else ancestor.revised(record=as_answered(ancestor.record))


def _signing(seen: Observations) -> Signing | None:
    return None if seen.signing is None else Signing.model_validate(seen.signing.to_json())


@dataclass(frozen=True, slots=True)
class LaterBase:
    """What was said of a base of a record after that was made: the statement, its facts, and the role of the key that signed it."""

    position: int  # of the base in the record
    statement: Digest
    facts: DeclaredFacts
    role: str | None


@dataclass(frozen=True, slots=True)
class NextInputs:
    """What a record follows from that stands in place of another.

    Attributes:
        before: the record that it supersedes.
        name: that the version is registered under.
        manifest: its manifest digest.
        answers: signed answers that it takes up, in the order of the log.
        evaluations: records of later evaluations, likewise, each with its statement.
        signatures: of every evaluation of the version, likewise; read only where there are later ones.
        bases: what was said of its bases since.
        observations: of the home: its profile, and facts that somebody declared on a repeated run; None where neither counts.
    """

    before: RecordSections
    name: str
    manifest: Digest
    answers: tuple[SignedAnswers, ...] = ()
    evaluations: tuple[tuple[Digest, EvaluationRecord], ...] = ()
    signatures: tuple[EvaluationSignature, ...] = ()
    bases: tuple[LaterBase, ...] = ()
    observations: Observations | None = None


def derive_next(inputs: NextInputs, *, record_id: str, now: Timestamp) -> ModificationRecord:
    """The record that supersedes another.

    What the one before it leaves open is filled from the home's profile and from what was said of its bases. A declaration may
    replace an open value or the same person's earlier declaration. An answer replaces whatever its role may answer.
    """
    before = inputs.before
    values: dict[str, Value] = {}
    seen = inputs.observations
    if seen is not None and seen.profile is not None:
        values |= known_of_organisation(before, seen.profile)
    for base in inputs.bases:
        values |= known_of_base(before, base.position, base.facts, base.role)
    if seen is not None and seen.facts is not None:
        values |= facts_taken_up(before, seen.facts, at=seen.made_at)
    for signed in inputs.answers:
        values |= {answer.path: value_of_answer(answer, signed) for answer in signed.predicate.answers}
    sections = {}
    if inputs.evaluations:
        later = [record for _, record in inputs.evaluations]
        sections["evaluation"] = with_later_evaluations(before.evaluation, later, inputs.signatures)
    return superseding(
        before,
        name=inputs.name,
        manifest=inputs.manifest,
        record_id=record_id,
        now=now,
        reason=_reason(inputs),
        answers=tuple(signed.statement for signed in inputs.answers),
        evaluations=tuple(statement for statement, _ in inputs.evaluations),
        values=values,
        **sections,
    )


def facts_taken_up(before: RecordSections, facts: dict[str, Any], *, at: Timestamp) -> dict[str, Value]:
    """What a facts file declares that a record may take up, by path."""
    stated = {leaf.path: leaf.value for leaf in leaves(in_third_form(before))}
    return {
        path: value
        for path, value in declared_values(before, facts, at=at).items()
        if value.says_otherwise(stated[path]) and may_replace(value, stated[path])
    }


def facts_not_taken_up(recorded: RecordSections, facts: dict[str, Any], *, at: Timestamp) -> tuple[str, ...]:
    """Paths of what a facts file declares and a record says otherwise, and keeps."""
    stated = {leaf.path: leaf.value for leaf in leaves(in_third_form(recorded))}
    declared = declared_values(recorded, facts, at=at, with_standing=True)
    return tuple(path for path, value in declared.items() if value.settled and value.says_otherwise(stated[path]))


def _reason(inputs: NextInputs) -> Said:
    """Why a record stands in place of another."""
    if inputs.answers:
        return answers_as_reason(inputs.answers)
    if inputs.evaluations:
        return code("evaluated_later")
    if inputs.observations is not None and inputs.observations.facts is not None:
        return code("facts_on_repeated_run")
    return code("known_since")


# --- what is observed, and the inputs that a statement names ---


def observed_base(base: BaseInput) -> ObservedBase:
    """A base as `Observations` keeps it.

    Raises:
        ValueError: no statement holds its record, so that nothing could be derived from it again.
    """
    if base.statement is None:
        raise ValueError(f"{base.name}: no signed statement holds its record")
    return ObservedBase(
        name=base.name,
        statement=base.statement,
        manifest=base.manifest,
        number=base.number,
        role=base.role,
        files=base.files,
        added_at=base.added_at,
        parent_records=base.parent_records,
    )


def base_input(seen: ObservedBase, record: BaseRecord) -> BaseInput:
    """The inverse of `observed_base`, with the record that its statement holds."""
    return BaseInput(
        name=seen.name,
        record=record,
        number=seen.number,
        manifest=seen.manifest,
        role=seen.role,
        files=seen.files,
        added_at=seen.added_at,
        parent_records=seen.parent_records,
        statement=seen.statement,
    )


def observed_ancestor(ancestor: Ancestor) -> ObservedAncestor:
    """An ancestor as `Observations` keeps it: in place of its records the statements that hold them."""
    return ObservedAncestor(
        manifest=ancestor.manifest,
        label=ancestor.label,
        is_parent=ancestor.is_parent,
        has_trained=ancestor.has_trained,
        made=ancestor.made,
        record=ancestor.statement,
        earlier_records=ancestor.earlier_statements,
        runs=tuple(sorted(ancestor.runs)),
    )


def ancestor_of(seen: ObservedAncestor, run: RunRecord | None, record: RecordSections | None) -> Ancestor:
    """The inverse of `observed_ancestor`, with what its statements hold."""
    return Ancestor(
        label=seen.label,
        manifest=seen.manifest,
        is_parent=seen.is_parent,
        has_trained=seen.has_trained,
        run=run,
        made=seen.made,
        record=record,
        statement=seen.record,
        earlier_statements=seen.earlier_records,
        runs=frozenset(seen.runs),
    )


def observe(
    *,
    nonce: str,
    record_id: str,
    now: Timestamp,
    name: str,
    tool_version: str,
    bases: Sequence[BaseInput],
    ancestors: Sequence[Ancestor] = (),
    signing: Signing | None = None,
    profile: OrganisationProfile | None = None,
    facts: dict[str, Any] | None = None,
    change: ChangeFigures | ImportedChange | None = None,
    optimiser: str | None = None,
    scans: Sequence[Scan] = (),
) -> Observations:
    """What this tool saw when a version was made."""
    return Observations(
        nonce=nonce,
        record_id=record_id,
        made_at=now,
        name=name,
        tool_version=tool_version,
        signing=None if signing is None else ObservedSigning.from_json(signing.model_dump(mode="json")),
        profile=profile,
        facts=facts,
        change=None if change is None else change.model_dump(mode="json"),
        optimiser=optimiser,
        scans=tuple(scan.model_dump(mode="json") for scan in scans),
        bases=tuple(map(observed_base, bases)),
        ancestors=tuple(map(observed_ancestor, ancestors)),
    )


def inputs_observed(seen: Observations) -> Iterator[RecordInput]:
    """The statements about others that a record follows from, as its observations name them."""
    for base in seen.bases:
        yield RecordInput(kind="base", digest=base.statement, about=base.manifest or base.statement)
    for ancestor in seen.ancestors:
        if ancestor.made is not None:
            yield RecordInput(kind="provenance", digest=ancestor.made, about=ancestor.manifest)
        if ancestor.record is not None:
            yield RecordInput(kind="modification", digest=ancestor.record, about=ancestor.manifest)


def readable_sections(record: Any) -> dict[str, Any]:  # any JSON value
    """Of a record of a later edition the sections that this release can read; the others are left out.

    Raises:
        ValidationError: it says neither which record it is nor when it was made.
    """
    document = record if isinstance(record, dict) else {}
    readable = {name: document[name] for name in ("record_id", "record_created_at") if name in document}
    readable["schema_version"] = "3"
    for name in document.keys() - readable.keys():
        try:
            ModificationRecord.from_json(readable | {name: document[name]})
        except ValidationError:
            continue
        readable[name] = document[name]
    return readable


# --- comparing ---

_MOST_NAMED = 8  # differences; a record of which more differ is of something else


@dataclass(frozen=True, slots=True)
class RecordDifference:
    """A place at which a record says something else than its inputs give."""

    path: str
    recorded: Any  # any JSON value
    derived: Any  # likewise

    @property
    def sentence(self) -> str:
        return f"{self.path}: its inputs give {_quoted(self.derived)}, and the record says {_quoted(self.recorded)}"


def as_derivable(record: ModificationRecord, derived: ModificationRecord, left: Sequence[str]) -> ModificationRecord:
    """What is derived, with the recorded sections in the place of those that cannot be; what follows from them follows anew."""
    if not left:
        return derived
    return with_assessment(derived.revised(**{name: getattr(record, name) for name in left}))


def differences(record: ModificationRecord, derived: ModificationRecord) -> Iterator[RecordDifference]:
    """Every place in which two records differ by more than the bound; sections that neither knows are compared as they stand."""
    if record == derived:
        return
    recorded_json = record.to_json()
    derived_json = derived.to_json()
    for name in dict.fromkeys((*derived_json, *recorded_json)):
        yield from _differ(name, recorded_json.get(name), derived_json.get(name))


def difference_lines(record: ModificationRecord, derived: ModificationRecord) -> Iterator[str]:
    """What a record says otherwise than is derived, a line each: the first of them, and how many more."""
    found = [difference.sentence for difference in differences(record, derived)]
    found.sort(key=lambda line: not line.startswith("compute."))  # what the law counts first
    yield from found[:_MOST_NAMED]
    if len(found) > _MOST_NAMED:
        yield f"and {len(found) - _MOST_NAMED} other values"


def _differ(path: str, recorded: Any, derived: Any) -> Iterator[RecordDifference]:  # any JSON values
    if _equal(recorded, derived):
        return
    if _is_value(recorded) and _is_value(derived):
        own, other = recorded["value"], derived["value"]
        if type(own) is type(other) and isinstance(own, list | dict) and not _equal(own, other):
            # of a table the place in it, because its beginning would say nothing
            yield from _differ(path, own, other)
        else:
            yield RecordDifference(path, _said(recorded, derived), _said(derived, recorded))
    elif isinstance(recorded, dict) and isinstance(derived, dict):
        for key in dict.fromkeys((*derived, *recorded)):
            yield from _differ(f"{path}.{key}", recorded.get(key), derived.get(key))
    elif isinstance(recorded, list) and isinstance(derived, list) and len(recorded) == len(derived):
        for place, (one, other) in enumerate(zip(recorded, derived, strict=True)):
            yield from _differ(f"{path}[{place}]", one, other)
    elif isinstance(recorded, list) and isinstance(derived, list):
        yield RecordDifference(path, _counted(recorded), _counted(derived))
    else:
        yield RecordDifference(path, recorded, derived)


def _counted(entries: Sequence[Any]) -> str:  # JSON values
    return "1 entry" if len(entries) == 1 else f"{len(entries)} entries"


def _is_value(node: Any) -> bool:  # any JSON value
    return isinstance(node, dict) and "source" in node and "value" in node


def _said(value: Mapping[str, Any], other: Mapping[str, Any]) -> Any:
    """What a value envelope says, for a reader: its value, and what else of it is not in the other."""
    if not _equal(value.get("value"), other.get("value")):
        return value.get("value")  # None of an open one
    return {
        key: value.get(key) for key in dict.fromkeys((*value, *other)) if not _equal(value.get(key), other.get(key))
    }


def _equal(recorded: Any, derived: Any) -> bool:  # any JSON values
    if isinstance(recorded, bool) or isinstance(derived, bool):
        return recorded is derived
    if isinstance(recorded, int | float) and isinstance(derived, int | float):
        return recorded == derived or math.isclose(recorded, derived, rel_tol=RELATIVE_BOUND)
    if isinstance(recorded, dict) and isinstance(derived, dict):
        return recorded.keys() == derived.keys() and all(_equal(recorded[key], derived[key]) for key in recorded)
    if isinstance(recorded, list) and isinstance(derived, list):
        return len(recorded) == len(derived) and all(map(_equal, recorded, derived))
    return bool(recorded == derived)


def _quoted(value: Any) -> str:  # any JSON value
    if value is None:
        return "nothing"
    text = str(value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"
