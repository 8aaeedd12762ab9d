"""What a record is asked for, and what counts as filled: no question waits for its own answer, and nothing empty answers one."""

import pytest

from peft_registry.registry.compliance.answers import open_questions
from peft_registry.registry.compliance.completeness import (
    completeness,
    conditions_of,
    counts_of_sections,
    is_filled,
    required_leaves,
)
from peft_registry.registry.compliance.fields import field_rules, leaves
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.schemas.values import declared, derived, measured, unknown
from tests.builders.records import NOW, a_merge_modification, a_modification_record
from tests.unit.registry.compliance.test_importing import an_import

OPEN = unknown("nobody has answered it")


def stated(value):
    return declared(value, by="alex", at=NOW)


def answered(record, **values):
    """The record with other values, `gpai__placing_date` for `gpai.placing_date`; nothing is derived anew."""
    return with_values(record, {path.replace("__", "."): value for path, value in values.items()})


def asked(record):
    return {leaf.path for leaf in required_leaves(record, conditions_of(record)) if not is_filled(leaf)}


IN_USE = {
    "gpai.placed_on_eu_market": stated("yes"),
    "gpai.verdict": derived("provider_modified", method="row G9"),
    "high_risk.classification_after": stated("annex_iii_1"),
    "high_risk.foreseen_in_initial_assessment": stated("yes"),
    "high_risk.article25_case": stated("b"),
    "modifier.country": stated("US"),
    "use.modalities": measured({"output": ["image"]}),
}
OF_DATA = {"data[0].personal_data": stated("yes"), "data[0].special_categories": stated("yes")}
GENERAL = {"base[0].is_gpai": stated("yes"), "base[0].has_systemic_risk": stated("yes"), "gpai.original_flop": OPEN}
VARIANTS = [
    an_import(),
    with_values(
        a_modification_record(),
        IN_USE
        | OF_DATA
        | GENERAL
        | {
            "method.kind": measured("qlora"),
            "energy.training_kwh": stated(1),
            "data[0].provenance_class": stated("synthetic_private"),
        },
    ),
    with_values(
        a_modification_record(),
        IN_USE
        | {
            "method.kind": measured("prompt_tuning"),
            "energy.training_kwh": OPEN,
            "base[0].is_gpai": stated("no"),
            "data[0].provenance_class": stated("web_crawl"),
        },
    ),
    with_values(a_merge_modification(), IN_USE),
]


def test_no_field_is_asked_for_only_once_it_is_answered():
    """With its own answer open, some record asks for it: else nobody ever does."""
    variants = [(record, {leaf.path for leaf in leaves(record)}) for record in VARIANTS]
    paths = [rule.path.replace("[]", "[0]") for rule in field_rules().fields if rule.required_when]
    never_asked = [
        path
        for path in paths
        if not any(path in there and path in asked(with_values(record, {path: OPEN})) for record, there in variants)
    ]
    assert never_asked == []


def test_a_system_that_is_classified_is_asked_for_its_name_and_none_where_there_is_no_system():
    record = a_modification_record()
    assert "high_risk.system_ref" not in asked(record)
    with_system = answered(record, high_risk__classification_after=stated("not_high_risk"))
    assert {"high_risk.system_ref", "high_risk.system_version"} <= asked(with_system)
    without = answered(record, high_risk__classification_after=stated("no_system"))
    assert "high_risk.system_ref" not in asked(without)


def test_an_attempt_at_an_estimate_is_asked_for_before_a_fixed_threshold_stands_in():
    estimated = answered(a_modification_record(), gpai__original_flop=derived(1e22, "FLOP", method="6·P·D"))
    assert "gpai.estimate_attempt" not in asked(estimated)
    assert "gpai.estimate_attempt" in asked(answered(estimated, gpai__original_flop=OPEN))
    narrow = with_values(estimated, {"gpai.original_flop": OPEN, "base[0].is_gpai": stated("no")})
    assert "gpai.estimate_attempt" not in asked(narrow), "of a base that is not general-purpose nobody asks"


@pytest.mark.parametrize("make", [a_modification_record, a_merge_modification])
def test_how_a_result_interacts_is_asked_of_every_record(make):
    """Art. 50 is about any system."""
    assert "product.interaction" in asked(make())


@pytest.mark.parametrize("empty", [[], [""], [" \n"], {}, {"what": ""}, [[]], [{"what": " "}], "", " \t"])
def test_an_empty_list_or_blank_text_fills_nothing(empty):
    record = answered(a_modification_record(), limitations__known=stated(empty))
    gap = next(gap for gap in completeness(record).open if gap.field == "limitations.known")
    assert str(gap.reason) == "what is recorded is empty"
    assert "limitations.known" in {question.path for question in open_questions(record)}


def test_what_the_tool_left_empty_fills_nothing_either():
    record = answered(a_modification_record(), evaluation__metrics=measured([]))
    assert "evaluation.metrics" in {gap.field for gap in completeness(record).open}


def test_none_is_an_answer_where_the_field_says_so():
    record = with_values(a_modification_record(), {"data[0].curation_steps": stated([])})
    assert "data[0].curation_steps" not in asked(record)
    lists = [rule for rule in field_rules().fields if rule.type == "list" and rule.owner != "tool"]
    says_so = {rule.path for rule in lists if rule.none_is_answer}
    assert says_so == {
        "base[].licence_flags", "base[].upstream_docs", "data[].curation_steps", "product.additional_assets"
    }  # fmt: skip
    assert all("or none" in field_rules().by_path()[path].description for path in says_so)


@pytest.mark.parametrize("record", [a_modification_record(), a_merge_modification()], ids=["a fine-tune", "a merge"])
def test_the_counts_of_the_sections_add_up_to_those_of_the_record(record):
    counts, whole = counts_of_sections(record), completeness(record)
    assert sum(count.filled for count in counts) == whole.filled
    assert sum(count.required for count in counts) == whole.total
    assert sum(count.open for count in counts) == len(whole.open)
    assert len({count.section for count in counts}) == len(counts)
    assert all(count.filled + count.open == count.required > 0 for count in counts)


def test_a_gap_is_counted_in_its_own_section_and_all_data_files_are_one():
    record = a_modification_record()
    before = {count.section: count for count in counts_of_sections(record)}
    answered_one = answered(record, use__intended=stated("sums for pupils"))
    after = {count.section: count for count in counts_of_sections(answered_one)}
    assert after["use"].filled == before["use"].filled + 1
    assert {name: count for name, count in after.items() if name != "use"} == {
        name: count for name, count in before.items() if name != "use"
    }
    two = record.revised(data=(*record.data, *record.data))
    assert [count.required for count in counts_of_sections(two) if count.section == "data"] == [
        2 * before["data"].required
    ]
