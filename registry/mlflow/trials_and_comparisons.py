"""Runs beside those of versions in MLflow: one for each seed that was tried, and one over the arms of a comparison.

What they hold is decided in `side_runs.py`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from peft_registry.registry.mlflow.comparing import Difference, ShownRun
from peft_registry.registry.mlflow.projection import COMPARISON_TAG, TRIAL_TAG, Projection
from peft_registry.registry.mlflow.refusals import refusals
from peft_registry.registry.mlflow.side_runs import (
    PARENT,
    SideRun,
    comparison_run,
    differences_of_place,
    differences_of_trials,
    trial_runs,
)
from peft_registry.schemas.identity import Digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class SideRuns:
    """The trials of versions and the runs over comparisons, and the run that a version's stands below.

    `experiment` is everywhere the id of one.
    """

    def __init__(self, client: "MlflowClient") -> None:
        self._client = client

    def log_trials(self, projection: Projection, *, run_id: str, experiment: str) -> None:
        """Write a run for each seed that was tried, below that of the version; what is there is left."""
        trials = trial_runs(projection, run_id)
        if not trials:
            return
        with refusals():
            known = {run.tags[TRIAL_TAG] for run in self._trials_below(experiment, run_id)}
            for seed, trial in trials.items():
                if seed not in known:
                    self._create(experiment, trial, projection.run.start_ms, projection.run.end_ms)

    def delete_trials(self, run_id: str, seed: str) -> None:
        """Take away the runs of a seed, which is then written anew: MLflow lets nobody edit what they hold."""
        with refusals():
            experiment = self._client.get_run(run_id).info.experiment_id
            for trial in self._trials_below(experiment, run_id):
                if trial.tags[TRIAL_TAG] == seed and trial.run_id is not None:
                    self._client.delete_run(trial.run_id)

    def ensure_comparison(self, experiment: str, over: SideRun, start_ms: int) -> str:
        """The run over the arms of a comparison, created with the first of them; what somebody changed in it is written again."""
        with refusals():
            for shown in self._comparisons(experiment, over.tags[COMPARISON_TAG]):
                if shown.run_id is not None:
                    self._write_again(shown, over)
                    return shown.run_id
            return self._create(experiment, over, start_ms, start_ms)

    def ensure_run_above(self, projection: Projection, experiment: str) -> str | None:
        """The run that a version's stands below: over its comparison, which is ensured, or of what it continues; None for none."""
        over = comparison_run(projection)
        if over is not None:
            return self.ensure_comparison(experiment, over, projection.run.start_ms)
        with refusals():
            earlier = self._runs_of(experiment, projection.continues)
        return earlier[0] if earlier else None

    def differences(
        self, projection: Projection, *, run_id: str, experiment: str, shown: ShownRun | None
    ) -> Iterator[Difference]:
        """What in the runs beside that of a version, and in where it stands, is not as it was written."""
        if shown is None or shown.is_deleted:
            return
        with refusals():
            trials = self._trials_below(experiment, run_id)
            expected = comparison_run(projection)
            over = () if expected is None else self._comparisons(experiment, expected.tags[COMPARISON_TAG])
            earlier = self._runs_of(experiment, projection.continues)
        if shown.experiment != experiment:
            yield Difference("experiment of the run", "", experiment, shown.experiment)
        yield from differences_of_trials(trial_runs(projection, run_id), trials)
        yield from differences_of_place(expected, over, earlier=earlier, parent=shown.tags.get(PARENT))

    def _trials_below(self, experiment: str, run_id: str) -> tuple[SideRun, ...]:
        below = self._client.search_runs([experiment], f"tags.`{PARENT}` = '{run_id}'")
        return tuple(_side_run(run) for run in below if TRIAL_TAG in run.data.tags)

    def _comparisons(self, experiment: str, comparison: str) -> tuple[SideRun, ...]:
        """The runs that stand over the arms of a comparison."""
        where = f"tags.`{COMPARISON_TAG}` = '{comparison}'"
        runs = self._client.search_runs([experiment], where)
        return tuple(_side_run(run) for run in runs if "registry.id" not in run.data.tags)

    def _runs_of(self, experiment: str, manifest: Digest | None) -> tuple[str, ...]:
        """The runs that made an artifact."""
        if manifest is None:
            return ()
        return tuple(
            str(run.info.run_id)
            for run in self._client.search_runs([experiment], f"tags.`registry.manifest` = '{manifest}'")
        )

    def _create(self, experiment: str, side_run: SideRun, start: int, end: int) -> str:
        run = self._client.create_run(experiment, start_time=start, run_name=side_run.name, tags=dict(side_run.tags))
        run_id = str(run.info.run_id)
        for key, value in side_run.params.items():
            self._client.log_param(run_id, key, value)
        for key, number in side_run.metrics.items():
            self._client.log_metric(run_id, key, number, timestamp=end)
        self._client.set_terminated(run_id, "FINISHED", end_time=end)
        return run_id

    def _write_again(self, shown: SideRun, written: SideRun) -> None:
        assert shown.run_id is not None, "it is there"
        if shown.name != written.name:
            self._client.update_run(shown.run_id, name=written.name)
        for key, value in written.tags.items():
            if shown.tags.get(key) != value:
                self._client.set_tag(shown.run_id, key, value)
        for key in shown.tags.keys() - written.tags.keys():
            if key.startswith("registry.") or key == PARENT:
                self._client.delete_tag(shown.run_id, key)


def _side_run(run: "Run") -> SideRun:
    data = run.data
    return SideRun(str(run.info.run_name or ""), data.tags, data.params, data.metrics, str(run.info.run_id))
