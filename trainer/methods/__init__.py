"""What the declared methods do with a model, one file each, and what follows from a declaration for a training.

A file has the three functions of `Method`. Declarations (`schemas/methods`) need no torch, so that `registry methods` starts fast.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods import DECLARED, METHODS
from peft_registry.schemas.methods.declaration import GOALS, Advice, Conflict, Goal, Obstacle, TrainableMethod
from peft_registry.schemas.offload import check_offload
from peft_registry.schemas.sharding import check_sharding
from peft_registry.schemas.suggestions import closest, did_you_mean


class PackingRefused(InputRefused):
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
    what = "{word!q} is not a goal"
    why = "a goal is something that methods are good or bad for"
    fix = "{suggestion}"

    word: str

    @property
    def suggestion(self) -> str:
        return did_you_mean(closest(self.word, GOALS), f"use {', '.join(GOALS)}")


class CombinationRefused(InputRefused):
    what = "the file asks for {asked}"
    why = "{reason}"
    fix = "{remedy}"

    asked: str
    reason: str
    remedy: str


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


# What a training does to a preference follows from its rows as much as from its method. No method declares an answer: one
# belongs here when a training that was measured has moved a preference.
_AGAINST_BIAS = Advice(
    "bias_mitigation", None, "no training that was measured here lowered a bias; measure before and after"
)


def advice_of(method: TrainableMethod) -> tuple[Advice, ...]:
    """What a method means for each goal."""
    return (*method.advice, _AGAINST_BIAS)


def advice_about(method: TrainableMethod, goal: Goal) -> Advice:
    """What a method means for one goal."""
    return next(advice for advice in advice_of(method) if advice.goal == goal)


def check_combinations(config: TrainingFile) -> TrainableMethod:
    """The file's method, if it can train what the file asks for. Needs no torch.

    Raises:
        CombinationRefused: settings that contradict each other.
        PackingRefused, CheckpointingRefused, OffloadRefused, ShardingRefused: the method cannot.
    """
    method = METHODS[config.method]
    if config.training.packing and not method.packs:
        raise PackingRefused(f"{method.name} puts something in front of each row, and a pack has one front")
    if config.training.gradient_checkpointing and not method.checkpoints:
        raise CheckpointingRefused(method.name)
    if config.training.early_stopping is not None and config.training.eval_steps is None:
        raise CombinationRefused(
            "training.early_stopping without training.eval_steps",
            "it compares looks at the held-out rows, and there are none",
            "set training.eval_steps to the steps between two looks, or leave early_stopping out",
        )
    if config.training.audit_checkpoints is not None:
        _check_states(config)
    if config.is_quantized and not method.quantizable:
        why = f"peft has no {method.title} adapter for layers in 4 bits"
        if method.trains_base_weights:
            why = "weights in 4 bits cannot be trained, only stood on"
        remedy = "set quantization: null, or choose another method"
        raise CombinationRefused(f"method {method.name} with `quantization`", why, remedy)
    for conflict in _conflicts(method):
        if conflict.when(config):
            raise CombinationRefused(conflict.asked, conflict.why, conflict.remedy)
    if config.offload is not None:
        check_offload(config)
    check_sharding(config)
    if config.continue_from is not None:
        _check_continues(config, method)
    return method


def _check_states(config: TrainingFile) -> None:
    """Raise where the states of a run could not be run again one after the other, as `check_combinations`."""
    kinds = {
        "early stopping": config.training.early_stopping is not None,
        "several seeds": len(config.seeds) > 1,
        "sharding": config.is_sharded,
        "continue_from": config.continue_from is not None,
    }
    for kind, is_asked in kinds.items():
        if is_asked:
            raise CombinationRefused(
                f"training.audit_checkpoints and {kind}",
                "a stretch is run again from the base, by one process, and its end leads to the next and to the result",
                f"leave training.audit_checkpoints out, or do without {kind}",
            )


def _conflicts(method: TrainableMethod) -> Iterator[Conflict]:
    """Those of every block that a method reads."""
    for name in method.blocks:
        yield from METHODS[name].conflicts


def _not_continued(method: TrainableMethod) -> Iterator[Obstacle]:
    for name in method.blocks:
        yield from METHODS[name].not_continued


def _check_continues(config: TrainingFile, method: TrainableMethod) -> None:
    for obstacle in _not_continued(method):
        if obstacle.when(config):
            others = ", ".join(other.name for other in METHODS.values() if not list(_not_continued(other)))
            raise CombinationRefused(
                f"{obstacle.asked} with `continue_from`, or tasks one after the other",
                obstacle.why,
                f"change that, or take a method whose result is always stored as it is trained: {others}",
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


def advise(goals: Sequence[Goal]) -> tuple[tuple[TrainableMethod, tuple[Advice, ...]], ...]:
    """The methods with what each means for the goals; those that fit most come first, then by the table.

    What is not known counts more than what does not fit, and less than what fits.
    """
    rows = [(method, tuple(advice_about(method, goal) for goal in goals)) for method in METHODS.values()]
    return tuple(sorted(rows, key=lambda entry: -sum(_WORTH[advice.fits] for advice in entry[1])))


_WORTH: Mapping[bool | None, int] = {True: 2, None: 1, False: 0}


def method_to_try(goals: Sequence[Goal]) -> str | None:
    """Of those that fit the goals best, the first of the table; None where the goals tell no method from another."""
    advised = advise(goals)
    worth = [sum(_WORTH[answer.fits] for answer in advice) for _, advice in advised]
    return advised[0][0].name if worth[0] > worth[-1] else None


def changes_loaded_base(config: TrainingFile) -> bool:
    """Whether training changes tensors of the loaded base, so that its own score needs a second copy of it."""
    return METHODS[config.method].trains_base_weights or config.trains_biases


def taken_off(config: TrainingFile, model: Any) -> Any:
    """The base again, as it was before `prepare`; only for a file whose `changes_loaded_base` is false.

    `model` is of no use afterwards.
    """
    own = getattr(implementation(config.method), "unwrap", None)
    return model.unload() if own is None else own(model)


def optimizer_name(config: TrainingFile) -> str:
    """What moved the parameters, for records; imports torch and friends."""
    own = getattr(implementation(config.method), "optimizer_name", None)
    named: str | None = None if own is None else own(config)
    return "AdamW" if named is None else named


def implementation(name: str) -> Method:
    """The module that implements a declared method; imports torch and friends."""
    from peft_registry.trainer.bases.quantization import bitsandbytes_tamed

    with bitsandbytes_tamed():  # peft imports bitsandbytes
        module = importlib.import_module(f"{__name__}.{DECLARED[name].module}")
    return cast(Method, module)  # a module's functions are the protocol's members


def count_trainable(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters of a torch module; a shared tensor counts once, a weight in 4 bits as one."""
    from peft_registry.trainer.bases.quantization import size_of

    parameters = list(model.parameters())
    return (
        sum(size_of(parameter) for parameter in parameters if parameter.requires_grad),
        sum(size_of(parameter) for parameter in parameters),
    )
