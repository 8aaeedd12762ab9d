"""Evaluations as MLflow's tables: results, what became of the items, and the items themselves. Pure.

MLflow's page shows such a file as a table that can be sorted and filtered. Everything that is recorded is here; the charts of a
run are a choice of it. Ids of items only: the text of an item is in no record.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.evaluation.items import Item, read_items
from peft_registry.registry.evaluation.readings import MILLIONTHS, Reading
from peft_registry.registry.evaluation.standing import with_repeated
from peft_registry.schemas.evaluation import Comparison, EvaluationRecord, Interval, LossComparison, missing_by_name

MAX_ITEMS = 20_000  # rows that a browser still sorts
_Cell = str | int | float | None

_RESULTS = ("dataset", "metric", "category", "arm", "value", "low", "high", "n", "note", "evaluation")
_OUTCOMES = (
    "dataset", "metric", "category", "before", "after", "n", "conclusion", "flagged", "fixed", "introduced", "overcorrected",
    "persistent", "unresolved", "fix_rate", "introduction_rate", "net_fix_rate", "net_change", "net_change_low", "net_change_high",
    "mean_margin_change", "loss_before", "loss_after", "reason", "evaluation",
)  # fmt: skip
_ITEMS = ("dataset", "item", "category", "cluster", "metric", "arm", "value", "state", "tokens", "evaluation")


@dataclass(frozen=True, slots=True)
class _Table:
    columns: tuple[str, ...]
    rows: Iterable[Mapping[str, _Cell]]

    def as_json(self) -> bytes:
        """The form of MLflow's `log_table`."""
        data = [[row.get(column) for column in self.columns] for row in self.rows]
        return json.dumps({"columns": self.columns, "data": data}, ensure_ascii=False, allow_nan=False).encode()


def results_table(newest_first: Sequence[EvaluationRecord]) -> bytes:
    """The results of every evaluation that stands: of all arms and groups, with their intervals."""
    rows: list[dict[str, _Cell]] = []
    for record, repeated in with_repeated(newest_first, "metrics"):
        evaluation = record.canonical_digest().short
        rows += [
            {
                "dataset": result.dataset,
                "metric": result.metric,
                "category": result.category or "(whole)",
                "arm": result.arm,
                "value": _shown(result.value),
                **_ends("", result.interval),
                "n": result.n,
                "note": str(result.null_reason or ""),
                "evaluation": evaluation,
            }
            for result in record.results
            if result.dataset not in repeated
        ]
    return _Table(_RESULTS, rows).as_json()


def outcomes_table(newest_first: Sequence[EvaluationRecord]) -> bytes:
    """What became of the items and of the held-out losses, before against after, in every evaluation that stands."""
    rows: list[dict[str, _Cell]] = []
    for record, repeated in with_repeated(newest_first, "bias"):
        evaluation = record.canonical_digest().short
        rows += [
            _outcome(comparison) | {"evaluation": evaluation}
            for comparison in record.comparisons
            if comparison.dataset not in repeated
        ]
    for record, repeated in with_repeated(newest_first, "delta"):
        evaluation = record.canonical_digest().short
        rows += [_loss(loss) | {"evaluation": evaluation} for loss in record.losses if loss.dataset not in repeated]
    return _Table(_OUTCOMES, rows).as_json()


def items_table(tables: Sequence[tuple[str, bytes]]) -> bytes:
    """Every item in every arm: the margin of two options, the log-likelihood of a row, or each labelled value of a reading.

    Args:
        tables: the short digest of an evaluation and its item table, newest first.

    Returns the first 20,000 rows; where there are more, the last row says how many are left out and where they are.

    Raises:
        MalformedItems: a table is not in the form in which it is written.
    """
    rows = [
        row | {"evaluation": evaluation}
        for evaluation, table in tables
        for item in read_items(table)
        for row in _item(item)
    ]
    left_out = len(rows) - MAX_ITEMS
    if left_out > 0:
        rows = rows[:MAX_ITEMS]
        rows.append({"dataset": f"{left_out} more rows are in the evidence of the version: `registry pull`"})
    return _Table(_ITEMS, rows).as_json()


def _item(item: Item | Reading) -> Iterable[dict[str, _Cell]]:
    shared: dict[str, _Cell] = {
        "dataset": item.dataset,
        "item": item.id,
        "category": item.category,
        "cluster": item.cluster,
        "arm": item.arm,
    }
    if isinstance(item, Reading):
        for label, value, tokens in zip(item.labels, item.values, item.tokens, strict=True):
            metric = f"{item.metric} {item.condition}: {label}"
            yield shared | {"metric": metric, "value": value / MILLIONTHS, "tokens": tokens}
    else:
        millionths = item.ll_a if item.margin is None else item.margin
        tokens = item.tokens_a if item.tokens_b is None else item.tokens_a + item.tokens_b
        metric = "log-likelihood" if item.margin is None else item.metric
        yield shared | {"metric": metric, "value": millionths / MILLIONTHS, "state": item.state, "tokens": tokens}


def _outcome(comparison: Comparison) -> dict[str, _Cell]:
    counts = ("n", "flagged", "fixed", "introduced", "overcorrected", "persistent", "unresolved")
    rates = ("fix_rate", "introduction_rate", "net_fix_rate", "net_change", "mean_margin_change")
    return {
        "dataset": comparison.dataset,
        "metric": comparison.metric,
        "category": comparison.category or "(whole)",
        "before": comparison.before,
        "after": comparison.after,
        "conclusion": comparison.conclusion,
        "reason": str(comparison.conclusion_reason),
        **{name: getattr(comparison, name) for name in counts},
        **{name: _shown(getattr(comparison, name)) for name in rates},
        **_ends("net_change_", comparison.net_change_interval),
    }


def _loss(loss: LossComparison) -> dict[str, _Cell]:
    return {
        "dataset": loss.dataset,
        "metric": loss.metric,
        "category": "(whole)",
        "loss_before": _shown(loss.before),
        "loss_after": _shown(loss.after),
        "n": loss.n,
        "net_change": _shown(loss.change),
        **_ends("net_change_", loss.change_ci),
        "reason": str(missing_by_name(loss.ci_null_reason).get("change_ci", "")),
    }


def _ends(prefix: str, interval: Interval | None) -> dict[str, Any]:  # a cell of the table
    if interval is None:
        return {}
    return {f"{prefix}low": _shown(interval.low), f"{prefix}high": _shown(interval.high)}


def _shown(value: float | None) -> float | None:
    """Six significant digits: the table is for people, the record holds the figure."""
    return None if value is None else float(f"{value:.6g}")
