"""What the record of a merge takes over from the records of what went in: data once each by digest, facts, purposes, questions."""

from typing import Any

import pytest

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.completeness import completeness, conditions_of, required_leaves
from peft_registry.registry.compliance.facts import overtaken_facts, with_facts
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.schemas.codes import code_in
from peft_registry.schemas.dataset import UNNAMED_ROWS, DataIdentity, RowSelection
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.run import FollowedTraining
from peft_registry.schemas.values import declared, unknown
from tests.builders.records import (
    NOW,
    a_data_identity,
    a_digest,
    a_merge_modification,
    a_merge_record,
    a_modification_record,
    a_run_record,
)

FACTS: dict[str, Any] = {
    "labelling": "by hand",
    "licence": "CC-BY-4.0",
    "provenance_class": "public_dataset",
    "personal_data": "no",
    "languages": ["en"],
}


def a_run_ancestor(
    label: str,
    data: tuple[DataIdentity, ...] = (),
    *,
    followed: FollowedTraining | None = None,
    use: dict[str, Any] | None = None,
    product: dict[str, Any] | None = None,
    gpai: dict[str, Any] | None = None,
    **facts: Any,
) -> Ancestor:
    """A training of a merge, with what `facts` state of each of its data."""
    stated: dict[str, Any] = {"asserted_by": f"the data owner of {label}"}
    stated |= {"data": {"*": facts}} if facts else {}
    stated |= {"use": use} if use else {}
    stated |= {"product": product} if product else {}
    stated |= {"gpai": gpai} if gpai else {}
    run = a_run_record(run_id=label, data=data or (a_data_identity(),), followed=followed)
    record = a_modification_record(record_id=label, name=label.rpartition(":")[0], run=run, facts=stated)
    manifest = a_digest(f"{label} manifest")
    return Ancestor(
        label=label,
        manifest=manifest,
        is_parent=True,
        run=run,
        record=record,
        statement=a_digest(f"statement of {label}"),
        runs=frozenset({manifest}),
    )


def merged(*ancestors: Ancestor, **over: Any) -> ModificationRecord:
    """The record of a merge of those that are parents."""
    parts = tuple(
        a_merge_record().ingredients[0].revised(label=ancestor.label, manifest=ancestor.manifest)
        for ancestor in ancestors
        if ancestor.is_parent
    )
    fields = {"merge": a_merge_record(ingredients=parts)} if parts else {}
    return a_merge_modification(ancestors=ancestors, **(fields | over))


def a_file(name: str, **over: Any) -> DataIdentity:
    return a_data_identity(name=name, sha256=a_digest(name), **over)


def test_a_merge_has_the_data_of_both_parents_with_their_facts_and_says_from_which_record() -> None:
    first = a_run_ancestor("a:1", (a_file("sums.jsonl"),), **FACTS)
    second = a_run_ancestor("b:1", (a_file("words.jsonl"),), licence="MIT", personal_data="yes")
    sums, words = merged(first, second).data
    assert (sums.name.value, words.name.value) == ("sums.jsonl", "words.jsonl")
    assert (sums.digest.value, sums.digest.source) == (str(a_digest("sums.jsonl")), "measured")
    assert (sums.n_points.value, sums.n_tokens.value, sums.bytes.value) == (200, 23_700, 48_211)
    assert {key: getattr(sums, key).value for key in FACTS} == FACTS
    licence = sums.licence
    assert (licence.source, licence.asserted_by, licence.asserted_at) == ("declared", "the data owner of a:1", NOW)
    assert str(licence.method) == "as recorded of a:1"
    assert licence.evidence == (a_digest("statement of a:1"),)
    assert (words.licence.value, words.personal_data.value, words.labelling.known) == ("MIT", "yes", False)
    assert words.personal_data.evidence == (a_digest("statement of b:1"),)


def test_a_file_of_both_parents_is_there_once_with_both_named() -> None:
    (data,) = merged(a_run_ancestor("a:1", **FACTS), a_run_ancestor("b:1", **FACTS)).data
    assert data.licence.value == "CC-BY-4.0"
    assert str(data.licence.method) == "as recorded of a:1 and b:1"
    assert data.licence.evidence == (a_digest("statement of a:1"), a_digest("statement of b:1"))
    assert data.n_points.value == 200


