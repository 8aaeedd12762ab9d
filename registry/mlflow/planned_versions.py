"""Versions that are written many at once into the home's own store: planned with their files, then written or removed."""

import shutil
import time
from collections.abc import Iterable, Sequence
from functools import cached_property

from peft_registry.registry.mlflow.entity_files import EntityFiles
from peft_registry.registry.mlflow.experiments import Experiments
from peft_registry.registry.mlflow.own_store import NewVersion, OwnStore, new_ids
from peft_registry.registry.mlflow.projection import COMPARISON_TAG, Projection
from peft_registry.registry.mlflow.refusals import refusals
from peft_registry.registry.mlflow.route import MirrorRoute
from peft_registry.registry.mlflow.side_runs import comparison_run
from peft_registry.registry.mlflow.trials_and_comparisons import SideRuns
from peft_registry.registry.mlflow.written_tags import linked_description, run_tags
from peft_registry.schemas.identity import Digest


class PlannedVersions:
    """Versions to be written together. Its database is opened when the first is asked about."""

    def __init__(
        self, route: MirrorRoute, *, experiments: Experiments, files: EntityFiles, side_runs: SideRuns
    ) -> None:
        self._route = route
        self._experiments = experiments
        self._files = files
        self._side_runs = side_runs
        self._known_comparisons: dict[tuple[str, str], str] = {}  # experiment, comparison → the run over its arms

    def close(self) -> None:
        """Close the database, where it was opened."""
        if "_own" in self.__dict__:
            self._own.close()

    @cached_property
    def _own(self) -> OwnStore:
        return OwnStore(self._route)

    def can_take(self, projection: Projection) -> bool:
        """Whether a version that was never copied can be written with others at once: into the home's own store, as most can."""
        if self._route.kind != "store":
            return False
        location = self._experiments.named(projection.experiment).artifact_location
        return self._files.folder(location) is not None and self._own.can_write(projection)

    def plan(self, projection: Projection, *, parent_models: tuple[str, ...], parent_run: str | None) -> NewVersion:
        """A version to be written with others, its files already where MLflow's server will look for them.

        Args:
            projection: what to show.
            parent_models: the logged models that the run took.
            parent_run: the run that it continues, where that is remembered; else it is looked for.
        """
        experiment = self._experiments.named(projection.experiment)
        experiment_id = experiment.experiment_id
        above = self._run_above(projection, experiment_id, parent_run)
        run_id, model_id = new_ids()
        run_location = f"{experiment.artifact_location}/{run_id}/artifacts"
        model_location = f"{experiment.artifact_location}/models/{model_id}/artifacts"
        with refusals():
            digests = self._files.write(run_location, projection.run.artifacts)
            self._files.write(model_location, projection.version.artifacts)
        return NewVersion(
            projection=projection,
            experiment=experiment_id,
            run_id=run_id,
            model_id=model_id,
            run_location=run_location,
            model_location=model_location,
            digests=digests,
            run_tags=run_tags(projection, experiment=experiment_id, run_id=run_id),
            description=linked_description(projection, experiment=experiment_id, run_id=run_id),
            parent_models=parent_models,
            parent_run=above,
        )

    def write(self, versions: Sequence[NewVersion]) -> tuple[Digest | None, ...]:
        """Write versions in one transaction; a digest over the rows of each, None for those of which nothing is left."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            written = self._own.write(versions, int(time.time() * 1000))
        except SQLAlchemyError:  # each by itself, and MLflow's client says what is wrong
            written = (None,) * len(versions)
        self.remove_files([version for version, rows in zip(versions, written, strict=True) if rows is None])
        return written

    def remove_files(self, versions: Iterable[NewVersion]) -> None:
        """Remove the files of versions that were planned and not written."""
        for version in versions:
            for location in (version.run_location, version.model_location):
                folder = self._files.folder(location)
                assert folder is not None, "only in the home's own store versions are planned"
                shutil.rmtree(folder.parent, ignore_errors=True)

    def _run_above(self, projection: Projection, experiment: str, remembered: str | None) -> str | None:
        """The run that a version's stands below; `remembered` is that of what it continues."""
        over = comparison_run(projection)
        if over is not None:
            key = (experiment, over.tags[COMPARISON_TAG])
            if key not in self._known_comparisons:
                self._known_comparisons[key] = self._side_runs.ensure_comparison(
                    experiment, over, projection.run.start_ms
                )
            return self._known_comparisons[key]
        if projection.continues is None:
            return None
        if remembered is not None:
            return remembered
        return self._own.run_of(experiment, str(projection.continues))
