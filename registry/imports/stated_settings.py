"""Whether an adapter's configuration says what its tensors are: type, ranks, targets, magnitudes, scales and number formats.

A record takes these settings from the configuration, and loaders read them there: one that contradicts the tensors makes a record
of something else, and an adapter that no tool loads, or that loads as if it were not there. What peft does with each setting is as
peft 0.21 does it. What the base says is held against the tensors in `fit`; here it says which parameters its modules have.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.imports.fit import tail_of
from peft_registry.registry.intake.peft_config import FILE_NAME, PeftConfig
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods.declaration import TensorKind

_PREFIX = "base_model.model."
_BASE_LAYER = ".base_layer"  # peft's name of what stands inside of an adapted module that is adapted once more
# what peft computes with: it turns eight bits into sixteen, and knows no smaller format
_COMPUTED_WITH = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ")
_MAGNITUDE = "lora_magnitude_vector"
_FACTOR = "lora_A"
_LAST_FACTOR = "lora_B.weight"
_OF_EMBEDDING = ("lora_embedding_A", "lora_embedding_B")
_SCALE_AT_MOST = 10_000  # published recipes go to some hundreds; the largest number of half precision is 65,504
_SHOWN = 60  # characters of a value in a sentence
_RANK, _ALPHA = 8, 8  # peft's defaults, of LoHa and LoKr too

Parameters = Mapping[str, Mapping[str, tuple[int, ...]]]
"""The shapes of the parameters that each module of a base has, by the name of the module and that of the parameter in it."""


class SettingsOfOtherTensors(InputRefused):
    what = "{adapter} is not what its {file} says"
    why = "{reason}"
    fix = (
        "save it again with the tool that made it, or write into {file} what the tensors are: its record repeats {file}"
    )

    adapter: str
    reason: str

    file = FILE_NAME


@dataclass(frozen=True, slots=True)
class _Own:
    """A tensor of the adapter's own, its kind, and the names by which peft may have found what it changes; the base's is first."""

    tensor: Tensor
    kind: TensorKind
    names: tuple[str, ...]

    @property
    def module(self) -> str:
        return self.names[0]


def require_settings_of_tensors(
    adapter: str, config: PeftConfig, tensors: Iterable[Tensor], base: Iterable[Tensor]
) -> None:
    """Raise where a setting contradicts the tensors.

    The names of the modules are matched with the expressions of the configuration, which `require_usable_patterns` has tried.

    Args:
        adapter: what a refusal calls it.
        config: its configuration.
        tensors: what it holds.
        base: what its base holds; nothing where that is not known.

    Raises:
        SettingsOfOtherTensors: one does; the first is named.
    """
    reason = next(_contradictions(config, tuple(tensors), _parameters_of(base)), None)
    if reason is not None:
        raise SettingsOfOtherTensors(adapter, reason)


def adapted_modules(config: PeftConfig, tensors: Iterable[Tensor]) -> tuple[str, ...]:
    """The modules that an adapter changes, and parameters by themselves: the names that its expressions are matched with."""
    found = (name for own in _own_tensors(config, tensors) for name in (*own.names, *_parameters(config, own, {})))
    return tuple(dict.fromkeys(name for name in found if name))


def rank_stated(config: PeftConfig, module: str) -> Any:  # whatever the file has there
    """What a configuration says of the rank at a module, or of a parameter that is adapted by itself."""
    return _at(config.values.get("rank_pattern"), module, config.values.get("r"))


def alpha_stated(config: PeftConfig, module: str) -> Any:  # whatever the file has there
    """What a configuration says of alpha at a module, or of a parameter that is adapted by itself."""
    key = next((key for key, name in config.method.settings.items() if name == "alpha"), "lora_alpha")
    return _at(config.values.get("alpha_pattern"), module, config.values.get(key, _ALPHA))


def scale_stated(config: PeftConfig, module: str) -> float:
    """By what a product is multiplied at a module, or a parameter: alpha/r, or alpha/√r; 1 where either is not a number."""
    alpha = alpha_stated(config, module)
    stated = rank_stated(config, module)
    rank = _RANK if stated is None else stated
    if not (_is_number(alpha) and _is_number(rank)) or rank <= 0:
        return 1.0
    return float(alpha / (math.sqrt(rank) if config.values.get("use_rslora") else rank))


def adapted_weight(config: PeftConfig, module: str) -> tuple[str, str]:
    """The weight of the base that the factors of a module change, and the name by which settings are looked up there.

    Where several parameters of a module are adapted by themselves, which of them it is depends on their order in the base: it is
    called as the module is in the file then.
    """
    name = module.removeprefix(_PREFIX)
    names = _names(name)
    parameters = _parameters_among(config, names[:1], {})
    if not parameters:
        return f"{names[0]}.weight", names[0]
    return parameters[0] if len(parameters) == 1 else f"{name}.weight", parameters[0]


def _own_tensors(config: PeftConfig, tensors: Iterable[Tensor]) -> Iterator[_Own]:
    for tensor in tensors:
        declared = config.method.tensor(tensor.name)
        if declared is not None:
            kind, module = declared
            yield _Own(tensor, kind, _names(module.removeprefix(_PREFIX)))


def _parameters_of(base: Iterable[Tensor]) -> Parameters:
    parameters: dict[str, dict[str, tuple[int, ...]]] = {}
    for tensor in base:
        module, _, leaf = tail_of(tensor.name).rpartition(".")
        parameters.setdefault(module, {})[leaf] = tensor.shape
    return parameters


def _names(module: str) -> tuple[str, ...]:
    # a layer inside of an adapted module, such as the output of an attention of torch, has the settings of that module;
    # a base that was an adapted model itself has such names of its own
    around = module.partition(f"{_BASE_LAYER}.")[0]
    return tuple(dict.fromkeys((module.replace(_BASE_LAYER, ""), around.removesuffix(_BASE_LAYER), module)))


def _contradictions(config: PeftConfig, tensors: Sequence[Tensor], of_base: Parameters) -> Iterator[str]:
    own = tuple(_own_tensors(config, tensors))
    # a type may bring weights in the place of the base's own beside what it is; there are types that do nothing else
    replaces_alone = all(kind.replaces for kind in config.method.tensors)
    if not any(replaces_alone or not tensor.kind.replaces for tensor in own):
        yield f"its type is {config.values['peft_type']}, and it holds no tensor of one"
    tied = _tied(config, own)
    for tensor in own:
        yield from _wrong_format(tensor)
        yield from _wrong_size(config, tensor, of_base)
        if tensor.module not in tied:  # peft adapts those with the embedding, and states the embedding alone
            yield from _wrong_target(config, tensor, of_base)
    yield from _wrong_magnitudes(config, own)
    yield from _wrong_side(config, own)
    yield from _wrong_scales(config)
    yield from _beyond_any_scale(config, own)


def _wrong_format(own: _Own) -> Iterator[str]:
    if not own.kind.is_index and own.tensor.dtype not in _COMPUTED_WITH:
        yield f"its tensor {own.tensor.name!a} is in the format {own.tensor.dtype}, with which no adapter computes"


def _wrong_size(config: PeftConfig, own: _Own, of_base: Parameters) -> Iterator[str]:
    if own.kind.sized is None:
        return
    axis, key = own.kind.sized
    shape = own.tensor.shape
    if axis >= len(shape):
        yield f"its tensor {own.tensor.name!a} is {list(shape)}, and has no dimension for `{key}`"
        return
    for stated, experts in _stated_sizes(config, own, key, of_base):
        if stated is None:
            return  # peft has a default, and a record has nothing of it
        if not isinstance(stated, int) or isinstance(stated, bool) or stated < 1:
            yield f"its `{key}` is {_shown(stated)}, which is not a number of dimensions"
            return
        if _is_sized(config, own, shape[axis], stated, experts):
            return
    yield f"its `{key}` is {_shown(stated)}, and the tensor {own.tensor.name!a} is {list(shape)}: {shape[axis]} there"


def _stated_sizes(
    config: PeftConfig, own: _Own, key: str, of_base: Parameters
) -> Sequence[tuple[Any, int | None]]:  # whatever the file has there
    """What a configuration says of the size of a tensor, and for how many experts: more than one thing where it is one of several
    parameters of a module.

    Which of them it is depends on their order in the base. None where nothing is known of how many experts there are.
    """
    if key != "r":
        return ((config.values.get(key), 1),)
    parameters = _parameters(config, own, of_base)
    if parameters:
        return tuple((rank_stated(config, name), _experts(name, of_base)) for name in parameters)
    stated = tuple((rank_stated(config, name), 1) for name in own.names)
    # peft 0.21 gives layers of HiRA the rank of all, whatever their pattern says
    return (*stated, (config.values.get("r"), 1)) if config.values["peft_type"] == "HIRA" else stated


def _experts(parameter: str, of_base: Parameters) -> int | None:
    """How many experts lie in a parameter of the base: one pair of factors is of each."""
    module, _, leaf = tail_of(parameter).rpartition(".")
    shape = of_base.get(module, {}).get(leaf)
    if shape is None:
        return None
    return shape[0] if len(shape) > 2 else 1


def _is_sized(config: PeftConfig, own: _Own, found: int, stated: int, experts: int | None) -> bool:
    if config.values.get("use_bdlora"):
        return True  # its blocks lie beside each other in one tensor
    if experts != 1:
        return found % stated == 0 if experts is None else found == stated * experts
    if config.values.get("num_transformer_submodules") not in (None, 1):
        return found % stated == 0  # one prompt for an encoder and one for a decoder
    if own.kind.name == _LAST_FACTOR and len(own.tensor.shape) > 2:  # of a convolution
        return found > 0 and stated % found == 0  # a part of them for each group of its channels
    if config.values.get("use_effective_conv2d"):
        return stated in own.tensor.shape  # LoHa has the factors of a convolution the other way round
    return found == stated


def _wrong_target(config: PeftConfig, own: _Own, of_base: Parameters) -> Iterator[str]:
    stated = config.values.get("target_modules")
    parameters = config.values.get("target_parameters")
    if own.kind.is_shared or own.kind.replaces or not own.kind.is_of_weight:
        return
    if stated == "all-linear" or (stated is None and not parameters):
        return
    if not (_is_adapted(config, own.names) or _parameters(config, own, of_base)):
        beside = f" and its `target_parameters` {_shown(parameters)}" if parameters else ""
        yield f"its `target_modules` are {_shown(stated)}{beside}, and the tensor {own.tensor.name!a} is of another module"


def _is_adapted(config: PeftConfig, names: Sequence[str]) -> bool:
    stated = config.values.get("target_modules")
    return any(_is_targeted(config.values, stated, name) for name in names)


def _is_targeted(values: Mapping[str, Any], stated: Any, module: str) -> bool:
    """Whether peft adapts a module."""
    excluded = values.get("exclude_modules")
    if excluded and _is_named(excluded, module):
        return False
    if not _is_named(stated, module):
        return False
    layers = values.get("layers_to_transform")
    if layers in (None, []) or isinstance(stated, str) or module in stated:
        return True  # the whole name says the layer, too
    number = _layer(values.get("layers_pattern"), module)
    return number is not None and number in (layers if isinstance(layers, list) else [layers])


def _is_named(stated: Any, module: str) -> bool:
    if isinstance(stated, str):
        return re.fullmatch(stated, module) is not None
    names = stated if isinstance(stated, list) else ()
    return any(module == name or module.endswith(f".{name}") for name in names)


def _layer(patterns: Any, module: str) -> int | None:
    """The number of the layer that a module is of, as peft reads it off its name."""
    stated = [patterns] if isinstance(patterns, str) else patterns
    expressions = [rf"(?:^|.*?\.){pattern}\.(\d+)\." for pattern in stated or ()] or [r".*?\.[^.]*\.(\d+)\."]
    found = (re.match(expression, module) for expression in expressions)
    return next((int(match[1]) for match in found if match is not None), None)


def _parameters(config: PeftConfig, own: _Own, of_base: Parameters) -> tuple[str, ...]:
    """The parameters that are adapted by themselves, such as experts in one tensor, and that the module may hold."""
    return () if own.kind.is_shared else _parameters_among(config, own.names, of_base)


def _parameters_among(config: PeftConfig, names: Sequence[str], of_base: Parameters) -> tuple[str, ...]:
    """One that is stated by its last name alone may be of any module that has it, except of one that peft adapts as a whole."""
    stated = config.values.get("target_parameters")
    if not isinstance(stated, list) or _is_adapted(config, names):
        return ()
    ends = [str(name).rpartition(".") for name in stated]
    return tuple(
        f"{name}.{leaf}"
        for name in names
        for holder, _, leaf in ends
        if (not holder or _is_named([holder], name)) and _may_have(of_base.get(tail_of(name)), leaf)
    )


def _may_have(parameters: Mapping[str, tuple[int, ...]] | None, leaf: str) -> bool:
    # experts that a loader joins in one tensor lie in files under other names: of those nothing is known
    return parameters is None or leaf in parameters


def _tied(config: PeftConfig, own: Sequence[_Own]) -> frozenset[str]:
    """The modules that share their weight with the embedding, and so its factors, which are the other way round there."""
    if not config.values.get("ensure_weight_tying"):
        return frozenset()
    shared = {found.tensor.shape for found in own if found.kind.name in _OF_EMBEDDING}
    return frozenset(found.module for found in own if found.tensor.shape[::-1] in shared)


def _wrong_magnitudes(config: PeftConfig, own: Sequence[_Own]) -> Iterator[str]:
    """DoRA has a magnitude for each output of every module; LoRA has none."""
    if config.values["peft_type"] != "LORA":
        return
    with_factors = {found.module for found in own if found.kind.name.partition(".")[0] == _FACTOR}
    with_magnitudes = {found.module for found in own if found.kind.name.partition(".")[0] == _MAGNITUDE}
    if config.values.get("use_dora"):
        lacking = sorted(with_factors - with_magnitudes)
        if lacking:
            yield f"its `use_dora` is true, and {len(lacking)} of its modules have no magnitudes, first {lacking[0]!a}"
    elif with_magnitudes:
        yield f"its `use_dora` is not true, and {min(with_magnitudes)!a} has magnitudes"


def _wrong_side(config: PeftConfig, own: Sequence[_Own]) -> Iterator[str]:
    """IA3 scales what a module of the MLP reads, a row, and what others give, a column."""
    stated = config.values.get("feedforward_modules")
    if config.values["peft_type"] != "IA3" or not isinstance(stated, str | list):
        return
    for found in own:
        shape = found.tensor.shape
        # peft does not ask for a whole part of the name here
        is_read = _is_named(stated, found.module) or (
            isinstance(stated, list) and found.module.endswith(tuple(map(str, stated)))
        )
        if len(shape) == 2 and shape[0 if is_read else 1] != 1:
            scaled = "reads" if is_read else "gives"
            yield (
                f"by its `feedforward_modules` it scales what {found.module!a} {scaled}, and its tensor there is {list(shape)}"
            )


def _wrong_scales(config: PeftConfig) -> Iterator[str]:
    for key, name in config.method.settings.items():
        alpha = config.values.get(key)
        if name == "alpha" and alpha is not None and not _is_scale(alpha):
            yield f"its `{key}` is {_shown(alpha)}, by which nothing can be scaled"
    patterns = config.values.get("alpha_pattern")
    for pattern, alpha in patterns.items() if isinstance(patterns, dict) else ():
        if not _is_scale(alpha):
            yield f"its `alpha_pattern` has {_shown(alpha)} for {_shown(pattern)}, by which nothing can be scaled"


def _beyond_any_scale(config: PeftConfig, own: Sequence[_Own]) -> Iterator[str]:
    if config.values["peft_type"] != "LORA":
        return
    for name in dict.fromkeys(name for found in own for name in (*found.names, *_parameters(config, found, {}))):
        scale = scale_stated(config, name)
        if abs(scale) > _SCALE_AT_MOST:
            yield (
                f"its `lora_alpha` is {_shown(alpha_stated(config, name))} at {name!a}, which multiplies its product by "
                f"{scale:.3g}: no training leaves one that is multiplied by more than {_SCALE_AT_MOST}"
            )


def _is_scale(value: Any) -> bool:
    return _is_number(value) and value != 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _at(patterns: Any, module: str, otherwise: Any) -> Any:
    """What the first pattern says that a module's name ends in, as peft looks it up."""
    for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return otherwise


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
