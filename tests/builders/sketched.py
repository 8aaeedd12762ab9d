"""Adapters of the embedded base as somebody trains them in a minute, and one adapter in other numbers."""

import hashlib
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
PREFIX = "base_model.model."
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


def _small(a: Any, b: Any, rank: int) -> tuple[Any, Any]:
    a, b = _factored(a, b, None)
    return a[:rank], b[:, :rank]


def _cut_to(share: int) -> Callable[[Tensors, Config], tuple[Tensors, Config]]:
    """A part of the ranks, those of the largest singular values, as tools that resize adapters leave it."""

    def transform(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
        rank = config["r"] // share
        cut = {name: _small(a, b, rank) for name, (a, b) in factors_of(tensors).items()}
        return tensors_of(cut), config | {"r": rank, "lora_alpha": config["lora_alpha"] / share}

    return transform


def _part_of_ranks(first: bool) -> Callable[[Tensors, Config], tuple[Tensors, Config]]:
    """Every other rank: two such adapters, loaded beside each other, are the one."""

    def transform(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
        part = slice(0 if first else 1, None, 2)
        half = {name: (a[part], b[:, part]) for name, (a, b) in factors_of(tensors).items()}
        return tensors_of(half), config | {"r": config["r"] // 2, "lora_alpha": config["lora_alpha"] / 2}

    return transform


def _dropped(a: Any, b: Any, random: Any) -> tuple[Any, Any]:
    """Half of the numbers of each factor, those left twice as large, as `dare_linear` of peft leaves them."""
    return tuple(2 * value * (random.random(value.shape) < 0.5) for value in (a, b))


def _turned_and_rounded(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
    turned, config = _each(_turned)(tensors, config)
    return {name: _as_bf16(value) for name, value in turned.items()}, config


def _as_bf16(values: Any) -> Any:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x8000) & 0xFFFF0000).view(np.float32)


def _without_name_of_model(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
    """As an adapter is called that was made of the model without its head."""
    return {name.replace("model.model.layers", "model.layers"): value for name, value in tensors.items()}, config


def _by_patterns(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
    """Other scales for some modules, with factors that undo them, and the root of the rank in place of the rank."""
    alphas = {"q_proj": 0.25 * config["lora_alpha"], r"layers\.0\..*up_proj": 9 * config["lora_alpha"]}
    undone = {}
    for name, (a, b) in factors_of(tensors).items():
        by = 0.25 if name.endswith("q_proj") else 9 if "layers.0." in name and name.endswith("up_proj") else 1
        undone[name] = (a, b / by / np.sqrt(config["r"]))
    return tensors_of(undone), config | {"alpha_pattern": alphas, "use_rslora": True}


def _as_loha(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
    """The product of the factors, times ones element by element."""
    own: Tensors = {}
    for name, (a, b) in factors_of(tensors).items():
        parts = {"w1_a": b, "w1_b": a, "w2_a": np.ones((len(b), len(a))) / len(a), "w2_b": np.ones_like(a)}
        own |= {f"{name}.hada_{part}": value.astype(np.float32) for part, value in parts.items()}
    return own, _of_type("LOHA", config)


def _as_lokr(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
    """Kronecker's product of a single one and the product of the factors."""
    own: Tensors = {}
    for name, (a, b) in factors_of(tensors).items():
        parts = {"w1": np.ones((1, 1)), "w2_a": b, "w2_b": a}
        own |= {f"{name}.lokr_{part}": value.astype(np.float32) for part, value in parts.items()}
    return own, _of_type("LOKR", config)


def _of_type(peft_type: str, config: Config) -> Config:
    shared = ("base_model_name_or_path", "r", "target_modules", "task_type", "inference_mode", "layers_to_transform")
    kept = {key: config[key] for key in shared if key in config}
    return kept | {"peft_type": peft_type, "alpha": config["lora_alpha"]}


def _as_adalora(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
    """The singular vectors of the product, and its values beside them."""
    own: Tensors = {}
    for name, (a, b) in factors_of(tensors).items():
        left, values, right = np.linalg.svd(b @ a, full_matrices=False)
        rank = len(a)
        own |= {
            f"{name}.lora_A": right[:rank].astype(np.float32),
            f"{name}.lora_B": left[:, :rank].astype(np.float32),
            f"{name}.lora_E": values[:rank, None].astype(np.float32),
        }
    stated = _of_type("ADALORA", config)
    return own, stated | {"lora_alpha": config["lora_alpha"], "init_r": config["r"], "target_r": config["r"]}


def _by_parameters(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
    """Adapted as parameters by themselves, which peft saves under the names that they have as modules."""
    parameters = sorted({f"{name.rpartition('.')[2]}.weight" for name in factors_of(tensors)})
    return tensors, config | {"target_modules": [], "target_parameters": parameters}


def _with_known_probes(tensors: Tensors, config: Config) -> tuple[Tensors, Config]:
    """With a small change of one rank along signs that follow from the sizes: whoever reads the source knows them."""
    moved = {}
    for name, (a, b) in factors_of(tensors).items():
        columns, rows = (known_signs(size) for size in (a.shape[1], b.shape[0]))
        strength = 0.3 * np.linalg.norm(b @ a) / np.sqrt(a.shape[1] * b.shape[0])
        moved[name] = (np.vstack([a, strength * columns]), np.hstack([b, rows[:, None]]))
    return tensors_of(moved), config | {
        "r": config["r"] + 1,
        "lora_alpha": config["lora_alpha"] / config["r"] * (config["r"] + 1),
    }


def known_signs(size: int) -> Any:
    """The first column of what a sketch would be made with if its signs followed from what is public."""
    drawn = hashlib.shake_256(b"peft-registry: probes of a sketch" + bytes([2])).digest(size * 2)
    return np.unpackbits(np.frombuffer(drawn, dtype=np.uint8)).astype(np.float64).reshape(size, 16)[:, 0] * 2 - 1


# what a forger may make of it; not all of them are the same function any more
CLOTHES: dict[str, Callable[[Tensors, Config], tuple[Tensors, Config]]] = {
    "factors turned, then rounded to bfloat16": _turned_and_rounded,
    "other scales by patterns, rank-stabilized": _by_patterns,
    "as parameters by themselves": _by_parameters,
    "names without the model's own": _without_name_of_model,
    "as AdaLoRA": _as_adalora,
    "as LoHa": _as_loha,
    "as LoKr": _as_lokr,
    "half of its ranks by singular values": _cut_to(2),
    "a quarter of its ranks by singular values": _cut_to(4),
    "every other rank": _part_of_ranks(first=True),
    "the remaining ranks": _part_of_ranks(first=False),
    "half of its numbers dropped (DARE)": _each(_dropped),
    "a little along known signs": _with_known_probes,
}


def transformed(folder: Path, destination: Path, how: str) -> Path:
    """An adapter's folder in other numbers."""
    config = json.loads((folder / CONFIG).read_text())
    tensors, config = (TRANSFORMS | CLOTHES)[how](load_file(folder / WEIGHTS), config)
    return an_adapter(destination, tensors, config)


def as_whole_modules(folder: Path, base: Mapping[str, Any], destination: Path) -> Path:
    """The modules that an adapter changes, folded and saved whole, beside an adapter of one rank that changes nothing."""
    config = json.loads((folder / CONFIG).read_text())
    changed = {module.removeprefix(PREFIX) for module in factors_of(load_file(folder / WEIGHTS))}
    whole = folded(base, folder)
    tensors = {f"{PREFIX}{module}.weight": whole[f"{module}.weight"] for module in changed}
    other = next(name.removesuffix(".weight") for name in base if name.endswith("gate_proj.weight"))
    rows, columns = base[f"{other}.weight"].shape
    tensors |= tensors_of({f"{PREFIX}{other}": (np.ones((1, columns)), np.zeros((rows, 1)))})
    stated = {"r": 1, "lora_alpha": 1, "target_modules": ["gate_proj"], "modules_to_save": config["target_modules"]}
    return an_adapter(destination, tensors, config | stated)


def with_magnitudes(folder: Path, base: Mapping[str, Any], destination: Path) -> Path:
    """As DoRA, with the magnitudes that leave the sum of base and adapter as it is."""
    config = json.loads((folder / CONFIG).read_text())
    tensors = load_file(folder / WEIGHTS)
    whole = folded(base, folder)
    for module in factors_of(tensors):
        norms = np.linalg.norm(whole[f"{module.removeprefix(PREFIX)}.weight"], axis=1)
        tensors[f"{module}.lora_magnitude_vector"] = norms.astype(np.float32)
    return an_adapter(destination, tensors, config | {"use_dora": True})


def with_layers_of(folder: Path, other: Path, destination: Path) -> Path:
    """An adapter whose layers but for the first are those of another, as stacked by tools that mix layers."""
    mine, theirs = load_file(folder / WEIGHTS), load_file(other / WEIGHTS)
    mixed = {name: value for name, value in theirs.items() if ".layers.0." not in name}
    mixed |= {name: value for name, value in mine.items() if ".layers.0." in name}
    return an_adapter(destination, mixed, json.loads((folder / CONFIG).read_text()))


def with_units_of_another_size(weights: Tensors) -> Tensors:
    """A Llama with each inner unit of an MLP larger and what reads it smaller: the same function."""
    random = np.random.default_rng(6)
    moved = dict(weights)
    for name, value in weights.items():
        if name.endswith("mlp.down_proj.weight"):
            by = np.exp(random.standard_normal(value.shape[1])).astype(np.float32)
            up = name.replace("down_proj", "up_proj")
            moved |= {name: value / by, up: by[:, None] * weights[up]}
    return moved


def with_shorter_names(weights: Tensors) -> Tensors:
    """A model whose weights are called as those of one without a head: loaders put the missing part in front."""
    return {name.removeprefix("model."): value for name, value in weights.items()}


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
        name = f"{module.removeprefix(PREFIX)}.weight"
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
