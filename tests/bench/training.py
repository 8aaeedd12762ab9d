"""Training speed against TRL's SFTTrainer: the same rows in the same order, length, batch, number format, LoRA and optimizer.

    python -m tests.bench.training [--rows 25] [--rounds 3] [--threads 1] [--tasks …] [--settings …] [--embedded]

Every contender runs in a process of its own, in turns, on the tokens that one reader made. TRL runs in each of its settings
that could be faster; those whose losses are not the plain one's are not exact and out, and its fastest is the one compared.
CPU seconds of one thread, so that a busy machine does not decide: two threads that wait for each other count their waiting.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.machine import machine
from tests.bench.material import Material, material, missing
from tests.bench.programs import python

BATCH, LENGTH, LEARNING_RATE, SEED = 4, 512, 2e-4, 1
TRL_SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "autocast": {"bf16": True},
    "padding-free": {"padding_free": True, "max_length": None},
    "padding-free autocast": {"padding_free": True, "max_length": None, "bf16": True},
}
EXACT = 0.02  # relative difference of mean losses between settings that compute the same: the start of A is drawn anew
TASKS = ("completion only", "all tokens")
CONTENDER = "--contender"  # how a process of one contender is told from the bench itself
RATIO_BAR = 1.75


@dataclass(frozen=True)
class Measured:
    """One run of one contender."""

    tokens: int  # real ones, padding not counted
    wall: float
    cpu: float
    peak: int
    losses: tuple[float, ...]

    @property
    def rate(self) -> float:
        return self.tokens / self.cpu

    @property
    def mean_loss(self) -> float:
        return statistics.fmean(self.losses)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what was measured, or why nothing was."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.training")
    parser.add_argument("--rows", type=int, default=25, help="that are read; one less is trained on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of each contender; more on an idle machine alone")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument(
        "--settings", nargs="+", choices=tuple(TRL_SETTINGS), default=tuple(TRL_SETTINGS), help="of TRL"
    )
    parser.add_argument("--embedded", action="store_true", help="the model and the rows that ship")
    chosen = parser.parse_args(arguments)
    print(machine(), flush=True)
    why = missing("trl", real_model=not chosen.embedded, rows=not chosen.embedded)
    if why:
        print(f"training     not run: {why}")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        given = material(folder, embedded=chosen.embedded)
        for task in chosen.tasks:
            rows = folder / f"{task}.npz"
            write_rows(given, rows, task, chosen.rows)
            run = Contenders(given.base, rows, chosen.threads)
            compare(run, task, settings=chosen.settings, rounds=chosen.rounds)


def write_rows(given: Material, path: Path, task: str, count: int) -> None:
    """The tokens and labels that every contender gets, in the order in which they are trained on."""
    from peft_registry.schemas.config import DataBlock, TrainSource, ValidationSource
    from peft_registry.trainer.bases.loading import load_tokenizer
    from peft_registry.trainer.data.dataset import load_data

    if task == "completion only":
        columns = {"prompt": given.prompt, "completion": given.completion}
        how = TrainSource(path=given.rows.name, format="prompt_completion", rows=count, columns=columns)
    else:
        how = TrainSource(path=given.rows.name, format="columns", rows=count, template=f"{{{given.completion}}}")
    data = load_data(
        DataBlock(train=how, validation=ValidationSource(fraction=1 / count)),
        folder=given.rows.parent,
        tokenizer=load_tokenizer(given.base),
        max_length=LENGTH,
        seed=SEED,
    )
    order = np.random.Generator(np.random.PCG64([SEED, 0])).permutation(len(data.train))
    rows = [data.train[index] for index in order]
    arrays = {f"ids{n}": row.ids for n, row in enumerate(rows)} | {
        f"labels{n}": row.labels for n, row in enumerate(rows)
    }
    np.savez(path, **arrays)


@dataclass(frozen=True)
class Contenders:
    """What all of them train on."""

    base: Path
    rows: Path
    threads: int

    def __call__(self, who: str, setting: str = "") -> Measured:
        """One run in a process of its own."""
        words = (CONTENDER, who, setting, str(self.base), str(self.rows), str(self.threads))
        value = json.loads(python("-m", "tests.bench.training", *words).splitlines()[-1])
        return Measured(**value | {"losses": tuple(value["losses"])})


def compare(run: Contenders, task: str, *, settings: Sequence[str], rounds: int) -> None:
    fastest = fastest_setting(run, settings)
    ours: list[Measured] = []
    theirs: list[Measured] = []
    for _ in range(rounds):
        ours.append(run("ours"))
        theirs.append(run("trl", fastest))
    print(
        f"training     {task}: {ours[0].tokens} tokens, batch {BATCH}, threads {run.threads}; "
        f"TRL's fastest exact setting: {fastest}"
    )
    for name, runs in (("ours", ours), ("trl", theirs)):
        print(
            f"  {name:<10} {statistics.median(one.rate for one in runs):6.0f} tok/CPU s, "
            f"{statistics.median(one.tokens / one.wall for one in runs):6.0f} tok/s wall, "
            f"peak {statistics.median(one.peak for one in runs) / 2**20:6.0f} MiB, mean loss {runs[0].mean_loss:.4f}"
        )
    ratios = sorted(their.cpu / our.cpu for our, their in zip(ours, theirs, strict=True))
    wall = statistics.median(one.wall for one in theirs) / statistics.median(one.wall for one in ours)
    print(
        f"  ratio      {statistics.median(ratios):.2f} (of each round: {', '.join(f'{one:.2f}' for one in ratios)}; "
        f"bar {RATIO_BAR}), by the clock {wall:.2f}, memory {ours[0].peak / theirs[0].peak:.2f}, "
        f"loss {ours[0].mean_loss / theirs[0].mean_loss - 1:+.2%}",
        flush=True,
    )


def fastest_setting(run: Contenders, settings: Sequence[str]) -> str:
    """TRL's setting of the highest rate whose losses are those of the first; each is run once, unless there is one alone."""
    if len(settings) == 1:
        return settings[0]
    runs = {name: run("trl", name) for name in settings}
    expected = runs[settings[0]].mean_loss
    exact = [name for name, one in runs.items() if abs(one.mean_loss - expected) <= EXACT * expected]
    for name, one in runs.items():
        print(f"  trl        {name:<22} {one.rate:6.0f} tok/CPU s{'' if name in exact else '  not exact'}", flush=True)
    return max(exact, key=lambda name: runs[name].rate)


