"""IA3 (Liu et al. 2022): learned scales of keys, values and of the MLP's inner activations."""

from typing import Literal

from peft_registry.schemas.block import Block
from peft_registry.schemas.methods.declaration import Advice, Default, TensorKind, TrainableMethod


class Ia3Block(Block):
    """IA3 (Liu et al. 2022): learned scales of keys, values and of the MLP's inner activations.

    `auto` takes the modules of the paper where the architecture's names for them are known. `feedforward_modules` are
    those among the targets whose input is scaled instead of their output.
    """

    target_modules: Literal["auto"] | tuple[str, ...] = "auto"
    feedforward_modules: Literal["auto"] | tuple[str, ...] = "auto"


METHOD = TrainableMethod(
    name="ia3",
    title="IA3",
    peft_type="IA3",
    kind="ia3",
    module="ia3",
    settings={
        "target_modules": "target_modules",
        "feedforward_modules": "feedforward_modules",
        "modules_to_save": "modules_to_save",
    },
    other_keys=("exclude_modules", "fan_in_fan_out", "init_ia3_weights"),
    tensors=(TensorKind("ia3_l", axis="longest", neutral=1.0, begins=1.0, is_scale=True),),
    begins_with={"init_ia3_weights": (True,)},
    folds=True,
    place=5,
    summary="learned scales of keys, values and MLP inputs",
    block=Ia3Block,
    learning_rate=3e-3,
    needs_fp32_on_4_bits=True,
    defaults=(
        Default("target_modules", "auto", "Liu et al. 2022 §3.3: keys, values, inner activation of the MLP"),
        Default("feedforward_modules", "auto", "the last layer of the MLP, scaled at its input"),
        Default("training.learning_rate", "3e-3", "Liu et al. 2022 §3.5"),
    ),
    advice=(
        Advice("latency", True, "none once it is merged into the base"),
        Advice("many_tasks", True, "the smallest file a task, and examples of several tasks share a batch"),
    ),
)
