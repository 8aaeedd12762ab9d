"""Memory that ran out in a training, said in one error whichever allocator failed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from peft_registry.schemas.errors import RunFailed


class OutOfMemory(RunFailed):
    what = "memory ran out {when}"
    why = "weights, activations and optimizer state together were more than this machine has"
    fix = "{remedy}"

    step: int | None

    @property
    def when(self) -> str:
        return "before the first step" if self.step is None else f"at step {self.step}"

    @property
    def remedy(self) -> str:
        if self.step is None:
            return "take a smaller rank or size of the method's block; `registry estimate` says what the run takes"
        return (
            "lower training.per_device_train_batch_size (and raise gradient_accumulation_steps) or "
            "training.max_length, or set training.gradient_checkpointing=true"
        )


@contextmanager
def translate_out_of_memory(step: int | None) -> Iterator[None]:
    """Says that memory ran out at this step, or before the first, where an allocation in it fails.

    Raises:
        OutOfMemory: an allocation failed.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(step) from error
    except MemoryError as error:
        raise OutOfMemory(step) from error
    except RuntimeError as error:
        if "alloc" in str(error) and "memory" in str(error):  # what the CPU allocator says
            raise OutOfMemory(step) from error
        raise
