"""Every row of the annexes and forms leads to fields of the record, or says why it does not."""

import re

import pytest

from peft_registry.registry.compliance.completeness import RequiredValues
from peft_registry.registry.compliance.fields import field_rules, schema_paths
from peft_registry.registry.compliance.form_rows import answered, counts_of_forms, forms, reason_in_words
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import declared, measured
from tests.builders.records import NOW, a_merge_modification, a_modification_record

ANNEX_IV = "1(a) 1(b) 1(c) 1(d) 1(e) 1(f) 1(g) 1(h) 2(a) 2(b) 2(c) 2(d) 2(e) 2(f) 2(g) 2(h) 3 4 5 6 7 8 9"
ANNEX_XI = "1(a) 1(b) 1(c) 1(d) 1(e) 1(f) 2(a) 2(b) 2(c) 2(d) 2(e) S2.1 S2.2 S2.3"
ANNEX_XII = "1(a) 1(b) 1(c) 1(d) 1(e) 1(f) 1(g) 1(h) 2(a) 2(b) 2(c)"
# the forms have this many rows: head and 45 items; head, 1.1, 1.2, four of 1.3, 2.1 to 2.6, 3.1 to 3.3; sections 7.2 to 7.11
ROWS = {"annex_iv": 23, "annex_xi": 14, "annex_xii": 11, "mdf": 46, "pst": 17, "record": 117}
PLAIN = {"record_id", "schema_version", "record_created_at", "supersedes"}
# rows that no field of the first form of the record answered
NEW_SECTIONS = ("product.", "conformity.", "content.", "documentation.", "upstream", "power.")
EVERY_ROW = [(f"{form.name} {row.row}", row) for form in forms().forms for row in form.rows]


def test_every_row_of_the_annexes_and_forms_is_listed_in_its_order():
    listed = {form.name: [row.row for row in form.rows] for form in forms().forms}
    assert {name: len(rows) for name, rows in listed.items()} == ROWS
    assert listed["annex_iv"] == ANNEX_IV.split()
    assert listed["annex_xi"] == ANNEX_XI.split()
    assert listed["annex_xii"] == ANNEX_XII.split()
    assert all(len(set(rows)) == len(rows) for rows in listed.values())


def test_every_row_names_fields_that_there_are_or_says_why_none():
    known = set(schema_paths()) | PLAIN
    for name, row in EVERY_ROW:
        assert bool(row.fields) != bool(row.outside), name
        assert {value_path(field) for field in (*row.fields, *row.beside)} <= known, name
        assert set(row.where_asked) <= set(row.fields), name
        assert not set(row.beside) & set(row.fields), name


def value_path(field):
    """The path of the value that a field of a row is, or is a member of: `data[].crawler` of `data[].crawler.period`."""
    head, _, member = field.rpartition(".")
    rule = field_rules().by_path().get(head)
    return head if rule is not None and member in rule.members else field


def test_the_intended_purpose_is_asked_once_and_answers_every_row_that_wants_it():
    asking = [
        rule.path
        for rule in field_rules().fields
        if rule.until is None and re.search("[Ii]ntended (purpose|use)", rule.label)
    ]
    assert asking == [
        "high_risk.intended_purpose_before",  # of what there was before
        "high_risk.intended_purpose_changed",
        "use.intended",
    ]
    wanting = [row for row in forms().named("annex_iv").rows if "ntended purpose" in row.content]
    assert all("use.intended" in row.fields for row in wanting)


def test_every_field_of_the_record_answers_a_row():
    named = {value_path(path) for form in forms().forms for row in form.rows for path in (*row.fields, *row.beside)}
    left_over = {rule.path for rule in field_rules().fields if rule.until is None} - named
    assert left_over <= {"upstream[].name"}, "a key that the facts file names, and no answer"


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("annex_iv", {"1(b)", "1(d)", "1(f)", "1(g)", "1(h)", "7", "8", "9"}),
        (
            "mdf",
            {"4", "7", "8", "13", "14", "15", "16", "17", "18", "19", "22", "23", "30", "31", "39"},
        ),
        ("pst", {"1.3 content", "1.3 acquisition", "2.6", "3.3"}),
    ],
)
def test_the_rows_that_had_no_field_have_one(name, rows):
    only_new = {
        row.row for row in forms().named(name).rows if all(path.startswith(NEW_SECTIONS) for path in row.fields)
    }
    assert only_new == rows


