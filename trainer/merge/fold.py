"""From an adapter's tensors to what happens to each tensor of the checkpoint. Every tensor of the adapter is accounted for.

Rules for tied embeddings: a low-rank or scaling change of either side is refused, because the other side would silently
get it too, or miss it. A whole saved side replaces that side; the result is untied unless both sides are saved and equal.
Trained tokens change both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.trainer.merge.adapter import Adapter
from peft_registry.trainer.merge.names import ModelNames, Placed
from peft_registry.trainer.merge.tensors import StoredTensor
from peft_registry.trainer.merge.updates import (
    BiasFactor,
    Chain,
    Factors,
    Replacement,
    Scales,
    StackedFactors,
    TokenRows,
    Update,
    WithMagnitude,
)

_LORA_A = ".lora_A.weight"
_LORA_B = ".lora_B.weight"
_LORA_BIAS = ".lora_B.bias"
_EMBEDDING_A, _EMBEDDING_B = ".lora_embedding_A", ".lora_embedding_B"
_MAGNITUDES = (".lora_magnitude_vector", ".lora_magnitude_vector.weight")
_IA3 = ".ia3_l"
_TOKENS = (".token_adapter.trainable_tokens_delta", ".trainable_tokens_delta")
_LEAVES = (_LORA_A, _LORA_B, _LORA_BIAS, _EMBEDDING_A, _EMBEDDING_B, *_MAGNITUDES, _IA3, *_TOKENS)
_WRAPPER = ".base_layer"


class AdapterTensorUnmatched(IntegrityBroken):
    what = "tensor {tensor!r} of the adapter {adapter.folder.name} has no place in the base"
    why = "{reason}"
    fix = "merge it into the base that it was trained on; nothing was written"

    adapter: Adapter
    tensor: str
    reason: str


class TiedMergeRefused(InputRefused):
    what = "the adapter changes {parameter}, which the base shares between embedding and output head"
    why = "folded into the shared weights, the change would reach the other side too, where it was not trained"
    fix = "train without that target, or save the module whole (modules_to_save)"

    parameter: str


class VocabularyResized(InputRefused):
    what = "the adapter holds {parameter} with the shape [{adapter!l}], the base has [{base!l}]"
    why = "its vocabulary was resized while it was trained"
    fix = "resize the base's embeddings to that number of rows, register that as a base, and train or merge on it"

    parameter: str
    base: tuple[int, ...]
    adapter: tuple[int, ...]


class TensorFormNotMergeable(InputRefused):
    what = "the checkpoint's tensor {tensor!r} cannot take the adapter's change"
    why = "{reason}"
    fix = "save the base again with the installed transformers, and register that"

    tensor: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Folding:
    """What one adapter does to a checkpoint: `updates` by tensor of the checkpoint.

    `is_untied`: embedding and head, shared in the base, are two tensors afterwards. `head` is what happens to the head
    where it becomes a tensor of its own (its rows before are the embedding's); None for nothing.
    """

    updates: Mapping[str, Update]
    is_untied: bool = False
    head: Update | None = None


def fold(adapter: Adapter, names: ModelNames) -> Folding:
    """What the adapter does to each tensor of the checkpoint.

    Raises:
        AdapterTensorUnmatched: a tensor of the adapter changes nothing that the base has, or has the wrong shape.
        TiedMergeRefused, VocabularyResized, TensorFormNotMergeable: as they say.
    """
    by_parameter: dict[str, Update] = {}
    for parameter, update in _changes(adapter, names):
        earlier = by_parameter.get(parameter)
        by_parameter[parameter] = update if earlier is None else Chain(earlier, update)
    if names.is_tied:
        return _tied(by_parameter, names)
    return _placed(by_parameter, names)


def _changes(adapter: Adapter, names: ModelNames) -> Iterator[tuple[str, Update]]:
    """(parameter, update) pairs; what replaces a tensor comes before what changes it."""
    left = dict(adapter.tensors)
    grouped = _grouped(left)
    for key, tensor in left.items():
        yield _saved(adapter, key, tensor, names)
    for module, parts in grouped.items():
        yield from _of_module(adapter, module, parts, names)


def _grouped(left: dict[str, StoredTensor]) -> dict[str, dict[str, StoredTensor]]:
    """Takes what belongs to an adapted module out of `left`, by module and leaf; a wrapper's name stays in the module's."""
    grouped: dict[str, dict[str, StoredTensor]] = {}
    for key in tuple(left):
        leaf = next((leaf for leaf in _LEAVES if key.endswith(leaf)), None)
        if leaf is not None:
            grouped.setdefault(key[: -len(leaf)], {})[leaf] = left.pop(key)
    return grouped


def _saved(adapter: Adapter, key: str, tensor: StoredTensor, names: ModelNames) -> tuple[str, Update]:
    parameter = key.replace(f"{_WRAPPER}.", ".").replace(".modules_to_save.", ".")
    if parameter not in names.parameters:
        raise AdapterTensorUnmatched(adapter, key, f"the base has no parameter {parameter!r}")
    if names.parameters[parameter] != tensor.shape:
        if parameter in (names.embedding, names.head):
            raise VocabularyResized(parameter, names.parameters[parameter], tensor.shape)
        raise _wrong_shape(adapter, key, tensor.shape, names.parameters[parameter])
    return parameter, Replacement(tensor)


def _of_module(
    adapter: Adapter, module: str, parts: dict[str, StoredTensor], names: ModelNames
) -> Iterator[tuple[str, Update]]:
    wraps = module.count(_WRAPPER)
    inner = module.replace(_WRAPPER, "")
    if parts.keys() & {_LORA_A, _LORA_B, _LORA_BIAS, *_MAGNITUDES}:
        yield from _low_rank(adapter, inner, wraps, parts, names)
    elif parts.keys() == {_EMBEDDING_A, _EMBEDDING_B}:
        parameter = _known(adapter, f"{inner}.weight", parts[_EMBEDDING_A].name, names)
        factors = Factors(parts[_EMBEDDING_A], parts[_EMBEDDING_B], adapter.scale(inner), is_transposed=True)
        _check_rank(adapter, inner, factors)
        _check_factors(adapter, factors, names.parameters[parameter])
        yield parameter, factors
    elif parts.keys() == {_IA3}:
        yield from _rescaled(adapter, inner, parts[_IA3], names)
    elif len(parts) == 1 and next(iter(parts)) in _TOKENS:
        tensor = next(iter(parts.values()))
        parameter = _known(adapter, f"{inner}.weight", tensor.name, names)
        yield parameter, TokenRows(tensor, _token_indices(adapter, inner, tensor))
    else:
        lonely = next(iter(parts.values()))
        raise AdapterTensorUnmatched(adapter, lonely.name, "its partner is missing from the file")


def _low_rank(
    adapter: Adapter, module: str, wraps: int, parts: dict[str, StoredTensor], names: ModelNames
) -> Iterator[tuple[str, Update]]:
    left = dict(parts)
    a = left.pop(_LORA_A, None)
    b = left.pop(_LORA_B, None)
    if a is None or b is None:
        raise AdapterTensorUnmatched(adapter, next(iter(parts.values())).name, "its partner is missing from the file")
    parameter = _known(adapter, _target(adapter, module, wraps, names), a.name, names)
    key = module if parameter == f"{module}.weight" and not _targets_parameter(adapter, parameter) else parameter
    shape = names.parameters[parameter]
    # the base decides: an adapter that was trained on 4 bits says nothing of a layout that its layers did not have
    is_transposed = parameter in names.transposed
    experts = (shape[0], 0) if len(shape) == 3 else None
    factors = Factors(a, b, adapter.scale(key), is_transposed, experts=experts)
    _check_rank(adapter, key, factors)
    _check_factors(adapter, factors, shape)
    magnitude = left.pop(_MAGNITUDES[0], None) or left.pop(_MAGNITUDES[1], None)
    if magnitude is not None and experts is not None:
        raise AdapterTensorUnmatched(adapter, magnitude.name, "magnitudes of stacked experts have no meaning here")
    yield parameter, factors if magnitude is None else WithMagnitude(factors, magnitude)
    bias = left.pop(_LORA_BIAS, None)
    if bias is not None:
        yield _known(adapter, f"{module}.bias", bias.name, names), BiasFactor(bias, adapter.scale(key))


def _target(adapter: Adapter, module: str, wraps: int, names: ModelNames) -> str:
    """The parameter that a pair of factors changes: peft wraps the targeted parameters of one module in their order, the
    first innermost, and each wrapper outside it adds a `base_layer` to the inner ones' names."""
    targeted = [name for name in names.of_module(module) if _targets_parameter(adapter, name)]
    if not targeted:
        return f"{module}.weight"
    position = len(targeted) - 1 - wraps
    return targeted[position] if position >= 0 else f"{module}{_WRAPPER * wraps}"


def _targets_parameter(adapter: Adapter, parameter: str) -> bool:
    targets = adapter.config.get("target_parameters") or ()
    return any(parameter == target or parameter.endswith(f".{target}") for target in targets)


def _rescaled(adapter: Adapter, module: str, vector: StoredTensor, names: ModelNames) -> Iterator[tuple[str, Update]]:
    parameter = _known(adapter, f"{module}.weight", vector.name, names)
    shape = names.parameters[parameter]
    stored_as_in_out = parameter in names.transposed
    # peft: (1, in) where the input is scaled (feed-forward), (out, 1) where the output is
    is_input = len(vector.shape) == 2 and vector.shape[0] == 1 and vector.shape[1] != 1
    along: Literal["rows", "columns"] = "rows" if is_input == stored_as_in_out else "columns"
    size = max(vector.shape)
    if len(shape) != 2 or shape[0 if along == "rows" else 1] != size:
        raise _wrong_shape(adapter, vector.name, vector.shape, shape)
    yield parameter, Scales(vector, along)
    bias = f"{module}.bias"
    if not is_input and bias in names.parameters:
        yield bias, Scales(vector, "rows")


def _token_indices(adapter: Adapter, module: str, tensor: StoredTensor) -> tuple[int, ...]:
    indices: Any = adapter.config.get("trainable_token_indices") or adapter.config.get("token_indices")
    if isinstance(indices, dict):
        indices = next((value for key, value in indices.items() if module == key or module.endswith(f".{key}")), None)
    if not isinstance(indices, list) or len(indices) != tensor.shape[0]:
        raise AdapterTensorUnmatched(adapter, tensor.name, "adapter_config.json does not say which tokens its rows are")
    return tuple(int(index) for index in indices)


def _known(adapter: Adapter, parameter: str, tensor: str, names: ModelNames) -> str:
    if parameter not in names.parameters:
        raise AdapterTensorUnmatched(adapter, tensor, f"the base has no parameter {parameter!r}")
    return parameter


def _check_rank(adapter: Adapter, key: str, factors: Factors) -> None:
    experts = factors.experts[0] if factors.experts else 1
    if factors.a.shape[0] != adapter.rank(key) * experts:
        why = f"it has the rank {factors.a.shape[0] // experts}, and adapter_config.json says {adapter.rank(key)}"
        raise AdapterTensorUnmatched(adapter, factors.a.name, why)


def _check_factors(adapter: Adapter, factors: Factors, shape: tuple[int, ...]) -> None:
    a = factors.a.shape
    b = factors.b.shape
    rows, columns = shape[-2:] if len(shape) >= 2 else (0, 0)
    expected = (columns, rows) if factors.is_transposed else (rows, columns)
    if len(a) != 2 or len(b) != 2 or a[0] != b[1] or (b[0], a[1]) != expected:
        raise _wrong_shape(adapter, factors.b.name, (*b, *a), shape)


def _wrong_shape(
    adapter: Adapter, tensor: str, shape: tuple[int, ...], base: tuple[int, ...]
) -> AdapterTensorUnmatched:
    return AdapterTensorUnmatched(adapter, tensor, f"its shape {list(shape)} does not fit the base's {list(base)}")


# --- from parameters to the tensors of the checkpoint ---


def _placed(by_parameter: Mapping[str, Update], names: ModelNames) -> Folding:
    updates = {}
    for parameter, update in by_parameter.items():
        tensors = names.tensors_of(parameter)
        if not tensors:
            raise TensorFormNotMergeable(
                parameter, "no tensor of the checkpoint holds it under a name that can be traced"
            )
        for tensor in tensors:
            updates[tensor] = _on_tensor(tensor, update, names.placed[tensor], names)
    return Folding(updates)


def _on_tensor(tensor: str, update: Update, place: Placed, names: ModelNames) -> Update:
    if place.refusal is not None:
        raise TensorFormNotMergeable(tensor, place.refusal)
    shape = names.parameters[place.parameter]
    if len(shape) < 3:
        return update
    if not isinstance(update, Factors):
        if place.expert is None:
            return update
        raise TensorFormNotMergeable(
            tensor, "the checkpoint splits a stack of experts that the adapter changes as a whole"
        )
    count = shape[0]
    if place.expert is not None:
        if update.is_transposed:
            raise TensorFormNotMergeable(tensor, "its experts are stored one by one, and the model has them transposed")
        return Factors(update.a, update.b, update.scale, experts=(count, place.expert), rows=place.rows)
    parts = (
        Factors(update.a, update.b, update.scale, update.is_transposed, experts=(count, at)) for at in range(count)
    )
    return StackedFactors(tuple(parts), shape[1])


def _tied(by_parameter: dict[str, Update], names: ModelNames) -> Folding:
    rest = dict(by_parameter)
    of_embedding = rest.pop(names.embedding, None)
    of_head = rest.pop(names.head or "", None)
    for parameter, update in ((names.embedding, of_embedding), (str(names.head), of_head)):
        if not isinstance(update, Replacement | TokenRows | None) or (
            parameter == names.head and isinstance(update, TokenRows)
        ):
            raise TiedMergeRefused(parameter)
    folding = _placed(rest, names)
    updates = dict(folding.updates)
    head = str(names.head)
    if of_embedding is None and of_head is None:
        return folding
    stays_tied = isinstance(of_embedding, TokenRows) and of_head is None
    if isinstance(of_embedding, Replacement) and isinstance(of_head, Replacement):
        stays_tied = bool((of_embedding.tensor.read() == of_head.tensor.read()).all())
    for tensor in names.tensors_of(names.embedding):
        if of_embedding is not None:
            updates[tensor] = of_embedding
    heads = names.tensors_of(head)  # a checkpoint may hold the shared tensor a second time under the head's name
    head_update = of_embedding if stays_tied else of_head
    if head_update is not None:
        updates |= dict.fromkeys(heads, head_update)
    return Folding(updates, is_untied=not stays_tied, head=head_update)
