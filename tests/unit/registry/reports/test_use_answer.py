"""Whether a version may be used, in the first lines of its page: each use and state has its own, none says more than the facts."""

from dataclasses import replace
from typing import Any

import pytest

from peft_registry.registry.reports.decisions import AliasGate
from peft_registry.registry.reports.use_answer import use_answer
from peft_registry.registry.reports.version_facts import KeyHolders, PageChecks, VersionFacts
from peft_registry.registry.reports.wording import OwnerNames
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
from tests.unit.registry.reports.test_decisions import GATE, HOLDERS, POLICY, moved, said

IN_OPERATION = "In operation as “champion”: "
TRIAL = "For an internal trial that affects nobody's rights: "
YES = "yes, by the records: intact, not recalled"
MARKET = "On the Union market: not decided here, because there is no modification record."
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
) -> tuple[str, ...]:
    facts = VersionFacts(
        version=a_version().revised(aliases=aliases), lineage=a_lineage(), statements=statements, record=record
    )
    checked = PageChecks(**({"verification": an_outcome()} | checks))
    return use_answer(facts, HOLDERS, checked, OwnerNames()).lead


def entered(statement: StoredStatement, entry: int) -> StoredStatement:
    return statement.revised(log_index=entry)


PASSED = entered(moved(gate=GATE), 3)


@pytest.mark.parametrize(
    ("statements", "aliases", "gates", "words"),
    [
        (
            (PASSED,),
            ("champion",),
            {"champion": MET},
            (
                "In operation as “champion”: yes, released by ada at log entry 3, conditions met at entry 7, with worse waived at "
                "the release.",
            ),
        ),
        (
            (moved(),),
            ("champion",),
            {},
            (
                "In operation as “champion”: yes, released by ada (pending), without a policy, so that nobody had to approve it.",
            ),
        ),
        (
            (),
            ("champion",),
            {},
            ("In operation as “champion”: not decided: the alias points at it, by whom is not recorded here.",),
        ),
        (
            (PASSED, entered(moved("prod", key="3"), 5)),
            ("champion", "prod"),
            {"champion": MET},
            (
                "In operation as “champion”: yes, released by ada at log entry 3, conditions met at entry 7, with worse waived at "
                "the release.",
                "In operation as “prod”: yes, released by the key 333333333333… at log entry 5, without a policy, so that nobody "
                "had to approve it.",
            ),
        ),
        (
            (PASSED,),
            ("champion",),
            {"champion": replace(MET, closed_by=("approvals",))},
            (
                "In operation as “champion”: not now: released by ada at log entry 3, conditions not met at entry 7: approvals.",
            ),
        ),
        (
            (PASSED,),
            ("champion",),
            {"champion": replace(MET, policy="", unknown="the store lost it")},
            (
                "In operation as “champion”: not decided: released by ada at log entry 3; whether its conditions are met could "
                "not be told.",
            ),
        ),
        (
            (PASSED,),
            ("champion",),
            {},
            (
                "In operation as “champion”: yes, released by ada at log entry 3; whether its conditions are still met was not "
                "checked for this page.",
            ),
        ),
        ((), (), {}, ("In operation: no, not released: no alias points at it, and nobody has approved it.",)),
        (
            (said("approval", "1", **APPROVAL),),
            (),
            {},
            ("In operation: no, not released: no alias points at it.",),
        ),
    ],
)
def test_of_each_alias_it_says_whether_it_is_released_and_what_of_that_does_not_hold(
    statements: tuple[StoredStatement, ...],
    aliases: tuple[str, ...],
    gates: dict[str, AliasGate],
    words: tuple[str, ...],
) -> None:
    trial, *operation, market = lead(*statements, aliases=aliases, gates=gates)
    assert tuple(operation) == words
    assert (
        trial == f"{TRIAL}{YES}." if aliases else f"{TRIAL}{YES}, and this registry asks for no release before a trial."
    )
    assert market == MARKET


