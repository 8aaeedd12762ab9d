"""Whether an adapter can be of a base, by the names and shapes of their tensors. Nothing is loaded.

Every tensor of an adapter belongs to a module of its base. A module that the base does not have, or has in another shape, shows
that the adapter is of another base. That all of them fit shows that it can be of this one, and no more: two bases of one
architecture and size have equal shapes.

The module is looked for under its full name, and under the part of it that begins at its layer: a checkpoint may leave out the name
of the model around the layers. Experts that some versions of transformers hold in one tensor, and kinds of tensors without a place
in the base, are not compared, and counted as such.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.intake.peft_config import PeftConfig
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.methods.declaration import TensorKind

_PREFIX = "base_model.model."
_LAYER = re.compile(r"(?:^|\.)((?:layers|layer|h|blocks|block)\.\d+\..+)$")
_EXPERTS = ".experts."
# what peft puts into the name of a module around which it stands, or that it trained whole
_WRAPPINGS = (".modules_to_save", ".base_layer")
_EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in")
_HEADS = ("lm_head", "embed_out")


class AdapterOfAnotherBase(IntegrityBroken):
    what = "{adapter} is not an adapter of {base}"
    why = "{reason}"
    fix = "name the base that it was trained on with --base; `registry base add` registers one that is not here"

    adapter: str
    base: str
    reason: str


class TensorNotDeclared(InputRefused):
    what = "the adapter holds a tensor {name!q}, and no {title} adapter has one of that name"
    why = "no loader would read it: nobody could say what it is for, and nothing would be evaluated with it"
    fix = "save the adapter again with peft, or take the tensor out of adapter_model.safetensors"

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Compared:
    """How the tensors of an adapter stand to those of a base.

    `fitting` counts those that have a place of their shape in it, `silent` those that say nothing of it. `misfit` is why the first
    that has none does not fit. `replacing` are those that a loader puts in the place of the base's own: of modules that were
    trained whole, and of any other that the file holds under the name of a weight of the base, for peft loads those too.
    """

    fitting: int
    silent: int
    misfit: str | None
    replacing: tuple[str, ...] = ()


def tail_of(name: str) -> str:
    """The part of a name that begins at its layer; all of one that is of no layer."""
    match = _LAYER.search(name)
    return name if match is None else match[1]


def short_name(weight: str) -> str:
    """The name of a weight without the part that a loader puts in front of it: of one of no layer its last module alone."""
    match = _LAYER.search(weight)
    return ".".join(weight.rsplit(".", 2)[-2:]) if match is None else match[1]


@dataclass(frozen=True, slots=True)
class _Places:
    """The tensors of a base by full name, and by the part of it that begins at the layer; `tails` counts those of one such part."""

    by_name: Mapping[str, tuple[int, ...]]
    by_tail: Mapping[str, tuple[int, ...]]
    tails: Mapping[str, int]

    @classmethod
    def of(cls, tensors: Iterable[Tensor]) -> "_Places":
        by_name = {tensor.name: tensor.shape for tensor in tensors}
        tails: dict[str, tuple[int, ...]] = {}
        for name, shape in by_name.items():
            match = _LAYER.search(name)
            if match is not None:
                tails[match[1]] = shape
        return cls(by_name, tails, Counter(tail_of(name) for name in by_name))

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor; of a head or an embedding that is tied to the other one, of that."""
        if name in self.by_name:
            return self.by_name[name]
        match = _LAYER.search(name)
        if match is not None:
            return self.by_tail.get(match[1])
        parts = name.split(".")
        inner = ".".join(parts[1:])
        if len(parts) > 2 and inner in self.by_name:
            return self.by_name[inner]
        if any(part in (*_EMBEDDINGS, *_HEADS) for part in parts):
            return self.embeddings()
        return None

    def embeddings(self) -> tuple[int, ...] | None:
        """The shape of the input embeddings: one row a token."""
        ends = tuple(f"{name}.weight" for name in _EMBEDDINGS)
        return next((shape for name, shape in self.by_name.items() if name.endswith(ends)), None)


def compare_with_base(tensors: Iterable[Tensor], config: PeftConfig, base: Iterable[Tensor]) -> Compared:
    """Hold the tensors of an adapter against those of a base, in the order of their names; the first misfit ends it.

    Raises:
        TensorNotDeclared: one is neither of the adapter's type, nor of a module of the base that was trained whole.
    """
    places = _Places.of(base)
    fitting = silent = 0
    replacing = []
    in_order = sorted(tensors, key=lambda tensor: tensor.name)
    doubled = _doubled(in_order, config, places)
    if doubled is not None:
        return Compared(fitting, silent, doubled)
    for tensor in in_order:
        if _replaces(tensor, config, places):
            replacing.append(tensor.name)
        misfit, is_compared = _compare(tensor, config, places)
        if misfit is not None:
            return Compared(fitting, silent, misfit)
        fitting += is_compared
        silent += not is_compared
    return Compared(fitting, silent, None, tuple(replacing))


