"""Quality that a model lost beyond the limits: in language, on held-out rows, in an earlier task, in correct answers, also to a
benchmark. Pure.

An interval that is recorded decides by the end that speaks for the model, so that noise accuses nobody; without one the two
figures do.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import exp

from peft_registry.registry.evaluation.aggregate import (
    NEUTRAL,
    NEUTRAL_SHIPPED,
    NEUTRAL_TEXT,
    StatisticsPlan,
    lost_capability,
)
from peft_registry.registry.evaluation.extra_figures import recorded_measures
from peft_registry.schemas.evaluation import EvaluationRecord, LossComparison, task_named

_GUARDS = (NEUTRAL, NEUTRAL_SHIPPED)  # whose loss the guards of a record speak of
# between 0 and 1: of a user's own metric nobody knows whether more is better
_OF_ANSWERS = ("accuracy", "macro_f1", "exact_match", "f1", "number_match")
TASK_SHARES = frozenset({"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "f1"})
"""The measures of lm-evaluation-harness that are between 0 and 1; of others their scale is not known."""
# the same for everybody: in a record of an earlier edition its signer chose them
_LIMITS = StatisticsPlan(thresholds={})
_MOST_NATS = 700.0  # exp() of more than 709 overflows a double


@dataclass(frozen=True, slots=True)
class LostQuality:
    """One thing that a model became worse at, with both figures and what was allowed; `is_loss`: in nats a token."""

    name: str
    before: float
    after: float
    limit: str
    is_loss: bool = False

    @property
    def line(self) -> str:
        """For people, a loss with its perplexity."""
        perplexity = ""
        if self.is_loss:
            before, after = (exp(min(loss, _MOST_NATS)) for loss in (self.before, self.after))
            perplexity = f" (perplexity {before:.4g} → {after:.4g})"
        return f"{self.name} {self.before:.4g} → {self.after:.4g}{perplexity}, {self.limit} is allowed"


def lost_quality(record: EvaluationRecord) -> tuple[LostQuality, ...]:
    """Everything in an evaluation that is beyond its limit."""
    guards = (
        LostQuality(sign.name, sign.before, sign.after, sign.limit, is_loss=sign.name == NEUTRAL_TEXT)
        for sign in lost_capability(record.guards, _LIMITS)
    )
    others = (loss for loss in record.losses if loss.dataset not in _GUARDS)
    return (*guards, *lost_losses(others), *_lost_answers(record))


def lost_losses(losses: Iterable[LossComparison]) -> Iterator[LostQuality]:
    """The losses that rose by more than is allowed."""
    ratio = _LIMITS.neutral_loss_ratio
    for loss in losses:
        rise = loss.change if loss.change_ci is None else loss.change_ci.low
        if rise > (ratio - 1) * loss.before:
            name = f"loss on {loss.dataset}"
            yield LostQuality(name, loss.before, loss.after, f"at most {ratio:g} times as much", is_loss=True)


def _lost_answers(record: EvaluationRecord) -> Iterator[LostQuality]:
    """The shares of right answers that fell by more than is allowed."""
    limit = _LIMITS.acc_disambig
    for measure in recorded_measures(record):
        before, after, change = (_number(measure.get(key)) for key in ("before", "after", "change"))
        if not _is_of_right_answers(record, measure) or before is None or after is None or change is None:
            continue
        high = _number(measure.get("high"))
        if (change if high is None else high) < -limit:
            dataset = str(measure.get("dataset"))
            name = f"{measure['metric']} on {task_named(dataset) or dataset}"
            yield LostQuality(name, before, after, f"a fall of at most {limit:g}")


def _is_of_right_answers(record: EvaluationRecord, measure: Mapping[str, object]) -> bool:
    """Whether a measure is a share of which more is better; of a task the record says which way is."""
    dataset, metric = str(measure.get("dataset")), str(measure.get("metric"))
    if task_named(dataset) is None:
        return metric in _OF_ANSWERS
    stated = record.stated_tasks.get(dataset, {}).get("measures")
    is_better_higher = isinstance(stated, Mapping) and stated.get(metric) == "higher"
    return is_better_higher and metric.partition(".")[0] in TASK_SHARES


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
