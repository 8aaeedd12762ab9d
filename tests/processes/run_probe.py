"""Measures a whole training with its evaluation, in a process of its own: `python -m tests.processes.run_probe BASE CONFIG`.

CONFIG is JSON: `words` such as `training.dtype=bf16`, and the `lengths` of the rows, in words. Prints, in bytes, what the estimate
tells beside the libraries, the resident set before the training and the largest one until it is registered.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from peft_registry.registry.homes.home import open_home
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.schemas.profile import OrganisationProfile
from tests.builders.homes import NOW
from tests.builders.training import write_rows
from tests.processes.memory_probe import imported, status

FILE = """\
name: measured
base: real
method: lora
data: {train: {path: rows.jsonl}, validation: {fraction: 0.1}}
training: {learning_rate: 1.0e-4, num_train_epochs: 1, per_device_train_batch_size: 1, max_length: 64, seed: 7}
evaluation: {bias: [house], half: screen}
"""


def measure(base: Path, words: list[str], lengths: list[int]) -> dict[str, int]:
    from peft_registry.trainer.use_cases.add_base import intake_base
    from peft_registry.trainer.use_cases.estimate import FIRST_BATCH_BYTES, estimate_run
    from peft_registry.trainer.use_cases.train import train_and_register

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
        rows: list[dict[str, Any]] = [{"text": f"{at} " + "word " * length} for at, length in enumerate(lengths)]
        write_rows(folder / "rows.jsonl", rows)
        (folder / "train.yml").write_text(FILE)
        registry = open_home(folder / "home")
        intake_base(registry, str(base), name="real")
        told = estimate_run(registry, folder / "train.yml", tuple(words)).peak
        imported("lora")
        floor = status("VmRSS:")
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts here
        train_and_register(registry, folder / "train.yml", tuple(words))
        libraries = told.parts["libraries"] - FIRST_BATCH_BYTES
        return {"told": told.total - libraries, "floor": floor, "peak": status("VmHWM:")}


if __name__ == "__main__":
    asked = json.loads(sys.argv[2])
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]), asked["words"], asked["lengths"])) + "\n")
