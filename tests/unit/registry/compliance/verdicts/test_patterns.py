"""What a lawyer says of some eighty cases, written down with clause and source, and what both tables say of them.

The expected rows were read from the Regulation and the guidelines, not taken from the rules that the tool carries. Every row, flag
and point of Annex III that the tables know is the case of one of them. A pattern lists what differs from the first one.
"""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.record_verdicts import RecordVerdicts, verdicts_of
from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.compliance.verdicts.rules import shipped_rules
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import declared, measured, unknown
from tests.builders.records import NOW, a_modification_record

PATTERNS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("patterns.json").read_text("utf-8"))
RECORD = a_modification_record()
# another's text model of 10^24 FLOP, changed a little and placed on the market; part of no system
PLAIN = {
    "use.modalities": {"input": ["text"], "output": ["text"]},
    "gpai.placed_on_eu_market": "yes",
    "gpai.same_provider": "no",
    "upstream[0].eu_exclusion": "no",
    "base[0].is_gpai": "yes",
    "base[0].has_systemic_risk": "no",
    "base[0].training_compute_flop": 1e24,
    "base[0].licence_flags": [],
    "gpai.qualitative_change.generality": "none",
    "gpai.qualitative_change.capabilities": "none",
    "gpai.qualitative_change.systemic_risk": "none",
    "high_risk.classification_before": "no_system",
    "high_risk.classification_after": "no_system",
}
OWN_FLOP = 1e18


def record_of(pattern: dict[str, Any]) -> ModificationRecord:
    """The record in which somebody answered what a pattern says."""
    document = RECORD.to_json()
    for path, answer in (PLAIN | pattern["answers"]).items():
        section, key = FieldPath.parse(path).place_in(document)
        stated = unknown("nobody has answered it") if answer is None else declared(answer, by="a lawyer", at=NOW)
        section[key] = stated.to_json()
    record = ModificationRecord.from_json(document)
    own = measured(pattern.get("own_flop", OWN_FLOP), "FLOP", method="counted")
    return with_assessment(record.revised(compute=record.compute.revised(conservative_flop=own)))


def verdicts_about(pattern: dict[str, Any]) -> RecordVerdicts:
    today = date.fromisoformat(pattern["today"]) if "today" in pattern else None
    return verdicts_of(record_of(pattern), decided=Decided(**pattern.get("decided", {})), today=today)


@pytest.mark.parametrize("pattern", PATTERNS, ids=[pattern["facts"] for pattern in PATTERNS])
def test_the_verdicts_are_what_a_lawyer_says(pattern: dict[str, Any]) -> None:
    verdicts = verdicts_about(pattern)
    model, system = verdicts.both
    assert (model.row, system.row) == (pattern["model"], pattern["system"]), (model.open_questions, system.missing)
    asked = "; ".join((*model.missing, *system.missing))
    assert all(words in asked for words in pattern.get("asks", ())), asked
    raised = {flag.flag for flag in verdicts.flags}
    assert raised.issuperset(pattern.get("flags", ()))
    assert raised.isdisjoint(pattern.get("without", ()))
    days = f"{model.applies_since}; {system.applies_since}"
    assert all(words in days for words in pattern.get("applies", ())), days
    for verdict in verdicts.both:
        assert verdict.reasons or verdict.missing, "nobody is told a status without what decided it"


def test_every_row_flag_and_point_of_annex_iii_is_a_case_and_every_case_has_its_clause_and_source() -> None:
    rules, sources = shipped_rules(), {source.short for source in field_rules().sources}
    assert {row.row for row in rules.rows} <= {pattern[table] for pattern in PATTERNS for table in ("model", "system")}
    assert {flag.flag for flag in rules.flags} <= {flag for pattern in PATTERNS for flag in pattern.get("flags", ())}
    classes = field_rules().by_path()["high_risk.classification_after"].values
    assert set(classes) <= {
        answer for pattern in PATTERNS for answer in pattern["answers"].values() if isinstance(answer, str)
    } | {"no_system"}
    assert all(pattern["clause"] and pattern["source"] in sources for pattern in PATTERNS)
    assert len({pattern["facts"] for pattern in PATTERNS}) == len(PATTERNS) >= 58


@pytest.mark.parametrize(
    ("day", "prohibited", "marking", "legacy", "annex_iii", "annex_i"),
    [
        ("2026-12-01", False, False, False, False, False),
        ("2026-12-02", True, True, False, False, False),
        ("2027-08-02", True, True, True, False, False),
        ("2027-12-02", True, True, True, True, False),
        ("2028-08-02", True, True, True, True, True),
    ],
)
def test_what_is_printed_turns_on_the_day_of_application(
    day: str, prohibited: bool, marking: bool, legacy: bool, annex_iii: bool, annex_i: bool
) -> None:
    by_facts = {pattern["facts"]: pattern for pattern in PATTERNS}

    def on_that_day(facts: str, **answers: Any) -> RecordVerdicts:
        pattern = by_facts[facts]
        return verdicts_about(pattern | {"today": day, "answers": pattern["answers"] | answers})

    images = on_that_day("an image generator whose output nobody has screened").gpai_modifier
    assert images.applies_since is not None and ("apply since 2026-12-02" in images.applies_since) is prohibited
    placed = {"gpai.placing_date": "2025-07-01"}
    early = on_that_day("a system that is not high-risk, before nor after", **placed)
    (transparency,) = (flag.because for flag in early.flags if flag.flag == "A50")
    assert (
        "the marking of Art. 50(2) by generators placed on the market before 2026-08-02 apply since" in transparency
    ) is marking
    provider = on_that_day("a provider whose model was placed on 1 July 2025").gpai_modifier
    assert ("apply since 2027-08-02 (Art. 111(3))" in str(provider.applies_since)) is legacy
    school = on_that_day("a tutor for sums becomes a grader of pupils").high_risk
    assert ("apply since 2027-12-02" in str(school.applies_since)) is annex_iii
    device = on_that_day("a medical device under one's own name").high_risk
    assert ("apply since 2028-08-02" in str(device.applies_since)) is annex_i
