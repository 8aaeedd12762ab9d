"""Whether a record that supersedes another carries on what that one says. Pure.

A record stands in place of the one before it, so what it leaves out or says otherwise is gone for whoever reads the version. It is
built anew here as the tool builds it, and whatever is another in the record, nobody and nothing has said:

    answers         as the statements that it names hold them; `check_answers` tells
    evaluations     the section that the logged evaluations which it names give
    declared        where nobody has signed it: restated by whoever declared it, or of what was open
    derived         as it follows from the rest by the rules that the record names

A record that names other rules than those of this tool, or none because it was made before they were named, may derive something
else: its derived values are then held to nothing, and figures of evaluations as far as both ways of writing them have them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from peft_registry.registry.compliance.assessment import WRITTEN_BY_ASSESSMENT, with_assessment
from peft_registry.registry.compliance.base_facts import facts_by_path
from peft_registry.registry.compliance.base_terms import EU_EXCLUSION
from peft_registry.registry.compliance.fields import Leaf, field_rules, leaves
from peft_registry.registry.compliance.known_elsewhere import is_replaced
from peft_registry.registry.compliance.recorded_evaluation import (
    WRITTEN_BY_EVALUATIONS,
    EvaluationSignature,
    with_later_evaluations,
)
from peft_registry.registry.compliance.superseding import in_second_form, may_replace, with_values
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import Evaluation, ModificationRecord, RecordSections
from peft_registry.schemas.values import Timestamp, Value, measured

_ARRAYS = ("base", "data", "upstream")
_OF_ITS_REGISTRATION = ("identity.result_name", "identity.result_manifest")


@dataclass(frozen=True)
class LoggedEvaluation:
    """An evaluation that was logged about an artifact, whose key signed it and when; None for what is not known here.

    `read` gives its record, anew each time: an artifact may have many, and a later record names few of them.
    """

    statement: Digest
    read: Callable[[], EvaluationRecord]
    key_id: str | None
    person: str | None
    logged_at: Timestamp | None

    @cached_property
    def digest(self) -> Digest:
        """That of the record's canonical bytes."""
        return self.read().canonical_digest()


@dataclass(frozen=True, slots=True)
class CarriedCheck:
    """What in a record is neither carried on nor said by what it names, a line each, and the evaluations that would tell."""

    wrong: tuple[str, ...]
    missing: tuple[Digest, ...]


def check_carried(
    record: RecordSections, before: RecordSections | None, evaluations: Mapping[Digest, LoggedEvaluation]
) -> CarriedCheck:
    """Hold a record against the one that it supersedes.

    Args:
        record: of either form.
        before: the record that it supersedes; None where it supersedes none or that is not here.
        evaluations: of the same artifact that were logged before it, by their statements, in the order of the log.
    """
    if before is None or not isinstance(record, ModificationRecord):
        return CarriedCheck((), ())
    missing = tuple(digest for digest in record.correction.evaluations if digest not in evaluations)
    wrong = [*_against_the_order(record, before, evaluations), *_items_gone(record, before)]
    if not wrong and not missing:
        wrong = list(_said_by_nobody(record, before, evaluations))
    return CarriedCheck(tuple(wrong), missing)


def is_by_these_rules(record: ModificationRecord) -> bool:
    """Whether a record names the rules of this tool: what it derives can be told exactly."""
    return record.rule_set == field_rules().rule_set


def of_other_rules(record: ModificationRecord) -> tuple[str, ...]:
    """Why a record that this tool is asked to sign is not by its rules; nothing where it is: it derives by no others."""
    rules = field_rules().rule_set
    return (
        () if is_by_these_rules(record) else (f"rule_set: it names {record.rule_set}, and this tool writes by {rules}",)
    )


def agrees(recorded: Any, built: Any) -> bool:  # any JSON values
    """Whether two ways of writing the same figures have nothing in which they differ; either may have more keys."""
    if isinstance(recorded, dict) and isinstance(built, dict):
        return all(agrees(recorded[key], built[key]) for key in recorded.keys() & built.keys())
    if isinstance(recorded, list) and isinstance(built, list):
        return len(recorded) == len(built) and all(map(agrees, recorded, built))
    return bool(recorded == built)


def _against_the_order(
    record: ModificationRecord, before: RecordSections, evaluations: Mapping[Digest, LoggedEvaluation]
) -> Iterator[str]:
    """Times and rules that go back, and evaluations that are older than what the record before already has."""
    if record.record_created_at < before.record_created_at:
        yield (
            f"record_created_at: {record.record_created_at} is before {before.record_created_at}, when the record that it "
            "supersedes was made"
        )
    if record.rule_set is None and isinstance(before, ModificationRecord) and before.rule_set is not None:
        yield "rule_set: it names no rules, and the record that it supersedes does"
    place = {statement: position for position, statement in enumerate(evaluations)}
    newest = max((place[logged.statement] for logged in _counted(before.evaluation, evaluations)), default=-1)
    for digest in record.correction.evaluations:
        if digest in place and place[digest] <= newest:
            # its figures would take the place of newer ones
            yield f"correction.evaluations: {digest.short} is not newer than every evaluation that was recorded before"
        newest = max(newest, place.get(digest, newest))


