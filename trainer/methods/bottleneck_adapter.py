"""Bottleneck adapters (Houlsby et al. 2019; Pfeiffer et al. 2020; parallel: He et al. 2021) as a peft method of their own.

    h ← h + s·(W_up·σ(W_down·x + b_down) + b_up)        x = h, or the wrapped module's input where `parallel`

W_down ∈ R^{d×m}, W_up ∈ R^{m×d} = 0 and b_up = 0 at the start, so that a fresh adapter is an exact no-op. Each holds
2·m·d + m + d numbers. The inner layer is not linear: nothing can be folded into the base.

Importing this module makes `PeftModel.from_pretrained` read the folders; a reader without it gets KeyError: 'BOTTLENECK'.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftType, TaskType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import register_peft_method

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods.bottleneck_adapter import BottleneckBlock
from peft_registry.trainer.machine.seeding import seed_of
from peft_registry.trainer.methods.layer_names import is_target, require_modules
from peft_registry.trainer.methods.peft_io import load_adapter, save_adapter, wrapped
from peft_registry.trainer.methods.targets import layers_of

NAME = "BOTTLENECK"
_ACTIVATIONS = {"relu": torch.nn.ReLU, "gelu": torch.nn.GELU, "silu": torch.nn.SiLU}
# what gives the output of attention, and of the MLP, under the names of common architectures; first found, first taken
_ATTENTION_OUTPUTS = ("o_proj", "attn.c_proj", "out_proj", "attention.dense", "self_attention.dense")
_MLPS = ("mlp", "block_sparse_moe", "feed_forward", "fc2")


class NotMergeable(InputRefused):
    what = "a bottleneck adapter cannot be merged"
    why = "its inner layer is not linear: no weight of the base could do the same"
    fix = "load it on its base, or train lora or ia3 where it must be merged"


class SublayersNotKnown(InputRefused):
    what = "bottleneck.target_modules is auto, and the {part} of this base is not known by name"
    why = "nobody has listed the module names of the architecture {model_type}"
    fix = "name in bottleneck.target_modules the modules whose output the adapters change"

    part: str
    model_type: str


@dataclass
class BottleneckConfig(PeftConfig):  # type: ignore[misc]  # peft is not typed
    """What `adapter_config.json` holds. `target_modules` are names, or their last parts, of modules that are wrapped."""

    target_modules: list[str] | None = field(default=None)
    exclude_modules: list[str] | None = field(default=None)
    layers_to_transform: list[int] | int | None = field(default=None)
    layers_pattern: list[str] | str | None = field(default=None)
    modules_to_save: list[str] | None = field(default=None)
    size: int = field(default=64)
    activation: str = field(default="relu")
    scale: float = field(default=1.0)
    dropout: float = field(default=0.0)
    parallel: bool = field(default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType(NAME)
        if isinstance(self.target_modules, list | tuple):
            self.target_modules = set(self.target_modules)  # type: ignore[assignment]  # as peft's other methods
        if self.activation not in _ACTIVATIONS:
            raise ValueError(f"activation is none of {', '.join(_ACTIVATIONS)}")


class BottleneckLayer(torch.nn.Module, BaseTunerLayer):  # type: ignore[misc]
    """A module of the base and the adapters on it, by name."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    other_param_names = ("bottleneck_settings",)

    def __init__(self, base_layer: torch.nn.Module, name: str, config: BottleneckConfig, features: int) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.features = features
        self.bottleneck_down = torch.nn.ModuleDict()
        self.bottleneck_up = torch.nn.ModuleDict()
        self.bottleneck_settings: dict[str, BottleneckConfig] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self.update_layer(name, config)

    def update_layer(self, name: str, config: BottleneckConfig) -> None:
        """Add an adapter; its numbers are fp32 unless peft casts them."""
        self.bottleneck_settings[name] = config
        up = torch.nn.Linear(config.size, self.features)
        torch.nn.init.zeros_(up.weight)
        torch.nn.init.zeros_(up.bias)
        self.bottleneck_down[name] = torch.nn.Linear(self.features, config.size)
        self.bottleneck_up[name] = up
        move: Any = self._move_adapter_to_device_of_base_layer  # peft's, like the next line's
        move(name)
        activate: Any = self.set_adapter
        activate(self.active_adapters)

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """The base module's output (…, features), changed; a tuple's first part is the output."""
        result = self.base_layer(*arguments, **options)
        if self.disable_adapters:
            return result
        given = arguments[0] if arguments else options["hidden_states"]
        output = result[0] if isinstance(result, tuple) else result
        active: Any = self.active_adapters
        for name in active:
            if name in self.bottleneck_settings:
                output = output + self._change(name, given, output)
        return (output, *result[1:]) if isinstance(result, tuple) else output

    def merge(self, *_: Any, **__: Any) -> None:
        """Never.

        Raises:
            NotMergeable: always.
        """
        raise NotMergeable

    def unmerge(self) -> None:
        """Nothing is ever merged."""

    def _change(self, name: str, given: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        config = self.bottleneck_settings[name]
        down: Any = self.bottleneck_down[name]
        up: Any = self.bottleneck_up[name]
        x = (given if config.parallel else output).to(down.weight.dtype)
        inner = _ACTIVATIONS[config.activation]()(down(x))
        inner = torch.nn.functional.dropout(inner, config.dropout, training=self.training)
        change: torch.Tensor = config.scale * up(inner)
        return change.to(output.dtype)


class BottleneckModel(BaseTuner):  # type: ignore[misc]
    """Peft's view of a model with bottleneck adapters."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - peft reads it from the class

    def _create_and_replace(  # noqa: PLR0917 - peft calls it
        self,
        peft_config: BottleneckConfig,
        adapter_name: str,
        target: torch.nn.Module,
        target_name: str,
        parent: torch.nn.Module,
        current_key: str,  # noqa: ARG002
        **_: Any,
    ) -> None:
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, peft_config)
            return
        layer = BottleneckLayer(target, adapter_name, peft_config, self.model.config.get_text_config().hidden_size)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        setattr(parent, target_name, layer)

    def _replace_module(
        self, parent: torch.nn.Module, child_name: str, new_module: torch.nn.Module, child: torch.nn.Module
    ) -> None:
        """Put the base's module back: peft's own way looks for a weight, which a whole block has not."""
        del child
        setattr(parent, child_name, new_module)

    def _check_merge_allowed(self) -> None:
        raise NotMergeable


def prepare(model: Any, config: TrainingFile, *, seed: int) -> Any:
    """The base with adapters in place, only they trainable.

    Raises:
        SublayersNotKnown, TargetsNotFound, TiedTarget: about `bottleneck.target_modules`.
    """
    block = config.block(BottleneckBlock)
    targets = _targets(model, block)
    modules = [name for name, _ in model.named_modules() if name]
    require_modules(layers_of(model), targets, without_weight=modules, key="bottleneck.target_modules")
    torch.manual_seed(seed_of(seed, "adapter"))
    settings = BottleneckConfig(
        task_type=TaskType.CAUSAL_LM,
        target_modules=list(targets),
        size=block.size,
        activation=block.activation,
        scale=block.scale,
        dropout=block.dropout,
        parallel=block.placement == "parallel",
    )
    return wrapped(model, settings)


def save(model: Any, folder: Path, *, base: BaseToOpen | None) -> None:
    """Write adapter_config.json and adapter_model.safetensors; `PeftModel.from_pretrained(base, folder)` reads them."""
    save_adapter(model, folder, base=base)


def load(base_model: Any, folder: Path) -> Any:
    """The base with the saved adapters, frozen and in evaluation mode.

    Raises:
        AdapterConfigRefused, WeightsMismatch: as `load_adapter`.
    """
    return load_adapter(base_model, folder, BottleneckConfig)


def _targets(model: Any, block: BottleneckBlock) -> tuple[str, ...]:
    if block.target_modules != "auto":
        return block.target_modules
    mlp = _first_there(model, _MLPS, "MLP")
    return (
        (_first_there(model, _ATTENTION_OUTPUTS, "attention output"), mlp) if block.placement == "houlsby" else (mlp,)
    )


def _first_there(model: Any, names: tuple[str, ...], part: str) -> str:
    present = [name for name, _ in model.named_modules()]
    for name in names:
        if any(is_target(name_present, name) for name_present in present):
            return name
    raise SublayersNotKnown(part, model.config.model_type)


def _register() -> None:
    """Make the method known to peft, once: a member for its enumeration, then its own registration."""
    if NAME not in PeftType.__members__:
        member = str.__new__(PeftType, NAME)
        member._name_ = NAME
        member._value_ = NAME
        member._sort_order_ = len(PeftType.__members__)
        member.__objclass__ = PeftType  # what enum sets on its members
        PeftType._member_names_.append(NAME)
        PeftType._member_map_[NAME] = member
        PeftType._value2member_map_[NAME] = member
        type.__setattr__(PeftType, NAME, member)
    if PeftType(NAME) in PEFT_TYPE_TO_CONFIG_MAPPING:
        return
    register_peft_method(
        name=NAME.lower(), config_cls=BottleneckConfig, model_cls=BottleneckModel, is_mixed_compatible=False
    )


_register()
