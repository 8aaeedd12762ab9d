"""`registry train`, from a file to a registered version.

    config → data identity → base identity → train → evaluate both arms → artifact folder → manifest → register

Everything before `register_version` happens in HOME/runs/<id>: a kill leaves nothing registered, and a state to resume from.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.disk.files import unwritable
from peft_registry.registry.evaluation.lost_quality import LostQuality, lost_quality
from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import read_profile
from peft_registry.registry.homes.run_logs import points_of_log
from peft_registry.registry.intake.facts_file import warn_of_overtaken_facts
from peft_registry.registry.records.evaluations import standing_evaluations
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.tries import require_readable_list
from peft_registry.registry.use_cases.announce_edition import require_announced
from peft_registry.registry.use_cases.first_records import derive_record
from peft_registry.registry.use_cases.register_product import Repetition, register_again, register_product, signer_of
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.progress import Observe, Said, Warned, ignore
from peft_registry.schemas.run import TASKS_PREFIX, KeptRun, RunRecord
from peft_registry.schemas.run_points import RunPoints
from peft_registry.schemas.version import Version
from peft_registry.trainer.inputs.base import checked_base
from peft_registry.trainer.runs.begun import note_begun
from peft_registry.trainer.runs.folder import remove_superseded, run_folder, write_state
from peft_registry.trainer.runs.launch import Launch
from peft_registry.trainer.runs.resume import report_resume_command
from peft_registry.trainer.runs.run_log import run_log
from peft_registry.trainer.runs.states import keep_states
from peft_registry.trainer.use_cases.train_costs import decide_part, with_part
from peft_registry.trainer.use_cases.train_evaluation import evaluate_run
from peft_registry.trainer.use_cases.train_plan import TrainingPlan, plan_training
from peft_registry.trainer.use_cases.train_product import (
    change_of_run,
    facts_of_run,
    kept_objects,
    manifest_of_run,
    product_of_run,
    result_of_run,
)
from peft_registry.trainer.use_cases.train_record import compute_line, record_of_run
from peft_registry.trainer.use_cases.train_run import TrainingRun
from peft_registry.trainer.use_cases.train_start import (
    begun_run,
    logged_beginning,
    registered_before,
    require_usable_key,
    run_from_beginning,
)
from peft_registry.trainer.use_cases.train_work import (
    data_of_plan,
    require_fitting_method,
    tasks_of_plan,
    train_as_planned,
)

if TYPE_CHECKING:
    from peft_registry.trainer.runs.shared_base import SharedBase
    from peft_registry.trainer.training.train_adapter import Trained


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """What a run registered; `lost` is what its evaluation shows it to have become worse at."""

    version: Version
    # a notebook prints an outcome, and thousands of fields would hide the version
    run: RunRecord = field(repr=False)
    modification: ModificationRecord = field(repr=False)
    signed_by: str
    lost: tuple[LostQuality, ...] = ()
    was_there: bool = False  # an equal result was registered before; this run added nothing

    def to_json(self) -> dict[str, Any]:
        """The object that `train --output json` ends with."""
        run = self.run
        return {
            "version": self.version.label,
            "manifest_digest": str(self.version.manifest_digest),
            "weights_digest": str(run.weights_digest),
            "base_digest": str(run.base.identity.weights),
            "loss_before": run.loss_before.value,
            "loss_after": run.loss_after.value,
            "run_id": None if self.was_there else run.run_id,
            "registered_before": self.was_there,
            "log_index": self.version.log_index,
        }


def train_and_register(
    registry: Registry,
    config_path: Path,
    overrides: tuple[str, ...] = (),
    *,
    resume: KeptRun | None = None,
    launch: Launch | None = None,
    comparison: str | None = None,
    shared: "SharedBase | None" = None,
    command: tuple[str, ...] = (),
    again: bool = False,
    observe: Observe = ignore,
) -> TrainOutcome:
    """Train as the file says and register the result with its records; what this very file gave before is not trained again.

    Args:
        registry: where.
        config_path: the training file.
        overrides: such as `training.seed=8`.
        resume: a stopped run to continue, of this very file, base and data.
        launch: the processes to train in; None for this one.
        comparison: the id of the comparison that the run is an arm of.
        shared: the loaded base that several runs have in common; None for one of this run's own.
        command: the words of the command line, for the record; none where no command was typed.
        again: train although the result of this file, base and data is registered, to see whether it comes out equal.
        observe: hears of everything.

    Raises:
        InputRefused, NotFound: the file, the data or the base are refused before anything is loaded.
        IntegrityBroken: the base's bytes are not those that were registered, or not what the resumed run began with.
        RunFailed: the loss diverged, memory ran out or a process died; nothing was registered.
        RegisteredElsewhere: with several machines, on all of them but one.
    """
    registry.require_writable()
    require_announced(registry)
    is_arm = comparison is not None and not comparison.startswith(TASKS_PREFIX)
    plan = plan_training(registry, config_path, overrides, resume=resume, launch=launch, is_arm=is_arm, observe=observe)
    signer = registry.trainer_key  # asked for now, not after an hour of training
    for reference, text in plan.warnings:
        observe(Warned(reference, text))
    if resume is None and comparison is None and not again:
        there = _registered_again(registry, plan, signer.public.key_id, observe)
        if there is not None:
            return there
    runs = registry.files.runs
    kept = resume or run_from_beginning(registry, plan, observe)
    running = kept.revised(status="running", why=None, overrides=overrides, processes=plan.launch.size)
    try:
        with (
            run_folder(runs, kept.run_id) as folder,
            run_log(folder, logged_beginning(plan, running, comparison), observe) as log,
        ):
            write_state(folder, running)
            if resume is None:
                require_readable_list(registry.files.begun)
            require_usable_key(registry, plan.loaded.config.name)
            heard = log.observing(observe)
            is_resumed = resume is not None
            data, texts = data_of_plan(registry, plan, kept, folder, is_resumed=is_resumed, observe=heard)
            require_fitting_method(registry, plan, texts)
            tasks = tasks_of_plan(registry, plan, texts)
            if is_arm:  # all arms are asked the same, whatever each costs to train
                plan = with_part(plan, plan.scope.half)
            else:
                plan, heard = decide_part(registry, plan, data, texts, heard, tasks=tasks, reuse=not again)
            if resume is None:  # what its rows refuse was no try
                note_begun(registry.files.begun, begun_run(plan.loaded, kept))
            run = TrainingRun(
                plan=plan,
                data=data,
                base=checked_base(registry, plan.base, folder, observe),
                kept=kept,
                folder=folder,
                is_resumed=is_resumed,
                comparison=comparison,
                command=command,
                tasks=tasks,
            )
            # `again` asks whether the figures come out equal: kept scores would answer for the model
            outcome = _complete(registry, run, signer.public.key_id, shared=shared, reuse=not again, observe=heard)
            log.end_registered(outcome.version.label, was_there=outcome.was_there)
        remove_superseded(runs, kept)
        return outcome
    except KeyboardInterrupt:
        report_resume_command(runs, kept, observe)
        raise
    except OSError as error:
        raise unwritable(runs / kept.run_id, error) from error


def _registered_again(registry: Registry, plan: TrainingPlan, key_id: str, observe: Observe) -> TrainOutcome | None:
    """The version that this very file gave before, with what the file says anew of it; None where there is none.

    A version with a record of an earlier form is trained again, and its outcome described in today's.
    """
    version = registered_before(registry, plan.loaded, plan.base)
    if version is None:
        return None
    records = records_of(registry, version)
    if records.run is None or not isinstance(records.modification, ModificationRecord):
        return None
    require_usable_key(registry, plan.loaded.config.name)
    observe(Said("run", f"this file, base and data gave {version.label} before; --again trains it anew"))
    said = Repetition(plan.loaded.config.project, facts_of_run(plan, records.run), registry.clock())
    register_again(registry, version, said, observe=observe)
    modification = records_of(registry, version).modification
    assert isinstance(modification, ModificationRecord), "what supersedes a record of this form has it"
    evaluations = standing_evaluations(registry, version, records.evaluations)
    return TrainOutcome(
        version=version,
        run=records.run,
        modification=modification,
        signed_by=signer_of(registry, key_id),
        lost=tuple(lost for evaluation in evaluations for lost in lost_quality(evaluation)),
        was_there=True,
    )


def _complete(
    registry: Registry,
    run: TrainingRun,
    key_id: str,
    *,
    shared: "SharedBase | None",
    reuse: bool,
    observe: Observe,
) -> TrainOutcome:
    """Train, evaluate, describe, register."""
    from peft_registry.trainer.evaluation.text_hashes import hash_texts
    from peft_registry.trainer.runs.before_after import texts_of

    trained, warnings = train_as_planned(registry, run, shared=shared, observe=observe)
    run.artifact.mkdir()
    trained.save(run.artifact, base=BaseToOpen.of(run.base.record))
    manifest = manifest_of_run(run, trained.data.identities)
    change = change_of_run(run)
    texts = hash_texts(texts_of(trained, run.config))
    kept_texts = texts.to_bytes()
    evaluated, passes = evaluate_run(
        registry,
        run,
        trained,
        weights_digest=manifest.weights_digest,
        texts=texts,
        key_id=key_id,
        reuse=reuse,
        observe=observe,
    )
    points = _points_of(run, trained)
    record = record_of_run(
        run,
        trained,
        weights_digest=manifest.weights_digest,
        losses=evaluated.loss,
        passes=passes,
        texts=texts.describe(kept_texts),
        points=points,
        samples=evaluated.samples,
        states=keep_states(
            run.folder,
            registry.files.states,
            run_id=run.kept.run_id,
            last_step=trained.result.steps,
            device=trained.hardware.device,
            observe=observe,
        ),
        warnings=warnings,
        finished_at=registry.clock(),
        observe=observe,
    )
    observe(Said("compute", compute_line(record.compute)))
    facts = facts_of_run(run.plan, record)
    result = result_of_run(
        run,
        manifest,
        record,
        evaluation=evaluated.record,
        change=change,
        profile=read_profile(registry),
        facts=facts,
    )
    derived = derive_record(registry, result, key_id=key_id)
    modification = derived.record
    warn_of_overtaken_facts(modification, facts, observe)
    observe(Said("record", completeness(modification).sentence))
    kept = kept_objects(kept_texts, trained, points, evaluated.samples)
    product = product_of_run(run, manifest, record, derived, evaluated, kept=kept)
    registered = register_product(registry, product, observe=observe)
    if shared is not None:
        shared.take_off(trained.model, run.config)
    return TrainOutcome(
        version=registered.version,
        run=record,
        modification=modification,
        signed_by=signer_of(registry, key_id),
        lost=() if evaluated.record is None else lost_quality(evaluated.record),
        was_there=registered.was_there,
    )


def _points_of(run: TrainingRun, trained: "Trained") -> RunPoints | None:
    """What the log of the run holds of the trial that was kept; None where it was lost."""
    chosen = next((trial.seed for trial in trained.trials if trial.chosen), None)
    return points_of_log(run.folder, seed=chosen)
