"""How busy a machine was while something trained: the file that is kept beside a run's records, and what a run says of it. Pure.

The record of a run binds the file by its digest. It is kept in the store and leaves it as points of MLflow alone. In it are numbers
and the times at which they were read, and no name of a user, of a machine or of a path.
"""

from itertools import pairwise
from typing import Literal, Self

from pydantic import model_validator

from peft_registry.schemas.document import Document, Frozen
from peft_registry.schemas.identity import Digest

MOST_SAMPLES = 512
SystemMetricName = Literal[
    "process_cpu_percentage",
    "process_memory_megabytes",
    "system_memory_usage_percentage",
    "gpu_utilization_percentage",
    "gpu_memory_usage_megabytes",
    "gpu_memory_usage_percentage",
]
"""What is sampled; a megabyte is 10^6 bytes, and 100 % of `process_cpu_percentage` is one core that is busy."""


class SystemSample(Frozen):
    """What was read after a training step (0: before the first), at a time in seconds since 1970 (UTC)."""

    step: int
    at: float
    values: dict[SystemMetricName, float]


class SystemMetrics(Document):
    """Samples in the order of their steps; neighbours are at least `interval_seconds` apart, but for the first and the last."""

    form: Literal["1"] = "1"
    interval_seconds: float
    samples: tuple[SystemSample, ...]

    @model_validator(mode="after")
    def _is_bounded_and_ordered(self) -> Self:
        if len(self.samples) > MOST_SAMPLES:
            raise ValueError(f"at most {MOST_SAMPLES} samples")
        if any(later.step < earlier.step for earlier, later in pairwise(self.samples)):
            raise ValueError("samples in the order of their steps")
        return self


class KeptSystemMetrics(Document):
    """The object that holds the system metrics of a run."""

    sha256: Digest
    bytes: int
    samples: int

    @classmethod
    def of(cls, metrics: SystemMetrics) -> "KeptSystemMetrics":
        """Which object holds these."""
        data = metrics.to_canonical()
        return cls(sha256=Digest.of(data), bytes=len(data), samples=len(metrics.samples))
