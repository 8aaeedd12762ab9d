"""Whether a version may be used, in the first sentences of its page: each state has its own, and none says more than the facts."""

from dataclasses import replace
from typing import Any

import pytest

from peft_registry.registry.reports.decisions import AliasGate
from peft_registry.registry.reports.use_answer import use_answer
from peft_registry.registry.reports.version_facts import KeyHolders, PageChecks, VersionFacts
from peft_registry.schemas.acts import ACTS, ShownStop
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import declared
from tests.builders.records import (
    NOW,
    a_base_input,
    a_base_record,
    a_lineage,
    a_merge_modification,
    a_modification_record,
    a_version,
    an_outcome,
    some_base_facts,
)
from tests.unit.registry.reports.test_decisions import GATE, POLICY, moved, said

RELEASED = "Released in this registry under the alias “champion”"
APPROVAL: dict[str, Any] = {
    "policy": str(POLICY),
    "policy_name": "regulated",
    "record": None,
    "evaluations": [],
    "reason": "read it",
}
MET = AliasGate(policy="regulated", entry=7, as_of=NOW, closed_by=())


def lead(
    *statements: StoredStatement, aliases: tuple[str, ...] = ("champion",), record: Any = None, **checks: Any
) -> str:
    facts = VersionFacts(
        version=a_version().revised(aliases=aliases), lineage=a_lineage(), statements=statements, record=record
    )
    return use_answer(facts, KeyHolders(), PageChecks(**({"verification": an_outcome()} | checks))).lead


@pytest.mark.parametrize(
    ("statements", "aliases", "gates", "words"),
    [
        ((moved(gate=GATE),), ("champion",), {"champion": MET}, f"{RELEASED}."),
        (
            (moved(),),
            ("champion",),
            {},
            f"{RELEASED}; without a policy, so that nobody had to approve it.",
        ),
        ((), ("champion",), {}, f"{RELEASED}; by whom is not recorded here."),
        (
            (moved(gate=GATE), moved("prod")),
            ("champion", "prod"),
            {},
            "Released in this registry under the aliases “champion” and “prod”; without a policy, so that nobody had to approve "
            "it (prod).",
        ),
        (
            (moved(gate=GATE),),
            ("champion",),
            {"champion": AliasGate(policy="regulated", entry=7, as_of=NOW, closed_by=("approvals",))},
            f"{RELEASED}; its release conditions are not met now.",
        ),
        (
            (moved(gate=GATE),),
            ("champion",),
            {"champion": AliasGate(policy="", entry=7, as_of=NOW, closed_by=(), unknown="the store lost it")},
            f"{RELEASED}; whether its release conditions are met could not be told.",
        ),
        ((), (), {}, "Not released: no alias points at it, and nobody has approved it."),
        ((said("approval", "1", **APPROVAL),), (), {}, "Not released: no alias points at it."),
    ],
)
def test_the_first_sentence_says_whether_it_is_released_and_what_of_that_does_not_hold(
    statements: tuple[StoredStatement, ...], aliases: tuple[str, ...], gates: dict[str, AliasGate], words: str
) -> None:
    assert lead(*statements, aliases=aliases, gates=gates) == words


RECALLED = an_outcome().revised(recalls=("the data rows.jsonl: ada recalled it",))
BROKEN = an_outcome(verdict="broken")


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (RECALLED, "No: it is recalled, by whom and why is under “What is wrong”. "),
        (BROKEN, "No: bytes or records are not those that were signed. "),
        (
            BROKEN.revised(recalls=RECALLED.recalls),
            "No: bytes or records are not those that were signed. No: it is recalled, by whom and why is under “What is wrong”. ",
        ),
    ],
)
def test_what_must_not_be_used_says_no_first_and_who_released_it_after(outcome: Any, words: str) -> None:
    record = a_modification_record()
    assert lead(moved(gate=GATE), verification=outcome) == f"{words}{RELEASED}."
    assert "market" not in lead(record=record, verification=outcome), "no is enough"
    assert "market" in lead(record=record)


def test_a_hold_forbids_no_use_and_is_said_behind_the_release() -> None:
    held = ("sums:1: ada put it on hold: a complaint is looked into",)
    assert lead(moved(gate=GATE), holds=held) == f"{RELEASED}. On hold: it must not be deleted."
    assert lead(aliases=(), holds=held).startswith("Not released: ")


def test_what_stops_something_else_than_use_is_said_with_what_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    # as a quarantine would, of which CONTRIBUTING.md has the row
    monkeypatch.setitem(ACTS, "hold", replace(ACTS["hold"], stops=("promote",), done="quarantined"))
    outcome = an_outcome().revised(stops=(ShownStop(kind="hold", text="ada quarantined it"),))
    assert lead(moved(gate=GATE), verification=outcome) == f"It is quarantined: it must not be promoted. {RELEASED}."


LICENSED = {"asserted_by": "x", "product": {"licence": "MIT"}}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "Not cleared for the market: its purpose, licence and role under the AI Act are open."),
        (
            {"asserted_by": "x", "use": {"intended": "sums for pupils"}},
            "Not cleared for the market: its licence and role under the AI Act are open.",
        ),
        (
            LICENSED | {"use": {"intended": "sums for pupils"}},
            "Not cleared for the market: its role under the AI Act is open.",
        ),
        (
            LICENSED
            | {
                "use": {"intended": "sums for pupils"},
                "gpai": {"placed_on_eu_market": "no"},
                "high_risk": {"classification_after": "no_system"},
            },
            "No clearance for the market follows: purpose, licence and role are recorded below, and a person decides.",
        ),
    ],
)
def test_a_release_is_no_clearance_for_the_market_and_says_what_of_it_is_open(
    facts: dict[str, Any], words: str
) -> None:
    record = a_modification_record(**({"facts": facts} if facts else {}))
    assert lead(moved(gate=GATE), record=record) == f"{RELEASED}. {words}"
    assert lead(aliases=(), record=record).endswith(words)


def test_the_terms_of_the_base_stand_in_quotation_marks_and_are_begun_where_they_are_long() -> None:
    def of_base(policy: str) -> str:
        facts = some_base_facts(acceptable_use_policy=declared(policy, by="x", at=NOW))
        base = a_base_input(record=a_base_record(facts=facts))
        return lead(record=a_modification_record(bases=(base,)))

    assert of_base("for trying\nand testing").endswith(" The base's terms of use say: “for trying and testing”.")
    assert of_base("No use. " * 60).endswith(f" The base's terms of use say: “{('No use. ' * 15)}…”.")
    assert "terms of use" not in lead(record=a_modification_record())
    assert "terms of use" not in lead(record=a_merge_modification())


def test_the_digest_of_a_record_is_read_only_where_something_names_one() -> None:
    other = said("approval", "1", **(APPROVAL | {"record": str(Digest.of(b"another"))}))
    facts = VersionFacts(version=a_version(), lineage=a_lineage(), statements=(other,), record=a_modification_record())
    (line,) = use_answer(facts, KeyHolders(), PageChecks()).lines
    assert ", of an earlier record, reason given" in line
