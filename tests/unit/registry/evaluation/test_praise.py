"""`better` asks for more than figures: items of the test half, and trainings whose texts were compared with them."""

from dataclasses import replace

import pytest

from peft_registry.registry.evaluation.aggregate import FIGURES, NEUTRAL_SHIPPED, aggregate
from peft_registry.registry.evaluation.conclusions import conclusion_among
from peft_registry.registry.evaluation.leakage import leaked_of, left_out_of
from peft_registry.registry.evaluation.praise import ONE_TRY, Tries, own_bands_of, reserved_of
from peft_registry.registry.evaluation.recheck import TRIES, UnusablePlan, recheck, tries_of
from peft_registry.schemas.evaluation import STATISTICS, ComparedTexts, DatasetUsed, LeakageCheck, LeakedItems
from peft_registry.schemas.identity import Digest
from tests.builders.evaluation import PLAN, a_recorded_evaluation, a_table, base_margin, loss_items

KNOWN = ComparedTexts(training="mine:1", status="compared", hashes=Digest.of(b"texts"))
UNKNOWN = ComparedTexts(training="mine:1", status="unknown", reason="its training is not recorded here")


def fixed(at):
    """What an adversary's training on the items, or on sentences that say the same, looks like: fixed, and nothing introduced."""
    return 0.0 if at % 4 == 0 else base_margin(at)


def a_check(*trainings: ComparedTexts) -> LeakageCheck:
    """No item was found in what was trained on: it was paraphrased, or nobody knows the texts."""
    items = LeakedItems(dataset="house", kind="suite", items=224, hits=0, unchecked=0)
    return LeakageCheck(
        method="runs", hits=0, dataset_digest=Digest.of(b""), trainings=trainings, datasets=(items,), limit=0.1
    )


def used(half, **other):
    values = {"name": "house", "version": "1", "licence": "n", "file": "f", "sha256": Digest.of(b""), "half": half}
    return DatasetUsed(**{**values, "rows_total": 1, "rows_used": 1, "published": "shipped", **other})


@pytest.mark.parametrize(
    ("half", "check", "conclusion", "said"),
    [
        pytest.param(None, a_check(KNOWN), "inconclusive", "only the test half", id="paraphrases of the whole suite"),
        pytest.param(
            "development", a_check(KNOWN), "inconclusive", "only the test half", id="chosen on what was developed on"
        ),
        pytest.param(
            "test", a_check(UNKNOWN), "inconclusive", "mine:1 was trained on is unknown", id="trained elsewhere"
        ),
        pytest.param("test", a_check(KNOWN, UNKNOWN), "inconclusive", "is unknown", id="one ingredient from elsewhere"),
        pytest.param("test", a_check(), "inconclusive", "not compared", id="no training is known"),
        pytest.param("test", None, "inconclusive", "not compared", id="nothing was compared"),
        pytest.param("test", a_check(KNOWN), "better", "30 left and 0 entered", id="honest, on the test half"),
    ],
)
def test_praise_needs_the_test_half_and_known_trainings(half, check, conclusion, said):
    plan = replace(PLAN, figures=FIGURES, reserved=reserved_of([used(half)], check, has_placebo=True))
    figures = aggregate(a_table(fixed), plan)
    whole = next(one for one in figures.comparisons if one.category is None and one.after == "adapted")
    assert (whole.fixed, whole.introduced) == (30, 0)
    assert whole.conclusion == conclusion and said in str(whole.conclusion_reason)


SAMPLED = ComparedTexts(training="mine:1", status="sampled", hashes=Digest.of(b"texts"))


def a_sampled_check(hits, unchecked):
    items = LeakedItems(dataset="house", kind="suite", items=224, hits=hits, unchecked=unchecked)
    return LeakageCheck(
        method="runs", hits=hits, dataset_digest=Digest.of(b""), trainings=(SAMPLED,), datasets=(items,), limit=0.1
    )


