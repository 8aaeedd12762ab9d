"""How busy this machine is while it trains: a few numbers now and then, read between two steps and never beside them.

There is no thread that could stay behind, and nothing is drawn at random: a training that is sampled has the losses of one that is
not. What a system does not tell is left out: `/proc` is Linux's, and a GPU is asked where torch uses one.
"""

import ctypes
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft_registry.schemas.system_metrics import MOST_SAMPLES, SystemMetricName, SystemMetrics, SystemSample

INTERVAL_SECONDS = 10.0
_PROC = Path("/proc")
_MEGABYTE = 1e6
_NVML = "libnvidia-ml.so.1"

Values = dict[SystemMetricName, float]


@dataclass
class SystemSampler:
    """The samples of one training, at most `MOST_SAMPLES`: where there are more, every second is let go and the interval doubles.

    Args:
        samples: of what was trained before, where a training was resumed.
        interval_seconds: between two samples; that of those before, likewise.
        read: the numbers of now.
        clock: seconds, for the interval.
        now: seconds since 1970 (UTC).
    """

    samples: list[SystemSample] = field(default_factory=list)
    interval_seconds: float = INTERVAL_SECONDS
    read: Callable[[], Values] = field(default_factory=lambda: MetricsReader().values, compare=False)
    clock: Callable[[], float] = field(default=time.perf_counter, compare=False)
    now: Callable[[], float] = field(default=time.time, compare=False)
    _taken: float | None = field(default=None, compare=False)

    @classmethod
    def resumed(cls, kept: object) -> "SystemSampler":
        """A sampler that continues from what a checkpoint kept of it, in plain values; None for nothing.

        Raises:
            ValueError: it is something else.
        """
        if kept is None:
            return cls()
        metrics = SystemMetrics.from_json(kept)
        return cls(samples=list(metrics.samples), interval_seconds=metrics.interval_seconds)

    def note(self, step: int, *, is_last: bool = False) -> None:
        """Take a sample where it is due, or after the last step; else this is one comparison."""
        clock = self.clock()
        if self._taken is not None and clock - self._taken < self.interval_seconds and not is_last:
            return
        self._taken = clock
        if len(self.samples) >= MOST_SAMPLES:
            # the first stays; the last is taken just now
            self.samples[:] = self.samples[::2]
            self.interval_seconds *= 2
        values = {name: round(value, 3) for name, value in self.read().items()}
        self.samples.append(SystemSample(step=step, at=round(self.now(), 3), values=values))

    @property
    def metrics(self) -> SystemMetrics | None:
        """What was sampled; None where this system tells nothing."""
        if not any(sample.values for sample in self.samples):
            return None
        return SystemMetrics(interval_seconds=self.interval_seconds, samples=tuple(self.samples))


class MetricsReader:
    """Reads the numbers of now; of the processor's time what was used since it was read last."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._last: tuple[float, float] | None = None

    def values(self) -> Values:
        """Of this process, of the machine's memory, and of the GPU that torch uses."""
        return {**self._processor(), **self._memory(), **_gpu()}

    def _processor(self) -> Values:
        used, at = time.process_time(), time.perf_counter()
        last, self._last = self._last, (used, at)
        if last is None or at <= last[1]:
            return {}
        return {"process_cpu_percentage": 100 * (used - last[0]) / (at - last[1])}

    def _memory(self) -> Values:
        values: Values = {}
        try:
            resident = int((self._proc / "self" / "statm").read_text("ascii").split()[1])  # proc(5): pages
            values["process_memory_megabytes"] = resident * os.sysconf("SC_PAGE_SIZE") / _MEGABYTE
        except (OSError, ValueError, IndexError):
            pass  # another system
        try:
            lines = (line.split() for line in (self._proc / "meminfo").read_text("ascii").splitlines())
            kibibytes = {words[0]: int(words[1]) for words in lines if words[0] in ("MemTotal:", "MemAvailable:")}
            share = 1 - kibibytes["MemAvailable:"] / kibibytes["MemTotal:"]
            values["system_memory_usage_percentage"] = 100 * share
        except (OSError, ValueError, IndexError, KeyError, ZeroDivisionError):
            pass  # likewise
        return values


def _gpu() -> Values:
    """Of the GPU that torch uses in this process; nothing where it uses none. Nothing is begun on a GPU by asking."""
    torch: Any = sys.modules.get("torch")  # whoever trains has loaded it; its stubs know no `cuda.is_initialized`
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    device = torch.cuda.current_device()
    free, total = torch.cuda.mem_get_info(device)
    values: Values = {
        "gpu_memory_usage_megabytes": (total - free) / _MEGABYTE,
        "gpu_memory_usage_percentage": 100 * (total - free) / total,
    }
    busy = _gpu_utilization(getattr(torch.cuda.get_device_properties(device), "uuid", None))
    if busy is not None:
        values["gpu_utilization_percentage"] = busy
    return values


class _Utilization(ctypes.Structure):
    """`nvmlUtilization_t`: the share of the last interval in which a kernel ran, and in which memory was read or written."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


def _gpu_utilization(uuid: object) -> float | None:
    """Percent, of the GPU that has this id; None where the driver does not say, as of a part of a GPU (MIG)."""
    try:
        nvml = ctypes.CDLL(_NVML)
        if uuid is None or nvml.nvmlInit_v2() != 0:
            return None
    except (OSError, AttributeError):  # no driver, or one that is too old
        return None
    try:
        handle, used = ctypes.c_void_p(), _Utilization()
        if nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode("ascii"), ctypes.byref(handle)) != 0:
            return None
        if nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(used)) != 0:
            return None
        return float(used.gpu)
    finally:
        nvml.nvmlShutdown()
