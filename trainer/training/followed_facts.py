"""What is told of a followed training: its settings, its rows and the machine, in the words of our own records."""

import os
from collections.abc import Sequence
from typing import Any

from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.values import Value, measured, unknown
from peft_registry.trainer.machine.environment import Hardware, Products, hardware_in_use
from peft_registry.trainer.training.followable import ADAPTER
from peft_registry.trainer.training.foreign_trainer import TrainerClass


def counted_parameters(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters, counted as our own runs count them."""
    from peft_registry.trainer.methods import count_trainable

    return count_trainable(model)


def method_block(model: Any, method: str) -> dict[str, Any]:
    """The settings of the adapter, in the words of the training file."""
    if method == "full":
        return {}
    from peft_registry.trainer.methods.peft_io import config_json

    stated = config_json(model.peft_config[ADAPTER], None)
    own = METHODS[method]
    block = {word: stated[key] for key, word in own.settings.items() if stated.get(key) is not None}
    # a method without a block of its own is recorded by that of the method whose adapter it trains
    return {own.blocks[0]: block}


def replaces_weights(config: dict[str, Any]) -> bool:
    """Whether a bias or a module of the base is trained whole, by the settings of a followed run.

    `config` is as a training file has it, with the blocks of methods beside `training`.
    """
    blocks = [block for name, block in config.items() if name != "training" and isinstance(block, dict)]
    return any(block.get("modules_to_save") or block.get("bias", "none") != "none" for block in blocks)


def rows_used(trainer: Any, rows: int, epochs: float, *, resumed: bool) -> Value:
    """How many rows were gone through; below one epoch only the sampler knows which."""
    kind = TrainerClass.of(trainer)
    if kind.own is not None:
        return unknown(f"the script's class {kind.own} may choose among the {rows} rows")
    if trainer.args.dataloader_drop_last:
        return unknown(f"of {rows} rows those that filled no batch were left out of each epoch")
    if resumed:
        return unknown("the run was resumed, and which rows the steps before took was not seen")
    if epochs < 1:
        return unknown(f"of {rows} rows the training went through {epochs:.3g} of one epoch")
    return measured(rows, "rows", method="rows that the trainer was given, all of which an epoch takes")


def modality_of(data: Sequence[DataIdentity]) -> Value:
    """What the rows are of: text, unless a column is named after images or sound."""
    columns = {column for identity in data for column, _ in identity.columns}
    others = sorted(name for name in columns if any(word in name for word in ("pixel", "image", "audio", "video")))
    if others:
        return unknown(f"the rows have columns of other things than text: {', '.join(others)}")
    return measured("text", method="the rows of a causal language model, without columns of images or sound")


def hardware_of(trainer: Any, model: Any) -> Hardware:
    """What the trainer's model runs on; its precision is that of autocast or of the weights."""
    products: Products = "fp32"
    if trainer.args.fp16:
        products = "fp16"
    elif trainer.args.bf16 or str(model.dtype) == "torch.bfloat16":
        products = "bf16"
    return hardware_in_use(model.device.type, products)


def is_one_machine(processes: int) -> bool:
    """Whether all processes run here, so that this machine's counters see all of them."""
    return processes == 1 or os.environ.get("LOCAL_WORLD_SIZE") == str(processes)


def resumed_after(step: int) -> str:
    """That a run was resumed after this step, in words: nobody saw what the steps before took."""
    return f"the run was resumed from a checkpoint after step {step}"


def loaded_best(trainer: Any, state: Any) -> tuple[str, ...]:
    """A warning where the trainer went back to its best checkpoint, so that not the last step is registered; else none."""
    if not trainer.args.load_best_model_at_end or state.best_global_step is None:
        return ()
    return (
        f"what is registered is the checkpoint of step {state.best_global_step}, the best by the trainer's own metric",
    )
