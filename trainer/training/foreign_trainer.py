"""What can be told of somebody else's trainer (`transformers.Trainer`, those of TRL) and of the model that it trains.

Nothing of it is taken on trust: what the script may have replaced, such as the loss, is said only where the library's own class
computes it, and is unknown otherwise.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import FileMissing
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.imports.settings import without_path
from peft_registry.registry.intake.secrets import SecretRefused, require_no_secrets
from peft_registry.schemas.base_model import CAUSAL_HEADS
from peft_registry.schemas.canonical import NotCanonical, as_doubles, canonical_bytes
from peft_registry.schemas.values import Value, measured, unknown
from peft_registry.trainer.bases.sharding import is_spread, put_back, whole_of

_LIBRARIES = ("transformers", "trl")
# a class whose every pass through the model the hooks see: others generate, judge or distil with models of their own
_COUNTED = frozenset({"transformers.Trainer", "trl.SFTTrainer", "trl.DPOTrainer"})
# what an instance may carry instead of its class's own
_REPLACEABLE = ("compute_loss", "_compute_loss", "training_step", "compute_loss_func")
# arguments that say where a run writes, whom it tells and how it talks, and nothing of what it computes
_NOT_OF_THE_RESULT = (
    *("output_dir", "run_name", "report_to", "project", "local_rank", "resume_from_checkpoint", "do_train", "do_eval"),
    *(
        "do_predict",
        "disable_tqdm",
        "log_level",
        "log_level_replica",
        "logging_dir",
        "logging_strategy",
        "logging_steps",
    ),
    *("logging_first_step", "log_on_each_node", "debug", "skip_memory_metrics", "overwrite_output_dir"),
)
_PREFIXES_NOT_OF_THE_RESULT = ("hub_", "push_to_hub", "trackio_", "save_", "dataloader_num", "dataloader_pin", "ddp_")


@dataclass(frozen=True, slots=True)
class TrainerClass:
    """The class of a trainer: that of a library, and the script's own class where it derives one."""

    library: str | None  # such as `trl.SFTTrainer`; None for a class that derives from no trainer that is known here
    own: str | None  # what the script calls its class

    @classmethod
    def of(cls, trainer: Any) -> "TrainerClass":
        """The first class of a library in the order of inheritance."""
        first = type(trainer)
        for kind in first.__mro__:
            package = kind.__module__.partition(".")[0]
            if package in _LIBRARIES:
                return cls(f"{package}.{kind.__name__}", None if kind is first else first.__qualname__)
        return cls(None, first.__qualname__)

    def __str__(self) -> str:
        if self.own is None:
            return str(self.library)
        return self.own if self.library is None else f"{self.own}, a class of the script, from {self.library}"

    @property
    def is_counted(self) -> bool:
        """Whether every pass that it makes goes through the models that are watched."""
        return self.own is None and self.library in _COUNTED


def objective_of(trainer: Any, kind: TrainerClass) -> Value:
    """What was minimised, where the library's own class computes it."""
    if kind.own is not None:
        return unknown(f"the script's class {kind.own} may compute a loss of its own")
    replaced = [name for name in _REPLACEABLE if vars(trainer).get(name) is not None]
    if replaced:
        return unknown(f"the script gave the trainer a loss of its own ({replaced[0]})")
    args = trainer.args
    how = f"the class of the trainer, {kind.library}, and its arguments"
    if kind.library == "transformers.Trainer":
        return _of_plain_trainer(trainer, how)
    if kind.library == "trl.SFTTrainer" and args.loss_type == "nll":
        text = "next-token cross-entropy over the labelled tokens" + _smoothing(args)
    elif kind.library == "trl.SFTTrainer":
        text = f"supervised fine-tuning, loss_type {args.loss_type}"
    elif kind.library == "trl.DPOTrainer":
        losses = args.loss_type if isinstance(args.loss_type, str) else ", ".join(args.loss_type)
        text = f"direct preference optimization (DPO), loss_type {losses}, beta {args.beta:g}"
    else:
        text = f"that of {kind.library} {_version(str(kind.library))}".rstrip()
    return measured(text, method=how)


def _of_plain_trainer(trainer: Any, how: str) -> Value:
    """transformers' own trainer takes the loss that the model computes of its labels."""
    loss = getattr(getattr(trainer.model, "config", None), "loss_type", None) or getattr(
        unwrapped(trainer.model), "loss_type", None
    )
    if not type(unwrapped(trainer.model)).__name__.endswith(CAUSAL_HEADS):
        return unknown("the model computes its own loss, and is not a causal language model")
    if loss not in (None, "ForCausalLM"):
        return unknown(f"the model computes its own loss, {loss}")
    return measured("next-token cross-entropy over the labelled tokens" + _smoothing(trainer.args), method=how)


def _smoothing(args: Any) -> str:
    factor = getattr(args, "label_smoothing_factor", 0.0)
    return f", labels smoothed by {factor:g}" if factor else ""


