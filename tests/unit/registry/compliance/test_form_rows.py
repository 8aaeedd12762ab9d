"""Every row of the annexes and forms leads to fields of the record, or says why it does not."""

import pytest

from peft_registry.registry.compliance.fields import field_rules, schema_paths
from peft_registry.registry.compliance.form_rows import answered, counts_of_forms, forms
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import declared, measured
from tests.builders.records import NOW, a_merge_modification, a_modification_record

ANNEX_IV = "1(a) 1(b) 1(c) 1(d) 1(e) 1(f) 1(g) 1(h) 2(a) 2(b) 2(c) 2(d) 2(e) 2(f) 2(g) 2(h) 3 4 5 6 7 8 9"
ANNEX_XI = "1(a) 1(b) 1(c) 1(d) 1(e) 1(f) 2(a) 2(b) 2(c) 2(d) 2(e) S2.1 S2.2 S2.3"
ANNEX_XII = "1(a) 1(b) 1(c) 1(d) 1(e) 1(f) 1(g) 1(h) 2(a) 2(b) 2(c)"
# the forms have this many rows: head and 45 items; head, 1.1, 1.2, four of 1.3, 2.1 to 2.6, 3.1 to 3.3; sections 7.2 to 7.11
ROWS = {"annex_iv": 23, "annex_xi": 14, "annex_xii": 11, "mdf": 46, "pst": 17, "record": 124}
PLAIN = {"record_id", "schema_version", "record_created_at", "supersedes"}
# rows that no field of the first form of the record answered
NEW_SECTIONS = ("product.", "conformity.", "content.", "documentation.", "upstream", "power.")
EVERY_ROW = [pytest.param(row, id=f"{form.name} {row.row}") for form in forms().forms for row in form.rows]


def test_every_row_of_the_annexes_and_forms_is_listed_in_its_order():
    listed = {form.name: [row.row for row in form.rows] for form in forms().forms}
    assert {name: len(rows) for name, rows in listed.items()} == ROWS
    assert listed["annex_iv"] == ANNEX_IV.split()
    assert listed["annex_xi"] == ANNEX_XI.split()
    assert listed["annex_xii"] == ANNEX_XII.split()
    assert all(len(set(rows)) == len(rows) for rows in listed.values())


@pytest.mark.parametrize("row", EVERY_ROW)
def test_a_row_names_fields_that_there_are_or_says_why_none(row):
    assert bool(row.fields) != bool(row.outside)
    assert {value_path(field) for field in (*row.fields, *row.beside)} <= set(schema_paths()) | PLAIN
    assert set(row.where_asked) <= set(row.fields)
    assert not set(row.beside) & set(row.fields)


def value_path(field):
    """The path of the value that a field of a row is, or is a member of: `data[].crawler` of `data[].crawler.period`."""
    head, _, member = field.rpartition(".")
    rule = field_rules().by_path().get(head)
    return head if rule is not None and member in rule.members else field


def test_every_field_of_the_record_answers_a_row():
    named = {value_path(path) for form in forms().forms for row in form.rows for path in (*row.fields, *row.beside)}
    left_over = {rule.path for rule in field_rules().fields} - named
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
def test_each_row_is_filled_or_open_with_owner_and_reason_or_not_asked(record):
    made = record()
    for form in forms().forms:
        found = answered(made, form)
        assert [one.row for one in found] == list(form.rows)
        for one in found:
            assert (one.state == "open") == bool(one.gaps)
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
    assert rows["7"].state == "not asked"
    facts = {"asserted_by": "a lawyer", "high_risk": {"classification_after": "annex_iii_4"}}
    rows = {
        answer.row.row: answer for answer in answered(a_modification_record(facts=facts), forms().named("annex_iv"))
    }
    assert (rows["7"].state, rows["7"].gaps[0].owner) == ("open", "legal")
    facts["conformity"] = {"standards": ["none applied: the solutions are described in the design specification"]}
    rows = {
        answer.row.row: answer for answer in answered(a_modification_record(facts=facts), forms().named("annex_iv"))
    }
    assert rows["7"].state == "filled"


def test_the_counts_of_a_fine_tune_and_of_a_merge():
    assert [form.text for form in counts_of_forms(a_modification_record())] == FINE_TUNE.strip().splitlines()
    assert [form.text for form in counts_of_forms(a_merge_modification())] == MERGE.strip().splitlines()


FINE_TUNE = """
annex_iv: 23 rows, 5 filled, 7 open, 11 not asked
annex_xi: 14 rows, 4 filled, 5 open, 5 not asked
annex_xii: 11 rows, 4 filled, 3 open, 4 not asked
mdf: 46 rows, 23 filled, 5 open, 18 not asked
pst: 17 rows, 2 filled, 9 open, 6 not asked
record: 124 rows, 36 filled, 40 open, 48 not asked
"""
MERGE = """
annex_iv: 23 rows, 4 filled, 6 open, 13 not asked
annex_xi: 14 rows, 2 filled, 3 open, 9 not asked
annex_xii: 11 rows, 4 filled, 2 open, 5 not asked
mdf: 46 rows, 17 filled, 1 open, 28 not asked
pst: 17 rows, 1 filled, 2 open, 14 not asked
record: 124 rows, 34 filled, 34 open, 56 not asked
"""