def test_rows_without_a_name_are_named_after_the_trainings_that_used_them() -> None:
    """A script's rows have no name where `datasets` knows none, as after `load_dataset("json", …)`."""
    asked = unknown("the script does not say")
    script = FollowedTraining(
        trainer="trl.SFTTrainer",
        objective=asked,
        optimiser=asked,
        schedule=asked,
        rows_used=asked,
        epochs=asked,
        modality=asked,
        script=asked,
        curve="its own",
    )
    first, second = (
        a_run_ancestor(label, (a_data_identity(name=UNNAMED_ROWS, sha256=a_digest(label)),), followed=script)
        for label in ("a:1", "b:1")
    )
    assert not first.data[0].name.known
    names = [(section.name.value, section.name.source) for section in merged(first, second).data]
    assert names == [("rows in memory of a:1", "derived"), ("rows in memory of b:1", "derived")]


def test_contradictory_facts_of_one_file_are_a_question_to_its_owner_naming_both() -> None:
    record = merged(
        a_run_ancestor("a:1", licence="MIT", personal_data="no", provenance_class="licensed"),
        a_run_ancestor("b:1", licence="CC-BY-4.0", personal_data="yes", provenance_class="licensed"),
    )
    (data,) = record.data
    assert str(data.licence.reason) == "the records of what went in differ: a:1 says MIT, b:1 says CC-BY-4.0"
    assert str(data.personal_data.reason) == "the records of what went in differ: a:1 says no, b:1 says yes"
    assert data.provenance_class.value == "licensed"
    gaps = {gap.field: gap for gap in completeness(record).open}
    assert gaps["data[0].licence"].owner == "data owner"
    assert gaps["data[0].licence"].reason == data.licence.reason
    assert "data[0].personal_data" in gaps


@pytest.mark.parametrize("key", ["personal_data", "special_categories"])
@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [("yes", None, "yes"), ("no", None, None), ("no", "no", "no"), (None, None, None), ("yes", "yes", "yes")],
)
def test_personal_data_are_there_if_any_parent_says_so_and_not_known_while_one_does_not_know(
    key: str, one: str | None, other: str | None, answer: str | None
) -> None:
    stated = [{} if value is None else {key: value} for value in (one, other)]
    (data,) = merged(a_run_ancestor("a:1", **stated[0]), a_run_ancestor("b:1", **stated[1])).data
    value = getattr(data, key)
    assert value.value == answer
    if (one, other) == ("no", None):
        assert str(value.reason) == "not known of b:1 (nobody has answered it); a:1 says no"


def test_what_one_parent_knows_of_a_file_holds_for_the_other() -> None:
    (data,) = merged(a_run_ancestor("a:1", licence="MIT"), a_run_ancestor("b:1")).data
    assert (data.licence.value, str(data.licence.method)) == ("MIT", "as recorded of a:1")


def test_a_fact_of_the_merge_answers_a_question_and_never_overrules_what_a_parent_signed() -> None:
    facts = {"asserted_by": "a lawyer", "data": {"sums.jsonl": {"licence": "CC0-1.0", "labelling": "by machine"}}}
    first, second = (
        a_run_ancestor("a:1", licence="MIT", labelling="by hand"),
        a_run_ancestor("b:1", licence="CC-BY-4.0"),
    )
    record = merged(first, second, facts=facts)
    (data,) = record.data
    assert (data.licence.value, data.licence.asserted_by) == ("CC0-1.0", "a lawyer")
    assert (data.labelling.value, data.labelling.asserted_by) == ("by hand", "the data owner of a:1")
    assert overtaken_facts(record, facts) == ("data.sums.jsonl.labelling",)


def test_a_fact_may_still_be_stated_anew_where_no_statement_holds_it() -> None:
    record = a_modification_record(facts={"asserted_by": "a", "use": {"intended": "sums"}})
    again = with_facts(record, {"asserted_by": "b", "use": {"intended": "products"}}, at=NOW)
    assert again.use.intended.value == "products"


