"""The processes of one training: one, or several under torchrun that add up their gradients.

Every process draws the same batches; each computes its share of a step. Where every process has the whole model, the sums of the
gradients are equal everywhere, so that no weight is ever sent; where the weights are spread (`spreads`), so are the sums. With n
processes a step has n times the micro-batches.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

BUCKET_BYTES = 1 << 26  # that are added up at once: 64 MiB, which hide what a message costs


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of how many this is, and whether the weights are spread over them."""

    rank: int = 0
    size: int = 1
    spreads: bool = False

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Each tensor becomes its sum over the processes, in place; all are of one device and number format."""
        if self.size == 1:
            return
        for bucket in buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            torch.distributed.all_reduce(flat)
            start = 0
            for tensor in bucket:
                tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
                start += tensor.numel()

    def any_of(self, flags: Sequence[bool], device: str) -> list[bool]:
        """For each flag, whether it is set in any of the processes; equal everywhere."""
        if self.size == 1:
            return list(flags)
        counts = torch.tensor(flags, dtype=torch.int32, device=device)  # (flags,)
        torch.distributed.all_reduce(counts)
        return [count > 0 for count in counts.tolist()]

    def gathered(self, value: object) -> list[object]:
        """The value of every process, by rank."""
        if self.size == 1:
            return [value]
        values: list[object] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values


ALONE = Processes()


def buckets(tensors: Sequence[torch.Tensor], *, most_bytes: int = BUCKET_BYTES) -> Iterator[list[torch.Tensor]]:
    """The tensors in order, in lists of at most `most_bytes` bytes; a larger tensor has a list of its own.

    A copy of all gradients of a model that is trained whole would be as large as the model.
    """
    bucket: list[torch.Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and size + tensor.nbytes > most_bytes:
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket


@contextmanager
def under_torchrun(device: str, *, spreads: bool = False) -> Iterator[Processes]:
    """The group that torchrun's environment describes; left again at the end."""
    torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Processes(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), spreads)
    finally:
        torch.distributed.destroy_process_group()
