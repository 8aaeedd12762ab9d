"""The table of methods: one row here and one file beside it make a method.

A file has the three functions of `Method`. The table itself needs no torch, so that `registry methods` starts fast.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from schemas.config import MethodName, TrainingFile
from schemas.errors import InputRefused


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


class QuantizationNotAvailable(InputRefused):
    reference = "quantization-not-available"

    def __init__(self) -> None:
        super().__init__(
            what="a quantised base is not available in this version",
            why="the file asks for `quantization`",
            fix="set quantization: null",
        )


_ADAPTER_MEMORY = "frozen base at 2 bytes a parameter in bf16; 16 bytes a trained parameter"


@dataclass(frozen=True, slots=True)
class Default:
    """A default of a method's block, and where it comes from."""

    key: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class MethodRow:
    """What a reader chooses by. `module` implements it; None while it is only a reserved name.

    `mergeable`: the result can be folded into the base's weights. `trains_base_weights`: the result is a whole model.
    `packs`: rows may lie side by side in one sequence, which what stands in front of each row forbids. `checkpoints`:
    activations may be computed twice instead of kept.
    """

    name: MethodName
    summary: str
    mergeable: bool
    trains_base_weights: bool = False
    packs: bool = True
    checkpoints: bool = True
    memory: str = _ADAPTER_MEMORY
    defaults: tuple[Default, ...] = ()
    module: str | None = None

    @property
    def available(self) -> bool:
        return self.module is not None


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
    Default("training.learning_rate", "2e-4", "Dettmers et al. 2023, appendix: LoRA on 7B and 13B"),
)


METHODS: Mapping[MethodName, MethodRow] = {
    row.name: row
    for row in (
        MethodRow(
            "full",
            "train every weight",
            mergeable=False,
            trains_base_weights=True,
            memory="16 bytes a parameter: fp32 weight, gradient and two AdamW moments",
            defaults=(Default("freeze", "[]", "nothing is frozen unless asked for"),),
            module="trainer.methods.full",
        ),
        MethodRow(
            "lora",
            "low-rank update of linear layers: W + s·B·A",
            mergeable=True,
            defaults=_LORA_DEFAULTS,
            module="trainer.methods.lora",
        ),
        MethodRow("lora_pro", "LoRA whose step follows the full gradient", mergeable=True),
        MethodRow(
            "qlora",
            "LoRA on a base quantised to 4 bits",
            mergeable=True,
            memory="frozen base at 0.52 bytes a parameter",
        ),
        MethodRow("bottleneck", "small non-linear layers after sub-layers", mergeable=False),
        MethodRow("ia3", "learned scales of keys, values and MLP inputs", mergeable=True),
        MethodRow("prompt_tuning", "learned embeddings in front of the text", mergeable=False, packs=False),
        MethodRow(
            "prefix_tuning",
            "learned keys and values in front of each layer",
            mergeable=False,
            packs=False,
            checkpoints=False,
        ),
        MethodRow("hybrid", "prompt tuning and LoRA together", mergeable=False, packs=False),
    )
}


def available_methods() -> tuple[str, ...]:
    """The names that can be trained with, in the order of the table."""
    return tuple(name for name, row in METHODS.items() if row.available)


def check_available(config: TrainingFile) -> MethodRow:
    """The row of the file's method, if this version can train what the file asks for. Needs no torch.

    Raises:
        MethodNotAvailable, QuantizationNotAvailable, PackingRefused, CheckpointingRefused.
    """
    row = METHODS[config.method]
    if not row.available:
        raise MethodNotAvailable(config.method, available_methods())
    if config.quantization is not None:
        raise QuantizationNotAvailable()
    if config.training.packing and not row.packs:
        raise PackingRefused(f"{row.name} puts something in front of each row, and a pack has one front")
    if config.training.gradient_checkpointing and not row.checkpoints:
        raise CheckpointingRefused(row.name)
    return row


def implementation(name: MethodName) -> Method:
    """The module that implements a method; imports torch and friends.

    Raises:
        MethodNotAvailable: a reserved name.
    """
    module = METHODS[name].module
    if module is None:
        raise MethodNotAvailable(name, available_methods())
    return cast(Method, importlib.import_module(module))  # a module's functions are the protocol's members


def count_trainable(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters of a torch module; a shared tensor counts once."""
    parameters = list(model.parameters())
    return (
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        sum(parameter.numel() for parameter in parameters),
    )
