"""How near a whole model is to each registered base: `made from`, `not made from` or `cannot tell`.

The matrices of equal name and shape are compared by a sample of their elements: the share that is equal, the cosine of all of them
together, and the Frobenius norm of the difference over that of the base. The sample is spread over the whole matrix, and which
elements it takes follows from the model's own digest: whoever keeps the elements that are looked at and changes the rest gets
another sample. Vectors are left out: norms of layers are near 1 in every
model. What was trained or merged from a base keeps most of every matrix; matrices of models that began apart are orthogonal. Two
bases that are near each other, because one was made from the other, are told apart only where the model is much nearer to one.
The thresholds are in `thresholds.json`.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import OpenFile, reading
from peft_registry.registry.imports.tensor_values import values_of
from peft_registry.registry.imports.weights_scan import THRESHOLDS
from peft_registry.registry.intake.safetensors import TensorSpan, read_open_header
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import BaseRelation, RelationAnswer


class ModelOfAnotherBase(IntegrityBroken):
    what = "{model} was not made from {base}"
    why = "{reason}"
    fix = "name the base that it was made from with --base; `registry base add` registers one that is not here"

    model: str
    base: str
    reason: str


@dataclass(frozen=True, slots=True)
class WeightNearness:
    """The figures of one comparison. `worst` is the matrix that is least like the base's, with its cosine."""

    matrices: int
    share: float  # of the elements of the model's matrices that have a counterpart
    comparable_share: float = 0.0  # of the elements, those that could be compared: in number formats that numpy holds
    equal_share: float | None = None
    cosine: float | None = None
    relative_norm: float | None = None
    worst: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class ComparedBase:
    """A base, and how near the model is to it; None where its bytes are not here."""

    label: str
    weights: Digest
    nearness: WeightNearness | None


_RUNS = 64  # of a matrix: reads of some kilobytes each


@lru_cache(maxsize=1)
def _thresholds() -> Mapping[str, Any]:
    limits: Mapping[str, Any] = json.loads(THRESHOLDS.read_text())["relation"]
    return limits


def nearness_of(model: Sequence[Path], base: Sequence[Path], seed: Digest) -> WeightNearness:
    """How near the safetensors files of a model are to those of a base.

    Args:
        model: its files.
        base: its files.
        seed: of the sample: the digest of the model's weights.

    Raises:
        MalformedWeights, FileMissing, FileChanged, FileUnreadable: as `read_open_header`.
    """
    with ExitStack() as stack:
        ours = _matrices(stack, model)
        theirs = _matrices(stack, base)
        pairs = [_Pair(name, ours[name], theirs[name]) for name in sorted(ours.keys() & theirs.keys())]
        return _nearness([pair for pair in pairs if pair.is_of_one_width], sum(map(_elements, ours.values())), seed)


def relations_of(compared: Iterable[ComparedBase]) -> tuple[BaseRelation, ...]:
    """What the figures say of each base, beside those of the others."""
    entries = tuple(compared)
    return tuple(_relation(entry, [other for other in entries if other.weights != entry.weights]) for entry in entries)


# --- figures ---

_Stored = tuple[OpenFile, TensorSpan]


def _elements(stored: _Stored) -> int:
    return math.prod(stored[1].shape)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A matrix of the model and that of the base under the same name."""

    name: str
    model: _Stored
    base: _Stored

    @property
    def is_of_one_width(self) -> bool:
        return self.model[1].shape[1:] == self.base[1].shape[1:]


@dataclass(frozen=True, slots=True)
class _Products:
    """Sums over the sampled elements of a pair; `elements` counts all of the model's matrix."""

    name: str
    elements: int
    product: float
    model_squares: float
    base_squares: float
    difference_squares: float
    is_equal: bool

    @property
    def cosine(self) -> float | None:
        return _ratio(self.product, math.sqrt(self.model_squares * self.base_squares))


def _matrices(stack: ExitStack, files: Sequence[Path]) -> dict[str, _Stored]:
    matrices: dict[str, _Stored] = {}
    for path in files:
        file = stack.enter_context(reading(path))
        header = read_open_header(file, family="intake")
        matrices |= {span.name: (file, span) for span in header.tensors if len(span.shape) > 1 and all(span.shape)}
    return matrices


