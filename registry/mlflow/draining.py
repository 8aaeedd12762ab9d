"""Draining a home's outbox into MLflow: everything that waits is written, and what MLflow called it is remembered.

The mirror is written after, never read from. Nothing is verified here: that is done where a person looks.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.home_route import mirror_place, mirror_route
from peft_registry.registry.mlflow.mirror import TOGETHER, OtherRoute, SyncOutcome, require_store, sync
from peft_registry.registry.mlflow.projected_versions import Loader
from peft_registry.registry.mlflow.route_state import RouteState, mirror_state, turn
from peft_registry.registry.mlflow.sealing import open_sealing
from peft_registry.schemas.mirror import OutboxEntry
from peft_registry.schemas.progress import Observe, ignore

BATCH = 6 * TOGETHER


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a sync did, for people and programs."""

    outcome: SyncOutcome
    route: str

    @property
    def clean(self) -> bool:
        """Nothing failed and nothing drifted."""
        return not self.outcome.failed and not self.outcome.drift

    def lines(self) -> tuple[str, ...]:
        """What a person reads: how many were written and where, then each drift and each refusal."""
        done = sum(self.outcome.done.values())
        failed = Counter((refused.entry.name, refused.why) for refused in self.outcome.failed)
        lines = [f"mirror   {done} written to {self.route}" if done else f"mirror   up to date ({self.route})"]
        lines += [f"drift    {drift.name}: {drift.why}" for drift in self.outcome.drift]
        lines += [
            f"waiting  {name}: {count} {'entry' if count == 1 else 'entries'} set aside: {why}"
            for (name, why), count in failed.items()
        ]
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "route": self.route,
            "done": dict(sorted(self.outcome.done.items())),
            "failed": [{"version": refused.entry.label, "why": refused.why} for refused in self.outcome.failed],
            "drift": [{"name": drift.name, "why": drift.why} for drift in self.outcome.drift],
        }


def sync_mirror(registry: Registry, *, observe: Observe = ignore) -> Mirrored:
    """Write everything that waits for this home's MLflow; where nothing does, no mlflow is imported.

    Raises:
        HomeReadOnly: this home cannot be written.
        SchemaMismatch: it is of an earlier release.
        MirrorUnavailable, MirrorBusy, TurnLost, MlflowMissing: nothing more can be mirrored now.
        MirrorGone: what was mirrored before is not there any more.
    """
    registry.require_writable()
    return _synced(registry, anew=False, observe=observe)


def rebuild_mirror(registry: Registry, *, observe: Observe = ignore) -> Mirrored:
    """Forget what this home's MLflow called everything, and write all of it again from the records.

    What MLflow has of ours is found by its tags and not doubled; where it has nothing, everything is made anew.

    Raises:
        HomeReadOnly: this home cannot be written.
        MirrorUnavailable, MirrorBusy, TurnLost, MlflowMissing: nothing more can be mirrored now; the next sync goes on.
    """
    registry.require_writable()
    with turn(registry) as state, registry.database.write() as tx:
        catalog.forget_mirrored(tx, state.route)
    return _synced(registry, anew=True, observe=observe)


def _synced(registry: Registry, *, anew: bool, observe: Observe) -> Mirrored:
    destination = mirror_route(registry)
    known = mirror_state(registry)
    if known is not None:
        require_store(destination, known)
    if not _is_waiting(registry, known):
        return Mirrored(SyncOutcome(), destination.described)
    try:
        outcome = _drained(registry, anew=anew, observe=observe)
    except OtherRoute as other:
        # it was reached by another name, or from another place, before: what is remembered of it counts
        with registry.database.write() as tx:
            catalog.move_route(tx, str(other), mirror_place(registry))
        outcome = _drained(registry, anew=anew, observe=observe)
    return Mirrored(outcome, destination.described)


def _drained(registry: Registry, *, anew: bool, observe: Observe) -> SyncOutcome:
    loader = Loader(registry)
    route = mirror_route(registry)
    # before anything is read: an entry that comes later may be in what is written, and is looked at when that is checked
    sealing = open_sealing(registry, route)
    with turn(registry) as state:
        outcome = sync(
            _waiting(registry, state.route),
            route=route,
            state=state,
            load=loader.load,
            read_ahead=loader.read_ahead,
            newest=state.newest_entry,
            anew=anew,
            seal=None if sealing is None else sealing.seal_written,
            observe=observe,
        )
    if sealing is not None:
        sealing.keep_added()
    return outcome


def _is_waiting(registry: Registry, known: RouteState | None) -> bool:
    """Whether anything is to be copied; a home that was never mirrored waits for every version."""
    with registry.database.read() as tx:
        if known is None:
            return bool(catalog.newest_versions(tx, limit=1))
        return bool(catalog.pending_outbox(tx, known.route, 1))


def _waiting(registry: Registry, route: str) -> Iterator[tuple[OutboxEntry, ...]]:
    """The outbox, a batch at a time: entries that were set aside before are passed."""
    after = 0
    while True:
        with registry.database.read() as tx:
            page = catalog.pending_outbox(tx, route, BATCH, after=after)
        if not page:
            return
        yield page
        after = page[-1].id
