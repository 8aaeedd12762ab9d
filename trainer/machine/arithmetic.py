"""What decides the last bits of a computation here, as texts that are equal where two machines round alike.

Their names are part of the record of a run, and signed.
"""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from peft_registry.schemas.identity import Digest
from peft_registry.trainer.machine.environment import library_versions

_CPUINFO = Path("/proc/cpuinfo")
# each makes a library take other instructions, or add in another order
_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
)


def arithmetic_here(device: str) -> Mapping[str, str]:
    """By name: what the processor can do, how many threads add, how torch was built, which libraries run, and which GPU computes.

    The name of a processor is not enough: cloud machines of one name have different instructions.
    """
    import torch

    told = {
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_flags": str(Digest.of(_flags().encode())),
        "threads": str(torch.get_num_threads()),
        "torch_build": str(Digest.of(torch.__config__.show().encode())),
        "libraries": ", ".join(f"{name} {version}" for name, version in sorted(library_versions().items())),
        "variables": " ".join(f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ),
    }
    if device.startswith("cuda"):
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # as torch has it
        told["gpu"] = f"{torch.cuda.get_device_name()}, {torch.cuda.get_device_capability()}, cuDNN {cudnn}"
    return told


def _flags() -> str:
    """The instructions that the processor has, in order; its name where the system does not list them."""
    try:
        lines = _CPUINFO.read_text("utf-8", "replace").splitlines()
    except OSError:
        return platform.processor()
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return " ".join(sorted(flags.split())) or platform.processor()
