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


class AnswerChange(Document):
    """A figure of answers before and after, such as the accuracy over classes, on the held-out rows of one arm.

    `row_changes`: by how many millionths each row's own figure rose, in the order of the rows' ids: a row that became right has
    1,000,000.
    """

    dataset: str
    metric: str
    before: float
    after: float
    n: int
    row_changes: tuple[int, ...]


class LoggedPlan(Document):
    """The plan of a comparison as it stands in the log, about the base: digest of its statement, entry, time.

    It names every arm with the digest of its settings, the data and what is measured.
    """

    statement: Digest
    log_index: int
    appended_at: Timestamp


class ArmResult(Document):
    """One training. `failure` says why there is no version; then nothing else is known.

    `log_index` is the entry that registered it. `runs_begun` counts the trainings with its settings, of any seed, that were begun
    in this home, also those of which nothing is registered. `row_gains`: by how many millionths of a nat each held-out row became
    more likely, in the order of the rows' ids, so that two arms can be compared row by row.
    """

    method: str
    seed: int
    learning_rate: float
    version: str | None = None
    manifest: Digest | None = None
    failure: str | None = None
    log_index: int | None = None
    runs_begun: int | None = None
    parameters_trainable: int | None = None
    parameters_total: int | None = None
    peak_memory_bytes: Value = Field(default_factory=lambda: unknown("the arm failed"))
    wall_seconds: Value = Field(default_factory=lambda: unknown("the arm failed"))
    tokens: Value = Field(default_factory=lambda: unknown("the arm failed"))
    cost: Value = Field(default_factory=lambda: unknown("no price was given"))
    losses: tuple[LossComparison, ...] = ()
    row_gains: tuple[int, ...] = ()
    answers: tuple[AnswerChange, ...] = ()
    neutral_loss_change: Value = Field(default_factory=lambda: unknown("the arm failed"))
    bias: tuple[BiasCounts, ...] = ()
    latency: Latency | None = None

    @property
    def quality(self) -> LossComparison | None:
        """Held-out loss; None where the arm failed."""
        return self.losses[0] if self.losses else None


class MethodComparison(Document):
    """Several methods on one base and one set of data. `comparison_id` is what an arm's run record and MLflow call it.

    `plan` is null in comparisons of before plans were logged.
    """

    schema_version: Literal["1"] = "1"
    comparison_id: str
    name: str
    base: str
    base_weights: Digest
    data: tuple[DataIdentity, ...]
    hardware: str
    command: tuple[str, ...]
    created_at: Timestamp
    plan: LoggedPlan | None = None
    arms: tuple[ArmResult, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """In the order of the arms."""
        return tuple(dict.fromkeys(arm.method for arm in self.arms))

    @property
    def registered_after_plan(self) -> tuple[ArmResult, ...]:
        """The arms whose registration the log has behind the plan; none without a plan."""
        entry = None if self.plan is None else self.plan.log_index
        return tuple(
            arm for arm in self.arms if entry is not None and arm.log_index is not None and arm.log_index > entry
        )

    def of(self, method: str) -> tuple[ArmResult, ...]:
        """The arms of a method that did not fail."""
        return tuple(arm for arm in self.arms if arm.method == method and arm.failure is None)
