"""Rows of the item table that hold labelled values: the options of a question, the measures of an answer.

An `Item` compares two options. A `Reading` holds what a row gave, and says what each value is; margins, states and figures
are derived from it (`families`), so that a reader who doubts a definition can apply another to the same table.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from peft_registry.schemas.evaluation import ArmName

Family = Literal["bbq", "stereoset", "winogender", "winobias", "contrast", "divergence", "measure"]
FAMILIES: tuple[Family, ...] = get_args(Family)
COLUMNS = (
    "arm", "category", "cluster", "condition", "correct", "dataset", "id", "labels", "metric", "tokens", "unit", "values",
)  # fmt: skip
MILLIONTHS = 1_000_000
DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,12})\.[0-9]{6}\Z")
ARMS = frozenset(get_args(ArmName))


@dataclass(frozen=True, slots=True)
class Reading:
    """One row in one arm. `values` are whole millionths, one a label; `tokens` are the tokens scored for each.

    `condition` is what the row was asked under, `unit` what it is judged together with, `correct` the place of the right
    label where there is exactly one.
    """

    dataset: str
    id: str
    category: str | None
    cluster: str
    arm: ArmName
    metric: Family
    condition: str
    unit: str
    labels: tuple[str, ...]
    values: tuple[int, ...]
    tokens: tuple[int, ...]
    correct: int | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.dataset, self.id, self.arm)

    @property
    def best(self) -> int:
        """The place of the largest value; the first of equal ones."""
        return max(range(len(self.values)), key=lambda place: self.values[place])

    def at(self, label: str) -> list[int]:
        """The values under a label."""
        return [value for name, value in zip(self.labels, self.values, strict=True) if name == label]


def whole_millionths(values: Sequence[float]) -> tuple[int, ...] | None:
    """The values in whole millionths; None if one is not finite."""
    return tuple(round(value * MILLIONTHS) for value in values) if all(map(math.isfinite, values)) else None


def decimal_text(millionths: int) -> str:
    """`-3.250000` for -3250000; zero has no sign."""
    whole, part = divmod(abs(millionths), MILLIONTHS)
    return f"{'-' if millionths < 0 else ''}{whole}.{part:06d}"


def reading_as_json(reading: Reading) -> dict[str, Any]:
    """The columns of a reading; values as text."""
    fields: dict[str, Any] = {column: getattr(reading, column) for column in COLUMNS}
    lists = {
        "labels": list(reading.labels),
        "tokens": list(reading.tokens),
        "values": [decimal_text(v) for v in reading.values],
    }
    return fields | lists


def reading_problem(value: Mapping[str, Any]) -> str | None:
    """Why a line's columns cannot be a reading, or None."""
    labels, values, tokens, correct = (value[name] for name in ("labels", "values", "tokens", "correct"))
    checks = {
        "metric": value["metric"] in FAMILIES,
        "arm": isinstance(value["arm"], str) and value["arm"] in ARMS,
        "category": isinstance(value["category"], str | None),
        **{column: isinstance(value[column], str) for column in ("dataset", "id", "cluster", "condition", "unit")},
        "labels": _is_list(labels, lambda label: isinstance(label, str)) and len(labels) > 0,
        "values": _is_list(values, lambda value: isinstance(value, str) and bool(DECIMAL.match(value))),
        "tokens": _is_list(tokens, lambda count: type(count) is int and count >= 0),
    }
    wrong = [column for column, ok in checks.items() if not ok]
    if wrong:
        return f"{wrong[0]} has no value that fits the column and the metric"
    if not len(labels) == len(values) == len(tokens):
        return "labels, values and tokens have different lengths"
    if correct is not None and not (type(correct) is int and 0 <= correct < len(labels)):
        return "correct is not a position among the labels"
    return None


def reading_from(value: Mapping[str, Any]) -> Reading:
    """The reading of checked columns."""
    numbers = tuple(int(decimal.replace(".", "")) for decimal in value["values"])
    return Reading(**{**value, "labels": tuple(value["labels"]), "tokens": tuple(value["tokens"]), "values": numbers})


def _is_list(value: object, ok: Any) -> bool:  # a predicate over any JSON value
    return isinstance(value, list) and all(map(ok, value))
