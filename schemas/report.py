"""The report's view model: everything a report shows, as values. Renderers (HTML, later PDF and Markdown) decide nothing."""

from typing import Annotated, Literal

from pydantic import PlainSerializer

from peft_registry.schemas.codes import Said
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lineage import Lineage
from peft_registry.schemas.version import VerifyOutcome, Version

FigureSource = Literal["measured", "derived", "imported", "declared", "unknown", "not_applicable"]


class Figure(Frozen):
    """One figure as text, with its source and how it came about."""

    label: str
    text: str
    source: FigureSource
    method: str = ""


class AnsweredQuestion(Frozen):
    """A question that a reader brings, and what the records answer; `lead` does so in a few lines, and `lines` say how."""

    question: str
    lines: tuple[str, ...]
    lead: tuple[str, ...] = ()


class Owed(Frozen):
    """Who owes answers, how many, and the first of them in words."""

    owner: str
    count: int
    text: str


class Curve(Frozen):
    """Values by step, in the order of the steps."""

    label: str
    unit: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


class Bar(Frozen):
    """One before/after line of the drawing: value with interval per arm, neutral point if the metric has one."""

    label: str
    unit: str
    before: float
    before_low: float | None
    before_high: float | None
    after: float
    after_low: float | None
    after_high: float | None
    neutral: float | None
    n: int


class Transition(Frozen):
    """Counts of one comparison in words: flagged, fixed, introduced, over-corrected, persistent, unresolved."""

    dataset: str
    category: str | None
    counts: tuple[tuple[str, int], ...]
    conclusion: str
    sentence: str


class Flow(Frozen):
    """Items that moved between states: (before, after, count), in the order of `states`; counts above 0 only."""

    label: str
    states: tuple[str, ...]
    moves: tuple[tuple[str, str, int], ...]


class Spread(Frozen):
    """Counts of margins in equal bins from `low` to `high`, in two arms; the ends hold what lies beyond. `band` is hi."""

    label: str
    unit: str
    low: float
    high: float
    band: float
    before: tuple[int, ...]
    after: tuple[int, ...]


class Gap(Frozen):
    """An open field of the modification record: which, who fills it, why it is asked; a program is given the sentence of a code."""

    field: str
    owner: str
    reason: Annotated[Said, PlainSerializer(str, return_type=str)]
    answers: str
    label: str = ""  # the field in words


class FieldRow(Frozen):
    """A field of the modification record as the report prints it."""

    section: str
    field: str
    text: str
    source: FigureSource
    method: str
    answers: str
    path: str = ""  # the field's place in the record; `field` is its label


class ListedStatement(Frozen):
    kind: str
    digest: Digest
    key_id: str
    person: str
    at: str
    log_index: int | None


class RecordStep(Frozen):
    """One step on the way to the record that holds: answers, or a record that took them up.

    Attributes:
        text: for the first page.
        whole: for the evidence, with every field that was answered.
    """

    text: str
    whole: str


class ReportView(Frozen):
    """One version's report. `as_of` and `rule_set` make it reproducible; there is no wall clock in it."""

    title: str
    version: Version
    as_of: str
    tool_version: str
    rule_set: str
    answers: tuple[AnsweredQuestion, ...]  # those that decide something
    behind: tuple[AnsweredQuestion, ...]  # what an auditor asks of them
    marks: tuple[
        str, ...
    ]  # what stands beside the verdict in equal letters: that it is not released, not cleared, not complete
    attention: tuple[str, ...]  # what is wrong or needs a decision, the worst first
    owed: tuple[Owed, ...]
    answered_by: str  # the command that takes answers
    change: tuple[Figure, ...]
    training: tuple[Figure, ...]
    bars: tuple[Bar, ...]
    transitions: tuple[Transition, ...]
    compute: tuple[Figure, ...]
    lineage: Lineage
    verification: VerifyOutcome | None
    fields: tuple[FieldRow, ...]
    gaps: tuple[Gap, ...]
    gap_owners: tuple[tuple[str, int], ...]
    statements: tuple[ListedStatement, ...]
    how_to_verify: tuple[str, ...]
    notices: tuple[str, ...]
    record_history: tuple[
        str, ...
    ]  # how the record came to be the version's, oldest first; the notices have the newest
    limitations: tuple[str, ...]
    flows: tuple[Flow, ...] = ()
    spreads: tuple[Spread, ...] = ()
    curve: Curve | None = None  # null where a training recorded none
    verdict_means: str = ""  # what the word of the verdict says, and what it does not
    law: tuple[str, ...] = ()  # what the abbreviations in `answers` stand for, with the weight of each document
