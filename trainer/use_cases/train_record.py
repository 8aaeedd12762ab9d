"""The run record of a training: what was trained on what, how, on which machine, at what cost, and what became of the loss.

Pure but for asking this machine what it is; nothing is registered here.
"""

from collections.abc import Sequence
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING

from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.config import config_identity, config_record
from peft_registry.schemas.evaluation import LossComparison
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Observe
from peft_registry.schemas.run import Compute, KeptTexts, RunRecord
from peft_registry.schemas.run_points import KeptRunPoints, RunPoints
from peft_registry.schemas.run_samples import KeptSamples, RunSamples
from peft_registry.schemas.run_states import BoundStates
from peft_registry.schemas.system_metrics import KeptSystemMetrics
from peft_registry.schemas.values import Timestamp, derived, measured
from peft_registry.trainer.use_cases.train_run import TrainingRun

if TYPE_CHECKING:
    from peft_registry.trainer.training.forward_passes import Passes
    from peft_registry.trainer.training.train_adapter import Trained

LOSS_METHOD = "summed loss of the held-out rows over their supervised tokens, scored in fp32"
_SHORTEST_IN_HOURS = 0.1  # less is said in seconds


def record_of_run(
    run: TrainingRun,
    trained: "Trained",
    *,
    weights_digest: Digest,
    losses: LossComparison,
    passes: "Passes",
    texts: KeptTexts,
    points: RunPoints | None,
    samples: RunSamples | None,
    states: BoundStates | None,
    warnings: Sequence[str],
    finished_at: Timestamp,
    observe: Observe,
) -> RunRecord:
    """The record of a run whose result was scored.

    Args:
        run: what was asked, on which base.
        trained: what came of it.
        weights_digest: of what was trained, by the manifest.
        losses: before and after, in nats a token.
        passes: the forward passes of the evaluations before and after.
        texts: which object holds the hashes of what was learnt from.
        points: what was measured step by step; None where the log of the run was lost.
        samples: rows that were answered before and after; None where none were asked for.
        states: of which stretches can be run again; None where none were kept.
        warnings: all that were told; each is recorded once.
        finished_at: the time now.
        observe: is warned where the cost cannot be derived.
    """
    from peft_registry.trainer.costs.compute import compute_record
    from peft_registry.trainer.machine.environment import describe_environment
    from peft_registry.trainer.methods.coverage import coverage_of

    trainable, total = trained.parameters
    return RunRecord(
        run_id=run.kept.run_id,
        method=run.config.method,
        config=config_record(run.config),
        config_sha256=canonical_digest(config_identity(run.config)),
        seed=run.config.training.seed,
        base=run.base_reference,
        data=trained.data.identities,
        parameters_total=total,
        parameters_trainable=trainable,
        weights_digest=weights_digest,
        environment=describe_environment(
            trained.hardware, argv=run.command, code_version=package_version("peft-registry")
        ),
        compute=compute_record(trained, run.base.record, evaluation=passes.shape, observe=observe),
        curve=trained.result.curve,
        loss_before=measured(losses.before, "nats/token", method=LOSS_METHOD),
        loss_after=measured(losses.after, "nats/token", method=LOSS_METHOD),
        loss_change=derived(losses.change, "nats/token", method="after − before, over the same held-out tokens"),
        trials=trained.trials,
        warnings=tuple(dict.fromkeys(warnings)),
        comparison=run.comparison,
        texts=texts,
        coverage=coverage_of(trained.model) or None,
        project=run.config.project,
        system=None if trained.result.system is None else KeptSystemMetrics.of(trained.result.system),
        points=None if points is None else KeptRunPoints.of(points),
        kept_step=trained.result.kept,
        samples=None if samples is None else KeptSamples.of(samples),
        states=states,
        started_at=run.kept.started_at,
        finished_at=finished_at,
    )


def compute_line(compute: Compute) -> str:
    """What a run cost, in a line: operations, hours of hardware, energy, or why one of them is unknown."""
    energy = compute.energy_kwh
    consumed = f"{energy.value:.3g} kWh" if energy.known else f"not measured ({energy.reason})"
    flop = compute.param_update_flop
    text = f"{flop.value:.2g} FLOP ({flop.source})" if flop.known else f"FLOP unknown ({flop.reason})"
    hours = compute.hardware_hours.value
    time = f"{hours:.3f} h" if hours >= _SHORTEST_IN_HOURS else f"{3600 * hours:.3g} s"
    return f"{text}, {time}; energy: {consumed}"
