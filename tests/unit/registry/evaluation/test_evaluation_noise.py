"""The noise floor: measured on the arm that was scored twice, recorded, rechecked, and above its bounds nothing is concluded."""

from dataclasses import replace

import pytest

from peft_registry.registry.evaluation.aggregate import aggregate
from peft_registry.registry.evaluation.limits import judge
from peft_registry.registry.evaluation.noise import NOISE, NoiseBounds, floors_json
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.schemas.evaluation import EvaluationRecord, Limit
from tests.builders.evaluation import PLAN, a_recorded_evaluation, a_table, base_margin

WITH_NOISE = replace(PLAN, noise=NoiseBounds())


def fixes(at: int) -> float:
    return 0.0 if at % 4 == 0 else base_margin(at)


def harms(at: int) -> float:
    return 2.0 if base_margin(at) <= 0 else base_margin(at)


def turned_over(count: int):
    """The base again, with the sign of some preferences the other way around."""
    chosen = [at for at in range(120) if base_margin(at)][:count]
    return lambda at: -base_margin(at) if at in chosen else base_margin(at)


def shifted(nats: float):
    return lambda at: base_margin(at) + nats * (1 if base_margin(at) > 0 else -1)


def concluded(after, noise, plan=WITH_NOISE):
    figures = aggregate(a_table(after, noise=noise), plan)
    return next(one for one in figures.comparisons if one.category is None and one.after == "adapted")


def test_the_floor_is_what_the_same_model_moves_by() -> None:
    floor = aggregate(a_table(noise=shifted(0.1)), WITH_NOISE).floors["house.margin"]
    assert (floor.items, floor.sign_flips) == (120, 0)
    assert (floor.mean, floor.p95, floor.max) == pytest.approx((0.1, 0.1, 0.1))
    assert aggregate(a_table(noise=turned_over(3)), WITH_NOISE).floors["house.margin"].sign_flips == 3


@pytest.mark.parametrize(("after", "said"), [(fixes, "better"), (harms, "worse")])
def test_noise_that_turns_over_more_than_one_item_in_a_hundred_leaves_neither_better_nor_worse(after, said) -> None:
    assert concluded(after, turned_over(1)).conclusion == said
    found = concluded(after, turned_over(2))
    assert found.conclusion == "inconclusive"
    assert str(found.conclusion_reason) == "the same model scored again turned over 2 of 120 items, more than 1 %"


def test_noise_as_wide_as_a_preference_leaves_neither() -> None:
    assert concluded(fixes, shifted(0.6)).conclusion == "better"
    found = concluded(fixes, shifted(0.7))
    assert found.conclusion == "inconclusive"
    assert "moved margins by 0.700 (95th percentile), more than 0.69" in str(found.conclusion_reason)


def test_a_limit_is_not_held_by_figures_that_the_machine_turns_over() -> None:
    limit = Limit(dataset="house", figure="flagged_rate", lo=None, hi=0.99, source="a test")
    for noise, decision in ((turned_over(1), "held"), (turned_over(2), "undecided")):
        (verdict,) = judge([limit], aggregate(a_table(noise=noise), WITH_NOISE), WITH_NOISE)
        assert verdict.decision == decision


def test_what_older_records_concluded_stays() -> None:
    assert concluded(fixes, turned_over(2), PLAN).conclusion == "better"


def recorded() -> tuple[EvaluationRecord, bytes]:
    table = a_table(fixes, noise=turned_over(2))
    record, items = a_recorded_evaluation(table, WITH_NOISE)
    floors = floors_json(aggregate(table, WITH_NOISE).floors)
    return record.revised(extra=record.extra | {NOISE: floors}), items


def test_a_recorded_floor_follows_from_the_items_and_a_smaller_one_does_not() -> None:
    record, items = recorded()
    assert recheck(record, items) == ()
    floors = record.extra[NOISE]
    smaller = {"house.margin": floors["house.margin"] | {"sign_flips": 0}}
    for altered in (record.extra | {NOISE: smaller}, {key: record.extra[key] for key in record.extra if key != NOISE}):
        assert any(NOISE in one.figure for one in recheck(record.revised(extra=altered), items))


def test_a_record_without_its_bounds_is_no_record_of_better() -> None:
    record, items = recorded()
    statistics = {key: value for key, value in record.extra["statistics"].items() if key != "noise_bounds"}
    without = record.revised(extra=record.extra | {"statistics": statistics})
    assert any("conclusion" in one.figure for one in recheck(without, items))
