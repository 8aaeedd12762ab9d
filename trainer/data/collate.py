"""Batches: the rows of one step, in an order that the seed alone decides.

A batch is padded on the right (rows × tokens), or flat: its rows one after another in one sequence without padding, with
positions that start again at 0 in each row.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from peft_registry.trainer.data.packing import packs
from peft_registry.trainer.data.tokenize import IGNORED, Example

# how a model takes the rows of a batch: padded; flat, attending row by row; flat, under a block-diagonal mask
Layout = Literal["padded", "rows", "blocks"]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Tensors of shape (rows, tokens), int64: ids and labels (−100 not learnt); `lengths` are the rows' real tokens.

    Padded: `attention_mask` (1 real, 0 padding). Flat: one row, `position_ids`, and no mask, because with one
    transformers would let the rows see each other. On an accelerator `places`, int64 of shape (supervised,), are the
    positions whose next token carries loss, counted over rows × (tokens − 1).
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    lengths: tuple[int, ...]
    attention_mask: torch.Tensor | None = None
    position_ids: torch.Tensor | None = None
    layout: Layout = "padded"
    places: torch.Tensor | None = None

    @property
    def tokens(self) -> int:
        """Positions that the model computes, padding included."""
        return self.input_ids.numel()

    @property
    def padding(self) -> int:
        return self.tokens - sum(self.lengths)

    @property
    def supervised(self) -> int:
        """Positions whose next token carries loss."""
        return int((self.labels[:, 1:] != IGNORED).sum().item())

    @property
    def squares(self) -> int:
        """Σ T² of what attention computes, T the length that it runs over."""
        if self.layout == "rows":
            return sum(length**2 for length in self.lengths)
        return self.input_ids.shape[0] * self.input_ids.shape[1] ** 2

    @property
    def shape(self) -> tuple[int, int]:
        return self.input_ids.shape[0], self.input_ids.shape[1]

    def to(self, device: str) -> "Batch":
        """The batch with its tensors on a device, as torch names it; on a GPU they come while it computes what was asked before."""
        if device == "cpu":
            return self

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            pinned = tensor.pin_memory() if device.startswith("cuda") else tensor
            return pinned.to(device, non_blocking=True)

        places = self.with_places().places
        return replace(
            self,
            input_ids=moved(self.input_ids),
            labels=moved(self.labels),
            attention_mask=None if self.attention_mask is None else moved(self.attention_mask),
            position_ids=None if self.position_ids is None else moved(self.position_ids),
            places=None if places is None else moved(places),
        )

    def with_places(self) -> "Batch":
        """With the positions that carry loss as numbers: an index by truth values holds an accelerator up until it has counted."""
        return replace(self, places=(self.labels[:, 1:] != IGNORED).flatten().nonzero().flatten())


def collate(examples: Sequence[Example], *, pad_id: int) -> Batch:
    """The batch of some sequences, padded on the right to the longest."""
    rows = len(examples)
    tokens = max(len(example.ids) for example in examples)
    ids = np.full((rows, tokens), pad_id, dtype=np.int64)
    mask = np.zeros((rows, tokens), dtype=np.int64)
    labels = np.full((rows, tokens), IGNORED, dtype=np.int64)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length] = example.ids
        mask[row, :length] = 1
        labels[row, :length] = example.labels
    lengths = tuple(len(example.ids) for example in examples)
    return Batch(torch.from_numpy(ids), torch.from_numpy(labels), lengths, attention_mask=torch.from_numpy(mask))


def lay_flat(examples: Sequence[Example], *, layout: Layout) -> Batch:
    """The batch of some sequences, one after another; the first token of each carries no loss, nothing predicts it."""
    lengths = tuple(len(example.ids) for example in examples)
    ids = np.concatenate([example.ids for example in examples]).astype(np.int64)
    labels = np.concatenate([example.labels for example in examples]).astype(np.int64)
    positions = np.concatenate([np.arange(length) for length in lengths])
    labels[positions == 0] = IGNORED
    return Batch(
        torch.from_numpy(ids)[None],
        torch.from_numpy(labels)[None],
        lengths,
        position_ids=torch.from_numpy(positions)[None],
        layout=layout,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """All batches of a training part; epoch e has the same batches in the same order whenever it is asked for.

    `pack_to` tokens make a pack, and a batch is then of `batch_size` packs instead of rows.
    """

    examples: tuple[Example, ...]
    batch_size: int
    pad_id: int
    seed: int
    pack_to: int | None = None

    def __len__(self) -> int:
        return math.ceil(len(self._units(range(len(self.examples)))) / self.batch_size)

    def of_epoch(self, epoch: int, layout: Layout = "padded") -> Iterator[Batch]:
        """The batches of one epoch (from 0), shuffled by seed and epoch."""
        random = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        order = random.permutation(len(self.examples)).tolist()
        units = self._units(order)
        if self.pack_to is not None:  # they come longest row first
            units = [units[at] for at in random.permutation(len(units))]
        for start in range(0, len(units), self.batch_size):
            chosen = [self.examples[index] for unit in units[start : start + self.batch_size] for index in unit]
            yield collate(chosen, pad_id=self.pad_id) if layout == "padded" else lay_flat(chosen, layout=layout)

    def in_order(self) -> Iterator[Batch]:
        """The batches of rows without shuffling, for scoring."""
        for start in range(0, len(self.examples), self.batch_size):
            yield collate(self.examples[start : start + self.batch_size], pad_id=self.pad_id)

    def _units(self, order: Sequence[int]) -> list[list[int]]:
        """Rows, or packs of them, by index."""
        if self.pack_to is None:
            return [[index] for index in order]
        return packs([len(example.ids) for example in self.examples], order, capacity=self.pack_to)


def padding_id(tokenizer: object, *, vocabulary: int | None = None) -> int:
    """The id to pad with: the tokenizer's own, else its end-of-text id, else 0; padded positions are masked anyway.

    One that the base has no embedding for, which has `vocabulary` of them, is passed over.
    """
    for name in ("pad_token_id", "eos_token_id"):
        token_id = getattr(tokenizer, name, None)
        if isinstance(token_id, int) and (vocabulary is None or token_id < vocabulary):
            return token_id
    return 0