def test_runs_that_used_a_file_differently_are_listed_and_a_lower_bound_is_named_as_one() -> None:
    rows = RowSelection(split="train", rule="first 50 rows", rows=50, rows_sha256=a_digest("50"), tokens=6_000)
    second = a_run_ancestor("b:1", (a_data_identity(selections=(rows,), rows_total=400),))
    (data,) = merged(a_run_ancestor("a:1", (a_data_identity(rows_total=400),)), second).data
    assert [(row["of"], row["split"], row["rows"]) for row in data.splits.value] == [
        ("a:1", "train", 180),
        ("a:1", "validation", 20),
        ("b:1", "train", 50),
    ]
    assert (data.n_points.value, data.n_points.source) == (200, "derived")
    unrecorded = "which rows several runs used is not recorded"
    assert (
        str(data.n_points.method)
        == f"at least: the most that one run used, of a:1 200, b:1 50; at most 250: {unrecorded}"
    )
    assert data.n_tokens.value == 23_700
    assert data.epochs.value == 2
    assert str(data.epochs.method) == "passes of all runs: a:1 1, b:1 1"


def a_part(rule: str, rows: int = 500, **over: Any) -> DataIdentity:
    """A part of a file of 2000 rows."""
    selection = RowSelection(split="train", rule=rule, rows=rows, rows_sha256=a_digest(rule), tokens=10 * rows)
    return a_data_identity(selections=(selection,), rows_total=2000, **over)


def test_equal_counts_of_different_rows_of_a_file_are_not_one_count_and_the_overlap_is_asked_for() -> None:
    record = merged(
        a_run_ancestor("a:1", (a_part("first 500 rows"),)), a_run_ancestor("b:1", (a_part("500 drawn rows"),))
    )
    (data,) = record.data
    assert (data.n_points.value, data.n_points.source, data.n_points.unit) == (500, "derived", "rows")
    assert "at least" in str(data.n_points.method) and "at most 1000" in str(data.n_points.method)
    assert "at most 10000" in str(data.n_tokens.method)
    assert data.n_points.evidence == (a_digest("statement of a:1"), a_digest("statement of b:1"))
    asked = {gap.field: gap for gap in completeness(record).open}["data_gaps"]
    assert asked.owner == "data owner"
    assert "sums.jsonl: a:1 and b:1 used different selections of its rows" in str(asked.reason)
    known = merged(*(a_run_ancestor(label, (a_part("first 500 rows"),)) for label in ("a:1", "b:1")))
    assert (known.data[0].n_points.value, known.data[0].n_points.source) == (500, "measured")
    assert "data_gaps" not in {gap.field for gap in completeness(known).open}


def test_rows_of_different_files_add_up_whatever_their_counts_are() -> None:
    record = merged(
        *(a_run_ancestor(f"{name}:1", (a_part(name, name=name, sha256=a_digest(name)),)) for name in ("a", "b"))
    )
    assert [data.n_points.value for data in record.data] == [500, 500]
    assert "data_gaps" not in {gap.field for gap in completeness(record).open}


@pytest.mark.parametrize(
    ("counts", "rows_total", "rows", "method"),
    [
        ((500, 2000), 2000, 2000, "every row of the file, which b:1 used; a:1 500, b:1 2000"),
        ((1500, 1800), 2000, 1800, "at most 2000"),
        ((500, 700), 9000, 700, "at most 1200"),
    ],
)
def test_rows_of_one_file_are_between_the_most_of_one_run_and_all_that_there_are(
    counts: tuple[int, int], rows_total: int, rows: int, method: str
) -> None:
    parts = [a_part(f"{count} rows", count).revised(rows_total=rows_total) for count in counts]
    (data,) = merged(a_run_ancestor("a:1", (parts[0],)), a_run_ancestor("b:1", (parts[1],))).data
    assert data.n_points.value == rows
    assert method in str(data.n_points.method)


def test_two_splits_of_one_file_may_have_trained_on_what_the_other_held_out() -> None:
    def split(seed: int) -> DataIdentity:
        parts = [
            RowSelection(
                split=name, rule=f"seed {seed}", rows=rows, rows_sha256=a_digest(f"{name} {seed}"), tokens=rows
            )
            for name, rows in (("train", 180), ("validation", 20))
        ]
        return a_data_identity(selections=tuple(parts))

    record = merged(a_run_ancestor("a:1", (split(1),)), a_run_ancestor("b:1", (split(2),)))
    assert "b:1 trained on it, a:1 held rows of it out, perhaps the same" in str(record.data_gaps.reason)
    same = merged(a_run_ancestor("a:1", (split(1),)), a_run_ancestor("b:1", (split(1),)))
    assert str(same.data_gaps.reason) == "nobody has answered it"


