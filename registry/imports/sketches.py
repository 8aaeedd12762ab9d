"""What a result does to its base, in a few numbers of each of its weights, so that it is known again in other numbers.

An adapter of LoRA changes a weight by Δ = s·B·A; those of AdaLoRA, LoHa and LoKr by other products, and modules that it holds whole
by W − W of its base. A whole model is its weights W, and changes all of them so. Of each such matrix M a sketch holds PᵀMP with 16
columns of signs (Rademacher; Alon, Matias and Szegedy 1996: inner products of sketches are, in the mean, those of the matrices).
They follow from the sizes and from a secret of the user: whoever offers something and knows them could add a little along them,
which changes the function by next to nothing and the sketch wholly. A sketch is linear and exact in Δ: factors that were permuted,
turned (A → MA, B → BM⁻¹), factored anew or stored with another scale, rank or type have one sketch, and so has the base with the
adapter folded in. Of whole models it holds also (MP)ᵀ(MP) and (PᵀM)(PᵀM)ᵀ, which stay what they are in another order of rows or of
columns.

Two changes are compared weight by weight, by the cosine of their sketches; what counts is which share of the change, by its energy,
lies in weights that agree. So a part of the layers is found, and what was scaled in each. Weights are the same if their names are
the same from the layer on: a loader puts the name of the model in front. The thresholds are in `thresholds.json`;
`docs/explanation/results-in-other-numbers.md` has what they were measured on. A training begun anew does something else and is
not found: nothing here holds against whoever trains again.
"""

import hashlib
import io
import json
import math
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from peft_registry.registry.disk.files import OpenFile, reading
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.imports.fit import place_in_base, short_name
from peft_registry.registry.imports.stated_settings import adapted_weight, alpha_stated, rank_stated, scale_stated
from peft_registry.registry.imports.tensor_values import rounded_values_of
from peft_registry.registry.imports.weights_scan import THRESHOLDS, factor_pairs
from peft_registry.registry.intake.peft_config import PeftConfig
from peft_registry.registry.intake.safetensors import TensorSpan, read_open_header
from peft_registry.schemas.methods import DECLARED
from peft_registry.schemas.methods.declaration import MethodDeclaration

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

FORM = 2  # of the numbers of a sketch: one of another form is made anew
_PROBES = 16
_NUMBERS = _PROBES * _PROBES
_PARTS = (
    3  # the product with probes from both sides, and what is left of it without an order of the rows, of the columns
)
_AT_ONCE = 2**20  # elements of a large matrix that are read at once
_PRODUCTS_OF_ONE = 4  # with one weight, which a file may call by several names
# twice the rows of all experts in a tensor of the largest models, and the longest vocabulary: signs of either take a quarter of a
# gigabyte at most, and what is larger is of no model that anybody uses
_SIDE_AT_MOST = 2**22
_VECTOR_AT_MOST = 2**18
_PREFIX = "base_model.model."
_BASE_LAYER = ".base_layer"
# whose tensors say by themselves what they add to a weight; of other types tensors are compared, in `near_results`
_OF_FACTORS = ("LORA", "ADALORA")
_OF_PRODUCTS = ("LOHA", "LOKR")
_VALUES_OF_ADALORA = ("lora_A", "lora_E")
_OF_EMBEDDING = "lora_embedding_A"  # a weight of one row for each token, and so the other way round
# by how much of itself a format moves a number at most when it rounds
_ROUNDED_BY = {"F16": 2.0**-12, "BF16": 2.0**-9}

Verdict = Literal["the same", "near", "neither"]


