"""What an adapter does to one matrix W of the base, in fp32.

    LoRA       W + s·B·A                         (Hu et al. 2021; rsLoRA differs in s only)
    DoRA       diag(g / ‖V‖_row)·V, V = W + s·B·A (Liu et al. 2024)
    IA3        W scaled by row or by column       (Liu et al. 2022)
    saved      another matrix in its place; single rows of it for trained tokens
    bias       b + s·β                            (peft's `lora_bias`)

An update holds where its numbers lie and loads them when its turn comes: memory does not grow with the adapter. Loaded, it
gives new rows from old ones, so that a matrix of any size is worked through in blocks. Updates whose difference does not
depend on W (`ADDITIONS`) give that difference itself. Everything is pure: no file of the base, no registry.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from peft_registry.trainer.merge.tensors import StoredTensor


class LoadedUpdate(Protocol):
    """An update with its numbers in memory."""

    def changed(self, weight: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        """The new rows `begin` to `end`, fp32, from the base's (`weight`, fp32, (end − begin, columns)); a new tensor."""


class Update(Protocol):
    """What one adapter does to one tensor of the checkpoint, not yet loaded.

    `needs_all_rows`: the new rows depend on rows outside their block. `is_addition`: it loads as one of the `ADDITIONS`.
    """

    @property
    def needs_all_rows(self) -> bool: ...
    @property
    def is_addition(self) -> bool: ...

    def load(self) -> LoadedUpdate: ...


def difference_of(update: LoadedUpdate, weight: torch.Tensor, begin: int, end: int) -> torch.Tensor:
    """Rows `begin` to `end` of W' − W, fp32; a new tensor."""
    if isinstance(update, ADDITIONS):
        return update.difference(begin, end)
    return update.changed(weight, begin, end).sub_(weight)


