"""What only an accelerator can show, measured on the one that is here, and written as a page: `python -m tests.bench.gpu`.

    python -m tests.bench.gpu [--page gpu-figures.md] [--device cuda] [--rows 16] [--length 512] [--width 1024] [--layers 8]
        [--repeats 5]

A random model of the given size, made here; nothing comes from a network. Times are the median of some repeats after one that is
not counted, with the device waited for. With `--device cpu` everything is computed on the processor: the bench is seen to work.
"""

import argparse
import hashlib
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from peft_registry.trainer.bases.loading import load_model
from peft_registry.trainer.data.collate import Batches
from peft_registry.trainer.data.tokenize import Example
from peft_registry.trainer.machine.environment import choose_hardware
from peft_registry.trainer.machine.seeding import seed_everything
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.training.checkpoints import trained_parameters
from peft_registry.trainer.training.fused_lora import fused_lora
from peft_registry.trainer.training.held_out import HeldOutRows
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.loss import cross_entropy_in_pieces, summed_cross_entropy
from peft_registry.trainer.training.row_attention import _Rows, varlen_kernel
from tests.bench.machine import machine
from tests.builders.training import a_base_folder, a_training_file

VOCABULARY = 300
_LOGITS = (4096, 32_000)  # supervised tokens and vocabulary on a GPU: 262 MB in bf16 at once


@dataclass(frozen=True)
class Size:
    """Of the model and of a batch."""

    device: str
    rows: int
    length: int
    width: int
    layers: int
    repeats: int


