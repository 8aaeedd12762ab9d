"""What a merge changed, tensor by tensor, from sums over blocks. Evidence of size, not a judgement: a small change can matter.

With W the base's tensor, Δ the change that was meant and D = W' − W the one that is stored after rounding:

    relative norm  ‖D‖_F / ‖W‖_F          cosine  ⟨W, W'⟩ / (‖W‖·‖W'‖)
    changed share  entries with D ≠ 0      lost    ‖D − Δ‖_F / ‖Δ‖_F, the share of Δ's norm that rounding took
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from peft_registry.trainer.merge.algorithms import Share
from peft_registry.trainer.merge.plan import TensorJob
from peft_registry.trainer.merge.tensors import DTYPES
from peft_registry.trainer.merge.updates import LoadedUpdate, LowRank, Stacked

EXACT_SIDE = 512  # of the smaller side, up to which the largest singular value is computed exactly
POWER_STEPS = 20


@dataclass(frozen=True, slots=True)
class BlockSums:
    """Sums over one block: squares of W, D, Δ and D − Δ, the product of W and D, and how many entries changed."""

    weight: float
    stored: float
    meant: float
    lost: float
    product: float
    changed: int

    @classmethod
    def of(cls, weight: torch.Tensor, meant: torch.Tensor, result: torch.Tensor, scratch: torch.Tensor) -> "BlockSums":
        """Of fp32 blocks `weight` and `meant` and the rounded `result`; `scratch` (fp32, as large) is overwritten."""
        w = weight.reshape(-1).numpy()
        m = meant.reshape(-1).numpy()
        difference = scratch.copy_(result).sub_(weight)
        stored = difference.reshape(-1).numpy()
        changed = int(np.count_nonzero(stored != 0))
        of_stored = float(np.dot(stored, stored))
        product = float(np.dot(w, stored))
        lost = difference.sub_(meant).reshape(-1).numpy()
        return cls(
            weight=float(np.dot(w, w)),
            stored=of_stored,
            meant=float(np.dot(m, m)),
            lost=float(np.dot(lost, lost)),
            product=product,
            changed=changed,
        )

    @classmethod
    def of_copy(cls, data: torch.Tensor, dtype: str) -> "BlockSums":
        """Of a block that the result has unchanged, in its bytes (uint8)."""
        if dtype not in DTYPES:
            return cls(0.0, 0.0, 0.0, 0.0, 0.0, 0)
        weight = data.view(DTYPES[dtype]).float().numpy()
        return cls(float(np.dot(weight, weight)), 0.0, 0.0, 0.0, 0.0, 0)

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.weight + self.stored + self.meant)


@dataclass(frozen=True, slots=True)
class TensorChange:
    """What changed in one tensor of the checkpoint. `spectral_norm` is None where it was not computed."""

    name: str
    shape: tuple[int, ...]
    weight_norm: float
    stored_norm: float
    meant_norm: float
    lost_norm: float
    cosine: float
    changed: int
    spectral_norm: float | None = None

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)

    @property
    def relative_norm(self) -> float | None:
        """None where the base's tensor is zero throughout."""
        return self.stored_norm / self.weight_norm if self.weight_norm else None

    @property
    def lost_share(self) -> float | None:
        """None where no change was meant."""
        return self.lost_norm / self.meant_norm if self.meant_norm else None

    @property
    def changed_share(self) -> float:
        return self.changed / max(self.parameters, 1)


@dataclass(frozen=True, slots=True)
class WholeChange:
    """The same over the whole model; None where nothing was there to compare with."""

    relative_norm: float | None
    lost_share: float | None
    changed: int


@dataclass(frozen=True, slots=True)
class MergeChanges:
    """What changed in each tensor that was not copied, in the order of the plan. `base_norm`: of all tensors together."""

    tensors: tuple[TensorChange, ...]
    base_norm: float

    @property
    def whole(self) -> WholeChange:
        stored = math.hypot(*(tensor.stored_norm for tensor in self.tensors))
        meant = math.hypot(*(tensor.meant_norm for tensor in self.tensors))
        lost = math.hypot(*(tensor.lost_norm for tensor in self.tensors))
        return WholeChange(
            relative_norm=stored / self.base_norm if self.base_norm else None,
            lost_share=lost / meant if meant else None,
            changed=sum(tensor.changed for tensor in self.tensors),
        )


def change_of(job: TensorJob, blocks: Sequence[BlockSums], spectral_norm: float | None) -> TensorChange:
    """The change of one tensor from its blocks, added in their order."""
    weight = math.fsum(block.weight for block in blocks)
    stored = math.fsum(block.stored for block in blocks)
    product = math.fsum(block.product for block in blocks)
    after = max(weight + 2 * product + stored, 0.0)
    length = math.sqrt(weight) * math.sqrt(after)
    return TensorChange(
        name=job.name,
        shape=job.shape,
        weight_norm=math.sqrt(weight),
        stored_norm=math.sqrt(stored),
        meant_norm=math.sqrt(math.fsum(block.meant for block in blocks)),
        lost_norm=math.sqrt(math.fsum(block.lost for block in blocks)),
        cosine=min(1.0, (weight + product) / length) if length else 1.0,
        changed=sum(block.changed for block in blocks),
        spectral_norm=spectral_norm,
    )


def spectral_norm(matrix: torch.Tensor) -> float:
    """The largest singular value; beyond `EXACT_SIDE` by power iteration from a fixed start, which approaches it from below."""
    if min(matrix.shape) <= EXACT_SIDE:
        return float(torch.linalg.matrix_norm(matrix.double(), ord=2))
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(matrix.shape[1], generator=generator)
    norm = 0.0
    for _ in range(POWER_STEPS):
        image = matrix @ (vector / vector.norm().clamp_min(1e-30))
        vector = matrix.t() @ image
        norm = float(image.norm())
    return norm


def spectral_norm_of_sum(loaded: Sequence[tuple[Share, LoadedUpdate]]) -> float | None:
    """The largest singular value of Σ wᵢ·sᵢ·Bᵢ·Aᵢ from the factors; None where a part is no low-rank difference."""
    low_rank = [(share.weight, update) for share, update in loaded if isinstance(update, LowRank)]
    if len(loaded) == 1 and isinstance(loaded[0][1], Stacked):
        return abs(loaded[0][0].weight) * loaded[0][1].spectral_norm()
    if len(low_rank) != len(loaded):
        return None
    b = torch.cat([update.b.double() * (weight * update.scale) for weight, update in low_rank], dim=1)
    a = torch.cat([update.a.double() for _, update in low_rank])
    # B·A = Q_b (R_b R_aᵀ) Q_aᵀ with orthonormal Q: the singular values are those of a small matrix
    inner = torch.linalg.qr(b)[1] @ torch.linalg.qr(a.t())[1].t()
    return float(torch.linalg.matrix_norm(inner, ord=2)) if bool(torch.isfinite(inner).all()) else None
