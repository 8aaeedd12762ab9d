"""Adapters of the embedded base as somebody trains them in a minute, and one adapter in other numbers."""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.builders.peft_kinds import the_base

_STEPS = 12
_ROWS = 4
_TOKENS = 48
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
DOCUMENTS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an adapter is trained: `subject` chooses the texts, `start` is the folder of the adapter that it is trained on from."""

    seed: int
    subject: str = "how-to"
    rank: int = 8
    alpha: int = 16
    targets: tuple[str, ...] = ("q_proj", "v_proj", "up_proj", "down_proj")
    rate: float = 2e-3
    start: Path | None = None
    is_dora: bool = False


def texts_of(subject: str) -> list[str]:
    """Paragraphs of a folder of the documentation."""
    pages = sorted((DOCUMENTS / subject).glob("*.md"))
    paragraphs = (part.strip() for page in pages for part in page.read_text().split("\n\n"))
    return [part for part in paragraphs if len(part) > 80]


def trained_by(recipe: Recipe, folder: Path) -> Path:
    """Train an adapter for a few steps and save it as peft does."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoTokenizer

    from peft_registry.trainer.embedded import embedded_base

    torch.manual_seed(recipe.seed)
    tokenizer = AutoTokenizer.from_pretrained(embedded_base())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft about its own types
        model: Any
        if recipe.start is None:
            config = LoraConfig(
                r=recipe.rank,
                lora_alpha=recipe.alpha,
                target_modules=list(recipe.targets),
                use_dora=recipe.is_dora,
                task_type="CAUSAL_LM",
            )
            model = get_peft_model(the_base(), config)
        else:
            model = PeftModel.from_pretrained(the_base(), recipe.start, is_trainable=True)
        texts = texts_of(recipe.subject)
        order = torch.Generator().manual_seed(recipe.seed)
        optimizer = torch.optim.AdamW((one for one in model.parameters() if one.requires_grad), lr=recipe.rate)
        for _ in range(_STEPS):
            drawn = torch.randint(len(texts), (_ROWS,), generator=order)
            rows = [tokenizer(texts[number])["input_ids"][:_TOKENS] for number in drawn]
            shortest = min(map(len, rows))
            ids = torch.tensor([row[:shortest] for row in rows])
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.save_pretrained(folder)
    return folder


# --- one adapter in other numbers ---

Tensors = dict[str, Any]
Config = dict[str, Any]


