"""The paired change of answers where few of them changed: exact bounds of the shares that went up and down, in shares."""

import pytest
from scipy.stats import beta

from peft_registry.registry.evaluation.aggregate import FIGURES, StatisticsPlan
from peft_registry.registry.evaluation.extra_figures import further_figures
from peft_registry.registry.evaluation.readings import MILLIONTHS, Reading

ROWS = 80


def readings(arm, right, *, dataset="task-gsm8k"):
    for at in range(ROWS):
        id = f"row-{at:06}"
        yield Reading(
            dataset=dataset, id=id, category=None, cluster=id, arm=arm, metric="measure", condition="", unit=id,
            labels=("exact_match",), values=(MILLIONTHS * (at in right),), tokens=(0,),
        )  # fmt: skip


@pytest.mark.parametrize("dataset", ["task-gsm8k", "held-out-classes", "answers"])
@pytest.mark.parametrize(("before", "after"), [({3}, set()), (set(), {1, 2}), ({5, 6, 7}, {7, 8}), (set(), set())])
def test_the_interval_of_a_change_of_few_answers_holds_the_change_and_is_that_of_clopper_and_pearson(
    before, after, dataset
):
    plan = StatisticsPlan(thresholds={}, figures=FIGURES)
    (found,) = further_figures(
        [*readings("base", before, dataset=dataset), *readings("adapted", after, dataset=dataset)], plan
    )["measures"]
    lost, gained = len(before - after), len(after - before)
    assert found["change"] == pytest.approx((gained - lost) / ROWS)
    assert found["low"] == pytest.approx(-beta.ppf(0.975, lost + 1, ROWS - lost))
    assert found["high"] == pytest.approx(beta.ppf(0.975, gained + 1, ROWS - gained))
    assert found["low"] <= found["change"] <= found["high"]


def test_what_edition_6_signed_of_answers_keeps_its_figures():
    rows = [*readings("base", {3}, dataset="answers"), *readings("adapted", set(), dataset="answers")]
    (found,) = further_figures(rows, StatisticsPlan(thresholds={}, figures=6))["measures"]
    assert -1e-5 < found["low"] < found["high"] < 1e-5