RECALLED = an_outcome().revised(recalls=("the data rows.jsonl: ada recalled it",))
BROKEN = an_outcome(verdict="broken")
BY_ADA = "No, it is recalled: the data rows.jsonl: ada recalled it."


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (RECALLED, (BY_ADA,)),
        (BROKEN, ("No: bytes or records are not those that were signed.",)),
        (
            BROKEN.revised(recalls=RECALLED.recalls),
            ("No: bytes or records are not those that were signed.", BY_ADA),
        ),
        (
            RECALLED.revised(recalls=(*RECALLED.recalls, "it: ben recalled it")),
            (f"{BY_ADA} 1 more under “What is wrong”.",),
        ),
        (
            RECALLED.revised(recalls=("why " * 100,)),
            (f"No, it is recalled: {('why ' * 75)}….",),
        ),
    ],
)
def test_what_must_not_be_used_says_no_why_and_by_whom_and_answers_no_use_apart(
    outcome: Any, words: tuple[str, ...]
) -> None:
    record = a_modification_record()
    assert lead(PASSED, record=record, verification=outcome) == (*words, "The alias “champion” still points at it.")
    assert lead(record=record, aliases=(), verification=outcome) == words
    assert lead(aliases=("a", "b"), verification=outcome)[-1] == "The aliases “a” and “b” still point at it."


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ({"verification": None}, "nothing was checked for this page"),
        (
            {"verification": an_outcome(verdict="unverified")},
            "something could not be checked here (“Are the bytes intact?”)",
        ),
    ],
)
def test_no_use_is_answered_while_it_is_not_known_whether_the_bytes_are_intact(
    checks: dict[str, Any], words: str
) -> None:
    trial, operation, _ = lead(PASSED, **checks)
    assert trial == f"{TRIAL}not decided, because {words}."
    assert operation == f"{IN_OPERATION}not decided: released by ada at log entry 3; {words}."
    # a forger needs no policy to say that something is released
    assert lead(moved(), **checks)[1] == f"{IN_OPERATION}not decided: released by ada (pending); {words}."


def test_what_no_person_has_cleared_of_prohibited_output_is_decided_for_no_use() -> None:
    record = a_modification_record()
    makes_images = declared({"input": ["text"], "output": ["image"]}, by="x", at=NOW)
    record = record.revised(use=record.use.revised(modalities=makes_images))
    trial, operation, market = lead(PASSED, record=record)
    screen = "the screen for prohibited output is not passed (Art. 5)"
    assert (trial, market) == (f"{TRIAL}not decided, because {screen}.", f"On the Union market: no, because {screen}.")
    assert operation == f"{IN_OPERATION}not decided: released by ada at log entry 3; {screen}."


def test_terms_that_exclude_the_union_leave_trial_and_operation_open() -> None:
    excluding = declared(["eu_exclusion"], by="x", at=NOW)
    base = a_base_input(record=a_base_record(facts=some_base_facts(licence_flags=excluding)))
    trial, operation, market = lead(PASSED, record=a_modification_record(bases=(base,)))
    excluded = "the terms of a base exclude the Union (“Do licences restrict its use?”)"
    assert trial == f"{TRIAL}not decided, because {excluded}."
    assert operation == f"{IN_OPERATION}not decided: released by ada at log entry 3; {excluded}."
    assert market.startswith(f"On the Union market: no, {excluded}; not cleared: ")


def test_of_a_folder_it_says_what_a_folder_cannot_know() -> None:
    known = lead(PASSED, gates={"champion": MET})
    trial, operation, market = lead(PASSED, gates={"champion": MET}, of_folder=True)
    assert trial == (
        f"{TRIAL}yes, by the records of this folder: intact, and it shows no recall; a folder does not say what was recalled above "
        "it, or since it was written."
    )
    assert (
        operation
        == f"{known[1][:-1]}; a folder does not say whether the alias still points at it, or was bound to a policy since."
    )
    assert market == known[2]


def test_a_hold_forbids_no_use_and_is_said_behind_the_uses() -> None:
    held = ("sums:1: ada put it on hold: a complaint is looked into",)
    assert lead(PASSED, holds=held)[-1] == "On hold: it must not be deleted."
    assert lead(PASSED, holds=held)[:-1] == lead(PASSED)


def test_what_stops_something_else_than_use_is_said_with_what_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    # as a quarantine would, of which CONTRIBUTING.md has the row
    monkeypatch.setitem(ACTS, "hold", replace(ACTS["hold"], stops=("promote",), done="quarantined"))
    outcome = an_outcome().revised(stops=(ShownStop(kind="hold", text="ada quarantined it"),))
    assert lead(PASSED, verification=outcome)[:2] == (
        "It is quarantined: it must not be promoted.",
        f"{TRIAL}{YES}.",
    )


