"""The working example that `init` writes: a training file and 60 rows of data that the project wrote itself."""

from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.hashing import write_and_hash
from peft_registry.trainer.embedded import example_rows

CONFIG = """\
# A LoRA fine-tune of the small model that comes with the registry. Try: registry train {config}
# Any value can be overridden on the command line: registry train {config} training.seed=8
name: polite-replies                 # becomes polite-replies:1
base: tiny                           # registry base add embedded --name tiny
method: lora
lora: {{r: 8, alpha: 16, dropout: 0.0, target_modules: all-linear}}
data:
  train: {{path: example.jsonl, format: prompt_completion}}
  validation: {{fraction: 0.25}}       # seeded and digested
training: {{learning_rate: 2e-3, num_train_epochs: 6, per_device_train_batch_size: 8, max_length: 128, seed: 7}}
evaluation: {{bias: [house], quality: [loss]}}
"""


@dataclass(frozen=True, slots=True)
class WrittenExample:
    config: Path
    data: Path
    rows: int


def write_example(folder: Path) -> WrittenExample:
    """Write `train.yml` and `example.jsonl` into a folder; files that are there already are left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    data = example_rows().read_bytes()
    config = folder / "train.yml"
    for path, content in ((config, CONFIG.format(config=config.name).encode()), (folder / "example.jsonl", data)):
        if not path.exists():
            write_and_hash([content], path, mode=0o644)
    return WrittenExample(config, folder / "example.jsonl", sum(1 for line in data.splitlines() if line.strip()))
