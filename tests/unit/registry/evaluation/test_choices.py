"""Whoever signs an evaluation does not choose how a word follows from the items: each attack hides harm, or praises it."""

from dataclasses import replace

import pytest

from peft_registry.registry.evaluation.aggregate import FIGURES, aggregate
from peft_registry.registry.evaluation.items import Item
from peft_registry.registry.evaluation.leakage import LIMIT
from peft_registry.registry.evaluation.noise import widened
from peft_registry.registry.evaluation.readings import MILLIONTHS
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.registry.evaluation.states import state_of
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import PLAN as PLANNED
from peft_registry.schemas.evaluation import STATISTICS, Conclusion, EvaluationRecord, LeakageCheck, Threshold
from peft_registry.schemas.identity import Digest
from tests.builders.evaluation import BAND, PLAN, a_recorded_evaluation, a_table, base_margin, loss_items

METHOD = code("exact_or_two_edits", edits=2, runs=3, words=8, bearable=0.0125)
NOW = replace(PLAN, figures=FIGURES, reserved={})
WIDE = Threshold(lo=2.5, hi=2.9, source=BAND.source)


def harmful(at: int) -> float:
    """Every item that was not flagged is."""
    return 2.0 if base_margin(at) <= 0 else base_margin(at)


HARM = a_table(harmful)


def read_with(band: Threshold, table: list[Item]) -> list[Item]:
    """The same answers in another dead band."""
    return [
        item if item.margin is None else replace(item, state=state_of(item.margin / MILLIONTHS, band)) for item in table
    ]


def word_of(record: EvaluationRecord) -> Conclusion | None:
    return next((row.conclusion for row in record.findings if row.category is None), None)


CHOICES = {
    "a level at which no test has enough clusters": (HARM, replace(NOW, level=1 - 1e-15), "not_testable", "level"),
    "a margin within which everything is equal": (
        a_table(lambda at: 2.0 if at in (3, 7, 11, 15) else base_margin(at)),
        replace(NOW, margin=0.99),
        "unchanged",
        "margin",
    ),
    "the control in the place of the result": (HARM, replace(NOW, after="noise"), None, "arms"),
    "an arm that nobody scored": (HARM, replace(NOW, after="merged"), None, "arms"),
    "before and after exchanged": (
        a_table(lambda at: base_margin(at) or 2.0),
        replace(NOW, before="adapted", after="base"),
        "inconclusive",
        "arms",
    ),
    "a band in which nothing was flagged": (
        read_with(WIDE, HARM),
        replace(NOW, thresholds={"house.margin": WIDE}),
        "unchanged",
        "protocol.thresholds[house.margin].lo",
    ),
    "lost capability that does not count": (
        a_table(lambda at: 0.0 if at % 4 == 0 else base_margin(at), neutral=(2.0, 4.0)),
        replace(NOW, neutral_loss_ratio=9.0),
        "better",
        "neutral_loss_ratio",
    ),
    "lost capability that was not looked for": (
        [row for row in a_table(lambda at: 0.0 if at % 4 == 0 else base_margin(at)) if row.dataset != "neutral"],
        NOW,
        "better",
        "items[neutral]",
    ),
}


@pytest.mark.parametrize("attack", CHOICES)
def test_nobody_chooses_how_a_word_follows_from_the_items(attack):
    assert word_of(a_recorded_evaluation(HARM, NOW)[0]) == "worse"
    table, plan, word, place = CHOICES[attack]
    record, items = a_recorded_evaluation(table, plan)
    (whole, *_) = [row for row in aggregate(table, plan).comparisons if row.after == plan.after] or [None]
    assert (None if whole is None or plan.after == "noise" else whole.conclusion) == word
    assert any(place in found.figure for found in recheck(record, items))


def test_an_arm_that_was_recorded_was_asked_every_suite():
    """A suite that the adapted model was not asked has no word, and a placebo without rows is no control."""
    for missing in ("adapted", "noise"):
        table = [row for row in HARM if (row.dataset, row.arm) != ("house", missing)]
        record, items = a_recorded_evaluation(table, NOW)
        assert [found.figure for found in recheck(record, items)] == ["items[house].arm"]


def test_from_how_many_leaked_items_on_a_suite_says_nothing_is_the_same_in_every_evaluation():
    record, items = a_recorded_evaluation(HARM, NOW)
    for limit, found in ((LIMIT, []), (0.9, ["leakage_check.limit"])):
        check = LeakageCheck(method=METHOD, hits=0, dataset_digest=Digest.of(b"house"), limit=limit)
        checked = record.revised(leakage_check=check)
        assert [one.figure for one in recheck(checked, items) if "leakage" in one.figure] == found


def test_a_dead_band_of_a_policy_is_among_the_limitations_of_an_evaluation_under_it():
    """Without the policy's digest it would take the place of the evaluation that says `worse`."""
    key = "house.margin"
    record, items = a_recorded_evaluation(read_with(WIDE, HARM), replace(NOW, thresholds={key: WIDE}))
    suite = {"primary_endpoint": "net change", "dead_band": "policy", "thresholds": {key: WIDE.to_json()}}
    plan = {"suites": {"house": suite}}
    stated = record.revised(
        extra=record.extra | {PLANNED: {"plan": plan, "sha256": "sha256:" + "0" * 64}},
        protocol=record.protocol.revised(policy_sha256=Digest.of(b"policy")),
        limitations=(*record.limitations, code("band_of_the_policy", band=key, lo=WIDE.lo, hi=WIDE.hi)),
    )

    def places(of: EvaluationRecord) -> list[str]:
        return [found.figure for found in recheck(of, items) if not found.figure.startswith("extra.plan.sha256")]

    assert places(stated) == []
    assert places(stated.revised(limitations=record.limitations)) == ["limitations"]
    assert places(stated.revised(protocol=record.protocol)) == ["protocol.policy_sha256"]


def test_a_band_is_as_wide_as_the_base_moves_by_itself():
    table = a_table(noise=lambda at: base_margin(at) + (0.5 if at % 2 else -0.5))
    band = widened(BAND, 0.5)
    for stated, wrong in ((band, []), (BAND, ["protocol.thresholds[house.margin].lo"])):
        record, items = a_recorded_evaluation(
            read_with(stated, table), replace(NOW, thresholds={"house.margin": stated})
        )
        assert [found.figure for found in recheck(record, items) if found.figure.endswith(".lo")] == wrong


def test_a_data_set_has_one_metric_and_with_it_one_primary_endpoint():
    losses = [row for arm in ("base", "adapted", "noise") for row in loss_items(2.0, arm, dataset="house")]
    record, items = a_recorded_evaluation([*HARM, *losses], NOW)
    assert "items[house].metric" in [found.figure for found in recheck(record, items)]


@pytest.mark.parametrize("margin", [0, 0.0, -0.05, 1, "wide"])
def test_a_margin_of_nothing_or_of_everything_is_no_plan(margin):
    record, items = a_recorded_evaluation(HARM, NOW)
    stated = record.revised(extra=record.extra | {STATISTICS: record.extra[STATISTICS] | {"margin": margin}})
    (found, *_) = recheck(stated, items)
    assert "is not between 0 and 1" in found.recomputed
