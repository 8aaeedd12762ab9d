"""Reading MLflow back: is everything that we wrote there as it was written, and what can be written again.

The expectation is made anew from the signed records, and never read from MLflow. What MLflow lets nobody change (parameters, points
of metrics, a number that was given) cannot be repaired there: `registry mirror rebuild` into an empty store can.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.comparing import (
    Difference,
    differences_of_model,
    differences_of_name,
    differences_of_run,
    differences_of_version,
)
from peft_registry.registry.mlflow.draining import (
    Loader,
    RouteState,
    mirror_route,
    mirror_state,
    sync_mirror,
    turn,
)
from peft_registry.registry.mlflow.mirror import TOGETHER, MirrorState, require_marked, require_store
from peft_registry.registry.mlflow.projection import ArtifactFile, Projection
from peft_registry.registry.mlflow.refusals import EntryRefused
from peft_registry.registry.mlflow.route import MirrorGone, MirrorNotChecked, MirrorUnavailable, prepare_environment
from peft_registry.registry.mlflow.side_runs import TRIAL
from peft_registry.registry.mlflow.surface import Surface, open_surface
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.mirror import OutboxEntry
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore

_TO_BE_WRITTEN = ""  # in the place of the digest of what was written: nothing is equal to it


@dataclass(frozen=True, slots=True)
class MirrorCheck:
    """What was found: each difference with the version that it is of.

    `waiting` are versions that changed here since they were copied, and `not_copied` those of which it is not known that they were.
    """

    route: str
    versions: int
    differences: tuple[tuple[str, Difference], ...]
    waiting: tuple[str, ...] = ()
    not_copied: tuple[str, ...] = ()

    @property
    def is_gone(self) -> bool:
        """Whether the store is not there any more, or another one has its place."""
        return any(difference.kind == "store" for _, difference in self.differences)

    @property
    def exit_code(self) -> int:
        """6 where something is not as it was written; 5 where that could not be told; else 0.

        Whoever writes the database could call every version changed, or not copied, and what was edited in MLflow would go unseen.
        """
        if self.differences:
            return IntegrityBroken.exit_code
        return NotChecked.exit_code if self.waiting or self.not_copied else 0

    def lines(self) -> tuple[str, ...]:
        """What a person reads."""
        lines = [f"{label:<8} {difference.text}" for label, difference in self.differences]
        lines += [
            f"waiting  {label}: it changed here since it was copied, and was not compared" for label in self.waiting
        ]
        names = Counter(label.rpartition(":")[0] for label in self.not_copied)
        lines += [
            f"waiting  {name}: {count} {'version is' if count == 1 else 'versions are'} not copied yet"
            for name, count in names.items()
        ]
        summary = f"{len(self.differences)} differences" if self.differences else "as it was written"
        not_compared = len(self.waiting) + len(self.not_copied)
        if not_compared and not self.differences:
            summary = f"{not_compared} not compared"
        return (f"mirror   {self.versions} versions in {self.route}: {summary}", *lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "route": self.route,
            "versions": self.versions,
            "differences": [
                {"version": label, "place": difference.place, "written": difference.written, "shown": difference.shown}
                for label, difference in self.differences
            ],
            "waiting": list(self.waiting),
            "not_copied": list(self.not_copied),
        }


def check_mirror(registry: Registry, *, observe: Observe = ignore) -> MirrorCheck:
    """Read everything of ours back from MLflow, and hold it against what the signed records give.

    Nothing that the database remembers of MLflow is believed but where to look: who can write it could have edited both.

    Raises:
        MirrorNotChecked: MLflow cannot be read.
        MlflowMissing: it is not installed.
    """
    route = mirror_route(registry)
    state = mirror_state(registry)
    with registry.database.read() as tx:
        registered = catalog.versions_by_name(tx)
        mirrored = () if state is None else catalog.every_mirrored(tx, state.route, "version")
        experiments = () if state is None else catalog.every_mirrored(tx, state.route, "experiment")
    copied = {label for label, _ in mirrored}
    labels = (f"{name}:{number}" for name, count in registered.items() for number in range(1, count + 1))
    not_copied = tuple(label for label in labels if label not in copied)
    if state is None or not experiments:
        return MirrorCheck(route.described, 0, (), not_copied=not_copied)
    try:
        require_store(route, state)
        prepare_environment()
        surface = open_surface(route)
        _require_same_store(surface, state, experiments)
        differences, waiting = _compared(registry, surface, mirrored, observe)
        foreign = _foreign_versions(surface, registered)
    except MirrorGone as gone:
        store = Difference("store", "", f"{len(mirrored)} versions", None)
        return MirrorCheck(f"{route.described} ({gone.reason})", 0, (("mirror", store),))
    except MirrorUnavailable as error:
        raise MirrorNotChecked(route.described, error.reason) from error
    except EntryRefused as error:  # it answered when it was opened, and does not now
        raise MirrorNotChecked(route.described, str(error)) from error
    return MirrorCheck(surface.where, len(mirrored), (*differences, *foreign), waiting, not_copied)


def _require_same_store(
    surface: Surface, state: MirrorState, experiments: Sequence[tuple[str, dict[str, Any]]]
) -> None:
    for name, recorded in experiments:
        shown = surface.marked_experiment(name, state.mark)
        require_marked(recorded, shown, state, anew=False, where=surface.where)


def _compared(
    registry: Registry,
    surface: Surface,
    mirrored: Sequence[tuple[str, dict[str, Any]]],
    observe: Observe,
) -> tuple[tuple[tuple[str, Difference], ...], tuple[str, ...]]:
    """What is not as it was written, by version, and which versions changed here since."""
    different: list[tuple[str, Difference]] = []
    waiting: list[str] = []
    loader = Loader(registry)
    observe(Started("mirror check", total=len(mirrored), unit="versions"))
    for start in range(0, len(mirrored), TOGETHER):
        some = mirrored[start : start + TOGETHER]
        entries = [_entry(registry, label) for label, _ in some]
        loader.read_ahead(entries)
        for entry, (label, known) in zip(entries, some, strict=True):
            differences = _differences(surface, loader.load(entry), known)
            if differences is None:
                waiting.append(label)
            else:
                different += [(label, difference) for difference in differences]
        observe(Advanced("mirror check", start + len(some)))
    observe(Finished("mirror check"))
    return tuple(different), tuple(waiting)


def _foreign_versions(surface: Surface, registered: Mapping[str, int]) -> tuple[tuple[str, Difference], ...]:
    """Versions of our names that are not ours."""
    return tuple(
        (name, Difference("version", str(other), None, f"{name}:{other}"))
        for name, count in registered.items()
        for other in surface.numbers_of(name)
        if other > count
    )


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
    if checked.is_gone:
        return checked
    if labels or checked.waiting or checked.not_copied:
        with turn(registry) as state:
            if labels:
                _take_away_added(registry, state, checked)
            for label in labels:
                _have_written_again(registry, state, label)
            for label in checked.waiting:
                # a page changes without an entry in the outbox, such as that of a version that something was made from since
                state.again(_entry(registry, label))
            for label in checked.not_copied:
                if not state.awaits(label):
                    state.again(_entry(registry, label))
    sync_mirror(registry, observe=observe)
    return check_mirror(registry, observe=observe)


def _differences(surface: Surface, projection: Projection, known: dict[str, Any]) -> list[Difference] | None:
    """What of one version is not as it was written; None where it changed here since."""
    if known["projection"] not in (str(projection.digest), _TO_BE_WRITTEN):
        return None
    run_id = known["run_id"]
    model_id = known["model_id"]
    shown_run = surface.shown_run(run_id)
    name = projection.version.name
    return [
        *differences_of_version(
            projection,
            surface.shown_version(name, projection.version.number),
            description=surface.description(projection, run_id),
            run_id=run_id,
        ),
        *(
            differences_of_name(projection, surface.shown_name_tags(projection.version.name))
            if projection.version.name_tags
            else ()
        ),
        *differences_of_run(
            projection,
            shown_run,
            tags=surface.run_tags(projection, run_id),
            files=_digests(projection.run.artifacts),
            model_id=model_id,
        ),
        *surface.side_differences(projection, run_id, shown_run),
        *differences_of_model(
            projection,
            surface.shown_model(model_id),
            tags=surface.model_tags(projection),
            files=_digests(projection.version.artifacts),
        ),
    ]


def _digests(files: Sequence[ArtifactFile]) -> dict[str, str]:
    """SHA-256 of what is in each file, by path: made anew."""
    return {file.path: str(Digest.of(file.content.make())) for file in files}


def _take_away_added(registry: Registry, state: MirrorState, checked: MirrorCheck) -> None:
    """Take away what somebody added to versions of ours."""
    route = mirror_route(registry)
    surface = open_surface(route)
    added: dict[str, list[Difference]] = {}
    for label, difference in checked.differences:
        if ":" in label and (difference.written is None or difference.kind == TRIAL):
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
