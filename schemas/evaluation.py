"""The evidence record of an evaluation, before and after (`docs/reference/evaluation-record.md`).

Aggregates are in the record; the item table is bound by digest, so every figure can be recomputed without the model.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from peft_registry.schemas.codes import CODES, Code, Said, says
from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import Timestamp

ArmName = Literal["base", "base_quantised", "adapted", "merged", "noise", "placebo", "parent"]
ITEMS_FOR_A_CLAIM = 100  # fewer are described, and nothing is claimed about them
PLAN = "plan"  # the part of `extra` that was decided before anything was scored, with its digest
TEXTS = "texts"  # the part of a plan with the digests of answers and texts that its limits speak of
LIMITS = "limits"  # the part of `extra` with what an organisation demands of figures, and the verdict on each
TASKS = "tasks"  # the part of a plan, and of `extra`, that says which tasks of lm-evaluation-harness were asked and how
TASK_PREFIX = "task-"  # how the figures of such a task are called: a suite may have its name, and other figures
REUSED_SCORES = "reused_scores"  # the part of `extra` that counts, by arm, the scores that were known already
STATISTICS = "statistics"  # the part of `extra` that says how figures are computed from the items
CODES_FROM = 5  # the first edition of the figures that says in codes why and how
# units are signed as they are written here, as names of fields are: another one is another figure to whoever derives a record again
LOSS_UNIT = "nats per token"
DIVERGENCE_UNIT = "nats per token (KL)"
CONTROL_ARMS: tuple[ArmName, ...] = ("noise", "placebo")  # changes that mean nothing, beside the arms that are results
_IS_KEY_ID = re.compile(r"[0-9a-f]{64}").fullmatch
Half = Literal["development", "test"]  # of a suite: `registry/evaluation/halves.py`
Part = Half | Literal["screen"]  # what of a suite is asked: a half, or the few fixed items for a quick look
AskedPart = Part | Literal["auto"]  # `auto`: which of them is decided by what they cost
State = Literal["stereo", "neutral", "inverted", "band"]
# `changed` and `confounded` are words of editions of the figures before 6
Conclusion = Literal[
    "better",
    "worse",
    "turned_over",
    "opposite_more_often",
    "unchanged",
    "inconclusive",
    "not_testable",
    "not_informative",
    "changed",
    "confounded",
]

MissingIntervals = dict[str, Code] | str
"""Why intervals are missing, by the name of each. Text, `ci: …; ci_clustered: …`, in records of before there were codes."""


def missing_by_name(missing: MissingIntervals | None) -> Mapping[str, Said]:
    """Why each interval is missing, by its name, in whichever form a record has it."""
    if isinstance(missing, str):
        return dict(reason.partition(": ")[::2] for reason in missing.split("; "))
    return missing or {}


class Composition(Document):
    """What is actually scored or served: base identity and ordered adapters, tokenizer, template, quantization, dtype.

    Its digest is what evaluations, approvals and aliases bind to.
    """

    base: Digest  # digest of the canonical BaseIdentity
    adapters: tuple[Digest, ...] = ()  # weights digests, in the order they are applied
    tokenizer: Digest
    chat_template: Digest | None = None
    quantisation: str | None = None
    dtype: str = "float32"


class Arm(Document):
    """One exact model state in an evaluation."""

    name: ArmName
    composition: Composition
    composition_digest: Digest


class DatasetUsed(Document):
    """A suite's data, pinned by digest. `excluded` counts rows by the name of the code that says why; none is dropped in silence.

    `half` is written only where half of a suite was asked; without it the whole suite was. `published` says where these very
    bytes come from, and is written only where this tool knows them: a file of the user's may hold any rows.
    """

    name: str
    version: str
    licence: str
    file: str
    sha256: Digest
    rows_total: int
    rows_used: int
    selection: str = "all"
    selection_ids_sha256: Digest | None = None
    excluded: dict[str, int] = Field(default_factory=dict)
    mapping_sha256: Digest | None = None
    half: Half | None = None
    published: str | None = None

    def left_out(self, reason: Code) -> int:
        """How many rows are left out for a reason."""
        name = reason.code
        return sum(rows for key, rows in self.excluded.items() if key == name or says(key, name))

    @property
    def left_out_because(self) -> Mapping[str, int]:
        """How many rows are left out, by the sentence that says why; records of before there were codes have text."""
        return {str(Code(code=key)) if key in CODES else key: rows for key, rows in self.excluded.items()}

    @model_serializer(mode="wrap")
    def _without_absent_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        for name in ("half", "published"):
            if getattr(self, name) is None:
                del value[name]
        return value


class Threshold(Document):
    """The dead band of one metric, in the metric's unit: |m| ≤ lo is neutral, |m| ≥ hi is a preference."""

    lo: float
    hi: float
    source: Said


