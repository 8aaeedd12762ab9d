"""What a method is, as one value: whatever is keyed by a method or by a type of adapter derives from it.

A declaration needs no torch. What is done with a model has a module of its own in `trainer/methods`; a declaration that names
none is done by peft's entry points alone.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Protocol, TypeVar, get_args

from peft_registry.schemas.block import Block
from peft_registry.schemas.codes import Code
from peft_registry.schemas.manifest import Layout

Goal = Literal["latency", "bias_mitigation", "many_tasks"]
GOALS: tuple[Goal, ...] = get_args(Goal)
ADAPTER_MEMORY = "frozen base at 2 bytes a parameter in bf16; 16 bytes a trained parameter"
LOOKS_AT_WEIGHTS = "it reads or trains weights of the base besides the layers' own products, and those wait elsewhere"
LAST = 100  # the place of a method that names none: behind those that do, by name

# keys that every `adapter_config.json` may have, whatever its type
COMMON_KEYS = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_type",
    "peft_version",
    "revision",
    "task_type",
)
# keys of `adapter_config.json` that say how an adapter began and was trained: neither says what it computes
OF_THE_BEGINNING = re.compile(r"(?:\w+_)?dropout|init_\w+|d_initial|prompt_tuning_init(?:_text)?")
# settings that are recorded under the same name, whatever the method: many have them, and they mean one thing
_SHARED_SETTINGS = frozenset(
    {"target_modules", "feedforward_modules", "modules_to_save", "num_virtual_tokens", "prompt_tuning_init"}
)

AnyBlock = TypeVar("AnyBlock", bound=Block)
# a number; or what of the base it is: the norms of its columns, the mean of its vocabulary, its keys and values of random texts
Neutral = float | Literal["column norms", "mean embedding", "mean prefix"]


class AskedFor(Protocol):
    """What a declaration looks at in a training file."""

    @property
    def is_quantized(self) -> bool: ...

    def block(self, kind: type[AnyBlock]) -> AnyBlock: ...


Condition = Callable[[AskedFor], bool]


@dataclass(frozen=True, slots=True)
class TensorKind:
    """One kind of tensor in the file of an adapter.

    Attributes:
        name: what stands behind the name of the adapted module; `*` is any one part of a name, `**` any number of them.
        axis: its dimension that is one of the module's own, `longest` where that depends on the module; None for none.
        neutral: the value at which it changes nothing; None where no such value is known.
        begins: the number that all of it is in an adapter that was not trained yet; None where it begins otherwise.
        is_scale: whether it multiplies, so that a change of its sign would turn activations round.
        is_shared: whether it stands once for the whole model, and no module's name before it.
        stays: whether a placebo leaves it as it is: it was drawn and not trained, or has no dimension of the module's own.
        turned_with: the kind of tensor of the same module that it is multiplied with place by place, so that a placebo permutes
            both alike; None for none.
        is_of_weight: whether the module is one weight, with whose shape `axis` can be compared.
        replaces: whether it is loaded in the place of the base's own numbers.
        sized: one of its dimensions, and the key of `adapter_config.json` that says how long that is; None where none does.
        is_index: whether it holds places in other tensors, as integers, and no numbers to compute with.
    """

    name: str
    axis: int | Literal["longest"] | None = None
    neutral: Neutral | None = None
    begins: float | None = None
    is_scale: bool = False
    is_shared: bool = False
    stays: bool = False
    turned_with: str | None = None
    is_of_weight: bool = True
    replaces: bool = False
    sized: tuple[int, str] | None = None
    is_index: bool = False


@dataclass(frozen=True, slots=True)
class Default:
    """A default of a method's block, and where it comes from."""

    key: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What a method means for one goal of a training file; `fits` is None where that is not known."""

    goal: Goal
    fits: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two settings that contradict each other: what is asked for, why not, what to do instead, and when a file asks for it."""

    asked: str
    why: str
    remedy: str
    when: Condition


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A setting with which the method cannot do what it can do otherwise: what is asked for, why not, and when it is."""

    asked: str
    why: str
    when: Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodDeclaration:
    """An adapter, or a whole model, that can be imported, verified, loaded and evaluated.

    Attributes:
        name: in training files and manifests.
        title: in sentences.
        peft_type: what `adapter_config.json` calls it; None where the folder holds no single adapter of peft.
        kind: the word of the modification record.
        kinds: words for what a switch of its settings makes of it, by the switch.
        layout: what the artifact's folder is.
        settings: keys of `adapter_config.json`, and what they are called here and in the method's block.
        other_keys: the other keys that peft reads.
        tensors: every kind of tensor that its file may hold, besides modules of the base that were saved whole.
        no_weight: why it changes no weight of the base; None where it changes some.
        folds: whether `registry merge` folds it into weights of the base; False says something of this program, not of the adapter.
        other_reason: why it does not, where that is neither `no_weight` nor a missing implementation.
        imported_first: the module that makes peft know it; None where peft does by itself.
        module: in `trainer/methods`, what loads it, and trains and saves it where it can be trained; `peft_adapter` does it by
            peft's entry points alone.
        begins_with: keys of `adapter_config.json` that say how a new adapter begins, each with the values by which its tensors
            begin as they say.
        opens_nothing_with: keys of `adapter_config.json` by which peft would open something else, each with the only value by
            which it does not.
    """

    name: str
    title: str
    peft_type: str | None
    kind: str
    kinds: Mapping[str, str] = field(default_factory=dict)
    layout: Layout = "peft"
    settings: Mapping[str, str] = field(default_factory=dict)
    other_keys: tuple[str, ...] = ()
    tensors: tuple[TensorKind, ...] = ()
    no_weight: Code | None = None
    folds: bool = False
    other_reason: str | None = None
    imported_first: str | None = None
    module: str = "peft_adapter"
    begins_with: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    opens_nothing_with: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_adapter(self) -> bool:
        """Whether the result stands beside its base."""
        return self.layout != "model"

    @property
    def why_not_folded(self) -> str | None:
        """Why `registry merge` leaves it beside the weights; None where it does not."""
        if self.folds:
            return None
        if self.no_weight is not None:
            return str(self.no_weight)
        return self.other_reason or f"merging {self.title} adapters is not implemented here"

    @property
    def recorded_settings(self) -> frozenset[str]:
        """What its settings are called here."""
        return frozenset(self.settings.values())

    @property
    def config_keys(self) -> frozenset[str]:
        """Every key of `adapter_config.json` that peft reads."""
        return frozenset((*COMMON_KEYS, *self.settings, *self.other_keys))

    @property
    def parameter_marks(self) -> frozenset[str]:
        """Parts of the names of the parameters that peft trains and saves with it."""
        own = {tensor.name.partition(".")[0] for tensor in self.tensors}
        return frozenset(own | ({"prompt_encoder"} if "num_virtual_tokens" in self.recorded_settings else set()))

    def kind_with(self, settings: Mapping[str, Any]) -> str:
        """The word of the record for what these settings, by their names here, make of it."""
        return next((kind for switch, kind in self.kinds.items() if settings.get(switch)), self.kind)

    def setting_name(self, key: str) -> str:
        """What the value of a key of `adapter_config.json` is called in an import record."""
        return key if key in _SHARED_SETTINGS else f"{self.name}.{self.settings[key]}"

    def tensor(self, name: str) -> tuple[TensorKind, str] | None:
        """The kind of a tensor in the adapter's file, and the module that it is of; None for one that is not declared."""
        for tensor in self.tensors:
            match = _pattern(tensor).match(name)
            if match is not None:
                return tensor, match["module"]
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainableMethod(MethodDeclaration):
    """A method that `registry train` trains.

    Attributes:
        place: in the table of methods; those of one place are ordered by name.
        summary: what it does.
        block: its own settings in a training file, under its name; None where it has none.
        reads: the methods whose blocks it reads as well.
        learning_rate: used where the file names none; published or measured, as its row in `defaults` says.
        defaults: of its settings, each with its source.
        advice: for each goal but `bias_mitigation`, of which no method says anything.
        memory: what training takes.
        trains_base_weights: whether the result is a whole model.
        quantizable: whether it works on a base in 4 bits.
        needs_quantized_base: whether the base has to be in few bits; its file says how, or the default counts.
        needs_fp32_on_4_bits: whether it makes fp32 of what a quantized layer gives, so that everything has to be.
        packs: whether rows may lie side by side in one sequence, which what stands in front of each row forbids.
        takes_positions: whether its virtual tokens, where it has some, go through the layers as others do.
        checkpoints: whether activations may be computed twice instead of kept.
        shards: whether weights, gradients and the optimizer's state may be spread over processes.
        starts: how many starts are trained, of which the best is kept.
        conflicts: settings of its block that contradict each other or something else in the file.
        not_continued: when a training cannot begin at its stored result, and why.
        not_offloaded: when the base cannot wait elsewhere while it is trained, and why.
    """

    place: int = LAST
    summary: str
    block: type[Block] | None
    reads: tuple[str, ...] = ()
    learning_rate: float
    defaults: tuple[Default, ...]
    advice: tuple[Advice, ...]
    memory: str = ADAPTER_MEMORY
    trains_base_weights: bool = False
    quantizable: bool = True
    needs_quantized_base: bool = False
    needs_fp32_on_4_bits: bool = False
    packs: bool = True
    takes_positions: bool = True
    checkpoints: bool = True
    shards: bool = False
    starts: int = 1
    conflicts: tuple[Conflict, ...] = ()
    not_continued: tuple[Obstacle, ...] = ()
    not_offloaded: tuple[Obstacle, ...] = ()

    @property
    def blocks(self) -> tuple[str, ...]:
        """The parts of a training file that it reads, the blocks of others first."""
        return (*self.reads, self.name) if self.block is not None else self.reads


@cache
def _pattern(tensor: TensorKind) -> re.Pattern[str]:
    own = re.escape(tensor.name).replace(r"\*\*", ".+").replace(r"\*", "[^.]+")
    if tensor.is_shared:
        return re.compile(rf"(?P<module>)(?:base_model\.)?{own}\Z")
    return re.compile(rf"(?P<module>.+)\.{own}\Z")
