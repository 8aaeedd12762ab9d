"""One training from a checked base folder: read the data, load, prepare the method, train. Knows no registry.

Base weights that stay frozen are loaded once; evaluation of both arms uses the very same loaded weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.config import OffloadBlock, TrainingFile
from peft_registry.schemas.dataset import Split
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.offload import Waiting, obstacle_to_offload
from peft_registry.schemas.progress import Observe, Said, Warned, ignore
from peft_registry.schemas.run import Trial, coverage_sentence
from peft_registry.trainer.bases.loading import load_base, load_tokenizer
from peft_registry.trainer.bases.offload import waiting_in
from peft_registry.trainer.bases.sharding import base_to_spread
from peft_registry.trainer.data.collate import Batches, padding_id
from peft_registry.trainer.data.dataset import LoadedData, Locate, load_data, require_room
from peft_registry.trainer.evaluation.losses import held_out
from peft_registry.trainer.evaluation.quality import (
    Answers,
    SamplesOfOtherRows,
    held_out_answers,
    require_fitting,
    require_room_for_answers,
)
from peft_registry.trainer.hub.data_sets import locate_locally_or_on_hub
from peft_registry.trainer.machine.environment import Dtype, Hardware, choose_hardware
from peft_registry.trainer.machine.processes import ALONE, Processes
from peft_registry.trainer.methods import count_trainable, implementation
from peft_registry.trainer.methods.coverage import coverage_of
from peft_registry.trainer.training.checkpoints import Checkpoints
from peft_registry.trainer.training.held_out import HeldOutRows
from peft_registry.trainer.training.mixed_precision import autocast_format
from peft_registry.trainer.training.result import TrainResult
from peft_registry.trainer.training.trials import Setting, train_all_seeds

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Load = Callable[
    ..., tuple["PreTrainedModel", "PreTrainedTokenizerBase"]
]  # as `peft_registry.trainer.bases.loading.load_base`


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model, still in memory, with what it was trained on and how."""

    config: TrainingFile
    model: "PreTrainedModel"  # for adapters wrapped by peft
    tokenizer: "PreTrainedTokenizerBase"
    data: LoadedData
    hardware: Hardware
    result: TrainResult
    parameters: tuple[int, int]  # trainable, all
    trials: tuple[Trial, ...] = ()  # of a method that tries several seeds
    waiting: Waiting | None = None  # what of the base was offloaded

    def save(self, folder: Path, *, base: BaseToOpen) -> None:
        """Write what was trained into the existing, empty folder."""
        implementation(self.config.method).save(self.model, folder, base=base)


def read_data(
    config: TrainingFile,
    *,
    data_folder: Path,
    base_folder: Path,
    base_record: BaseRecord,
    vocabulary: int | None = None,
    locate: Locate | None = None,
    observe: Observe = ignore,
) -> LoadedData:
    """The rows as tokens, for which no weight is needed: what is wrong with them is said in seconds.

    Args:
        config: the training file.
        data_folder: its relative paths start here.
        base_folder: has the tokenizer of the base, checked by the caller; its weights may be missing.
        base_record: for the context length.
        vocabulary: how many tokens the base has an embedding for; None where nobody knows.
        locate: where a data set is; None for a file, else the Hub.
        observe: hears of progress.

    Raises:
        InputRefused: the data are refused, or text and virtual tokens are more than the base reads.
    """
    require_room(config, base_record.context_length)
    tokenizer = load_tokenizer(base_folder)
    data = load_data(
        config.data,
        folder=data_folder,
        tokenizer=tokenizer,
        max_length=config.training.max_length,
        seed=config.training.seed,
        vocabulary=vocabulary,
        chooses=config.chooses,
        locate=locate or locate_locally_or_on_hub(data_folder, observe),
        observe=observe,
    )
    require_measurable(config, data, tokenizer, context_length=base_record.context_length)
    return data


def require_measurable(config: TrainingFile, data: LoadedData, tokenizer: Any, *, context_length: int | None) -> None:
    """Raise unless what the file wants to know of its held-out rows can be measured of them.

    Args:
        config: the training file.
        data: its rows.
        tokenizer: of the base.
        context_length: of the base; None where nobody knows.

    Raises:
        AnswersNotRead, MetricOfOtherRows: as `require_fitting`.
        SamplesOfOtherRows: they have no answers in words.
        PromptTooLong: the base has no room for an answer to one of them.
    """
    require_fitting(config.evaluation.quality, data, key="evaluation.quality")
    stopping = config.training.early_stopping
    if stopping is not None:
        require_fitting((stopping.metric,), data, key="training.early_stopping.metric")
    if config.evaluation.samples and not data.tasks:
        raise SamplesOfOtherRows
    room = None if context_length is None else context_length - config.virtual_tokens
    for split in dict.fromkeys((data.reported_split, "validation")):
        for answers in answers_of_rows(config, data, split, tokenizer):
            require_room_for_answers(answers, tokenizer, room)


