"""Low-rank adapters folded into their base once more, by numpy alone, from the files of both: for whoever has no torch.

Whatever this cannot say in weights it refuses with the reason; nothing is guessed. A result is compared entry by entry with the
definition in fp64, within what fp32 sums and the number format of what was written allow.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES
from peft_registry.registry.intake.peft_config import read_peft_config
from peft_registry.registry.intake.safetensors import TensorSpan, read_header
from peft_registry.registry.verification.merge_definitions import (
    ROUNDING,
    Array,
    MergedPart,
    expected_by_definition,
)
from peft_registry.schemas.errors import KnownError, NotChecked
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import ALGORITHMS, MergeRecord

NORM_TOLERANCE = 1e-4  # relative: the recorded norm adds up squares in fp32
_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_STORED = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# half of the last place, relative, and what lies below the smallest normal number
_HALF_PLACE = {
    "F64": (2.0**-53, 0.0),
    "F32": (2.0**-24, 2.0**-150),
    "F16": (2.0**-11, 2.0**-25),
    "BF16": (2.0**-9, 0.0),
}


class NotDoneAgain(NotChecked):
    reference = "merge-not-done-again"
    what = "it cannot be computed again without torch"
    why = "{reason}"
    fix = "on a machine with the training extra, `registry merge` makes the same bytes from the same plan"

    reason: str


@dataclass(frozen=True)
class ArtifactTensors:
    """The tensors of an artifact's folder, by name."""

    folder: Path
    manifest: Manifest

    @cached_property
    def spans(self) -> Mapping[str, tuple[Path, TensorSpan]]:
        """Where each tensor lies."""
        found: dict[str, tuple[Path, TensorSpan]] = {}
        for file in self.manifest.weights:
            path = self.folder / file.path
            if not path.is_file():
                raise NotDoneAgain(f"{file.path} of {self.folder.name} is not here: a dossier has it by `--with-base`")
            found |= {span.name: (path, span) for span in read_header(path).tensors}
        return found

    def is_number(self, name: str) -> bool:
        """Whether a tensor holds numbers that a weight can be."""
        return self.spans[name][1].dtype in _STORED

    def dtype(self, name: str) -> str:
        """Its number format, as safetensors names it."""
        return self.spans[name][1].dtype

    def raw(self, name: str) -> bytes:
        """Its bytes."""
        path, span = self.spans[name]
        with path.open("rb") as file:
            file.seek(span.begin)
            return file.read(span.end - span.begin)

    def values(self, name: str) -> Array:
        """Its numbers in fp64.

        Raises:
            NotDoneAgain: they are of a format that this does not read.
        """
        _, span = self.spans[name]
        kind = _STORED.get(span.dtype)
        if kind is None:
            raise NotDoneAgain(f"{name} is stored as {span.dtype}")
        numbers = np.frombuffer(self.raw(name), dtype=kind)
        if span.dtype == "BF16":
            numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
        return numbers.reshape(span.shape).astype(np.float64)


@dataclass(frozen=True)
class LowRankAdapter:
    """An adapter whose every change is s·B·A of one weight."""

    tensors: ArtifactTensors

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        path = self.tensors.folder / "adapter_config.json"
        if not path.is_file():
            raise NotDoneAgain(f"{self.tensors.folder.name} has no configuration of peft")
        try:
            config = read_peft_config(read_file(path, max_bytes=CONFIG_MAX_BYTES))
        except KnownError as error:
            raise NotDoneAgain(f"its configuration is refused: {error.why}") from error
        values = config.values
        asked = ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "layer_replication", "modules_to_save")
        unread = [
            key for key in (*asked, "lora_bias", "trainable_token_indices", "target_parameters") if values.get(key)
        ]
        if values.get("peft_type") != "LORA" or values.get("bias", "none") != "none" or unread:
            what = ", ".join(unread) or str(values.get("peft_type"))
            raise NotDoneAgain(f"{self.tensors.folder.name} is not plain LoRA: {what}")
        return values

    @cached_property
    def scale(self) -> float:
        """What B·A is multiplied with."""
        rank, alpha = self._config.get("r"), self._config.get("lora_alpha", 8)
        if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
            raise NotDoneAgain(f"{self.tensors.folder.name} states no rank")
        return float(alpha) / (math.sqrt(rank) if self._config.get("use_rslora") else rank)

    @cached_property
    def modules(self) -> Mapping[str, str]:
        """The key of each pair of factors, by the name that its weight has in the model."""
        names = [name for name in self.tensors.spans if name.endswith(_A)]
        if len(names) * 2 != len(self.tensors.spans):
            raise NotDoneAgain(f"{self.tensors.folder.name} has tensors beside its factors")
        return {f"{name.removeprefix(_PREFIX).removesuffix(_A)}.weight": name.removesuffix(_A) for name in names}

    def difference(self, weight: str) -> Array:
        """s·B·A of a weight."""
        key = self.modules[weight]
        b, a = self.tensors.values(f"{key}{_B}"), self.tensors.values(f"{key}{_A}")
        if b.ndim != 2 or a.ndim != 2:
            raise NotDoneAgain(f"the factors of {weight} are not matrices")
        return self.scale * (b @ a)

    def square(self, weight: str) -> float:
        """‖s·B·A‖² by the trace of two Gram matrices."""
        key = self.modules[weight]
        b, a = self.tensors.values(f"{key}{_B}"), self.tensors.values(f"{key}{_A}")
        return float(self.scale**2 * ((b.T @ b) * (a @ a.T)).sum())


