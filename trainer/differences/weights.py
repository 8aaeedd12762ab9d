"""Weights of two versions side by side, by what can be compared:

    two whole models              tensor by tensor
    two low-rank adapters         what each adds to a module, s·B·A, from the factors: other factors can be the same change
    an adapter and a whole model  what each adds to the base that both stand on
    an adapter and its base       the base, and the base with what the adapter adds
    two adapters of other kinds   what each adds to their base (DoRA, IA3, biases …)

A part that changes no weights (a prompt, a prefix, a bottleneck adapter) has none to compare, and what a kind of adapter that
is not folded here (VeRA, OFT …) adds to them is not computed.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import Records
from peft_registry.registry.use_cases.pull_base import BaseBytesMissing, CheckedFolder, checked_folder
from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.codes import code
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import IntegrityBroken, KnownError
from peft_registry.schemas.methods.hybrid import LORA_FOLDER
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started
from peft_registry.schemas.version import Version
from peft_registry.trainer.merge.adapter import Adapter, read_adapter
from peft_registry.trainer.merge.bundle import MODEL, holds_model
from peft_registry.trainer.merge.fold import fold
from peft_registry.trainer.merge.measures import spectral_norm
from peft_registry.trainer.merge.names import model_names
from peft_registry.trainer.merge.tensors import DTYPES, StoredTensor, checkpoint_tensors
from peft_registry.trainer.merge.updates import Update

_A, _B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two versions, with what is recorded of it."""

    version: Version
    records: Records

    @property
    def identity(self) -> BaseIdentity | None:
        """Of the base that it stands on; its own if it is one."""
        if self.records.base is not None:
            return self.records.base.identity
        base = self.records.manifest.base
        return None if base is None else base.identity


class ModuleDifference(Frozen):
    """One tensor of two models, or the change that two versions make to one. Norms are Frobenius unless they say otherwise."""

    name: str
    shape: tuple[int, ...]
    first_norm: float
    second_norm: float
    difference_norm: float
    cosine: float | None
    spectral_norm: float | None
    changed_share: float | None

    @property
    def relative_norm(self) -> float | None:
        """‖second − first‖ / ‖first‖; None where the first is zero."""
        return self.difference_norm / self.first_norm if self.first_norm else None


_Compared = tuple[tuple[ModuleDifference, ...], str]


def compare_weights(registry: Registry, first: Side, other: Side, scratch: Path, observe: Observe) -> _Compared:
    """The modules of both, and a sentence that says how they were compared, or why they were not.

    Raises:
        BaseBytesMissing: the bytes of one are not on this machine.
        WrongBase, BaseChanged: those of a base are not the registered ones, or were exchanged while they were read.
    """
    if first.version.manifest_digest == other.version.manifest_digest:
        return (), "the same bytes: both are one artifact"
    sides = tuple(_Weights.of(registry, side, scratch) for side in (first, other))
    compared = _compare(registry, sides, scratch, observe)
    for side in sides:
        side.files.require_unchanged()
    return compared


def _compare(registry: Registry, sides: tuple["_Weights", ...], scratch: Path, observe: Observe) -> _Compared:
    silent = next((side for side in sides if side.why_not), None)
    if silent is not None:
        return (), f"not compared: {silent.side.version.label}: {silent.why_not}"
    wholes = [side.whole for side in sides if side.whole is not None]
    if len(wholes) == 2:
        return _counted(_of_models(_tensors(wholes[0]), _tensors(wholes[1]), observe), "tensor by tensor")
    adapters = [side.adapter for side in sides if side.adapter is not None]
    same_base = sides[0].stands_on == sides[1].stands_on
    if len(adapters) == 2 and all(map(_is_plain, adapters)):
        note = "what each adds to a module, s·B·A" + ("" if same_base else "; they stand on different bases")
        return _counted(_of_adapters(*adapters), note)
    if not same_base:
        return (), "not compared: they stand on different bases"
    return _through_base(registry, sides, scratch, observe)