def test_a_file_that_one_parent_trained_on_and_another_held_out_is_a_question_and_a_limitation() -> None:
    held_out = RowSelection(split="validation", rule="all rows", rows=200, rows_sha256=a_digest("all"), tokens=23_700)
    trained_on = RowSelection(split="train", rule="all rows", rows=200, rows_sha256=a_digest("all"), tokens=23_700)
    record = merged(
        a_run_ancestor("a:1", (a_data_identity(selections=(trained_on,)),)),
        a_run_ancestor("b:1", (a_data_identity(selections=(held_out,)),)),
    )
    text = "sums.jsonl: a:1 trained on it, b:1 held it out"
    assert text in str(record.data_gaps.reason)
    assert any(text in str(code_in(limit)) for limit in record.evaluation.limitations.value)
    assert "data_gaps" in {gap.field for gap in completeness(record).open}


def test_two_files_of_one_name_are_told_apart() -> None:
    first = a_run_ancestor("a:1", (a_data_identity(sha256=a_digest("x")),))
    second = a_run_ancestor("b:1", (a_data_identity(sha256=a_digest("y")),))
    names = {data.name.value: data.digest.value for data in merged(first, second).data}
    assert names == {"sums.jsonl of a:1": str(a_digest("x")), "sums.jsonl of b:1": str(a_digest("y"))}


def test_the_order_of_the_parents_changes_nothing() -> None:
    first, second = a_run_ancestor("a:1", **FACTS), a_run_ancestor("b:1", (a_file("words.jsonl"), a_data_identity()))
    one, other = merged(first, second), merged(second, first)
    assert (one.data, one.use, one.data_gaps) == (other.data, other.use, other.data_gaps)


def test_a_parent_of_which_nothing_is_recorded_is_data_that_nobody_knows_and_never_no_data() -> None:
    manifest = a_digest("imported manifest")
    imported = Ancestor(label="b:1", manifest=manifest, is_parent=True, has_trained=True, runs=frozenset({manifest}))
    record = merged(a_run_ancestor("a:1", **FACTS), imported)
    unrecorded = {data.name.value: data for data in record.data}["data of b:1"]
    assert str(unrecorded.personal_data.reason) == "nothing is recorded of what b:1 was trained on"
    assert not unrecorded.digest.known
    open_fields = {gap.field for gap in completeness(record).open}
    position = [data.name.value for data in record.data].index("data of b:1")
    assert {f"data[{position}].personal_data", f"data[{position}].licence", f"data[{position}].digest"} <= open_fields


def a_merge_ancestor(label: str, *below: Ancestor, is_parent: bool = True, **facts: Any) -> Ancestor:
    """A merge of what is below it; `facts` are stated of each of its data."""
    stated = {"asserted_by": f"the data owner of {label}", "data": {"*": facts}} if facts else None
    return Ancestor(
        label=label,
        manifest=a_digest(f"{label} manifest"),
        is_parent=is_parent,
        has_trained=False,
        record=merged(*below, record_id=label, facts=stated),
        statement=a_digest(f"statement of {label}"),
        runs=frozenset(digest for one in below for digest in one.runs),
    )


def below(ancestor: Ancestor) -> Ancestor:
    return ancestor.revised(is_parent=False)


def test_a_merge_of_a_merge_has_every_file_once_with_the_runs_as_source() -> None:
    first, second = a_run_ancestor("a:1", **FACTS), a_run_ancestor("b:1", (a_file("words.jsonl"),))
    third = a_run_ancestor("c:1", (a_file("words.jsonl"), a_file("rhymes.jsonl")), licence="MIT")
    middle = a_merge_ancestor("ab:1", first, second)
    record = merged(middle, below(first), below(second), third)
    assert [data.name.value for data in record.data] == ["rhymes.jsonl", "sums.jsonl", "words.jsonl"]
    assert str(record.data[1].licence.method) == "as recorded of a:1"
    assert (record.data[2].licence.value, str(record.data[2].licence.method)) == ("MIT", "as recorded of c:1")


