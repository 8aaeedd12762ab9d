"""Make MLflow show what the registry holds: drain the outbox, in order, as often as needed.

Rules: what is remembered is of one MLflow, the route. Versions of one name are mirrored strictly in order. MLflow chooses its own
ids, so what it chose is remembered in `MirrorState`, and found again by tag when that memory was lost. A number other than ours
stops the name and is reported as drift: its entries are set aside, and those of other names are mirrored. Nothing is repaired by
reading MLflow. A store that is gone, or another one in its place, is said and not filled with a part. An empty outbox imports no
mlflow.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Protocol

from peft_registry.registry.homes.rare_collections import rare_collections
from peft_registry.registry.mlflow.experiments import MarkedExperiment
from peft_registry.registry.mlflow.own_store import NewVersion
from peft_registry.registry.mlflow.projection import EXPERIMENT, Projection
from peft_registry.registry.mlflow.refusals import DriftFound, EntryRefused
from peft_registry.registry.mlflow.route import (
    MirrorFull,
    MirrorGone,
    MirrorRoute,
    MirrorUnavailable,
    TurnLost,
    prepare_environment,
)
from peft_registry.registry.mlflow.surface import Surface, open_surface
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.mirror import OutboxEntry
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore

TOGETHER_FROM = 8  # entries that wait: fewer are written by MLflow's client, which is slower and knows everything
TOGETHER = 32  # versions that are read together, and written in one transaction
_OF_A_VERSION = ("version", "run", "model")  # what is remembered of each


class MirrorState(Protocol):
    """What the mirror remembers between runs: small JSON objects by entity and key, and which entries are done.

    Entities: `experiment` (key: its name; which one it is, and the mark that was left there last), `run` with the identity and the
    digest of each file that it has, `model` and `version` (key `name:3`), `alias` (key `name@alias`), `manifest` (key `sha256:…`).
    What was put is durable once `done` or `keep` returns; MLflow's own ids are found again by tags where it was lost.
    """

    @property
    def route(self) -> str:
        """The name of the MLflow that this is remembered of."""

    @property
    def mark(self) -> str:
        """The tag of an experiment under which this registry leaves its mark."""

    @property
    def wrote(self) -> bool:
        """Whether anything was written to this MLflow."""

    def get(self, entity: str, key: str) -> dict[str, Any] | None:
        """What was put last, or None."""

    def every(self, entity: str) -> dict[str, dict[str, Any]]:
        """Everything of a kind that was put, by its key."""

    def put(self, entity: str, key: str, value: dict[str, Any]) -> None:
        """Remember `value`, replacing what was there."""

    def read_ahead(self, things: Collection[tuple[str, str]]) -> None:
        """Read at once what will be asked for next, by entity and key."""

    def done(self, *entries: OutboxEntry) -> None:
        """The entries are mirrored and leave the outbox."""

    def keep(self) -> None:
        """Make durable what was put."""

    def is_route(self, route: str) -> bool:
        """Whether another MLflow has this name."""


@dataclass(frozen=True, slots=True)
class NotMirrored:
    """An entry that stays in the outbox, and why."""

    entry: OutboxEntry
    why: str


@dataclass(frozen=True, slots=True)
class Drift:
    """A name whose versions in MLflow are not ours; nothing more is mirrored under it."""

    name: str
    why: str


class OtherRoute(Exception):
    """MLflow at this place is one that was written to from another place; carries its route."""


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """What became of the entries. Those in `failed` are tried again by the next sync.

    `done` counts entries by name: of ten thousand each would else stay in memory until the end.
    """

    done: Mapping[str, int] = field(default_factory=dict)
    failed: tuple[NotMirrored, ...] = ()
    drift: tuple[Drift, ...] = ()


@rare_collections()
def sync(
    pages: Iterable[Sequence[OutboxEntry]],
    *,
    route: MirrorRoute,
    state: MirrorState,
    load: Callable[[OutboxEntry], Projection],
    read_ahead: Callable[[Sequence[OutboxEntry]], None] = lambda _entries: None,
    newest: Callable[[], int] = lambda: 0,
    anew: bool = False,
    seal: Callable[[NewVersion, Digest], None] | None = None,
    observe: Observe = ignore,
) -> SyncOutcome:
    """Mirror the entries by id; may be repeated after a crash at any point. Only one process at a time may, for one route.

    Args:
        pages: the rows of the outbox that are not done, some at a time, in their order.
        route: where MLflow is.
        state: what the mirror remembers.
        load: the projection of an entry's version as it is now.
        read_ahead: reads at once what `load` needs of the entries that it will be called for next.
        newest: the number of the newest entry there is; those of a version up to it are done with its projection.
        anew: nothing is remembered on purpose, so whatever MLflow was marked with before is not asked about.
        seal: hears of each version that was written with others, and a digest over its rows.
        observe: hears of progress.

    Raises:
        MirrorUnavailable, MlflowMissing: nothing was mirrored, or nothing more can be.
        MirrorFull: there is no room; what was mirrored stays.
        MirrorGone: what was mirrored is not there any more.
        TurnLost: another machine writes now.
        OtherRoute: this is remembered under another route.
    """
    require_store(route, state)
    ordered = iter(pages)
    first = next(ordered, ())
    if not first:
        return SyncOutcome()
    prepare_environment()
    surface = open_surface(route)
    pass_ = _Sync(surface, state, load, read_ahead, newest, anew, seal)
    observe(Started("mirror", total=0, unit="entries"))
    try:
        for page in chain((first,), ordered):
            pass_.drain(sorted(page, key=lambda entry: entry.id))
            observe(Advanced("mirror", pass_.done.total() + len(pass_.failed)))
    finally:
        surface.close()
        state.keep()
    observe(Finished("mirror"))
    return SyncOutcome(dict(pass_.done), tuple(pass_.failed), tuple(pass_.drift))


@dataclass
class _Sync:
    """One pass over the outbox."""

    surface: Surface
    state: MirrorState
    load: Callable[[OutboxEntry], Projection]
    read_ahead: Callable[[Sequence[OutboxEntry]], None]
    newest: Callable[[], int]
    anew: bool
    seal: Callable[[NewVersion, Digest], None] | None
    stopped: dict[str, str] = field(default_factory=dict)  # name → why
    known_experiments: set[str] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)  # by name
    failed: list[NotMirrored] = field(default_factory=list)
    drift: list[Drift] = field(default_factory=list)
    shown: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)  # label → newest entry shown, aliases
    is_catching_up: bool = False  # many wait
    newest_entry: int = 0  # when the versions that come next were read
    planned: list[tuple[OutboxEntry, NewVersion]] = field(default_factory=list)
    planned_ids: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # of those, by manifest

    def drain(self, page: Sequence[OutboxEntry]) -> None:
        """Mirror some entries; those of a name that was stopped are set aside."""
        self.is_catching_up = len(page) >= TOGETHER_FROM
        try:
            for start in range(0, len(page), TOGETHER):
                some = page[start : start + TOGETHER]
                self._read_ahead(some)
                for entry in some:
                    self._attempt(entry, partial(self._mirror, entry))
                self._write_planned()
        finally:
            self.surface.planned.remove_files([version for _, version in self.planned])

    def _read_ahead(self, entries: Sequence[OutboxEntry]) -> None:
        """Read at once what mirroring these entries takes; what is appended from now on is not among it."""
        self.newest_entry = self.newest()
        versions = {entry.label: entry for entry in entries if entry.name not in self.stopped}
        waiting = [entry for entry in versions.values() if not self._is_shown(entry)]
        self.state.read_ahead([(entity, entry.label) for entry in waiting for entity in _OF_A_VERSION])
        self.read_ahead(waiting)

    def _is_shown(self, entry: OutboxEntry) -> bool:
        """Whether a projection that was shown in this pass had what an entry tells of."""
        newest, _ = self.shown.get(entry.label, (-1, ()))
        return entry.id <= newest

    def _attempt(self, entry: OutboxEntry, mirror: Callable[[], bool]) -> None:
        """Mirror an entry unless its name was stopped; `mirror` returns whether it is done, and not only planned."""
        is_done = False
        if entry.name not in self.stopped:
            try:
                is_done = mirror()
            except DriftFound as drifted:
                self.stopped[entry.name] = str(drifted)
                self.drift.append(Drift(entry.name, str(drifted)))
            except EntryRefused as refused:
                self.stopped[entry.name] = str(refused)
                self.surface.check_reachable()
            except (MirrorUnavailable, MirrorFull, MirrorGone, TurnLost):
                raise
            except KnownError as error:
                self.stopped[entry.name] = str(error)
        if entry.name in self.stopped:
            self.failed.append(NotMirrored(entry, self.stopped[entry.name]))
        elif is_done:
            self.state.done(entry)
            self.done[entry.name] += 1

    def _write_planned(self) -> None:
        """Write the versions that were planned at once, and what cannot be written so each by itself."""
        planned = self.planned
        self.planned = []
        self.planned_ids = {}
        if not planned:
            return
        written = self.surface.planned.write([version for _, version in planned])
        entries = []
        for (entry, version), rows in zip(planned, written, strict=True):
            if rows is not None:
                self._remember(entry, version)
                entries.append(entry)
                if self.seal is not None:
                    self.seal(version, rows)
        self.state.done(*entries)
        self.done.update(entry.name for entry in entries)
        for (entry, version), rows in zip(planned, written, strict=True):
            if rows is None:
                self._attempt(entry, partial(self._show_alone, entry, version.projection))

    def _remember(self, entry: OutboxEntry, version: NewVersion) -> None:
        projection = version.projection
        label = entry.label
        run_id = version.run_id
        model_id = version.model_id
        self._put_run(label, projection, run_id, version.digests)
        self._put_model(label, projection, run_id, model_id)
        for alias in projection.version.aliases:
            self.state.put("alias", f"{entry.name}@{alias}", {"number": entry.number})
        self._put_version(label, projection, run_id, model_id)

    def _require_same_store(self, experiment: str) -> None:
        """Raise where the experiment that was written to is not there any more, or another one or an older copy has its place.

        The mark in it is renewed by each sync that writes to it: of two copies of a store one falls behind. Before anything is
        written all experiments that were written to are looked at, for a new one would be made in any store.
        """
        if experiment in self.known_experiments:
            return
        if not self.known_experiments:
            self._require_marked_but(experiment)
        shown = self.surface.experiments.marked(experiment, self.state.mark)
        recorded = self.state.get("experiment", experiment)
        require_marked(recorded, shown, self.state, anew=self.anew, where=self.surface.where)
        turn = 1 + (recorded or {}).get("turn", 0)
        # in this order: a sync that is killed in between left the next mark, which is accepted
        self.surface.experiments.mark(experiment, self.state.mark, f"{self.state.route} {turn}")
        self.state.put("experiment", experiment, {"identity": shown.identity, "turn": turn})
        self.state.keep()
        self.known_experiments.add(experiment)

    def _require_marked_but(self, experiment: str) -> None:
        for name, recorded in self.state.every("experiment").items():
            if name != experiment:
                shown = self.surface.experiments.marked(name, self.state.mark)
                require_marked(recorded, shown, self.state, anew=self.anew, where=self.surface.where)

    def _mirror(self, entry: OutboxEntry) -> bool:
        if self._is_shown(entry):
            # a projection shows all that had happened to its version when it was made
            _, aliases = self.shown[entry.label]
            self._write_planned()
            self._take_away(entry, {entry.alias} - {*aliases, None})
            return True
        newest = max(entry.id, self.newest_entry)
        projection = self.load(entry)
        is_done = not self._plan(entry, projection)
        if is_done:
            self._show_alone(entry, projection)
        self.shown[entry.label] = (newest, projection.version.aliases)
        return is_done

    def _plan(self, entry: OutboxEntry, projection: Projection) -> bool:
        """Plan to write a version with others, where that can be; else False."""
        if not self.is_catching_up or not self._is_new(entry.label):
            return False
        self._require_same_store(projection.experiment)
        if not self.surface.planned.can_take(projection):
            return False
        self._require_predecessor(entry)
        known = [ids for parent in projection.parents if (ids := self._ids_of(str(parent))) is not None]
        version = self.surface.planned.plan(
            projection,
            parent_models=tuple(ids["model_id"] for ids in known),
            parent_run=self._run_below_which(projection),
        )
        self.planned.append((entry, version))
        self.planned_ids[str(projection.manifest)] = _ids(projection, version.run_id, version.model_id)
        return True

    def _run_below_which(self, projection: Projection) -> str | None:
        """The run whose training a version continued, where it is known and MLflow shows both in one list."""
        start = None if projection.continues is None else self._ids_of(str(projection.continues))
        # what an earlier release remembered is all in one experiment
        if start is None or start.get("experiment", EXPERIMENT) != projection.experiment:
            return None
        run_id: str = start["run_id"]
        return run_id

    def _is_new(self, label: str) -> bool:
        """Whether nothing is remembered of a version."""
        return all(self.state.get(entity, label) is None for entity in _OF_A_VERSION)

    def _ids_of(self, manifest: str) -> Mapping[str, Any] | None:
        """What MLflow calls the run and the model of an artifact."""
        return self.planned_ids.get(manifest) or self.state.get("manifest", manifest)

    def _show_alone(self, entry: OutboxEntry, projection: Projection) -> bool:
        self._write_planned()
        self._show(entry, projection)
        return True

    def _show(self, entry: OutboxEntry, projection: Projection) -> None:
        self._require_same_store(projection.experiment)
        label, digest = entry.label, str(projection.digest)
        known = self.state.get("version", label)
        if known is not None and known["projection"] == digest:
            return
        is_there = True
        if known is None:
            self._require_predecessor(entry)
            is_there = self.surface.versions.has_own_number(projection)
        run_id, model_id = self._run_and_model(projection, label)
        if known is None:
            self.surface.versions.ensure(projection, run_id=run_id, model_id=model_id, is_there=is_there)
        else:
            self.surface.versions.refresh(projection, run_id=run_id)
        self._move_aliases(projection, entry, held=tuple(known["aliases"]) if known else ())
        self._put_version(label, projection, run_id, model_id)

    def _put_version(self, label: str, projection: Projection, run_id: str, model_id: str) -> None:
        aliases = list(projection.version.aliases)
        ids = _ids(projection, run_id, model_id)
        self.state.put("version", label, {"projection": str(projection.digest), **ids, "aliases": aliases})

    def _put_model(self, label: str, projection: Projection, run_id: str, model_id: str) -> None:
        self.state.put("model", label, {"model_id": model_id})
        self.state.put("manifest", str(projection.manifest), _ids(projection, run_id, model_id))

    def _put_run(self, label: str, projection: Projection, run_id: str, digests: Mapping[str, str]) -> None:
        files = {file.path: str(file.content.identity) for file in projection.run.artifacts}
        self.state.put("run", label, {"run_id": run_id, "files": files, "digests": dict(digests)})

    def _require_predecessor(self, entry: OutboxEntry) -> None:
        before = entry.number - 1
        label = f"{entry.name}:{before}"
        if before < 1 or self.state.get("version", label) is not None:
            return
        if any(planned.label == label for planned, _ in self.planned):
            return
        if not self.surface.versions.holds(entry.name, before):
            raise EntryRefused(f"{entry.name}:{before} comes first and is not mirrored")

    def _run_and_model(self, projection: Projection, label: str) -> tuple[str, str]:
        known_run = self.state.get("run", label) or {}
        run_id = self.surface.runs.ensure(projection, known_run.get("run_id"))
        # a run made anew has none of the files that the earlier one had
        is_same = known_run.get("run_id") == run_id
        written = known_run.get("files", {}) if is_same else {}
        digests = known_run.get("digests", {}) if is_same else {}
        self.state.put("run", label, {"run_id": run_id, "files": written, "digests": digests})
        known_model = self.state.get("model", label)
        model_id = self.surface.models.ensure(projection, run_id, known_model["model_id"] if known_model else None)
        self._put_model(label, projection, run_id, model_id)
        parents = (self.state.get("manifest", str(parent)) for parent in projection.parents)
        digests |= self.surface.runs.fill(
            projection,
            run_id=run_id,
            model_id=model_id,
            parent_models=tuple(parent["model_id"] for parent in parents if parent is not None),
            written=written,
        )
        self._put_run(label, projection, run_id, digests)
        return run_id, model_id

    def _move_aliases(self, projection: Projection, entry: OutboxEntry, held: tuple[str, ...]) -> None:
        """Set what the version has; take away only an alias that no other version has got since."""
        name, number = projection.version.name, projection.version.number
        for alias in projection.version.aliases:
            self.surface.names.set_alias(name, alias, number)
            self.state.put("alias", f"{name}@{alias}", {"number": number})
        self._take_away(entry, {*held, entry.alias} - {*projection.version.aliases, None})

    def _take_away(self, entry: OutboxEntry, aliases: set[str | None]) -> None:
        """Take aliases away from a version that has them still."""
        for alias in sorted(filter(None, aliases)):
            holder = self.state.get("alias", f"{entry.name}@{alias}")
            if holder is not None and holder["number"] == entry.number:
                self.surface.names.delete_alias(entry.name, alias)
                self.state.put("alias", f"{entry.name}@{alias}", {"number": None})


def _ids(projection: Projection, run_id: str, model_id: str) -> dict[str, str]:
    return {"run_id": run_id, "model_id": model_id, "experiment": projection.experiment}


def require_store(route: MirrorRoute, state: MirrorState) -> None:
    """Raise where something was mirrored to the home's own store and its file is gone; a server is asked when it is written to."""
    missing = route.missing_file
    if missing is not None and state.wrote:
        raise MirrorGone(route.described, f"there is no {missing.name} in {missing.parent.name}/ of the home")


def require_marked(
    recorded: Mapping[str, Any] | None, shown: MarkedExperiment, state: MirrorState, *, anew: bool, where: str
) -> None:
    """Raise unless an experiment is the one that was written to last.

    Raises:
        MirrorGone: it is another one, or an older copy of it.
        OtherRoute: nothing was written to it under this route, and it was under another.
    """
    route, _, turn = (shown.mark or "").partition(" ")
    if recorded is None:
        if not anew and route != state.route and state.is_route(route):
            raise OtherRoute(route)
        return
    if recorded["identity"] != shown.identity:
        raise MirrorGone(where, f"the experiment {shown.name} there is another than the one that was written to")
    last = recorded.get("turn")
    if last is not None and (route != state.route or turn not in (f"{last}", f"{last + 1}")):
        raise MirrorGone(where, f"what is there is an older copy of the one that was written to last ({shown.name})")
