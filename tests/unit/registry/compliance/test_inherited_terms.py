"""What people signed of a base in the records of its adapters holds in a merge of them and in a run that continues from one."""

from typing import Any

import pytest

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.facts import problems_of_facts
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.schemas.codes import code
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import Value, declared, not_applicable
from tests.builders.records import (
    NOW,
    a_base_identity,
    a_base_input,
    a_base_record,
    a_digest,
    a_merge_modification,
    a_modification_record,
    a_run_record,
    some_base_facts,
)

SIGNED = {
    "upstream[0].eu_exclusion": "yes",
    "base[0].is_gpai": "yes",
    "base[0].has_systemic_risk": "yes",
    "base[0].licence_flags": ["eu_exclusion", "non_commercial"],
}


def answered(value: Any) -> Value:
    stated = value if isinstance(value, Value) else declared(value, by="alex", at=NOW)
    return stated.revised(evidence=(a_digest("answers"),))


def a_parent(number: int, **answers: Any) -> Ancestor:
    """An adapter in whose record these are answered, by path (`__` for a dot)."""
    values = {path.replace("__", "."): answered(value) for path, value in answers.items()}
    manifest = a_digest(f"part {number} manifest")
    return Ancestor(
        label=f"part-{number}:1",
        manifest=manifest,
        is_parent=True,
        run=a_run_record(),
        record=with_values(a_modification_record(), values),
        statement=a_digest(f"record {number}"),
        runs=frozenset({manifest}),
    )


def a_merge(*parents: Ancestor, **over: Any) -> ModificationRecord:
    record: ModificationRecord = a_merge_modification(ancestors=parents, **over)
    return record


def test_a_merge_has_what_was_signed_of_the_base_in_the_records_of_its_adapters() -> None:
    merged = a_merge(a_parent(1, **SIGNED), a_parent(2, **SIGNED))
    assert merged.upstream[0].eu_exclusion.value == "yes"
    base = merged.base[0]
    assert (base.is_gpai.value, base.has_systemic_risk.value) == ("yes", "yes")
    assert base.licence_flags.value == ["eu_exclusion", "non_commercial"]
    assert [used.has_systemic_risk.value for used in merged.base] == ["yes", "yes", "yes"]
    assert merged.gpai.sr_flag.value == "inherited"
    assert (base.is_gpai.asserted_by, base.is_gpai.source) == ("alex", "declared")
    assert {a_digest("answers"), a_digest("record 1")} <= set(base.is_gpai.evidence)


def test_a_continued_run_has_what_was_signed_of_the_base_in_the_record_of_its_start() -> None:
    continued: ModificationRecord = a_modification_record(ancestors=(a_parent(1, **SIGNED),))
    assert continued.upstream[0].eu_exclusion.value == "yes"
    assert continued.base[0].has_systemic_risk.value == "yes"


@pytest.mark.parametrize("path", ["upstream[0].eu_exclusion", "base[0].has_systemic_risk"])
def test_one_yes_holds_against_every_no(path: str) -> None:
    section, _, field = path.partition("[0].")
    for answers in (("yes", "no"), ("no", "yes")):
        parents = [a_parent(number, **{path: answer}) for number, answer in enumerate(answers, start=1)]
        value = getattr(getattr(a_merge(*parents), section)[0], field)
        assert (value.value, value.asserted_by) == ("yes", "alex")


def test_answers_that_differ_are_a_question_that_says_who_says_what() -> None:
    merged = a_merge(a_parent(1, **{"base[0].is_gpai": "yes"}), a_parent(2, **{"base[0].is_gpai": "no"}))
    value = merged.base[0].is_gpai
    assert not value.known
    assert "part-1:1 says yes" in str(value.reason)
    assert "part-2:1 says no" in str(value.reason)


NEVER_RELEASED = not_applicable(code("never_released"), by="alex", at=NOW)


def test_that_there_is_no_answer_about_the_base_is_taken_over_like_any_answer() -> None:
    signed = {"base[0].release_date": NEVER_RELEASED}
    continued: ModificationRecord = a_modification_record(ancestors=(a_parent(1, **signed),))
    for record in (continued, a_merge(a_parent(1, **signed), a_parent(2, **signed)), a_merge(a_parent(1, **signed))):
        value = record.base[0].release_date
        assert (value.source, value.reason, value.asserted_by) == ("not_applicable", NEVER_RELEASED.reason, "alex")
        assert {a_digest("answers"), a_digest("record 1")} <= set(value.evidence)


def test_a_day_of_release_and_that_there_is_none_are_a_question() -> None:
    merged = a_merge(
        a_parent(1, **{"base[0].release_date": NEVER_RELEASED}),
        a_parent(2, **{"base[0].release_date": "2025-01-30"}),
    )
    value = merged.base[0].release_date
    assert value.source == "unknown"
    assert "part-1:1 says not applicable" in str(value.reason)
    assert "part-2:1 says 2025-01-30" in str(value.reason)


def test_a_no_that_the_base_was_given_later_takes_no_signed_yes_away() -> None:
    facts = some_base_facts(has_systemic_risk=declared("no", by="nobody in particular", at=NOW))
    base = a_base_input(record=a_base_record(facts=facts), statement=a_digest("base statement"))
    merged = a_merge(a_parent(1, **SIGNED), a_parent(2), base=base)
    assert merged.base[0].has_systemic_risk.value == "yes"


def test_what_was_signed_of_another_base_is_not_taken_over() -> None:
    other = a_base_record(identity=a_base_identity(weights=a_digest("other weights")))
    merged = a_merge(a_parent(1, **SIGNED), a_parent(2, **SIGNED), base=a_base_input(record=other))
    assert not merged.base[0].has_systemic_risk.known
    assert merged.upstream[0].eu_exclusion.value is None


def test_a_fact_against_a_signed_answer_is_refused_with_its_path() -> None:
    merged = a_merge(a_parent(1, **SIGNED), a_parent(2, **SIGNED))
    facts = {
        "asserted_by": "x",
        "upstream": {"*": {"eu_exclusion": "no"}},
        "base": {"small-llama": {"has_systemic_risk": "no"}},
    }
    problems = list(problems_of_facts(facts, at=NOW, bases=merged.base[:1], data=(), upstream=merged.upstream))
    text = " ".join(f"{problem}" for problem in problems)
    assert "upstream.*.eu_exclusion" in text
    assert "base.small-llama.has_systemic_risk" in text
