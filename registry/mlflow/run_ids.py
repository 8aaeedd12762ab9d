"""Which runs there are by their ids, signed and under way, and where each stands. No mlflow here."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.run_logs import RunUnderWay, runs_under_way
from peft_registry.registry.mlflow import identifiers
from peft_registry.registry.mlflow.narrowing import said_tag
from peft_registry.registry.mlflow.projection import ListedProjection
from peft_registry.registry.mlflow.proven_versions import ProvenVersions
from peft_registry.registry.mlflow.shown_runs import RunPlace, own_run_id
from peft_registry.registry.mlflow.side_runs import comparison_of
from peft_registry.registry.mlflow.version_rows import VersionName, rows_in_order, rows_named
from peft_registry.registry.records.logged_entries import runs_said
from peft_registry.registry.records.references import versions_of_artifact
from peft_registry.registry.records.views import View, view_of
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version


@dataclass(frozen=True)
class RunIds:
    """The runs of a registry at one moment, by id."""

    versions: ProvenVersions

    @cached_property
    def under_way(self) -> dict[str, RunUnderWay]:
        """The runs of this machine that are not registered, by id, the newest first; nothing of them is signed.

        A log under an id that a version has says nothing: whoever can write in the folder of runs could hide a signed run with it.
        """
        registry = self.versions.registry
        now = registry.clock()
        return {
            # nothing began later than now
            run.run_id: replace(run, started_at=min(run.started_at, now))
            for run in runs_under_way(registry.files.runs)
            # one that has ended well is shown as it was signed
            if run.state != "FINISHED" and identifiers.is_run_id(run.run_id) and not self._is_registered(run.run_id)
        }

    def version_of(self, run_id: str) -> VersionName | None:
        """The version that a run made."""
        owners = self.versions.values.run_owners
        if run_id in owners:
            return owners[run_id][1]
        if run_id in self.under_way:
            return None
        name = self.versions.of_derived_id(run_id)
        if name is not None:
            return name
        for rows in self._rows_with(run_id):
            self.versions.listed(rows)
            if run_id in owners:
                return owners[run_id][1]
        self.versions.require_all()
        return None

    def _rows_with(self, run_id: str) -> Iterator[Sequence[Version]]:
        """The versions that may have a run or one beside it under this id: those whose statements name it, if all can be read."""
        labels = self.labels_said(run_id)
        if labels is None:
            return rows_in_order(self.versions.registry, ())
        return iter([rows_named(self.versions.registry, [VersionName.of_label(label) for label in sorted(labels)])])

    def labels_said(self, said: str) -> frozenset[str] | None:
        """The versions whose statements name a run, or one beside it, by this id, or have this tag; nothing of them is proven.

        None where a statement cannot be read: then every version may.
        """
        try:
            manifests = self._manifests_said().get(said, ())
        except KnownError:
            return None
        with self.versions.registry.database.read() as tx:
            versions = catalog.versions_of_artifacts(tx, manifests)
        return frozenset(version.label for version in versions)

    def of(self, listed: ListedProjection) -> str:
        """The id of the run that made a version."""
        label, own = listed.version.label, own_run_id(listed)
        owner = self.versions.values.run_owners.get(own or "")
        is_own = owner is None or owner[1].label == label
        return identifiers.run_id(label, own if is_own else None)

    def places(self, known: Sequence[ListedProjection]) -> dict[str, RunPlace]:
        """Where the runs of these versions stand, by label."""
        by_manifest = {listed.version.manifest_digest: listed for listed in reversed(known)}
        by_manifest |= self._parents({parent for listed in known for parent in listed.parents} - by_manifest.keys())
        return {listed.version.label: self._place(listed, by_manifest) for listed in known}

    def _place(self, listed: ListedProjection, by_manifest: dict[Digest, ListedProjection]) -> RunPlace:
        comparison = comparison_of(listed.run)
        parent = None if comparison is None else identifiers.comparison_id(comparison, listed.project)
        start = None if listed.continues is None else by_manifest.get(listed.continues)
        # MLflow shows two runs below each other only in one list
        if parent is None and start is not None and start.project == listed.project:
            parent = self.of(start)
        models = (by_manifest[manifest].version.label for manifest in listed.parents if manifest in by_manifest)
        return RunPlace(
            run_id=self.of(listed),
            parent=parent,
            model_inputs=tuple(identifiers.model_id(label) for label in models),
        )

    def _parents(self, manifests: Collection[Digest]) -> dict[Digest, ListedProjection]:
        rows: list[Version] = []
        for manifest in manifests:
            try:
                rows += versions_of_artifact(self.versions.registry, manifest)[:1]
            except KnownError:  # whoever verifies the version says what is wrong above it
                continue
        return {
            version.manifest_digest: listed
            for version, listed in self.versions.listed(rows)
            if isinstance(listed, ListedProjection)
        }

    def _is_registered(self, run_id: str) -> bool:
        """Whether a version has this id for its run or for one beside that; also where that is not known."""
        if self.versions.of_derived_id(run_id) is not None:
            return True
        try:
            return run_id in self._manifests_said()
        except KnownError:
            return True

    def _manifests_said(self) -> Mapping[str, tuple[Digest, ...]]:
        """The artifacts whose statements name a run, or one beside it, by the id of that, and by each of its `SAID_TAGS`.

        Raises:
            KnownError: a statement is missing or is not what was written.
        """
        values = self.versions.values
        if values.manifests_said is None:
            said: dict[str, dict[Digest, None]] = defaultdict(dict)
            with view_of(self.versions.registry) as view:
                for manifest, run in runs_said(view, self.versions.logged(view).productions):
                    for key in (*_ids_of(view, manifest, run), *_tags_of(run)):
                        said[key][manifest] = None
            values.manifests_said = {key: tuple(manifests) for key, manifests in said.items()}
        return values.manifests_said


def _ids_of(view: View, manifest: Digest, run: Mapping[str, Any]) -> Iterator[str]:
    """The ids of the run that a statement speaks of, and of those beside it."""
    yield f"{run.get('run_id', run.get('merge_id'))}"
    if run.get("comparison"):
        yield identifiers.comparison_id(f"{run['comparison']}", run.get("project"))
    trials = run.get("trials")
    if isinstance(trials, list):
        for version in catalog.version_by_digest(view.tx, manifest_digest=manifest):
            for trial in trials:
                if isinstance(trial, dict):
                    yield identifiers.trial_id(version.label, trial.get("seed", 0))


def _tags_of(run: Mapping[str, Any]) -> Iterator[str]:
    """The tags of a run by which it is searched for, as its statement has them."""
    environment = run.get("environment")
    values = {
        "registry.run_id": run.get("run_id", run.get("merge_id")),
        "registry.config_sha256": run.get("config_sha256", run.get("plan_sha256")),
        "registry.comparison": run.get("comparison"),
        "mlflow.source.git.commit": environment.get("code_commit") if isinstance(environment, dict) else None,
    }
    return (said_tag(key, value) for key, value in values.items() if isinstance(value, str))
