"""How the differences of several adapters become one, in fp32. Pure.

    linear      Δ = Σ wᵢ·Δᵢ
    ties        keep the largest part `density` of each Δᵢ by magnitude, elect the sign of Σ wᵢ·Δᵢ for each entry, and
                average, weighted by |wᵢ|, the sign(wᵢ)·Δᵢ that agree with it (Yadav et al. 2023)
    dare        keep each entry of Δᵢ with probability `density` and divide it by that, then linear (Yu et al. 2023)
    dare_ties   the random choice of dare, then the election and average of ties

With a negative weight an adapter votes, and counts, against its difference: at −1 alone it is taken away. The paper has no
weights. peft elects by Δᵢ instead of wᵢ·Δᵢ and divides by the number that agree, mergekit by Σ wᵢ, which turns the sign of a
negative weight back; where all weights are 1, all three are one formula.

The result is W + Δ. Entries are chosen per tensor. Dare's choice is seeded by run, adapter and tensor name, and sums are
formed in the order of the adapters' digests: neither the order of the arguments nor the number of threads changes a bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from peft_registry.schemas.merge import Algorithm
from peft_registry.trainer.machine.seeding import seed_of

FORMULAE: dict[Algorithm, str] = {
    "linear": "W' = W + Σ wᵢ·Δᵢ",
    "ties": "W' = W + Σ_{i agrees} wᵢ·Tᵢ / Σ_{i agrees} |wᵢ|; Tᵢ the largest part of Δᵢ by magnitude (density), "
    "i agrees where sign(wᵢ·Tᵢ) = sign(Σ wⱼ·Tⱼ)",
    "dare": "W' = W + Σ wᵢ·Mᵢ⊙Δᵢ/pᵢ; Mᵢ random with P(1) = pᵢ (density), seeded by run, adapter and tensor",
    "dare_ties": "W' = W + Σ_{i agrees} wᵢ·Tᵢ / Σ_{i agrees} |wᵢ|; Tᵢ = Mᵢ⊙Δᵢ/pᵢ as in dare, "
    "i agrees where sign(wᵢ·Tᵢ) = sign(Σ wⱼ·Tⱼ)",
}


@dataclass(frozen=True, slots=True)
class Share:
    """One adapter's part in a merge. `identity` (its weights digest) orders the sums and seeds the random choice."""

    identity: str
    weight: float = 1.0
    density: float = 1.0


def combine(
    algorithm: Algorithm, differences: Sequence[tuple[Share, torch.Tensor]], *, tensor: str, seed: int
) -> torch.Tensor:
    """Δ of one tensor from the adapters' own (fp32, equal shapes), in the order of their identities."""
    chosen = [(share, _chosen(algorithm, share, delta, tensor, seed)) for share, delta in differences]
    if algorithm in ("linear", "dare"):
        return weighted_sum(chosen)
    return _elected_average(chosen)


def weighted_sum(differences: Sequence[tuple[Share, torch.Tensor]]) -> torch.Tensor:
    """Σ wᵢ·Δᵢ."""
    (share, first), *rest = differences
    total = first * share.weight
    for share, delta in rest:
        total.add_(delta, alpha=share.weight)
    return total


def _chosen(algorithm: Algorithm, share: Share, delta: torch.Tensor, tensor: str, seed: int) -> torch.Tensor:
    if algorithm == "ties":
        return largest(delta, share.density)
    if algorithm in ("dare", "dare_ties"):
        return dropped(delta, share.density, seed=seed_of(seed, f"dare:{share.identity}:{tensor}"))
    return delta


def largest(delta: torch.Tensor, density: float) -> torch.Tensor:
    """The entries of the largest magnitude, `density` of all; zero elsewhere. Entries equal to the smallest kept are kept."""
    count = delta.numel()
    kept = max(1, int(density * count))
    if kept >= count:
        return delta
    magnitude = delta.abs()
    threshold = torch.kthvalue(magnitude.flatten(), count - kept + 1).values
    return delta * (magnitude >= threshold)


def dropped(delta: torch.Tensor, density: float, *, seed: int) -> torch.Tensor:
    """Each entry with probability `density`, divided by it; zero elsewhere."""
    if density >= 1:
        return delta
    import numpy as np

    # the raw stream of a bit generator is guaranteed not to change between versions of numpy
    raw = np.random.PCG64(seed).random_raw((delta.numel() + 1) // 2).view(np.uint32)[: delta.numel()]
    kept = torch.from_numpy(raw < round(density * 2**32)).reshape(delta.shape)
    return delta * kept / density


def _elected_average(chosen: Sequence[tuple[Share, torch.Tensor]]) -> torch.Tensor:
    elected = weighted_sum(chosen).sign_()
    total = torch.zeros_like(elected)
    weights = torch.zeros_like(elected)
    for share, delta in chosen:
        vote = delta * share.weight
        agrees = (vote.sign() == elected) & (vote != 0)
        total.add_(vote * agrees)
        weights.add_(agrees.float(), alpha=abs(share.weight))
    return torch.where(weights > 0, total / weights, torch.zeros_like(total))
