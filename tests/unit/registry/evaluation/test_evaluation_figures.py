"""Figures, conclusions and guards from the item table."""

from dataclasses import replace

import pytest

from peft_registry.registry.evaluation.aggregate import StatisticsPlan, UnpairedItems, aggregate
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import missing_by_name
from tests.builders.evaluation import BAND, PLAN, a_table, base_margin, loss_items, margin_items


def whole(figures, after="adapted"):
    return next(one for one in figures.comparisons if one.category is None and one.after == after)


def result(figures, metric, arm, category=None):
    return next(r for r in figures.results if (r.metric, r.arm, r.category) == (metric, arm, category))


def fixes(at):
    """Every second stereotyped item becomes neutral; nothing else moves."""
    return 0.0 if at % 4 == 0 else base_margin(at)


def test_the_figures_of_an_arm():
    figures = aggregate(a_table(), PLAN)
    share = result(figures, "pct_stereotype", "base")
    assert (share.value, share.k, share.n) == (0.75, 90, 120)
    assert share.ci is not None and share.ci.method == code("wilson")
    assert share.ci_clustered is None and share.ci_null_reason == {"ci_clustered": code("items_are_clusters")}
    # of eight items: 2 1 3 -1 2 1 3 0
    assert result(figures, "mean_margin", "base").value == pytest.approx(11 / 8)
    assert result(figures, "likelihood_diff", "base").value == pytest.approx(13 / 8)
    assert result(figures, "flagged_rate", "base").value == 0.75
    assert result(figures, "pct_stereotype", "base", "gender").n == 60


def test_the_held_out_loss_is_in_nats_per_token_and_paired_by_row():
    figures = aggregate(a_table(), PLAN)
    loss = next(one for one in figures.losses if one.dataset == "held-out")
    extra = 0.01 * sum(range(12)) / sum(range(1, 13))
    assert (loss.before, loss.after, loss.change) == pytest.approx((3 + extra, 2 + extra, -1.0))
    assert loss.change_ci is not None and loss.change_ci.high == pytest.approx(-1.0)
    assert result(figures, "loss", "adapted").value == pytest.approx(loss.after)


def test_nothing_changed_is_inconclusive_and_has_no_flips():
    found = whole(aggregate(a_table(), PLAN))
    assert (found.fixed, found.introduced, found.overcorrected) == (0, 0, 0)
    assert found.conclusion == "inconclusive"
    assert found.test is not None and found.test.null_reason == code("not_testable", discordant=0, needs=6)


def test_many_fixes_and_no_introduction_are_better():
    found = whole(aggregate(a_table(fixes), PLAN))
    assert (found.flagged, found.fixed, found.introduced, found.net_change) == (90, 30, 0, -0.25)
    assert found.conclusion == "better"
    assert found.control is not None and found.control.fix_rate == 0.0


def test_fixes_of_a_model_that_lost_its_language_are_confounded():
    figures = aggregate(a_table(fixes, neutral=(2.0, 2.2)), PLAN)
    assert figures.guards.confounded
    assert whole(figures).conclusion == "confounded"


def test_five_percent_more_neutral_loss_is_still_tolerated():
    assert not aggregate(a_table(fixes, neutral=(2.0, 2.09)), PLAN).guards.confounded


def test_a_model_that_got_flatter_both_ways_is_not_better():
    both = lambda at: 0.0 if at % 4 == 0 or at % 8 == 3 else base_margin(at)  # noqa: E731
    assert whole(aggregate(a_table(both), PLAN)).conclusion == "changed"


def test_more_introduced_than_fixed_is_worse():
    assert whole(aggregate(a_table(lambda at: 2.0), PLAN)).conclusion == "worse"


def test_noise_that_moves_as_many_items_takes_the_conclusion_away():
    assert whole(aggregate(a_table(fixes, noise=fixes), PLAN)).conclusion == "inconclusive"


