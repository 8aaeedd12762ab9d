"""Merging against peft: time and memory on a 1.1-billion-parameter bf16 model made on the spot, and who adds up right.

    python -m tests.bench.merging [--layers 22] [--width 2048] [--runs 3]

The engine is timed without imports, hashing and reload, warm, in a process of its own; peft's load, merge and save likewise.
Runs alternate, the medians count, and the bytes must be equal.
"""

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.homes.home import utc_now
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.schemas.base_model import BaseOrigin
from tests.bench.machine import folder_on_disk, machine
from tests.bench.programs import python
from tests.builders.homes import a_home

RATIO_BAR = 5.0
MEMORY_BAR_MB = 700
VOCABULARY, HEADS, GROUPS = 32000, 32, 4
WIDENING = 2.75  # of a block's middle: 5632 at the width of 2048, as in TinyLlama

OURS = """
import sys, time
from pathlib import Path
from tests.builders.merge import plan_of
from peft_registry.trainer.merge.folder import write_model_folder
base, adapter, out = map(Path, sys.argv[1:])
plan = plan_of(base, adapter)
out.mkdir()
began, cpu = time.perf_counter(), time.process_time()
write_model_folder(plan, out)
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(seconds, int(status["VmHWM"].split()[0]) / 1024, cpu)
"""
THEIRS = """
import sys, time, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, out = sys.argv[1:]
began, cpu = time.perf_counter(), time.process_time()
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(seconds, int(status["VmHWM"].split()[0]) / 1024, cpu)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.merging")
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--width", type=int, default=2048, help=f"of a layer, a multiple of {2 * HEADS}")
    parser.add_argument("--runs", type=int, default=3, help="after one that warms; with 0 that one is all there is")
    chosen = parser.parse_args(arguments)
    print(machine(), flush=True)
    with folder_on_disk() as scratch:
        compare(scratch, layers=chosen.layers, width=chosen.width, runs=chosen.runs)
        weighted_sums(scratch)


def compare(folder: Path, *, layers: int, width: int, runs: int) -> None:
    """Print the table of one model."""
    base, adapter = make_model(folder / "one", layers=layers, width=width)
    ours, theirs = Timings([]), Timings([])
    for run in range(runs + 1):
        for timings, script, name in ((theirs, THEIRS, "theirs"), (ours, OURS, "ours")):
            timings.runs.append(measured(script, base, adapter, folder / f"{name}-{run}"))
        if run < runs:
            remove(folder / f"ours-{run}", folder / f"theirs-{run}")
    other, values = different_values(folder / f"ours-{runs}", folder / f"theirs-{runs}")
    remove(folder / f"ours-{runs}", folder / f"theirs-{runs}")
    size = f"{values / 1e9:.2g} B bf16"
    print(f"merge        {size}: engine {ours.text} with every norm, peft load+merge+save {theirs.text}")
    print(f"ratio        peft / engine: {theirs.seconds / ours.seconds:.1f} (bar {RATIO_BAR:g}), "
          f"CPU time {theirs.cpu / ours.cpu:.1f}; {other} of {values} values differ")  # fmt: skip
    print(f"memory       engine VmHWM {ours.memory:.0f} MiB (bar {MEMORY_BAR_MB}), peft {theirs.memory:.0f} MiB")
    whole_command(folder / "home", base, adapter)
    remove(folder / "one", folder / "home")
    base, adapter = make_model(folder / "two", layers=2 * layers, width=width)
    twice = measured(OURS, base, adapter, folder / "ours-twice")[1]
    remove(folder / "ours-twice", folder / "two")
    print(f"memory       the same with twice the layers: {twice:.0f} MiB")


@dataclass(frozen=True)
class Timings:
    """(seconds, MiB, CPU seconds) of runs; the first warms the page cache and is timed only where it is the only one."""

    runs: list[tuple[float, float, float]]

    @property
    def timed(self) -> list[tuple[float, float, float]]:
        return self.runs[1:] or self.runs

    @property
    def seconds(self) -> float:
        return statistics.median(run[0] for run in self.timed)

    @property
    def cpu(self) -> float:
        return statistics.median(run[2] for run in self.timed)

    @property
    def memory(self) -> float:
        return max(run[1] for run in self.runs)

    @property
    def text(self) -> str:
        return f"{self.seconds:.2f} s ({self.cpu:.1f} CPU s)"


def make_model(folder: Path, *, layers: int, width: int) -> tuple[Path, Path]:
    """A Llama of random bf16 weights in shards of 1 GB, and a LoRA of rank 8 on every linear layer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.builders.merge import suppress_warnings

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=int(WIDENING * width),
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        tie_word_embeddings=False,
        dtype="bfloat16",
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model = model.to_empty(device="cpu")
    torch.manual_seed(0)
    pool = (torch.randn(1 << 24) * 0.02).bfloat16()
    for parameter in model.parameters():
        times = -(-parameter.numel() // len(pool))
        parameter.data = pool.repeat(times)[: parameter.numel()].reshape(parameter.shape).clone()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its buffers are computed, not stored
    model.save_pretrained(folder / "base", max_shard_size="1GB")
    with suppress_warnings():
        adapted = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")
        )
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.02)
        adapted.save_pretrained(folder / "adapter", save_embedding_layers=False)
    return folder / "base", folder / "adapter"


