"""Runs that stand beside those of versions: one for each seed that was tried, and one over the arms of a comparison. Pure.

What is written and what is compared comes from here, so that the one cannot differ from the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from peft_registry.registry.mlflow.comparing import Difference
from peft_registry.registry.mlflow.projection import COMPARISON_TAG, TRIAL_TAG, Projection
from peft_registry.schemas.run import TASKS_PREFIX

PARENT = "mlflow.parentRunId"  # what makes the UI show a run below another
TRIAL = "trial"
COMPARISON = "comparison"
PARENT_OF_RUN = "parent of the run"
_OUR_PREFIX = "registry."


@dataclass(frozen=True, slots=True)
class SideRun:
    """A run with all that we write of it; `run_id` is MLflow's, where it is there."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    run_id: str | None = None

    @property
    def text(self) -> str:
        """Everything of ours in a line. Tags without our prefix are the users', but for where the run stands."""
        tags = {key: value for key, value in self.tags.items() if key.startswith(_OUR_PREFIX) or key == PARENT}
        facts = (f"{key}={value}" for facts in (tags, self.params) for key, value in sorted(facts.items()))
        points = (f"{key} {value:g}" for key, value in sorted(self.metrics.items()))
        return "; ".join((self.name, *facts, *points))


def trial_runs(projection: Projection, run_id: str) -> dict[str, SideRun]:
    """The run of each seed, by the seed; they stand below the run of the version."""
    version = projection.version
    return {
        (seed := str(trial.seed)): SideRun(
            name=f"{version.name}:{version.number} trial, seed {seed}",
            tags={PARENT: run_id, TRIAL_TAG: seed, "registry.chosen": "yes" if trial.chosen else "no"},
            params={"seed": seed},
            metrics={"trial/score": trial.score},
        )
        for trial in projection.run.trials
    }


def comparison_run(projection: Projection) -> SideRun | None:
    """The run over the arms of the version's comparison, or over the tasks of a file; None where it is part of none."""
    comparison = dict(projection.run.tags).get(COMPARISON_TAG)
    if comparison is None:
        return None
    is_tasks = comparison.startswith(TASKS_PREFIX)
    kind, command = ("tasks", "registry train") if is_tasks else ("comparison", "registry compare")
    return SideRun(
        name=comparison if is_tasks else f"compare {comparison}",
        tags={COMPARISON_TAG: comparison, "registry.kind": kind, "mlflow.source.name": command},
    )


def differences_of_trials(written: Mapping[str, SideRun], shown: Sequence[SideRun]) -> Iterator[Difference]:
    """What in the runs of the seeds is not as it was written."""
    for seed in sorted(written.keys() | {run.tags[TRIAL_TAG] for run in shown}):
        expected = written[seed].text if seed in written else None
        texts = [run.text for run in shown if run.tags[TRIAL_TAG] == seed]
        if texts != [expected]:
            yield Difference(TRIAL, seed, expected, " and ".join(texts) or None)


def differences_of_place(
    expected: SideRun | None, over: Sequence[SideRun], *, earlier: Sequence[str], parent: str | None
) -> Iterator[Difference]:
    """What in the run over the arms is not as it was written, and whether the run of the version stands below the right one.

    Args:
        expected: the run over the arms, as it is written.
        over: those that MLflow has of this comparison.
        earlier: the runs of the adapter whose training was continued.
        parent: the run that the version's stands below.
    """
    if expected is not None:
        texts = [run.text for run in over]
        if texts != [expected.text]:
            yield Difference(COMPARISON, expected.tags[COMPARISON_TAG], expected.text, " and ".join(texts) or None)
    right = [run.run_id for run in over if run.run_id] if expected is not None else list(earlier)
    is_wrong = parent not in right if right else expected is None and parent is not None
    if is_wrong:
        yield Difference(PARENT_OF_RUN, "", " or ".join(right) or None, parent)
