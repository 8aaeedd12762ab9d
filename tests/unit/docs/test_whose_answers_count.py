"""The tables of the guide on facts say what the code does with the same answers under each key."""

from pathlib import Path
from typing import Any, get_args

import pytest

from peft_registry.registry.compliance.answers import problems_of_answers
from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.fields import field_rules, leaves
from peft_registry.registry.compliance.proposals import is_proposal
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


def test_the_roles_of_each_owner_are_those_of_the_table() -> None:
    owners: tuple[tuple[Area, ...], ...] = (("legal",), ("data owner", "modifier"), ("engineer",))
    _, *by_key = rows("What counts, by the key:")
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
