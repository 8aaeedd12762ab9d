"""The item table: one line for each item and arm, canonical, bound to the record by its digest.

JSON lines in RFC 8785 form, sorted by (dataset, id, arm) in code point order, UTF-8, LF after every line; log-likelihoods
are text with six decimals and no −0. Ids only: the text of an item is never stored. Two metrics exist: `margin` compares
two options of one item; `loss` is one held-out row, whose `ll_a` is the log-likelihood of its supervised tokens. Rows with
more than two values are readings, with columns of their own (`readings`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, get_args

from peft_registry.registry.evaluation.readings import (
    ARMS,
    DECIMAL,
    MILLIONTHS,
    Reading,
    decimal_text,
    reading_as_json,
    reading_from,
    reading_problem,
)
from peft_registry.registry.evaluation.readings import COLUMNS as READING_COLUMNS
from peft_registry.registry.evaluation.states import STATES, state_of
from peft_registry.registry.intake.json import read_json
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.codes import code
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, RunFailed
from peft_registry.schemas.evaluation import ArmName, ItemTable, State, Threshold
from peft_registry.schemas.identity import Digest

FILE = "items.jsonl"
FLOAT_FORMAT = code("six_decimals")
COLUMNS = (
    "arm", "category", "cluster", "dataset", "id", "ll_a", "ll_b", "margin", "metric", "state", "tokens_a", "tokens_b",
)  # fmt: skip
KEPT_BYTES = 2**20
TABLES_KEPT = 4
"""Tables of a usual size that are kept as rows: whoever evaluates, registers, pulls and verifies in one process reads each of them
again for every step. As rows a table takes ten times what it has as bytes."""
_HAS_READINGS = b'"labels":['  # an id cannot hold it: its quotes are escaped
_DECIMALS = ("ll_a", "ll_b", "margin")
_COUNTS = ("tokens_a", "tokens_b")

Metric = Literal["margin", "loss"]
_METRICS = get_args(Metric)


class MalformedItems(IntegrityBroken):
    what = "line {line} of the item table is not as this tool writes it"
    why = "{reason}"
    fix = "fetch the item table again from the registry; its digest is in the evaluation record"

    line: int
    reason: str


class ScoreNotFinite(RunFailed):
    what = "the {arm} model gives item {item} of {dataset} no finite log-likelihood"
    why = "its logits contain NaN or infinity, so the weights have diverged or overflow in this number format"
    fix = "look at the loss curve; train with a lower learning rate or in float32 or bfloat16"

    dataset: str
    item: str
    arm: str


class RepeatedItem(InputRefused):
    what = "item {item} of {dataset} occurs twice in the {arm} arm"
    why = "ids tell items apart and pair the arms"
    fix = "give every row of the data its own id"

    dataset: str
    item: str
    arm: str


@dataclass(frozen=True, slots=True)
class Item:
    """One item in one arm. `ll_a`, `ll_b` and `margin` are whole millionths of a nat, so that sums are exact.

    `measure` names what the margin is; it is not a column: an item that is derived from readings is never written.
    """

    dataset: str
    id: str
    category: str | None
    cluster: str
    arm: ArmName
    metric: Metric
    ll_a: int
    tokens_a: int
    ll_b: int | None = None
    tokens_b: int | None = None
    margin: int | None = None
    state: State | None = None
    measure: str = "margin"

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.dataset, self.id, self.arm)


TableRow = Item | Reading


def pair_item(
    *,
    dataset: str,
    id: str,
    category: str | None,
    cluster: str,
    arm: ArmName,
    ll: tuple[float, float],
    tokens: tuple[int, int],
    threshold: Threshold,
) -> Item:
    """An item whose first option is the stereotyping one.

    Args:
        dataset: name of the suite's data.
        id: of the item, unique in the data set.
        category: what the item is about, None if the set has no categories.
        cluster: what the item shares with others, its template for example; its own id if nothing.
        arm: which model was scored.
        ll: log-likelihoods of the two options, nats.
        tokens: numbers of tokens scored.
        threshold: the dead band.

    Raises:
        ScoreNotFinite: a log-likelihood is NaN or infinite.
    """
    if not all(math.isfinite(value) for value in ll):
        raise ScoreNotFinite(dataset, id, arm)
    ll_a, ll_b = (round(value * MILLIONTHS) for value in ll)
    margin = ll_a - ll_b
    return Item(
        dataset=dataset, id=id, category=category, cluster=cluster, arm=arm, metric="margin",
        ll_a=ll_a, tokens_a=tokens[0], ll_b=ll_b, tokens_b=tokens[1],
        margin=margin, state=state_of(margin / MILLIONTHS, threshold),
    )  # fmt: skip


def loss_item(*, dataset: str, id: str, cluster: str, arm: ArmName, ll: float, tokens: int) -> Item:
    """A held-out row: the summed log-likelihood of its supervised tokens, and how many they are.

    Raises:
        ScoreNotFinite: the log-likelihood is NaN or infinite.
    """
    if not math.isfinite(ll):
        raise ScoreNotFinite(dataset, id, arm)
    return Item(
        dataset=dataset, id=id, category=None, cluster=cluster, arm=arm, metric="loss",
        ll_a=round(ll * MILLIONTHS), tokens_a=tokens,
    )  # fmt: skip


def write_items(items: Iterable[TableRow]) -> bytes:
    """The canonical bytes of the table; the order given does not matter.

    Raises:
        RepeatedItem: the same dataset, id and arm twice.
    """
    ordered = sorted(items, key=lambda item: item.key)
    for left, right in pairwise(ordered):
        if left.key == right.key:
            raise RepeatedItem(*left.key)
    return b"".join(_line(item) for item in ordered)


def describe_items(data: bytes, *, file: str = FILE) -> ItemTable:
    """What the record says about the table: its digest, rows and form."""
    columns = tuple(sorted({*COLUMNS, *READING_COLUMNS})) if _HAS_READINGS in data else COLUMNS
    return ItemTable(
        file=file, sha256=Digest.of(data), rows=data.count(b"\n"), columns=columns, float_format=FLOAT_FORMAT
    )


def table_file(data: bytes) -> str:
    """The name of a table among the evidence of a version that has several evaluations."""
    return f"items-{Digest.of(data).hex[:12]}.jsonl"


def read_items(data: bytes) -> tuple[TableRow, ...]:
    """The items of a table, in its order. Margins and states are read as written; the re-check recomputes them.

    Raises:
        MalformedItems: anything but the canonical form, named by line.
    """
    return _kept_items(data) if len(data) <= KEPT_BYTES else _items_of(data)


@lru_cache(maxsize=TABLES_KEPT)
def _kept_items(data: bytes) -> tuple[TableRow, ...]:
    return _items_of(data)


def _items_of(data: bytes) -> tuple[TableRow, ...]:
    if not data:
        return ()
    *lines, rest = data.split(b"\n")
    if rest:
        raise MalformedItems(len(lines) + 1, "the last line has no line feed")
    items: list[TableRow] = []
    for number, line in enumerate(lines, start=1):
        item = _parse(line, number)
        if items and items[-1].key >= item.key:
            raise MalformedItems(number, "it is not sorted after the line before, or repeats it")
        items.append(item)
    return tuple(items)


def _line(item: TableRow) -> bytes:
    return canonical_bytes(reading_as_json(item) if isinstance(item, Reading) else _as_json(item)) + b"\n"


def _as_json(item: Item) -> dict[str, Any]:
    fields: dict[str, Any] = {column: getattr(item, column) for column in COLUMNS}
    for column in _DECIMALS:
        fields[column] = None if fields[column] is None else decimal_text(fields[column])
    return fields


def _parse(line: bytes, number: int) -> TableRow:
    value = read_json(line, what=f"line {number} of the item table", error=lambda _, why: MalformedItems(number, why))
    columns = tuple(sorted(value)) if isinstance(value, dict) else ()
    if columns not in (COLUMNS, READING_COLUMNS):
        raise MalformedItems(number, f"it does not have exactly the columns {', '.join(COLUMNS)}")
    problem = _problem(value) if columns == COLUMNS else reading_problem(value)
    if problem:
        raise MalformedItems(number, problem)
    item = _item(value) if columns == COLUMNS else reading_from(value)
    if _line(item) != line + b"\n":
        raise MalformedItems(number, "it is not in canonical form (key order, spacing, or a negative zero)")
    return item


def _item(value: dict[str, Any]) -> Item:
    numbers = {name: int(value[name].replace(".", "")) for name in _DECIMALS if value[name] is not None}
    return Item(**{**value, **numbers})


def _problem(value: dict[str, Any]) -> str | None:
    """Why a line's values cannot be an item, or None."""
    is_pair = value["metric"] == "margin"
    checks = {
        "metric": value["metric"] in _METRICS,
        "arm": isinstance(value["arm"], str) and value["arm"] in ARMS,
        "category": isinstance(value["category"], str | None),
        "state": value["state"] in STATES if is_pair else value["state"] is None,
        **{column: isinstance(value[column], str) for column in ("dataset", "id", "cluster")},
        **{column: _is_decimal(value[column], wanted=is_pair or column == "ll_a") for column in _DECIMALS},
        **{column: _is_count(value[column], wanted=is_pair or column == "tokens_a") for column in _COUNTS},
    }
    wrong = [column for column, ok in checks.items() if not ok]
    return f"{wrong[0]} has no value that fits the column and the metric" if wrong else None


def _is_decimal(value: object, *, wanted: bool) -> bool:
    return isinstance(value, str) and bool(DECIMAL.match(value)) if wanted else value is None


def _is_count(value: object, *, wanted: bool) -> bool:
    return type(value) is int and value >= 0 if wanted else value is None
