"""The run record of a training by somebody else's trainer: what our own loop would have measured, or why it is not known.

Pure but for reading the trainer's own state and the counters of this process; nothing is registered here.
"""

from importlib.metadata import version as package_version
from typing import Any

from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run import FollowedTraining, LossCurve, RunRecord
from peft_registry.schemas.run_points import KeptRunPoints
from peft_registry.schemas.system_metrics import KeptSystemMetrics
from peft_registry.schemas.values import Timestamp, measured, unknown
from peft_registry.trainer.costs.compute import FollowedCosts, compute_of_followed
from peft_registry.trainer.machine.environment import describe_environment, library_versions
from peft_registry.trainer.methods.coverage import coverage_of
from peft_registry.trainer.training.followed_facts import (
    loaded_best,
    modality_of,
    resumed_after,
    rows_used,
)
from peft_registry.trainer.training.foreign_trainer import (
    TrainerClass,
    logged_losses,
    objective_of,
    optimiser_of,
    schedule_of,
    script_digest,
)
from peft_registry.trainer.training.pass_counts import WatchedPasses
from peft_registry.trainer.use_cases.follow_start import FollowStart

_CURVE = "the trainer's logged loss, a mean over the steps since the log before"
_HELD_OUT = "no rows were held out by this tool; what the trainer evaluates is its own"


def why_passes_are_uncounted(trainer: Any, start: FollowStart, passes: WatchedPasses) -> str | None:
    """Why the passes through the model are not all known; None where they are."""
    args = trainer.args
    kind = TrainerClass.of(trainer)
    resumed = start.from_step
    reasons = (
        (passes.missing is not None, str(passes.missing)),
        (resumed > 0, f"{resumed_after(resumed)}: what the steps before took was not seen"),
        (not kind.is_counted, f"{kind} may run other passes and other models than the one that is watched"),
        (
            getattr(args, "precompute_ref_log_probs", False),
            "the reference model ran before the training began, and was not watched",
        ),
        (args.torch_compile, "the passes of a compiled model are not counted"),
        (args.n_gpu > 1, "the passes of several GPUs in one process are not counted"),
        (passes.trained == 0, "no pass of the model was seen"),
    )
    return next((why for holds, why in reasons if holds), None)


def record_of_followed(
    trainer: Any,
    state: Any,
    start: FollowStart,
    *,
    weights_digest: Digest | None,
    costs: FollowedCosts,
    has_own_optimizer: bool,
    project: str | None,
    system: KeptSystemMetrics | None,
    points: KeptRunPoints | None,
    command: tuple[str, ...],
    warnings: list[str],
    finished_at: Timestamp,
) -> RunRecord:
    """The record of a run whose loop came to its end.

    Args:
        trainer: transformers' Trainer, or one made from it.
        state: its own state when it ended.
        start: as it was before the first step.
        weights_digest: of what it trained, by the manifest.
        costs: what the passes, the time and the energy came to.
        has_own_optimizer: whether the script gave the trainer its optimizer.
        project: that the script names.
        system: which object holds how busy the machine was.
        points: which object holds what was measured step by step.
        command: the words that the script was started with.
        warnings: said while it trained.
        finished_at: the time now.
    """
    steps, losses = logged_losses(state.log_history)
    hardware = start.hardware
    environment = describe_environment(hardware, argv=command, code_version=package_version("peft-registry")).revised(
        libraries=library_versions("trl", "datasets")
    )
    return RunRecord(
        run_id=start.run_id,
        method=start.method,
        config=start.config,
        config_sha256=canonical_digest(start.config),
        seed=int(trainer.args.seed),
        base=start.base_reference,
        data=start.rows.data,
        parameters_total=start.total,
        parameters_trainable=start.trainable,
        weights_digest=weights_digest,
        environment=environment,
        compute=compute_of_followed(costs, hardware, start.base.record),
        curve=LossCurve(steps=steps, loss=losses),
        loss_before=unknown(_HELD_OUT),
        loss_after=unknown(_HELD_OUT),
        loss_change=unknown(_HELD_OUT),
        warnings=tuple(dict.fromkeys((*warnings, *loaded_best(trainer, state)))),
        texts=start.rows.texts,
        coverage=coverage_of(trainer.model) or None,
        followed=_what_the_trainer_did(trainer, state, start, has_own_optimizer=has_own_optimizer),
        project=project,
        system=system,
        points=points,
        started_at=start.started_at,
        finished_at=finished_at,
    )


def _what_the_trainer_did(trainer: Any, state: Any, start: FollowStart, *, has_own_optimizer: bool) -> FollowedTraining:
    """Its objective, its optimizer and its schedule, and how much of the rows it used."""
    kind = TrainerClass.of(trainer)
    epochs = float(state.epoch or 0.0)
    rows = sum(identity.rows_total for identity in start.rows.data)
    return FollowedTraining(
        trainer=str(kind),
        objective=objective_of(trainer, kind),
        optimiser=optimiser_of(trainer, is_own=has_own_optimizer),
        schedule=schedule_of(trainer, is_own=has_own_optimizer),
        rows_used=rows_used(trainer, rows, epochs, resumed=start.from_step > 0),
        epochs=measured(epochs, "epochs", method="the trainer's state when it ended"),
        modality=modality_of(start.rows.data),
        script=script_digest(),
        curve=_CURVE,
        data_unknown=start.rows.unknown,
    )
