"""What a result does to its base, in a few numbers of each of its weights, so that it is known again in other numbers.

An adapter of LoRA changes a weight by Δ = s·B·A; a whole model is its weights W, and changes them by W − W of its base. Of each
such matrix M a sketch holds PᵀMP with 16 columns of signs that follow from the sizes alone (Rademacher; Alon, Matias and Szegedy
1996: inner products of sketches are, in the mean, those of the matrices). It is linear and exact in Δ: factors that were permuted,
turned (A → MA, B → BM⁻¹), factored anew or stored with another scale or rank have one sketch, and so has the base with the adapter
folded in. Of whole models it holds also (MP)ᵀ(MP) and (PᵀM)(PᵀM)ᵀ, which stay what they are in another order of rows or of columns.

Two changes are compared weight by weight, by the cosine of their sketches; what counts is which share of the change, by its energy,
lies in weights that agree. So a part of the layers is found, and what was scaled in each. The thresholds are in `thresholds.json`;
`docs/explanation/results-in-other-numbers.md` has what they were measured on. A training begun anew does something else and is
not found: nothing here holds against whoever trains again.
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from peft_registry.registry.disk.files import OpenFile, reading
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.imports.stated_settings import scale_stated
from peft_registry.registry.imports.tensor_values import values_of
from peft_registry.registry.imports.weights_scan import THRESHOLDS, factor_pairs, first_factor
from peft_registry.registry.intake.peft_config import PeftConfig
from peft_registry.registry.intake.safetensors import TensorSpan, read_open_header
from peft_registry.schemas.methods import DECLARED

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

FORM = 1  # of the numbers of a sketch: one of another form is made anew
_PROBES = 16
_NUMBERS = _PROBES * _PROBES
_PARTS = (
    3  # the product with probes from both sides, and what is left of it without an order of the rows, of the columns
)
_AT_ONCE = 2**20  # elements of a large matrix that are read at once
_PREFIX = "base_model.model."
_PEFT_TYPE = "LORA"  # whose product is the change itself; of other types tensors are compared, in `near_results`
_SEED = b"peft-registry: probes of a sketch"

Verdict = Literal["the same", "near", "neither"]


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """The numbers of each weight that a result changes, or of a whole model has, by the name that the weight has in the base.

    `values` has the shape (weights, 3, 256); the second and the third part are zero where they say nothing. `is_change`: it is of
    what an adapter adds, and of a whole model's weights otherwise.
    """

    names: tuple[str, ...]
    values: "Array"
    is_change: bool

    def to_bytes(self) -> bytes:
        """As it is kept."""
        import numpy as np

        about = json.dumps({"names": self.names, "is_change": self.is_change}).encode()
        out = io.BytesIO()
        np.savez(out, about=np.frombuffer(about, dtype=np.uint8), values=self.values)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Sketch | None":
        """A sketch that was kept; None where the bytes are no sketch, so that it is made anew."""
        import numpy as np

        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as kept:
                about = json.loads(kept["about"].tobytes())
                sketch = cls(tuple(about["names"]), kept["values"], bool(about["is_change"]))
        except (ValueError, OSError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None
        return sketch if sketch.values.shape == (len(sketch.names), _PARTS, _NUMBERS) else None

    def on(self, names: Sequence[str]) -> "Array":
        """The numbers of these weights, in their order; zero for one that it does not have. Shape (weights, 3, 256), doubles."""
        import numpy as np

        place = {name: number for number, name in enumerate(self.names)}
        values = np.zeros((len(names), _PARTS, _NUMBERS))
        for number, name in enumerate(names):
            if name in place:
                values[number] = self.values[place[name]]
        return values


@dataclass(frozen=True, slots=True)
class Likeness:
    """Which share of what a result changes, and of what the offered changes, lies in weights that change alike.

    `same` and `near` are the larger of the two shares, by the one and the other threshold of the cosine; `cosine` is that of both
    changes as a whole.
    """

    same: float
    near: float
    cosine: float

    @property
    def verdict(self) -> Verdict:
        """What is said of it, by the thresholds."""
        at_least = thresholds()["share_at_least"]
        if self.same >= at_least:
            return "the same"
        return "near" if self.near >= at_least else "neither"

    @property
    def figures(self) -> str:
        """In words."""
        share = self.same if self.verdict == "the same" else self.near
        least = thresholds()["same_cosine_at_least" if self.verdict == "the same" else "near_cosine_at_least"]
        return f"{share:.1%} of what it changes is changed alike (cosine at least {least:g}; of all of it {self.cosine:.3f})"


@lru_cache(maxsize=1)
def thresholds() -> Mapping[str, float]:
    """The figures of `thresholds.json` that decide here."""
    limits: Mapping[str, float] = json.loads(THRESHOLDS.read_text())["sketch"]
    return limits


# --- making ---


def sketched_names(tensors: Iterable[Tensor], method: str | None) -> frozenset[str]:
    """The names that a sketch of these tensors may have; `method` is that of an adapter, None for a whole model."""
    if method is not None and DECLARED[method].peft_type != _PEFT_TYPE:
        return frozenset()
    if method is None:
        return frozenset(tensor.name for tensor in tensors)
    names = (first_factor(tensor.name) for tensor in tensors)
    return frozenset(_weight_of(name) for name in names if name is not None)


def _weight_of(module: str) -> str:
    return f"{module.removeprefix(_PREFIX)}.weight"


def sketch_of_adapter(weights: Path, config: PeftConfig) -> Sketch | None:
    """The sketch of what an adapter adds to the weights of its base; None for one that is not of LoRA.

    Raises:
        MalformedWeights, FileMissing, FileChanged, FileUnreadable: as `read_open_header`.
    """
    import numpy as np

    if config.values["peft_type"] != _PEFT_TYPE:
        return None
    blocks: dict[str, Array] = {}
    with reading(weights) as file:
        spans = {span.name: span for span in read_open_header(file, family="intake").tensors}
        for name, first, second in factor_pairs(spans):
            change = _change(file, first, second, scale_stated(config, name.removeprefix(_PREFIX)))
            if change is not None:
                turned = change.T if config.values.get("fan_in_fan_out") else change
                blocks[_weight_of(name)] = _numbers(np.ascontiguousarray(turned))
    return _sketch(blocks, is_change=True)


def sketch_of_model(files: Sequence[Path]) -> Sketch | None:
    """The sketch of the weights in these files; None where numpy holds none of them.

    Raises:
        MalformedWeights, FileMissing, FileChanged, FileUnreadable: as `read_open_header`.
    """
    blocks: dict[str, Array] = {}
    with ExitStack() as stack:
        for path in files:
            file = stack.enter_context(reading(path))
            for span in read_open_header(file, family="intake").tensors:
                numbers = _weight(file, span)
                if numbers is not None:
                    blocks[span.name] = numbers
    return _sketch(blocks, is_change=False)


def _sketch(blocks: Mapping[str, "Array"], *, is_change: bool) -> Sketch | None:
    import numpy as np

    # numbers beyond a single's are of no model that anybody used, and nothing could be compared with them
    finite = {name: value for name, value in blocks.items() if np.isfinite(value).all()}
    if not finite:
        return None
    return Sketch(tuple(finite), np.stack(list(finite.values())).astype(np.float32), is_change)


def _change(file: OpenFile, first: TensorSpan, second: TensorSpan, scale: float) -> "Array | None":
    """s·(PᵀB)(AP); None for types and shapes that are no two factors."""
    if len(first.shape) < 2 or len(second.shape) < 2 or first.shape[0] != second.shape[1] or not all(first.shape):
        return None
    a, b = values_of(file, first), values_of(file, second)
    if a is None or b is None:
        return None
    rank, rows = first.shape[0], second.shape[0]
    a, b = a.reshape(rank, -1), b.reshape(rows, rank)
    change: Array = scale * (_probes(rows, _PROBES).T @ b) @ (a @ _probes(a.shape[1], _PROBES))
    return change


def _numbers(change: "Array") -> "Array":
    import numpy as np

    numbers = np.zeros((_PARTS, _NUMBERS))
    numbers[0] = change.reshape(-1)
    return numbers


def _weight(file: OpenFile, span: TensorSpan) -> "Array | None":
    import numpy as np

    if not span.shape or not all(span.shape):
        return None
    if len(span.shape) == 1:
        vector = values_of(file, span)
        return None if vector is None else _numbers(vector @ _probes(span.shape[0], _NUMBERS))
    columns = span.shape[-1]
    rows = math.prod(span.shape[:-1])
    left, right = _probes(rows, _PROBES), _probes(columns, _PROBES)
    both = np.zeros((_PROBES, columns))
    gram = np.zeros((_PROBES, _PROBES))
    step = max(1, _AT_ONCE // columns)
    for begin in range(0, rows, step):
        end = min(rows, begin + step)
        values = values_of(file, span, runs=[range(begin * columns, end * columns)], form="<f4")
        if values is None:
            return None
        block = values.reshape(end - begin, columns)
        both += left[begin:end].T @ block
        seen = block @ right
        gram += seen.T @ seen
    numbers = _numbers(both @ right)
    numbers[1] = gram.reshape(-1)
    numbers[2] = (both @ both.T).reshape(-1)
    return numbers


@lru_cache(maxsize=32)
def _probes(size: int, columns: int) -> "Array":
    """Signs that follow from the seed. Those of a longer side begin with those of a shorter one: added rows change little."""
    import numpy as np

    drawn = np.frombuffer(hashlib.shake_256(_SEED + bytes([columns // 8])).digest(size * columns // 8), dtype=np.uint8)
    signs: Array = np.unpackbits(drawn).astype(np.float32).reshape(size, columns) * 2 - 1
    return signs


# --- comparing ---


def likeness(offered: Sketch, result: Sketch, base: Sketch | None) -> Likeness | None:
    """How far what is offered changes a base as a result does; None where they have no weight in common.

    Args:
        offered: of an adapter or a whole model.
        result: of one that is registered.
        base: of the result's base; only where both are adapters it is not needed.
    """
    compared = _Compared.of(offered, result, base)
    return None if compared is None else compared.likeness()


def parts_of(offered: Sketch, results: Sequence[tuple[Sketch, Sketch | None]]) -> tuple[float, ...]:
    """Which part each result has in what is offered, where that is those results added up; all zero where it is not.

    Args:
        offered: of an adapter, or of a whole model of the base of the first result.
        results: each with the sketch of its base, which only whole models need.

    Returns:
        Of each result the norm of what it brings over the norm of the whole, in their order.
    """
    import numpy as np

    nothing = (0.0,) * len(results)
    known = [sketch for sketch in (offered, *(result for result, _ in results)) if not sketch.is_change]
    names = tuple(sorted(set.intersection(*(set(sketch.names) for sketch in known)) if known else set(offered.names)))
    whole = _change_on(offered, names, next((base for _, base in results if base is not None), None))
    columns = [_change_on(result, names, base) for result, base in results]
    if whole is None or not whole.any() or any(column is None for column in columns):
        return nothing
    span = np.stack([column for column in columns if column is not None], axis=1)
    shares = np.linalg.lstsq(span, whole)[0]
    rest = np.linalg.norm(whole - span @ shares) / np.linalg.norm(whole)
    if rest > thresholds()["rest_at_most"]:
        return nothing
    return tuple(float(part) for part in np.abs(shares) * np.linalg.norm(span, axis=0) / np.linalg.norm(whole))


def _change_on(sketch: Sketch, names: Sequence[str], base: Sketch | None) -> "Array | None":
    """What a result changes in these weights, by the first part of its sketch, flat; None where its base is not known."""
    values = sketch.on(names)[:, 0]
    if not sketch.is_change:
        if base is None:
            return None
        values = values - base.on(names)[:, 0]
    flat: Array = values.reshape(-1)
    return flat


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """Two changes of the same weights, and the weights of the base where one of the two is a whole model."""

    names: tuple[str, ...]
    offered: "Array"
    result: "Array"
    base: "Array | None"

    @classmethod
    def of(cls, offered: Sketch, result: Sketch, base: Sketch | None) -> "_Compared | None":
        # an adapter that lacks a weight does not change it; a whole model that lacks one is another model there
        known = [set(sketch.names) for sketch in (offered, result) if not sketch.is_change]
        names = set.intersection(*known) if known else set(offered.names) | set(result.names)
        if known:
            if base is None:
                return None
            names &= set(base.names)
        if not names & set(offered.names) & set(result.names):
            return None
        ordered = tuple(sorted(names))
        before = base.on(ordered) if known and base is not None else None
        changes = []
        for sketch in (offered, result):
            values = sketch.on(ordered)
            changes.append(values if sketch.is_change or before is None else values - before)
        mine, theirs = changes
        if offered.is_change or result.is_change:
            mine[:, 1:], theirs[:, 1:] = 0.0, 0.0  # what an adapter adds says nothing of orders of rows
        return cls(ordered, mine, theirs, before)

    def likeness(self) -> Likeness:
        import numpy as np

        energy = (self.offered**2).sum(axis=2)
        energy_of_result = (self.result**2).sum(axis=2)
        product = (self.offered * self.result).sum(axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines = np.nan_to_num(np.abs(product) / np.sqrt(energy * energy_of_result))
        if self.base is not None:
            # a matrix that is not the base's own moved differs from it by the base itself, as everything else does
            apart = ((self.offered - self.result) ** 2).sum(axis=2)
            is_of_base = (energy <= 0.5 * (self.base**2).sum(axis=2)) | (apart <= 0.5 * energy)
            cosines = cosines * is_of_base
        shares = []
        for least in (thresholds()["same_cosine_at_least"], thresholds()["near_cosine_at_least"]):
            agree = cosines >= least
            of_parts = [
                *(_share(energy_of_result[:, part], agree[:, part]) for part in range(_PARTS)),
                _share(energy[:, 0], agree[:, 0]),
            ]
            shares.append(max(of_parts))
        same, near = shares
        return Likeness(same, near, _cosine(self.offered[:, 0].reshape(-1), self.result[:, 0].reshape(-1)))


def _share(energy: "Array", agree: "Array") -> float:
    whole = float(energy.sum())
    return float(energy[agree].sum()) / whole if whole > 0 else 0.0


def _cosine(one: "Array", other: "Array") -> float:
    product = float(one @ one) * float(other @ other)
    return float(one @ other) / math.sqrt(product) if 0 < product < math.inf else 0.0
