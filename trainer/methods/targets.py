"""Which modules of a base a method works on, by the names that a training file gives."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods import BLOCKS
from peft_registry.trainer.bases.architecture import STATE_SPACES

# Module names of the routers of mixture-of-experts layers; `all-linear` would adapt them too.
_ROUTERS = re.compile(r"(?:^|\.)(?:mlp\.gate|block_sparse_moe\.gate|router|router\.layer)$")

# Layers whose weights a state space reads past the layer: an adapter on them would have no effect. peft refuses the first two
# by name (peft.tuners.tuners_utils._check_lora_target_modules_mamba); the third it trains, and no gradient ever reaches it.
_READ_PAST_THE_LAYER = frozenset({"out_proj", "conv1d"})
_READS_TIME_STEPS_PAST_THE_LAYER = frozenset({"mamba", "falcon_mamba", "jamba"})  # jamba unless it is in 4 bits
_TIME_STEPS = "dt_proj"

LINEAR: tuple[type[torch.nn.Module], ...] = (torch.nn.Linear, Conv1D)  # GPT-2 writes its linear layers transposed


class TargetsNotFound(InputRefused):
    what = "no layer of this base is named by {key} {targets}"
    why = "its layers are named {names!l}"
    fix = "name some of those{or_all}"

    key: str
    targets: object
    names: tuple[str, ...]

    @property
    def or_all(self) -> str:
        block = BLOCKS.get(self.key.partition(".")[0])
        takes_all = block is not None and block.model_fields["target_modules"].default == "all-linear"
        return ", or write all-linear" if takes_all else ""


class TiedTarget(InputRefused):
    what = "{key} names {name}, whose weights the base shares with another layer"
    why = "an update of one would silently change, or miss, the other when it is merged"
    fix = "take {name} out of {key}"

    key: str
    name: str


class TargetWithoutEffect(InputRefused):
    what = "{key} names {name}, which cannot be adapted in a base of type {model_type}"
    why = "the model reads the weight of that layer directly, so that what an adapter adds would be lost"
    fix = "take {name} out of {key}, or write all-linear, which leaves it out"

    key: str
    name: str
    model_type: str


def require_targets(model: Any, targets: Sequence[str], *, key: str, kinds: tuple[type[torch.nn.Module], ...]) -> None:
    """Raise unless each target is a module of one of the `kinds`, and none shares its weights with another.

    Args:
        model: the base.
        targets: full names, or their last parts.
        key: of the training file, for the error.
        kinds: classes; any module without.

    Raises:
        TargetsNotFound, TiedTarget.
    """
    require_modules(model, targets, key=key, kinds=kinds)
    for name in tied_modules(model):
        if any(is_target(name, target) for target in targets):
            raise TiedTarget(key, name.rpartition(".")[2])


def require_modules(model: Any, targets: Sequence[str], *, key: str, kinds: tuple[type[torch.nn.Module], ...]) -> None:
    """Raise unless each target is a module of one of the `kinds`; arguments as for `require_targets`.

    Raises:
        TargetsNotFound.
    """
    names = [name for name, module in model.named_modules() if name and isinstance(module, kinds)]
    for target in targets:
        if not any(is_target(name, target) for name in names):
            raise TargetsNotFound(key, list(targets), tuple(sorted({name.rpartition(".")[2] for name in names})))


def is_target(name: str, target: str) -> bool:
    """Whether peft matches a module's full name with a target."""
    return name == target or name.endswith(f".{target}")


def tied_modules(model: Any) -> Iterator[str]:
    """The names of embedding and head where the base ties them; no name where it does not."""
    if not getattr(model.config, "tie_word_embeddings", False):
        return
    tied = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    yield from (name for name, module in model.named_modules() if id(module) in tied)


def require_effective(model: Any, targets: Sequence[str], *, key: str) -> None:
    """Raise where a target is a layer whose weights a state space reads past the layer; arguments as for `require_targets`.

    Raises:
        TargetWithoutEffect.
    """
    for name in layers_read_past(model):
        if any(is_target(name, target) for target in targets):
            raise TargetWithoutEffect(key, name.rpartition(".")[2], model.config.model_type)


def layers_read_past(model: Any) -> list[str]:
    """The names of the layers whose weights a state space reads past the layer; none of any other model."""
    past = set(_READ_PAST_THE_LAYER) if model.config.model_type in STATE_SPACES else set()
    if model.config.model_type in _READS_TIME_STEPS_PAST_THE_LAYER:
        past.add(_TIME_STEPS)
    return [name for name, _ in model.named_modules() if name.rpartition(".")[2] in past]


def all_linear(model: Any) -> list[str]:
    """What `all-linear` means: every linear layer but the output head, routers, and what a state space reads past the layer.

    The last parts of their names, where no layer that is left out has the same; else full names.
    """
    left_out = {*routers(model), *layers_read_past(model)}
    head = model.get_output_embeddings()
    names = [name for name, module in model.named_modules() if isinstance(module, LINEAR) and module is not head]
    wanted = [name for name in names if name not in left_out]
    ends = {name.rpartition(".")[2] for name in wanted}
    is_clear = not any(is_target(name, end) for name, _ in model.named_modules() if name not in wanted for end in ends)
    return sorted(ends if is_clear else wanted)


def routers(model: Any) -> list[str]:
    """The names of the routers of mixture-of-experts layers."""
    return [name for name, _ in model.named_modules() if _ROUTERS.search(name)]
