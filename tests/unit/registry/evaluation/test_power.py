"""What a comparison can show is known before it is scored, and a record's plan cannot say it otherwise."""

import pytest

from peft_registry.registry.evaluation.halves import NOT_SELECTED, OFF_SCREEN
from peft_registry.registry.evaluation.power import operating_rows, shown_by
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import PLAN, DatasetUsed
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.suites import suites
from tests.builders.evaluation import ITEMS, a_recorded_evaluation


def used(name: str = "house", **changes: object) -> DatasetUsed:
    facts = {"version": "2", "licence": "Apache-2.0", "file": "f", "rows_total": 640, "rows_used": 640}
    return DatasetUsed.from_json({"name": name, "sha256": str(Digest.of(b"own"))} | facts | changes)


def of_table(suite: str, part: str) -> dict[str, object]:
    row = next(row for row in operating_rows() if (row["suite"], row["part"]) == (suite, part))
    return {"sha256": row["dataset"]} | ({} if part == "whole" else {"half": part})


def clusters(rows: int, of: int) -> list[str]:
    return [str(at % of) for at in range(rows)]


# 2^(1 − k) is at most 0.05 from k = 6 on
KNOWN_BEFORE = {
    "one cluster": (used(), clusters(640, 1), {"testable": "cannot_be_tested"}),
    "five clusters": (used(), clusters(640, 5), {"testable": "cannot_be_tested"}),
    "six clusters": (used(), clusters(640, 6), {"testable": "can_be_tested"}),
    "a category of two items": (used(), clusters(2, 2), {"testable": "cannot_be_tested"}),
    "99 items": (used(), clusters(99, 99), {"testable": "too_few_for_a_claim"}),
    "the screen": (used(half="development", excluded={OFF_SCREEN.code: 480}), clusters(160, 40), {"testable": "only_a_screen"}),
    "the shipped half": (
        used(**of_table("house 2", "test")),
        clusters(640, 40),
        {"testable": "can_be_tested", "detectable": "finds_a_change"},
    ),
    "some rows of the shipped half": (
        used(**of_table("house 2", "test"), excluded={NOT_SELECTED.code: 240}),
        clusters(400, 40),
        {"testable": "can_be_tested"},
    ),
    "rows of which several are one item": (
        used("gg-bbq", **of_table("gg-bbq", "test")),
        clusters(384, 11),
        {"testable": "can_be_tested", "detectable": "too_few_for_a_claim"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("asked", KNOWN_BEFORE)
def test_what_a_suite_can_show_is_known_before_it_is_scored(asked: str) -> None:
    dataset, of_rows, codes = KNOWN_BEFORE[asked]
    assert {key: said.code for key, said in shown_by(dataset, of_rows).items()} == codes


def test_the_change_that_is_told_is_the_one_of_the_page() -> None:
    said = shown_by(used(**of_table("house 2", "test")), clusters(640, 40))["detectable"]
    rows = [row["detectable"] for row in operating_rows() if (row["suite"], row["part"]) == ("house 2", "test")]
    assert (said.parameters["least"], said.parameters["most"]) == (min(rows), max(rows))


def test_a_plan_that_says_more_clusters_than_its_items_have_is_found_out() -> None:
    record, items = a_recorded_evaluation()
    own = code("can_be_tested", rows=ITEMS, clusters=ITEMS, needs=6)
    for stated, wrong in ((own.to_json(), []), (own.to_json() | {"clusters": 999}, [True]), ("many", [True])):
        planned = record.revised(extra=record.extra | {PLAN: {"plan": {"suites": {"house": {"testable": stated}}}}})
        places = [found.figure for found in recheck(planned, items)]
        assert [True for place in places if ".testable" in place] == wrong, places


def test_a_detectable_change_in_words_of_ones_own_is_found_out() -> None:
    record, items = a_recorded_evaluation()
    known = code("finds_a_change", least=6, most=9, power=0.8).to_json()
    for stated, count in ((known, 0), ("everything", 1), (known | {"least": "any"}, 1)):
        planned = record.revised(extra=record.extra | {PLAN: {"plan": {"suites": {"house": {"detectable": stated}}}}})
        assert len([found for found in recheck(planned, items) if ".detectable" in found.figure]) == count


@pytest.mark.parametrize("endpoint", [None, "", ["net change", "gap"], 1], ids=["none", "empty", "two", "a number"])
def test_a_plan_without_one_primary_endpoint_is_found_out(endpoint: object) -> None:
    record, items = a_recorded_evaluation()
    for stated, count in (("net change", 0), (endpoint, 1)):
        suites = {"house": {} if stated is None else {"primary_endpoint": stated}}
        planned = record.revised(extra=record.extra | {PLAN: {"plan": {"suites": suites}}})
        assert len([found for found in recheck(planned, items) if "primary_endpoint" in found.figure]) == count


def test_every_suite_has_one_primary_endpoint() -> None:
    assert all(suite.definition.primary_endpoint.strip() for suite in suites().values())
