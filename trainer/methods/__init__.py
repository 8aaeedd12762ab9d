"""The table of methods: one row of `table.json` and one file beside it make a method.

A file has the three functions of `Method`. The rows are data, and need no torch, so that `registry methods` starts fast.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import ConfigDict, TypeAdapter

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config import GOALS, METHOD_BLOCKS, Goal, MethodName, TrainingFile
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.manifest import Layout
from peft_registry.schemas.offload import check_offload
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.trainer.methods.mitigation import finding_about, measured_mitigation, most_promising


class MethodNotAvailable(InputRefused):
    reference = "method-not-available"
    what = "the method {name} is not available in this version"
    why = "its name is reserved, and nothing implements it yet"
    fix = "use one of {available!l}"

    name: str
    available: tuple[str, ...]


class PackingRefused(InputRefused):
    reference = "packing-refused"
    what = "training.packing cannot be used here"
    why = "{reason}"
    fix = "set training.packing: false; rows are padded then"

    reason: str


class CheckpointingRefused(InputRefused):
    reference = "gradient-checkpointing-refused"
    what = "training.gradient_checkpointing cannot be used with {name}"
    why = "the method hands each layer keys and values that a second computation would not see"
    fix = "set training.gradient_checkpointing: false, and lower training.per_device_train_batch_size instead"

    name: str


class UnknownGoal(InputRefused):
    reference = "unknown-goal"
    what = "{word!q} is not a goal"
    why = "a goal is something that methods are good or bad for"
    fix = "{suggestion}"

    word: str

    @property
    def suggestion(self) -> str:
        return did_you_mean(closest(self.word, GOALS), f"use {', '.join(GOALS)}")


class CombinationRefused(InputRefused):
    reference = "combination-refused"
    what = "the file asks for {asked}"
    why = "{reason}"
    fix = "{remedy}"

    asked: str
    reason: str
    remedy: str


_ADAPTER_MEMORY = "frozen base at 2 bytes a parameter in bf16; 16 bytes a trained parameter"


@dataclass(frozen=True, slots=True)
class Default:
    """A default of a method's block, and where it comes from."""

    key: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What a method means for one goal of a training file; `fits` is None where that is not known."""

    goal: Goal
    fits: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class MethodRow:
    """What a reader chooses by. `module` implements it; None while it is only a reserved name.

    `mergeable`: the result can be folded into the base's weights. `trains_base_weights`: the result is a whole model.
    `is_bundle`: the folder holds several adapters. `quantizable`: it works on a base in 4 bits. `packs`: rows may lie side
    by side in one sequence, which what stands in front of each row forbids. `checkpoints`: activations may be computed twice
    instead of kept.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: MethodName
    summary: str
    mergeable: bool
    trains_base_weights: bool = False
    quantizable: bool = True
    packs: bool = True
    checkpoints: bool = True
    memory: str = _ADAPTER_MEMORY
    defaults: tuple[Default, ...] = ()
    advice: tuple[Advice, ...] = ()
    module: str | None = None
    is_bundle: bool = False

    @property
    def layout(self) -> Layout:
        """What the artifact's folder is."""
        if self.is_bundle:
            return "bundle"
        return "model" if self.trains_base_weights else "peft"

    @property
    def available(self) -> bool:
        return self.module is not None

    def about(self, goal: Goal) -> Advice:
        """The advice for one goal."""
        return next(advice for advice in self.advice if advice.goal == goal)


class Method(Protocol):
    """What a method's file offers. Models are torch modules; the table does not import torch to say so."""

    def prepare(self, model: Any, config: TrainingFile, *, seed: int) -> Any:
        """The model with exactly the parameters to train requiring gradients; `model` may be changed in place."""

    def save(self, model: Any, folder: Path, *, base: BaseToOpen | None) -> None:
        """Write what was trained into the existing, empty `folder`: same weights, same bytes; no local path.

        `base` is what a reader opens besides; None where nobody said.
        """

    def load(self, base_model: Any, folder: Path) -> Any:
        """The trained model from a fresh base and a folder of `save`, in evaluation mode.

        Raises:
            KnownError: keys or shapes do not match exactly.
        """