def _nearness(pairs: Sequence[_Pair], elements: int, seed: Digest) -> WeightNearness:
    """The figures of all pairs together; `elements` are those of all matrices of the model."""
    share = _ratio(sum(_elements(pair.model) for pair in pairs), elements) or 0.0
    compared = [products for pair in pairs if (products := _products(pair, seed)) is not None]
    if not compared:
        return WeightNearness(0, share)
    product = sum(products.product for products in compared)
    model = sum(products.model_squares for products in compared)
    base = sum(products.base_squares for products in compared)
    difference = sum(products.difference_squares for products in compared)
    cosines = [(products.name, products.cosine) for products in compared]
    return WeightNearness(
        matrices=len(compared),
        share=share,
        comparable_share=sum(products.elements for products in compared) / elements,
        equal_share=sum(products.is_equal for products in compared) / len(compared),
        cosine=_ratio(product, math.sqrt(model * base)),
        relative_norm=_ratio(math.sqrt(difference), math.sqrt(base)),
        worst=min(
            ((name, cosine) for name, cosine in cosines if cosine is not None), key=lambda named: named[1], default=None
        ),
    )


def _products(pair: _Pair, seed: Digest) -> _Products | None:
    """None where one of the two is in a number format that numpy does not hold."""
    count = min(_elements(pair.model), _elements(pair.base))  # embeddings may have got rows for new tokens
    runs = sampled_runs(count, most=int(_thresholds()["elements_of_a_matrix"]), seed=f"{seed} {pair.name}")
    model = values_of(*pair.model, runs=runs)
    base = values_of(*pair.base, runs=runs)
    if model is None or base is None:
        return None
    return _Products(
        name=pair.name,
        elements=_elements(pair.model),
        product=float(model @ base),
        model_squares=float(model @ model),
        base_squares=float(base @ base),
        difference_squares=float(((model - base) ** 2).sum()),
        is_equal=bool((model == base).all()),
    )


def sampled_runs(count: int, *, most: int, seed: str) -> list[range]:
    """Numbers of at most `most` of `count` elements, in order: all of them, or short runs, each somewhere in a part of its own.

    Args:
        count: of the elements.
        most: of those that are taken.
        seed: equal seeds give equal runs.
    """
    if count <= most:
        return [range(count)]
    parts = min(_RUNS, most)
    length = most // parts
    runs = []
    for number in range(parts):
        begin = count * number // parts
        end = count * (number + 1) // parts
        drawn = int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest())
        start = begin + drawn % (end - begin - length + 1)
        runs.append(range(start, start + length))
    return runs


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 and math.isfinite(part) and math.isfinite(whole) else None


# --- answers ---


def _relation(entry: ComparedBase, others: Sequence[ComparedBase]) -> BaseRelation:
    near = entry.nearness
    answer, reason = _answer(near, [other.nearness for other in others])
    return BaseRelation(
        base=entry.label,
        weights=entry.weights,
        answer=answer,
        reason=reason,
        matrices=0 if near is None else near.matrices,
        equal_share=None if near is None else near.equal_share,
        cosine=None if near is None else near.cosine,
        relative_norm=None if near is None else near.relative_norm,
    )


def _answer(  # noqa: PLR0911  one return a rule reads best
    near: WeightNearness | None, others: Sequence[WeightNearness | None]
) -> tuple[RelationAnswer, str]:
    limits = _thresholds()
    if near is None:
        return "cannot tell", "the weights of the base are not on this machine"
    if near.share == 0:
        return "not made from", "no matrix of it has the name and the width of one of the base"
    if near.share < limits["compared_share_at_least"]:
        return "cannot tell", f"only {near.share:.0%} of its matrices have a counterpart in the base"
    if near.matrices == 0:
        return "cannot tell", "its matrices are in a number format that cannot be compared here"
    if near.comparable_share < limits["compared_share_at_least"]:
        share = f"{near.comparable_share:.0%}"
        return "cannot tell", f"only {share} of its matrices are in a number format that can be compared here"
    if near.cosine is None or near.relative_norm is None:
        return "cannot tell", "the matrices are zero"
    if near.cosine <= limits["not_made_from_cosine_at_most"] and not near.equal_share:
        assert near.worst is not None, "some matrices were compared"
        return (
            "not made from",
            f"its matrices are not those of the base: the cosine of {near.worst[0]!a} is {near.worst[1]:.3f}",
        )
    if near.cosine < limits["made_from_cosine_at_least"]:
        return "cannot tell", f"the cosine of its matrices with those of the base is {near.cosine:.3f}"
    # the weights of a base that are not here could be nearer still
    if any(other is None for other in others):
        return (
            "cannot tell",
            "the weights of another registered base are not on this machine, and it may be nearer to that",
        )
    rivals = [other.relative_norm for other in others if other is not None and other.relative_norm is not None]
    nearest = min(rivals, default=math.inf)
    if nearest < near.relative_norm * limits["made_from_times_nearer_than_the_next"]:
        return "cannot tell", "another registered base is as near, or nearer"
    return "made from", f"its matrices differ from those of the base by {near.relative_norm:.3g} of their norm"
