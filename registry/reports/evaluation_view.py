"""Before and after for the report: bars with intervals, and counts of what moved. No figure without its items."""

from dataclasses import dataclass

from peft_registry.registry.evaluation.aggregate import (
    LostCapability,
    allowed_rise,
    derived_items,
    grouped_readings,
    lost_capability,
    may_have_lost,
    threshold_key,
)
from peft_registry.registry.evaluation.items import Item, read_items
from peft_registry.registry.evaluation.limits import readable_verdicts
from peft_registry.registry.evaluation.readings import MILLIONTHS
from peft_registry.registry.evaluation.recheck import plan_of
from peft_registry.registry.evaluation.states import STATES
from peft_registry.registry.reports.wording import arm_name, comparison_sentence, conclusion_text
from peft_registry.schemas.evaluation import ArmName, Comparison, EvaluationRecord, Interval, LimitVerdict, Result
from peft_registry.schemas.report import Bar, Flow, Spread, Transition

_BINS = 24

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
    "acc_norm": ("share of items", None),
    "acc_ambig": ("share of items", None),
    "acc_disambig": ("share of items", None),
    "s_amb": ("score, −1 … 1", 0.0),
    "s_dis": ("score, −1 … 1", 0.0),
    "acc_disambig_people_only": ("share of items", None),
    "accuracy_gap": ("difference of shares", 0.0),
    "undirected": ("share of items", None),
    "ambiguous_pair_flagged_rate": ("share of items", None),
    "disambiguated_conflict_flagged_rate": ("share of items", None),
    "ambiguous_pair_mean": ("nats", 0.0),
    "disambiguated_conflict_mean": ("nats", 0.0),
    "lms": ("points, 0 … 100", None),
    "ss": ("points, 0 … 100", 50.0),
    "icat": ("points, 0 … 100", None),
    "acc_pro": ("share of items", None),
    "acc_anti": ("share of items", None),
    "gap": ("difference of shares", 0.0),
    "acc_female": ("share of items", None),
    "acc_male": ("share of items", None),
    "acc_neutral": ("share of items", None),
    "acc_gotcha": ("share of items", None),
    "flip_rate": ("share of items", None),
    "mean_effect": ("nats", 0.0),
    "share_towards_stereotype": ("share of items", 0.5),
    "mean_js": ("nats of divergence", 0.0),
    "perplexity": ("perplexity", None),
    "exact_match": ("share of items", None),
    "accuracy": ("share of items", None),
    "f1": ("F1", None),
    "macro_f1": ("F1", None),
    "number_match": ("share of items", None),
}
_WORDS = {
    "pct_stereotype": "prefers the more stereotyping option",
    "stereotype_rate": "prefers the more stereotyping option",
    "stereotype_share": "prefers the more stereotyping option",
    "flagged_rate": "items flagged",
    "flagged_share": "items flagged",
    "lms": "prefers related text (lms)",
    "ss": "prefers the stereotype (ss)",
    "icat": "both combined (icat)",
    "acc_ambig": "right where the text does not say",
    "acc_disambig": "right where the text says who",
    "acc_disambig_people_only": "right where the text says who, of the two people alone",
    "accuracy_gap": "right with, less right against the stereotype, where the text says who",
    "undirected": "rows whose stereotype names nobody",
    "ambiguous_pair_flagged_rate": "question pairs flagged, where the text does not say",
    "ambiguous_pair_mean": "mean preference for the stereotype over a pair, where the text does not say",
    "disambiguated_conflict_flagged_rate": "items flagged, where the text contradicts the stereotype",
    "disambiguated_conflict_mean": "mean preference for the stereotype, where the text contradicts it",
    "s_amb": "bias score, ambiguous text",
    "s_dis": "bias score, clear text",
    "flip_rate": "referent flips with the pronoun's gender",
    "gap": "right with, less right against the stereotype",
    "mean_margin": "mean preference for the stereotyping option",
    "margin": "mean preference for the stereotyping option",
    "likelihood_diff": "mean size of a preference, either way",
}


@dataclass(frozen=True, slots=True)
class UndecidedLoss:
    """A loss on neutral text of which chance cannot be told from a loss of capability.

    Attributes:
        dataset: the text.
        change: of its loss, in nats a token.
        allowed: how much of that is within the limit.
        allowed_share: the same as a share of the loss before.
    """

    dataset: str
    change: Interval
    allowed: float
    allowed_share: float


@dataclass(frozen=True, slots=True)
class ShownEvaluation:
    """An evaluation on a report: its record, its item table where it is here, why it does not speak of the version, and when and by
    whom it was added after the registration (empty: it came with that)."""

    record: EvaluationRecord
    items: bytes | None = None
    stale: str | None = None
    added: str = ""

    @property
    def lost_capability(self) -> tuple[LostCapability, ...]:
        """The signs of lost capability that are beyond their limits."""
        return lost_capability(self.record.guards, plan_of(self.record))

    @property
    def undecided_capability(self) -> UndecidedLoss | None:
        """The loss on neutral text that may have risen beyond its limit although it did not by its own figure; None where none."""
        if self.lost_capability or not self.record.guards.confounded:
            return None
        plan = plan_of(self.record)
        loss = may_have_lost(self.record.losses, plan)
        if loss is None or loss.change_ci is None:
            return None
        return UndecidedLoss(loss.dataset, loss.change_ci, allowed_rise(loss, plan), plan.neutral_loss_ratio - 1)

    def unkept_limits(self, dataset: str) -> tuple[LimitVerdict, ...]:
        """The limits that were set for a data set and are not kept: broken or undecided."""
        return tuple(
            verdict
            for verdict in readable_verdicts(self.record)
            if verdict.dataset == dataset and verdict.decision != "held"
        )