@dataclass(frozen=True, slots=True)
class _Weights:
    """What one side has: a folder of whole weights, or an adapter that changes some. `stands_on`: digest of its base's weights;
    of its own, for a base. `why_not`: why nothing of it is compared."""

    side: Side
    files: CheckedFolder
    stands_on: str
    whole: Path | None = None
    adapter: Adapter | None = None
    why_not: str | None = None

    @classmethod
    def of(cls, registry: Registry, side: Side, scratch: Path) -> "_Weights":
        version = side.version
        manifest = side.records.manifest
        files = checked_folder(registry, version, scratch)
        folder = files.folder
        base = version.base_weights if version.base_weights is not None else version.weights_digest
        if holds_model(manifest):
            return cls(side, files, str(base), whole=folder if manifest.layout == "model" else folder / MODEL)
        parts = {"peft": folder, "bundle": folder / LORA_FOLDER}
        if not (parts[manifest.layout] / "adapter_config.json").is_file():
            return cls(side, files, str(base), why_not="what it holds stays beside the weights")
        adapter = read_adapter(parts[manifest.layout])
        if adapter.why_not_folded is None:
            return cls(side, files, str(base), adapter=adapter)
        # a missing implementation of the fold is not a property of the adapter, so it is not given as the reason
        why_not = adapter.no_weight or code("change_of_weights_not_computed")
        return cls(side, files, str(base), adapter=adapter, why_not=str(why_not))


def _counted(differences: Iterable[ModuleDifference | None], note: str) -> _Compared:
    """None stands for a module that has another shape, or another kind of number, on each side."""
    every = tuple(differences)
    left_out = sum(difference is None for difference in every)
    more = "" if not left_out else f"; {left_out} not compared: another shape, or no number to subtract"
    return tuple(difference for difference in every if difference is not None), note + more


# --- whole models ---


def _tensors(folder: Path) -> dict[str, StoredTensor]:
    return {tensor.name: tensor for tensor in checkpoint_tensors(folder)}


def _of_models(
    first: dict[str, StoredTensor], second: dict[str, StoredTensor], observe: Observe
) -> Iterator[ModuleDifference | None]:
    names = sorted(first.keys() | second.keys())
    observe(Started("compare", total=len(names), unit="tensors"))
    for at, name in enumerate(names, start=1):
        before = first.get(name)
        after = second.get(name)
        known = [tensor for tensor in (before, after) if tensor is not None]
        shape = known[0].shape
        if all(tensor.dtype in DTYPES and tensor.shape == shape for tensor in known):
            yield _of_pair(
                name, *(torch.zeros(shape) if tensor is None else tensor.read().float() for tensor in (before, after))
            )
        else:
            yield None
        observe(Advanced("compare", at))
    observe(Finished("compare"))


def _of_pair(name: str, first: torch.Tensor, second: torch.Tensor) -> ModuleDifference:
    """Two tensors of one shape, fp32."""
    difference = second - first
    matrix = difference.reshape(-1, first.shape[-1]) if first.dim() > 1 else None
    norms = float(first.norm()), float(second.norm())
    changed = int(torch.count_nonzero(difference))
    return ModuleDifference(
        name=name,
        shape=tuple(first.shape),
        first_norm=norms[0],
        second_norm=norms[1],
        difference_norm=float(difference.norm()),
        cosine=float((first * second).sum()) / (norms[0] * norms[1]) if norms[0] and norms[1] else None,
        spectral_norm=spectral_norm(matrix) if matrix is not None and changed else None,
        changed_share=changed / max(first.numel(), 1),
    )


# --- through the base ---


def _through_base(registry: Registry, sides: tuple[_Weights, ...], scratch: Path, observe: Observe) -> _Compared:
    """An adapter beside something else that stands on its base."""
    adapter = next(side for side in sides if side.adapter is not None)
    try:
        base = _base_of(registry, adapter.side, scratch)
        places = [_Place.of(side, base.folder) for side in sides]
    except IntegrityBroken:  # a reason to stop, not to compare less
        raise
    except KnownError as error:
        return (), f"not compared: {error.what}: {error.why}"
    is_base = any(side.side.version.kind == "base" for side in sides)
    note = (
        "the base, and what it becomes with the adapter" if is_base else "what each adds to the base that both stand on"
    )
    compared = _counted(_of_places(base.folder, places, is_base=is_base, observe=observe), note)
    base.require_unchanged()
    return compared


def _base_of(registry: Registry, side: Side, scratch: Path) -> CheckedFolder:
    needed = side.version.base_manifest
    with registry.database.read() as tx:
        known = () if needed is None else catalog.version_by_digest(tx, needed)
    if not known:
        raise BaseBytesMissing(f"the base of {side.version.label}")
    return checked_folder(registry, known[0], scratch)