def test_an_answer_in_the_record_of_a_merge_settles_what_its_own_parents_differ_in() -> None:
    first, second = a_run_ancestor("a:1", licence="MIT"), a_run_ancestor("b:1", licence="CC-BY-4.0")
    middle = a_merge_ancestor("ab:1", first, second, licence="CC0-1.0")
    (data,) = merged(middle, below(first), below(second)).data
    assert (data.licence.value, str(data.licence.method)) == ("CC0-1.0", "as recorded of ab:1")
    third = a_run_ancestor("c:1", licence="GPL-3.0-only")
    (data,) = merged(middle, below(first), below(second), third).data
    assert "c:1 says GPL-3.0-only" in str(data.licence.reason)


def test_a_fact_that_a_run_got_after_it_was_merged_is_the_one_that_counts() -> None:
    first, second = a_run_ancestor("a:1", licence="MIT"), a_run_ancestor("b:1", licence="MIT")
    middle = a_merge_ancestor("ab:1", first, second)
    corrected = [
        below(one).revised(
            record=a_run_ancestor(one.label, licence="GPL-3.0-only").record,
            earlier_statements=(one.statement,),
            statement=a_digest(f"later statement of {one.label}"),
        )
        for one in (first, second)
    ]
    (data,) = merged(middle, *corrected).data
    assert data.licence.value == "GPL-3.0-only"
    assert data.licence.evidence == tuple(one.statement for one in corrected)


def test_whether_a_merge_is_placed_is_asked_anew_with_what_its_parts_state_of_themselves() -> None:
    kept = {"placed_on_eu_market": "no"}
    ancestors = (a_run_ancestor("part-1:1", gpai=kept), a_run_ancestor("part-2:1"))
    placed = a_merge_modification(ancestors=ancestors).gpai.placed_on_eu_market
    assert not placed.known, "a no that nobody gave would put it out of scope"
    assert str(placed.reason) == "nobody has answered it of this result; of what went in: part-1:1 says no"
    facts = {"asserted_by": "whoever merges", "gpai": kept}
    assert a_merge_modification(ancestors=ancestors, facts=facts).gpai.placed_on_eu_market.value == "no"
    alone = a_merge_modification(ancestors=(a_run_ancestor("part-1:1"),)).gpai.placed_on_eu_market
    assert str(alone.reason) == "nobody has answered it"


def test_equal_purposes_are_inherited_and_different_ones_are_a_question_with_both() -> None:
    same = {"intended": "sums of two numbers", "out_of_scope": "anything else"}
    first = a_run_ancestor("a:1", use=same)
    use = merged(first, a_run_ancestor("b:1", use=same)).use
    assert (use.intended.value, str(use.intended.method)) == ("sums of two numbers", "as recorded of a:1 and b:1")
    record = merged(first, a_run_ancestor("b:1", use={"intended": "rhymes", "out_of_scope": "anything else"}))
    assert str(record.use.intended.reason) == (
        "the records of what went in differ: a:1 says sums of two numbers, b:1 says rhymes"
    )
    assert record.use.out_of_scope.value == "anything else"
    gap = next(gap for gap in completeness(record).open if gap.field == "use.intended")
    assert gap.owner == "modifier"
    partly = merged(first, a_run_ancestor("c:1")).use.intended
    assert str(partly.reason) == "not known of c:1 (nobody has answered it); a:1 says sums of two numbers"


def test_the_fields_of_inherited_data_are_asked_for_as_those_of_a_training() -> None:
    trained = a_run_ancestor("a:1").record
    assert trained is not None
    record = merged(a_run_ancestor("a:1"), a_run_ancestor("b:1"))

    def asked(of: Any) -> set[str]:
        return {leaf.path for leaf in required_leaves(of, conditions_of(of)) if leaf.path.startswith("data[0].")}

    assert asked(record) == asked(trained)
    assert "data[0].labelling" in asked(record)


