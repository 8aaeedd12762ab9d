"""What a process keeps of a registry under one state of its log: values that were proven, and no more than so many."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from peft_registry.registry.mlflow.projection import ListedProjection, Projection
from peft_registry.registry.records.logged_entries import LoggedEntries
from peft_registry.schemas.errors import KnownError

_KEPT_POINTS = 100_000  # points of metrics that are kept in all, for lists and for pages alike: some 20 MiB each
_WEIGHT = 100  # of a version besides its points: parameters, tags, a description
_KEPT_RANKINGS = 8
_Kept = TypeVar("_Kept")


@dataclass(frozen=True, slots=True)
class VersionName:
    """A version by name and number."""

    name: str
    number: int

    @property
    def label(self) -> str:
        return f"{self.name}:{self.number}"


class Bounded(Generic[_Kept]):
    """What was used last, up to a weight in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = 0
        self._kept: OrderedDict[Hashable, tuple[_Kept, int, float]] = OrderedDict()

    def get(self, key: Hashable, *, since: float = 0.0) -> _Kept | None:
        """What is kept under a key, if it was put at that time (of the monotonic clock) or later."""
        if key not in self._kept or self._kept[key][2] < since:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: Hashable, value: _Kept, weight: int = 1) -> None:
        """Keep a value; what was not used for longest goes."""
        if key in self._kept:
            self._weight -= self._kept.pop(key)[1]
        self._kept[key] = (value, weight, time.monotonic())
        self._weight += weight
        while self._weight > self._most and len(self._kept) > 1:
            _, (_, gone, _) = self._kept.popitem(last=False)
            self._weight -= gone


@dataclass
class KeptValues:
    """What was read under one state of the log."""

    listed: Bounded[ListedProjection | KnownError] = field(default_factory=lambda: Bounded(_KEPT_POINTS))
    pages: Bounded[Projection | KnownError] = field(default_factory=lambda: Bounded(_KEPT_POINTS))
    rankings: Bounded[tuple[Hashable, ...]] = field(default_factory=lambda: Bounded(_KEPT_RANKINGS))
    labels: dict[str, VersionName] | None = None  # by the ids that follow from a label
    projects: tuple[str | None, ...] | None = None
    logged: LoggedEntries | None = None
    registered_ids: frozenset[str] | None = None  # of runs, and of those beside them
    # by the id that a run itself recorded: the entry of the log and the version
    run_owners: dict[str, tuple[int, VersionName]] = field(default_factory=dict)


def weight_of(value: ListedProjection | Projection | KnownError) -> int:
    """What a version weighs: its points, and something for the rest."""
    return _WEIGHT + (0 if isinstance(value, KnownError) else len(value.run.metrics))
