"""Which training of somebody else's trainer can be followed, and whether what it left may be registered."""

from typing import Any

from peft_registry.schemas.base_model import CAUSAL_HEADS
from peft_registry.schemas.config import QuantizationBlock
from peft_registry.schemas.errors import InputRefused, RunFailed
from peft_registry.schemas.methods import METHODS, OF_PEFT_TYPE, in_few_bits
from peft_registry.schemas.methods.declaration import TrainableMethod
from peft_registry.trainer.bases.sharding import part_of
from peft_registry.trainer.training.foreign_trainer import divergence_of, unwrapped

ADAPTER = "default"
_LAST_STAGE_OF_WHOLE_WEIGHTS = 2  # of DeepSpeed's ZeRO
# parts of the names of parameters that are saved with an adapter
_OF_ADAPTERS = frozenset({"modules_to_save"}).union(*(method.parameter_marks for method in OF_PEFT_TYPE.values()))


class NotFollowed(InputRefused):
    reference = "training-not-followed"
    what = "this training cannot be followed"
    why = "{reason}"
    fix = "{remedy}"

    reason: str
    remedy: str


class FollowedDiverged(RunFailed):
    reference = "followed-run-diverged"
    what = "the training diverged{where}"
    why = "{reason}; nothing was registered"
    fix = "lower the learning rate, warm it up longer, or look for broken rows, and train again"

    step: int | None
    reason: str

    @property
    def where(self) -> str:
        return "" if self.step is None else f" at step {self.step}"


class ModelExchanged(RunFailed):
    reference = "followed-model-exchanged"
    what = "what was trained is not what was followed"
    why = "{reason}; nothing was registered"
    fix = "leave the trainer's model, and the weights of its base, as they are until the training has ended"

    reason: str


def method_of(trainer: Any, model: Any) -> str:
    """What is trained, in the words of this tool.

    Raises:
        NotFollowed: weights spread over processes in a way that nothing here puts together, an adapter that nothing here loads, or
            no causal language model.
    """
    _require_known_spreading(trainer)
    configurations = getattr(model, "peft_config", None)
    if not configurations:
        name = type(model).__name__
        if not name.endswith(CAUSAL_HEADS):
            raise NotFollowed(
                f"{name} is not a causal language model", "train one of those, or do without the callback"
            )
        return "full"
    if ADAPTER not in configurations or not hasattr(model, "get_base_model"):
        raise NotFollowed(
            f"the adapter that is trained has another name than `{ADAPTER}`",
            "give the model to the trainer with a peft_config, or name the adapter `default`",
        )
    peft_type = str(getattr(configurations[ADAPTER].peft_type, "value", configurations[ADAPTER].peft_type))
    method = OF_PEFT_TYPE.get(peft_type)
    if not isinstance(method, TrainableMethod) or method.imported_first is not None:
        raise NotFollowed(
            f"following trainings of {peft_type if method is None else method.title} adapters is not implemented here",
            f"train one of {', '.join(_followed_types())}, or take the result in with `registry import`",
        )
    return method.name if quantization_of(unwrapped(model)) is None else in_few_bits(method).name


def _require_known_spreading(trainer: Any) -> None:
    """Raise where weights are spread over processes by something else than FSDP2, whose parameters keep name and shape. DeepSpeed
    spreads optimizer (stage 1) and gradients (2), which leaves the weights whole, and only in stage 3 the weights."""
    remedy = "save the result, and take it in with `registry import`"
    if getattr(trainer, "is_deepspeed_enabled", False):
        stage = trainer.accelerator.state.deepspeed_plugin.zero_stage
        if stage > _LAST_STAGE_OF_WHOLE_WEIGHTS:
            raise NotFollowed(
                f"stage {stage} of DeepSpeed's ZeRO cuts weights into pieces without shape, which nothing here puts together",
                f"choose stage {_LAST_STAGE_OF_WHOLE_WEIGHTS} or below, or FSDP2, which spreads as much; or {remedy}",
            )
    if getattr(trainer, "is_fsdp_enabled", False) and not trainer.accelerator.is_fsdp2:
        raise NotFollowed(
            "FSDP1 joins the weights of a layer into one tensor without names",
            f"set `version: 2` in `fsdp_config`; or {remedy}",
        )