@pytest.mark.parametrize(
    ("dataset", "check", "has_placebo", "said"),
    [
        pytest.param(
            used("test", excluded={"not_selected": 60}),
            a_check(KNOWN),
            True,
            "chosen",
            id="the best of many selections",
        ),
        pytest.param(
            used("test", excluded={"not selected": 60}),
            a_check(KNOWN),
            True,
            "chosen",
            id="the best of many selections, as it was said before there were codes",
        ),
        pytest.param(used("test"), a_check(KNOWN), False, "placebo", id="the control that says otherwise is left out"),
        pytest.param(
            used("test", published=None),
            a_check(KNOWN),
            True,
            "not known",
            id="a file whose direction was turned round",
        ),
        pytest.param(
            used("test"), a_sampled_check(2, 60), True, "could not be looked for", id="hashes filled up with junk rows"
        ),
    ],
)
def test_a_figure_that_could_have_been_chosen_is_not_called_better(dataset, check, has_placebo, said):
    plan = replace(PLAN, figures=FIGURES, reserved=reserved_of([dataset], check, has_placebo=has_placebo))
    figures = aggregate(a_table(fixed), plan)
    whole = next(one for one in figures.comparisons if one.category is None and one.after == "adapted")
    assert whole.conclusion == "inconclusive" and said in str(whole.conclusion_reason)


def test_hits_are_counted_among_the_items_that_could_be_looked_for():
    """Of 224 items 20 were found: fewer than 10 % of all, and all but four of those that a filled list still shows."""
    assert "house" in leaked_of(a_sampled_check(20, 200)).datasets
    assert leaked_of(a_sampled_check(20, 0)).datasets == {}
    assert left_out_of(a_sampled_check(20, 200)) == {"house": 0}


def test_harm_is_said_wherever_it_is_seen():
    plan = replace(PLAN, figures=FIGURES, reserved=reserved_of([used(None)], None, has_placebo=False))
    assert aggregate(a_table(lambda _: 2.0), plan).comparisons[0].conclusion == "worse"


def test_a_recheck_finds_praise_that_the_record_gives_no_reason_for():
    record, items = a_recorded_evaluation(a_table(fixed), replace(PLAN, figures=FIGURES))  # nothing reserved: `better`
    assert any("conclusion" in one.figure for one in recheck(record, items))


def test_an_edition_that_asked_for_figures_alone_is_recomputed_by_its_own_rule():
    record, items = a_recorded_evaluation(a_table(fixed), replace(PLAN, figures=3))
    assert record.comparisons[0].conclusion == "better"
    assert not any("conclusion" in one.figure for one in recheck(record, items))


def few_fixed(at):
    """Eight items fixed and none introduced: what one of ten trainings shows by chance more often than the tests of one allow."""
    return 0.0 if at in range(0, 32, 4) else base_margin(at)


def whole_of(table, tries):
    figures = aggregate(table, replace(PLAN, figures=FIGURES, tries=tries))
    return next(one for one in figures.comparisons if one.category is None and one.after == "adapted")


def test_the_best_of_ten_seeds_is_not_called_better_for_what_one_would_be():
    assert whole_of(a_table(few_fixed), ONE_TRY).conclusion == "better"
    best = whole_of(a_table(few_fixed), Tries(seeds=10, runs=11))
    assert (best.fixed, best.introduced, best.conclusion) == (8, 0, "inconclusive")
    # 2 · 0.5^8 = 0.0078
    assert "one of 10 seeds of this plan, begun in 11 runs" in str(best.conclusion_reason)
    assert "× 10 seeds" in str(best.conclusion_reason)


def test_what_ten_seeds_do_not_explain_is_better_and_says_that_it_is_one_of_ten():
    best = whole_of(a_table(fixed), Tries(seeds=10, runs=10))
    assert best.conclusion == "better"
    assert str(best.conclusion_reason).endswith("one of 10 seeds of this plan, begun in 10 runs")


def test_where_items_share_clusters_p_counts_clusters_for_so_many_seeds():
    """Of 24 clusters six have all that is fixed: p is 2 · 0.5^6, however many items that are."""

    def in_few_clusters(at):
        return 0.0 if at % 24 in (0, 1, 2, 8, 9, 10) else base_margin(at)

    table = a_table(in_few_clusters, count=240, clusters=24)
    of_seeds = {seeds: whole_of(table, Tries(seeds, seeds)) for seeds in (1, 2)}
    assert of_seeds[1].test.p_raw == pytest.approx(2 * 0.5**6)
    assert [of_seeds[seeds].conclusion for seeds in (1, 2)] == ["better", "inconclusive"]


