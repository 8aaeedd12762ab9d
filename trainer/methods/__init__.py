"""The table of methods: one row here and one file beside it make a method.

A file has the three functions of `Method`. The table itself needs no torch, so that `registry methods` starts fast.
"""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from schemas.config import GOALS, METHOD_BLOCKS, Goal, MethodName, TrainingFile
from schemas.errors import InputRefused
from schemas.manifest import Layout
from schemas.offload import check_offload


class MethodNotAvailable(InputRefused):
    reference = "method-not-available"

    def __init__(self, name: str, available: tuple[str, ...]) -> None:
        super().__init__(
            what=f"the method {name} is not available in this version",
            why="its name is reserved, and nothing implements it yet",
            fix=f"use one of {', '.join(available)}",
        )


class PackingRefused(InputRefused):
    reference = "packing-refused"

    def __init__(self, why: str) -> None:
        super().__init__(
            what="training.packing cannot be used here",
            why=why,
            fix="set training.packing: false; rows are padded then",
        )


class CheckpointingRefused(InputRefused):
    reference = "gradient-checkpointing-refused"

    def __init__(self, name: str) -> None:
        super().__init__(
            what=f"training.gradient_checkpointing cannot be used with {name}",
            why="the method hands each layer keys and values that a second computation would not see",
            fix="set training.gradient_checkpointing: false, and lower training.per_device_train_batch_size instead",
        )


class UnknownGoal(InputRefused):
    reference = "unknown-goal"

    def __init__(self, word: str) -> None:
        close = difflib.get_close_matches(word, GOALS, n=1)
        super().__init__(
            what=f"{word[:60]!r} is no goal",
            why="a goal is something that methods are good or bad for",
            fix=f"did you mean {close[0]}?" if close else f"use {', '.join(GOALS)}",
        )


class CombinationRefused(InputRefused):
    reference = "combination-refused"

    def __init__(self, asked: str, why: str, fix: str) -> None:
        super().__init__(what=f"the file asks for {asked}", why=why, fix=fix)


_ADAPTER_MEMORY = "frozen base at 2 bytes a parameter in bf16; 16 bytes a trained parameter"


@dataclass(frozen=True, slots=True)
class Default:
    """A default of a method's block, and where it comes from."""

    key: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What a method means for one goal of a training file."""

    goal: Goal
    fits: bool
    why: str


@dataclass(frozen=True, slots=True)
class MethodRow:
    """What a reader chooses by. `module` implements it; None while it is only a reserved name.

    `mergeable`: the result can be folded into the base's weights. `trains_base_weights`: the result is a whole model.
    `is_bundle`: the folder holds several adapters. `quantizable`: it works on a base in 4 bits. `packs`: rows may lie side
    by side in one sequence, which what stands in front of each row forbids. `checkpoints`: activations may be computed twice
    instead of kept.
    """

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
        return next(one for one in self.advice if one.goal == goal)


class Method(Protocol):
    """What a method's file offers. Models are torch modules; the table does not import torch to say so."""

    def prepare(self, model: Any, config: TrainingFile, *, seed: int) -> Any:
        """The model with exactly the parameters to train requiring gradients; `model` may be changed in place."""

    def save(self, model: Any, folder: Path, *, base: str | None) -> None:
        """Write what was trained into the existing, empty `folder`: same weights, same bytes; no local path.

        `base` is what a reader needs besides: an id such as `sha256:…`.
        """

    def load(self, base_model: Any, folder: Path) -> Any:
        """The trained model from a fresh base and a folder of `save`, in evaluation mode.

        Raises:
            KnownError: keys or shapes do not match exactly.
        """


_HU = "Hu et al. 2021"
_LORA_DEFAULTS = (
    Default("r", "8", f"{_HU} §7.2: small ranks suffice; 8 is peft's default too"),
    Default("alpha", "16", "twice r, the common choice in published recipes"),
    Default("dropout", "0.0", "short runs see each row once or twice"),
    Default(
        "target_modules", "all-linear", "Dettmers et al. 2023 §4: all linear layers are needed to match full tuning"
    ),
    Default("init", "kaiming", f"{_HU} §4.1: A random, B zero; `pissa` is Meng et al. 2024"),
    Default("loraplus_lr_ratio", "null", "one learning rate; 16 is what Hayou et al. 2024 recommend for LoRA+"),
    Default("training.learning_rate", "2e-4", "Dettmers et al. 2023, appendix: LoRA on 7B and 13B"),
)
_MERGED_LATENCY = Advice("latency", True, "none once it is merged into the base")
_WEIGHTS_BIAS = Advice("bias_mitigation", True, "changes weights in every layer; measure before and after")
_SWITCHED = Advice("many_tasks", True, "a small file a task, switched on one loaded base")


