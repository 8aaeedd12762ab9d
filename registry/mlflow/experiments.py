"""The projects of a registry, each of which is an experiment. No mlflow here."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from peft_registry.registry.database import catalog
from peft_registry.registry.mlflow import identifiers
from peft_registry.registry.mlflow.projection import ListedProjection
from peft_registry.registry.mlflow.proven_versions import ProvenVersions
from peft_registry.registry.mlflow.run_ids import RunIds
from peft_registry.registry.mlflow.version_rows import rows_in_order
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.facets import Condition, Words
from peft_registry.schemas.version import Version


class ExperimentUnknown(NotFound):
    reference = "mlflow-experiment-unknown"
    what = "there is no experiment {named!q}"
    why = "an experiment is a project of this registry, and this one has no such project"
    fix = "the page of experiments lists them"

    named: str


@dataclass(frozen=True)
class Experiments:
    """The projects of a registry at one moment; None is that of versions without one."""

    versions: ProvenVersions
    run_ids: RunIds

    def projects(self) -> tuple[str | None, ...]:
        """The projects that have an experiment: those of signed versions, then those that runs under way alone name."""
        known = self.signed_projects()
        begun = {run.project for run in self.run_ids.under_way.values()}.difference(known)
        return (*known, *sorted(project for project in begun if project is not None))

    def signed_projects(self) -> tuple[str | None, ...]:
        """The projects that a version was made for by its signed record, by name; None first, for versions without one."""
        values = self.versions.values
        if values.projects is None:
            with self.versions.registry.database.read() as tx:
                words = catalog.known_words(tx, "project")
            # a row alone makes no experiment: a version says so under a signature
            values.projects = (None, *(word for word in words if any(self._has_project(word))))
        return values.projects

    def _has_project(self, word: str) -> Iterator[bool]:
        for rows in rows_in_order(self.versions.registry, (Words("project", (word,)),), first=1):
            for _, listed in self.versions.listed(rows):
                yield isinstance(listed, ListedProjection) and listed.project == word

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
        rows = next(rows_in_order(self.versions.registry, self.condition_of((project,)), first=1), ())
        return rows[0] if rows else None

    def condition_of(self, projects: Collection[str | None]) -> tuple[Condition, ...]:
        """The condition that chooses the versions of these projects; none where these are all that there are."""
        others = tuple(word for word in self.projects() if word not in projects and word is not None)
        if None in projects:
            return (Words("project", others, excluded=True),) if others else ()
        return (Words("project", tuple(word for word in projects if word is not None)),)
