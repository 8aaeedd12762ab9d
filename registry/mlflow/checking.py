"""Reading MLflow back: is everything that we wrote there as it was written, and what can be written again.

The expectation is made anew from the signed records, and never read from MLflow. What MLflow lets nobody change (parameters, points
of metrics, a number that was given) cannot be repaired there: `registry mirror rebuild` into an empty store can.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.comparing import Difference, differences_of_run, differences_of_version
from peft_registry.registry.mlflow.draining import (
    RouteState,
    mirror_route,
    mirror_state,
    projection_of,
    sync_mirror,
    turn,
)
from peft_registry.registry.mlflow.mirror import MirrorState, require_marked, require_store
from peft_registry.registry.mlflow.route import MirrorUnavailable, prepare_environment
from peft_registry.registry.mlflow.surface import EntryRefused, Surface, open_surface
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.identity import Reference
from peft_registry.schemas.mirror import OutboxEntry
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore

_TO_BE_WRITTEN = ""  # in the place of the digest of what was written: nothing is equal to it


@dataclass(frozen=True, slots=True)
class MirrorCheck:
    """What was found: each difference with the version that it is of; `waiting` are versions that changed here since."""

    route: str
    versions: int
    differences: tuple[tuple[str, Difference], ...]
    waiting: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """6 where something is not as it was written; 5 where that could not be told; else 0.

        Whoever writes the database could call every version changed, and what was edited in MLflow would go unseen.
        """
        if self.differences:
            return IntegrityBroken.exit_code
        return NotChecked.exit_code if self.waiting else 0

    def lines(self) -> tuple[str, ...]:
        """What a person reads."""
        lines = [f"{label:<8} {difference.text}" for label, difference in self.differences]
        lines += [
            f"waiting  {label}: it changed here since it was copied, and was not compared" for label in self.waiting
        ]
        found = f"{len(self.differences)} differences" if self.differences else "as it was written"
        if self.waiting and not self.differences:
            found = f"{len(self.waiting)} not compared"
        return (f"mirror   {self.versions} versions in {self.route}: {found}", *lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "route": self.route,
            "versions": self.versions,
            "differences": [
                {"version": label, "place": found.place, "written": found.written, "shown": found.shown}
                for label, found in self.differences
            ],
            "waiting": list(self.waiting),
        }


def check_mirror(registry: Registry, *, observe: Observe = ignore) -> MirrorCheck:
    """Read everything of ours back from MLflow, and hold it against what the signed records give.

    Raises:
        MirrorUnavailable, MlflowMissing: it cannot be read.
        MirrorGone: what was mirrored is not there any more.
    """
    route = mirror_route(registry)
    state = mirror_state(registry)
    if state is None:
        return MirrorCheck(route.described, 0, ())
    require_store(route, state)
    with registry.database.read() as tx:
        mirrored = catalog.every_mirrored(tx, state.route, "version")
        experiments = catalog.every_mirrored(tx, state.route, "experiment")
    if not mirrored:
        return MirrorCheck(route.described, 0, ())
    prepare_environment()
    surface = open_surface(route)
    try:
        _require_same_store(surface, state, experiments)
        return _checked(registry, surface, state, mirrored, observe)
    except EntryRefused as error:  # it answered when it was opened, and does not now
        raise MirrorUnavailable(route.described, str(error)) from error


def _require_same_store(
    surface: Surface, state: MirrorState, experiments: Sequence[tuple[str, dict[str, Any]]]
) -> None:
    for name, recorded in experiments:
        shown = surface.marked_experiment(name, state.mark)
        require_marked(recorded, shown, state, anew=False, where=surface.where)


def _checked(
    registry: Registry,
    surface: Surface,
    state: MirrorState,
    mirrored: Sequence[tuple[str, dict[str, Any]]],
    observe: Observe,
) -> MirrorCheck:
    found: list[tuple[str, Difference]] = []
    waiting: list[str] = []
    names: dict[str, set[int]] = {}
    observe(Started("mirror check", total=len(mirrored), unit="versions"))
    for done, (label, known) in enumerate(mirrored, start=1):
        name, _, number = label.rpartition(":")
        names.setdefault(name, set()).add(int(number))
        differences = _differences(registry, surface, state, label, known)
        if differences is None:
            waiting.append(label)
        else:
            found += [(label, difference) for difference in differences]
        observe(Advanced("mirror check", done))
    for name, numbers in names.items():
        for other in surface.numbers_of(name):
            if other not in numbers:
                found.append((name, Difference("version", str(other), None, f"{name}:{other}")))
    observe(Finished("mirror check"))
    return MirrorCheck(surface.where, len(mirrored), tuple(found), tuple(waiting))


def repair_mirror(registry: Registry, *, observe: Observe = ignore) -> MirrorCheck:
    """Write again what is not as it was written or changed here since, and take away what was added.

    Returns what cannot be repaired.

    Raises:
        HomeReadOnly: this home cannot be written.
        MirrorUnavailable, MirrorBusy, TurnLost, MlflowMissing, MirrorGone: as for a sync.
    """
    registry.require_writable()
    checked = check_mirror(registry, observe=observe)
    labels = dict.fromkeys(label for label, _ in checked.differences if ":" in label)
    if labels or checked.waiting:
        with turn(registry) as state:
            if labels:
                _take_away_added(registry, state, checked)
            for label in labels:
                _have_written_again(registry, state, label)
            for label in checked.waiting:
                # a page changes without an entry in the outbox, such as that of a version that something was made from since
                state.again(_entry(registry, label))
    sync_mirror(registry, observe=observe)
    return check_mirror(registry, observe=observe)


def _differences(
    registry: Registry, surface: Surface, state: MirrorState, label: str, known: dict[str, Any]
) -> list[Difference] | None:
    """What of one version is not as it was written; None where it changed here since."""
    entry = _entry(registry, label)
    projection = projection_of(registry, entry)
    if known["projection"] not in (str(projection.digest), _TO_BE_WRITTEN):
        return None
    run_id = known["run_id"]
    written = state.get("run", label) or {}
    shown_run = surface.shown_run(run_id)
    return [
        *differences_of_version(
            projection,
            surface.shown_version(entry.name, entry.number),
            description=surface.description(projection, run_id),
            run_id=run_id,
        ),
        *differences_of_run(
            projection, shown_run, tags=surface.run_tags(projection, run_id), files=written.get("digests", {})
        ),
    ]


def _take_away_added(registry: Registry, state: MirrorState, checked: MirrorCheck) -> None:
    """Take away what somebody added to versions of ours."""
    route = mirror_route(registry)
    surface = open_surface(route)
    added: dict[str, list[Difference]] = {}
    for label, difference in checked.differences:
        if ":" in label and difference.written is None:
            added.setdefault(label, []).append(difference)
    for label, differences in added.items():
        entry = _entry(registry, label)
        known = state.get("version", label)
        assert known is not None, "only what was mirrored is checked"
        try:
            surface.take_away(entry.name, entry.number, known["run_id"], differences)
        except EntryRefused as error:
            raise MirrorUnavailable(route.described, str(error)) from error


def _have_written_again(registry: Registry, state: RouteState, label: str) -> None:
    known = state.get("version", label)
    assert known is not None, "only what was mirrored is checked"
    state.put("version", label, known | {"projection": _TO_BE_WRITTEN})
    run = state.get("run", label) or {}
    state.put("run", label, run | {"files": {}})
    state.again(_entry(registry, label))


def _entry(registry: Registry, label: str) -> OutboxEntry:
    name, _, number = label.rpartition(":")
    with registry.database.read() as tx:
        version = catalog.resolve(tx, Reference(name=name, number=int(number)))
    return OutboxEntry(id=0, kind="version", name=name, number=version.number, manifest=version.manifest_digest)
