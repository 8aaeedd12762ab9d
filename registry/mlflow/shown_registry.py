"""A registry as MLflow's stores read it: what is shown is proven, and kept in the process until the log grows. No mlflow here.

Nothing is written anywhere. Lists are in the order of registration, newest first, and are read by the key of the last version of
the page before; the index that gives that order is the catalogue's, and each version that it gives is held against the log.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.rare_collections import rare_collections
from peft_registry.registry.homes.run_logs import RunUnderWay, runs_under_way
from peft_registry.registry.mlflow import identifiers
from peft_registry.registry.mlflow.figures import MetricPoint, milliseconds
from peft_registry.registry.mlflow.home_reader import open_registry
from peft_registry.registry.mlflow.kept_values import KeptValues, VersionName, weight_of
from peft_registry.registry.mlflow.listed_versions import listed_versions
from peft_registry.registry.mlflow.narrowing import Narrowed
from peft_registry.registry.mlflow.projected_versions import Loader
from peft_registry.registry.mlflow.projection import (
    ArtifactFile,
    ListedProjection,
    Projection,
    listed_version_tags,
    model_name,
    model_type,
    source_of,
)
from peft_registry.registry.mlflow.shown_runs import (
    RunPlace,
    ShownModel,
    ShownName,
    ShownRun,
    ShownVersion,
    comparison_of,
    comparison_run,
    listed_version,
    model_of_version,
    own_run_id,
    run_in_full,
    run_of_version,
    run_under_way,
    trial_runs,
    unreadable_run,
    unreadable_version,
    version_in_full,
)
from peft_registry.registry.records.references import version_named, versions_of_artifact
from peft_registry.registry.records.views import view_of
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked, NotFound
from peft_registry.schemas.facets import Condition, Order, VersionQuery, Words
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version

_NEWEST_FIRST = Order("registered", descending=True)
_ROWS_AT_ONCE = 500
_PAGE_SECONDS = 60.0  # a gate closes when a waiver is over, without an entry in the log

Position = tuple[str, str, int, int]
"""Of a run in the order of registration: when, name and number of its version, and which of the runs of that version it is.

