"""The most memory that something took: torch's own count on a GPU, the resident set of the process elsewhere.

On Linux the high-water mark can be set back, so that it is that of the training and not of what the process did before.
"""

import resource
import sys
from pathlib import Path

from peft_registry.schemas.values import Value, measured

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_CLEAR_PEAK = "5"  # proc(5): reset the peak resident set


def reset_peak(device: str) -> bool:
    """Start anew; whether that is possible here."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        _CLEAR.write_text(_CLEAR_PEAK)
    except OSError:
        return False
    return True


def peak_bytes(device: str) -> int:
    """Bytes, since the last `reset_peak` where that is possible, else since the process began."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def peak_value(peak: int, device: str, *, of_training: bool, besides: str = "") -> Value:
    """The record's value, with how it was measured and what was kept out of that memory."""
    if device == "cuda":
        return measured(peak, "bytes", method=f"torch.cuda.max_memory_allocated during training{besides}")
    whole = "during training" if of_training else "of the process until training ended"
    return measured(
        peak, "bytes", method=f"largest resident set of the whole process {whole} (VmHWM, getrusage){besides}"
    )
