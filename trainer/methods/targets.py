"""Which modules of a base a method works on, by the names that a training file gives."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.bases.architecture import STATE_SPACES
from peft_registry.trainer.methods.layer_names import WeightNames, is_target

# Module names of the routers of mixture-of-experts layers; `all-linear` would adapt them too.
_ROUTERS = re.compile(r"(?:^|\.)(?:mlp\.gate|block_sparse_moe\.gate|router|router\.layer)$")

# Layers whose weights a state space reads past the layer: an adapter on them would have no effect. peft refuses the first two
# by name (peft.tuners.tuners_utils._check_lora_target_modules_mamba); the third it trains, and no gradient ever reaches it.
_READ_PAST_THE_LAYER = frozenset({"out_proj", "conv1d"})
_READS_TIME_STEPS_PAST_THE_LAYER = frozenset({"mamba", "falcon_mamba", "jamba"})  # jamba unless it is in 4 bits
_TIME_STEPS = "dt_proj"

_OF_EXPERTS = 3  # dimensions of a weight that holds one matrix for each expert

LINEAR: tuple[type[torch.nn.Module], ...] = (torch.nn.Linear, Conv1D)  # GPT-2 writes its linear layers transposed


class TargetWithoutEffect(InputRefused):
    what = "{key} names {name}, which cannot be adapted in a base of type {model_type}"
    why = "the model reads the weight of that layer directly, so that what an adapter adds would be lost"
    fix = "take {name} out of {key}, or write all-linear, which leaves it out"

    key: str
    name: str
    model_type: str


def layers_of(model: Any) -> WeightNames:
    """The layers of a base that is in memory, with weights or without."""
    modules = dict(model.named_modules())
    return WeightNames(
        linear=frozenset(name for name, module in modules.items() if isinstance(module, LINEAR)),
        embeddings=frozenset(name for name, module in modules.items() if isinstance(module, torch.nn.Embedding)),
        tied=tuple(tied_modules(model)),
        experts=frozenset(
            name
            for name, parameter in model.named_parameters()
            if parameter.dim() == _OF_EXPERTS and not name.endswith("bias")
        ),
        parameters=frozenset(name for name, _ in model.named_parameters()),
    )


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
