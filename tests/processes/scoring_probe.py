"""Measures what scoring both arms takes, in a process of its own: `python -m tests.processes.scoring_probe BASE CONFIG`.

CONFIG as of `memory_probe`, which measures the training; here the adapter is a fresh one. Prints the largest resident set of
loading and scoring, in bytes, and the seconds that scoring took.
"""

import json
import sys
import time
from pathlib import Path

from tests.builders.training import a_training_file
from tests.processes.memory_probe import imported, status

ITEMS = 24


def measure(base: Path, changes: dict[str, object]) -> dict[str, float]:
    config = a_training_file(**changes)
    imported(config.method)
    from peft_registry.trainer.bases.loading import held_dtype, load_base
    from peft_registry.trainer.evaluation.scoring import in_float32, score
    from peft_registry.trainer.evaluation.suites import suite_named
    from peft_registry.trainer.evaluation.suites.selection import limited
    from peft_registry.trainer.methods import implementation

    suite = limited(suite_named("house").load(None), ITEMS, seed=0)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts here
    dtype = "bf16" if config.training.dtype == "bf16" else held_dtype(base)
    model, tokenizer = load_base(base, dtype=dtype, device="cpu")
    model = implementation(config.method).prepare(model, config, seed=0)
    started = time.perf_counter()
    with in_float32(model):
        with model.disable_adapter():
            score(model, tokenizer, suite.requests)
        score(model, tokenizer, suite.requests)
    return {"peak": status("VmHWM:"), "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]), json.loads(sys.argv[2]))) + "\n")