_TABLE = Path(__file__).with_name("table.json").read_bytes()


def _with_measured_advice(row: MethodRow) -> MethodRow:
    """The row with the advice that nobody types: what was measured against bias."""
    finding = finding_about(row.name, measured_mitigation())
    return replace(row, advice=(*row.advice, Advice("bias_mitigation", finding.mitigates, finding.why)))


METHODS: Mapping[MethodName, MethodRow] = {
    row.name: _with_measured_advice(row)
    for row in TypeAdapter(tuple[MethodRow, ...]).validate_json(_TABLE, strict=True)
}


def available_methods() -> tuple[str, ...]:
    """The names that can be trained with, in the order of the table."""
    return tuple(name for name, row in METHODS.items() if row.available)


def check_available(config: TrainingFile) -> MethodRow:
    """The row of the file's method, if this version can train what the file asks for. Needs no torch.

    Raises:
        MethodNotAvailable: a reserved name.
        CombinationRefused: settings that contradict each other.
        PackingRefused, CheckpointingRefused, OffloadRefused: the method cannot.
    """
    row = METHODS[config.method]
    if not row.available:
        raise MethodNotAvailable(config.method, available_methods())
    if config.training.packing and not row.packs:
        raise PackingRefused(f"{row.name} puts something in front of each row, and a pack has one front")
    if config.training.gradient_checkpointing and not row.checkpoints:
        raise CheckpointingRefused(row.name)
    if config.quantization is not None and not row.quantizable:
        raise CombinationRefused(
            f"method {config.method} with `quantization`",
            "weights in 4 bits cannot be trained, only stood on",
            "set quantization: null, or choose another method",
        )
    if "lora" in METHOD_BLOCKS[config.method]:
        _check_lora(config)
    if config.offload is not None:
        check_offload(config, row)
    if config.continue_from is not None:
        _check_continues(config)
    return row


def _check_continues(config: TrainingFile) -> None:
    stored_otherwise = {
        "its prompt and its LoRA are two adapters, and training continues from one": config.method == "hybrid",
        "the result of PiSSA is stored as plain LoRA of twice the rank": "lora" in METHOD_BLOCKS[config.method]
        and config.lora.init == "pissa",
        "biases of the base were trained, and its adapter does not say what they were before": "lora"
        in METHOD_BLOCKS[config.method]
        and config.lora.bias != "none",
        "of a projected prefix only the result is stored": config.method == "prefix_tuning"
        and config.prefix_tuning.projection,
    }
    for why, refused in stored_otherwise.items():
        if refused:
            raise CombinationRefused(
                f"method {config.method} with `continue_from`, or tasks one after the other",
                why,
                "take one whose result is stored as it is trained: full, lora, lora_pro, qlora, bottleneck, ia3, prompt_tuning",
            )


def _check_lora(config: TrainingFile) -> None:
    block = config.lora
    if block.use_dora and block.init == "pissa":
        raise CombinationRefused(
            "lora.init: pissa with lora.use_dora",
            "the result is stored as plain LoRA, and DoRA's magnitudes are no difference of weights",
            "drop one of the two",
        )
    if config.method == "hybrid" and block.loraplus_lr_ratio is not None:
        raise CombinationRefused(
            "method hybrid with lora.loraplus_lr_ratio",
            "hybrid has learning rates of its own: one for LoRA, one for the prompt",
            "set lora.loraplus_lr_ratio: null",
        )
    if config.method == "lora_pro":
        _check_lora_pro(config)
    if block.bias != "none" and config.quantization is not None:
        raise CombinationRefused(
            "lora.bias on a quantised base",
            "the biases of quantised layers are not trained",
            "set lora.bias: none",
        )