@dataclass(frozen=True, slots=True)
class MergeAgain:
    """How a merge compares with its definition.

    Attributes:
        tensors: of the result, all of which were compared.
        changed: of them those that an adapter changes.
        entries: that were compared of these.
        undecided: entries whose choice hangs on the last bits, of `ties` and `dare_ties`.
        wrong: the first tensors that are another, with by how much.
    """

    tensors: int
    changed: int
    entries: int
    undecided: int
    wrong: tuple[str, ...]


def merge_again(
    result: ArtifactTensors,
    base: ArtifactTensors,
    parts: Sequence[tuple[MergedPart, LowRankAdapter]],
    merge: MergeRecord,
) -> MergeAgain:
    """Every tensor of a merged model compared with what its definition gives of base and adapters.

    Args:
        result: the merged model.
        base: as it is stored.
        parts: what went in, each with its weight and density.
        merge: as it was recorded.

    Raises:
        NotDoneAgain: this cannot say in weights what went in, or what came out.
    """
    if merge.algorithm not in ALGORITHMS or merge.base_policy != "original" or not merge.has_folded:
        raise NotDoneAgain(f"{merge.algorithm} into the {merge.base_policy} base")
    if result.spans.keys() != base.spans.keys():
        raise NotDoneAgain("the result has other tensors than its base")
    places = {id(part): _placed(adapter, base) for part, adapter in parts}
    touched = {name for placed in places.values() for name in placed}
    wrong: list[str] = []
    entries = undecided = 0
    for name in sorted(base.spans):
        if name not in touched:
            if not _is_same(base, result, name):
                wrong.append(f"{name}: no adapter changes it, and it is not the base's")
            continue
        start = base.values(name)
        changed = [
            (part, start + adapter.difference(places[id(part)][name]) if name in places[id(part)] else start)
            for part, adapter in parts
        ]
        expected = expected_by_definition(merge.algorithm, start, changed, tensor=name, seed=merge.seed or 0)
        written = result.values(name)
        if written.shape != expected.values.shape:
            wrong.append(f"{name}: its shape is another")
            continue
        relative, least = _HALF_PLACE[result.dtype(name)]
        allowed = 2 * expected.tolerance + (ROUNDING + relative) * np.abs(expected.values) + least
        off = np.abs(written - expected.values)
        is_wrong = expected.decided & ~(off <= allowed)
        entries += int(expected.decided.sum())
        undecided += int(expected.decided.size - expected.decided.sum())
        if is_wrong.any():
            wrong.append(f"{name}: {int(is_wrong.sum())} entries differ, by {float(off[is_wrong].max()):.3g} at most")
    return MergeAgain(len(base.spans), len(touched), entries, undecided, tuple(wrong))


@dataclass(frozen=True, slots=True)
class ModelChange:
    """How a whole model differs from its base: in how many values, and ‖W' − W‖ / ‖W‖ over every tensor."""

    values: int
    relative_norm: float


def model_change_again(result: ArtifactTensors, base: ArtifactTensors) -> ModelChange:
    """What a whole model has otherwise than its base, value by value.

    Raises:
        NotDoneAgain: the two hold other tensors, or one of another number format, whose rounding changes values too.
    """
    if result.spans.keys() != base.spans.keys():
        raise NotDoneAgain("the result has other tensors than its base")
    other = [name for name in base.spans if base.dtype(name) != result.dtype(name)]
    if other:
        raise NotDoneAgain(f"{other[0]} is {result.dtype(other[0])} here and {base.dtype(other[0])} in the base")
    values = 0
    stored: list[float] = []
    squares: list[float] = []
    for name in base.spans:
        if not base.is_number(name):
            continue
        start = base.values(name).ravel()
        squares.append(float(start @ start))
        difference = result.values(name).ravel() - start
        values += int(np.count_nonzero(difference))
        stored.append(float(difference @ difference))
    return ModelChange(values, _ratio(math.fsum(stored), math.fsum(squares)))


def relative_norm_again(adapter: LowRankAdapter, base: ArtifactTensors) -> float:
    """‖Δ‖ / ‖W‖ over every tensor of the base, the former from the factors alone.

    Raises:
        NotDoneAgain: as `merge_again`.
    """
    placed = _placed(adapter, base)
    change = math.fsum(adapter.square(weight) for weight in placed.values())
    squares = math.fsum(_square(base, name) for name in base.spans if base.is_number(name))
    return _ratio(change, squares)


def _ratio(change: float, squares: float) -> float:
    """The square root of a sum of squares over another."""
    if squares == 0:
        raise NotDoneAgain("the base is zero")
    return math.sqrt(change / squares)


def _square(base: ArtifactTensors, name: str) -> float:
    values = base.values(name).ravel()
    return float(values @ values)


def _placed(adapter: LowRankAdapter, base: ArtifactTensors) -> dict[str, str]:
    """Of each tensor of the base that an adapter changes, the weight by the adapter's name for it.

    A checkpoint may leave out the first parts of a name, which the model has.
    """
    placed: dict[str, str] = {}
    for weight in adapter.modules:
        matches = list(_named(weight, base))
        if len(matches) != 1:
            raise NotDoneAgain(f"the base has {len(matches)} tensors that {weight} may be")
        placed[matches[0]] = weight
    return placed


def _named(weight: str, base: ArtifactTensors) -> Iterator[str]:
    if weight in base.spans:
        yield weight
        return
    yield from (name for name in base.spans if weight.endswith(f".{name}"))


def _is_same(base: ArtifactTensors, result: ArtifactTensors, name: str) -> bool:
    """Whether the result has the base's own tensor, in its number format or rounded to another."""
    if base.dtype(name) == result.dtype(name):
        return base.raw(name) == result.raw(name)
    before, after = base.values(name), result.values(name)
    relative, least = _HALF_PLACE[result.dtype(name)]
    return before.shape == after.shape and bool((np.abs(after - before) <= relative * np.abs(before) + least).all())
