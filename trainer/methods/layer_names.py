"""What a training file may call the layers of a base: held against their names, wherever those were read. Needs no torch."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods import BLOCKS
from peft_registry.schemas.methods.lora import LoraBlock
from peft_registry.schemas.suggestions import closest, did_you_mean


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


class PatternUnmatched(InputRefused):
    what = "{key} names {pattern!q}, and no adapted layer matches"
    why = "the adapted layers are named {names!l}"
    fix = "{suggestion}"

    key: str
    pattern: str
    names: tuple[str, ...]

    @property
    def suggestion(self) -> str:
        nearest = closest(self.pattern, self.names)
        return did_you_mean(nearest, "name some of those, or add the layer to lora.target_modules")


class FeedforwardNotTargeted(InputRefused):
    what = "ia3.feedforward_modules names {names!l}, which ia3.target_modules does not"
    why = "it says which of the targets are scaled at their input"
    fix = "add them to ia3.target_modules"

    names: tuple[str, ...]


class NothingTrainable(InputRefused):
    what = "full.freeze leaves nothing to train"
    why = "every parameter's name contains one of its texts"
    fix = "shorten full.freeze"


class FreezeUnmatched(InputRefused):
    what = "full.freeze names {text!q}, and no parameter's name contains it"
    why = "their names are made of {parts!l}"
    fix = "{suggestion}"

    text: str
    parts: tuple[str, ...]

    @property
    def suggestion(self) -> str:
        return did_you_mean(closest(self.text, self.parts), "name some of those, or take it out of full.freeze")


@dataclass(frozen=True, slots=True)
class LayerNames:
    """The layers of a base by their full names, which a training file may shorten to a last part.

    Attributes:
        linear: those that multiply by one matrix, the output head with them.
        embeddings: those that look rows up.
        tied: embedding and head, in this order, where they have one weight; none where each has its own.
    """

    linear: frozenset[str]
    embeddings: frozenset[str]
    tied: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WeightNames(LayerNames):
    """The layers of a base, and everything else in it that has a weight, by their full names.

    Attributes:
        experts: parameters of three dimensions, which hold the matrices of many experts.
        parameters: every weight and bias; of several that share one weight only the first.
    """

    experts: frozenset[str]
    parameters: frozenset[str]

    @property
    def modules(self) -> frozenset[str]:
        """All modules that have a weight, of their own or in a module within them."""
        paths = (name.split(".") for name in self.parameters)
        owners = {".".join(path[:length]) for path in paths for length in range(1, len(path))}
        # a tied head has no parameter of its own
        return self.linear | self.embeddings | owners


def is_target(name: str, target: str) -> bool:
    """Whether peft matches a module's full name with a target."""
    return name == target or name.endswith(f".{target}")


def require_named(names: Iterable[str], targets: Sequence[str], *, key: str) -> None:
    """Raise unless each target names some of the layers.

    Args:
        names: full names.
        targets: full names, or their last parts.
        key: of the training file, for the error.

    Raises:
        TargetsNotFound.
    """
    known = tuple(names)
    for target in targets:
        if not any(is_target(name, target) for name in known):
            raise TargetsNotFound(key, list(targets), _last_parts(known))


def require_untied(tied: Iterable[str], targets: Sequence[str], *, key: str) -> None:
    """Raise where a target names a layer that shares its weights; arguments as for `require_named`.

    Raises:
        TiedTarget.
    """
    for name in tied:
        if any(is_target(name, target) for target in targets):
            raise TiedTarget(key, name.rpartition(".")[2])


def require_linear(layers: LayerNames, targets: Sequence[str], *, key: str) -> None:
    """Raise unless each target names linear layers, and none that shares its weights; arguments as for `require_named`.

    Raises:
        TargetsNotFound, TiedTarget.
    """
    require_named(layers.linear, targets, key=key)
    require_untied(layers.tied, targets, key=key)