def _check_lora_pro(config: TrainingFile) -> None:
    if config.lora.use_dora:
        raise CombinationRefused(
            "method lora_pro with lora.use_dora",
            "LoRA-Pro follows the gradient of W + s·B·A, and DoRA's weight is another function",
            "set lora.use_dora: false, or use method: lora",
        )
    if config.lora.loraplus_lr_ratio is not None:
        raise CombinationRefused(
            "method lora_pro with lora.loraplus_lr_ratio",
            "both decide how A and B are moved",
            "drop one of the two",
        )


def parse_goals(text: str) -> tuple[Goal, ...]:
    """The goals in `latency,many_tasks`.

    Raises:
        UnknownGoal: a word is none.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in GOALS:
            raise UnknownGoal(word)
    return tuple(goal for goal in GOALS if goal in words)


def advise(goals: Sequence[Goal]) -> tuple[tuple[MethodRow, tuple[Advice, ...]], ...]:
    """The methods with what each means for the goals; those that fit most come first, then by the table.

    What is not known counts more than what does not fit, and less than what fits.
    """
    rows = [(row, tuple(row.about(goal) for goal in goals)) for row in METHODS.values()]
    return tuple(sorted(rows, key=lambda entry: -sum(_WORTH[advice.fits] for advice in entry[1])))


_WORTH: Mapping[bool | None, int] = {True: 2, None: 1, False: 0}


def method_to_try(goals: Sequence[Goal]) -> MethodName:
    """Of those that fit the goals best, the one to begin with: where bias is a goal, one that was measured against it."""
    advised = advise(goals)
    best = sum(_WORTH[advice.fits] for advice in advised[0][1])
    equals = [row.name for row, advice in advised if sum(_WORTH[answer.fits] for answer in advice) == best]
    if "bias_mitigation" in goals:
        measured = most_promising(equals, measured_mitigation()) or most_promising(METHODS, measured_mitigation())
        return next(name for name in METHODS if name == measured)
    return equals[0]


def changes_loaded_base(config: TrainingFile) -> bool:
    """Whether training changes tensors of the loaded base, so that its own score needs a second copy of it."""
    return METHODS[config.method].trains_base_weights or (
        "lora" in METHOD_BLOCKS[config.method] and config.lora.bias != "none"
    )


def taken_off(config: TrainingFile, model: Any) -> Any:
    """The base again, as it was before `prepare`; only for a file whose `changes_loaded_base` is false.

    `model` is of no use afterwards.
    """
    own = getattr(implementation(config.method), "unwrap", None)
    return model.unload() if own is None else own(model)


_LORA_PRO = {
    "efficient": "LoRA-Pro (efficient form, not that of its authors' code): AdamW over corrected gradients of A and B",
    "full": "LoRA-Pro (full form, as in its authors' code): AdamW's moments of the equivalent gradient of each adapted matrix",
}


def optimizer_name(config: TrainingFile) -> str:
    """What moved the parameters, for records."""
    if config.method == "lora_pro":
        return _LORA_PRO[config.lora_pro.form]
    if config.method == "hybrid":
        return f"AdamW, learning rate of the prompt {config.hybrid.prompt_learning_rate:g}"
    ratio = config.lora.loraplus_lr_ratio
    if "lora" in METHOD_BLOCKS[config.method] and ratio is not None:
        return f"AdamW, learning rate of B {ratio:g} times that of A (LoRA+)"
    return "AdamW"


def implementation(name: MethodName) -> Method:
    """The module that implements a method; imports torch and friends.

    Raises:
        MethodNotAvailable: a reserved name.
    """
    module = METHODS[name].module
    if module is None:
        raise MethodNotAvailable(name, available_methods())
    from peft_registry.trainer.bases.quantization import without_kernels

    with without_kernels():  # peft imports bitsandbytes
        return cast(Method, importlib.import_module(module))  # a module's functions are the protocol's members


def count_trainable(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters of a torch module; a shared tensor counts once, a weight in 4 bits as one."""
    from peft_registry.trainer.bases.quantization import size_of

    parameters = list(model.parameters())
    return (
        sum(size_of(parameter) for parameter in parameters if parameter.requires_grad),
        sum(size_of(parameter) for parameter in parameters),
    )