def test_what_a_merge_below_took_over_is_no_answer_of_its_own() -> None:
    """What a merge took over from its runs is theirs, though their records were superseded since."""
    first, second = a_run_ancestor("a:1", licence="MIT"), a_run_ancestor("b:1", licence="MIT")
    middle = a_merge_ancestor("ab:1", first, second)
    assert middle.record is not None
    assert middle.record.data[0].licence.revised(method=None, evidence=()) == declared(
        "MIT", by="the data owner of a:1", at=NOW
    )
    without = [
        below(one).revised(
            record=a_run_ancestor(one.label).record,
            earlier_statements=(one.statement,),
            statement=a_digest(f"later statement of {one.label}"),
        )
        for one in (first, second)
    ]
    (data,) = merged(middle, *without).data
    assert not data.licence.known


def of_licence(label: str, licence: str | None) -> Ancestor:
    return a_run_ancestor(label, product=None if licence is None else {"licence": licence})


def test_the_result_has_a_licence_only_where_all_that_went_in_has_the_same() -> None:
    same = merged(of_licence("a:1", "Apache-2.0"), of_licence("b:1", "Apache-2.0")).product.licence
    assert (same.value, same.source) == ("Apache-2.0", "derived")
    assert same.evidence == (a_digest("statement of a:1"), a_digest("statement of b:1"))
    base = "the base small-llama Apache-2.0"
    other = merged(of_licence("a:1", "Apache-2.0"), of_licence("b:1", "MIT")).product.licence
    assert str(other.reason) == f"what went in has not one licence: {base}, a:1 Apache-2.0, b:1 MIT"
    partly = merged(of_licence("a:1", "Apache-2.0"), of_licence("b:1", None)).product.licence
    assert (
        str(partly.reason) == f"what went in has not one licence: {base}, a:1 Apache-2.0, b:1 (nobody has answered it)"
    )
    not_of_the_base = merged(of_licence("a:1", "MIT"), of_licence("b:1", "MIT")).product.licence
    assert str(not_of_the_base.reason) == f"what went in has not one licence: {base}, a:1 MIT, b:1 MIT"
    assert (
        str(merged(of_licence("a:1", None), of_licence("b:1", None)).product.licence.reason) == "nobody has answered it"
    )


def test_an_ingredient_has_its_own_licence_and_never_that_of_its_base() -> None:
    record = merged(of_licence("a:1", "MIT"), of_licence("b:1", None))
    base, first, second = (used.licence_id for used in record.base)
    assert (base.value, first.value, first.evidence) == ("Apache-2.0", "MIT", (a_digest("statement of a:1"),))
    assert (second.value, str(second.reason)) == (None, "nobody has answered it")
    assert {gap.field for gap in completeness(record).open} & {"base[1].licence_id", "base[2].licence_id"} == {
        "base[2].licence_id"
    }
    assert "not taken for it" in str(a_merge_modification().base[1].licence_id.reason)


def test_the_licence_that_an_earlier_version_copied_from_the_base_is_none_of_the_merge() -> None:
    record = merged(of_licence("a:1", None), of_licence("b:1", None))
    copied = record.base[0].licence_id
    older = with_values(record, {"base[1].licence_id": copied, "base[2].licence_id": copied})
    assert not with_assessment(older).product.licence.known


def test_a_licence_that_is_answered_later_reaches_that_of_the_merge() -> None:
    record = merged(of_licence("a:1", "Apache-2.0"), of_licence("b:1", None))
    answer = declared("Apache-2.0", by="a lawyer", at=NOW)
    after = with_assessment(with_values(record, {"base[2].licence_id": answer}))
    assert (after.product.licence.value, after.product.licence.source) == ("Apache-2.0", "derived")
    other = declared("MIT", by="a lawyer", at=NOW)
    again = with_assessment(with_values(after, {"base[0].licence_id": other}))
    assert "the base small-llama MIT" in str(again.product.licence.reason)
    stated = with_assessment(with_values(again, {"product.licence": other}))
    assert stated.product.licence == other


def test_whoever_merges_says_what_the_result_is_for_and_under_which_licence() -> None:
    parents = [
        a_run_ancestor(label, use={"intended": "sums"}, product={"licence": "Apache-2.0"}) for label in ("a:1", "b:1")
    ]
    facts = {"asserted_by": "a lawyer", "use": {"intended": "rhymes"}, "product": {"licence": "MIT"}}
    record = merged(*parents, facts=facts)
    assert (record.use.intended.value, record.product.licence.value) == ("rhymes", "MIT")