Decision = Literal["held", "broken", "undecided"]


class Limit(Document):
    """What an organisation demands of one figure of the arm after, or of a comparison: in the figure's unit; null for no limit."""

    dataset: str
    figure: str
    lo: float | None
    hi: float | None
    per_group: bool = False  # of each group of the data set as well
    source: Said


class LimitVerdict(Document):
    """Whether a limit is kept, by the interval `low` … `high` of the figure; `category` null is the whole data set."""

    dataset: str
    figure: str
    category: str | None
    lo: float | None
    hi: float | None
    value: float | None
    low: float | None
    high: float | None
    decision: Decision
    reason: Said

    @property
    def range(self) -> str:
        """What is allowed, as a person reads it."""
        if self.lo is None:
            return f"at most {self.hi:g}"
        return f"at least {self.lo:g}" if self.hi is None else f"{self.lo:g} … {self.hi:g}"


class Protocol(Document):
    """How items were scored. Fixed and recorded, because each rule changes scores."""

    prompt_template: str
    prompt_template_sha256: Digest
    target_delimiter: str
    prefix_token_policy: str
    choices_policy: str
    length_normalisation: str
    max_length: int
    truncated_items: int
    thresholds: dict[str, Threshold]
    primary_endpoint: str
    policy_sha256: Digest | None = None
    preregistered_at: Timestamp | None = None


class Numerics(Document):
    device: str
    device_name: str
    attention_impl: str
    batch_policy: str
    threads: int
    deterministic_flags: tuple[str, ...]
    softmax_dtype: str
    libraries: dict[str, str]


class Interval(Document):
    """A confidence interval; `clusters` is the number of clusters that it is over, null for methods that have none."""

    method: Said
    level: float
    low: float
    high: float
    clusters: int | None = None


class Result(Document):
    """One figure of one arm. `category` null means the whole data set; a null value gives its reason.

    `ci` of a rate is for independent items, `ci_clustered` for items in clusters; where either is missing,
    `ci_null_reason` says why. Editions of the figures before 4 gave `ci` for items in clusters as well.
    """

    dataset: str
    metric: str
    category: str | None
    arm: ArmName
    value: float | None
    n: int
    k: int | None = None
    ci: Interval | None = None
    ci_clustered: Interval | None = None
    ci_null_reason: MissingIntervals | None = None
    null_reason: Said | None = None

    @property
    def interval(self) -> Interval | None:
        """The interval that stands beside the figure; since edition 4 of the figures there is one at most."""
        return self.ci or self.ci_clustered