def answers_of_rows(config: TrainingFile, data: LoadedData, split: Split, tokenizer: Any) -> tuple[Answers, ...]:
    """What the validation part, or the part that is reported on, asks besides its loss.

    Args:
        config: the training file.
        data: its rows.
        split: which part.
        tokenizer: of the base.
    """
    is_reported = split == data.reported_split
    rows, tasks = (data.reported, data.tasks) if is_reported else (data.validation, data.validation_tasks)
    used = held_out(rows, data.identity_of(split), split=split).dataset
    stopping = config.training.early_stopping
    names = [*config.evaluation.quality, *(() if stopping is None else (stopping.metric,))]
    return held_out_answers(tasks, data.classes, used, tokenizer, names)


@dataclass(frozen=True, eq=False)
class LoadedSetting:
    """A base in memory, the rows, what trainings on both have in common, where it computes, and what of it waits elsewhere."""

    base: "PreTrainedModel"
    data: LoadedData
    setting: Setting
    hardware: Hardware
    waiting: Waiting | None


def load_setting(
    config: TrainingFile,
    data: LoadedData,
    *,
    base_folder: Path,
    observe: Observe = ignore,
    after_load: Callable[[], None] = lambda: None,
    checkpoints: Checkpoints | None = None,
    processes: Processes = ALONE,
    scratch: Path | None = None,
    start: Path | None = None,
    load: Load | None = None,
) -> LoadedSetting:
    """Load the base that a file is trained on.

    Args:
        config: the training file.
        data: its rows, as `read_data` gives them.
        base_folder: the base, checked by the caller.
        observe: hears of data, offloading and, once it is prepared, of the method.
        after_load: called once the weights are in memory: the caller looks again whether the files changed. Weights that
            are offloaded are read again until the model is gone.
        checkpoints: where the state is kept; training continues from the newest.
        processes: of which this is one.
        scratch: for what a base that is offloaded may have to write; whoever made it removes it.
        start: the folder of the starting adapter, checked by the caller.
        load: gives the base of a folder, `SharedBase.load` where several trainings follow each other; None for `load_base`.

    Raises:
        OutOfMemory: the base does not fit.
    """
    _say_data(data, observe)
    hardware = choose_hardware(config.training.dtype, device=config.training.device)
    if hardware.emulates:
        observe(
            Warned(
                f"{hardware.dtype}-emulated",
                f"{hardware.processor} has no instructions for {hardware.dtype} and emulates it: fp32 is faster",
            )
        )
    dtype = weights_dtype(config, hardware)
    if processes.spreads:
        model, tokenizer = base_to_spread(
            base_folder, dtype=dtype, device=hardware.device, quantization=config.quantization
        )
    else:
        model, tokenizer = (load or load_base)(
            base_folder,
            dtype=dtype,
            device=hardware.device,
            quantization=config.quantization,
            offload=config.offload or _offload_of_spread(config),
            scratch=scratch,
            **({"over_gpus": True} if config.is_sharded and config.is_quantized else {}),
        )
    after_load()
    waiting = _waiting(model, observe)
    setting = Setting(
        config=config,
        tokenizer=tokenizer,
        batches=_batches(config, data, padding_id(tokenizer, vocabulary=_vocabulary(model))),
        device=hardware.device,
        products=autocast_format(dtype, hardware.dtype),
        said=lambda model: _say_model(config, model, hardware, observe),
        checkpoints=checkpoints,
        processes=processes,
        start=start,
        base_folder=base_folder,
    )
    return LoadedSetting(model, data, setting, hardware, waiting)


def train_adapter(loaded: LoadedSetting, *, observe: Observe = ignore) -> Trained:
    """Train what the file says on the loaded base, which is changed in place.

    Args:
        loaded: the base, the rows and the file.
        observe: hears of each step.

    Raises:
        InputRefused: the method block is refused.
        LossDiverged, OutOfMemory: the run failed.
    """
    setting = loaded.setting
    data = loaded.data
    hardware = loaded.hardware
    config = setting.config
    looks = HeldOutRows.of(
        setting.batches,
        data.validation,
        hardware.device,
        every_steps=config.training.eval_steps,
        part="held_out" if data.reported_split == "validation" else "validation",
        answers=answers_of_rows(config, data, "validation", setting.tokenizer),
        tokenizer=setting.tokenizer,
    )
    attempts = train_all_seeds(loaded.base, setting, looks, observe=observe)
    _say_training(attempts.result, observe)
    return Trained(
        config=config,
        model=attempts.model,
        tokenizer=setting.tokenizer,
        data=data,
        hardware=hardware,
        result=attempts.result,
        parameters=attempts.parameters,
        trials=attempts.trials,
        waiting=loaded.waiting,
    )


