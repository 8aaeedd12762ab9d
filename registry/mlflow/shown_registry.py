"""A registry as MLflow's stores read it: what is shown is proven, and kept in the process until the log grows. No mlflow here.

Nothing is written anywhere. Lists are in the order of registration, newest first, and are read by the key of the last version of
the page before; the index that gives that order is the catalogue's, and each version that it gives is held against the log.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.rare_collections import rare_collections
from peft_registry.registry.homes.run_logs import RunUnderWay
from peft_registry.registry.mlflow.experiments import Experiments
from peft_registry.registry.mlflow.figures import MetricPoint, milliseconds
from peft_registry.registry.mlflow.home_reader import open_registry
from peft_registry.registry.mlflow.kept_values import KeptValues
from peft_registry.registry.mlflow.narrowing import Narrowed
from peft_registry.registry.mlflow.projected_versions import VersionLoader, stops_shown_of
from peft_registry.registry.mlflow.projection import (
    ArtifactFile,
    ListedProjection,
    Projection,
    listed_version_tags,
    model_name,
    model_type,
    source_of,
    stop_tags,
)
from peft_registry.registry.mlflow.proven_versions import Listed, ProvenVersions
from peft_registry.registry.mlflow.run_ids import RunIds
from peft_registry.registry.mlflow.shown_runs import (
    RunPlace,
    ShownModel,
    ShownName,
    ShownRun,
    ShownVersion,
    comparison_run,
    listed_version,
    model_of_version,
    run_in_full,
    run_of_version,
    run_under_way,
    trial_runs,
    unreadable_run,
    unreadable_version,
    version_in_full,
)
from peft_registry.registry.mlflow.side_runs import comparison_of
from peft_registry.registry.mlflow.version_rows import (
    ROWS_AT_ONCE,
    Position,
    VersionName,
    position_of_version,
    rows_named,
)
from peft_registry.registry.mlflow.version_search import VersionSearch
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.views import view_of
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked, NotFound
from peft_registry.schemas.version import Version


class RunUnknown(NotFound):
    reference = "mlflow-run-unknown"
    what = "there is no run {run_id!q}"
    why = "no version of this registry was made by it"
    fix = "look for it with `registry list`, or by its tags in the list of runs"

    run_id: str


class ShownRegistry:
    """A home that MLflow reads. Threads may share it."""

    def __init__(self, home: str | None, *, state: Path | None) -> None:
        self._home = home
        self._state = state
        self._lock = threading.Lock()
        self._state_of_values: Hashable = None  # the log, checkpoint and trust file that `_values` were read under
        self._values = KeptValues()

    @contextmanager
    def reading(self) -> Iterator["RegistryReading"]:
        """One moment of the registry.

        Raises:
            HomeNotFound, HomeOfAnotherUser, HomeNotNamed, HomeDamaged, SchemaMismatch: there is none that can be read.
        """
        registry = open_registry(self._home, state=self._state)
        try:
            registry.database.require_current()
            with registry.database.reading(), rare_collections():
                yield RegistryReading(registry, self._values_of(registry))
        finally:
            registry.close()

    def _values_of(self, registry: Registry) -> KeptValues:
        with view_of(registry) as view:
            newest = view.newest
            size = SqlLogStore(view.tx).size()
        state = (size, None if newest is None else newest.checkpoint, _trust_of(registry))
        with self._lock:
            if state != self._state_of_values:
                self._state_of_values, self._values = state, KeptValues()
            return self._values


def _trust_of(registry: Registry) -> Hashable:
    """What tells one trust file from another."""
    try:
        return registry.trust.canonical_digest()
    except (IntegrityBroken, NotChecked) as error:
        return error.what


class RegistryReading:
    """What MLflow asks of a registry, at one moment."""

    def __init__(self, registry: Registry, values: KeptValues) -> None:
        self.registry = registry
        self.values = values
        self.versions = ProvenVersions(registry, values)
        self.run_ids = RunIds(self.versions)
        self.experiments = Experiments(self.versions, self.run_ids)
        self._search = VersionSearch(self.versions, self.experiments, self.run_ids)

    # --- runs ---

    def _begun_runs(
        self, projects: Collection[str | None], narrowed: Narrowed, after: Position | None
    ) -> list[tuple[Position, ShownRun]]:
        """The runs under way of some projects behind a position, the newest first."""
        positions = {run_id: _position_under_way(run) for run_id, run in self.run_ids.under_way.items()}
        return [
            (positions[run_id], run_under_way(run))
            for run_id, run in self.run_ids.under_way.items()
            if run.project in projects
            and (after is None or positions[run_id] < after)
            and (narrowed.labels is None or f"{run_id}:0" in narrowed.labels)
        ]

    def runs(
        self,
        projects: Collection[str | None],
        narrowed: Narrowed,
        after: Position | None = None,
        *,
        first: int = ROWS_AT_ONCE,
    ) -> Iterator[list[tuple[Position, ShownRun]]]:
        """The runs of some projects behind a position, some at a time; `narrowed` leaves out versions whose run is not asked for.

        `first` is how many versions are read before the first batch.
        """
        return self._runs(projects, narrowed, after, first=first, read=self.versions.listed)

    def runs_as_logged(
        self, projects: Collection[str | None], narrowed: Narrowed
    ) -> Iterator[list[tuple[Position, ShownRun]]]:
        """The same, to be put in order and not to be shown: by what the log has, and without what a version was made from."""
        return self._runs(projects, narrowed, None, first=ROWS_AT_ONCE, read=self.versions.as_logged)

    def _runs(
        self,
        projects: Collection[str | None],
        narrowed: Narrowed,
        after: Position | None,
        *,
        first: int,
        read: Callable[[Sequence[Version]], list[Listed]],
    ) -> Iterator[list[tuple[Position, ShownRun]]]:
        wanted = frozenset(projects)
        begun = deque(self._begun_runs(wanted, narrowed, after))
        for rows in self._search.rows(projects, narrowed, after, first=first):
            batch: list[tuple[Position, ShownRun]] = []
            known = read(rows)
            places = self.run_ids.places([listed for _, listed in known if isinstance(listed, ListedProjection)])
            for index, (version, listed) in enumerate(known):
                batch += _taken(begun, since=position_of_version(version))
                # a version that cannot be read names no project: it stands in the list that is asked for, not in none
                if isinstance(listed, KnownError):
                    group: list[ShownRun] = [unreadable_run(version, _any_of(wanted), listed)]
                elif listed.project not in wanted:
                    continue
                else:
                    following = known[index + 1][1] if index + 1 < len(known) else None
                    group = self._group(listed, places[version.label], following)
                for offset, run in enumerate(group):
                    position = (version.registered_at, version.name, version.number, offset)
                    if after is None or position[:3] != after[:3] or offset > after[3]:
                        batch.append((position, run))
            yield batch
        yield list(begun)

    def _group(
        self, listed: ListedProjection, place: RunPlace, following: ListedProjection | KnownError | None
    ) -> list[ShownRun]:
        """The run of a version and those beside it: of the seeds that were tried, and over its comparison.

        Arms are registered one after the other. The run over them comes with the first that was, which is the last in a list.
        """
        runs = [run_of_version(listed, place), *trial_runs(listed, place.run_id)]
        comparison = comparison_of(listed.run)
        if comparison is not None:
            same = isinstance(following, ListedProjection) and comparison_of(following.run) == comparison
            if not same:
                runs.append(comparison_run(comparison, listed))
        return runs

    def run(self, run_id: str) -> ShownRun:
        """A run by its id, as its own page shows it.

        Raises:
            RunUnknown: there is none.
        """
        name = self.run_ids.version_of(run_id)
        if name is not None:
            return self._run_in_full(name)
        if run_id in self.run_ids.under_way:
            return run_under_way(self.run_ids.under_way[run_id])
        beside = self._run_beside(run_id)
        if beside is None:
            raise RunUnknown(run_id)
        return beside

    def history(self, run_id: str, key: str) -> tuple[MetricPoint, ...]:
        """Every point of a metric of a run.

        Raises:
            RunUnknown: there is no such run.
        """
        name = self.run_ids.version_of(run_id)
        if name is None:
            return tuple(point for point in self.run(run_id).metrics if point.key == key)
        whole = self.versions.page(name)
        points = () if isinstance(whole, KnownError) else whole.run.metrics
        return tuple(point for point in points if point.key == key)

    def _run_in_full(self, name: VersionName) -> ShownRun:
        ((version, listed),) = self.versions.listed(rows_named(self.registry, [name]))
        whole = self.versions.page(name)
        if isinstance(listed, KnownError):
            return unreadable_run(version, None, listed)
        place = self.run_ids.places([listed])[name.label]
        if isinstance(whole, KnownError):
            return unreadable_run(version, listed.project, whole)
        return run_in_full(whole, listed.project, place)

    def _run_beside(self, run_id: str) -> ShownRun | None:
        """A run of a seed or over a comparison."""
        narrowed = Narrowed(labels=self.run_ids.labels_said(run_id))
        for batch in self.runs(self.experiments.projects(), narrowed):
            for _, run in batch:
                if run.run_id == run_id:
                    return run
        return None

    # --- logged models ---

    def models(
        self,
        projects: Collection[str | None],
        narrowed: Narrowed,
        after: Position | None = None,
        *,
        first: int = ROWS_AT_ONCE,
    ) -> Iterator[list[tuple[Position, ShownModel]]]:
        """The logged models of some projects behind a position, some at a time; `first` as for `runs`."""
        wanted = frozenset(projects)
        for rows in self._search.rows(projects, narrowed, after, first=first):
            known = [listed for _, listed in self.versions.listed(rows) if isinstance(listed, ListedProjection)]
            places = self.run_ids.places(known)
            yield [
                (position_of_version(listed.version), self._model(listed, places[listed.version.label]))
                for listed in known
                if listed.project in wanted and (after is None or position_of_version(listed.version) != after)
            ]

    def model(self, model_id: str) -> ShownModel | None:
        """A logged model by its id; None where there is none."""
        name = self.versions.of_derived_id(model_id)
        if name is None:
            return None
        ((_, listed),) = self.versions.listed(rows_named(self.registry, [name]))
        if isinstance(listed, KnownError):
            raise listed
        return self._model(listed, self.run_ids.places([listed])[name.label])

    def _model(self, listed: ListedProjection, place: RunPlace) -> ShownModel:
        version = listed.version
        return model_of_version(listed, place, model_type=model_type(version), name=model_name(version))

    # --- registered models and versions ---

    def names(self) -> tuple[ShownName, ...]:
        """Every name that has a version, by name; nothing of a version is read."""
        self.versions.require_all()
        with self.registry.database.read() as tx:
            spans = catalog.name_spans(tx)
        return tuple(ShownName(span.name, milliseconds(span.first_at), milliseconds(span.last_at)) for span in spans)

    def name_in_full(self, name: str) -> ShownName:
        """A name with what its newest version says and where its aliases point, by the signed log.

        Raises:
            VersionUnknown, MalformedReference: no version has it.
            KnownError: what the log says of it could not be read.
        """
        newest = version_named(self.registry, name)
        first = next(iter(rows_named(self.registry, [VersionName(name, 1)])), newest)
        created_ms, updated_ms = milliseconds(first.registered_at), milliseconds(newest.registered_at)
        aliases = tuple(self._aliases(name))
        ((version, listed),) = self.versions.listed((newest,))
        if isinstance(listed, KnownError):
            shown = unreadable_version(version, listed)
            return ShownName(name, created_ms, updated_ms, shown, shown.tags, aliases)
        shown = self._listed_version(listed, self.run_ids.places([listed])[version.label])
        return ShownName(name, created_ms, updated_ms, shown, listed.name_tags, aliases)

    def _aliases(self, name: str) -> Iterator[tuple[str, int]]:
        """The aliases of a name by the log; without a proven checkpoint, as the catalogue has them."""
        with view_of(self.registry) as view:
            if view.newest is None:
                yield from (
                    (move.alias, move.number) for move in catalog.aliases_of(view.tx, name) if move.number is not None
                )
                return
            count = view.newest_number(name) or 0
            rows = catalog.versions_named(view.tx, [(name, number) for number in range(1, count + 1)])
            numbers = {version.manifest_digest: version.number for version in rows}
            for alias in self.versions.logged(view).aliases_moved(view, name, frozenset(numbers)):
                target = view.alias_target(name, alias)
                if target is not None and target.manifest in numbers:
                    yield alias, numbers[target.manifest]

    def listed_versions(
        self, narrowed: Narrowed, after: Position | None = None, *, first: int = ROWS_AT_ONCE
    ) -> Iterator[list[tuple[Position, ShownVersion]]]:
        """Versions behind a position, some at a time, with what lists show of them; `first` as for `runs`."""
        for rows in self._search.rows(None, narrowed, after, first=first):
            behind = [version for version in rows if after is None or position_of_version(version) != after]
            shown = self._listed_versions(behind)
            yield [(position_of_version(version), one) for version, one in zip(behind, shown, strict=True)]

    def _listed_version(self, listed: ListedProjection, place: RunPlace) -> ShownVersion:
        return listed_version(listed, place, source=source_of(listed.version), tags=listed_version_tags(listed))

    def version(self, name: VersionName) -> ShownVersion:
        """A version as its own page shows it.

        Raises:
            VersionUnknown, MalformedReference: there is none.
            VersionsDiffer, PathRejected, LogForked, LogTruncated: the database is not what was logged.
        """
        return self._version_in_full(version_named(self.registry, name.label))

    def source_of(self, name: VersionName) -> str:
        """Where the files of a version are read from.

        Raises:
            KnownError: there is none, or it is not what was signed.
        """
        ((_, listed),) = self.versions.listed((version_named(self.registry, name.label),))
        if isinstance(listed, KnownError):
            raise listed
        return source_of(listed.version)

    def version_at(self, name: str, alias: str) -> ShownVersion:
        """The version that an alias points at, by its signed move.

        Raises:
            AliasUnsigned, MovedPastGate, VersionUnknown, MalformedReference: it does not point anywhere that counts.
            VersionsDiffer, PathRejected, LogForked, LogTruncated: the database is not what was logged.
        """
        return self._version_in_full(version_named(self.registry, f"{name}@{alias}"))

    def versions_in_full(self, names: Sequence[VersionName]) -> list[ShownVersion]:
        """Some versions as their own pages show them, in this order; one that is gone is left out."""
        rows = {version.label: version for version in rows_named(self.registry, names)}
        there = [name for name in names if name.label in rows]
        pages = self.versions.pages(there)
        return [self._version_in_full(rows[name.label], pages[name.label]) for name in there]

    def versions_listed(self, names: Sequence[VersionName]) -> list[ShownVersion]:
        """Some versions as lists show them, and what stops their use, in this order; one that is gone is left out."""
        named = {version.label: version for version in rows_named(self.registry, names)}
        rows = [named[name.label] for name in names if name.label in named]
        return [self._with_stops(row, shown) for row, shown in zip(rows, self._listed_versions(rows), strict=True)]

    def _with_stops(self, row: Version, shown: ShownVersion) -> ShownVersion:
        """A recalled version is called so in every list, however long."""
        try:
            stops = stops_shown_of(self.registry, row)
        except KnownError as error:
            return unreadable_version(row, error)
        return replace(shown, tags=tuple(sorted({**dict(shown.tags), **stop_tags(stops)}.items())))

    def _listed_versions(self, rows: Sequence[Version]) -> list[ShownVersion]:
        known = self.versions.listed(rows)
        places = self.run_ids.places([listed for _, listed in known if isinstance(listed, ListedProjection)])
        return [
            unreadable_version(version, listed)
            if isinstance(listed, KnownError)
            else self._listed_version(listed, places[version.label])
            for version, listed in known
        ]

    def _version_in_full(self, version: Version, page: Projection | KnownError | None = None) -> ShownVersion:
        ((_, listed),) = self.versions.listed((version,))
        whole = page or self.versions.page(VersionName(version.name, version.number))
        for problem in (listed, whole):
            if isinstance(problem, KnownError):
                return unreadable_version(version, problem)
        assert isinstance(listed, ListedProjection) and isinstance(whole, Projection), "both were read"
        return version_in_full(
            whole,
            registered_at=version.registered_at,
            project=listed.project,
            place=self.run_ids.places([listed])[version.label],
        )

    # --- files ---

    def run_files(self, run_id: str) -> tuple[ArtifactFile, ...]:
        """The files of a run: the report and the tables of what was evaluated, made when they are asked for."""
        name = self.run_ids.version_of(run_id)
        return () if name is None else VersionLoader(self.registry).load(name).run.artifacts

    def model_files(self, model_id: str) -> tuple[ArtifactFile, ...]:
        """The small files of a logged model: that its weights are elsewhere, and the card."""
        name = self.versions.of_derived_id(model_id)
        return () if name is None else VersionLoader(self.registry).load(name).version.artifacts


def _taken(begun: "deque[tuple[Position, ShownRun]]", *, since: Position) -> Iterator[tuple[Position, ShownRun]]:
    """Take the runs that began after a position out of those under way, the newest of which is first."""
    while begun and begun[0][0] > since:
        yield begun.popleft()


def _position_under_way(run: RunUnderWay) -> Position:
    return (run.started_at, run.run_id, 0, 0)


def _any_of(projects: frozenset[str | None]) -> str | None:
    """The experiment of a version of which nothing is believed: one of those that were asked for."""
    return None if None in projects else min(project for project in projects if project is not None)
