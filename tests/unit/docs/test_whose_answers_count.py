"""The tables of the guide on facts say what the code does with the same answers under each key."""

from pathlib import Path
from typing import Any, get_args

import pytest

from peft_registry.registry.compliance.answers import problems_of_answers
from peft_registry.registry.compliance.completeness import completeness, is_filled
from peft_registry.registry.compliance.deciding import _answers_to_try
from peft_registry.registry.compliance.facts import with_facts
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import FieldRule, field_rules, leaves
from peft_registry.registry.compliance.proposals import is_proposal, lacks_signature, unsigned_in
from peft_registry.registry.gate.policy import GatePolicy
from peft_registry.registry.gate.reasons import decide_gate
from peft_registry.schemas.answers import AREA_ROLES, AnsweringRole, Area
from peft_registry.schemas.modification import ModificationRecord
from tests.builders.records import NOW, a_modification_record, a_version
from tests.unit.registry.compliance.test_assessment import answered
from tests.unit.registry.gate.test_reasons import FACTS

GUIDE = (Path(__file__).parents[3] / "docs" / "how-to" / "state-the-facts.md").read_text("utf-8")
LEGAL: dict[str, Any] = {
    "gpai.placed_on_eu_market": "yes",
    "gpai.placing_date": "2026-10-01",
    "gpai.same_provider": "yes",
}
BARE = a_modification_record()
TYPED = a_modification_record(
    facts={"asserted_by": "alex", "gpai": {path.partition(".")[2]: value for path, value in LEGAL.items()}}
)