RECORDS = {"a fine-tune": a_modification_record, "a merge of two": a_merge_modification}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_each_row_is_filled_or_open_with_owner_and_reason_or_not_applicable_with_one(record):
    made = record()
    for form in forms().forms:
        found = answered(made, form)
        assert [one.row for one in found] == list(form.rows)
        for one in found:
            assert (one.state in ("open", "undecided")) == bool(one.gaps)
            assert (one.state == "not applicable") == (one.reason is not None)
            assert all(gap.owner and gap.reason for gap in one.gaps)


def test_an_empty_section_is_never_filled():
    """Completeness is not claimed for what is empty."""
    empty = ModificationRecord(record_id="r", record_created_at=NOW)
    filled = {
        (form.name, one.row.row) for form in forms().forms for one in answered(empty, form) if one.state == "filled"
    }
    assert filled == {("mdf", "0"), ("record", "7.2 record_id, schema_version"),
                      ("record", "7.2 record_created_at, supersedes")}  # fmt: skip


def states(record, name):
    return {answer.row.row: answer.state for answer in answered(record, forms().named(name))}


def test_one_field_of_several_fills_no_row_that_needs_all():
    """Annex XI Section 2 row 2 by the method alone, Annex XII 1(d) by the hardware, 2(a) by the versions of libraries."""
    record = a_modification_record()
    assert record.method.kind.known and record.use.required_hardware.known
    assert states(record, "annex_xi")["S2.2"] != "filled"
    assert states(record, "annex_xi")["2(a)"] != "filled"
    assert states(record, "annex_xii")["1(d)"] == "open"
    says = {"asserted_by": "sam", "product": {"interaction": "with people, through a page"}}
    assert states(a_modification_record(facts=says), "annex_xii")["1(d)"] == "filled"


CRAWLER = {
    "names": ["ours"],
    "purposes": "sums",
    "behaviour": "honours robots.txt",
    "period": "03/2026-05/2026",
    "source_types": "schools",
    "top_domains_ref": "https://example.org/domains",
}


def crawled(**over):
    crawler = {key: value for key, value in (CRAWLER | over).items() if value is not None}
    return {
        "asserted_by": "sam",
        "data": {
            "*": {
                "provenance_class": "web_crawl",
                "source_url": "https://example.org",
                "domain": "sums",
                "licence": "CC-BY-4.0",
                "crawler": crawler,
            }
        },
    }


@pytest.mark.parametrize("missing", CRAWLER)
def test_a_crawler_of_which_a_part_is_not_stated_leaves_the_row_open(missing):
    record = a_modification_record(facts=crawled(**{missing: None}))
    row = next(answer for answer in answered(record, forms().named("pst")) if answer.row.row == "2.3")
    assert row.state == "open"
    assert [gap.field.rpartition(".")[2] for gap in row.gaps] == [missing]


def test_section_2_of_the_public_summary_needs_all_its_parts():
    asked = a_modification_record(facts={"asserted_by": "sam", "data": {"*": {"provenance_class": "public_dataset"}}})
    assert {states(asked, "pst")[row] for row in ("2.1", "2.2.1", "2.2.2", "2.4")} == {"open"}
    everything = states(a_modification_record(facts=crawled()), "pst")
    assert {everything[row] for row in ("2.1", "2.2.1", "2.2.2", "2.3", "2.4", "2.5")} == {"filled"}


def test_an_empty_list_fills_no_row():
    record = with_values(
        a_modification_record(),
        {"limitations.known": declared([], by="sam", at=NOW), "evaluation.metrics": measured([])},
    )
    assert states(record, "record")["7.10 eval.metrics[]"] == "open"
    assert states(record, "record")["7.11 limitations"] == "open"


def test_an_answer_fills_its_row():
    rows = {answer.row.row: answer for answer in answered(a_modification_record(), forms().named("annex_iv"))}
    assert rows["7"].state == "undecided"
    assert [gap.field for gap in rows["7"].gaps] == ["high_risk.classification_after"]
    facts = {"asserted_by": "a lawyer", "high_risk": {"classification_after": "annex_iii_4"}}
    rows = {
        answer.row.row: answer for answer in answered(a_modification_record(facts=facts), forms().named("annex_iv"))
    }
    assert (rows["7"].state, rows["7"].gaps[0].owner) == ("open", "legal")
    solutions = ["none applied: the solutions are described in the design specification"]
    facts["conformity"] = {"standards": solutions}
    record = a_modification_record(facts=facts)
    rows = {answer.row.row: answer for answer in answered(record, forms().named("annex_iv"))}
    assert rows["7"].state == "open", "whoever trains proposes it"
    signed = declared(solutions, by="ada", at=NOW).revised(evidence=(Digest.of(b"the answers of an officer"),))
    record = record.revised(conformity=record.conformity.revised(standards=signed))
    rows = {answer.row.row: answer for answer in answered(record, forms().named("annex_iv"))}
    assert rows["7"].state == "filled"