LICENSED = {"asserted_by": "x", "product": {"licence": "MIT"}}
FOR_PUPILS = {"use": {"intended": "sums for pupils"}}
LEGAL = "to be answered by legal (whoever answers for the law)"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {},
            "no, not cleared: its purpose is open, to be answered by the modifier (whoever adapted the base); its licence and role "
            f"under the AI Act are open, {LEGAL}.",
        ),
        (
            {"asserted_by": "x"} | FOR_PUPILS,
            f"no, not cleared: its licence and role under the AI Act are open, {LEGAL}.",
        ),
        (
            LICENSED | FOR_PUPILS,
            f"no, not cleared: its role under the AI Act is open, {LEGAL}.",
        ),
        (
            LICENSED | FOR_PUPILS | {"gpai": {"placed_on_eu_market": "yes"}},
            f"it is stated to be placed there, and not cleared: its role under the AI Act is open, {LEGAL}.",
        ),
        (
            FOR_PUPILS
            | {
                "asserted_by": "x",
                "gpai": {"placed_on_eu_market": "no"},
                "high_risk": {"classification_after": "no_system"},
            },
            "no, because it is stated not to be placed there (stated by x), and not cleared: its licence is open, "
            f"{LEGAL}.",
        ),
        (
            LICENSED
            | FOR_PUPILS
            | {"gpai": {"placed_on_eu_market": "no"}, "high_risk": {"classification_after": "no_system"}},
            "no, because it is stated not to be placed there (stated by x).",
        ),
    ],
)
def test_a_release_is_no_clearance_for_the_market_and_says_what_of_it_is_open_and_who_owes_it(
    facts: dict[str, Any], words: str
) -> None:
    record = a_modification_record(**({"facts": facts} if facts else {}))
    assert lead(PASSED, record=record)[2] == f"On the Union market: {words}"
    assert lead(aliases=(), record=record)[2] == f"On the Union market: {words}"


def test_where_nothing_is_open_a_person_decides() -> None:
    answered = {"gpai": {"placed_on_eu_market": "yes"}, "high_risk": {"classification_after": "no_system"}}
    record = a_modification_record(facts=LICENSED | FOR_PUPILS | answered)
    media = declared({"input": ["text"], "output": ["text"]}, by="x", at=NOW)
    stated = declared("yes", by="x", at=NOW)
    record = record.revised(use=record.use.revised(modalities=media), gpai=record.gpai.revised(same_provider=stated))
    assert lead(PASSED, record=record)[2] == (
        "On the Union market: it is stated to be placed there; whether all that its roles ask is done, a person decides."
    )


def test_a_base_is_placed_by_whoever_provides_it() -> None:
    facts = VersionFacts(version=a_version(), lineage=a_lineage(), base=a_base_record())
    market = use_answer(facts, HOLDERS, PageChecks(), OwnerNames()).lead[2]
    assert market == "On the Union market: not decided here, because a base is placed by its provider."


def test_the_terms_of_the_base_stand_in_quotation_marks_and_are_begun_where_they_are_long() -> None:
    def of_base(policy: str) -> str:
        facts = some_base_facts(acceptable_use_policy=declared(policy, by="x", at=NOW))
        base = a_base_input(record=a_base_record(facts=facts))
        return lead(record=a_modification_record(bases=(base,)))[-1]

    assert of_base("for trying\nand testing") == "The base's terms of use say: “for trying and testing”."
    assert of_base("No use. " * 60) == f"The base's terms of use say: “{('No use. ' * 15)}…”."
    assert "terms of use" not in " ".join(lead(record=a_modification_record()))
    assert "terms of use" not in " ".join(lead(record=a_merge_modification()))


def test_the_digest_of_a_record_is_read_only_where_something_names_one() -> None:
    other = said("approval", "1", **(APPROVAL | {"record": str(Digest.of(b"another"))}))
    facts = VersionFacts(version=a_version(), lineage=a_lineage(), statements=(other,), record=a_modification_record())
    (line,) = use_answer(facts, KeyHolders(), PageChecks(), OwnerNames()).lines
    assert ", of an earlier record, reason given" in line