@dataclass(frozen=True, slots=True)
class Factors:
    """A (r, n) and B (m, r) of one low-rank difference, and the part of them that belongs to this tensor.

    `experts` (count, index): A holds the factors of all experts as (E·r, n), B as (m, r·E) (peft's ParamWrapper).
    `rows` (begin, end): the part of B that belongs to this tensor, where the checkpoint splits what the model fuses.
    """

    a: StoredTensor
    b: StoredTensor
    scale: float
    is_transposed: bool = False
    experts: tuple[int, int] | None = None
    rows: tuple[int, int] | None = None

    needs_all_rows = False
    is_addition = True

    def load(self) -> "LowRank":
        a = self.a.read().float()
        b = self.b.read().float()
        if self.experts is not None:
            count, index = self.experts
            a = a.reshape(count, -1, a.shape[-1])[index]
            b = b.reshape(b.shape[0], -1, count)[:, :, index]
        if self.rows is not None:
            b = b[self.rows[0] : self.rows[1]]
        if math.frexp(self.scale)[0] == 0.5:  # a power of two rounds nothing, and B takes it up once for all blocks
            return LowRank(a.contiguous(), (b * self.scale).contiguous(), 1.0, self.is_transposed)
        return LowRank(a.contiguous(), b.contiguous(), self.scale, self.is_transposed)


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """Δ = s·B·A, or its transpose (embeddings, and layers that store their weight as (in, out))."""

    a: torch.Tensor  # (r, n)
    b: torch.Tensor  # (m, r)
    scale: float
    is_transposed: bool = False

    def difference(self, begin: int, end: int, out: torch.Tensor | None = None) -> torch.Tensor:
        if self.is_transposed:
            product = torch.mm(self.a[:, begin:end].t(), self.b.t(), out=out)
        else:
            product = torch.mm(self.b[begin:end], self.a, out=out)
        return product if self.scale == 1 else product.mul_(self.scale)

    def changed(self, weight: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        return self.difference(begin, end).add_(weight)


@dataclass(frozen=True, slots=True)
class StackedFactors:
    """One difference for each matrix of a stack: experts that the checkpoint stores as one tensor (E, rows, columns)."""

    parts: tuple[Factors, ...]
    rows_each: int

    needs_all_rows = False
    is_addition = True

    def load(self) -> "Stacked":
        return Stacked(tuple(part.load() for part in self.parts), self.rows_each)


@dataclass(frozen=True, slots=True, eq=False)
class Stacked:
    """The stack as one matrix of E·rows rows."""

    parts: tuple[LowRank, ...]
    rows_each: int

    def difference(self, begin: int, end: int, out: torch.Tensor | None = None) -> torch.Tensor:
        blocks = []
        for at, part in enumerate(self.parts):
            first = at * self.rows_each
            low = max(begin, first)
            high = min(end, first + self.rows_each)
            if low < high:
                blocks.append(part.difference(low - first, high - first))
        return torch.cat(blocks, out=out)

    def changed(self, weight: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        return self.difference(begin, end).add_(weight)

    def spectral_norm(self) -> float:
        """The largest singular value of any part."""
        return max(
            abs(part.scale) * float(torch.linalg.matrix_norm((part.b.double() @ part.a.double()), ord=2))
            for part in self.parts
        )


@dataclass(frozen=True, slots=True)
class WithMagnitude:
    """DoRA, not yet loaded."""

    factors: Factors
    magnitude: StoredTensor
    is_addition = False

    @property
    def needs_all_rows(self) -> bool:
        return self.factors.is_transposed  # an output's norm then runs over a column

    def load(self) -> "Dora":
        low_rank = self.factors.load()
        return Dora(low_rank, self.magnitude.read().float().reshape(-1))


@dataclass(frozen=True, slots=True, eq=False)
class Dora:
    """One magnitude an output; an output is a row, or a column where the weight is stored transposed."""

    low_rank: LowRank
    magnitude: torch.Tensor  # (m,)

    def changed(self, weight: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        directions = self.low_rank.changed(weight, begin, end)
        if self.low_rank.is_transposed:
            factor = (self.magnitude / torch.linalg.norm(directions, dim=0)).view(1, -1)
        else:
            factor = (self.magnitude[begin:end] / torch.linalg.norm(directions, dim=1)).view(-1, 1)
        return directions.mul_(factor)


@dataclass(frozen=True, slots=True)
class Scales:
    """IA3, not yet loaded. `along`: what of the stored matrix the learned scales multiply."""

    vector: StoredTensor
    along: Literal["rows", "columns"]

    needs_all_rows = False
    is_addition = False

    def load(self) -> "Rescale":
        return Rescale(self.vector.read().float().reshape(-1), self.along == "rows")


@dataclass(frozen=True, slots=True, eq=False)
class Rescale:
    vector: torch.Tensor
    is_by_row: bool

    def changed(self, weight: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        return weight * (self.vector[begin:end].view(-1, 1) if self.is_by_row else self.vector.view(1, -1))


@dataclass(frozen=True, slots=True)
class Replacement:
    """Another tensor in the place of the base's: `modules_to_save`, trained biases."""

    tensor: StoredTensor

    needs_all_rows = False
    is_addition = False

    def load(self) -> "ReplacedTensor":
        rows, columns = self.tensor.matrix
        return ReplacedTensor(self.tensor.read().reshape(rows, columns))


@dataclass(frozen=True, slots=True, eq=False)
class ReplacedTensor:
    tensor: torch.Tensor

    def changed(self, weight: torch.Tensor, begin: int, end: int) -> torch.Tensor:  # noqa: ARG002 - nothing of it stays
        return self.tensor[begin:end].float().clone()


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Rows of single tokens in the place of the base's (`trainable_token_indices`)."""

    tensor: StoredTensor
    indices: tuple[int, ...]

    needs_all_rows = False
    is_addition = False

    def load(self) -> "ReplacedRows":
        return ReplacedRows(self.tensor.read().float(), self.indices)


@dataclass(frozen=True, slots=True, eq=False)
class ReplacedRows:
    rows: torch.Tensor  # (tokens, columns)
    indices: Sequence[int]

    def changed(self, weight: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        new = weight.clone()
        for at, index in enumerate(self.indices):
            if begin <= index < end:
                new[index - begin] = self.rows[at]
        return new


@dataclass(frozen=True, slots=True)
class BiasFactor:
    """The bias of LoRA's B: b + s·β."""

    tensor: StoredTensor
    scale: float

    needs_all_rows = False
    is_addition = True

    def load(self) -> "Shift":
        return Shift(self.tensor.read().float().reshape(-1, 1) * self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    vector: torch.Tensor  # (m, 1)

    def difference(self, begin: int, end: int, out: torch.Tensor | None = None) -> torch.Tensor:
        rows = self.vector[begin:end]
        return rows.clone() if out is None else out.copy_(rows)

    def changed(self, weight: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        return weight + self.vector[begin:end]


@dataclass(frozen=True, slots=True)
class Chain:
    """One update after another on the same tensor: an embedding that was saved whole, and the factors trained on it."""

    first: Update
    then: Update
    is_addition = False

    @property
    def needs_all_rows(self) -> bool:
        return self.first.needs_all_rows or self.then.needs_all_rows

    def load(self) -> "Chained":
        return Chained(self.first.load(), self.then.load())


@dataclass(frozen=True, slots=True, eq=False)
class Chained:
    first: LoadedUpdate
    then: LoadedUpdate

    def changed(self, weight: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        return self.then.changed(self.first.changed(weight, begin, end), begin, end)


ADDITIONS = (LowRank, Stacked, Shift)
"""Updates W + Δ whose Δ does not depend on W: `difference` gives rows of Δ, fp32, as a new tensor or in `out`.

Classes by name, because a look at a protocol's methods takes microseconds at each of thousands of blocks.
"""
