"""What the model was trained on is in no comparison, and moves no figure of what stands before it."""

from dataclasses import replace

import pytest

from peft_registry.registry.evaluation.aggregate import FIGURES, aggregate
from peft_registry.registry.evaluation.leakage import EXCESS, excess_of, leaked_of, more_alike_than_chance
from peft_registry.registry.evaluation.praise import reserved_of
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.schemas.evaluation import (
    ComparedTexts,
    DatasetUsed,
    EvaluationRecord,
    LeakageCheck,
    LeakedItems,
    NearTexts,
)
from peft_registry.schemas.identity import Digest
from tests.builders.evaluation import PLAN, a_recorded_evaluation, a_table

LEAKED = ("i0000", "i0002", "i0003")  # two that are flagged, and one that is inverted
TABLE = a_table(lambda _: 2.0)
TRAININGS = (ComparedTexts(training="mine:1", status="compared", hashes=Digest.of(b"texts")),)


def a_check(left_out: tuple[str, ...], *, hits: int, near: NearTexts | None = None) -> LeakageCheck:
    entry = LeakedItems(dataset="house", kind="suite", items=120, hits=hits, left_out=left_out, near=near)
    return LeakageCheck(
        method="by nearness",
        hits=hits,
        dataset_digest=Digest.of(b""),
        trainings=TRAININGS,
        datasets=(entry,),
        limit=0.1,
    )


CHECK = a_check(LEAKED, hits=3)
NOW = replace(PLAN, figures=FIGURES)


def test_a_bases_figures_are_the_same_whatever_was_trained_beside_it():
    alone = aggregate(TABLE, NOW)
    beside = aggregate(TABLE, replace(NOW, leaked=leaked_of(CHECK)))
    for arm in ("base", "noise"):
        of_arm = [result for result in beside.results if result.arm == arm]
        assert of_arm and of_arm == [result for result in alone.results if result.arm == arm]
    assert beside.floors == alone.floors


def test_nothing_is_compared_on_what_was_trained_on():
    rest = [row for row in TABLE if row.id not in LEAKED]
    beside, without = aggregate(TABLE, replace(NOW, leaked=leaked_of(CHECK))), aggregate(rest, NOW)
    assert beside.comparisons == without.comparisons and beside.comparisons[0].n == 117
    assert [result for result in beside.results if result.arm == "adapted"] == [
        result for result in without.results if result.arm == "adapted"
    ]
    assert beside.guards == without.guards


def test_a_recheck_names_items_that_were_left_out_without_having_been_trained_on():
    record, items = a_recorded_evaluation(TABLE, replace(NOW, leaked=leaked_of(CHECK)))
    value = record.to_json()

    def found(check: LeakageCheck) -> set[str]:
        stated = EvaluationRecord.from_json(value | {"leakage_check": check.to_json()})
        return {one.figure for one in recheck(stated, items)}

    beside = {"leakage_check.method"}  # text of nobody
    assert found(CHECK) == beside
    named = "leakage_check.datasets[house].left_out"
    assert f"{named}: how many" in found(a_check(LEAKED, hits=2))
    assert f"{named}: in no row" in found(a_check((*LEAKED[:2], "i9999"), hits=3))
    # more are left out than were trained on, so that what an adapter did to them does not count
    assert any("comparisons" in figure for figure in found(a_check((*LEAKED, "i0004"), hits=4)))


def near(*, near: int, reference: int, groups: int = 400) -> NearTexts:
    return NearTexts(
        texts=400,
        exact=0,
        within_two_edits=0,
        two_edits_from=18,
        near=near,
        groups=groups,
        reference_texts=400,
        reference_near=reference,
    )


def test_the_excess_is_the_pooled_test_of_two_shares():
    # by hand: shares .15 and .05, pooled .10; standard error sqrt(.1 * .9 * (1/400 + 1/400)) = .021213
    assert excess_of(near(near=60, reference=20)) == pytest.approx(0.10 / 0.0212132, rel=1e-5)
    # texts of a template are near together: 100 templates are worth 100 texts
    assert excess_of(near(near=60, reference=20, groups=100)) == pytest.approx(0.10 / 0.0424264, rel=1e-5)
    assert excess_of(near(near=0, reference=0)) == 0.0
    assert excess_of(near(near=9, reference=0).revised(reference_texts=0)) is None


def test_a_suite_that_is_more_alike_than_chance_is_not_called_better_and_is_accused_of_nothing():
    used = DatasetUsed(
        name="house", version="1", licence="here", file="house.jsonl", sha256=Digest.of(b""), rows_total=120, rows_used=120,
        half="test", published="here",
    )  # fmt: skip
    alike, usual = (a_check((), hits=0, near=near(near=count, reference=20)) for count in (60, 30))
    assert excess_of(near(near=30, reference=20)) < EXCESS
    assert "more alike than chance" in str(reserved_of([used], alike, has_placebo=True)["house"])
    assert reserved_of([used], usual, has_placebo=True) == {}
    assert leaked_of(alike).datasets == {} and more_alike_than_chance(usual.datasets[0]) is None
