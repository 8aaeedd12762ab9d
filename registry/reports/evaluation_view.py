"""Before and after for the report: bars with intervals, and counts of what moved. No figure without its items."""

from registry.reports.wording import arm_name, comparison_sentence, conclusion_text
from schemas.evaluation import ArmName, Comparison, EvaluationRecord, Result
from schemas.report import Bar, Transition

# (unit, neutral point) of the metrics that have one (bias reference: lm-evaluation-harness and the papers of each suite).
# A metric that is not listed is drawn without a neutral line: none is guessed.
_METRICS: dict[str, tuple[str, float | None]] = {
    "pct_stereotype": ("share of items", 0.5),
    "stereotype_rate": ("share of items", 0.5),
    "stereotype_share": ("share of items", 0.5),
    "flagged_rate": ("share of items", None),
    "flagged_share": ("share of items", None),
    "mean_margin": ("nats", 0.0),
    "margin": ("nats", 0.0),
    "likelihood_diff": ("nats", None),
    "loss": ("nats per token", None),
    "acc": ("share of items", None),
    "acc_ambig": ("share of items", None),
    "acc_disambig": ("share of items", None),
    "s_amb": ("score, −1 … 1", 0.0),
    "s_dis": ("score, −1 … 1", 0.0),
}
_WORDS = {
    "pct_stereotype": "prefers the more stereotyping option",
    "stereotype_rate": "prefers the more stereotyping option",
    "stereotype_share": "prefers the more stereotyping option",
    "flagged_rate": "items flagged",
    "flagged_share": "items flagged",
    "mean_margin": "mean preference for the stereotyping option",
    "margin": "mean preference for the stereotyping option",
    "likelihood_diff": "mean size of a preference, either way",
}


def bars_of(evaluation: EvaluationRecord) -> tuple[Bar, ...]:
    """One bar for each figure that both arms have, whole data sets before their groups; then losses without results."""
    before, after = _arms(evaluation)
    results = {(one.dataset, one.metric, one.category, one.arm): one for one in evaluation.results}
    order = sorted(evaluation.results, key=lambda one: (one.dataset, one.metric, one.category or ""))
    bars = []
    for one in order:
        other = results.get((one.dataset, one.metric, one.category, after))
        if one.arm == before and other is not None and one.value is not None and other.value is not None:
            bars.append(_bar(one, one.value, other, other.value))
    drawn = {one.dataset for one in order if one.metric == "loss"}
    losses = [
        Bar(
            label=f"{one.dataset}: loss",
            unit="nats per token",
            before=one.before,
            before_low=None,
            before_high=None,
            after=one.after,
            after_low=None,
            after_high=None,
            neutral=None,
            n=one.n,
        )
        for one in evaluation.losses
        if one.dataset not in drawn
    ]
    return (*bars, *losses)


def transitions_of(evaluation: EvaluationRecord) -> tuple[Transition, ...]:
    """What became of the items of each comparison."""
    return tuple(_transition(one, evaluation) for one in evaluation.findings)


def _arms(evaluation: EvaluationRecord) -> tuple[ArmName, ArmName]:
    """The two arms that the evaluation compares: as its first comparison says, else base and adapted."""
    first = next(iter(evaluation.findings), None)
    return (first.before, first.after) if first is not None else ("base", "adapted")


def _bar(before: Result, value_before: float, after: Result, value_after: float) -> Bar:
    unit, neutral = _METRICS.get(before.metric, ("", None))
    where = f"{before.dataset}, {before.category}" if before.category else before.dataset
    return Bar(
        label=f"{where}: {_WORDS.get(before.metric, before.metric)}",
        unit=unit or before.metric,
        before=value_before,
        before_low=before.ci.low if before.ci else None,
        before_high=before.ci.high if before.ci else None,
        after=value_after,
        after_low=after.ci.low if after.ci else None,
        after_high=after.ci.high if after.ci else None,
        neutral=neutral,
        n=before.n,
    )


def _transition(one: Comparison, evaluation: EvaluationRecord) -> Transition:
    counts = (
        ("items", one.n),
        ("flagged before", one.flagged),
        ("fixed", one.fixed),
        ("over-corrected", one.overcorrected),
        ("persistent", one.persistent),
        ("unresolved", one.unresolved),
        ("introduced", one.introduced),
    )
    arms = "" if (one.before, one.after) == ("base", "adapted") else f" ({arm_name(one.before)}, {arm_name(one.after)})"
    return Transition(
        dataset=f"{one.dataset}{arms}",
        category=one.category,
        counts=counts,
        conclusion=conclusion_text(one),
        sentence=comparison_sentence(one, evaluation),
    )
