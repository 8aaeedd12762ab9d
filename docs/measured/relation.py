"""How often the relation of a model to a base is told: `python -m docs.measured.relation > docs/measured/relation.json`.

The thresholds of `registry/imports/thresholds.json` were set by judgement. Here they are held against bases and strengths that had
no part in that: matrices of random numbers at the scale of an initialisation, seeds from 1000 on, each moved whole or by a
low-rank update in its attention. What trained models share with each other is in none of them.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from peft_registry.registry.imports.relation import ComparedBase, nearness_of, relations_of
from peft_registry.schemas.identity import Digest

Weights = dict[str, NDArray[np.float32]]
BASES = 20
FIRST_SEED = 1000
STRENGTHS = (0.003, 0.03, 0.3)  # norm of the change over that of the matrix
SEED = Digest.of(b"relation")  # of the sample, which takes all of matrices as small as these
_WIDTH = 32
_TOKENS = 96


def a_base(seed: int) -> Weights:
    """Two layers of a small transformer."""
    random = np.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (_TOKENS, _WIDTH)}
    for layer in range(2):
        for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj"):
            shapes[f"model.layers.{layer}.{name}.weight"] = (_WIDTH, _WIDTH)
    return {name: (0.02 * random.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def moved_whole(base: Weights, seed: int, strength: float) -> Weights:
    """What a full fine-tune leaves: every element moved."""
    random = np.random.default_rng(seed)
    return {name: _moved(matrix, random.standard_normal(matrix.shape), strength) for name, matrix in base.items()}


def moved_in_attention(base: Weights, seed: int, strength: float) -> Weights:
    """What a merged LoRA of rank 2 leaves: the attention moved, the rest as it is."""
    random = np.random.default_rng(seed)
    moved = dict(base)
    for name, matrix in base.items():
        if "self_attn" in name:
            update = random.standard_normal((matrix.shape[0], 2)) @ random.standard_normal((2, matrix.shape[1]))
            moved[name] = _moved(matrix, update, strength)
    return moved


def _moved(matrix: NDArray[np.float32], update: NDArray[np.float64], strength: float) -> NDArray[np.float32]:
    return (matrix + strength * np.linalg.norm(matrix) / np.linalg.norm(update) * update).astype(np.float32)


MADE: dict[str, Callable[[Weights, int, float], Weights]] = {
    "full fine-tune": moved_whole,
    "merged LoRA": moved_in_attention,
}


def measure(number_of_bases: int = BASES) -> list[dict[str, object]]:
    """A row for each way and strength: how often each answer is given for the own base, and for the others."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        bases = [a_base(FIRST_SEED + number) for number in range(number_of_bases)]
        paths = [folder / f"base-{number:02}.safetensors" for number in range(number_of_bases)]
        for base, path in zip(bases, paths, strict=True):
            save_file(base, path)
        return [
            _row(how, strength, bases, paths, folder / "model.safetensors") for how in MADE for strength in STRENGTHS
        ]


def _row(how: str, strength: float, bases: list[Weights], paths: list[Path], model: Path) -> dict[str, object]:
    own: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for number, base in enumerate(bases):
        save_file(MADE[how](base, 2 * FIRST_SEED + number, strength), model)
        compared = [
            ComparedBase(path.stem, Digest.of(path.stem.encode()), nearness_of([model], [path], SEED)) for path in paths
        ]
        answers = [relation.answer for relation in relations_of(compared)]
        own[answers[number]] += 1
        others.update(answers[:number] + answers[number + 1 :])
    return {"made by": how, "strength": strength, "own base": dict(own), "other bases": dict(others)}


if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
