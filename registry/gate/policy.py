"""A policy: what is asked of a version before an alias may point at it. It is data, and its digest stands in every decision."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from peft_registry.schemas.acts import acts_that_stop
from peft_registry.schemas.document import Frozen

Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
Rule = Literal[
    "verified",
    "evaluation",
    "worse",
    "leakage",
    "limits",
    "quality",
    "delta",
    "metric",
    "answered",
    "status",
    "undecided-status",
    "art5",
    "licence",
    "approvals",
    "policy",
]
PROMOTION_STOPS = acts_that_stop("promote")
"""The acts that close every gate while one stands. The rule that is not met is then called as the act."""
RULES: tuple[str, ...] = (*get_args(Rule), *(act.kind for act in PROMOTION_STOPS))
# the fields that say what the licence of a result, or of what it was made from, forbids
_LICENCES = ("product.licence", "base[].licence_id", "base[].licence_flags", "data[].licence")


class EvaluationRule(Frozen):
    """What evaluations have to be. `suites` have to be among them; with none named, one is enough.

    `fresh`: of this very composition. `informative`: at least one suite says something. `not_worse`: no suite concludes that more
    items are flagged after than before, or that more prefer the opposite. `no_leakage`: nothing that was trained on is scored.
    `limits_kept`: every limit that was set before an evaluation is held. `quality_kept`: no loss rose, and no share of right
    answers fell, by more than an evaluation allows.
    """

    suites: tuple[Text, ...] = ()
    fresh: bool = False
    informative: bool = False
    not_worse: bool = False
    no_leakage: bool = False
    limits_kept: bool = False
    quality_kept: bool = False


class DeltaRule(Frozen):
    """The margin of a suite: its share of flagged items is shown to have risen by no more.

    It is held against the upper bound of the change, and never against the change itself.
    """

    suite: Text
    at_most: Annotated[float, Field(ge=-1, le=1)]
    slice: Text | None = None  # a group; None for the whole suite


Bound = Annotated[float, Field(allow_inf_nan=False)] | None


class MetricRule(Frozen):
    """What a figure has to be: of a task, of answers, of held-out rows. `metric` is its name as `registry list --where` has it.

    `at_least` and `at_most` are held against the ends of its interval; `change_at_least` and `change_at_most` against those of its
    change, paired by row, from what the version was made from. No point decides. With `fewshot` only that many solved
    examples before each question of a task count; without it every way of asking does.
    """

    metric: Annotated[str, Field(max_length=200, pattern=r"^[^\s.][^\s]*\.[^\s]+$")]
    at_least: Bound = None
    at_most: Bound = None
    change_at_least: Bound = None
    change_at_most: Bound = None
    fewshot: Annotated[int, Field(ge=0, le=1000)] | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        bounds = (self.at_least, self.at_most, self.change_at_least, self.change_at_most)
        if all(bound is None for bound in bounds):
            raise ValueError("at_least, at_most, change_at_least or change_at_most: else it asks nothing")
        for low, high in ((self.at_least, self.at_most), (self.change_at_least, self.change_at_most)):
            if low is not None and high is not None and low > high:
                raise ValueError("a lower bound that is not above the upper one: else no version could meet it")
        return self


class ApprovalRule(Frozen):
    """How many persons approve; `by_others`: none of them had a key of theirs in making the version."""

    count: Annotated[int, Field(ge=1, le=100)]
    by_others: bool = True


class GatePolicy(Frozen):
    """Everything that is asked. That the version verifies and that no act stops its promotion is asked by every policy, and
    never waived.

    `answered` are paths of the modification record. `status_decided`: neither verdict may be undetermined. `waivable` are the rules
    that a signed waiver may suspend until a day. `newer_editions`: a record that was derived by a newer, announced edition counts
    as it is written, though this release cannot derive it again.
    """

    name: Text
    about: Text
    evaluation: EvaluationRule | None = None
    deltas: tuple[DeltaRule, ...] = ()
    metrics: tuple[MetricRule, ...] = ()
    answered: tuple[Text, ...] = ()
    refused_statuses: tuple[Text, ...] = ()
    status_decided: bool = False
    art5_screened: bool = False
    refused_licence_flags: tuple[Text, ...] = ()
    approvals: ApprovalRule | None = None
    newer_editions: bool = False
    waivable: tuple[
        Literal[
            "evaluation",
            "worse",
            "leakage",
            "limits",
            "quality",
            "delta",
            "metric",
            "answered",
            "status",
            "undecided-status",
            "licence",
        ],
        ...,
    ] = ()

    @property
    def fields_read(self) -> tuple[str, ...]:
        """The fields of a record that it reads besides the statuses, as their rules name them."""
        licences = _LICENCES if self.refused_licence_flags else ()
        screen = ("high_risk.art5_screen",) if self.art5_screened else ()
        looks_for_leakage = self.evaluation is not None and self.evaluation.no_leakage
        trained_elsewhere = ("content.holds_evaluated_items",) if looks_for_leakage else ()
        return (*self.answered, *licences, *screen, *trained_elsewhere)


SHIPPED = ("starter", "regulated")
"""The policies that come with the tool, by name."""