def test_the_counts_of_a_fine_tune_and_of_a_merge():
    assert [form.text for form in counts_of_forms(a_modification_record())] == FINE_TUNE.strip().splitlines()
    assert [form.text for form in counts_of_forms(a_merge_modification())] == MERGE.strip().splitlines()


FINE_TUNE = """
annex_iv: 23 rows, 5 filled, 7 open, 11 undecided
annex_xi: 14 rows, 4 filled, 5 open, 5 undecided
annex_xii: 11 rows, 4 filled, 3 open, 4 undecided
mdf: 46 rows, 23 filled, 5 open, 18 undecided
pst: 17 rows, 2 filled, 9 open, 5 undecided, 1 not asked
record: 117 rows, 36 filled, 40 open, 33 undecided, 6 not applicable, 2 not asked
"""
MERGE = """
annex_iv: 23 rows, 4 filled, 6 open, 13 undecided
annex_xi: 14 rows, 2 filled, 3 open, 7 undecided, 2 not applicable
annex_xii: 11 rows, 4 filled, 2 open, 4 undecided, 1 not asked
mdf: 46 rows, 17 filled, 1 open, 16 undecided, 5 not applicable, 7 not asked
pst: 17 rows, 1 filled, 2 open, 4 undecided, 1 not applicable, 9 not asked
record: 117 rows, 34 filled, 34 open, 26 undecided, 8 not applicable, 15 not asked
"""


def test_what_a_condition_asks_is_not_applicable_once_that_is_decided_and_open_before():
    """A question that nobody has answered takes no other question away."""
    says = {
        "asserted_by": "sam",
        "gpai": {"placed_on_eu_market": "no"},
        "high_risk": {"classification_after": "no_system"},
    }
    before = {one.row.row: one for one in answered(a_modification_record(), forms().named("mdf"))}
    after = {one.row.row: one for one in answered(a_modification_record(facts=says), forms().named("mdf"))}
    assert (before["5"].state, [gap.field for gap in before["5"].gaps]) == ("undecided", ["gpai.placed_on_eu_market"])
    assert after["5"].state == "not applicable"
    assert reason_in_words(after["5"].reason) == "asked only where the result is placed on the Union market"
    assert after["5"].reason.parameters == {"conditions": ["eu"]}
    assert states(a_modification_record(facts=says), "annex_iv")["7"] == "not applicable"


def test_the_representative_of_a_modifier_in_the_union_is_not_applicable():
    placed = {"asserted_by": "sam", "gpai": {"placed_on_eu_market": "yes"}}
    found = {
        country: next(
            one
            for one in answered(
                a_modification_record(facts=placed | {"modifier": {"country": country}}), forms().named("record")
            )
            if one.row.row == "7.2 authorised_representative"
        )
        for country in ("US", "FR")
    }
    assert (found["US"].state, found["FR"].state) == ("open", "not applicable")
    assert found["FR"].reason.parameters == {"conditions": ["non_eu"]}


def test_what_one_data_file_decides_says_nothing_of_another():
    first, second = a_modification_record().data[0], a_modification_record().data[0].revised(name=measured("b.jsonl"))
    stated = declared("no", by="sam", at=NOW)
    record = a_modification_record().revised(data=(first.revised(personal_data=stated), second))
    required = RequiredValues(record)
    (one, other) = (required.why_not_required(leaf) for leaf in required.by_rule["data[].legal_basis"])
    assert (one.conditions, one.waits_for) == (("personal",), ())
    assert [leaf.path for leaf in other.waits_for] == ["data[1].personal_data"]


def test_a_row_of_which_somebody_says_that_there_is_no_answer_is_closed():
    says = {"asserted_by": "sam", "use": {"intended": {"not_applicable": "licence_forbids_to_say"}}}
    says["use"]["out_of_scope"] = {"not_applicable": "licence_forbids_to_say"}
    row = next(one for one in answered(a_modification_record(facts=says), forms().named("mdf")) if one.row.row == "21")
    assert (row.state, row.reason) == ("not applicable", code("licence_forbids_to_say"))