def bars_of(evaluation: EvaluationRecord) -> tuple[Bar, ...]:
    """One bar for each figure that both arms have, whole data sets before their groups; then losses without results."""
    before, after = _arms(evaluation)
    results = {(row.dataset, row.metric, row.category, row.arm): row for row in evaluation.results}
    order = sorted(evaluation.results, key=lambda row: (row.dataset, row.metric, row.category or ""))
    bars = []
    for row in order:
        other = results.get((row.dataset, row.metric, row.category, after))
        if row.arm == before and other is not None and row.value is not None and other.value is not None:
            bars.append(_bar(row, row.value, other, other.value))
    drawn = {row.dataset for row in order if row.metric == "loss"}
    losses = [
        Bar(
            label=f"{row.dataset}: loss",
            unit="nats per token",
            before=row.before,
            before_low=None,
            before_high=None,
            after=row.after,
            after_low=None,
            after_high=None,
            neutral=None,
            n=row.n,
        )
        for row in evaluation.losses
        if row.dataset not in drawn
    ]
    return (*bars, *losses)


def transitions_of(evaluation: EvaluationRecord) -> tuple[Transition, ...]:
    """What became of the items of each comparison."""
    return tuple(_transition(comparison, evaluation) for comparison in evaluation.findings)


def flows_of(evaluation: EvaluationRecord) -> tuple[Flow, ...]:
    """The moves of each whole data set between states."""
    return tuple(
        Flow(
            label=_measured(comparison),
            states=STATES,
            moves=tuple(
                (before, after, comparison.transition_matrix[before][after])
                for before in STATES
                for after in STATES
                if comparison.transition_matrix[before][after]
            ),
        )
        for comparison in evaluation.findings
        if comparison.category is None and comparison.n
    )


def spreads_of(evaluation: EvaluationRecord, items: bytes) -> tuple[Spread, ...]:
    """How the margins of each whole data set lie in both arms, from the item table.

    Raises:
        MalformedItems, UnpairedItems: the table is not what was recorded.
    """
    rows, plan = read_items(items), plan_of(evaluation)
    margins: dict[tuple[str, str], dict[str, list[float]]] = {}
    for item in [*(row for row in rows if isinstance(row, Item)), *derived_items(grouped_readings(rows), plan)]:
        if item.margin is not None:
            arms = margins.setdefault((item.dataset, item.measure), {})
            arms.setdefault(item.arm, []).append(item.margin / MILLIONTHS)
    spreads = []
    for comparison in evaluation.findings:
        arms = margins.get((comparison.dataset, comparison.metric), {})
        if comparison.category is None and comparison.before in arms and comparison.after in arms:
            band = evaluation.protocol.thresholds[threshold_key(comparison.dataset, comparison.metric)].hi
            spreads.append(_spread(_measured(comparison), arms[comparison.before], arms[comparison.after], band))
    return tuple(spreads)


def _spread(label: str, before: list[float], after: list[float], band: float) -> Spread:
    """Bins over the middle 98 % of both arms, symmetric about 0."""
    both = sorted(abs(value) for value in (*before, *after))
    reach = max(both[int(0.98 * (len(both) - 1))], 2 * band, 1e-6)

    def counts(values: list[float]) -> tuple[int, ...]:
        heights = [0] * _BINS
        for value in values:
            heights[min(_BINS - 1, max(0, int((value + reach) / (2 * reach) * _BINS)))] += 1
        return tuple(heights)

    return Spread(
        label=label, unit="nats", low=-reach, high=reach, band=band, before=counts(before), after=counts(after)
    )


def _measured(comparison: Comparison) -> str:
    if comparison.metric == "margin":
        return comparison.dataset
    return f"{comparison.dataset}, {comparison.metric.replace('_', ' ')}"


def _arms(evaluation: EvaluationRecord) -> tuple[ArmName, ArmName]:
    """The two arms that the evaluation compares: as its first comparison says, else base and adapted."""
    first = next(iter(evaluation.findings), None)
    return (first.before, first.after) if first is not None else ("base", "adapted")


def _bar(before: Result, value_before: float, after: Result, value_after: float) -> Bar:
    # a measure of a task may have its filter behind its name
    unit, neutral = _METRICS.get(before.metric.partition(".")[0], ("", None))
    where = f"{before.dataset}, {before.category}" if before.category else before.dataset
    return Bar(
        label=f"{where}: {_WORDS.get(before.metric, before.metric)}",
        unit=unit or before.metric,
        before=value_before,
        before_low=before.interval.low if before.interval else None,
        before_high=before.interval.high if before.interval else None,
        after=value_after,
        after_low=after.interval.low if after.interval else None,
        after_high=after.interval.high if after.interval else None,
        neutral=neutral,
        n=before.n,
    )


def _transition(comparison: Comparison, evaluation: EvaluationRecord) -> Transition:
    counts = (
        ("items", comparison.n),
        ("flagged before", comparison.flagged),
        ("fixed", comparison.fixed),
        ("over-corrected", comparison.overcorrected),
        ("persistent", comparison.persistent),
        ("unresolved", comparison.unresolved),
        ("introduced", comparison.introduced),
    )
    arms = ""
    if (comparison.before, comparison.after) != ("base", "adapted"):  # the usual pair needs no naming
        arms = f" ({arm_name(comparison.before)}, {arm_name(comparison.after)})"
    return Transition(
        dataset=f"{_measured(comparison)}{arms}",
        category=comparison.category,
        counts=counts,
        conclusion=conclusion_text(comparison),
        sentence=comparison_sentence(comparison, evaluation),
    )
