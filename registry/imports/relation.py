"""How near a whole model is to each registered base: `made from`, `not made from` or `cannot tell`.

The matrices of equal name and shape are compared by their first elements: the share that is equal, the cosine of all of them
together, and the Frobenius norm of the difference over that of the base. Vectors are left out: norms of layers are near 1 in every
model. What was trained or merged from a base keeps most of every matrix; matrices of models that began apart are orthogonal. Two
bases that are near each other, because one was made from the other, are told apart only where the model is much nearer to one.
The thresholds are in `thresholds.json`.
"""

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
    reference = "model-of-another-base"
    what = "{model} was not made from {base}"
    why = "{reason}"
    fix = "name the base that it was made from with --base; `registry base add` registers one that is not here"

    model: str
    base: str
    reason: str


@dataclass(frozen=True, slots=True)
class Nearness:
    """The figures of one comparison. `worst` is the matrix that is least like the base's, with its cosine."""

    matrices: int
    share: float  # of the elements of the model's matrices that have a counterpart
    equal_share: float | None = None
    cosine: float | None = None
    relative_norm: float | None = None
    worst: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class ComparedBase:
    """A base, and how near the model is to it; None where its bytes are not here."""

    label: str
    weights: Digest
    nearness: Nearness | None


@lru_cache(maxsize=1)
def _thresholds() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(THRESHOLDS.read_text())["relation"]
    return found


def nearness_of(model: Sequence[Path], base: Sequence[Path]) -> Nearness:
    """How near the safetensors files of a model are to those of a base.

    Raises:
        MalformedWeights, FileMissing, FileChanged, FileUnreadable: as `read_open_header`.
    """
    with ExitStack() as stack:
        ours, theirs = _matrices(stack, model), _matrices(stack, base)
        whole = sum(map(_elements, ours.values()))
        pairs = [(name, ours[name], theirs[name]) for name in sorted(ours.keys() & theirs.keys())]
        same = [pair for pair in pairs if pair[1][1].shape[1:] == pair[2][1].shape[1:]]
        covered = sum(_elements(pair[1]) for pair in same)
        return _compared(same, covered / whole if whole else 0.0)


def relations_of(compared: Iterable[ComparedBase]) -> tuple[BaseRelation, ...]:
    """What the figures say of each base, beside those of the others."""
    entries = tuple(compared)
    return tuple(_relation(entry, [other for other in entries if other.weights != entry.weights]) for entry in entries)


# --- figures ---

_Stored = tuple[OpenFile, TensorSpan]


def _elements(stored: _Stored) -> int:
    return math.prod(stored[1].shape)


def _matrices(stack: ExitStack, files: Sequence[Path]) -> dict[str, _Stored]:
    found: dict[str, _Stored] = {}
    for path in files:
        file = stack.enter_context(reading(path))
        header = read_open_header(file, family="intake")
        found |= {span.name: (file, span) for span in header.tensors if len(span.shape) > 1 and all(span.shape)}
    return found


def _compared(pairs: Sequence[tuple[str, _Stored, _Stored]], share: float) -> Nearness:
    product = ours = theirs = difference = 0.0
    equal = matrices = 0
    worst: tuple[str, float] | None = None
    most = int(_thresholds()["elements_of_a_matrix"])
    for name, (file, span), (base_file, base_span) in pairs:
        a, b = values_of(file, span, most=most), values_of(base_file, base_span, most=most)
        if a is None or b is None:
            continue
        count = min(a.size, b.size)  # embeddings may have got rows for new tokens
        a, b = a[:count], b[:count]
        matrices += 1
        parts = float(a @ b), float(a @ a), float(b @ b)
        product, ours, theirs = product + parts[0], ours + parts[1], theirs + parts[2]
        difference += float(((a - b) ** 2).sum())
        equal += bool((a == b).all())
        cosine = _ratio(parts[0], math.sqrt(parts[1] * parts[2]))
        if cosine is not None and (worst is None or cosine < worst[1]):
            worst = (name, cosine)
    if matrices == 0:
        return Nearness(0, share)
    return Nearness(
        matrices,
        share,
        equal_share=equal / matrices,
        cosine=_ratio(product, math.sqrt(ours * theirs)),
        relative_norm=_ratio(math.sqrt(difference), math.sqrt(theirs)),
        worst=worst,
    )


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
    near: Nearness | None, others: Sequence[Nearness | None]
) -> tuple[RelationAnswer, str]:
    limits = _thresholds()
    if near is None:
        return "cannot tell", "the weights of the base are not on this machine"
    if near.matrices == 0:
        return "not made from", "no matrix of it has the name and the width of one of the base"
    if near.share < limits["compared_share_at_least"]:
        return "cannot tell", f"only {near.share:.0%} of its matrices have a counterpart in the base"
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
