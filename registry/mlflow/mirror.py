"""Make MLflow show what the registry holds: drain the outbox, in order, as often as needed.

Rules: what is remembered is of one MLflow, the route. Versions of one name are mirrored strictly in order. MLflow chooses its own
ids, so what it chose is remembered in `MirrorState`, and found again by tag when that memory was lost. A number other than ours
stops the name and is reported as drift: its entries are set aside, and those of other names are mirrored. Nothing is repaired by
reading MLflow. A store that is gone, or another one in its place, is said and not filled with a part. An empty outbox imports no
mlflow.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

from peft_registry.registry.mlflow.projection import Projection
from peft_registry.registry.mlflow.route import (
    MirrorFull,
    MirrorGone,
    MirrorRoute,
    MirrorUnavailable,
    TurnLost,
    prepare_environment,
)
from peft_registry.registry.mlflow.surface import DriftFound, EntryRefused, MarkedExperiment, Surface, open_surface
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.mirror import OutboxEntry
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore


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

    def put(self, entity: str, key: str, value: dict[str, Any]) -> None:
        """Remember `value`, replacing what was there."""

    def done(self, entry: OutboxEntry) -> None:
        """The entry is mirrored and leaves the outbox."""

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
    """What became of each entry. Those in `failed` are tried again by the next sync."""

    done: tuple[OutboxEntry, ...] = ()
    failed: tuple[NotMirrored, ...] = ()
    drift: tuple[Drift, ...] = ()


def sync(
    pages: Iterable[Sequence[OutboxEntry]],
    *,
    route: MirrorRoute,
    state: MirrorState,
    load: Callable[[OutboxEntry], Projection],
    newest: Callable[[], int] = lambda: 0,
    anew: bool = False,
    observe: Observe = ignore,
) -> SyncOutcome:
    """Mirror the entries by id; may be repeated after a crash at any point. Only one process at a time may, for one route.

    Args:
        pages: the rows of the outbox that are not done, some at a time, in their order.
        route: where MLflow is.
        state: what the mirror remembers.
        load: the projection of an entry's version as it is now.
        newest: the number of the newest entry there is; those of a version up to it are done with its projection.
        anew: nothing is remembered on purpose, so whatever MLflow was marked with before is not asked about.
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
    pass_ = _Sync(surface, state, load, newest, anew)
    observe(Started("mirror", total=0, unit="entries"))
    try:
        for page in chain((first,), ordered):
            pass_.drain(sorted(page, key=lambda entry: entry.id))
            observe(Advanced("mirror", len(pass_.done) + len(pass_.failed)))
    finally:
        state.keep()
    observe(Finished("mirror"))
    return SyncOutcome(tuple(pass_.done), tuple(pass_.failed), tuple(pass_.drift))


