"""Limits on figures: the interval decides and never the point, per group too, and a re-check follows every verdict."""

from dataclasses import replace
from typing import Any

import pytest

from peft_registry.registry.evaluation.aggregate import EvaluationFigures, aggregate
from peft_registry.registry.evaluation.items import read_items
from peft_registry.registry.evaluation.leakage import Leaked
from peft_registry.registry.evaluation.limits import (
    LimitBroken,
    LimitUndecided,
    judge,
    require_held,
    verdict_lines,
)
from peft_registry.registry.evaluation.plans import plan_discrepancies
from peft_registry.registry.evaluation.recheck import recheck, recheck_closed_forms
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import LIMITS, PLAN, EvaluationPlan, EvaluationRecord, Limit
from peft_registry.schemas.identity import Digest
from tests.builders.evaluation import PLAN as STATISTICS
from tests.builders.evaluation import a_recorded_evaluation, a_table, base_margin


def a_limit(figure: str, *, lo: float | None = None, hi: float | None = None, per_group: bool = False) -> Limit:
    return Limit(dataset="house", figure=figure, lo=lo, hi=hi, per_group=per_group, source="test")


def decided(figures: EvaluationFigures, *limits: Limit) -> list[str]:
    return [verdict.decision for verdict in judge(limits, figures, STATISTICS)]


FIGURES = aggregate(a_table(), STATISTICS)  # 90 of 120 stereotyped in both arms: Wilson 0.665 … 0.819


@pytest.mark.parametrize(
    ("lo", "hi", "decision"),
    [
        (0.49, 0.51, "broken"),
        (0.0, 0.66, "broken"),
        (0.0, 0.76, "undecided"),  # the point lies within, and its interval does not
        (0.0, 0.74, "undecided"),  # the point lies beyond, and its interval reaches back
        (0.0, 0.82, "held"),
        (0.83, 1.0, "broken"),
    ],
)
def test_the_interval_decides_and_not_the_point(lo: float, hi: float, decision: str) -> None:
    (verdict,) = judge([a_limit("pct_stereotype", lo=lo, hi=hi)], FIGURES, STATISTICS)
    assert verdict.value == 0.75
    assert (verdict.low, verdict.high) == (pytest.approx(0.6655, abs=1e-4), pytest.approx(0.8189, abs=1e-4))
    assert verdict.decision == decision


def test_a_figure_without_an_interval_or_without_a_comparison_is_undecided() -> None:
    few = aggregate(a_table(clusters=4), STATISTICS)
    assert decided(few, a_limit("pct_stereotype", hi=0.99)) == ["undecided"]  # Wilson alone would hold it
    alone = aggregate([row for row in a_table() if row.arm in ("base", "noise")], STATISTICS)
    assert decided(alone, a_limit("net_change", hi=0.5), a_limit("pct_stereotype", lo=0.4, hi=0.9)) == [
        "undecided",
        "held",
    ]


def test_training_on_the_suite_or_losing_the_language_holds_no_limit() -> None:
    fixed = lambda at: 0.0  # noqa: E731
    limit = a_limit("flagged_rate", hi=0.5)
    assert decided(aggregate(a_table(fixed), STATISTICS), limit) == ["held"]
    why = code("too_many_trained_on", hits=30, items=120, dataset="house", limit=0.1)
    leaked = replace(STATISTICS, leaked=Leaked({"house": why}))
    (verdict,) = judge([limit], aggregate(a_table(fixed), leaked), leaked)
    assert (verdict.decision, verdict.reason) == ("undecided", why)
    assert decided(aggregate(a_table(fixed, neutral=(2.0, 2.2)), STATISTICS), limit) == ["undecided"]
    assert decided(aggregate(a_table(neutral=(2.0, 2.2)), STATISTICS), a_limit("flagged_rate", hi=0.5)) == ["broken"]


def gender_gets_worse(at: int) -> float:
    return 2.0 if at % 2 else base_margin(at)


def test_non_inferiority_is_asked_of_each_group() -> None:
    figures = aggregate(a_table(gender_gets_worse), STATISTICS)
    verdicts = judge([a_limit("net_change", hi=0.35, per_group=True)], figures, STATISTICS)
    assert [(one.category, one.decision) for one in verdicts] == [
        (None, "held"),
        ("age", "held"),
        ("gender", "broken"),
    ]


