"""Bottleneck adapters: small non-linear layers, a peft method of our own (`trainer/methods/bottleneck_adapter.py`)."""

from typing import Literal

from pydantic import Field

from peft_registry.schemas.block import Block
from peft_registry.schemas.codes import code
from peft_registry.schemas.methods.declaration import Advice, Default, TensorKind, TrainableMethod

_MODULE = "bottleneck_adapter"


class BottleneckBlock(Block):
    """Small non-linear layers (Houlsby et al. 2019; Pfeiffer et al. 2020; He et al. 2021): h ← h + s·W_up·σ(W_down·x + b) + b.

    `houlsby` sits behind attention and MLP, `pfeiffer` behind the MLP, both reading its output; `parallel` reads the MLP's
    input. `size` is the width of the inner layer, in features. `auto` finds the modules by their usual names.
    """

    placement: Literal["houlsby", "pfeiffer", "parallel"] = "pfeiffer"
    size: int = Field(default=64, ge=1)
    activation: Literal["relu", "gelu", "silu"] = "relu"
    scale: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Literal["auto"] | tuple[str, ...] = "auto"


METHOD = TrainableMethod(
    name="bottleneck",
    title="a bottleneck adapter",
    peft_type="BOTTLENECK",
    kind="bottleneck_adapter",
    module=_MODULE,
    imported_first=f"peft_registry.trainer.methods.{_MODULE}",
    settings={
        "size": "size",
        "activation": "activation",
        "scale": "scale",
        "dropout": "dropout",
        "parallel": "parallel",
        "target_modules": "target_modules",
        "modules_to_save": "modules_to_save",
    },
    other_keys=("exclude_modules", "layers_pattern", "layers_to_transform"),
    tensors=(
        TensorKind("bottleneck_down.weight", axis=1, neutral=0.0, is_of_weight=False),
        TensorKind("bottleneck_down.bias", stays=True, is_of_weight=False),
        TensorKind("bottleneck_up.weight", axis=0, neutral=0.0, is_of_weight=False),
        TensorKind("bottleneck_up.bias", axis=0, neutral=0.0, is_of_weight=False),
    ),
    no_weight=code("layers_not_linear"),
    place=4,
    summary="small non-linear layers after sub-layers",
    block=BottleneckBlock,
    learning_rate=1e-4,
    defaults=(
        Default("placement", "pfeiffer", "Pfeiffer et al. 2020: one adapter a layer does what two do"),
        Default("size", "64", "Houlsby et al. 2019 §3: 64 within 0.4 points of full tuning"),
        Default("activation", "relu", "AdapterHub's Pfeiffer configuration"),
        Default("training.learning_rate", "1e-4", "Pfeiffer et al. 2020, and AdapterHub's examples"),
    ),
    advice=(
        Advice("latency", False, "two more products a layer that cannot be merged"),
        Advice("many_tasks", True, "a small file a task, switched on one loaded base"),
    ),
)
