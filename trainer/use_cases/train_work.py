"""The work of a training: from the base or from an adapter, from its beginning or a kept state, here or in several processes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import listed_tensors
from peft_registry.registry.imports.fit import rows_of_vocabulary
from peft_registry.registry.records.bases import required_base
from peft_registry.registry.records.sources import Source
from peft_registry.registry.records.stops import require_sources_not_stopped
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.pull_base import WEIGHTS_SUFFIX, checked_folder
from peft_registry.schemas.progress import Observe, Said, Warned
from peft_registry.schemas.run import KeptRun
from peft_registry.trainer.inputs.benchmark_tasks import load_file_tasks
from peft_registry.trainer.inputs.guards import warnings_about_prompt
from peft_registry.trainer.inputs.start import fetched, saved_config
from peft_registry.trainer.runs.folder import has_checkpoint, read_state
from peft_registry.trainer.runs.launch import RegisteredElsewhere, WorkerJob, run_workers
from peft_registry.trainer.runs.resume import Keeper, changed_libraries
from peft_registry.trainer.use_cases.train_plan import TrainingPlan
from peft_registry.trainer.use_cases.train_run import TrainingRun

if TYPE_CHECKING:
    from peft_registry.trainer.data.dataset import LoadedData, Locate
    from peft_registry.trainer.evaluation.tasks.asked import BenchmarkTask
    from peft_registry.trainer.runs.shared_base import SharedBase
    from peft_registry.trainer.training.train_adapter import Trained


def data_of_plan(
    registry: Registry, plan: TrainingPlan, kept: KeptRun, folder: Path, *, is_resumed: bool, observe: Observe
) -> "tuple[LoadedData, Path]":
    """The rows of a plan as tokens, and the folder with the tokenizer.

    Of the base its tokenizer alone is read, because its weights may take minutes to be compared.

    Args:
        registry: holds the base, and knows what is recalled.
        plan: what is trained.
        kept: what the folder says of the run.
        folder: of the run.
        is_resumed: whether the rows must be those that the run began with.
        observe: hears of progress.

    Raises:
        InputRefused: the data are refused.
        VersionStopped: they are recalled, which may be known only once they are read.
        DataChanged: they are not those that the resumed run began with.
        BaseRecordMissing, BaseBytesMissing, WrongBase: of the base, as `checked_base`.
    """
    texts = checked_folder(
        registry, plan.base, folder / "texts", only=lambda entry: not entry.path.endswith(WEIGHTS_SUFFIX)
    )
    data = rows_of_plan(registry, plan, texts.folder, observe=observe)
    Keeper(folder, kept if is_resumed else None).data(data.identities)
    return data, texts.folder


def rows_of_plan(
    registry: Registry, plan: TrainingPlan, texts: Path, *, locate: "Locate | None" = None, observe: Observe
) -> "LoadedData":
    """The rows of a plan as tokens.

    Args:
        registry: knows what is recalled.
        plan: what is trained.
        texts: the folder with the tokenizer of its base.
        locate: where a data set is; None for a file, else the Hub.
        observe: hears of progress.

    Raises:
        InputRefused: the data are refused.
        VersionStopped: they are recalled, which may be known only once they are read.
    """
    from peft_registry.trainer.training.train_adapter import read_data

    config = plan.loaded.config
    manifest = stored_manifest(registry, plan.base.manifest_digest)
    data = read_data(
        config,
        data_folder=plan.loaded.folder,
        base_folder=texts,
        base_record=required_base(registry, plan.base).record,
        vocabulary=rows_of_vocabulary(listed_tensors(manifest.weights)),
        locate=locate,
        observe=observe,
    )
    sources = (Source(identity.sha256, f"the data {identity.name}") for identity in data.identities)
    require_sources_not_stopped(registry, "train", config.name, sources)
    return data


def require_fitting_method(registry: Registry, plan: TrainingPlan, texts: Path) -> None:
    """Raise where the method refuses the base's layers or a starting adapter has others: a model without weights shows it.

    Args:
        registry: holds the starting adapter.
        plan: what is trained.
        texts: the folder with the configuration of its base.

    Raises:
        InputRefused: the method block names layers that the base does not have, or that the method does not take.
        StartDiffers: the starting adapter is of another configuration.
    """
    from peft_registry.trainer.methods.peft_io import require_same_start
    from peft_registry.trainer.training.without_weights import prepared_without_weights

    model = prepared_without_weights(texts, plan.loaded.config)
    if model is None or plan.start is None:
        return
    manifest = stored_manifest(registry, plan.start.manifest_digest)
    saved = saved_config(registry, manifest)
    if saved is not None:
        require_same_start(model, saved, {tensor.name for tensor in listed_tensors(manifest.weights)})


def tasks_of_plan(registry: Registry, plan: TrainingPlan, texts: Path) -> "tuple[BenchmarkTask, ...]":
    """The tasks of lm-evaluation-harness that the file asks of its result, set up before a weight of the base is read.

    Args:
        registry: knows how much the base reads.
        plan: what is trained.
        texts: the folder with the tokenizer of its base.

    Raises:
        KnownError: as `load_file_tasks`.
    """
    if not plan.loaded.config.evaluation.tasks:
        return ()
    from peft_registry.trainer.bases.loading import load_tokenizer

    context_length = required_base(registry, plan.base).record.context_length
    return load_file_tasks(plan.loaded, load_tokenizer(texts), context_length)


def train_as_planned(
    registry: Registry, run: TrainingRun, *, shared: "SharedBase | None", observe: Observe
) -> "tuple[Trained, tuple[str, ...]]":
    """Train, and say what came of it: the model in memory, and each warning that its record will hold.

    Args:
        registry: gives the starting adapter, and knows what is recalled.
        run: what is trained, on what; its folder keeps the state.
        shared: the loaded base that several runs have in common; None for one of this run's own.
        observe: hears of data, method and each step.

    Raises:
        InputRefused: the method block is refused.
        DataChanged: the processes read other data than this one.
        BaseChanged: a file of the base is not what was compared.
        PullRefused, PullUnverified: the starting adapter is not what was registered, or that could not be shown.
        LossDiverged, OutOfMemory, ProcessDied: the run failed.
        RegisteredElsewhere: with several machines, on all of them but one.
    """
    from peft_registry.trainer.machine.processes import Processes
    from peft_registry.trainer.training.train_adapter import coverage_warnings, load_setting, train_adapter

    start = _start(registry, run, observe)
    keeper = _keeper(run, start, observe)
    keeper.data(run.data.identities)  # with several processes: those that they read
    loaded = load_setting(
        run.config,
        run.data,
        base_folder=run.base.folder,
        observe=observe,
        after_load=run.base.require_unchanged,
        checkpoints=keeper.checkpoints(run.config.training),
        processes=Processes(size=run.plan.launch.size),
        scratch=run.folder,
        start=start,
        load=None if shared is None else shared.load,
    )
    trained = train_adapter(loaded, observe=observe)
    warnings = [
        *(text for _, text in run.plan.warnings),
        *trained.data.warnings,
        *coverage_warnings(run.config, trained.model),
        *_resumption(run, trained, observe),
        *_inexact(trained, observe),
        *_passed_over(trained, observe),
    ]
    for reference, text in warnings_about_prompt(run.config, [len(example.ids) for example in trained.data.train]):
        observe(Warned(reference, text))
        warnings.append(text)
    return trained, tuple(warnings)


def _start(registry: Registry, run: TrainingRun, observe: Observe) -> Path | None:
    """The folder of the starting adapter."""
    start = run.start
    if start is None:
        return None
    observe(Said("start", f"{start.label} {start.weights_digest.short}: training continues from it"))
    return fetched(registry, start, run.folder / "start").resolve()


def _keeper(run: TrainingRun, start: Path | None, observe: Observe) -> Keeper:
    """What keeps the run's state here; with several processes, once they have trained."""
    before = run.kept if run.is_resumed else None
    if run.plan.launch.size == 1:
        return Keeper(run.folder, before)
    job = WorkerJob(
        config=run.config,
        data_folder=run.loaded.folder,
        base_folder=run.base.folder.resolve(),
        base=run.base.record,
        run_folder=run.folder.resolve(),
        kept=before,
        start=start,
        parent=os.getpid(),
    )
    run_workers(job, run.plan.launch, meeting=run.kept.config_sha256.hex[:16], observe=observe)
    run.base.require_unchanged()
    if not has_checkpoint(run.folder):
        raise RegisteredElsewhere()
    return Keeper(run.folder, read_state(run.folder))  # the data must still be those that the workers read


def _inexact(trained: "Trained", observe: Observe) -> list[str]:
    """What the record has to say of a run that another one need not repeat to the last bit."""
    operations = trained.result.inexact
    if not operations:
        return []
    names = ", ".join(operations)
    text = f"not deterministic on this GPU: {names}; another run of this file may give weights that differ in their last bits"
    observe(Warned("not-deterministic", text))
    return [text]


def _passed_over(trained: "Trained", observe: Observe) -> list[str]:
    """What the record has to say of steps that were computed and changed nothing."""
    steps = trained.result.passed_over
    if not steps:
        return []
    text = f"fp16: the gradients of {steps} of {trained.result.steps} steps overflowed; these steps changed no weight"
    observe(Warned("fp16-overflow", text))
    return [text]


def _resumption(run: TrainingRun, trained: "Trained", observe: Observe) -> list[str]:
    """What the record has to say about a run that did not go through in one piece."""
    at = trained.result.resumed_at
    if at is None:
        return []
    changed = changed_libraries(run.kept)
    if changed:
        observe(Warned("resumed-elsewhere", changed))
    lost = f"stopped and resumed after step {at}; steps that were computed again are not counted in its compute"
    return [lost, *([changed] if changed else [])]