def with_limits(asked: list[Limit], **more: Any) -> tuple[EvaluationRecord, bytes]:
    record, items = a_recorded_evaluation(a_table(), STATISTICS)
    verdicts = judge(asked, aggregate(read_items(items), STATISTICS), STATISTICS)
    stated = {
        "limits": [one.to_json() for one in asked],
        "not_planned": "no plan stands in a log",
        "verdicts": [one.to_json() for one in verdicts],
    } | more
    return record.revised(extra=record.extra | {LIMITS: stated}), items


def test_a_verdict_that_does_not_follow_is_found() -> None:
    limits = [a_limit("pct_stereotype", lo=0.49, hi=0.51)]
    record, items = with_limits(limits)
    assert recheck(record, items) == ()
    assert recheck_closed_forms(record, items) == ()
    assert any("broken: 0.75" in line for line in verdict_lines(record))
    held = [record.extra[LIMITS]["verdicts"][0] | {"decision": "held"}]
    (found,) = recheck(with_limits(limits, verdicts=held)[0], items)
    assert (found.figure, found.recorded, found.recomputed) == (
        "extra.limits.verdicts[0].decision",
        "held",
        "broken",
    )
    assert recheck(with_limits(limits, verdicts=[])[0], items)
    assert recheck(with_limits(limits, limits=[{"dataset": "house"}])[0], items)


def test_the_word_planned_needs_a_plan_in_the_log() -> None:
    record, _ = with_limits([a_limit("pct_stereotype", lo=0.4, hi=0.9)], not_planned=None)
    (found,) = plan_discrepancies(record, {})
    assert "no plan in a log is named" in str(found)
    assert not any(
        line.startswith("planned") for line in verdict_lines(with_limits([a_limit("flagged_rate", hi=1.0)])[0])
    )


def test_limits_that_were_not_planned_so_are_found() -> None:
    limits = [a_limit("pct_stereotype", lo=0.4, hi=0.9)]
    for planned, count in ((limits, 0), ([], 1), ([a_limit("pct_stereotype", lo=0.4, hi=0.8)], 1)):
        plan = {"policy": str(Digest.of(b"policy")), "suites": {}, LIMITS: [one.to_json() for one in planned]}
        record, _ = with_limits(limits, not_planned=None)
        stated = {"sha256": str(canonical_digest(plan)), "plan": plan, "statement": str(Digest.of(b"plan"))}
        record = record.revised(
            extra=record.extra | {PLAN: stated},
            protocol=record.protocol.revised(policy_sha256=Digest.of(b"policy")),
        )
        signed = EvaluationPlan(plan_sha256=canonical_digest(plan), policy_sha256=Digest.of(b"policy"), plan=plan)
        assert len(list(plan_discrepancies(record, {Digest.of(b"plan"): signed}))) == count


def test_what_is_broken_is_refused_and_what_is_undecided_could_not_be_checked() -> None:
    broken = with_limits([a_limit("pct_stereotype", lo=0.49, hi=0.51), a_limit("flagged_rate", hi=0.7)])[0]
    undecided = with_limits([a_limit("flagged_rate", hi=0.76)])[0]
    held = with_limits([a_limit("flagged_rate", hi=0.9)])[0]
    with pytest.raises(LimitBroken, match=r"house\.pct_stereotype") as caught:
        require_held([("cats:1", held), ("cats:2", undecided), ("cats:3", broken)])
    assert (caught.value.exit_code, caught.value.label) == (3, "cats:3")
    with pytest.raises(LimitUndecided) as unsure:
        require_held([("cats:1", held), ("cats:2", undecided)])
    assert unsure.value.exit_code == 5
    require_held([("cats:1", held)])


def test_a_wider_band_is_never_worse() -> None:
    order = {"broken": 0, "undecided": 1, "held": 2}
    found = [
        order[decided(FIGURES, a_limit("pct_stereotype", lo=0.74 - at / 50, hi=0.76 + at / 50))[0]] for at in range(12)
    ]
    assert found == sorted(found)
    assert found[-1] == 2