def rows(after: str) -> list[list[str]]:
    """The cells of the table behind a sentence of the guide, without its head."""
    lines = GUIDE[GUIDE.index(after) :].split("\n\n")[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def by_answer(role: AnsweringRole) -> tuple[str, ModificationRecord]:
    """What `registry decide` makes of the answers under a key of a role, and the record afterwards."""
    if any(problems_of_answers(BARE, LEGAL, role=role, version=a_version(), at=NOW)):
        return "refused", BARE
    return "answered", answered(BARE, LEGAL)[0]


UNDER: dict[str, list[tuple[str, ModificationRecord]]] = {
    "no key: a form that nobody signed": [("open", BARE)],
    "the trainer's: a facts file": [("proposed", TYPED)],
    "the trainer's or the evaluator's: `registry decide`": [by_answer("trainer"), by_answer("evaluator")],
    "the officer's: `registry decide`": [by_answer("officer")],
    "an approver's: `registry decide`": [by_answer("approver")],
}


def test_the_keys_of_the_table_are_all_that_answer() -> None:
    assert [row[0] for row in rows("under each key:")] == list(UNDER)
    assert set(get_args(AnsweringRole)) == {"trainer", "evaluator", "officer", "approver"}


@pytest.mark.parametrize("row", rows("under each key:"), ids=lambda row: row[0])
def test_the_same_legal_answers_count_as_the_table_says(row: list[str]) -> None:
    under, shown, status, until, gate = row
    policy = GatePolicy(name="asks", about="what is answered", answered=tuple(LEGAL))
    for done, record in UNDER[under]:
        assert done == shown
        assert (record.gpai.verdict.value or "undetermined", record.retention.until.value or "open") == (status, until)
        fields = tuple(gap.field for gap in completeness(record).open)
        assert decide_gate(FACTS.revised(open_fields=fields), policy).is_open is (gate == "open")
        stated = {leaf.path: leaf for leaf in leaves(record)}
        assert {is_proposal(stated[path]) for path in LEGAL} == {shown == "proposed"}


def nested(answers: dict[str, Any]) -> dict[str, Any]:
    """Answers by path as a facts file states them."""
    facts: dict[str, Any] = {"asserted_by": "alex"}
    for path, value in answers.items():
        *sections, key = path.replace("[]", ".*").split(".")
        place = facts
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return facts


OF_THEIR_OWN_FORM = {
    "energy.training_kwh": 0.01,
    "gpai.estimate_attempt": "the provider was asked",
    "retention.log_retention_months": 12,
}


BESIDE = {"energy.training_kwh": {"energy.method": "read from a meter", "energy.boundary": "node"}}
"""What is refused alone, with what has to be answered beside it by the same key."""


def asked_of_people() -> dict[str, FieldRule]:
    """Every field that is open in a record, people may answer, and a file may state."""
    fields = {leaf.path: field_rules().by_path()[leaf.rule] for leaf in leaves(BARE) if not leaf.value.settled}
    return {path: rule for path, rule in fields.items() if rule.takes_facts and rule.takes_answers}


def given(rule: FieldRule) -> Any:
    return OF_THEIR_OWN_FORM.get(rule.path, _answers_to_try(rule)[0])


def counts_as(record: ModificationRecord, path: str) -> str:
    leaf = next(leaf for leaf in leaves(record) if leaf.path == path)
    if is_proposal(leaf):
        assert not is_filled(leaf)
        return "proposed"
    if not is_filled(leaf):
        return "open"
    return "stated" if lacks_signature(leaf) else "answered"


def under_each_key() -> dict[str, dict[str, str]]:
    """What becomes of an answer to every field, by the rows of the table."""
    fields = {path: rule for path, rule in asked_of_people().items() if not path.startswith(("base[", "upstream["))}
    facts = nested({rule.path: given(rule) for rule in fields.values()})
    typed = with_facts(BARE, facts, at=NOW, refuses=False)
    found: dict[str, dict[str, str]] = {"no key": {}, "a facts file": {path: counts_as(typed, path) for path in fields}}
    for path in fields:
        found["no key"][path] = counts_as(BARE, path)
    for role in get_args(AnsweringRole):
        may = {
            path: given(rule)
            for path, rule in fields.items()
            if not any(
                problems_of_answers(
                    BARE, {path: given(rule)} | BESIDE.get(path, {}), role=role, version=a_version(), at=NOW
                )
            )
        }
        signed, _ = answered(BARE, may)
        found[role] = {path: counts_as(signed, path) if path in may else "refused" for path in fields}
    return found


def test_every_field_counts_under_every_key_as_the_table_says() -> None:
    owners = {"legal": 1, "data owner": 2, "modifier": 2, "engineer": 3}
    found = under_each_key()
    assert {rule.owner for rule in asked_of_people().values()} == owners.keys()
    for row in rows("What counts, by the key:"):
        keys = [key for key in found if key in row[0]] or ["no key"]
        for key in keys:
            expected = {path: row[owners[rule_of(path).owner]] for path in found[key]}
            assert found[key] == expected, (row[0], key)


def test_a_gate_takes_what_the_table_calls_answered_and_nothing_else() -> None:
    path, answer = "use.intended", {"use.intended": "sums"}
    typed = with_facts(BARE, nested(answer), at=NOW)
    signed, _ = answered(BARE, answer)
    policy = GatePolicy(name="asks", about="what it is for", answered=(path,))
    told = []
    for record in (BARE, typed, signed):
        facts = FACTS.revised(
            open_fields=tuple(gap.field for gap in completeness(record).open),
            unsigned_fields=tuple(leaf.path for leaf in unsigned_in(record)),
        )
        told.append([reason.text for reason in decide_gate(facts, policy).reasons])
    assert told == [
        ["use.intended is open in its record"],
        ["use.intended is typed in its record, and signed by nobody who may answer it"],
        [],
    ]


def rule_of(path: str) -> FieldRule:
    return field_rules().by_path()[FieldPath.parse(path).rule]


def test_the_roles_of_each_owner_are_those_of_the_table() -> None:
    owners: tuple[tuple[Area, ...], ...] = (("legal",), ("data owner", "modifier"), ("engineer",))
    _, _, *by_key = rows("What counts, by the key:")
    for key, *cells in by_key:
        for role in (role for role in get_args(AnsweringRole) if role in key):
            for areas, cell in zip(owners, cells, strict=True):
                assert {"answered" if role in AREA_ROLES[area] else "refused" for area in areas} == {cell}, (
                    role,
                    areas,
                )
    told = " ".join(key for key, *_ in by_key)
    assert all(role in told for role in get_args(AnsweringRole))
    assert {rule.owner for rule in field_rules().fields} - {"tool"} == {area for areas in owners for area in areas}