METHODS: Mapping[MethodName, MethodRow] = {
    row.name: row
    for row in (
        MethodRow(
            "full",
            "train every weight",
            mergeable=False,
            trains_base_weights=True,
            quantizable=False,
            memory="16 bytes a parameter: fp32 weight, gradient and two AdamW moments",
            defaults=(
                Default("freeze", "[]", "nothing is frozen unless asked for"),
                Default(
                    "training.learning_rate", "2e-5", "Taori et al. 2023 (Alpaca); LoRA-Pro's scripts for full tuning"
                ),
            ),
            advice=(
                Advice("latency", True, "none: the architecture is the base's"),
                Advice("bias_mitigation", True, "changes every weight; measure before and after"),
                Advice("many_tasks", False, "a whole model for each task"),
            ),
            module="trainer.methods.full",
        ),
        MethodRow(
            "lora",
            "low-rank update of linear layers: W + s·B·A; rsLoRA, DoRA, PiSSA and LoRA+ are its switches",
            mergeable=True,
            defaults=_LORA_DEFAULTS,
            advice=(_MERGED_LATENCY, _WEIGHTS_BIAS, _SWITCHED),
            module="trainer.methods.lora",
        ),
        MethodRow(
            "lora_pro",
            "LoRA whose step follows the full gradient",
            mergeable=True,
            memory=f"{_ADAPTER_MEMORY}; the full form 8 bytes more for each weight of an adapted matrix",
            defaults=(
                Default(
                    "form",
                    "efficient",
                    "Wang et al. 2024 §3; memory as LoRA, where the full form has full training's moments",
                ),
                Default(
                    "training.learning_rate",
                    "1e-3",
                    "tried once on SmolLM2, the held-out loss fell; the full form takes full training's, 2e-5",
                ),
            ),
            advice=(_MERGED_LATENCY, _WEIGHTS_BIAS, _SWITCHED),
            module="trainer.methods.lora_pro",
        ),
        MethodRow(
            "qlora",
            "LoRA on a base quantised to 4 bits",
            mergeable=True,
            memory="frozen base at 0.52 bytes a weight of a linear layer, 2 bytes elsewhere; 16 bytes a trained parameter",
            defaults=(
                Default("quantization.type", "nf4", "Dettmers et al. 2023 §3: NF4 beats FP4 at equal size"),
                Default("quantization.double", "true", "Dettmers et al. 2023 §3: saves 0.37 bits a weight"),
                *_LORA_DEFAULTS,
            ),
            advice=(
                Advice("latency", False, "merged into the dequantised base none; in 4 bits each layer is dequantised"),
                _WEIGHTS_BIAS,
                _SWITCHED,
            ),
            module="trainer.methods.lora",
        ),
        MethodRow(
            "bottleneck",
            "small non-linear layers after sub-layers",
            mergeable=False,
            defaults=(
                Default("placement", "pfeiffer", "Pfeiffer et al. 2020: one adapter a layer does what two do"),
                Default("size", "64", "Houlsby et al. 2019 §3: 64 within 0.4 points of full tuning"),
                Default("activation", "relu", "AdapterHub's Pfeiffer configuration"),
                Default("training.learning_rate", "1e-4", "Pfeiffer et al. 2020, and AdapterHub's examples"),
            ),
            advice=(
                Advice("latency", False, "two more products a layer that cannot be merged"),
                _WEIGHTS_BIAS,
                _SWITCHED,
            ),
            module="trainer.methods.bottleneck_adapter",
        ),
        MethodRow(
            "ia3",
            "learned scales of keys, values and MLP inputs",
            mergeable=True,
            defaults=(
                Default("target_modules", "auto", "Liu et al. 2022 §3.3: keys, values, inner activation of the MLP"),
                Default("feedforward_modules", "auto", "the last layer of the MLP, scaled at its input"),
                Default("training.learning_rate", "3e-3", "Liu et al. 2022 §3.5"),
            ),
            advice=(
                _MERGED_LATENCY,
                Advice("bias_mitigation", True, "scales activations in every layer, few parameters; measure"),
                Advice("many_tasks", True, "the smallest file a task, and examples of several tasks share a batch"),
            ),
            module="trainer.methods.ia3",
        ),
        MethodRow(
            "prompt_tuning",
            "learned embeddings in front of the text; the best of several starts by validation loss",
            mergeable=False,
            packs=False,
            defaults=(
                Default("num_virtual_tokens", "20", "Lester et al. 2021 §3.2: beyond 20 little is gained"),
                Default("init", "sample_vocab", "Lester et al. 2021 §3.2: better than random starts"),
                Default("seeds", "5", "results swing with the start; chosen on validation, reported on a third part"),
                Default("training.learning_rate", "3e-2", "peft's examples; Lester et al. 2021 use 0.3 with Adafactor"),
            ),
            advice=(
                Advice("latency", False, "virtual tokens are computed with every request"),
                Advice("bias_mitigation", False, "no weight changes: what the base learnt stays in it"),
                Advice("many_tasks", True, "a few vectors a task, in front of one loaded base"),
            ),
            module="trainer.methods.prompt_tuning",
        ),
        MethodRow(
            "prefix_tuning",
            "learned keys and values in front of each layer",
            mergeable=False,
            packs=False,
            checkpoints=False,
            defaults=(
                Default("num_virtual_tokens", "20", "as prompt tuning; Li and Liang 2021 §7.1 use 10 to 200"),
                Default(
                    "init",
                    "sample_vocab",
                    "Li and Liang 2021 §7.4: activations of real words; a random start does worse",
                ),
                Default(
                    "projection", "false", "one set of numbers, stored as trained; Li and Liang 2021 §4.3 have both"
                ),
                Default(
                    "training.learning_rate",
                    "1e-2",
                    "peft's examples; measured here, ten times as much gains more in a short run and forgets more",
                ),
            ),
            advice=(
                Advice("latency", False, "longer attention in every layer"),
                Advice("bias_mitigation", False, "no weight changes: what the base learnt stays in it"),
                Advice("many_tasks", True, "a small file a task, in front of one loaded base"),
            ),
            module="trainer.methods.prefix_tuning",
        ),
        MethodRow(
            "hybrid",
            "prompt tuning and LoRA together, two adapters in one artifact",
            mergeable=False,
            packs=False,
            defaults=(
                Default("prompt_learning_rate", "3e-2", "as prompt tuning; LoRA's is training.learning_rate"),
                Default("prompt_tuning.seeds", "1", "LoRA evens out where the prompt started"),
                *_LORA_DEFAULTS,
            ),
            advice=(
                Advice("latency", False, "the LoRA part can be merged, the virtual tokens stay"),
                _WEIGHTS_BIAS,
                Advice("many_tasks", False, "two parts a task, switched together"),
            ),
            module="trainer.methods.hybrid",
            is_bundle=True,
        ),
    )
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
    return row


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
    """The methods with what each means for the goals; those that fit most come first, then by the table."""
    rows = [(row, tuple(row.about(goal) for goal in goals)) for row in METHODS.values()]
    return tuple(sorted(rows, key=lambda one: -sum(advice.fits for advice in one[1])))


def changes_loaded_base(config: TrainingFile) -> bool:
    """Whether training changes tensors of the loaded base, so that its own score needs a second copy of it."""
    return METHODS[config.method].trains_base_weights or (
        "lora" in METHOD_BLOCKS[config.method] and config.lora.bias != "none"
    )


def optimizer_name(config: TrainingFile) -> str:
    """What moved the parameters, for records."""
    if config.method == "lora_pro":
        return f"LoRA-Pro ({config.lora_pro.form} form) over AdamW"
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
    from trainer.quantization import without_kernels

    with without_kernels():  # peft imports bitsandbytes
        return cast(Method, importlib.import_module(module))  # a module's functions are the protocol's members


def count_trainable(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters of a torch module; a shared tensor counts once, a weight in 4 bits as one."""
    from trainer.quantization import size_of

    parameters = list(model.parameters())
    return (
        sum(size_of(parameter) for parameter in parameters if parameter.requires_grad),
        sum(size_of(parameter) for parameter in parameters),
    )