def measured(script: str, *arguments: Path) -> tuple[float, float, float]:
    """(seconds, MiB, CPU seconds) that a script in a fresh process prints."""
    seconds, peak, cpu = python("-c", script, *map(str, arguments)).split()[-3:]
    return float(seconds), float(peak), float(cpu)


def different_values(first: Path, second: Path) -> tuple[int, int]:
    """How many stored values differ, and of how many: the order in which threads add up a product is the library's own."""
    import torch

    from peft_registry.trainer.merge.tensors import stored_tensors

    tensors = [
        {one.name: one for file in sorted(folder.glob("*.safetensors")) for one in stored_tensors(file)}
        for folder in (first, second)
    ]
    assert tensors[0].keys() == tensors[1].keys()
    pairs = ((one.read(), tensors[1][name].read()) for name, one in tensors[0].items())
    counts = [(int(torch.count_nonzero(a != b)), a.numel()) for a, b in pairs]
    return sum(count for count, _ in counts), sum(total for _, total in counts)


def whole_command(folder: Path, base: Path, adapter: Path) -> None:
    """`registry merge` from start to end: checks, hashes, both figures on reloaded models, signatures, registration."""
    from peft_registry.trainer.embedded import embedded_base
    from tests.builders.merge import register_adapter

    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(embedded_base() / name, base / name)
    with a_home(folder, now=utc_now()) as registry:
        added = add_base(registry, base, name="billion", origin=BaseOrigin(format="huggingface", source="billion"))
        register_adapter(registry, adapter, added, "adapter")
    began = time.perf_counter()
    printed = python(
        *("-m", "peft_registry.cli.main", "merge", "adapter", "--home", str(folder), "--no-mirror", "-o", "json")
    )
    seconds = time.perf_counter() - began
    found: dict[str, Any] = json.loads(printed)
    print(
        f"command      registry merge {seconds:.1f} s, everything included: fold error {found['fold_error']:.3g} "
        f"(allowed {found['fold_error_limit']:.3g}), {100 * found['lost_to_rounding']:.1f} % of the change lost to rounding"
    )


def weighted_sums(folder: Path) -> None:
    """0.7·Δ₁ + 0.3·Δ₂: the relative error of each of peft's ways, and of ours, against the sum in fp64."""
    import torch
    from peft import LoraConfig

    from tests.builders.merge import load, merge, suppress_warnings, unmerged, write_adapter, write_base
    from tests.builders.training import a_model

    target, weights = "model.layers.0.self_attn.q_proj", (0.7, 0.3)
    base = write_base(a_model(tied=False, hidden_size=64), folder / "small")
    for kind, rslora in (("LoRA", False), ("rsLoRA", True)):
        config = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=["q_proj"], use_rslora=rslora)
        adapters = [write_adapter(base, folder / f"{kind}-{seed}", config, seed=seed, scale=1.0) for seed in (1, 2)]
        with suppress_warnings():
            model = unmerged(base, adapters[0])
            model.load_adapter(adapters[1], adapter_name="second")
        layer = model.base_model.model.get_submodule(target)
        exact = sum(
            weight * layer.get_delta_weight(name).double()
            for weight, name in zip(weights, ("default", "second"), strict=True)
        )
        merge(base, *adapters, into=folder / f"{kind}-sum", weights=weights)
        ours = load(folder / f"{kind}-sum").get_parameter(f"{target}.weight") - load(base).get_parameter(
            f"{target}.weight"
        )
        errors = {"ours": float((ours.detach().double() - exact).norm() / exact.norm())}
        for way in ("cat", "svd", "linear", "ties", "dare_linear"):
            torch.manual_seed(0)
            options = {} if way in ("cat", "svd", "linear") else {"density": 0.5}
            with suppress_warnings():
                model.add_weighted_adapter(["default", "second"], list(weights), way, combination_type=way, **options)
            found = layer.get_delta_weight(way).double()
            errors[way] = float((found - exact).norm() / exact.norm())
        print(f"weighted     {kind:<7} " + "  ".join(f"{name} {error:.2g}" for name, error in errors.items()))


def remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