def run_contender(who: str, setting: str, base: Path, rows: Path, threads: int) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"  # before anything of the Hub is imported
    import torch

    from peft_registry.trainer.bases.loading import load_base
    from peft_registry.trainer.data.tokenize import Example
    from peft_registry.trainer.machine.environment import choose_hardware
    from peft_registry.trainer.machine.peak_memory import peak_bytes, reset_peak

    torch.set_num_threads(threads)
    hardware = choose_hardware()
    model, tokenizer = load_base(base, dtype=hardware.dtype, device=hardware.device)
    arrays = np.load(rows)
    examples = tuple(Example(arrays[f"ids{n}"], arrays[f"labels{n}"]) for n in range(len(arrays.files) // 2))
    warm = torch.nn.Linear(2, 2)  # what torch imports at its first optimizer step is nobody's time
    warm(torch.ones(1, 2)).sum().backward()
    torch.optim.AdamW(warm.parameters()).step()
    train = (
        prepared_ours(model, examples, hardware.device)
        if who == "ours"
        else prepared_trl(model, tokenizer, examples, setting, hardware.device)
    )
    reset_peak(hardware.device)
    wall, cpu = time.perf_counter(), time.process_time()
    losses = train()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    tokens = sum(len(example.ids) for example in examples)
    print(json.dumps(Measured(tokens, wall, cpu, peak_bytes(hardware.device), tuple(losses)).__dict__))


def prepared_ours(model: Any, examples: Any, device: str) -> Any:
    from peft_registry.trainer.data.collate import Batches
    from peft_registry.trainer.methods import implementation
    from peft_registry.trainer.training.loop import train
    from tests.builders.training import a_training_file

    class InOrder(Batches):
        """The rows as they come."""

        def of_epoch(self, epoch: int, layout: Any = "padded") -> Any:
            from peft_registry.trainer.data.collate import collate, lay_flat

            for start in range(0, len(self.examples), BATCH):
                chosen = self.examples[start : start + BATCH]
                yield collate(chosen, pad_id=0) if layout == "padded" else lay_flat(chosen, layout=layout)

    config = a_training_file(
        training__learning_rate=LEARNING_RATE,
        training__warmup_ratio=0.0,
        training__lr_scheduler_type="constant",
        training__max_length=LENGTH,
    )
    wrapped = implementation("lora").prepare(model, config, seed=SEED)
    batches = InOrder(examples, BATCH, 0, SEED)
    return lambda: train(wrapped, batches, config.training, device=device).curve.loss


def prepared_trl(model: Any, tokenizer: Any, examples: Any, setting: str, device: str) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    settings: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "num_train_epochs": 1,
        "max_length": LENGTH,
        "completion_only_loss": True,
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": device == "cpu",
        "bf16": False,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "seed": SEED,
    }
    rows = [
        {"input_ids": one.ids.tolist(), "completion_mask": [int(label != -100) for label in one.labels.tolist()]}
        for one in examples
    ]
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**settings | TRL_SETTINGS[setting]),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
    )

    def run() -> list[float]:
        trainer.train()
        return [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]

    return run


if __name__ == "__main__":
    if len(sys.argv) == 7 and sys.argv[1] == CONTENDER:
        run_contender(sys.argv[2], sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5]), int(sys.argv[6]))
    else:
        main()