def _doubled(tensors: Iterable[Tensor], config: PeftConfig, places: _Places) -> str | None:
    """That two tensors of one kind have one place in the base, under two names: a loader reads one of them."""
    taken: dict[tuple[str, str], str] = {}
    for tensor in tensors:
        declared = config.method.tensor(tensor.name)
        if declared is None:
            kind, weight = "", place_in_base(tensor.name)
        else:
            module = declared[1]
            kind, weight = tensor.name.replace(module, "", 1), f"{module.removeprefix(_PREFIX)}.weight"
        tail = tail_of(weight)
        # more than one weight of a base may end so, as those of two towers do
        if places.tails.get(tail) != 1:
            continue
        earlier = taken.setdefault((kind, tail), tensor.name)
        if earlier != tensor.name:
            return f"its tensors {earlier!a} and {tensor.name!a} both have the place {tail!a} in it"
    return None


def rows_of_vocabulary(base: Iterable[Tensor]) -> int | None:
    """How many tokens the embeddings of a base have a row for; None where none of its tensors is known as them."""
    shape = _Places.of(base).embeddings()
    return None if shape is None else shape[0]


def _compare(tensor: Tensor, config: PeftConfig, places: _Places) -> tuple[str | None, bool]:
    """(what does not fit, whether the tensor says anything about its place)."""
    if _EXPERTS in tensor.name:
        return None, False
    declared = config.method.tensor(tensor.name)
    if declared is None:
        return _compare_saved(tensor, config, places)
    kind, module = declared
    if kind.is_shared:
        return _compare_prompt(tensor, kind, places)
    if kind.axis is None or not kind.is_of_weight:
        return None, False
    return _compare_adapted(tensor, kind.axis, f"{module.removeprefix(_PREFIX)}.weight", places)


def _compare_adapted(
    tensor: Tensor, axis: int | Literal["longest"], module: str, places: _Places
) -> tuple[str | None, bool]:
    shape = places.shape(module)
    if shape is None:
        return f"its tensor {tensor.name!a} changes a module that the base does not have", True
    if not _is_of_side(tensor, axis, shape):
        return _other_shape(tensor, module, shape), True
    return None, True


def place_in_base(tensor: str) -> str:
    """The name in the base of a tensor that is not a factor of an adapter."""
    name = tensor.removeprefix(_PREFIX)
    for wrapping in _WRAPPINGS:
        name = name.replace(wrapping, "")
    return name


def _is_saved(name: str, config: PeftConfig) -> bool:
    """Whether a tensor is of a module that the configuration says was trained whole."""
    return any(f".{module}." in f".{name}" for module in config.saved_modules)


def _replaces(tensor: Tensor, config: PeftConfig, places: _Places) -> bool:
    """Whether a loader puts a tensor of an adapter in the place of one of the base's."""
    declared = config.method.tensor(tensor.name)
    if declared is not None:
        return declared[0].replaces
    return places.shape(place_in_base(tensor.name)) is not None


def _is_of_side(tensor: Tensor, axis: int | Literal["longest"], shape: tuple[int, ...]) -> bool:
    """Whether a tensor is as wide as what the module reads or writes; a layer of GPT-2 stores them the other way round."""
    if axis == "longest":
        return max(tensor.shape, default=1) in shape
    if len(tensor.shape) > 1 and (len(tensor.shape) != 2 or len(shape) != 2):
        return len(tensor.shape) == len(shape)  # of convolutions only the number of axes is compared
    return axis < len(tensor.shape) and tensor.shape[axis] in shape


def _compare_saved(tensor: Tensor, config: PeftConfig, places: _Places) -> tuple[str | None, bool]:
    """A tensor of the base that was trained whole, or a bias; embeddings may have got rows for new tokens.

    Raises:
        TensorNotDeclared: it is neither, nor one of the adapter's own.
    """
    name = place_in_base(tensor.name)
    shape = places.shape(name)
    if shape is None and not _is_saved(name, config):
        raise TensorNotDeclared(tensor.name, config.method.title)
    if shape is None:
        if ".score." in f".{name}" or ".classifier." in f".{name}":
            return None, False  # a head that the adapter brings
        return f"its tensor {tensor.name!a} is of a module that the base does not have", True
    is_vocabulary = any(part in (*_EMBEDDINGS, *_HEADS) for part in name.split("."))
    if tensor.shape == shape or (is_vocabulary and tensor.shape[1:] == shape[1:] and tensor.shape[0] >= shape[0]):
        return None, True
    return _other_shape(tensor, name, shape), True


def _compare_prompt(tensor: Tensor, kind: TensorKind, places: _Places) -> tuple[str | None, bool]:
    shape = places.embeddings()
    if shape is None or kind.neutral != "mean embedding" or len(tensor.shape) != 2:
        return None, False  # of what is not an embedding in front of the text the base says nothing
    if tensor.shape[1] == shape[1]:
        return None, True
    return f"its tensor {tensor.name!a} has vectors of {tensor.shape[1]} numbers, the base has {shape[1]}", True


def _other_shape(tensor: Tensor, module: str, shape: tuple[int, ...]) -> str:
    return f"its tensor {tensor.name!a} is {list(tensor.shape)}, and the base's {module!a} is {list(shape)}"