A run under way stands where it began, with its id for a name and the number 0, which no version has.
"""
_Value = TypeVar("_Value")


class RunUnknown(NotFound):
    reference = "mlflow-run-unknown"
    what = "there is no run {run_id!q}"
    why = "no version of this registry was made by it"
    fix = "look for it with `registry list`, or by its tags in the list of runs"

    run_id: str


class ExperimentUnknown(NotFound):
    reference = "mlflow-experiment-unknown"
    what = "there is no experiment {named!q}"
    why = "an experiment is a project of this registry, and this one has no such project"
    fix = "the page of experiments lists them"

    named: str


class ShownRegistry:
    """A home for MLflow. Threads may share it."""

    def __init__(self, home: str | None, *, state: Path | None) -> None:
        self._home = home
        self._state = state
        self._lock = threading.RLock()
        self._of: Hashable = None
        self._values = KeptValues()

    @contextmanager
    def reading(self) -> Iterator["Reading"]:
        """One moment of the registry.

        Raises:
            HomeNotFound, HomeOfAnotherUser, HomeNotNamed, HomeDamaged, SchemaMismatch: there is none that can be read.
        """
        registry = open_registry(self._home, state=self._state)
        try:
            registry.database.require_current()
            with registry.database.reading(), rare_collections():
                yield Reading(registry, self._values_of(registry), self._lock)
        finally:
            registry.close()

    def _values_of(self, registry: Registry) -> KeptValues:
        with view_of(registry) as view:
            newest = view.newest
            size = SqlLogStore(view.tx).size()
        of = (size, None if newest is None else newest.checkpoint, _trust_of(registry))
        with self._lock:
            if of != self._of:
                self._of, self._values = of, KeptValues()
            return self._values


def _trust_of(registry: Registry) -> Hashable:
    """What tells one trust file from another."""
    try:
        return registry.trust.canonical_digest()
    except (IntegrityBroken, NotChecked) as error:
        return error.what


@dataclass(frozen=True)
class Reading:
    """What MLflow asks of a registry, at one moment."""

    registry: Registry
    values: KeptValues
    lock: threading.RLock

    # --- experiments ---

    def projects(self) -> tuple[str | None, ...]:
        """The projects that a version was made for by its signed record, by name; None first, for versions without one."""
        if self.values.projects is None:
            with self.registry.database.read() as tx:
                words = catalog.known_words(tx, "project")
            # a row alone makes no experiment: its newest version says so under a signature
            proven = [word for word in words if any(self._has_project(word))]
            self.values.projects = (None, *proven)
        known = self.values.projects
        begun = {run.project for run in self.under_way.values()}.difference(known)
        return (*known, *sorted(project for project in begun if project is not None))

    def _has_project(self, word: str) -> Iterator[bool]:
        for rows in self._rows((Words("project", (word,)),), None, first=1):
            yield from (
                isinstance(listed, ListedProjection) and listed.project == word for _, listed in self.listed(rows)
            )

    def project_of(self, experiment_id: str) -> str | None:
        """The project of an experiment.

        Raises:
            ExperimentUnknown: there is no such project.
        """
        for project in self.projects():
            if identifiers.experiment_id(project) == experiment_id:
                return project
        raise ExperimentUnknown(experiment_id)

    def newest_of(self, project: str | None) -> Version | None:
        """The newest version of a project, as its row says."""
        rows = next(self._rows(self._of_projects((project,)), None, first=1), ())
        return rows[0] if rows else None

    # --- runs ---

    @cached_property
    def under_way(self) -> dict[str, RunUnderWay]:
        """The runs of this machine that are not registered, by id, the newest first; nothing of them is signed."""
        return {
            run.run_id: run
            for run in runs_under_way(self.registry.files.runs)
            # one that has ended well is shown as it was signed
            if run.state != "FINISHED" and identifiers.is_run_id(run.run_id)
        }

    def _begun_runs(
        self, projects: Collection[str | None], narrowed: Narrowed, after: Position | None
    ) -> list[tuple[Position, ShownRun]]:
        """Those of some projects behind a position, the newest first."""
        positions = {run_id: _position_under_way(run) for run_id, run in self.under_way.items()}
        return [
            (positions[run_id], run_under_way(run))
            for run_id, run in self.under_way.items()
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
        first: int = _ROWS_AT_ONCE,
    ) -> Iterator[list[tuple[Position, ShownRun]]]:
        """The runs of some projects behind a position, some at a time; `narrowed` leaves out versions whose run is not asked for.

        `first` is how many versions are read before the first batch.
        """
        wanted = frozenset(projects)
        begun = deque(self._begun_runs(wanted, narrowed, after))
        for rows in self._narrowed_rows(projects, narrowed, after, first=first):
            batch: list[tuple[Position, ShownRun]] = []
            known = self.listed(rows)
            places = self._places([listed for _, listed in known if isinstance(listed, ListedProjection)])
            for index, (version, listed) in enumerate(known):
                batch += self._unregistered(begun, since=_position(version))
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
        yield list(self._unregistered(begun, since=None))

    def _unregistered(
        self, begun: "deque[tuple[Position, ShownRun]]", *, since: Position | None
    ) -> Iterator[tuple[Position, ShownRun]]:
        """Take the runs that began after a position, but for those that were registered: their version was read before."""
        while begun and (since is None or begun[0][0] > since):
            position, run = begun.popleft()
            if run.run_id not in self.values.run_owners:
                yield position, run

    def _group(
        self, listed: ListedProjection, place: RunPlace, following: ListedProjection | KnownError | None
    ) -> list[ShownRun]:
        """The run of a version and those beside it: of the seeds that were tried, and over its comparison.

        Arms are registered one after the other. The run over them comes with the first that was, which is the last in a list.
        """
        runs = [run_of_version(listed, place), *trial_runs(listed, place.run_id)]
        comparison = comparison_of(listed)
        if comparison is not None:
            same = isinstance(following, ListedProjection) and comparison_of(following) == comparison
            if not same:
                runs.append(comparison_run(comparison, listed))
        return runs

    def run(self, run_id: str) -> ShownRun:
        """A run by its id, as its own page shows it.

        Raises:
            RunUnknown: there is none.
        """
        name = self._version_of_run(run_id)
        if name is not None:
            return self._run_in_full(name)
        if run_id in self.under_way:
            return run_under_way(self.under_way[run_id])
        beside = self._run_beside(run_id)
        if beside is None:
            raise RunUnknown(run_id)
        return beside

    def history(self, run_id: str, key: str) -> tuple[MetricPoint, ...]:
        """Every point of a metric of a run.

        Raises:
            RunUnknown: there is no such run.
        """
        name = self._version_of_run(run_id)
        if name is None:
            return tuple(point for point in self.run(run_id).metrics if point.key == key)
        whole = self.page(name)
        points = () if isinstance(whole, KnownError) else whole.run.metrics
        return tuple(point for point in points if point.key == key)

    def _run_in_full(self, name: VersionName) -> ShownRun:
        ((version, listed),) = self.listed(self._rows_named([name]))
        whole = self.page(name)
        if isinstance(listed, KnownError):
            return unreadable_run(version, None, listed)
        place = self._places([listed])[name.label]
        if isinstance(whole, KnownError):
            return unreadable_run(version, listed.project, whole)
        return run_in_full(whole, listed.project, place)

    def _run_beside(self, run_id: str) -> ShownRun | None:
        """A run of a seed or over a comparison. Nothing names its version: those that were registered last are looked at first."""
        for batch in self.runs(self.projects(), Narrowed()):
            for _, run in batch:
                if run.run_id == run_id:
                    return run
        return None

    def _version_of_run(self, run_id: str) -> VersionName | None:
        """The version that a run made."""
        if run_id in self.values.run_owners:
            return self.values.run_owners[run_id][1]
        if run_id in self.under_way:
            return None
        name = self._labels().get(run_id)
        if name is not None:
            return name
        for rows in self._rows((), None):
            self.listed(rows)
            if run_id in self.values.run_owners:
                return self.values.run_owners[run_id][1]
        return None

    def versions_of_run(self, run_id: str) -> tuple[VersionName, ...]:
        """The version that a run made, if one did."""
        name = self._version_of_run(run_id)
        return () if name is None else (name,)

    # --- logged models ---

    def models(
        self,
        projects: Collection[str | None],
        narrowed: Narrowed,
        after: Position | None = None,
        *,
        first: int = _ROWS_AT_ONCE,
    ) -> Iterator[list[tuple[Position, ShownModel]]]:
        """The logged models of some projects behind a position, some at a time; `first` as for `runs`."""
        wanted = frozenset(projects)
        for rows in self._narrowed_rows(projects, narrowed, after, first=first):
            known = [listed for _, listed in self.listed(rows) if isinstance(listed, ListedProjection)]
            places = self._places(known)
            yield [
                (_position(listed.version), self._model(listed, places[listed.version.label]))
                for listed in known
                if listed.project in wanted and (after is None or _position(listed.version) != after)
            ]

    def model(self, model_id: str) -> ShownModel | None:
        """A logged model by its id; None where there is none."""
        name = self._labels().get(model_id)
        if name is None:
            return None
        ((_, listed),) = self.listed(self._rows_named([name]))
        if isinstance(listed, KnownError):
            raise listed
        return self._model(listed, self._places([listed])[name.label])

    def _model(self, listed: ListedProjection, place: RunPlace) -> ShownModel:
        version = listed.version
        return model_of_version(listed, place, model_type=model_type(version), name=model_name(version))

    # --- registered models and versions ---

    def names(self) -> tuple[ShownName, ...]:
        """Every name that has a version, by name; nothing of a version is read."""
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
        first = self._rows_named([VersionName(name, 1)])
        aliases = tuple(self._aliases(name))
        *begun, (version, listed) = self.listed((*first, newest))
        created_ms = milliseconds(begun[0][0].registered_at if begun else version.registered_at)
        updated_ms = milliseconds(version.registered_at)
        if isinstance(listed, KnownError):
            shown = unreadable_version(version, listed)
            return ShownName(name, created_ms, updated_ms, shown, shown.tags, aliases)
        shown = self._listed_version(listed, self._places([listed])[version.label])
        return ShownName(name, created_ms, updated_ms, shown, listed.name_tags, aliases)

    def _aliases(self, name: str) -> Iterator[tuple[str, int]]:
        """The aliases of a name by the log; without a proven checkpoint, as the catalogue has them."""
        with view_of(self.registry) as view:
            for move in catalog.aliases_of(view.tx, name):
                if view.newest is None:
                    if move.number is not None:
                        yield move.alias, move.number
                    continue
                target = view.alias_target(name, move.alias)
                if target is not None and target.manifest is not None:
                    version = catalog.idempotent_version(view.tx, name=name, manifest_digest=target.manifest)
                    if version is not None:
                        yield move.alias, version.number

    def listed_versions(
        self, narrowed: Narrowed, after: Position | None = None, *, first: int = _ROWS_AT_ONCE
    ) -> Iterator[list[tuple[Position, ShownVersion]]]:
        """Versions behind a position, some at a time, with what lists show of them; `first` as for `runs`."""
        for rows in self._narrowed_rows(None, narrowed, after, first=first):
            known = self.listed(rows)
            places = self._places([listed for _, listed in known if isinstance(listed, ListedProjection)])
            yield [
                (
                    _position(version),
                    unreadable_version(version, listed)
                    if isinstance(listed, KnownError)
                    else self._listed_version(listed, places[version.label]),
                )
                for version, listed in known
                if after is None or _position(version) != after
            ]

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
        ((_, listed),) = self.listed((version_named(self.registry, name.label),))
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
        rows = {version.label: version for version in self._rows_named(names)}
        there = [name for name in names if name.label in rows]
        pages = self._pages(there)
        return [self._version_in_full(rows[name.label], pages[name.label]) for name in there]

    def _version_in_full(self, version: Version, page: Projection | KnownError | None = None) -> ShownVersion:
        ((_, listed),) = self.listed((version,))
        whole = page or self.page(VersionName(version.name, version.number))
        for problem in (listed, whole):
            if isinstance(problem, KnownError):
                return unreadable_version(version, problem)
        assert isinstance(listed, ListedProjection) and isinstance(whole, Projection), "both were read"
        return version_in_full(
            whole,
            registered_at=version.registered_at,
            project=listed.project,
            place=self._places([listed])[version.label],
        )

    def page(self, name: VersionName) -> Projection | KnownError:
        """A version with its modification record, without what makes its files; or why it cannot be shown."""
        return self._pages([name])[name.label]

    def _pages(self, names: Sequence[VersionName]) -> dict[str, Projection | KnownError]:
        """The same of several versions by label, which are read together."""
        since = time.monotonic() - _PAGE_SECONDS
        with self.lock:
            kept = {name.label: self.values.pages.get(name.label, since=since) for name in names}
        missing = [name for name in names if kept[name.label] is None]
        loader = Loader(self.registry, pages=True)
        if len(missing) > 1:
            loader.read_ahead(missing)
        for name in missing:
            try:
                kept[name.label] = _without_makers(loader.load(name))
            except KnownError as error:
                kept[name.label] = error
        found: dict[str, Projection | KnownError] = {}
        for label, page in kept.items():
            assert page is not None, "it was read"
            found[label] = page
        with self.lock:
            for name in missing:
                self.values.pages.put(name.label, found[name.label], weight_of(found[name.label]))
        return found

    # --- files ---

    def run_files(self, run_id: str) -> tuple[ArtifactFile, ...]:
        """The files of a run: the report and the tables of what was evaluated, made when they are asked for."""
        name = self._version_of_run(run_id)
        return () if name is None else Loader(self.registry, pages=True).load(name).run.artifacts

    def model_files(self, model_id: str) -> tuple[ArtifactFile, ...]:
        """The small files of a logged model: that its weights are elsewhere, and the card."""
        name = self._labels().get(model_id)
        return () if name is None else Loader(self.registry, pages=True).load(name).version.artifacts

    # --- rows ---

    def listed(self, rows: Sequence[Version]) -> list[tuple[Version, ListedProjection | KnownError]]:
        """What lists show of the versions of these rows, proven; or why one of them cannot be shown."""
        with self.lock:
            known = {version.label: self.values.listed.get(version.label) for version in rows}
        missing = [version for version in rows if known[version.label] is None]
        if missing:
            for version, listed in zip(missing, listed_versions(self.registry, missing), strict=True):
                known[version.label] = listed
                with self.lock:
                    self._keep(version, listed)
        found = []
        for version in rows:
            listed_now = known[version.label]
            assert listed_now is not None, "it was read"
            found.append((version, listed_now))
        return found

    def _keep(self, version: Version, listed: ListedProjection | KnownError) -> None:
        if isinstance(listed, ListedProjection):
            run_id = own_run_id(listed)
            if run_id is not None and identifiers.run_id(version.label, run_id) == run_id:
                owner = (version.log_index, VersionName(version.name, version.number))
                # whoever may sign a run may copy the id of another: it is that of the version that was registered first
                self.values.run_owners[run_id] = min(self.values.run_owners.get(run_id, owner), owner, key=_entry)
        self.values.listed.put(version.label, listed, weight_of(listed))

    def run_id_of(self, listed: ListedProjection) -> str:
        """The id of the run that made a version."""
        label, own = listed.version.label, own_run_id(listed)
        owner = self.values.run_owners.get(own or "")
        is_own = owner is None or owner[1].label == label
        return identifiers.run_id(label, own if is_own else None)

    def _places(self, known: Sequence[ListedProjection]) -> dict[str, RunPlace]:
        """Where the runs of these versions stand, by label."""
        above = {parent for listed in known for parent in listed.parents}
        by_manifest = {listed.version.manifest_digest: listed for listed in reversed(known)}
        self._read_parents(above, by_manifest)
        places = {}
        for listed in known:
            comparison = comparison_of(listed)
            parent = None if comparison is None else identifiers.comparison_id(comparison, listed.project)
            start = None if listed.continues is None else by_manifest.get(listed.continues)
            # MLflow shows two runs below each other only in one list
            if parent is None and start is not None and start.project == listed.project:
                parent = self.run_id_of(start)
            places[listed.version.label] = RunPlace(
                run_id=self.run_id_of(listed),
                parent=parent,
                model_inputs=tuple(
                    identifiers.model_id(by_manifest[manifest].version.label)
                    for manifest in listed.parents
                    if manifest in by_manifest
                ),
            )
        return places

    def _read_parents(self, manifests: Collection[Digest], by_manifest: dict[Digest, ListedProjection]) -> None:
        rows: list[Version] = []
        for manifest in manifests:
            if manifest not in by_manifest:
                try:
                    rows += versions_of_artifact(self.registry, manifest)[:1]
                except KnownError:  # whoever verifies the version says what is wrong above it
                    continue
        for version, listed in self.listed(rows):
            if isinstance(listed, ListedProjection):
                by_manifest[version.manifest_digest] = listed

    def _narrowed_rows(
        self, projects: Collection[str | None] | None, narrowed: Narrowed, after: Position | None, *, first: int
    ) -> Iterator[Sequence[Version]]:
        """Rows of versions in the order of registration, newest first; from that of a position on, whose runs may go on."""
        if narrowed.nothing:
            return
        labels = narrowed.labels
        if narrowed.run_ids is not None:
            of_runs = frozenset(name.label for run_id in narrowed.run_ids for name in self.versions_of_run(run_id))
            labels = of_runs if labels is None else labels & of_runs
        if narrowed.manifests is not None:
            with self.registry.database.read() as tx:
                of_digest = frozenset(
                    version.label
                    for digest in narrowed.manifests
                    for version in catalog.version_by_digest(tx, manifest_digest=digest)
                )
            labels = of_digest if labels is None else labels & of_digest
        if labels is not None:
            rows = self._rows_named([VersionName(*_parts(label)) for label in sorted(labels)])
            ordered = sorted(rows, key=_position, reverse=True)
            yield [version for version in ordered if after is None or _position(version)[:3] <= after[:3]]
            return
        conditions = narrowed.conditions
        if projects is not None:
            conditions += self._of_projects(projects)
        yield from self._rows(conditions, after, first=first)

    def _of_projects(self, projects: Collection[str | None]) -> tuple[Condition, ...]:
        """The condition that chooses the versions of these projects; none where these are all that there are."""
        others = tuple(word for word in self.projects() if word not in projects and word is not None)
        if None in projects:
            return (Words("project", others, excluded=True),) if others else ()
        return (Words("project", tuple(word for word in projects if word is not None)),)

    def _rows(
        self, conditions: tuple[Condition, ...], after: Position | None, *, first: int = _ROWS_AT_ONCE
    ) -> Iterator[Sequence[Version]]:
        query = VersionQuery(conditions, _NEWEST_FIRST)
        key: catalog.SearchKey | None = None
        limit = min(first, _ROWS_AT_ONCE)
        if after is not None:
            key = after[:3]
            yield self._rows_named([VersionName(after[1], after[2])])
        while True:
            with self.registry.database.read() as tx:
                page = catalog.search_versions(tx, query, after=key, limit=limit)
            if page.versions:
                yield page.versions
            key = page.next
            if key is None:
                return
            limit = _ROWS_AT_ONCE

    def _rows_named(self, names: Sequence[VersionName]) -> tuple[Version, ...]:
        with self.registry.database.read() as tx:
            return catalog.versions_named(tx, [(name.name, name.number) for name in names])

    def _labels(self) -> dict[str, VersionName]:
        """Versions by the ids that follow from their labels."""
        if self.values.labels is None:
            labels = {}
            with self.registry.database.read() as tx:
                for span in catalog.name_spans(tx):
                    for number in range(1, span.versions + 1):
                        name = VersionName(span.name, number)
                        labels[identifiers.derived_run_id(name.label)] = name
                        labels[identifiers.model_id(name.label)] = name
            self.values.labels = labels
        return self.values.labels

    def ranked(self, what: Hashable, rank: Callable[[], Sequence[_Value]]) -> Sequence[_Value]:
        """What `rank` puts in order, kept until the log grows; `what` names the question."""
        with self.lock:
            kept = self.values.rankings.get(what)
        if kept is None:
            kept = tuple(rank())
            with self.lock:
                self.values.rankings.put(what, kept)
        return kept  # type: ignore[return-value]  # what `rank` gave under this name


def _without_makers(projection: Projection) -> Projection:
    """A projection without what makes its files: that holds on to all that it was read from."""
    return replace(
        projection,
        run=replace(projection.run, artifacts=()),
        version=replace(projection.version, artifacts=()),
    )


def _entry(owner: tuple[int, VersionName]) -> int:
    return owner[0]


def _position(version: Version) -> Position:
    return (version.registered_at, version.name, version.number, 0)


def _position_under_way(run: RunUnderWay) -> Position:
    return (run.started_at, run.run_id, 0, 0)


def _parts(label: str) -> tuple[str, int]:
    name, _, number = label.rpartition(":")
    return name, int(number)


def _any_of(projects: frozenset[str | None]) -> str | None:
    """In which experiment a version stands that nothing is believed of: in that which was asked for."""
    return None if None in projects else min(project for project in projects if project is not None)