@dataclass(frozen=True)
class Figure:
    """A line of the page: the number of the place in docs/explanation/on-a-gpu.md, what was measured, what came of it."""

    place: str
    what: str
    found: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write the page; 1 where the device is not here."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu")
    parser.add_argument("--page", type=Path, help="where the figures are written; not written without it")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    for name, value in (("rows", 16), ("length", 512), ("width", 1024), ("layers", 8), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    chosen = parser.parse_args(arguments)
    print(machine(), flush=True)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("gpu          not run: torch sees no GPU here; --device cpu shows that the bench works")
        return 0
    size = Size(chosen.device, chosen.rows, chosen.length, chosen.width, chosen.layers, chosen.repeats)
    figures = []
    with tempfile.TemporaryDirectory() as scratch:
        for figure in measured(size, Path(scratch)):
            print(f"{figure.place:<12} {figure.what}: {figure.found}", flush=True)
            figures.append(figure)
    if chosen.page is not None:
        chosen.page.write_text(page(size, figures), "utf-8")
        print(f"page         {chosen.page}")
    return 0


def measured(size: Size, scratch: Path) -> Iterator[Figure]:
    """The figures, one after the other."""
    hardware = choose_hardware(device=size.device)  # type: ignore[arg-type]  # one of its literals
    yield Figure("1 bf16", "`auto` takes", f"{hardware.dtype} on {hardware.processor} ({hardware.why})")
    base = a_base_folder(
        scratch / "base",
        hidden_size=size.width,
        intermediate_size=4 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=max(1, size.width // 64),
        num_key_value_heads=max(1, size.width // 64),
        max_position_embeddings=max(128, size.length),
        initializer_range=0.02,
    )
    dtype = hardware.dtype
    yield _loading(base, dtype, size)
    yield from _determinism(base, dtype, size)
    yield from _attention(size, dtype)
    yield from _lora_beside(base, dtype, size)
    yield _scoring(base, dtype, size)
    yield _lora_pro(base, dtype, size)
    yield _adamw(size)
    yield from _logits(size, dtype)


def page(size: Size, figures: Sequence[Figure]) -> str:
    """The figures as Markdown."""
    device = torch.cuda.get_device_name() if size.device == "cuda" else "the processor"
    lines = [
        f"# Figures of {device}",
        "",
        f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}; {size.layers} layers of width {size.width}, "
        f"{size.rows} rows of {size.length} tokens, median of {size.repeats}. "
        "`docs/explanation/on-a-gpu.md` says what each place is.",
        "",
        "| Place | What | Found |",
        "|---|---|---|",
        *(f"| {figure.place} | {figure.what} | {figure.found} |" for figure in figures),
    ]
    return "\n".join(lines) + "\n"


# --- the figures ---


def _loading(base: Path, dtype: Any, size: Size) -> Figure:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = load_model(base, dtype=dtype, device=size.device)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    weights = sum(parameter.nbytes for parameter in model.parameters()) / 2**20
    return Figure(
        "3 loading", "peak of main memory while loading", f"+{grown:.0f} MiB for {weights:.0f} MiB of weights"
    )


def _determinism(base: Path, dtype: Any, size: Size) -> Iterator[Figure]:
    digests, names, waits = set(), set(), 0
    for _ in range(2):
        model, batches = _lora(base, dtype, size), _batches(size)
        with _counted_waits(size.device) as counted:
            result = train(model, batches, _settings(size), device=size.device)
        names |= set(result.inexact)
        digest = hashlib.sha256()
        for _, tensor in sorted(trained_parameters(model).items()):
            digest.update(tensor.cpu().float().numpy().tobytes())
        digests.add(digest.hexdigest())
        waits = len(counted)
    equal = "equal" if len(digests) == 1 else "different"
    found = f"{equal} weights; without a deterministic kernel: {', '.join(sorted(names)) or 'none'}"
    yield Figure("2 kernels", "two trainings of one file", found)
    yield Figure("5 waiting", f"synchronisations in {result.steps} steps of 2 micro-batches", str(waits))


class _counted_waits:
    """Collects torch's warnings of operations that wait for a GPU."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __enter__(self) -> list[str]:
        self._catch = warnings.catch_warnings(record=True)
        self._found = self._catch.__enter__()
        warnings.simplefilter("always")
        self._texts: list[str] = []
        if self.device == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        return self._texts

    def __exit__(self, *_: object) -> None:
        if self.device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
        self._texts += [str(one.message) for one in self._found if "synchroniz" in str(one.message)]
        self._catch.__exit__(None, None, None)


def _attention(size: Size, dtype: Any) -> Iterator[Figure]:
    heads, head = max(1, size.width // 64), 64
    number = torch.bfloat16 if dtype == "bf16" else torch.float32
    for length in sorted({max(8, size.length // 8), size.length}):
        tensors = [
            torch.randn(1, heads, size.rows * length, head, device=size.device, dtype=number, requires_grad=True)
            for _ in range(3)
        ]
        times = []
        for kernel_for in (varlen_kernel, lambda *_, **__: None):
            rows = _Rows(kernel_for)
            rows.lengths = (length,) * size.rows
            times.append(_seconds(lambda rows=rows, tensors=tensors: _both_ways(rows, tensors), size))
        has_kernel = varlen_kernel(tensors[0], head=head) is not None
        yield Figure(
            "4 attention",
            f"{size.rows} rows of {length} tokens, forward and backward",
            f"{1e3 * times[0]:.2f} ms {'at once' if has_kernel else '(no kernel here)'}, {1e3 * times[1]:.2f} ms a launch a row",
        )


def _both_ways(rows: _Rows, tensors: Sequence[torch.Tensor]) -> None:
    out, _ = rows.attend(torch.nn.Module(), *tensors, None)
    out.sum().backward()


def _lora_beside(base: Path, dtype: Any, size: Size) -> Iterator[Figure]:
    model = _lora(base, dtype, size, lora__dropout=0.05).train()
    batch = next(iter(_batches(size).of_epoch(0))).to(size.device)
    for beside, name in ((True, "beside"), (False, "peft's")):
        with fused_lora(model, beside=beside):
            seconds = _seconds(lambda: _step(model, batch), size)
        yield Figure("6 dropout", f"LoRA with dropout, {name}", f"{1e3 * seconds:.1f} ms a micro-batch")


def _step(model: Any, batch: Any) -> None:
    from peft_registry.trainer.training.loss import supervised_loss

    torch.autograd.backward(supervised_loss(model, batch)[0])
    model.zero_grad(set_to_none=True)


def _scoring(base: Path, dtype: Any, size: Size) -> Figure:
    model, batches = _lora(base, dtype, size), _batches(size)
    tokens = sum(len(example.ids) for example in batches.examples)
    scoring = _seconds(lambda: HeldOutRows(batches, size.device).loss(model.eval()), size)
    batch = next(iter(batches.of_epoch(0))).to(size.device)
    training = _seconds(lambda: _step(model.train(), batch), size)
    rate = batch.tokens / training
    return Figure("8 scoring", "fp32, beside training", f"{tokens / scoring:.0f} and {rate:.0f} tokens/s")


def _lora_pro(base: Path, dtype: Any, size: Size) -> Figure:
    config = a_training_file(method="lora_pro")
    method: Any = implementation("lora_pro")
    model = method.prepare(load_model(base, dtype=dtype, device=size.device), config, seed=1)
    optimizer = method.optimizer(model, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    return Figure("9 LoRA-Pro", "a step of the optimizer", f"{1e3 * _seconds(optimizer.step, size):.1f} ms")


def _adamw(size: Size) -> Figure:
    parameters = [torch.nn.Parameter(torch.zeros(size.width, 16, device=size.device)) for _ in range(14 * size.layers)]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    times = [
        _seconds(torch.optim.AdamW(parameters, fused=fused).step, size)
        for fused in ((True if size.device == "cuda" else None), False)
    ]
    return Figure(
        "10 AdamW", "a step, one kernel and one an operation", f"{1e3 * times[0]:.2f} and {1e3 * times[1]:.2f} ms"
    )


def _logits(size: Size, dtype: Any) -> Iterator[Figure]:
    tokens, vocabulary = _LOGITS if size.device == "cuda" else (64, VOCABULARY)
    number = torch.bfloat16 if dtype == "bf16" else torch.float32
    head = torch.nn.Linear(size.width, vocabulary, bias=False, device=size.device, dtype=number)
    hidden = torch.randn(tokens, size.width, device=size.device, dtype=number, requires_grad=True)
    targets = torch.zeros(tokens, dtype=torch.long, device=size.device)
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "whole": lambda: summed_cross_entropy(head(hidden), targets),
        "in pieces": lambda: cross_entropy_in_pieces(head, hidden, targets, max(1, tokens // 8)),
    }
    for name, loss in ways.items():
        if size.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = _seconds(lambda loss=loss: loss().backward(), size)
        peak = torch.cuda.max_memory_allocated() / 2**20 if size.device == "cuda" else 0.0
        yield Figure(
            "13 logits", f"{tokens} tokens × {vocabulary}, {name}", f"{1e3 * seconds:.1f} ms, peak {peak:.0f} MiB"
        )


# --- material ---


def _settings(size: Size) -> Any:
    return a_training_file(
        training__per_device_train_batch_size=size.rows, training__gradient_accumulation_steps=2
    ).training


def _lora(base: Path, dtype: Any, size: Size, **changes: Any) -> Any:
    seed_everything(1)
    model = load_model(base, dtype=dtype, device=size.device)
    return implementation("lora").prepare(model, a_training_file(**changes), seed=1)


def _batches(size: Size) -> Batches:
    generator = torch.Generator().manual_seed(1)
    examples = []
    for number in range(4 * size.rows):
        length = max(4, size.length - number % 7)
        ids = torch.randint(0, VOCABULARY - 50, (length,), generator=generator).numpy()
        examples.append(Example(ids=ids, labels=ids))
    return Batches(tuple(examples), size.rows, 256, 1)


def _seconds(work: Callable[[], Any], size: Size) -> float:
    """The median time, the device waited for, after one run that is not counted."""
    times = []
    for _ in range(size.repeats + 1):
        began = time.perf_counter()
        work()
        if size.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


if __name__ == "__main__":
    sys.exit(main())