@dataclass(frozen=True, slots=True)
class _Place:
    """What a side makes of each tensor of the base."""

    updates: dict[str, Update]
    whole: dict[str, StoredTensor] | None

    @classmethod
    def of(cls, side: _Weights, base: Path) -> "_Place":
        if side.adapter is None:
            return cls({}, _tensors(side.whole) if side.whole is not None else {})
        return cls(dict(fold(side.adapter, model_names(base, checkpoint_tensors(base))).updates), None)

    def touches(self, tensor: StoredTensor) -> bool:
        return tensor.name in (self.updates if self.whole is None else self.whole)

    def becomes(self, tensor: StoredTensor, weight: torch.Tensor) -> torch.Tensor | None:
        """The tensor on this side, fp32; None for one of another shape."""
        if self.whole is not None:
            own = self.whole[tensor.name]
            return own.read().float() if own.shape == tensor.shape and own.dtype in DTYPES else None
        update = self.updates.get(tensor.name)
        if update is None:
            return weight
        rows, columns = tensor.matrix
        changed = update.load().changed(weight.reshape(rows, columns), 0, rows)
        return changed.reshape(weight.shape)


def _of_places(
    base: Path, places: list[_Place], *, is_base: bool, observe: Observe
) -> Iterator[ModuleDifference | None]:
    """The tensors of the base that a side changes: as they are on each side where one is the base, else what is added."""
    tensors = [
        tensor
        for tensor in checkpoint_tensors(base)
        if all(place.whole is None or place.touches(tensor) for place in places)
    ]
    observe(Started("compare", total=len(tensors), unit="tensors"))
    for at, tensor in enumerate(tensors, start=1):
        if tensor.dtype in DTYPES:
            weight = tensor.read().float()
            changed = [place.becomes(tensor, weight) for place in places]
            kept = [values for values in changed if values is not None]
            if len(kept) < 2:
                yield None
            elif is_base:
                yield _of_pair(tensor.name, kept[0], kept[1])
            elif any(not torch.equal(one, weight) for one in kept):
                yield _of_pair(tensor.name, kept[0] - weight, kept[1] - weight)
        observe(Advanced("compare", at))
    observe(Finished("compare"))


# --- low-rank adapters, from their factors ---


def _is_plain(adapter: Adapter) -> bool:
    return (
        adapter.peft_type == "LORA"
        and not adapter.config.get("use_dora")
        and all(name.endswith((_A, _B)) for name in adapter.tensors)
    )


def _of_adapters(first: Adapter, second: Adapter) -> Iterator[ModuleDifference | None]:
    modules = sorted(
        {name.removesuffix(_A) for adapter in (first, second) for name in adapter.tensors if name.endswith(_A)}
    )
    for module in modules:
        factors = [_factors(adapter, module) for adapter in (first, second)]
        present = [pair for pair in factors if pair is not None]
        if len({(b.shape[0], a.shape[1]) for b, a in present}) != 1:
            yield None
            continue
        b, a = present[0]
        empty = (b.new_zeros((b.shape[0], 1)), a.new_zeros((1, a.shape[1])))
        (b1, a1), (b2, a2) = (pair or empty for pair in factors)
        inner = float((b1.t() @ b2 * (a1 @ a2.t())).sum())  # ⟨B₁A₁, B₂A₂⟩ without forming either
        squares = [max(float((x.t() @ x * (y @ y.t())).sum()), 0.0) for x, y in ((b1, a1), (b2, a2))]
        norms = [math.sqrt(square) for square in squares]
        joined = torch.cat([b2, -b1], dim=1), torch.cat([a2, a1])
        inside = torch.linalg.qr(joined[0])[1] @ torch.linalg.qr(joined[1].t())[1].t()
        yield ModuleDifference(
            name=module,
            shape=(b.shape[0], a.shape[1]),
            first_norm=norms[0],
            second_norm=norms[1],
            difference_norm=float(torch.linalg.matrix_norm(inside)),
            cosine=inner / (norms[0] * norms[1]) if norms[0] and norms[1] else None,
            spectral_norm=float(torch.linalg.matrix_norm(inside, ord=2)),
            changed_share=None,
        )


def _factors(adapter: Adapter, module: str) -> tuple[torch.Tensor, torch.Tensor] | None:
    """(s·B, A) in fp64; None where the adapter leaves the module alone."""
    if f"{module}{_A}" not in adapter.tensors:
        return None
    a = adapter.tensors[f"{module}{_A}"].read().double()
    b = adapter.tensors[f"{module}{_B}"].read().double()
    return b * adapter.scale(module), a
