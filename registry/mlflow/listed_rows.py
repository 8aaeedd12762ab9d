"""Which versions MLflow asks for, and what lists show of them: chosen by an index, and proven. No mlflow here.

A list is in the order of registration, newest first, and is read by the key of the last version of the page before.
"""

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.run_logs import RunUnderWay, runs_under_way
from peft_registry.registry.mlflow import identifiers
from peft_registry.registry.mlflow.kept_values import KeptValues, VersionName, weight_of
from peft_registry.registry.mlflow.listed_versions import listed_versions
from peft_registry.registry.mlflow.narrowing import Narrowed
from peft_registry.registry.mlflow.projected_versions import Loader
from peft_registry.registry.mlflow.projection import (
    ListedProjection,
    Projection,
)
from peft_registry.registry.mlflow.shown_runs import (
    RunPlace,
    own_run_id,
)
from peft_registry.registry.mlflow.side_runs import comparison_of
from peft_registry.registry.records.logged_entries import LoggedEntries, runs_said
from peft_registry.registry.records.references import versions_of_artifact
from peft_registry.registry.records.views import View, forget_what_was_read, view_of
from peft_registry.schemas.errors import KnownError, NotFound
from peft_registry.schemas.facets import Condition, Order, VersionQuery, Words
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version

_NEWEST_FIRST = Order("registered", descending=True)
ROWS_AT_ONCE = 500
_PAGE_SECONDS = 60.0  # a gate closes when a waiver is over, without an entry in the log

Position = tuple[str, str, int, int]
"""Of a run in the order of registration: when, name and number of its version, and which of the runs of that version it is.

A run under way stands where it began, with its id for a name and the number 0, which no version has.
"""
_Value = TypeVar("_Value")


class ExperimentUnknown(NotFound):
    reference = "mlflow-experiment-unknown"
    what = "there is no experiment {named!q}"
    why = "an experiment is a project of this registry, and this one has no such project"
    fix = "the page of experiments lists them"

    named: str


@dataclass(frozen=True)
class ListedRows:
    """Versions of a registry at one moment, as lists show them."""

    registry: Registry
    values: KeptValues
    lock: threading.RLock

    def projects(self) -> tuple[str | None, ...]:
        """The projects that have an experiment: those of signed versions, then those that runs under way alone name."""
        known = self.signed_projects()
        begun = {run.project for run in self.under_way.values()}.difference(known)
        return (*known, *sorted(project for project in begun if project is not None))

    def signed_projects(self) -> tuple[str | None, ...]:
        """The projects that a version was made for by its signed record, by name; None first, for versions without one."""
        if self.values.projects is None:
            with self.registry.database.read() as tx:
                words = catalog.known_words(tx, "project")
            # a row alone makes no experiment: its newest version says so under a signature
            proven = [word for word in words if any(self._has_project(word))]
            self.values.projects = (None, *proven)
        return self.values.projects

    def _has_project(self, word: str) -> Iterator[bool]:
        for rows in self._rows((Words("project", (word,)),), None, first=1):
            yield from (
                isinstance(listed, ListedProjection) and listed.project == word for _, listed in self.listed(rows)
            )

    def require_all_versions(self) -> None:
        """Raise unless the catalogue has every version that the log registers: what was taken out would be missing from a list.

        Raises:
            VersionsDiffer: one is missing.
            LogForked, LogTruncated: the log is not that of its checkpoint.
        """
        _ = self._has_all_versions

    @cached_property
    def _has_all_versions(self) -> bool:
        with view_of(self.registry) as view:
            if view.newest is not None:  # else the rows count as they are
                self._logged(view).require_versions(view)
        return True

    def _logged(self, view: View) -> LoggedEntries:
        if self.values.logged is None:
            self.values.logged = LoggedEntries.of(view)
        return self.values.logged

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

    @cached_property
    def under_way(self) -> dict[str, RunUnderWay]:
        """The runs of this machine that are not registered, by id, the newest first; nothing of them is signed.

        A log under an id that a version has says nothing: whoever can write in the folder of runs could hide a signed run with it.
        """
        now = self.registry.clock()
        return {
            # nothing began later than now
            run.run_id: replace(run, started_at=min(run.started_at, now))
            for run in runs_under_way(self.registry.files.runs)
            # one that has ended well is shown as it was signed
            if run.state != "FINISHED" and identifiers.is_run_id(run.run_id) and not self._is_registered(run.run_id)
        }

    def _is_registered(self, run_id: str) -> bool:
        """Whether a version has this id for its run or for one beside that; also where that is not known."""
        if run_id in self._labels():
            return True
        if self.values.registered_ids is None:
            try:
                with view_of(self.registry) as view:
                    self.values.registered_ids = frozenset(self._registered_ids(view))
            except KnownError:
                return True
        return run_id in self.values.registered_ids

    def _registered_ids(self, view: View) -> Iterator[str]:
        for manifest, run in runs_said(view, self._logged(view).productions):
            yield f"{run.get('run_id', run.get('merge_id'))}"
            if run.get("comparison"):
                yield identifiers.comparison_id(f"{run['comparison']}", run.get("project"))
            trials = run.get("trials")
            if isinstance(trials, list):
                for version in catalog.version_by_digest(view.tx, manifest_digest=manifest):
                    for trial in trials:
                        if isinstance(trial, dict):
                            yield identifiers.trial_id(version.label, trial.get("seed", 0))

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
        self.require_all_versions()
        return None

    def versions_of_run(self, run_id: str) -> tuple[VersionName, ...]:
        """The version that a run made, if one did."""
        name = self._version_of_run(run_id)
        return () if name is None else (name,)

    def page(self, name: VersionName) -> Projection | KnownError:
        """A version with its modification record, without what makes its files; or why it cannot be shown."""
        return self._pages([name])[name.label]

    def _pages(self, names: Sequence[VersionName]) -> dict[str, Projection | KnownError]:
        """The same of several versions by label, which are read together."""
        since = time.monotonic() - _PAGE_SECONDS
        with self.lock:
            kept = {name.label: self.values.pages.get(name.label, since=since) for name in names}
        missing = [name for name in names if kept[name.label] is None]
        loader = Loader(self.registry)
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
        if len(missing) > ROWS_AT_ONCE // 2:  # as many may follow
            forget_what_was_read(self.registry)
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
            comparison = comparison_of(listed.run)
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
        self.require_all_versions()
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
            ordered = sorted(rows, key=position_of_version, reverse=True)
            yield [version for version in ordered if after is None or position_of_version(version)[:3] <= after[:3]]
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
        self, conditions: tuple[Condition, ...], after: Position | None, *, first: int = ROWS_AT_ONCE
    ) -> Iterator[Sequence[Version]]:
        query = VersionQuery(conditions, _NEWEST_FIRST)
        key: catalog.SearchKey | None = None
        limit = min(first, ROWS_AT_ONCE)
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
            limit = ROWS_AT_ONCE

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


def position_of_version(version: Version) -> Position:
    return (version.registered_at, version.name, version.number, 0)


def _without_makers(projection: Projection) -> Projection:
    """A projection without what makes its files: that holds on to all that it was read from."""
    return replace(
        projection,
        run=replace(projection.run, artifacts=()),
        version=replace(projection.version, artifacts=()),
    )


def _entry(owner: tuple[int, VersionName]) -> int:
    return owner[0]


def _parts(label: str) -> tuple[str, int]:
    name, _, number = label.rpartition(":")
    return name, int(number)
