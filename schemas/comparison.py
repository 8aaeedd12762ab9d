"""What `registry compare` found: one arm for each method and seed, with the figures that its registered records hold.

The document is a projection: every arm names its version, whose signed records are the evidence. `docs/explanation/claims.md`
is computed from such documents.
"""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.document import Document
from peft_registry.schemas.evaluation import LossComparison
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import Timestamp, Value, unknown


class AxisCounts(Document):
    """The items of one category of a suite: how many were flagged before and how many clear, and what became of them."""

    axis: str
    n: int
    flagged: int
    clear: int
    fixed: int
    introduced: int
    overcorrected: int


class BiasCounts(Document):
    """One suite over all its items: how many pairs were flagged before and how many clear, and what became of them.

    `fixed` became neutral, `overcorrected` now prefer the other option. `clear` is what `introduced` is a part of; null in
    comparisons that were made before it was kept. `axes` is written only where there are categories.
    """

    dataset: str
    n: int
    flagged: int
    fixed: int
    introduced: int
    overcorrected: int
    conclusion: str
    clear: int | None = None
    axes: tuple[AxisCounts, ...] = ()

    @model_serializer(mode="wrap")
    def _without_absent_axes(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        if not self.axes:
            del value["axes"]
        return value


class Latency(Document):
    """Seconds for one request, medians; `change` is a median of ratios of neighbouring measurements, minus one."""

    base: Value
    unmerged: Value
    unmerged_change: Value
    merged: Value
    merged_change: Value


class ArmResult(Document):
    """One training. `failure` says why there is no version; then nothing else is known.

    `row_gains`: by how many millionths of a nat each held-out row became more likely, in the order of the rows' ids, so that
    two arms can be compared row by row.
    """

    method: str
    seed: int
    learning_rate: float
    version: str | None = None
    manifest: Digest | None = None
    failure: str | None = None
    parameters_trainable: int | None = None
    parameters_total: int | None = None
    peak_memory_bytes: Value = Field(default_factory=lambda: unknown("the arm failed"))
    wall_seconds: Value = Field(default_factory=lambda: unknown("the arm failed"))
    tokens: Value = Field(default_factory=lambda: unknown("the arm failed"))
    cost: Value = Field(default_factory=lambda: unknown("no price was given"))
    losses: tuple[LossComparison, ...] = ()
    row_gains: tuple[int, ...] = ()
    neutral_loss_change: Value = Field(default_factory=lambda: unknown("the arm failed"))
    bias: tuple[BiasCounts, ...] = ()
    latency: Latency | None = None

    @property
    def quality(self) -> LossComparison | None:
        """Held-out loss; None where the arm failed."""
        return self.losses[0] if self.losses else None


class MethodComparison(Document):
    """Several methods on one base and one set of data. `comparison_id` is what an arm's run record and MLflow call it."""

    schema_version: Literal["1"] = "1"
    comparison_id: str
    name: str
    base: str
    base_weights: Digest
    data: tuple[DataIdentity, ...]
    hardware: str
    command: tuple[str, ...]
    created_at: Timestamp
    arms: tuple[ArmResult, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """In the order of the arms."""
        return tuple(dict.fromkeys(arm.method for arm in self.arms))

    def of(self, method: str) -> tuple[ArmResult, ...]:
        """The arms of a method that did not fail."""
        return tuple(arm for arm in self.arms if arm.method == method and arm.failure is None)