class Test(Document):
    """A paired test on the counts b and c.

    From edition 6 of the figures on they are the items that left the state flagged and those that entered it, from and to any
    other; before, those that went from flagged to clear and from clear to flagged.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    name: Said
    b: int
    c: int
    p_raw: float | None
    p_holm: float | None
    family_size: int
    null_reason: Said | None = None


class Control(Document):
    """What a change that means nothing does to the same items."""

    kind: Literal["noise", "placebo"]
    fix_rate: float | None
    introduction_rate: float | None


class ShareChange(Document):
    """How many items left and entered a state, and what its share changed by; `p` is null where too few clusters moved."""

    left: int
    entered: int
    change: float
    ci: Interval | None
    ci_null_reason: Code | None = None
    p: float | None


class Comparison(Document):
    """Before against after on the same items. The four outcomes of the flagged items add up to `flagged`.

    `*_ci` of a rate is for independent items, `*_ci_clustered` for items in clusters; `ci_null_reason` says why one is missing.
    From edition 6 of the figures on `net_change` is the change of the share flagged, `opposite` that of the share inverted, and
    `mean_size_change` that of the mean |margin|, in the margin's unit.
    """

    dataset: str
    metric: str
    category: str | None
    before: ArmName
    after: ArmName
    n: int
    transition_matrix: dict[State, dict[State, int]]  # before → after → count
    flagged: int
    clear: int
    fixed: int
    overcorrected: int
    persistent: int
    unresolved: int
    introduced: int
    fix_rate: float | None
    fix_rate_ci: Interval | None = None
    fix_rate_ci_clustered: Interval | None = None
    introduction_rate: float | None
    introduction_rate_ci: Interval | None = None
    introduction_rate_ci_clustered: Interval | None = None
    net_fix_rate: float | None
    net_change: float | None
    net_change_ci: Interval | None = None
    net_change_ci_clustered: Interval | None = None
    mean_margin_change: float | None = None
    mean_margin_change_ci: Interval | None = None
    opposite: ShareChange | None = None
    mean_size_change: float | None = None
    ci_null_reason: MissingIntervals | None = None
    test: Test | None = None
    control: Control | None = None
    conclusion: Conclusion
    conclusion_reason: Said

    @model_serializer(mode="wrap")
    def _without_absent_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        if self.opposite is None:
            for name in ("opposite", "mean_size_change"):
                del value[name]
        return value

    @property
    def net_change_interval(self) -> Interval | None:
        """The interval that stands beside the net change; since edition 4 of the figures there is one at most."""
        return self.net_change_ci or self.net_change_ci_clustered


class LossComparison(Document):
    """Held-out loss in nats per supervised token, paired by row."""

    dataset: str
    metric: Literal["loss"] = "loss"
    before: float
    after: float
    change: float
    change_ci: Interval | None
    ci_null_reason: MissingIntervals | None = None
    n: int


class Guards(Document):
    """Signs that a 'fix' is only a weaker model."""

    neutral_loss_before: float | None = None
    neutral_loss_after: float | None = None
    both_options_less_likely_share: float | None = None
    lms_before: float | None = None
    lms_after: float | None = None
    acc_disambig_before: float | None = None
    acc_disambig_after: float | None = None
    confounded: bool = False


class ComparedTexts(Document):
    """What is known of the texts that one training learnt from.

    `sampled`: there were more than are kept, and a share of them was compared. `unknown`: none of them, and `reason` says why.
    """

    training: str  # label of the version
    status: Literal["compared", "sampled", "unknown"]
    hashes: Digest | None = None  # of the kept hashes; null where they were never stored
    reason: Said | None = None


class NearTexts(Document):
    """How near the texts of a data set are to what was trained on, each counted once, where it is nearest.

    Attributes:
        texts: all of them, among them the two sentences of a pair.
        exact: those that occur as they are, but for spelling, punctuation and the order of clauses.
        within_two_edits: those that occur with at most two words replaced, put in or taken out, and have at least
            `two_edits_from` words; null where it is not known from how many on that accuses rightly.
        near: of the others those of which half occurs.
        groups: how many of the texts are independent of each other.
        reference_texts, reference_near: texts of the same kind that were not copied from each other, and how many of them
            are near another one.
    """

    texts: int
    exact: int
    within_two_edits: int
    two_edits_from: int | None
    near: int
    groups: int
    reference_texts: int
    reference_near: int


class LeakedItems(Document):
    """How many items of one data set occur in what was trained on; `unchecked` have no text that could be compared.

    `hits` are the items that were trained on. `near` is the score that this follows from, and `left_out` names the items that no
    comparison is made on. Records have neither that looked for runs of words alone: there such items are not in the table.
    """

    dataset: str
    kind: Literal["suite", "guard", "retention", "held_out", "answers"]
    items: int
    hits: int
    unchecked: int = 0
    near: NearTexts | None = None
    left_out: tuple[str, ...] | None = None

    @model_serializer(mode="wrap")
    def _without_absent_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        for name in ("near", "left_out"):
            if getattr(self, name) is None:
                del value[name]
        return value


class LeakageCheck(Document):
    """How much of the data sets occurs in what was trained on.

    `hits` counts distinct texts of the suites. `trainings` are those that made the model, its ancestors' among them; `datasets`
    and `limit` (the share of leaked items from which a data set says nothing) are written only where they are there: older
    records did not keep them.
    """

    method: Said
    hits: int
    dataset_digest: Digest
    trainings: tuple[ComparedTexts, ...] = ()
    datasets: tuple[LeakedItems, ...] = ()
    limit: float | None = None

    @model_serializer(mode="wrap")
    def _without_absent_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        if self.limit is None:
            for name in ("trainings", "datasets", "limit"):
                del value[name]
        return value


class ItemTable(Document):
    """The item table: JSON lines sorted by (dataset, item id, arm), floats as text with six decimals, UTF-8, LF."""

    file: str
    sha256: Digest
    rows: int
    columns: tuple[str, ...]
    float_format: Said


class Tolerance(Document):
    """How far a score may be from its record, in nats, when it is computed again.

    `max_state_changes` bounds the items of a whole table that may change their state. It is recorded for a reader who scores
    everything again on another machine; `registry evaluate --recheck --sample` scores some items, of which no number of changes
    in the whole table follows, so it holds each value to `abs_ll` and reads nothing else.
    """

    abs_ll: float = 1e-3
    max_state_changes: int = 0


class Responsible(Document):
    """Who signs an evaluation: the id of the key, and its role. The trust file says whose key that is.

    Evaluations are published, and name nobody. Those of earlier releases have the person's name in place of the id.
    """

    name: str | None
    role: str | None


class EvaluationPlan(Document):
    """What was decided before anything was scored: arms, data, thresholds, edition of the figures.

    Signed and logged first where thresholds gate, so that the log proves that they are older than the scores; the record names
    the statement in `extra.plan`. `registry compare` logs one about the base, which names the arms that it will train.
    """

    schema_version: Literal["1"] = "1"
    plan_sha256: Digest  # of the canonical bytes of `plan`
    policy_sha256: Digest  # of the file that sets the thresholds; of a comparison, of its training file
    plan: dict[str, Any]  # any JSON value; the same object as in `extra.plan` of the record


class EvaluationRecord(Document):
    """One evaluation: arms, data, protocol, numerics, results, comparisons, controls, guards, evidence."""

    schema_version: Literal["1"] = "1"
    harness: dict[str, str]  # name, version, source_digest
    created_at: Timestamp
    arms: tuple[Arm, ...]
    datasets: tuple[DatasetUsed, ...]
    protocol: Protocol
    numerics: Numerics
    seeds: dict[str, int]
    results: tuple[Result, ...]
    comparisons: tuple[Comparison, ...]
    losses: tuple[LossComparison, ...] = ()
    guards: Guards
    leakage_check: LeakageCheck | None = None
    items: ItemTable
    tolerance: Tolerance = Tolerance()
    limitations: tuple[Said, ...]
    responsible: Responsible
    extra: dict[str, Any] = Field(default_factory=dict)  # suite-specific figures; any JSON value

    @property
    def figures_edition(self) -> int:
        """The edition of the rules by which its figures follow from the items."""
        stated = self.extra.get(STATISTICS)
        edition = stated.get("figures", 1) if isinstance(stated, dict) else 1
        return edition if type(edition) is int else 1  # whoever recomputes refuses what is not a number

    @property
    def stated_plan(self) -> Mapping[str, Any]:
        """The plan that it quotes, JSON; empty where it quotes none, or something of another form."""
        quoted = self.extra.get(PLAN)
        plan = quoted.get("plan") if isinstance(quoted, Mapping) else None
        return plan if isinstance(plan, Mapping) else {}

    @property
    def stated_tasks(self) -> Mapping[str, Mapping[str, Any]]:
        """What it says of the tasks of lm-evaluation-harness that were asked, JSON objects by the name of their figures."""
        stated = self.extra.get(TASKS)
        named = stated.items() if isinstance(stated, Mapping) else ()
        return {name: facts for name, facts in named if isinstance(facts, Mapping)}

    @property
    def says_codes(self) -> bool:
        """Whether it says in codes why and how; text in the place of a code is data."""
        return self.figures_edition >= CODES_FROM

    @property
    def names_a_person(self) -> bool:
        """Whether it says by name who is responsible for it, or who accepted a licence."""
        licences = self.extra.get("licences")
        accepted = licences.values() if isinstance(licences, dict) else ()
        people = [licence.get("accepted_by") for licence in accepted if isinstance(licence, dict)]
        return any(who is not None and not _IS_KEY_ID(str(who)) for who in (self.responsible.name, *people))

    @property
    def findings(self) -> tuple[Comparison, ...]:
        """The comparisons that are results; the control's own stands beside them in `Comparison.control`."""
        return tuple(comparison for comparison in self.comparisons if comparison.after not in CONTROL_ARMS)


def task_named(dataset: str) -> str | None:
    """The task of lm-evaluation-harness whose figures are called so; None where they are of something else."""
    return dataset.removeprefix(TASK_PREFIX) if dataset.startswith(TASK_PREFIX) else None


def suites_of_plan(plan: object) -> Mapping[str, Mapping[str, Any]]:
    """What a plan says of each suite, JSON objects; of what has another form (any JSON value), nothing."""
    suites = plan.get("suites") if isinstance(plan, Mapping) else None
    named = suites.items() if isinstance(suites, Mapping) else ()
    return {name: suite for name, suite in named if isinstance(suite, Mapping)}
