"""What a gate knows of a version: read from signed records by whoever asks, and never from what somebody typed."""

from peft_registry.schemas.acts import ShownStop
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import Timestamp


class FlaggedChange(Frozen):
    """How the share of flagged items changed, after minus before; None for no figure.

    `high` is how far it may have risen, `least` how far it may have where not one item changed: of so many items nothing less can
    be shown.
    """

    slice: str | None
    change: float | None
    high: float | None
    least: float | None = None


class SuiteFacts(Frozen):
    """What an evaluation with a suite says of a version; `stale` says why it does not speak of it.

    `leaked` says which of its items were trained on, `unknown_trainings` of which trainings nobody knows whether any were. Of one
    suite there may be several: on some of its rows and on all, on the suite's own and on rows of somebody's. `data` is the
    digest of the file that the rows are from, `rows` how many were scored, `limits` how many limits were held against them.
    """

    suite: str
    evaluation: Digest
    stale: str | None
    conclusions: tuple[tuple[str | None, str], ...]  # group, None for all items, and conclusion
    changes: tuple[FlaggedChange, ...]
    leaked: tuple[str, ...] = ()
    unknown_trainings: tuple[str, ...] = ()
    unkept: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()  # those of `unkept` that are not broken
    data: Digest | None = None
    rows: int = 0
    is_whole: bool = False  # every row of the file that can be scored was
    limits: int = 0
    is_screen: bool = False  # a few fixed items, which give no verdict


class FigureWithInterval(Frozen):
    """A number with the ends of its 95 % interval; None where it has none."""

    value: float
    low: float | None = None
    high: float | None = None


class MetricFact(Frozen):
    """A figure of an evaluation, and its change from what the version was made from, paired by row; None where none is known.

    `metric` is its name as `registry list --where` has it. `examples` are the solved ones before each question of a task;
    `silent` says why it shows nothing, such as that the model was trained on its rows.
    """

    metric: str
    evaluation: Digest
    stale: str | None
    figure: FigureWithInterval
    change: FigureWithInterval | None = None
    before: str = "base"  # what the change is from
    lower_is_better: bool = False
    data: Digest | None = None
    rows: int = 0
    examples: int | None = None
    silent: str | None = None


class LostFact(Frozen):
    """A thing that an evaluation shows a version to have become worse at, in a line; `stale` says why it does not speak of it."""

    text: str
    stale: str | None = None


class Vote(Frozen):
    """An approval; `objection` says why it does not count, empty where it does."""

    person: str
    key_id: str
    at: Timestamp | None
    policy_name: str = ""
    reason: str = ""
    objection: str = ""


class Waiver(Frozen):
    """A rule that a person suspended until a day; `objection` says why it does not count, empty where it does."""

    rule: str
    person: str
    until: Timestamp
    reason: str
    objection: str = ""


class DecisionFact(Frozen):
    """What a person decided of a question, in a line; `objection` says why it does not count, empty where it does."""

    question: str
    text: str
    objection: str = ""


class Status(Frozen):
    """One of the two verdicts: its status, its row and clause, and what is not answered for it."""

    table: str
    status: str
    basis: str | None
    missing: tuple[str, ...] = ()
    words: str = ""  # the status as people say it; empty where it is open


class GateFacts(Frozen):
    """Everything that a policy is held against, of one version at one time.

    `verdict` is None where no file of it was read: what is decided then is decided by its records alone.
    """

    label: str
    manifest: Digest
    now: Timestamp
    is_base: bool
    verdict: str | None
    verdict_text: str
    stops: tuple[ShownStop, ...] = ()  # what forbids that it is promoted
    makers: tuple[str, ...] = ()  # the persons whose keys had a part in making it
    suites: tuple[SuiteFacts, ...] = ()
    metrics: tuple[MetricFact, ...] = ()
    lost: tuple[LostFact, ...] = ()
    open_fields: tuple[str, ...] = ()  # of its record, each with the rule of its field
    open_questions: int = 0  # how many these are, each once
    unsigned_fields: tuple[str, ...] = ()  # likewise: stated, and signed by nobody who may answer them
    statuses: tuple[Status, ...] = ()
    makes_media: bool | None = None
    is_screened: bool | None = None  # for prohibited output, Art. 5
    own_licence_flags: tuple[str, ...] = ()
    licence_flags: tuple[str, ...] = ()  # of what it was made from
    votes: tuple[Vote, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    decisions: tuple[DecisionFact, ...] = ()
