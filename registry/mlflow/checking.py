"""Reading MLflow back: is everything that we wrote there as it was written, and what can be written again.

The expectation is made anew from the signed records, and never read from MLflow. Of the home's own store it is made anew where
what lies there, or what the records give, changed since it was compared last: `sealing.py` remembers that outside the home. What
MLflow lets nobody change (parameters, points of metrics, a number that was given) cannot be repaired there: `registry mirror
rebuild` into an empty store can.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from peft_registry.registry.database import catalog
from peft_registry.registry.disk.files import DiskFull, NotWritable, scratch_folder
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.rare_collections import rare_collections
from peft_registry.registry.mlflow.comparing import (
    Difference,
    differences_of_model,
    differences_of_name,
    differences_of_run,
    differences_of_version,
)
from peft_registry.registry.mlflow.draining import sync_mirror
from peft_registry.registry.mlflow.experiments import MarkedExperiment
from peft_registry.registry.mlflow.home_route import mirror_route
from peft_registry.registry.mlflow.mirror import TOGETHER, MirrorState, require_marked, require_store
from peft_registry.registry.mlflow.projected_versions import Loader
from peft_registry.registry.mlflow.projection import COMPARISON_TAG, ArtifactFile, Projection
from peft_registry.registry.mlflow.refusals import EntryRefused
from peft_registry.registry.mlflow.route import (
    DATABASE,
    MirrorGone,
    MirrorNotChecked,
    MirrorRoute,
    MirrorUnavailable,
    prepare_environment,
)
from peft_registry.registry.mlflow.route_state import RouteState, mirror_state, turn
from peft_registry.registry.mlflow.sealing import Sealing, open_sealing
from peft_registry.registry.mlflow.seals import Seal
from peft_registry.registry.mlflow.side_runs import TRIAL
from peft_registry.registry.mlflow.store_rows import RowsUnreadable, StoreRows, copy_database, read_rows
from peft_registry.registry.mlflow.surface import Surface, open_surface
from peft_registry.registry.mlflow.written_tags import identity_tags, linked_description, run_tags
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.mirror import OutboxEntry
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore

_TO_BE_WRITTEN = ""  # in the place of the digest of what was written: nothing is equal to it


@dataclass(frozen=True, slots=True)
class MirrorCheck:
    """What was found: each difference with the version that it is of.

    `waiting` are versions that changed here since they were copied, and `not_copied` those of which it is not known that they were.
    `sealed` of the versions lie there as they did when they were compared in full, and what they are compared with is the same.
    """

    route: str
    versions: int
    differences: tuple[tuple[str, Difference], ...]
    waiting: tuple[str, ...] = ()
    not_copied: tuple[str, ...] = ()
    sealed: int = 0

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

    def with_not_copied(self, labels: tuple[str, ...]) -> "MirrorCheck":
        """The same, and that these were not copied."""
        return replace(self, not_copied=labels)

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
        if self.sealed:
            summary += f"; {self.sealed} unchanged since they were compared"
        return (f"mirror   {self.versions} versions in {self.route}: {summary}", *lines)

    def to_json(self) -> dict[str, Any]:
        """The object that `mirror check --output json` ends with: each difference with both values."""
        return {
            "route": self.route,
            "versions": self.versions,
            "differences": [
                {"version": label, "place": difference.place, "written": difference.written, "shown": difference.shown}
                for label, difference in self.differences
            ],
            "waiting": list(self.waiting),
            "not_copied": list(self.not_copied),
            "sealed": self.sealed,
        }


@rare_collections()
def check_mirror(registry: Registry, *, in_full: bool = False, observe: Observe = ignore) -> MirrorCheck:
    """Read everything of ours back from MLflow, and hold it against what the signed records give.

    Nothing that the database remembers of MLflow is believed but where to look: who can write it could have edited both.

    Args:
        registry: open.
        in_full: compare also what lies in the home's own store as it did when it was compared in full.
        observe: hears of progress.

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
    labels = tuple(f"{name}:{number}" for name, count in registered.items() for number in range(1, count + 1))
    if state is None or not experiments:
        # whoever took out of the database where the store is has nothing called as it was written
        return MirrorCheck(route.described, 0, (), not_copied=labels)
    not_copied = tuple(label for label in labels if label not in copied)
    try:
        require_store(route, state)
        pass_ = _Check(registry, route, state, registered, mirrored, experiments, observe)
        return pass_.made(open_sealing(registry, route), in_full=in_full).with_not_copied(not_copied)
    except MirrorGone as gone:
        store = Difference("store", "", f"{len(mirrored)} versions", None)
        return MirrorCheck(f"{route.described} ({gone.reason})", 0, (("mirror", store),))
    except MirrorUnavailable as error:
        raise MirrorNotChecked(route.described, error.reason) from error
    except EntryRefused as error:  # it answered when it was opened, and does not now
        raise MirrorNotChecked(route.described, str(error)) from error


