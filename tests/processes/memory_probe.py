"""Measures what one training takes, in a process of its own: `python -m tests.processes.memory_probe BASE CONFIG`.

CONFIG is JSON: the dotted overrides of `a_training_file`. Every row fills `training.max_length` and every token carries
loss. Prints the resident set after imports and the largest one of loading and training, in bytes.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path

from tests.builders.training import a_training_file, train_on, write_rows

STEPS = 3


def status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def imported(method: str) -> None:
    """Everything that a run imports, and the thread that runs backward passes."""
    import torch

    from peft_registry.trainer.methods import implementation

    for name in (
        "peft_registry.trainer.training.train_adapter",
        "transformers.models.llama.modeling_llama",
        "peft.tuners.lora.layer",
    ):
        importlib.import_module(name)
    implementation(method)  # type: ignore[arg-type]
    weight = torch.ones(64, 64, requires_grad=True)
    torch.autograd.backward((weight @ weight).sum())


def measure(base: Path, changes: dict[str, object]) -> dict[str, int]:
    config = a_training_file(**changes)
    imported(config.method)
    rows = config.training.per_device_train_batch_size * STEPS
    text = "one two three four five six seven eight " * (config.training.max_length // 8 + 1)
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "rows.jsonl", [{"text": f"{index} {text}"} for index in range(rows + 1)])
        floor = status("VmRSS:")
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts here
        train_on(Path(folder), base, config, scratch=Path(folder))
        return {"floor": floor, "peak": status("VmHWM:"), "left": status("VmRSS:")}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]), json.loads(sys.argv[2]))) + "\n")
