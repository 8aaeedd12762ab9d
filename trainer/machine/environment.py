"""What a run runs on: device, number format, threads, and the record of software and hardware."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Literal

from peft_registry.registry.intake.secrets import without_secrets
from peft_registry.schemas.config import base_name
from peft_registry.schemas.errors import Unavailable
from peft_registry.schemas.run import Environment
from peft_registry.trainer.machine.determinism import ask_for_determinism
from peft_registry.trainer.machine.kept_memory import keep_code_of_few_products

Dtype = Literal["bf16", "fp32"]  # of weights in memory
Products = Literal["bf16", "fp16", "fp32"]  # of matrix products
Device = Literal["auto", "cpu", "cuda"]
LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "safetensors",
    "accelerate",
    "numpy",
    "bitsandbytes",
    "gguf",
)
# x86 and Arm names in /proc/cpuinfo of bfloat16 matrix or dot-product instructions
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
# and of fp16 arithmetic
_FP16_FLAGS = frozenset({"avx512_fp16", "amx_fp16", "asimdhp"})
# the compute capability from which a GPU computes in fp16 (CUDA C++ Programming Guide, "Features and Technical Specifications")
_FP16_FROM = (5, 3)
_CPUINFO = Path("/proc/cpuinfo")
_SECRET = re.compile(r"(token|secret|password|passphrase|key)", re.IGNORECASE)


class NoGpu(Unavailable):
    what = "training.device is cuda, and no GPU can be used here"
    why = "{reason}"
    fix = "set training.device: cpu, or leave it out: a GPU is taken where there is one"

    reason: str


@dataclass(frozen=True, slots=True)
class Hardware:
    """What was chosen: `device` is `cpu` or `cuda`; `dtype` is the number format of the matrix products; `why` it was, in words."""

    device: str
    dtype: Products
    threads: int
    processor: str
    why: str = ""
    emulates: bool = False  # the device has no instructions for `dtype`

    def weights_dtype(self, *, trains_base_weights: bool) -> Dtype:
        """How the base is loaded. Weights that are trained stay fp32, because bf16 loses small updates; bf16 is then
        the format of the products only (autocast). fp16 always is: its range, 6e-8 to 65504, is not that of a base."""
        return "bf16" if self.dtype == "bf16" and not trains_base_weights else "fp32"


def memory_of_this_machine() -> int:
    """Bytes of memory that are built in. A container's own limit is not looked at."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cores() -> int:
    """How many this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        return os.cpu_count() or 1


def place_of(device: str) -> int | str:
    """The place of a device in a map of Accelerate's: of several GPUs the one that this process computes on."""
    if not device.startswith("cuda"):
        return device
    import torch

    return torch.cuda.current_device()


def require_device(device: Device) -> None:
    """Raise unless the device that a training file names is here.

    Raises:
        NoGpu: it names a GPU, and torch sees none.
    """
    if device != "cuda":
        return
    import torch

    if torch.cuda.is_available():
        return
    built_for = torch.version.cuda or torch.version.hip
    if built_for is None:
        raise NoGpu("the PyTorch that is installed was built for processors alone")
    raise NoGpu(f"the PyTorch that is installed was built for version {built_for} of the GPU's driver, and sees no GPU")


def choose_hardware(dtype: Literal["auto", "bf16", "fp16", "fp32"] = "auto", *, device: Device = "auto") -> Hardware:
    """A GPU if there is one, else the CPU; `auto` is bf16 where the device has instructions for it, else fp32.

    A GPU that only emulates bf16 is slower in it than in fp32, and is not taken for one that has it. Sets torch's number of
    threads to the cores that this process may use, unless OMP_NUM_THREADS says otherwise, asks a GPU for deterministic kernels, and
    lets oneDNN keep little code on a processor.
    """
    import torch

    chosen = chosen_device(device)
    threads = int(os.environ["OMP_NUM_THREADS"]) if os.environ.get("OMP_NUM_THREADS", "").isdigit() else cores()
    torch.set_num_threads(max(threads, 1))
    info = _cpu_info()
    if chosen == "cuda":
        ask_for_determinism()
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        processor = torch.cuda.get_device_name()
    else:
        keep_code_of_few_products()
        has_bf16 = bool(_flags(info) & _BF16_FLAGS)
        processor = _model_name(info)
    native: Dtype = "bf16" if has_bf16 else "fp32"
    taken: Products = native if dtype == "auto" else dtype
    return Hardware(
        device=chosen,
        dtype=taken,
        threads=max(threads, 1),
        processor=processor,
        why=_why_chosen(chosen, taken, has_bf16=has_bf16, asked=(device, dtype)),
        emulates=(taken == "bf16" and not has_bf16) or (taken == "fp16" and not _has_fp16(chosen, info)),
    )


