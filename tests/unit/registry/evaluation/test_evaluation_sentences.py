"""An evaluation in a few lines: which arms were compared, and their figures."""

import pytest

from peft_registry.registry.evaluation.aggregate import aggregate
from peft_registry.registry.evaluation.sentences import (
    answer_lines,
    as_read,
    compared_arms,
    comparison_line,
    loss_line,
    result_rows,
)
from peft_registry.schemas.codes import Said, code
from tests.builders.evaluation import NEWEST, a_table
from tests.builders.records import a_result, an_arm, an_evaluation


@pytest.mark.parametrize(
    ("arms", "shown"),
    [
        (("base", "adapted", "noise", "placebo"), "base → adapted"),
        (("parent", "merged", "noise"), "parent → merged"),
        (("base", "noise"), "base"),
    ],
)
def test_the_arms_are_those_that_were_compared_and_no_control(arms: tuple[str, ...], shown: str) -> None:
    assert compared_arms(an_evaluation(arms=tuple(an_arm(name) for name in arms))) == shown


def test_a_figure_stands_in_one_row_before_and_after_and_the_controls_on_none() -> None:
    results = tuple(a_result(arm=arm, value=value) for arm, value in (("base", 0.5), ("adapted", 0.25), ("noise", 0.9)))
    arms = tuple(an_arm(name) for name in ("base", "adapted", "noise"))
    (row,) = result_rows(an_evaluation(arms=arms, results=results, comparisons=(), losses=()))
    assert row[2].index("0.5000") < row[2].index("0.2500")
    assert "0.9000" not in row[2]


def test_a_loss_says_how_much_it_changed_and_within_which_bounds() -> None:
    evaluation = an_evaluation(results=(), comparisons=())
    (loss,) = evaluation.losses
    ((dataset, figure, text),) = result_rows(evaluation)
    assert (dataset, figure, text.split()[0]) == (loss.dataset, "loss change", f"−{-loss.change:.4f}")
    assert loss.change_ci is not None
    assert f"[−{-loss.change_ci.low:.4f}, −{-loss.change_ci.high:.4f}]" in text


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("1 clusters, fewer than 10", "1 cluster, fewer than 10"),
        (
            code("too_few_clusters", clusters=1, needs=10),
            "1 cluster (an item alone, or items that belong together), needs 10",
        ),
        ("6 clusters, fewer than 10", "6 clusters, fewer than 10"),
        ("11 clusters; 0.1 items; 1 items", "11 clusters; 0.1 items; 1 item"),
        (None, ""),
    ],
)
def test_one_is_singular(recorded: Said | None, shown: str) -> None:
    assert as_read(recorded) == shown


def test_a_loss_without_an_interval_says_why() -> None:
    (loss,) = an_evaluation().losses
    bare = loss.model_copy(update={"change_ci": None, "ci_null_reason": "change_ci: 1 clusters, fewer than 10"})
    assert "95 % interval " in loss_line(loss)
    assert f"no interval: 1 cluster, fewer than 10, n={loss.n})" in loss_line(bare)
    (row,) = result_rows(an_evaluation(results=(), comparisons=(), losses=(bare,)))
    assert "(no interval: 1 cluster, fewer than 10)" in row[2]


def test_whatever_is_below_zero_has_one_sign() -> None:
    harm = aggregate(a_table(lambda _: 2.0), NEWEST).comparisons[0]
    assert harm.opposite is not None and harm.opposite.left > harm.opposite.entered
    assert f"; opposite −{harm.opposite.left - harm.opposite.entered}: worse" in comparison_line(harm)
    undecided = code("not_shown", change=-3.0, low=-7.2, high=0.9, p=0.2, detectable=6.0)
    assert "−3.0 points [−7.2, +0.9]" in str(undecided)


@pytest.mark.parametrize(
    ("low", "said"), [(-0.1, ": inconclusive"), (0.0, ": inconclusive"), (0.01, "n=60)"), (None, "n=60)")]
)
def test_right_answers_are_inconclusive_where_the_interval_holds_zero(low: float | None, said: str) -> None:
    high = None if low is None else 0.4
    figures = {"before": 0.1, "after": 0.3, "change": 0.2, "low": low, "high": high, "n": 60}
    measures = [{"dataset": "held-out-classes", "metric": "accuracy"} | figures, {"metric": "f1"}, {"dataset": 1}]
    record = an_evaluation().revised(extra={"further": {"measures": measures}})
    (line,) = answer_lines([record])
    assert line.startswith("held-out-classes: accuracy 0.100 → 0.300") and line.endswith(said)
