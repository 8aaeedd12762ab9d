"""What a training measured while it ran, by step: the points of a run log, and the file that is kept of them. Pure.

The record of a run binds the file by its digest. It is kept in the store and leaves it as points of MLflow alone. In it are
numbers, the times at which they were measured, and the names that a script gave to figures of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from peft_registry.schemas.document import Document, Frozen
from peft_registry.schemas.identity import Digest

MOST_POINTS = 1024
RunMetricName = Literal[
    "loss",
    "held_out_loss",
    "held_out_accuracy",
    "held_out_macro_f1",
    "held_out_exact_match",
    "held_out_f1",
    "held_out_number_match",
    "validation_loss",
    "validation_accuracy",
    "validation_macro_f1",
    "validation_exact_match",
    "validation_f1",
    "validation_number_match",
    "learning_rate",
    "gradient_norm",
    "tokens_per_second",
    "peak_memory_bytes",
]
"""What is measured. A loss is in nats per supervised token where this tool computed it. What begins with `validation` is of rows on
which the run does not report, and `validation_loss` also what somebody else's trainer evaluates."""
HeldOutPart = Literal["held_out", "validation"]

Step = Annotated[int, Field(ge=0, le=2**53)]
Moment = Annotated[float, Field(ge=0, le=1e11)]  # seconds since 1970 (UTC), for some thousand years

# of held-out rows, which are looked at now and then, so that no point of them may be lost: part and figure of each name
LOOKED_AT: Mapping[RunMetricName, tuple[HeldOutPart, str]] = {
    name: (part, name.removeprefix(f"{part}_"))
    for name in get_args(RunMetricName)
    for part in get_args(HeldOutPart)
    if name.startswith(f"{part}_")
}


class RunPoint(Frozen):
    """What was measured at a training step (0: before the first).

    `logged` are figures that somebody else's trainer logged under names of its own; it is written only where there are any.
    """

    step: Step
    at: Moment
    values: dict[RunMetricName, float]
    logged: dict[str, float] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_empty_figures(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        if not self.logged:
            del value["logged"]
        return value


class RunPoints(Document):
    """At most `MOST_POINTS` points of one run, one a step, in the order of their steps."""

    form: Literal["1"] = "1"
    points: tuple[RunPoint, ...]

    @model_validator(mode="after")
    def _is_bounded_and_ordered(self) -> Self:
        if len(self.points) > MOST_POINTS:
            raise ValueError(f"at most {MOST_POINTS} points")
        if any(later.step <= earlier.step for earlier, later in pairwise(self.points)):
            raise ValueError("one point a step, in their order")
        return self


class KeptRunPoints(Document):
    """The object that holds the points of a run."""

    sha256: Digest
    bytes: int
    points: int

    @classmethod
    def of(cls, points: RunPoints) -> "KeptRunPoints":
        """Which object holds these."""
        data = points.to_canonical()
        return cls(sha256=Digest.of(data), bytes=len(data), points=len(points.points))


def by_step(points: Iterable[RunPoint]) -> tuple[RunPoint, ...]:
    """One point a step, in their order; of two values of one name at one step the later one counts.

    The times never go back: a clock that was set back while a run trained would have its curve run backwards.
    """
    merged: dict[int, RunPoint] = {}
    for point in points:
        before = merged.get(point.step)
        merged[point.step] = point if before is None else _together(before, point)
    ordered: list[RunPoint] = []
    for step in sorted(merged):
        point = merged[step]
        if ordered and point.at < ordered[-1].at:
            point = point.revised(at=ordered[-1].at)
        ordered.append(point)
    return tuple(ordered)


def thinned(points: Sequence[RunPoint], most: int = MOST_POINTS) -> tuple[RunPoint, ...]:
    """At most `most` points, spread evenly. The first and the last are kept, and of those of held-out rows as many as half.

    Held-out rows are looked at far less often than the others, so that an even choice would lose most of that curve.
    """
    if len(points) <= most:
        return tuple(points)
    rare = [index for index, point in enumerate(points) if not LOOKED_AT.keys().isdisjoint(point.values)]
    kept = {0, len(points) - 1} | set(_evenly(rare, most // 2))
    others = [index for index in range(len(points)) if index not in kept]
    kept |= set(_evenly(others, most - len(kept)))
    return tuple(points[index] for index in sorted(kept))


def _evenly(indices: Sequence[int], most: int) -> list[int]:
    if len(indices) <= most:
        return list(indices)
    return [indices[number * len(indices) // most] for number in range(most)]


def _together(earlier: RunPoint, later: RunPoint) -> RunPoint:
    return RunPoint(
        step=later.step,
        at=earlier.at,
        values={**earlier.values, **later.values},
        logged={**earlier.logged, **later.logged},
    )