def _version(name: str) -> str:
    try:
        return version(name.partition(".")[0])
    except PackageNotFoundError:
        return ""


def optimiser_of(trainer: Any, *, is_own: bool) -> Value:
    """What moved the parameters; `is_own` where the script brought it."""
    optimizer = trainer.optimizer
    # Accelerate and DeepSpeed put optimizers of their own around the one that moves the parameters
    while (inner := getattr(optimizer, "optimizer", None)) is not None:
        optimizer = inner
    if optimizer is None:
        return unknown("the trainer had no optimizer when its training ended")
    name = type(optimizer).__name__
    if is_own:
        return measured(f"{name}, given by the script", method="the class of the trainer's optimizer")
    return measured(f"{name} ({_text(trainer.args.optim)})", method="the class of the trainer's optimizer, and `optim`")


def schedule_of(trainer: Any, *, is_own: bool) -> Value:
    """How the learning rate went; `is_own` where the script brought the schedule."""
    if is_own:
        return unknown("the script gave the trainer a schedule of its own")
    return measured(_text(trainer.args.lr_scheduler_type), method="the trainer's arguments")


def has_own_optimizer(trainer: Any) -> bool:
    """Whether the script, or its DeepSpeed configuration, brought an optimizer or schedule; asked before the trainer makes one."""
    if trainer.optimizer is not None or trainer.lr_scheduler is not None:
        return True
    if getattr(trainer, "is_deepspeed_enabled", False):
        configuration = trainer.accelerator.state.deepspeed_plugin.deepspeed_config
        if configuration.keys() & {"optimizer", "scheduler"}:
            return True
    return getattr(trainer, "optimizer_cls_and_kwargs", None) is not None


def arguments_of(trainer: Any) -> dict[str, Any]:
    """The trainer's arguments that decide its result, as JSON; what could not be signed is left out, and paths are cut.

    `num_train_epochs` is left out where `max_steps` decides.
    """
    stated = trainer.args.to_dict()
    kept = {}
    for name, value in sorted(stated.items()):
        if value is None or name in _NOT_OF_THE_RESULT or name.startswith(_PREFIXES_NOT_OF_THE_RESULT):
            continue
        if isinstance(value, str) and value.startswith("<") and value.endswith(">"):  # transformers hides secrets so
            continue
        plain = _plain(value)
        try:
            require_no_secrets({name: plain}, what="the trainer's arguments")
            canonical_bytes(plain)
        except (SecretRefused, NotCanonical):
            continue
        kept[name] = plain
    if kept.get("max_steps", 0) > 0:
        kept.pop("num_train_epochs", None)
    else:
        kept.pop("max_steps", None)
    return kept


def _plain(value: Any) -> Any:  # a JSON value
    if value is None or isinstance(value, bool | int | float):
        return as_doubles(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(_plain(item) for item in value)
    return without_path(_text(value))


def _text(value: Any) -> str:
    """The value of an enumeration as a text, and anything else as it is printed."""
    return str(getattr(value, "value", value))


def script_digest() -> Value:
    """The digest of the file that Python was started with."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if not isinstance(path, str):
        return unknown("no file was run: a notebook or a shell")
    try:
        return measured(
            str(hash_file(Path(path)).sha256), method=f"SHA-256 of {Path(path).name}, the file that was run"
        )
    except (FileMissing, OSError):
        return unknown("the file that was run cannot be read")


def unwrapped(model: Any) -> Any:
    """The model of transformers inside what wraps it."""
    while hasattr(model, "module"):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def gathered_result(model: Any) -> dict[str, Any] | None:
    """The tensors of a result that is spread over processes, put together on the CPU; None where it is not spread.

    Every process asks for it at once.
    """
    if not is_spread(model):
        return None
    from peft_registry.trainer.methods.full import model_state
    from peft_registry.trainer.methods.peft_io import adapter_state

    put_back(model)
    state = adapter_state(model) if getattr(model, "peft_config", None) else model_state(model)
    return {name: whole_of(tensor.detach()).cpu() for name, tensor in state.items()}


def logged_losses(history: list[dict[str, Any]]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Steps and losses that the trainer logged while it trained."""
    rows = [row for row in history if "loss" in row and "step" in row]
    return tuple(int(row["step"]) for row in rows), tuple(float(row["loss"]) for row in rows)


def divergence_of(history: list[dict[str, Any]], *, gradients: bool) -> tuple[int, str] | None:
    """The first logged step at which a figure is not finite, and which; None where there is none.

    transformers leaves a loss that is NaN out of its mean, so that only the gradients show it.

    Args:
        history: the trainer's log.
        gradients: whether their norm has to be finite; with fp16 a step that overflows is passed over.
    """
    figures = [
        ("loss", "loss"),
        ("train_loss", "mean loss"),
        *([("grad_norm", "norm of the gradients")] if gradients else []),
    ]
    for row in history:
        for name, called in figures:
            value = row.get(name)
            if isinstance(value, int | float) and not math.isfinite(value):
                return int(row.get("step", 0)), f"the {called} was {value}"
    return None
