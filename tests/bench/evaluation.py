"""Our scorer against lm-evaluation-harness, in one run on one thread.

    python -m tests.bench.evaluation [MODEL_FOLDER] [--crows 100] [--bbq 24] [--batches 1 8 32] [--embedded]

The same loaded model, the same rows; the harness at the best of its batch sizes. Items per CPU second, so that a busy machine does
not decide; both are run in turns, and the best of the turns counts.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.trainer.evaluation.scoring import in_float32, score
from peft_registry.trainer.evaluation.suites import LoadedSuite, suite_named
from peft_registry.trainer.evaluation.suites.selection import limited
from tests.bench.machine import machine
from tests.bench.material import material, missing, public_rows
from tests.oracles.lm_eval import crows_rows, run_lm_eval

GOALS = {"crows_pairs": 2.0, "bbq": 8.0}
TURNS = 1
HELD_TURNS = 3
TOLERANCE = 1e-3  # nats


@dataclass(frozen=True)
class Speed:
    """Items per CPU second of both, and the batch size at which the harness was fastest."""

    suite: str
    items: int
    ours: float
    unassisted: float  # ours with torch's own matrix products, where another library's are faster
    theirs: float
    batch: int
    difference: float  # the largest between two log-likelihoods, nats

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs

    @property
    def line(self) -> str:
        return (
            f"{self.suite:<12} {self.items} items  ours {self.ours:7.2f}/s  lm-eval {self.theirs:7.2f}/s (batch {self.batch})"
            f"  ×{self.ratio:.1f}, goal ×{GOALS[self.suite]:g} (×{self.unassisted / self.theirs:.1f} with torch's own matrix"
            f" products); at most {self.difference:.1e} nats apart"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line a suite."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.evaluation")
    parser.add_argument("model", nargs="?", type=Path, metavar="MODEL_FOLDER", help="in place of the real small model")
    parser.add_argument("--crows", type=int, default=100, help="pairs of CrowS-Pairs")
    parser.add_argument("--bbq", type=int, default=24, help="questions of BBQ")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], help="sizes that the harness is run with")
    parser.add_argument("--embedded", action="store_true", help="the model that ships")
    chosen = parser.parse_args(arguments)
    print(machine(), flush=True)
    why = missing("lm_eval", real_model=not (chosen.embedded or chosen.model), rows=True)
    if why:
        print(f"evaluation   not run: {why}")
        return int(os.environ.get("REQUIRE_ALL") == "1")
    counts = {"crows_pairs": chosen.crows, "bbq": chosen.bbq}
    with tempfile.TemporaryDirectory() as scratch, _one_thread():
        model = chosen.model or material(Path(scratch), embedded=chosen.embedded).base
        measure(model, counts, chosen.batches)
    return 0


def measure(folder: Path, counts: dict[str, int], batches: Sequence[int]) -> None:
    from peft_registry.trainer.bases.loading import load_base

    data = public_rows() / "bias"
    model, tokenizer = load_base(folder, dtype="fp32", device="cpu")
    suites = {name: limited(suite_named(name).load(data), count, seed=5) for name, count in counts.items()}
    print(compare_held(folder, suites["crows_pairs"]), flush=True)
    for name, suite in suites.items():
        rows = _rows_of(name, suite, data)
        speed = compare(name, suite, rows, model=model, tokenizer=tokenizer, batches=batches)
        print(speed.line, flush=True)
        assert speed.difference <= TOLERANCE, "a faster scorer of other numbers is worth nothing"


def compare_held(folder: Path, suite: LoadedSuite) -> str:
    """bf16 weights that are wide while their layer computes, against a wide copy: CPU seconds in turns, the best counts."""
    from peft_registry.trainer.bases.loading import load_base

    held, tokenizer = load_base(folder, dtype="bf16", device="cpu")
    wide = load_base(folder, dtype="bf16", device="cpu")[0].float()
    seconds: dict[str, list[float]] = {"held": [], "wide": []}
    found: dict[str, list[float]] = {}
    for _ in range(HELD_TURNS):
        for name, model in (("held", held), ("wide", wide)):
            with in_float32(model):
                took, found[name] = _scored(model, tokenizer, suite)
            seconds[name].append(took)
    apart = max(abs(a - b) for a, b in zip(found["held"], found["wide"], strict=True))
    ratio = min(seconds["held"]) / min(seconds["wide"])
    return (
        f"held in bf16 {len(suite.units)} items  ×{ratio:.2f} the time of a wide copy; at most {apart:.1e} nats apart"
    )


def compare(
    name: str, suite: LoadedSuite, rows: list[dict[str, Any]], *, model: Any, tokenizer: Any, batches: Sequence[int]
) -> Speed:
    """Both on the same rows, in turns."""
    ours = apart = 0.0
    theirs = dict.fromkeys(batches, 0.0)
    unassisted = len(rows) / _scored(model, tokenizer, suite)[0]
    with in_float32(model), tempfile.TemporaryDirectory() as scratch:
        for turn in range(TURNS):
            seconds, found = _scored(model, tokenizer, suite)
            ours = max(ours, len(rows) / seconds)
            for batch in batches:
                folder = Path(scratch) / f"{turn}-{batch}"
                folder.mkdir()
                run = run_lm_eval(name, rows, model=model, tokenizer=tokenizer, scratch=folder, batch_size=batch)
                theirs[batch] = max(theirs[batch], len(rows) / run.cpu_seconds)
                expected = [value for row in run.log_likelihoods for value in row]
                apart = max(apart, *(abs(a - b) for a, b in zip(found, expected, strict=True)))
    best = max(theirs, key=lambda batch: theirs[batch])
    return Speed(name, len(rows), ours, unassisted, theirs[best], best, apart)


def _scored(model: Any, tokenizer: Any, suite: LoadedSuite) -> tuple[float, list[float]]:
    """CPU seconds, and the log-likelihoods."""
    started = time.process_time()
    found = score(model, tokenizer, suite.requests)
    return time.process_time() - started, [one.log_likelihood for one in found]


def _rows_of(name: str, suite: LoadedSuite, data: Path) -> list[dict[str, Any]]:
    """The chosen rows as the harness reads them."""
    wanted = [one for one, _ in suite.units]
    if name == "crows_pairs":
        found = {row["id"]: row for row in crows_rows(data / "crows-pairs/crows_pairs.csv")}
    else:
        lines = (line for file in sorted((data / "bbq").glob("*.jsonl")) for line in file.read_text().splitlines())
        found = {f"{row['category']}-{row['example_id']}": row for row in map(json.loads, lines)}
    return [found[one] for one in wanted]


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch computes on one thread inside."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    sys.exit(main())