@dataclass(frozen=True, slots=True)
class _Check:
    """One reading of MLflow: where it is, and what this home remembers of it.

    Attributes:
        registered: how many versions each name has.
        mirrored: what MLflow calls each version.
        experiments: likewise of each experiment.
    """

    registry: Registry
    route: MirrorRoute
    state: MirrorState
    registered: Mapping[str, int]
    mirrored: Sequence[tuple[str, dict[str, Any]]]
    experiments: Sequence[tuple[str, dict[str, Any]]]
    observe: Observe

    def made(self, sealing: Sealing | None, *, in_full: bool) -> MirrorCheck:
        """What was found; what can be sealed is."""
        if sealing is None or self.route.artifact_root is None:
            return self._compared(self.route, self.mirrored, None)
        database = self.route.artifact_root.parent / DATABASE
        try:
            held = {} if in_full else self._held(sealing, read_rows(database), self.route.artifact_root)
        except RowsUnreadable:  # MLflow's own client says what is wrong with it
            return self._compared(self.route, self.mirrored, None)
        rest = tuple((label, known) for label, known in self.mirrored if label not in held)
        if held and not rest:
            sealing.keep(held)
            return MirrorCheck(self.route.described, len(self.mirrored), (), sealed=len(held))
        try:
            with scratch_folder("registry-mirror-") as scratch:
                # what is compared and what is sealed has to be the same, whatever somebody writes there meanwhile
                copy_database(database, scratch / DATABASE)
                copy = MirrorRoute("store", f"sqlite:///{scratch / DATABASE}", self.route.artifact_root)
                checked = self._compared(copy, rest, partial(_seal, sealing, read_rows(scratch / DATABASE)))
        except (RowsUnreadable, DiskFull, NotWritable):  # no room for a copy
            return self._compared(self.route, self.mirrored, None)
        sealing.keep(held)
        return replace(checked, versions=len(self.mirrored), sealed=len(held))

    def _held(self, sealing: Sealing, rows: StoreRows, artifact_root: Path) -> dict[str, Seal]:
        """The seals of the versions that lie in the store as they were sealed; none where it is another store."""
        for name, recorded in self.experiments:
            shown = rows.experiments.get(name)
            if shown is None or not shown.is_active:
                return {}
            marked = MarkedExperiment(name, shown.identity, shown.tags.get(self.state.mark))
            require_marked(recorded, marked, self.state, anew=False, where=self.route.described)
        if any(number > self.registered[name] for name in self.registered for number in rows.numbers.get(name, ())):
            return {}
        standing = sealing.standing(rows, self.registered)
        self.observe(Started("mirror check", total=len(self.mirrored), unit="versions"))
        held = {}
        for done, (label, known) in enumerate(self.mirrored, start=1):
            seal = standing.get(label)
            if seal is not None and sealing.holds(seal, label, known, rows, artifact_root):
                held[label] = seal
            self.observe(Advanced("mirror check", done))
        self.observe(Finished("mirror check"))
        return held

    def _compared(
        self,
        route: MirrorRoute,
        versions: Sequence[tuple[str, dict[str, Any]]],
        seal: "Callable[[_Compared], None] | None",
    ) -> MirrorCheck:
        """What is not as it was written, of some versions; `seal` hears of each that is."""
        prepare_environment()
        surface = open_surface(route)
        for name, recorded in self.experiments:
            shown = surface.experiments.marked(name, self.state.mark)
            require_marked(recorded, shown, self.state, anew=False, where=surface.where)
        different: list[tuple[str, Difference]] = []
        waiting: list[str] = []
        loader = Loader(self.registry)
        self.observe(Started("mirror check", total=len(versions), unit="versions"))
        for start in range(0, len(versions), TOGETHER):
            some = versions[start : start + TOGETHER]
            entries = [_entry(self.registry, label) for label, _ in some]
            loader.read_ahead(entries)
            for entry, (label, known) in zip(entries, some, strict=True):
                compared = _compared(surface, loader.load(entry), known)
                if compared is None:
                    waiting.append(label)
                else:
                    different += [(label, difference) for difference in compared.differences]
                    if seal is not None:
                        seal(compared)
            self.observe(Advanced("mirror check", start + len(some)))
        self.observe(Finished("mirror check"))
        foreign = _foreign_versions(surface, self.registered)
        return MirrorCheck(surface.where, len(versions), (*different, *foreign), tuple(waiting))


