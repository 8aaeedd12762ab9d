"""The processes of one training: one, or several under torchrun that add up their gradients.

Every process has the whole model and draws the same batches; each computes its share of a step, and the sums are equal
everywhere, so that no weight is ever sent. With n processes a step has n times the micro-batches.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of how many this is."""

    rank: int = 0
    size: int = 1

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Each tensor becomes its sum over the processes, in place; all are of one device and number format."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        start = 0
        for tensor in tensors:
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


@contextmanager
def under_torchrun(device: str) -> Iterator[Processes]:
    """The group that torchrun's environment describes; left again at the end."""
    torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Processes(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    finally:
        torch.distributed.destroy_process_group()
