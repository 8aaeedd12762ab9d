"""Typed events of a long operation. Whoever runs it may observe; by default nobody does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from peft_registry.schemas.run_points import RunMetricName


@dataclass(frozen=True, slots=True)
class Started:
    """A step began; `total` units are expected, None when nobody can say."""

    step: str
    total: int | None = None
    unit: str = "it"


@dataclass(frozen=True, slots=True)
class Advanced:
    """A step moved on to `done` units; `figures` are (name, text) pairs worth showing, such as loss."""

    step: str
    done: int
    figures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of a training step (0: before the first): `logged` are those of somebody else's trainer, by its own names.

    `seed` is that of the trial, where a run tries several.
    """

    step: int
    values: Mapping[RunMetricName, float] = field(default_factory=dict)
    logged: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    step: str


@dataclass(frozen=True, slots=True)
class Said:
    """One labelled line of the story a command tells: `base     smollm2:1 …`."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the user should know and that enters the record."""

    reference: str
    text: str


Event = Started | Advanced | Measured | Finished | Said | Warned
Observe = Callable[[Event], Any]


def ignore(event: Event) -> None:
    """Observe nothing: the default of every long operation."""