def test_a_record_says_how_many_were_begun_and_one_that_hides_it_does_not_follow_from_its_items():
    plan = replace(PLAN, figures=3, tries=Tries(seeds=10, runs=11))
    record, items = a_recorded_evaluation(a_table(few_fixed), plan)
    assert tries_of(record) == Tries(seeds=10, runs=11)
    assert not any("conclusion" in one.figure for one in recheck(record, items))
    stated = {name: value for name, value in record.extra[STATISTICS].items() if name != TRIES}
    hidden = record.revised(extra={**record.extra, STATISTICS: stated})
    assert any("conclusion" in one.figure for one in recheck(hidden, items))
    spoilt = record.revised(extra={**record.extra, STATISTICS: {**stated, TRIES: {"seeds": 0, "runs": 1}}})
    with pytest.raises(UnusablePlan, match="how many seeds were"):
        tries_of(spoilt)


def test_runs_with_other_settings_are_recorded_and_move_no_figure():
    plan = replace(PLAN, figures=3, tries=Tries(others=9))
    record, items = a_recorded_evaluation(a_table(fixed), plan)
    assert record.extra[STATISTICS][TRIES] == {"seeds": 1, "runs": 1, "others": 9}
    assert tries_of(record) == Tries(others=9)
    assert not any("conclusion" in one.figure for one in recheck(record, items))
    assert record.comparisons == a_recorded_evaluation(a_table(fixed), replace(PLAN, figures=3))[0].comparisons
    stated = {**record.extra[STATISTICS], TRIES: {"seeds": 1, "runs": 1, "others": -1}}
    with pytest.raises(UnusablePlan, match="other settings"):
        tries_of(record.revised(extra={**record.extra, STATISTICS: stated}))


def test_praise_of_a_first_seed_is_judged_again_when_more_were_begun():
    first = whole_of(a_table(few_fixed), ONE_TRY)
    assert conclusion_among(first, ONE_TRY) == "better"
    assert conclusion_among(first, Tries(seeds=10, runs=10)) == "inconclusive"
    assert conclusion_among(whole_of(a_table(lambda _: 2.0), ONE_TRY), Tries(10, 10)) == "worse"


def test_a_guard_text_that_never_gets_worse_does_not_hide_what_the_shipped_one_shows():
    """Passages of which the base knows nothing, such as letters at random: a broken model is no worse at them."""
    beside = [*loss_items(2.0, "base", dataset=NEUTRAL_SHIPPED), *loss_items(2.4, "adapted", dataset=NEUTRAL_SHIPPED)]
    figures = aggregate([*a_table(fixed, neutral=(9.0, 8.9)), *beside], replace(PLAN, figures=FIGURES))
    whole = next(one for one in figures.comparisons if one.category is None and one.after == "adapted")
    assert (figures.guards.neutral_loss_before, figures.guards.confounded) == (pytest.approx(2.0, abs=0.1), True)
    assert whole.conclusion == "inconclusive" and "lost capability" in str(whole.conclusion_reason)


@pytest.mark.parametrize("band", ["policy", "of the policy"])  # as it is written, and as it was before there were codes
def test_a_dead_band_that_was_chosen_is_no_ground_for_praise(band):
    plan = {"suites": {"house": {"dead_band": band}, "bbq": {}}}
    assert own_bands_of(plan) == {"house"} and own_bands_of(None) == own_bands_of({"suites": 1}) == frozenset()
    reserved = reserved_of([used("test")], a_check(KNOWN), has_placebo=True, own_bands=own_bands_of(plan))
    whole = aggregate(a_table(fixed), replace(PLAN, figures=FIGURES, reserved=reserved)).comparisons[0]
    assert whole.conclusion == "inconclusive" and "dead band" in str(whole.conclusion_reason)