def require_modules(
    layers: WeightNames, targets: Sequence[str], *, without_weight: Collection[str] = (), key: str
) -> None:
    """Raise unless each target names modules, of whatever kind, and none that shares its weights.

    Args:
        layers: of the base, with everything else that has a weight.
        targets: full names, or their last parts.
        without_weight: the full names of its other modules, which the error does not propose.
        key: of the training file, for the error.

    Raises:
        TargetsNotFound: a target names none.
        TiedTarget: it names an output head or embedding that the base ties.
    """
    modules = layers.modules
    known = modules.union(without_weight)
    if not all(any(is_target(name, target) for name in known) for target in targets):
        # a block is called by its number, which says nothing here
        names = tuple(name for name in _last_parts(modules) if not name.isdigit())
        raise TargetsNotFound(key, list(targets), names)
    require_untied(layers.tied, targets, key=key)


def require_lora_layers(layers: LayerNames, block: LoraBlock) -> None:
    """Raise unless all layers that a LoRA block names are there, and of a kind that LoRA adapts.

    Raises:
        TargetsNotFound: `target_modules` or `exclude_modules` matches nothing.
        TiedTarget: it names an output head or embedding that the base ties.
    """
    if block.target_modules != "all-linear":
        adaptable = layers.linear if block.init == "pissa" else layers.linear | layers.embeddings
        require_named(adaptable, block.target_modules, key="lora.target_modules")
        require_untied(layers.tied, block.target_modules, key="lora.target_modules")
    require_named(layers.linear | layers.embeddings, block.exclude_modules, key="lora.exclude_modules")


def require_experts(experts: Collection[str], block: LoraBlock) -> None:
    """Raise unless each of the `target_parameters` of a LoRA block names parameters that hold many experts.

    Raises:
        TargetsNotFound: one of them names none.
    """
    for target in block.target_parameters:
        if not any(is_target(name, target) for name in experts):
            names = tuple(sorted({_expert(name) for name in experts}))
            raise TargetsNotFound("lora.target_parameters", list(block.target_parameters), names)


def require_patterns(adapted: Collection[str], block: LoraBlock) -> None:
    """Raise unless each pattern of a LoRA block matches a layer: peft ignores one that does not, here it is a spelling mistake.

    Args:
        adapted: full names of the layers that it adapts.
        block: with its `rank_pattern` and `alpha_pattern`.

    Raises:
        PatternUnmatched.
    """
    for key, patterns in (("rank_pattern", block.rank_pattern), ("alpha_pattern", block.alpha_pattern)):
        for pattern in patterns:
            if not any(re.match(rf"(.*\.)?({pattern})$", name) for name in adapted):  # as peft matches
                raise PatternUnmatched(f"lora.{key}", pattern, _last_parts(adapted))


def require_feedforward_targeted(feedforward: Sequence[str], targets: Sequence[str]) -> None:
    """Raise unless each of the feed-forward layers that an IA3 block names is one of its targets.

    Raises:
        FeedforwardNotTargeted.
    """
    missing = tuple(name for name in feedforward if name not in targets)
    if missing:
        raise FeedforwardNotTargeted(missing)


def require_freezable(parameters: Collection[str], freeze: Sequence[str]) -> None:
    """Raise unless each text of `full.freeze` is in the name of a parameter, and some parameter's name has none of them.

    Args:
        parameters: full names.
        freeze: parts of them.

    Raises:
        NothingTrainable, FreezeUnmatched.
    """
    if all(any(text in name for text in freeze) for name in parameters):
        raise NothingTrainable()
    for text in freeze:
        if not any(text in name for name in parameters):
            parts = {part for name in parameters for part in name.split(".") if not part.isdigit()}
            raise FreezeUnmatched(text, tuple(sorted(parts)))


def _last_parts(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name.rpartition(".")[2] for name in names}))


def _expert(name: str) -> str:
    """The end of a parameter's name that all layers share."""
    return re.split(r"\.\d+\.", name)[-1]