def _followed_types() -> list[str]:
    trained = {method.peft_type for method in METHODS.values() if method.imported_first is None}
    return sorted(peft_type for peft_type in trained if peft_type is not None)


def quantization_of(model: Any) -> QuantizationBlock | None:
    """How the base in memory is quantized.

    Raises:
        NotFollowed: in a way that could not be told or repeated.
    """
    stated = getattr(model.config, "quantization_config", None)
    if stated is None:
        return None
    settings = stated if isinstance(stated, dict) else stated.to_dict()
    if settings.get("load_in_4bit"):
        return QuantizationBlock(
            type=settings.get("bnb_4bit_quant_type", "fp4"), double=bool(settings.get("bnb_4bit_use_double_quant"))
        )
    raise NotFollowed(
        f"the base is quantized by {settings.get('quant_method', 'something else')}, and not in 4 bits of bitsandbytes",
        "train on the base as it is, or in 4 bits; or save the result, and take it in with `registry import`",
    )


def require_fresh(model: Any) -> None:
    """Raise where an adapter was trained before: its earlier training would be missing from every figure.

    Raises:
        NotFollowed: a tensor that is one number in a new adapter is not that number.
    """
    config = (getattr(model, "peft_config", None) or {}).get(ADAPTER)
    if config is None:
        return
    from peft_registry.trainer.methods.peft_io import adapter_state, declaration_of

    method = declaration_of(model)
    begins = {key: getattr(config, key, None) in values for key, values in method.begins_with.items()}
    if not begins or not all(begins.values()):
        return
    for name, tensor in adapter_state(model).items():
        declared = method.tensor(name)
        start = None if declared is None else declared[0].begins
        if start is not None and bool((part_of(tensor.detach()) != start).any().item()):
            raise NotFollowed(
                f"the adapter was trained before ({name} is not {start:g}): what that took, and on which data, would be left out",
                "begin with a new adapter; or use `registry train` with `continue_from`",
            )


def require_adapter_alone(model: Any) -> None:
    """Raise where weights are trained that are not the adapter's: nothing would save them.

    Raises:
        NotFollowed: a weight of the base is trained beside an adapter, or another adapter than the one that is saved.
    """
    lora = (getattr(model, "peft_config", None) or {}).get(ADAPTER)
    if lora is None:
        return
    if list(model.active_adapters) != [ADAPTER]:
        raise NotFollowed(
            f"the adapters {', '.join(model.active_adapters) or 'none'} are active, and `{ADAPTER}` alone is saved",
            f"activate it alone before you train: `model.set_adapter('{ADAPTER}')`",
        )
    has_biases = getattr(lora, "bias", "none") != "none"
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        is_of_adapter = not _OF_ADAPTERS.isdisjoint(parts)
        is_saved = is_of_adapter or (has_biases and name.endswith("bias"))
        is_of_another = is_of_adapter and ADAPTER not in parts
        if parameter.requires_grad and is_of_another:
            raise NotFollowed(
                f"{name} is of another adapter than `{ADAPTER}`, which alone is saved",
                "freeze it, or remove that adapter with `model.delete_adapter`",
            )
        if parameter.requires_grad and not is_saved:
            raise NotFollowed(
                f"{name} is trained beside the adapter, and the adapter is saved without it",
                "name its module in `modules_to_save` of the adapter's configuration, or freeze it",
            )


def require_finite(trainer: Any, history: list[dict[str, Any]]) -> None:
    """Raise where a logged figure or a trained weight is NaN or infinite.

    Raises:
        FollowedDiverged: one is.
    """
    diverged = divergence_of(history, gradients=not trainer.args.fp16)
    if diverged is not None:
        raise FollowedDiverged(*diverged)
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad and not bool(part_of(parameter.detach()).isfinite().all().item()):
            raise FollowedDiverged(None, f"{name} holds NaN or infinity")
