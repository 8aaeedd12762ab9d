"""What a process keeps of a registry under one state of its log: values that were proven, and no more than so many.

Threads share it: what two of them read at the same time is the same, and one of both is kept.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from peft_registry.registry.mlflow import identifiers
from peft_registry.registry.mlflow.projection import ListedProjection, Projection
from peft_registry.registry.mlflow.shown_runs import own_run_id
from peft_registry.registry.mlflow.version_rows import VersionName
from peft_registry.registry.records.logged_entries import LoggedEntries
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version

_KEPT_POINTS = 100_000  # points of metrics that are kept in all, for lists and for pages alike: some 20 MiB each
_WEIGHT = 100  # of a version besides its points: parameters, tags, a description
_KEPT_RANKINGS = 8
_Kept = TypeVar("_Kept")
_Value = TypeVar("_Value", bound=Hashable)


class Bounded(Generic[_Kept]):
    """What was used last, up to a weight in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[_Kept, int, float]] = OrderedDict()

    def get(self, key: Hashable, *, since: float = 0.0) -> _Kept | None:
        """What is kept under a key, if it was put at that time (of the monotonic clock) or later."""
        with self._lock:
            if key not in self._kept or self._kept[key][2] < since:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, value: _Kept, weight: int = 1) -> None:
        """Keep a value; what was not used for longest goes."""
        with self._lock:
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
    # artifacts by the ids of the runs that statements about them name, and of those beside these
    manifests_said: Mapping[str, tuple[Digest, ...]] | None = None
    # by the id that a run itself recorded: the entry of the log and the version
    run_owners: dict[str, tuple[int, VersionName]] = field(default_factory=dict)
    _owning: threading.Lock = field(default_factory=threading.Lock)

    def keep_listed(self, version: Version, listed: ListedProjection | KnownError) -> None:
        """Keep what lists show of a version, and whose the run is that it names."""
        self.listed.put(version.label, listed, _weight_of(listed))
        run_id = own_run_id(listed) if isinstance(listed, ListedProjection) else None
        if run_id is None or identifiers.run_id(version.label, run_id) != run_id:
            return
        owner = (version.log_index, VersionName(version.name, version.number))
        with self._owning:
            # whoever may sign a run may copy the id of another: it is that of the version that was registered first
            self.run_owners[run_id] = min(self.run_owners.get(run_id, owner), owner, key=lambda one: one[0])

    def keep_page(self, name: VersionName, page: Projection | KnownError) -> None:
        """Keep a version as its own page shows it."""
        self.pages.put(name.label, page, _weight_of(page))

    def ranked(self, what: Hashable, rank: Callable[[], Sequence[_Value]]) -> Sequence[_Value]:
        """What `rank` puts in order, kept until the log grows; `what` names the question."""
        kept = self.rankings.get(what)
        if kept is None:
            kept = tuple(rank())
            self.rankings.put(what, kept)
        return kept  # type: ignore[return-value]  # what `rank` gave under this name


def _weight_of(value: ListedProjection | Projection | KnownError) -> int:
    """What a version weighs: its points, and something for the rest."""
    return _WEIGHT + (0 if isinstance(value, KnownError) else len(value.run.metrics))
