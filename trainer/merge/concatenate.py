"""Several low-rank adapters as one, without the base: exactly, by concatenating factors, or at a smaller rank, by SVD.

    Σ wᵢ·sᵢ·Bᵢ·Aᵢ = [w₁s₁B₁ w₂s₂B₂ …]·[A₁; A₂; …]        alpha = r, rsLoRA off: the scale is 1

The concatenation is exact and its ranks add up. The best approximation of rank r keeps the r largest singular values; its error
is the root of the sum of the squares of the others, known without forming the product. Everything is in fp64, stored in fp32.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.bases.tensor_files import write_json, write_tensors
from peft_registry.trainer.merge.adapter import CONFIG, WEIGHTS, Adapter

_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
FORMULAE = {
    "concatenate": "Δ' = Σ wᵢ·sᵢ·Bᵢ·Aᵢ = [w₁s₁B₁ …]·[A₁; …], exact, ranks add up",
    "svd": "Δ' = the best approximation of rank r of Σ wᵢ·sᵢ·Bᵢ·Aᵢ in each module (singular value decomposition)",
}


class NotConcatenable(InputRefused):
    what = "{label} cannot stay an adapter in a merge"
    why = "{reason}"
    fix = "leave --algorithm out, or use ties or dare: what can be folded goes into the base then"

    label: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModuleResult:
    """One module of the new adapter. `error`: what the smaller rank loses, relative to the exact sum (Frobenius)."""

    name: str
    shape: tuple[int, int]
    rank: int
    norm: float
    spectral_norm: float
    error: float


def write_concatenated(
    parts: Sequence[tuple[Adapter, float, str]], folder: Path, *, base: BaseToOpen, rank: int | None = None
) -> tuple[ModuleResult, ...]:
    """Write the adapter that equals the weighted sum of `parts`, (adapter, weight, label), into the existing, empty folder.

    Args:
        parts: in the order of the sum.
        folder: of the result.
        base: the id that a reader needs besides, such as `sha256:…`.
        rank: compress every module to it; None keeps the sum exact.

    Raises:
        NotConcatenable: a part is more than low-rank factors of linear layers.
    """
    for adapter, _, label in parts:
        require_plain(adapter, label)
    tensors = {}
    results = []
    for module in _modules([adapter for adapter, _, _ in parts]):
        b, a, result = _module(module, parts, rank)
        tensors[f"{_PREFIX}{module}{_B}"], tensors[f"{_PREFIX}{module}{_A}"] = b, a
        results.append(result)
    write_tensors(tensors, folder / WEIGHTS)
    write_json(_config(parts[0][0], results, base), folder / CONFIG)
    return tuple(results)


@dataclass(frozen=True, slots=True)
class ModuleShape:
    """What one module of the new adapter will be, from the headers of its parts; `adapters`: how many change it."""

    name: str
    rows: int
    columns: int
    sum_of_ranks: int
    rank: int
    adapters: int


def result_shapes(adapters: Sequence[Adapter], rank: int | None) -> tuple[ModuleShape, ...]:
    """The modules of the adapter that `write_concatenated` would make of these, none of whose numbers is read."""
    results = []
    for module in _modules(adapters):
        parts = [adapter.tensors for adapter in adapters if f"{module}{_A}" in adapter.tensors]
        ranks = sum(part[f"{module}{_A}"].shape[0] for part in parts)
        rows = parts[0][f"{module}{_B}"].shape[0]
        columns = parts[0][f"{module}{_A}"].shape[1]
        smaller = min(ranks, rows, columns) if rank is None else min(ranks, rows, columns, rank)
        results.append(ModuleShape(module, rows, columns, ranks, ranks if rank is None else smaller, len(parts)))
    return tuple(results)


def _modules(adapters: Sequence[Adapter]) -> list[str]:
    return sorted({name.removesuffix(_A) for adapter in adapters for name in adapter.tensors if name.endswith(_A)})


def whole_error(results: Sequence[ModuleResult]) -> float:
    """The relative error over all modules together."""
    exact = math.hypot(*(result.norm for result in results))
    return math.hypot(*(result.error * result.norm for result in results)) / exact if exact else 0.0


def _module(
    module: str, parts: Sequence[tuple[Adapter, float, str]], rank: int | None
) -> tuple[torch.Tensor, torch.Tensor, ModuleResult]:
    factors = [
        (
            adapter.tensors[f"{module}{_B}"].read().double() * (weight * adapter.scale(module)),
            adapter.tensors[name].read().double(),
        )
        for adapter, weight, _ in parts
        if (name := f"{module}{_A}") in adapter.tensors
    ]
    b = torch.cat([left for left, _ in factors], dim=1)
    a = torch.cat([right for _, right in factors])
    q_b, r_b = torch.linalg.qr(b)
    q_a, r_a = torch.linalg.qr(a.t())
    u, values, v = torch.linalg.svd(r_b @ r_a.t())
    norm = float(values.norm())
    error = 0.0
    if rank is not None and rank < len(values):
        error = float(values[rank:].norm()) / norm if norm else 0.0
        root = values[:rank].sqrt()
        b = q_b @ u[:, :rank] * root
        a = (v[:rank] * root[:, None]) @ q_a.t()
    shape = (b.shape[0], a.shape[1])
    return b.float(), a.float(), ModuleResult(module, shape, a.shape[0], norm, float(values[0]), error)


def _config(first: Adapter, results: Sequence[ModuleResult], base: BaseToOpen) -> dict[str, object]:
    """The first adapter's configuration with the new ranks; alpha = r everywhere, so that every scale is 1. Each module is
    named whole, because patterns of peft match from the end of a name."""
    from peft_registry.trainer.methods.peft_io import named_base  # imports peft

    ranks = Counter(result.rank for result in results)
    usual = max(ranks, key=lambda rank: (ranks[rank], rank))
    other = {result.name.replace(".", r"\."): result.rank for result in results if result.rank != usual}
    return dict(first.config) | {
        **named_base(base),
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": other,
        "alpha_pattern": other,
        "use_rslora": False,
        "lora_dropout": 0.0,
        "init_lora_weights": True,
        "target_modules": [result.name for result in results],
        "exclude_modules": None,
        "inference_mode": True,
    }


def require_plain(adapter: Adapter, label: str) -> None:
    """Raise unless the adapter is nothing but low-rank factors of linear layers.

    Raises:
        NotConcatenable: it is more.
    """
    if adapter.peft_type != "LORA":
        raise NotConcatenable(label, f"it is {adapter.peft_type}, which has no factors to concatenate")
    for key in ("use_dora", "target_parameters", "fan_in_fan_out"):
        if adapter.config.get(key):
            raise NotConcatenable(label, f"{key} makes its change more than a product of two factors of a linear layer")
    other = next((name for name in adapter.tensors if not name.endswith((_A, _B))), None)
    if other is not None:
        raise NotConcatenable(label, f"it also holds {other}")