def _items_gone(record: ModificationRecord, before: RecordSections) -> Iterator[str]:
    """Bases, data and terms of bases that were added or left out: what went in is known when a version is registered."""
    second = in_second_form(before)
    for name in _ARRAYS:
        stated = len(getattr(record, name))
        earlier = len(getattr(second, name))
        if stated != earlier:
            yield f"{name}: {stated} of them, and the record that it supersedes has {earlier}"


def _said_by_nobody(
    record: ModificationRecord, before: RecordSections, evaluations: Mapping[Digest, LoggedEvaluation]
) -> Iterator[str]:
    expected = _as_the_tool_builds_it(record, before, evaluations)
    is_exact = is_by_these_rules(record)
    for leaf, built in zip(leaves(record), leaves(expected), strict=True):
        if leaf.value != built.value and (is_exact or not _may_be_of_other_rules(leaf, built.value)):
            yield f"{leaf.path}: neither the record that it supersedes nor anything that it names says so"


def _as_the_tool_builds_it(
    record: ModificationRecord, before: RecordSections, evaluations: Mapping[Digest, LoggedEvaluation]
) -> ModificationRecord:
    """What supersedes the record before with what people stated in the new one, and with the evaluations that it names."""
    second = in_second_form(before)
    values = {
        leaf.path: leaf.value
        for leaf, earlier in zip(leaves(record), leaves(second), strict=True)
        if leaf.value != earlier.value and _may_stand(leaf, earlier.value, record, before)
    }
    if record.correction.evaluations:
        second = second.revised(evaluation=_section(record, before.evaluation, evaluations))
    return with_assessment(with_values(second, values) if values else second)


def _may_stand(leaf: Leaf, earlier: Value, record: ModificationRecord, before: RecordSections) -> bool:
    """Whether a value may take the place of another without anything that the tool computes."""
    value = leaf.value
    if value.rests_on_statement:
        return True  # whether the statement says so, `check_answers` tells
    if leaf.rule in _OF_ITS_REGISTRATION:
        was_open = not earlier.known or not isinstance(before, ModificationRecord)
        return was_open and value == measured(value.value, method=code("its_registration"))
    rule = field_rules().by_path()[leaf.rule]
    if value.source == "declared" and rule.owner != "tool" and rule.act is None and may_replace(value, earlier):
        return True
    if is_replaced(Leaf(leaf.path, leaf.rule, earlier)) or not earlier.known:
        return _is_known_elsewhere(leaf, record)
    return False


def _is_known_elsewhere(leaf: Leaf, record: ModificationRecord) -> bool:
    """Whether a value is such as the organisation's profile states, or the statement about a base that it names.

    Whether that says so, `check_inherited` tells. Records of before rules had names did not say which statement it was.
    """
    value = leaf.value
    if leaf.rule in field_rules().profile.values():
        return value.source == "declared"
    if leaf.rule not in facts_by_path() or not (value.evidence or record.rule_set is None):
        return False
    if leaf.rule == "base[].licence_flags" and value.source == "derived":
        return EU_EXCLUSION in value.value  # the flags that are stated, with an exclusion that is stated apart
    return value.source in ("declared", "imported")


def _may_be_of_other_rules(leaf: Leaf, built: Value) -> bool:
    """Whether rules that are not known here may give a value: where something is derived, and of figures those that agree."""
    value = leaf.value
    if leaf.path in WRITTEN_BY_EVALUATIONS:
        return value.source == built.source and agrees(value.value, built.value)
    is_derived = value.source in ("derived", "unknown") and built.source in ("derived", "unknown")
    return is_derived and leaf.rule.startswith(WRITTEN_BY_ASSESSMENT)


# --- evaluations that were made later ---


def _section(
    record: ModificationRecord, before: Evaluation, evaluations: Mapping[Digest, LoggedEvaluation]
) -> Evaluation:
    named = record.correction.evaluations
    counted = {logged.statement for logged in _counted(before, evaluations)}
    counted |= {*named, *record.evaluation.signed_by.evidence}
    signatures = [
        _signature(logged, record.evaluation.signed_by) for digest, logged in evaluations.items() if digest in counted
    ]
    return with_later_evaluations(before, [evaluations[digest].read() for digest in named], signatures)


def _counted(section: Evaluation, evaluations: Mapping[Digest, LoggedEvaluation]) -> list[LoggedEvaluation]:
    """The evaluations whose signers a section names, by their statements or, as a first record does, by themselves."""
    named = set(section.signed_by.evidence)
    if not named:
        return []
    return [
        logged
        for statement, logged in evaluations.items()
        if statement in named or (len(named) == 1 and logged.digest in named)
    ]


def _signature(logged: LoggedEvaluation, recorded: Value) -> EvaluationSignature:
    """Who signed an evaluation, and when; what is not known here is taken from the record."""
    rows = recorded.value if isinstance(recorded.value, list) else []
    row = next((row for row in rows if isinstance(row, dict) and row.get("evaluation") == str(logged.digest)), {})
    return EvaluationSignature(
        statement=logged.statement,
        evaluation=logged.digest,
        key_id=logged.key_id or str(row.get("key")),
        person=logged.person or row.get("person"),
        at=logged.logged_at or row.get("at"),
    )
