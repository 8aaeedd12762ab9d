"""What a lawyer says of some eighty cases, written down with clause and source, and what both tables say of them.

The expected rows were read from the Regulation and the guidelines, not taken from the rules that the tool carries. Every row, flag
and point of Annex III that the tables know is the case of one of them. A pattern lists what differs from the first one.
"""

import json
import os
from collections.abc import Iterator
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
from peft_registry.registry.use_cases.show_verdict import VerdictShown
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import declared, measured, unknown
from tests.builders.records import NOW, a_digest, a_modification_record

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
    because = "; ".join(flag.because for flag in verdicts.flags)
    assert all(words in because for words in pattern.get("because", ())), because
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


DAYS = ("2026-12-01", "2026-12-02", "2027-08-02", "2027-12-02", "2028-08-02")
"""Days on which something begins to apply, and the one before the first of them."""
OF_DAYS = {
    "an image generator whose output nobody has screened": {},
    "a provider whose model was placed on 1 July 2025": {},
    "a system that is not high-risk, before nor after": {"conformity.system_placing_date": "2025-07-01"},
    "a tutor for sums becomes a grader of pupils": {},
    "a medical device under one's own name": {"conformity.system_placing_date": "2026-06-10"},
}
"""Cases of which a rule begins to apply on one of these days, with the day of the system where it counts."""
DATED = {"A50", "H11"}
"""The flags that say since when something applies."""
PRINTED = Path(__file__).parents[4] / "golden" / "verdicts-by-day.txt"


def printed_on(day: str) -> Iterator[str]:
    """The lines of `registry record verdict` that turn with the clock."""
    by_facts = {pattern["facts"]: pattern for pattern in PATTERNS}
    yield f"== {day}"
    for facts, more in OF_DAYS.items():
        pattern = by_facts[facts]
        verdicts = verdicts_about(pattern | {"today": day, "answers": pattern["answers"] | more})
        yield f"-- {facts}"
        dated = verdicts.revised(flags=tuple(flag for flag in verdicts.flags if flag.flag in DATED))
        yield from (f"{label}: {text}" for label, text in lines_of(dated) if label in ("applies", "beside it"))


def lines_of(verdicts: RecordVerdicts) -> Iterator[tuple[str, str]]:
    """What `registry record verdict` prints of a version with such verdicts."""
    return VerdictShown(version="sums:1", manifest=a_digest("sums"), record="a record", verdicts=verdicts).lines()


def test_what_is_printed_turns_on_the_day_of_application() -> None:
    text = "".join(f"{line}\n" for day in DAYS for line in printed_on(day))
    if os.environ.get("UPDATE_GOLDEN"):
        PRINTED.write_text(text, encoding="utf-8")
    assert text == PRINTED.read_text(encoding="utf-8")
    assert all(f"({flag}, " in text for flag in DATED)
    assert len({tuple(printed_on(day))[1:] for day in DAYS}) == len(DAYS), "something begins on each of them"


def test_every_day_of_application_in_the_data_is_told_of_some_case() -> None:
    told = "\n".join(
        line
        for day in ("2026-12-01", "2031-01-01")
        for pattern in PATTERNS
        for _, line in lines_of(verdicts_about(pattern | {"today": day}))
    )
    untold = [
        (application.what, word)
        for application in field_rules().applications
        for word in ("from", "since")
        if f"{application.subject} apply {word} {application.since}" not in told
    ]
    begun = [application.what for application in field_rules().applications if f"{application.since}" <= "2026-12-01"]
    assert untold == [(what, "from") for what in begun]
