"""Batches: sequences of one step side by side, padded on the right, in an order that the seed alone decides."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trainer.data.tokenize import IGNORED, Example


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Tensors of shape (rows, tokens), int64: ids, attention mask (1 real, 0 padding) and labels (−100 not learnt)."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor

    @property
    def tokens(self) -> int:
        """Positions that the model computes, padding included."""
        return self.input_ids.numel()

    @property
    def padding(self) -> int:
        return int(self.tokens - self.attention_mask.sum().item())

    @property
    def supervised(self) -> int:
        """Positions whose next token carries loss."""
        return int((self.labels[:, 1:] != IGNORED).sum().item())

    @property
    def shape(self) -> tuple[int, int]:
        return self.input_ids.shape[0], self.input_ids.shape[1]

    def to(self, device: str) -> "Batch":
        return Batch(self.input_ids.to(device), self.attention_mask.to(device), self.labels.to(device))


def collate(examples: Sequence[Example], *, pad_id: int) -> Batch:
    """The batch of some sequences, padded on the right to the longest."""
    rows, tokens = len(examples), max(len(example.ids) for example in examples)
    ids = np.full((rows, tokens), pad_id, dtype=np.int64)
    mask = np.zeros((rows, tokens), dtype=np.int64)
    labels = np.full((rows, tokens), IGNORED, dtype=np.int64)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length], mask[row, :length], labels[row, :length] = example.ids, 1, example.labels
    return Batch(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(labels))


@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """All batches of a training part; epoch e has the same batches in the same order whenever it is asked for."""

    examples: tuple[Example, ...]
    batch_size: int
    pad_id: int
    seed: int

    def __len__(self) -> int:
        return math.ceil(len(self.examples) / self.batch_size)

    def of_epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch (from 0), shuffled by seed and epoch."""
        order = np.random.Generator(np.random.PCG64([self.seed, epoch])).permutation(len(self.examples))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield collate([self.examples[index] for index in chosen], pad_id=self.pad_id)

    def in_order(self) -> Iterator[Batch]:
        """The batches without shuffling, for scoring."""
        for start in range(0, len(self.examples), self.batch_size):
            yield collate(self.examples[start : start + self.batch_size], pad_id=self.pad_id)


def padding_id(tokenizer: object) -> int:
    """The id to pad with: the tokenizer's own, else its end-of-text id, else 0; padded positions are masked anyway."""
    for name in ("pad_token_id", "eos_token_id"):
        found = getattr(tokenizer, name, None)
        if isinstance(found, int):
            return found
    return 0