@dataclass(frozen=True, slots=True)
class Probes:
    """The signs that sketches are made with, which follow from a secret; sketches of one secret can be compared."""

    secret: bytes

    @property
    def name(self) -> str:
        """What tells them from those of another secret."""
        return hashlib.sha256(b"peft-registry: probes of a sketch" + self.secret).hexdigest()

    def of(self, size: int, columns: int = _PROBES) -> "Array":
        """Signs of the shape (size, columns). Those of a longer side begin with those of a shorter: added rows change little."""
        return _signs(self.secret, size, columns)


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """The numbers of each weight that a result changes, or of a whole model has, by the name that the weight has in the base.

    `values` has the shape (weights, 3, 256); the second and the third part are zero where they say nothing. `is_change`: it is of
    what an adapter adds, and of a whole model's weights otherwise.
    """

    names: tuple[str, ...]
    values: "Array"
    is_change: bool
    probes: Probes

    def to_bytes(self) -> bytes:
        """As it is kept."""
        import numpy as np

        about = json.dumps({"names": self.names, "is_change": self.is_change, "probes": self.probes.name}).encode()
        out = io.BytesIO()
        np.savez(out, about=np.frombuffer(about, dtype=np.uint8), values=self.values)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, probes: Probes) -> "Sketch | None":
        """A sketch that was kept; None where the bytes are no sketch, or one by other probes, so that it is made anew."""
        import numpy as np

        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as kept:
                about = json.loads(kept["about"].tobytes())
                sketch = cls(tuple(about["names"]), kept["values"], bool(about["is_change"]), probes)
                is_whole = sketch.values.shape == (len(sketch.names), _PARTS, _NUMBERS)
                return sketch if is_whole and about["probes"] == probes.name else None
        except (ValueError, OSError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None

    def on(self, names: Sequence[str]) -> "Array":
        """The numbers of these weights, in their order; zero for one that it does not have. Shape (weights, 3, 256), doubles."""
        import numpy as np

        place = {name: number for number, name in enumerate(self.names)}
        values = np.zeros((len(names), _PARTS, _NUMBERS))
        for number, name in enumerate(names):
            if name in place:
                values[number] = self.values[place[name]]
        return values

    def called_as(self, other: "Sketch") -> "Sketch":
        """With the names of another sketch for the weights that are the same from their layer on, where there is one such only."""
        mine, theirs = (
            Counter(short_name(name) for name in sketch.names if name not in known)
            for sketch, known in ((self, set(other.names)), (other, set(self.names)))
        )
        if not mine.keys() & theirs.keys():
            return self
        renamed = {
            short_name(name): name
            for name in other.names
            if mine[short_name(name)] == theirs[short_name(name)] == 1 and name not in self.names
        }
        names = (name if name in other.names else renamed.get(short_name(name), name) for name in self.names)
        return replace(self, names=tuple(names))


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
        is_part = self.same >= thresholds()["share_of_the_same_at_least"]
        return "near" if self.near >= at_least or is_part else "neither"

    @property
    def figures(self) -> str:
        """In words."""
        is_same = self.near < thresholds()["share_at_least"] or self.verdict == "the same"
        share = self.same if is_same else self.near
        least = thresholds()["same_cosine_at_least" if is_same else "near_cosine_at_least"]
        return f"{share:.1%} of what it changes is changed alike (cosine at least {least:g}; of all of it {self.cosine:.3f})"


@lru_cache(maxsize=1)
def thresholds() -> Mapping[str, float]:
    """The figures of `thresholds.json` that decide here."""
    limits: Mapping[str, float] = json.loads(THRESHOLDS.read_text())["sketch"]
    return limits


# --- making ---


def sketched_modules(tensors: Iterable[Tensor], method: str | None) -> frozenset[str]:
    """The modules of whose weights a sketch of these tensors may have numbers, by their short names.

    Args:
        tensors: of an artifact.
        method: that of an adapter; None for a whole model.
    """
    if method is None:
        return modules_of(tensor.name for tensor in tensors)
    declared = DECLARED[method]
    own = [(tensor.name, declared.tensor(tensor.name)) for tensor in tensors]
    whole = {place_in_base(name) for name, found in own if found is None}
    changed = {f"{found[1]}.weight" for _, found in own if found is not None} if is_sketched(declared) else set()
    return modules_of(name.removeprefix(_PREFIX) for name in whole | changed)


def is_sketched(method: MethodDeclaration) -> bool:
    """Whether what an adapter of a type adds to the weights of its base follows from its own tensors, in a way known here."""
    return method.peft_type in (*_OF_FACTORS, *_OF_PRODUCTS)


def modules_of(weights: Iterable[str]) -> frozenset[str]:
    """The short names of the modules that hold these weights."""
    return frozenset(short_name(name.replace(_BASE_LAYER, "")).rpartition(".")[0] for name in weights)


@dataclass(frozen=True, slots=True)
class BaseOfAdapter:
    """What the sketch of an adapter needs of its base.

    Attributes:
        elements: how many each of its weights has, by name: nothing larger is computed.
        sketch: makes its sketch by the same probes, or None; asked only of an adapter that holds modules of its base whole.
    """

    elements: Mapping[str, int]
    sketch: Callable[[], Sketch | None]

    @classmethod
    def of(cls, tensors: Iterable[Tensor], sketch: Callable[[], Sketch | None]) -> "BaseOfAdapter":
        return cls({tensor.name: math.prod(tensor.shape) for tensor in tensors}, sketch)


def sketch_of_adapter(weights: Path, config: PeftConfig, probes: Probes, base: BaseOfAdapter) -> Sketch | None:
    """The sketch of what an adapter adds to the weights of its base; None where nothing of it is known here.

    Args:
        weights: its file.
        config: its configuration.
        probes: of the user.
        base: what is known of its base.

    Raises:
        MalformedWeights, FileMissing, FileChanged, FileUnreadable: as `read_open_header`.
    """
    blocks: dict[str, Array] = {}
    with reading(weights) as file:
        spans = {span.name: span for span in read_open_header(file, family="intake").tensors}
        whole = [span for name, span in spans.items() if config.method.tensor(name) is None]
        before = base.sketch() if whole else None
        replaced = () if before is None else (_moved(file, span, probes, before) for span in whole)
        changes = chain((moved for moved in replaced if moved is not None), _changes(file, spans, config, probes, base))
        for weight, change in changes:
            blocks[weight] = blocks.get(weight, 0) + _numbers(change)
    return _sketch(blocks, probes, is_change=True)


def _changes(
    file: OpenFile, spans: Mapping[str, TensorSpan], config: PeftConfig, probes: Probes, base: BaseOfAdapter
) -> Iterator[tuple[str, "Array"]]:
    if config.values["peft_type"] in _OF_FACTORS:
        yield from _changes_of_factors(file, spans, config, probes)
    elif config.values["peft_type"] in _OF_PRODUCTS:
        yield from _changes_of_products(file, spans, config, probes, base.elements)


def _changes_of_factors(
    file: OpenFile, spans: Mapping[str, TensorSpan], config: PeftConfig, probes: Probes
) -> Iterator[tuple[str, "Array"]]:
    """s·PᵀBAP of each weight that two factors change, of AdaLoRA with the values between them."""
    is_adalora = config.values["peft_type"] == "ADALORA"
    for module, first, second in factor_pairs(spans):
        weight, key = adapted_weight(config, module)
        a, b = _matrix(file, first), _matrix(file, second)
        if a is None or b is None or len(a) != b.shape[1]:
            continue
        experts = _experts(config, key, len(a))
        if max(len(b) * experts, a.shape[1]) > _SIDE_AT_MOST:
            continue
        if is_adalora:
            values = _matrix(file, spans.get(first.name.replace(*_VALUES_OF_ADALORA)))
            if values is None or values.shape != (len(a), 1):
                continue
            a = values * a
            scale = _number(alpha_stated(config, key)) / len(a)  # whatever it says of ranks, which training changed
        else:
            scale = scale_stated(config, key)
        change = scale * _product(a, b, probes, experts=experts)
        is_turned = bool(config.values.get("fan_in_fan_out")) != (_OF_EMBEDDING in first.name)
        yield weight, change.T if is_turned else change


def _number(value: Any) -> float:  # whatever a file has there
    return float(value) if isinstance(value, int | float) else 1.0


def _experts(config: PeftConfig, key: str, ranks: int) -> int:
    """How many pairs of factors lie beside each other in one pair: one for each expert in a parameter."""
    stated = rank_stated(config, key)
    is_number = isinstance(stated, int) and 0 < stated < ranks and ranks % stated == 0
    return ranks // stated if is_number and config.values.get("target_parameters") else 1


def _product(a: "Array", b: "Array", probes: Probes, *, experts: int) -> "Array":
    # as peft lays them out: the ranks of one expert beside each other in A, and far from each other in B
    rank, rows = len(a) // experts, len(b)
    left, right = probes.of(rows * experts), a @ probes.of(a.shape[1])
    products = (
        (left[expert * rows : (expert + 1) * rows].T @ b[:, expert::experts])
        @ right[expert * rank : (expert + 1) * rank]
        for expert in range(experts)
    )
    whole: Array = sum(products)
    return whole


def _changes_of_products(
    file: OpenFile, spans: Mapping[str, TensorSpan], config: PeftConfig, probes: Probes, elements: Mapping[str, int]
) -> Iterator[tuple[str, "Array"]]:
    """s·PᵀΔP of each weight that LoHa or LoKr changes; none of convolutions, which lie there otherwise.

    A few numbers can stand for a product of any size, any number of times: it is made of the size of a weight alone, and of one
    weight a few times, first under the name that the base has.
    """
    of_short = {short_name(name): size for name, size in elements.items()}
    made: Counter[str] = Counter()
    parts: dict[str, dict[str, TensorSpan]] = {}
    for name, span in spans.items():
        own = config.method.tensor(name)
        if own is not None:
            parts.setdefault(own[1], {})[own[0].name] = span
    adapted = [(*adapted_weight(config, module), spans_of_module) for module, spans_of_module in parts.items()]
    for weight, key, spans_of_module in sorted(adapted, key=lambda found: found[0] not in elements):
        short = short_name(weight)
        made[short] += 1
        if short not in of_short or made[short] > _PRODUCTS_OF_ONE:
            continue
        matrices = {name: _matrix(file, span) for name, span in spans_of_module.items()}
        known = {name: value for name, value in matrices.items() if value is not None}
        rows_of = _rows_of_product(known, elements=of_short[short])
        if rows_of is not None:
            yield weight, scale_stated(config, key) * _probed(rows_of, probes)


@dataclass(frozen=True, slots=True)
class _Rows:
    """A matrix whose rows are made when they are asked for, because it is as large as a weight of the base."""

    shape: tuple[int, int]
    between: Callable[[int, int], "Array"]


def _rows_of_product(parts: Mapping[str, "Array"], *, elements: int) -> _Rows | None:
    """(B₁·A₁) ⊙ (B₂·A₂) of LoHa, C ⊗ (B·A) of LoKr; None where parts are missing, or have shapes of no product of this size."""
    import numpy as np

    if "hada_w1_a" in parts:
        names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
        if parts.keys() != set(names):
            return None
        one, two, three, four = (parts[name] for name in names)
        if (one.shape[1], three.shape[1]) != (len(two), len(four)) or (len(one), two.shape[1]) != (
            len(three),
            four.shape[1],
        ):
            return None
        if len(one) * two.shape[1] != elements:
            return None
        return _Rows((len(one), two.shape[1]), lambda begin, end: (one[begin:end] @ two) * (three[begin:end] @ four))
    outer, inner = (_joined(parts, f"lokr_w{number}", elements=elements) for number in (1, 2))
    if outer is None or inner is None or outer.size * inner.size != elements:
        return None
    high, wide = inner.shape

    def between(begin: int, end: int) -> "Array":
        blocks = [np.kron(outer[row : row + 1], inner) for row in range(begin // high, -(-end // high))]
        skipped = begin // high * high
        rows: Array = np.concatenate(blocks)[begin - skipped : end - skipped]
        return rows

    return _Rows((len(outer) * high, outer.shape[1] * wide), between)


def _joined(parts: Mapping[str, "Array"], name: str, *, elements: int) -> "Array | None":
    """A matrix, as it is or as the product of two."""
    if name in parts:
        return parts[name]
    left, right = parts.get(f"{name}_a"), parts.get(f"{name}_b")
    if left is None or right is None or left.shape[1] != len(right) or len(left) * right.shape[1] > elements:
        return None
    product: Array = left @ right
    return product


def _probed(matrix: _Rows, probes: Probes) -> "Array":
    import numpy as np

    rows, columns = matrix.shape
    left, right = probes.of(rows), probes.of(columns)
    whole = np.zeros((_PROBES, _PROBES))
    step = max(1, _AT_ONCE // columns)
    for begin in range(0, rows, step):
        end = min(rows, begin + step)
        whole += left[begin:end].T @ (matrix.between(begin, end) @ right)
    return whole


def _matrix(file: OpenFile, span: TensorSpan | None) -> "Array | None":
    """A tensor as a matrix of its first dimension; None for one that has less than two, or of a type that numpy does not hold."""
    if span is None or len(span.shape) < 2 or not all(span.shape):
        return None
    values = rounded_values_of(file, span)
    return None if values is None else values.reshape(span.shape[0], -1)


def _moved(file: OpenFile, span: TensorSpan, probes: Probes, base: Sketch) -> tuple[str, "Array"] | None:
    """The name of a weight that an adapter holds whole, and what it is more than that of the base; None where that says nothing."""
    place = place_in_base(span.name)
    short = short_name(place)
    same = [name for name in base.names if name == place] or [name for name in base.names if short_name(name) == short]
    numbers = _weight(file, span, probes) if len(same) == 1 else None
    if numbers is None:
        return None
    before = base.values[base.names.index(same[0])][0]
    change = numbers[0] - before
    # rounding moves every weight that nobody trained, of one base in one way
    is_rounding = (change**2).sum() <= (_ROUNDED_BY.get(span.dtype, 0.0) ** 2) * (before**2).sum()
    return None if is_rounding else (same[0], change)


def sketch_of_model(files: Sequence[Path], probes: Probes) -> Sketch | None:
    """The sketch of the weights in these files; None where numpy holds none of them.

    Raises:
        MalformedWeights, FileMissing, FileChanged, FileUnreadable: as `read_open_header`.
    """
    blocks: dict[str, Array] = {}
    with ExitStack() as stack:
        for path in files:
            file = stack.enter_context(reading(path))
            for span in read_open_header(file, family="intake").tensors:
                numbers = _weight(file, span, probes)
                if numbers is not None:
                    blocks[span.name] = numbers
    return _sketch(blocks, probes, is_change=False)


def _sketch(blocks: Mapping[str, "Array"], probes: Probes, *, is_change: bool) -> Sketch | None:
    import numpy as np

    # numbers beyond a single's are of no model that anybody used, and nothing could be compared with them
    finite = {name: value for name, value in blocks.items() if np.isfinite(value).all()}
    if not finite:
        return None
    return Sketch(tuple(finite), np.stack(list(finite.values())).astype(np.float32), is_change, probes)


def _numbers(change: "Array") -> "Array":
    import numpy as np

    numbers = np.zeros((_PARTS, _NUMBERS))
    numbers[0] = np.ascontiguousarray(change).reshape(-1)
    return numbers


def _weight(file: OpenFile, span: TensorSpan, probes: Probes) -> "Array | None":
    import numpy as np

    if not span.shape or not all(span.shape):
        return None
    if len(span.shape) == 1 and span.shape[0] <= _VECTOR_AT_MOST:
        vector = rounded_values_of(file, span)
        return None if vector is None else _numbers(vector @ probes.of(span.shape[0], _NUMBERS))
    columns = span.shape[-1]
    rows = math.prod(span.shape[:-1])
    if max(rows, columns) > _SIDE_AT_MOST or len(span.shape) == 1:
        return None
    left, right = probes.of(rows), probes.of(columns)
    both = np.zeros((_PROBES, columns))
    gram = np.zeros((_PROBES, _PROBES))
    step = max(1, _AT_ONCE // columns)
    for begin in range(0, rows, step):
        end = min(rows, begin + step)
        values = rounded_values_of(file, span, runs=[range(begin * columns, end * columns)], form="<f4")
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


@lru_cache(maxsize=8)  # the sizes of a model
def _signs(secret: bytes, size: int, columns: int) -> "Array":
    import numpy as np

    seed = secret + bytes([columns // 8])
    drawn = np.frombuffer(hashlib.shake_256(seed).digest(size * columns // 8), dtype=np.uint8)
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
    results = [
        (result.called_as(offered), None if base is None else base.called_as(offered)) for result, base in results
    ]
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
        result = result.called_as(offered)
        base = None if base is None else base.called_as(offered).called_as(result)
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