def _seal(sealing: Sealing, rows: StoreRows, compared: "_Compared") -> None:
    """Seal a version that was compared in full and found as it was written."""
    if compared.differences:
        return
    projection, (run_id, model_id) = compared.projection, compared.ids
    version = projection.version
    comparison = dict(projection.run.tags).get(COMPARISON_TAG)
    digest = rows.of_version(f"{version.name}:{version.number}", run_id, model_id, comparison)
    sealing.seal(projection, ids=compared.ids, rows=digest, files=compared.files)


def _foreign_versions(surface: Surface, registered: Mapping[str, int]) -> tuple[tuple[str, Difference], ...]:
    """Versions of our names that are not ours."""
    return tuple(
        (name, Difference("version", str(other), None, f"{name}:{other}"))
        for name, count in registered.items()
        for other in surface.names.numbers(name)
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


@dataclass(frozen=True, slots=True)
class _Compared:
    """What of one version is not as it was written.

    Attributes:
        projection: what its records give.
        ids: of its run and its logged model.
        files: the digests of what their files have to be, by path.
        differences: what is not so.
    """

    projection: Projection
    ids: tuple[str, str]
    files: tuple[dict[str, str], dict[str, str]]
    differences: list[Difference]


def _compared(surface: Surface, projection: Projection, known: dict[str, Any]) -> _Compared | None:
    """What of one version is not as it was written; None where it changed here since."""
    if known["projection"] not in (str(projection.digest), _TO_BE_WRITTEN):
        return None
    run_id = known["run_id"]
    model_id = known["model_id"]
    experiment = surface.experiments.id_of(projection.experiment)
    shown_run = surface.shown.run(run_id)
    name = projection.version.name
    files = (_digests(projection.run.artifacts), _digests(projection.version.artifacts))
    differences = [
        *differences_of_version(
            projection,
            surface.shown.version(name, projection.version.number),
            description=linked_description(projection, experiment=experiment, run_id=run_id),
            run_id=run_id,
        ),
        *(differences_of_name(projection, surface.names.tags(name)) if projection.version.name_tags else ()),
        *differences_of_run(
            projection,
            shown_run,
            tags=run_tags(projection, experiment=experiment, run_id=run_id),
            files=files[0],
            model_id=model_id,
        ),
        *surface.side_runs.differences(projection, run_id=run_id, experiment=experiment, shown=shown_run),
        *differences_of_model(
            projection,
            surface.shown.model(model_id),
            tags=identity_tags(projection),
            files=files[1],
        ),
    ]
    return _Compared(projection, (run_id, model_id), files, differences)


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
