"""The merge record: everything that happened in one merge, for the provenance statement and the modification record."""

from typing import Literal, get_args

from pydantic import Field

from peft_registry.schemas.codes import Said
from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest, ProjectName
from peft_registry.schemas.manifest import BaseReference
from peft_registry.schemas.run import Environment
from peft_registry.schemas.values import Timestamp, Value

BasePolicy = Literal["original", "dequantised"]
Algorithm = Literal["linear", "ties", "dare", "dare_ties"]  # how differences of weights become one
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)


class MergeIngredient(Document):
    """One adapter that went in: which version, with which part, and the compute of what made it (see `Compute`)."""

    label: str
    manifest: Digest
    weights_digest: Digest
    method: str | None
    weight: float
    density: float
    quantisation: str | None = None  # of the base while it was trained


class ModuleChange(Document):
    """What changed in one tensor of the base. Norms are Frobenius unless they say otherwise."""

    name: str
    shape: tuple[int, ...]
    relative_norm: float | None = None  # ‖W' − W‖ / ‖W‖; null where W is zero
    spectral_norm: float | None = None  # largest singular value of the change
    cosine: float | None = None  # between W and W'
    changed_share: float | None = None  # entries with another value
    lost_share: float | None = None  # of the norm that was meant, the part that rounding took


class Divergence(Document):
    """How far the answers of two models are apart: mean over token positions of KL(reference ‖ result), in nats.

    `limit` is what the gate allows, null for a figure that is only stated; `floor` is what running the reference in the
    result's number format costs by itself.
    """

    kl: float
    largest: float  # at a single position
    agreement: float  # share of positions with the same most likely token
    positions: int
    reference: str
    limit: float | None = None
    floor: float | None = None

    @property
    def is_within(self) -> bool:
        return self.limit is None or self.kl <= self.limit


class AcceptedDistance(Document):
    """Why a person accepted that the result is not the model that was trained."""

    reason: str
    by: str | None = None


class StaleEvaluation(Document):
    """An evaluation of an ingredient, which does not speak of the result."""

    of: str
    record: Digest
    why: Said


class MergeRecord(Document):
    """One merge, whole: what went in with which part, what changed, and how far the result is from what it stands for.

    `project` is the one that whoever merged named, and never that of what went in; the key is written only where there is one.
    """

    schema_version: Literal["1"] = "1"
    merge_id: str
    algorithm: str
    formula: str
    seed: int | None  # null where nothing is random
    plan_sha256: Digest
    dtype: str
    base: BaseReference
    base_policy: BasePolicy
    ingredients: tuple[MergeIngredient, ...]
    weights_digest: Digest
    parameters_total: int
    parameters_changed: int
    parameters_added: int
    relative_norm: float | None
    lost_share: float | None
    modules: tuple[ModuleChange, ...]
    fold_error: Divergence | None  # null where nothing was folded
    distance: Divergence | None
    compared: dict[BasePolicy, Divergence] = Field(default_factory=dict)
    accepted: AcceptedDistance | None = None
    why_bundled: str | None = None  # why something stays beside the weights; null where all was folded
    licence_flags: Value
    tokenizer_policy: str
    stale: tuple[StaleEvaluation, ...] = ()
    environment: Environment
    warnings: tuple[str, ...] = ()
    project: ProjectName | None = Field(default=None, exclude_if=lambda value: value is None)
    wall_seconds: float
    started_at: Timestamp
    finished_at: Timestamp

    @property
    def has_folded(self) -> bool:
        """The result has whole weights, changed from the base's; else it is adapters."""
        return self.relative_norm is not None