def harm(at):
    """Every neutral or inverted item becomes stereotyped, and two of a hundred are fixed."""
    if at % 4 == 3:
        return 2.0
    return 0.0 if at % 60 == 0 else base_margin(at)


def with_placebo(after, placebo):
    return [*a_table(after), *margin_items(placebo, "placebo")]


def test_a_placebo_that_moves_as_many_items_takes_praise_away_and_no_blame():
    shaken = lambda at: -base_margin(at)  # noqa: E731
    found = whole(aggregate(with_placebo(harm, shaken), replace(PLAN, figures=3)))
    assert (found.fixed, found.introduced, found.conclusion) == (2, 30, "worse")
    assert "a random adapter of the same size changed as many items" in str(found.conclusion_reason)
    assert whole(aggregate(with_placebo(fixes, shaken), replace(PLAN, figures=3))).conclusion == "inconclusive"


def test_what_an_older_edition_concluded_beside_a_placebo_stays():
    shaken = lambda at: -base_margin(at)  # noqa: E731
    assert whole(aggregate(with_placebo(harm, shaken), replace(PLAN, figures=2))).conclusion == "inconclusive"


def test_margins_that_moved_together_are_a_change():
    assert whole(aggregate(a_table(lambda at: base_margin(at) * 3), PLAN)).conclusion == "changed"


def test_fewer_than_a_hundred_items_claim_nothing():
    figures = aggregate(a_table(fixes), PLAN)
    by_category = [one for one in figures.comparisons if one.category is not None]
    assert {one.conclusion for one in by_category} == {"not_informative"}


def test_items_that_share_few_clusters_give_no_interval_and_no_verdict():
    figures = aggregate(a_table(fixes, clusters=6), PLAN)
    found = whole(figures)
    assert found.net_change_ci_clustered is None
    assert missing_by_name(found.ci_null_reason)["net_change_ci_clustered"] == code(
        "too_few_clusters", clusters=6, needs=10
    )
    assert found.conclusion in ("inconclusive", "changed")
    assert result(figures, "pct_stereotype", "base").ci_clustered is None


def test_clusters_widen_the_interval_of_a_rate():
    # with 20 clusters of 4-periodic items every cluster is of one kind
    found = result(aggregate(a_table(clusters=20), PLAN), "pct_stereotype", "base")
    assert found.ci_clustered.high - found.ci_clustered.low > 1.5 * (found.ci.high - found.ci.low)


def test_the_control_is_reported_and_not_tested():
    control = whole(aggregate(a_table(), PLAN), after="noise")
    assert control.test is None
    assert "0 of 120 items" in str(control.conclusion_reason)


def test_holm_counts_every_test_that_could_be_made():
    tests = [one.test for one in aggregate(a_table(fixes), PLAN).comparisons if one.test is not None]
    assert {test.family_size for test in tests} == {2}  # the whole set and `age`; `gender` has nothing discordant
    assert all(test.p_holm is None or test.p_holm >= test.p_raw for test in tests)


def test_swapped_roles_mirror_the_share_and_leave_the_size():
    swapped = StatisticsPlan(thresholds={"house.margin": BAND}, draws=50)
    mirrored = aggregate(margin_items(lambda at: -base_margin(at) - 0.1, "base"), swapped)
    plain = aggregate(margin_items(lambda at: base_margin(at) + 0.1, "base"), swapped)
    assert result(mirrored, "pct_stereotype", "base").value == 1 - result(plain, "pct_stereotype", "base").value
    assert result(mirrored, "likelihood_diff", "base").value == result(plain, "likelihood_diff", "base").value


def test_an_item_in_one_arm_only_is_no_comparison():
    with pytest.raises(UnpairedItems):
        aggregate(a_table()[1:], PLAN)


def test_losses_alone_are_an_evaluation_too():
    figures = aggregate([*loss_items(3.0, "base"), *loss_items(2.5, "adapted")], PLAN)
    assert figures.comparisons == ()
    assert figures.guards.both_options_less_likely_share is None
    assert figures.losses[0].change == pytest.approx(-0.5)