def _has_fp16(device: str, info: str) -> bool:
    """Whether a device has instructions for fp16."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_capability() >= _FP16_FROM
    return bool(_flags(info) & _FP16_FLAGS)


def chosen_device(device: Device) -> Literal["cuda", "cpu"]:
    """Where it is computed: as asked, else on a GPU if torch sees one."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _why_chosen(device: str, dtype: Products, *, has_bf16: bool, asked: tuple[str, str]) -> str:
    """What `auto` decided and by what, with the words that repeat it on another machine; empty where nothing was left to it."""
    reasons = []
    if asked[0] == "auto":
        reasons.append("a GPU is here" if device == "cuda" else "no GPU is here")
    if asked[1] == "auto":
        reasons.append("it has instructions for bf16" if has_bf16 else "it has no instructions for bf16")
        reasons.append(f"training.dtype={dtype} repeats it elsewhere")
    return ", ".join(reasons)


def hardware_in_use(device: str, dtype: Products) -> Hardware:
    """What a model of somebody else runs on, with torch's threads as they are."""
    import torch

    processor = torch.cuda.get_device_name() if device == "cuda" else _model_name(_cpu_info())
    return Hardware(device=device, dtype=dtype, threads=torch.get_num_threads(), processor=processor)


def describe_environment(
    hardware: Hardware, *, argv: Sequence[str], code_version: str, code_commit: str | None = None
) -> Environment:
    """The record; paths in `argv` are cut to base names, and values of options that look secret are left out."""
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        processor=hardware.processor,
        threads=hardware.threads,
        device=hardware.device,
        dtype=hardware.dtype,
        libraries=library_versions(),
        argv=cut_paths(argv),
        code_version=code_version,
        code_commit=code_commit,
        distributions=needed_distributions(),
    )


def library_versions(*further: str) -> dict[str, str]:
    """The installed versions of what can change a result, `further` distributions among it."""
    versions = {}
    for name in (*LIBRARIES, *further):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def needed_distributions(root: str = "peft-registry") -> dict[str, str]:
    """Name and installed version of a distribution and of all that it needs, sorted by name; what else is installed is left out.

    Names are in the normal form of PEP 503. Asked once in a process: what it imports does not change under it.
    """
    return dict(_needed_distributions(root))


@lru_cache(maxsize=1)
def _needed_distributions(root: str) -> tuple[tuple[str, str], ...]:
    from packaging.utils import canonicalize_name

    versions: dict[str, str] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(root, frozenset())]  # with the extras that are asked for
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            installed = distribution(name)
        except PackageNotFoundError:  # of another platform
            continue
        versions[canonicalize_name(name)] = installed.version
        waiting += _requirements(installed.requires or (), extras)
    return tuple(sorted(versions.items()))


def _requirements(lines: Sequence[str], extras: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
    """(name, extras) of the requirements that hold here."""
    from packaging.requirements import Requirement

    parsed = [Requirement(line) for line in lines]
    return [
        (requirement.name, frozenset(requirement.extras))
        for requirement in parsed
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


def cut_paths(argv: Sequence[str]) -> tuple[str, ...]:
    """Arguments with paths cut to base names (`--home=/a/b` to `--home=b`) and secret-looking values to `…`."""
    found: list[str] = []
    hide_next = False
    for argument in argv:
        option, equals, value = argument.rpartition("=")
        if hide_next and not argument.startswith("-"):
            found.append("…")
        elif equals:
            found.append(f"{option}={'…' if _SECRET.search(option) else _cut(value)}")
        else:
            found.append(_cut(argument))
        hide_next = argument.startswith("-") and not equals and bool(_SECRET.search(argument))
    return tuple(found)


def _cut(text: str) -> str:
    text = without_secrets(text)
    if "/" not in text and "\\" not in text:
        return text
    return base_name(text) or ""


def _cpu_info() -> str:
    try:
        return _CPUINFO.read_text(errors="replace")
    except OSError:
        return ""


def _flags(info: str) -> set[str]:
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", info, re.MULTILINE)
    return set(match.group(1).split()) if match else set()


def _model_name(info: str) -> str:
    match = re.search(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    return match.group(1).strip() if match else platform.machine()
