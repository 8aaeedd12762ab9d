"""Runs that stand beside those of versions: one for each seed that was tried, and one over the arms of a comparison. Pure.

What `registry ui` shows and what is sent to a team's server comes from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from peft_registry.registry.mlflow.projection import COMPARISON_TAG, TRIAL_TAG, RunProjection
from peft_registry.schemas.run import TASKS_PREFIX

PARENT = "mlflow.parentRunId"  # what makes MLflow's pages show a run below another


@dataclass(frozen=True, slots=True)
class SideRun:
    """A run with all that it shows."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def trial_runs(label: str, run: RunProjection, run_id: str) -> dict[int, SideRun]:
    """The run of each seed, by the seed; they stand below the run of the version, which is `run` under this id."""
    return {
        trial.seed: SideRun(
            name=f"{label} trial, seed {trial.seed}",
            tags={PARENT: run_id, TRIAL_TAG: f"{trial.seed}", "registry.chosen": "yes" if trial.chosen else "no"},
            params={"seed": f"{trial.seed}"},
            metrics={"trial/score": trial.score},
        )
        for trial in run.trials
    }


def comparison_of(run: RunProjection) -> str | None:
    """The comparison that a run is an arm of, or the file of tasks that it is one of."""
    return dict(run.tags).get(COMPARISON_TAG)


def comparison_run(comparison: str) -> SideRun:
    """The run over the arms of a comparison, or over the tasks of a file."""
    is_tasks = comparison.startswith(TASKS_PREFIX)
    kind, command = ("tasks", "registry train") if is_tasks else ("comparison", "registry compare")
    return SideRun(
        name=comparison if is_tasks else f"compare {comparison}",
        tags={COMPARISON_TAG: comparison, "registry.kind": kind, "mlflow.source.name": command},
    )
