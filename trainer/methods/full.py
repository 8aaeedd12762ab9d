"""Full fine-tuning: every weight is trained, and the result is a model folder of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.methods.full import FullBlock
from peft_registry.trainer.bases.tensor_files import read_tensors, require_same_keys, tidy_config, write_tensors
from peft_registry.trainer.methods.layer_names import require_freezable

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
GENERATION = "generation_config.json"


def prepare(model: Any, config: TrainingFile, *, seed: int) -> Any:  # noqa: ARG001 - nothing random starts here
    """The model with every parameter trainable, except those that `full.freeze` names.

    Raises:
        NothingTrainable: all are frozen.
        FreezeUnmatched: a text is in no parameter's name.
    """
    freeze = config.block(FullBlock).freeze
    require_freezable([name for name, _ in model.named_parameters()], freeze)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(text in name for text in freeze))
    return model


def start_from(model: Any, folder: Path) -> None:
    """Put the saved weights into a prepared model: training begins there, on the same parameters.

    Raises:
        WeightsMismatch: names or shapes are not those of the model.
    """
    tensors = read_tensors(folder / WEIGHTS)
    expected = model_state(model)
    require_same_keys(folder, expected=expected, found=tensors)
    for name, tensor in expected.items():
        tensor.copy_(tensors[name])  # shares the parameter's memory, and with it that of what is tied to it


def save(
    model: Any,
    folder: Path,
    *,
    base: BaseToOpen | None,  # noqa: ARG001 - the manifest names the base
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write config.json, generation_config.json and model.safetensors; a tied tensor is written once.

    Args:
        model: that was trained.
        folder: exists.
        base: of the model.
        state: its tensors as `model_state` names them, where the model does not hold them whole.
    """
    model.config.save_pretrained(folder)
    # FSDP2 gives a model that it spreads a class of its own, derived from the model's
    tidy_config(folder / CONFIG, architectures=[type(model).__name__.removeprefix("FSDP")])
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
        tidy_config(folder / GENERATION)
    write_tensors(model_state(model) if state is None else state, folder / WEIGHTS)


def load(base_model: Any, folder: Path) -> Any:  # noqa: ARG001 - a full model needs no base
    """The trained model, in the number format that it was saved in.

    Raises:
        WeightsMismatch: names or shapes are not those of the configuration.
    """
    tensors = read_tensors(folder / WEIGHTS)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    dtype = next(iter(tensors.values())).dtype
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    require_same_keys(folder, expected=model_state(model), found=tensors)
    model.load_state_dict(tensors, strict=False)
    model.tie_weights()
    return model.eval()


def model_state(model: Any) -> dict[str, Any]:
    """The state without names that share another's memory; the first name of a group, in the model's order, stays."""
    seen: set[tuple[int, tuple[int, ...]]] = set()
    kept = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        key = (id(tensor), tuple(tensor.shape))
        if key not in seen:
            seen.add(key)
            kept[name] = tensor.detach()
    return kept