def factors_of(tensors: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """A and B of each module, as doubles."""
    ends = (".lora_A.weight", ".lora_B.weight")
    modules = [name.removesuffix(ends[0]) for name in tensors if name.endswith(ends[0])]
    return {
        module: (tensors[module + ends[0]].astype(np.float64), tensors[module + ends[1]].astype(np.float64))
        for module in modules
    }


def tensors_of(factors: Mapping[str, tuple[Any, Any]]) -> Tensors:
    """The tensors of an adapter with these factors."""
    tensors: Tensors = {}
    for module, (a, b) in factors.items():
        tensors |= {f"{module}.lora_A.weight": a.astype(np.float32), f"{module}.lora_B.weight": b.astype(np.float32)}
    return tensors


def _each(change: Callable[[Any, Any, Any], tuple[Any, Any]]) -> Callable[[Tensors, Config], tuple[Tensors, Config]]:
    """A transform of the two factors of every module, with numbers drawn for it."""

    def transform(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
        random = np.random.default_rng(17)
        return tensors_of({name: change(a, b, random) for name, (a, b) in factors_of(tensors).items()}), config

    return transform


def _permuted(a: Any, b: Any, random: Any) -> tuple[Any, Any]:
    order = random.permutation(a.shape[0])
    return a[order], b[:, order]


def _turned(a: Any, b: Any, random: Any) -> tuple[Any, Any]:
    by = random.standard_normal((a.shape[0], a.shape[0])) + 3 * np.eye(a.shape[0])
    return by @ a, b @ np.linalg.inv(by)


def _factored(a: Any, b: Any, _: Any) -> tuple[Any, Any]:
    """As tools that cut or change ranks write it: the singular vectors of the product, its values shared between them."""
    left, values, right = np.linalg.svd(b @ a, full_matrices=False)
    root = np.sqrt(values[: a.shape[0]])
    return root[:, None] * right[: a.shape[0]], left[:, : a.shape[0]] * root


def _noisy(strength: float) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    def noise(a: Any, b: Any, random: Any) -> tuple[Any, Any]:
        return tuple(value * (1 + strength * random.standard_normal(value.shape)) for value in (a, b))

    return noise


def _cast(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
    return {name: value.astype(np.float16) for name, value in tensors.items()}, config


def _of_one_layer(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
    return {name: value for name, value in tensors.items() if ".layers.0." in name}, config | {
        "layers_to_transform": [0]
    }


def _of_other_scale(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
    return tensors, config | {"lora_alpha": 3 * config["lora_alpha"]}


def _of_larger_rank(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
    """Twice the rank, the new half zero, and the scale as it was."""
    doubled = {
        name: (np.concatenate([a, 0 * a]), np.concatenate([b, 0 * b], axis=1))
        for name, (a, b) in factors_of(tensors).items()
    }
    return tensors_of(doubled), config | {"r": 2 * config["r"], "lora_alpha": 2 * config["lora_alpha"]}


# what keeps an adapter what it is, or most of it
TRANSFORMS: dict[str, Callable[[Tensors, Config], tuple[Tensors, Config]]] = {
    "rounded to half precision": _cast,
    "noise of a thousandth": _each(_noisy(1e-3)),
    "noise of a fiftieth": _each(_noisy(0.02)),
    "ranks in another order": _each(_permuted),
    "factors turned": _each(_turned),
    "factored by its singular values": _each(_factored),
    "sign of both factors": _each(lambda a, b, _: (-a, -b)),
    "three times the scale": _of_other_scale,
    "twice the rank": _of_larger_rank,
    "one layer of it": _of_one_layer,
}


def transformed(folder: Path, destination: Path, how: str) -> Path:
    """An adapter's folder in other numbers."""
    config = json.loads((folder / CONFIG).read_text())
    tensors, config = TRANSFORMS[how](load_file(folder / WEIGHTS), config)
    return an_adapter(destination, tensors, config)


def added_up(folders: Mapping[Path, float], destination: Path) -> Path:
    """Adapters of one rank and scale, folded into one by stacking their factors, each with a weight."""
    config = json.loads((next(iter(folders)) / CONFIG).read_text())
    of_each = [(factors_of(load_file(folder / WEIGHTS)), weight) for folder, weight in folders.items()]
    stacked = {
        name: (
            np.concatenate([factors[name][0] for factors, _ in of_each]),
            np.concatenate([weight * factors[name][1] for factors, weight in of_each], axis=1),
        )
        for name in of_each[0][0]
    }
    times = len(of_each)
    return an_adapter(
        destination,
        tensors_of(stacked),
        config | {"r": times * config["r"], "lora_alpha": times * config["lora_alpha"]},
    )


def an_adapter(folder: Path, tensors: Tensors, config: Config) -> Path:
    """A folder as peft saves it."""
    folder.mkdir(parents=True)
    save_file(
        {name: np.ascontiguousarray(value) for name, value in tensors.items()},
        folder / WEIGHTS,
        metadata={"format": "pt"},
    )
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def folded(base: Mapping[str, Any], adapter: Path) -> Tensors:
    """The weights of a base with an adapter folded in, as `merge_and_unload` of peft leaves them."""
    config = json.loads((adapter / CONFIG).read_text())
    weights = {name: value.copy() for name, value in base.items()}
    for module, (a, b) in factors_of(load_file(adapter / WEIGHTS)).items():
        name = f"{module.removeprefix('base_model.model.')}.weight"
        weights[name] = (weights[name] + config["lora_alpha"] / config["r"] * (b @ a)).astype(np.float32)
    return weights


def with_units_in_another_order(weights: Tensors, *, seed: int = 5) -> Tensors:
    """A Llama whose inner units of each MLP are in another order: the same function."""
    random = np.random.default_rng(seed)
    moved = dict(weights)
    for name, value in weights.items():
        if name.endswith("mlp.down_proj.weight"):
            order = random.permutation(value.shape[1])
            block = name.removesuffix("down_proj.weight")
            moved[name] = np.ascontiguousarray(value[:, order])
            for inner in ("gate_proj", "up_proj"):
                other = f"{block}{inner}.weight"
                if other in weights:
                    moved[other] = np.ascontiguousarray(weights[other][order])
    return moved
