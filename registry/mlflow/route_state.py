"""What is remembered of one MLflow, and the turn in which one process alone changes it.

Homes that share a server take turns: the turn is a lease in the database, which ends by itself where a machine was killed.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.home_route import mirror_place, mirror_route
from peft_registry.registry.mlflow.route import LOCK_SECONDS, MirrorBusy, TurnLost, exclusively
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.mirror import OutboxEntry

TURN_SECONDS = 60
"""How long a machine that was killed keeps others waiting."""
_POLL_SECONDS = 0.1


@contextmanager
def turn(registry: Registry) -> Iterator["RouteState"]:
    """This home alone writes to its MLflow until the block ends; what is remembered of it, which others cannot change meanwhile.

    Raises:
        MirrorBusy: another process did not finish within 60 seconds.
        TurnLost: at the next writing, where this process stood still so long that another machine began.
    """
    holder = secrets.token_hex(16)
    with exclusively(registry.files.mlflow / "mirror.lock") as lock:
        with registry.database.write() as tx:
            route = catalog.open_route(tx, mirror_place(registry))
        _wait_for_turn(registry, route, holder, ended=lock.last_holder)
        lock.keep(holder)
        state = RouteState(registry, route, holder)
        try:
            with _kept(state):
                yield state
        finally:
            with registry.database.write() as tx:
                catalog.end_turn(tx, state.route, holder)


def mirror_state(registry: Registry) -> "RouteState | None":
    """What is remembered of this home's MLflow, to be read; None where nothing was copied to it.

    Raises:
        SchemaMismatch: the home is of an earlier release.
    """
    registry.database.require_current()
    with registry.database.read() as tx:
        route = catalog.route_at(tx, mirror_place(registry))
    return None if route is None else RouteState(registry, route, None)


def _wait_for_turn(registry: Registry, route: str, holder: str, *, ended: str | None) -> None:
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        with registry.database.write() as tx:
            other = catalog.take_turn(tx, route, holder, seconds=TURN_SECONDS, after=ended)
        if other is None:
            return
        if time.monotonic() > give_up:
            raise MirrorBusy("another machine")
        time.sleep(_POLL_SECONDS)


@contextmanager
def _kept(state: "RouteState") -> Iterator[None]:
    """Prolong the turn while the block runs: a call to a slow server may take longer than the turn."""
    ended = threading.Event()

    def prolong() -> None:
        while not ended.wait(TURN_SECONDS / 4):
            # what fails here is noticed at the next writing
            with contextlib.suppress(KnownError):
                state.prolong()

    thread = threading.Thread(target=prolong, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass
class RouteState:
    """What is remembered of one MLflow. What was put is written with the entry that it belongs to, in one transaction."""

    registry: Registry
    route: str
    holder: str | None  # None: to be read only
    put_since: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    # since it was last read ahead, what was read and put: nobody else writes during the turn
    ahead: dict[tuple[str, str], dict[str, Any] | None] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        return f"registry.mark.{self.registry.settings.registry_id}"

    @property
    def wrote(self) -> bool:
        with self.registry.database.read() as tx:
            return catalog.count_mirrored(tx, self.route, "experiment") > 0

    def get(self, entity: str, key: str) -> dict[str, Any] | None:
        if (entity, key) in self.put_since:
            return self.put_since[entity, key]
        if (entity, key) in self.ahead:
            return self.ahead[entity, key]
        with self.registry.database.read() as tx:
            value = catalog.get_mirrored(tx, self.route, entity, key)
        if self.holder is not None:
            self.ahead[entity, key] = value
        return value

    def every(self, entity: str) -> dict[str, dict[str, Any]]:
        with self.registry.database.read() as tx:
            kept = dict(catalog.every_mirrored(tx, self.route, entity))
        return kept | {key: value for (kind, key), value in self.put_since.items() if kind == entity}

    def put(self, entity: str, key: str, value: dict[str, Any]) -> None:
        self.put_since[entity, key] = value
        self.ahead[entity, key] = value

    def read_ahead(self, things: Collection[tuple[str, str]]) -> None:
        with self.registry.database.read() as tx:
            self.ahead = catalog.get_all_mirrored(tx, self.route, things)

    def done(self, *entries: OutboxEntry) -> None:
        with self._writing() as tx:
            catalog.mark_done(tx, *(entry.id for entry in entries))

    def keep(self) -> None:
        if self.put_since:
            with self._writing():
                pass

    def again(self, entry: OutboxEntry) -> None:
        """Have a version copied once more."""
        with self._writing() as tx:
            catalog.enqueue_for(tx, self.route, subject=entry.manifest, version_label=entry.label)

    def awaits(self, label: str) -> bool:
        """Whether a version waits to be copied."""
        with self.registry.database.read() as tx:
            return catalog.awaits(tx, self.route, label)

    def is_route(self, route: str) -> bool:
        with self.registry.database.read() as tx:
            return catalog.is_route(tx, route)

    def newest_entry(self) -> int:
        with self.registry.database.read() as tx:
            return catalog.newest_entry(tx, self.route)

    def prolong(self) -> None:
        with self.registry.database.write() as tx:
            self._require_turn(tx)

    @contextmanager
    def _writing(self) -> Iterator[catalog.Transaction]:
        with self.registry.database.write() as tx:
            self._require_turn(tx)
            catalog.put_all_mirrored(tx, self.route, self.put_since)
            yield tx
        self.put_since.clear()

    def _require_turn(self, tx: catalog.Transaction) -> None:
        if self.holder is None or not catalog.keep_turn(tx, self.route, self.holder, seconds=TURN_SECONDS):
            raise TurnLost(mirror_route(self.registry).described)