def _offload_of_spread(config: TrainingFile) -> OffloadBlock | None:
    """Where the frozen base waits in the process that registers what several have trained, each with a part of the base.

    It holds the whole as little as they did. A base that is trained, or in 4 bits, cannot wait, and is there.
    """
    if not config.is_sharded or obstacle_to_offload(config) is not None:
        return None
    return OffloadBlock(to="disk")


def _say_model(config: TrainingFile, model: Any, hardware: Hardware, observe: Observe) -> None:
    _say_method(config, *count_trainable(model), hardware, observe)
    coverage = coverage_of(model)
    if coverage:
        observe(Said("coverage", coverage_sentence(coverage)))
    for text in coverage_warnings(config, model):
        observe(Warned("coverage", text))


def coverage_warnings(config: TrainingFile, model: Any) -> tuple[str, ...]:
    """What a file that says `all-linear` leaves untouched of a mixture of experts, in words."""
    if config.setting("target_parameters") is None or config.setting("target_modules") != "all-linear":
        return ()
    coverage = coverage_of(model)
    experts = [entry for entry in coverage if entry.kind in ("experts", "shared experts")]
    if all(entry.adapted for entry in experts):
        return ()
    text = (
        f"all-linear adapts {coverage_sentence(coverage)}; experts whose weights are one tensor are no linear layers: name them in "
        "lora.target_parameters"
    )
    return (text,)


def _waiting(model: "PreTrainedModel", observe: Observe) -> Waiting | None:
    """What of the loaded base was offloaded; None where nothing was."""
    waiting = waiting_in(model)
    if waiting is not None:
        observe(Said("offload", f"{waiting}; each layer reads its weights when it computes"))
    return waiting


def _vocabulary(model: "PreTrainedModel") -> int:
    """How many tokens the model has an embedding for."""
    return int(model.get_input_embeddings().weight.shape[0])


def _batches(config: TrainingFile, data: LoadedData, pad_id: int) -> Batches:
    """The training rows in batches, packed where the file says so."""
    training = config.training
    return Batches(
        data.train,
        training.per_device_train_batch_size,
        pad_id,
        training.seed,
        pack_to=training.max_length if training.packing else None,
    )


def weights_dtype(config: TrainingFile, hardware: Hardware) -> Dtype:
    """The number format of the loaded base. Scales can make fp32 of what a quantized layer gives, and attention wants
    keys and values in the format of the queries: there everything is fp32, and 16 bits only the format of the products."""
    if config.is_quantized and METHODS[config.method].needs_fp32_on_4_bits:
        return "fp32"
    return hardware.weights_dtype(trains_base_weights=METHODS[config.method].trains_base_weights)


def _say_data(data: LoadedData, observe: Observe) -> None:
    for note in data.notes:
        observe(Said("data", note))
    for warning in data.warnings:
        observe(Warned("data", warning))
    digest = data.identities[0].sha256.short
    test = f" / {len(data.test)} test" if data.test else ""
    observe(
        Said(
            "data",
            f"{len(data.train)} train / {len(data.validation)} validation{test}  {digest}  "
            f"{data.supervised_fraction:.0%} of tokens carry loss",
        )
    )


def _say_method(config: TrainingFile, trainable: int, total: int, hardware: Hardware, observe: Observe) -> None:
    row = METHODS[config.method]
    merge = "mergeable" if row.folds else "not mergeable here"
    rank = f" {config.virtual_tokens} virtual tokens" if config.virtual_tokens else ""
    rank += f" r={config.setting('r')}" if config.setting("r") else ""
    size = f"{trainable / 1e6:.2f} M" if trainable >= 1e4 else f"{trainable:,}".replace(",", " ")
    share = f"{size} trainable ({100 * trainable / total:.3g}%)"
    why = f"  ({hardware.why})" if hardware.why else ""
    device = f"device {hardware.device} {hardware.dtype}{why}"
    observe(Said("method", f"{config.method}{rank} → {share}, {merge}    {device}"))


def _say_training(result: TrainResult, observe: Observe) -> None:
    minutes, seconds = divmod(round(result.seconds), 60)
    hours, minutes = divmod(minutes, 60)
    rate = result.tokens / max(result.seconds, 1e-9)
    asked = result.steps if result.kept is None else result.kept.asked
    last = result.curve.loss[-1] if result.curve.loss else float("nan")
    observe(
        Said(
            "train",
            f"{result.steps}/{asked}  loss {last:.2f}  {rate:.0f} tok/s  {hours}:{minutes:02}:{seconds:02}",
        )
    )
