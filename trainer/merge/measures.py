"""What a merge changed, tensor by tensor, from sums over blocks. Evidence of size, not a judgement: a small change can matter.

With W the base's tensor, Δ the change that was meant and D = W' − W the one that is stored after rounding:

    relative norm  ‖D‖_F / ‖W‖_F          cosine  ⟨W, W'⟩ / (‖W‖·‖W'‖)
    changed share  entries with D ≠ 0      lost    ‖D − Δ‖_F / ‖Δ‖_F, the share of Δ's norm that rounding took
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainer.merge.plan import Job


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
    def of(cls, weight: torch.Tensor, meant: torch.Tensor, result: torch.Tensor) -> "BlockSums":
        """Of fp32 blocks `weight` and `meant` and the rounded `result`."""
        w, m = weight.reshape(-1), meant.reshape(-1)
        stored = torch.sub(result, weight).reshape(-1)  # widened to fp32
        changed = int(torch.count_nonzero(stored))
        of_stored, product = float(torch.dot(stored, stored)), float(torch.dot(w, stored))
        lost = stored.sub_(m)
        return cls(
            weight=float(torch.dot(w, w)),
            stored=of_stored,
            meant=float(torch.dot(m, m)),
            lost=float(torch.dot(lost, lost)),
            product=product,
            changed=changed,
        )

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
    def changed_share(self) -> float:
        return self.changed / max(self.parameters, 1)


@dataclass(frozen=True, slots=True)
class WholeChange:
    """The same over all changed tensors; `relative_norm` is against the whole base when its norm is given."""

    stored_norm: float
    meant_norm: float
    lost_share: float | None
    changed: int
    parameters: int


def change_of(job: Job, blocks: Sequence[BlockSums], spectral_norm: float | None) -> TensorChange:
    """The change of one tensor from its blocks, added in their order."""
    weight, stored = math.fsum(one.weight for one in blocks), math.fsum(one.stored for one in blocks)
    product = math.fsum(one.product for one in blocks)
    after = max(weight + 2 * product + stored, 0.0)
    length = math.sqrt(weight) * math.sqrt(after)
    return TensorChange(
        name=job.name,
        shape=job.shape,
        weight_norm=math.sqrt(weight),
        stored_norm=math.sqrt(stored),
        meant_norm=math.sqrt(math.fsum(one.meant for one in blocks)),
        lost_norm=math.sqrt(math.fsum(one.lost for one in blocks)),
        cosine=min(1.0, (weight + product) / length) if length else 1.0,
        changed=sum(one.changed for one in blocks),
        spectral_norm=spectral_norm,
    )


def whole_change(changes: Sequence[TensorChange]) -> WholeChange:
    """The change of all touched tensors together."""
    meant = math.hypot(*(one.meant_norm for one in changes))
    lost = math.hypot(*(one.lost_norm for one in changes))
    return WholeChange(
        stored_norm=math.hypot(*(one.stored_norm for one in changes)),
        meant_norm=meant,
        lost_share=lost / meant if meant else None,
        changed=sum(one.changed for one in changes),
        parameters=sum(one.parameters for one in changes),
    )