@dataclass
class _Sync:
    """One pass over the outbox."""

    surface: Surface
    state: MirrorState
    load: Callable[[OutboxEntry], Projection]
    newest: Callable[[], int]
    anew: bool
    stopped: dict[str, str] = field(default_factory=dict)  # name → why
    known_experiments: set[str] = field(default_factory=set)
    done: list[OutboxEntry] = field(default_factory=list)
    failed: list[NotMirrored] = field(default_factory=list)
    drift: list[Drift] = field(default_factory=list)
    shown: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)  # label → newest entry shown, aliases

    def drain(self, page: Sequence[OutboxEntry]) -> None:
        """Mirror some entries; those of a name that was stopped are set aside."""
        for entry in page:
            if entry.name not in self.stopped:
                try:
                    self._mirror(entry)
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
            else:
                self.state.done(entry)
                self.done.append(entry)

    def _require_same_store(self, experiment: str) -> None:
        """Raise where the experiment that was written to is not there any more, or another one or an older copy has its place.

        The mark in it is renewed by each sync that writes: of two copies of a store one falls behind.
        """
        if experiment in self.known_experiments:
            return
        shown = self.surface.marked_experiment(experiment, self.state.mark)
        recorded = self.state.get("experiment", experiment)
        require_marked(recorded, shown, self.state, anew=self.anew, where=self.surface.where)
        turn = 1 + (recorded or {}).get("turn", 0)
        # in this order: a sync that is killed in between left the next mark, which is accepted
        self.surface.mark_experiment(experiment, self.state.mark, f"{self.state.route} {turn}")
        self.state.put("experiment", experiment, {"identity": shown.identity, "turn": turn})
        self.state.keep()
        self.known_experiments.add(experiment)

    def _mirror(self, entry: OutboxEntry) -> None:
        newest, aliases = self.shown.get(entry.label, (-1, ()))
        if entry.id <= newest:
            # a projection shows all that had happened to its version when it was made
            self._take_away(entry, {entry.alias} - {*aliases, None})
            return
        newest = max(entry.id, self.newest())
        projection = self.load(entry)
        self._show(entry, projection)
        self.shown[entry.label] = (newest, projection.version.aliases)

    def _show(self, entry: OutboxEntry, projection: Projection) -> None:
        self._require_same_store(projection.experiment)
        version = projection.version
        label, digest = entry.label, str(projection.digest)
        known = self.state.get("version", label)
        if known is not None and known["projection"] == digest:
            return
        is_there = True
        if known is None:
            self._require_predecessor(entry)
            is_there = self.surface.has_own_number(projection)
        run_id, model_id = self._run_and_model(projection, label)
        if known is None:
            self.surface.ensure_version(projection, run_id=run_id, model_id=model_id, is_there=is_there)
        else:
            self.surface.refresh_version(projection, run_id=run_id)
        self._move_aliases(projection, entry, held=tuple(known["aliases"]) if known else ())
        mirrored = {"projection": digest, "run_id": run_id, "model_id": model_id, "aliases": list(version.aliases)}
        self.state.put("version", label, mirrored)

    def _require_predecessor(self, entry: OutboxEntry) -> None:
        before = entry.number - 1
        if before < 1 or self.state.get("version", f"{entry.name}:{before}") is not None:
            return
        if not self.surface.holds_version(entry.name, before):
            raise EntryRefused(f"{entry.name}:{before} comes first and is not mirrored")

    def _run_and_model(self, projection: Projection, label: str) -> tuple[str, str]:
        known_run = self.state.get("run", label) or {}
        run_id = self.surface.ensure_run(projection, known_run.get("run_id"))
        # a run made anew has none of the files that the earlier one had
        is_same = known_run.get("run_id") == run_id
        written = known_run.get("files", {}) if is_same else {}
        digests = known_run.get("digests", {}) if is_same else {}
        self.state.put("run", label, {"run_id": run_id, "files": written, "digests": digests})
        known_model = self.state.get("model", label)
        model_id = self.surface.ensure_model(projection, run_id, known_model["model_id"] if known_model else None)
        self.state.put("model", label, {"model_id": model_id})
        self.state.put("manifest", str(projection.manifest), {"model_id": model_id})
        parents = (self.state.get("manifest", str(parent)) for parent in projection.parents)
        digests |= self.surface.fill_run(
            projection,
            run_id=run_id,
            model_id=model_id,
            parent_models=tuple(parent["model_id"] for parent in parents if parent is not None),
            written=written,
        )
        files = {file.path: str(file.content.identity) for file in projection.run.artifacts}
        self.state.put("run", label, {"run_id": run_id, "files": files, "digests": digests})
        return run_id, model_id

    def _move_aliases(self, projection: Projection, entry: OutboxEntry, held: tuple[str, ...]) -> None:
        """Set what the version has; take away only an alias that no other version has got since."""
        name, number = projection.version.name, projection.version.number
        for alias in projection.version.aliases:
            self.surface.set_alias(name, alias, number)
            self.state.put("alias", f"{name}@{alias}", {"number": number})
        self._take_away(entry, {*held, entry.alias} - {*projection.version.aliases, None})

    def _take_away(self, entry: OutboxEntry, aliases: set[str | None]) -> None:
        """Take aliases away from a version that has them still."""
        for alias in sorted(filter(None, aliases)):
            holder = self.state.get("alias", f"{entry.name}@{alias}")
            if holder is not None and holder["number"] == entry.number:
                self.surface.delete_alias(entry.name, alias)
                self.state.put("alias", f"{entry.name}@{alias}", {"number": None})


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
