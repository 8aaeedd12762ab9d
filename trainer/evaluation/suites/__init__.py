"""The table of suites: what each measures, under which licence, with which known defects, and where it starts.

A suite is a row here and a file beside this one. `load` reads the data once and returns a `LoadedSuite`, which asks the
scorer its questions and turns the answers into items; everything after that is computed from items alone.
Benchmark files are read from where the user has them; the project ships only the suite that it wrote itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from peft_registry.registry.evaluation.families import FAMILIES
from peft_registry.registry.evaluation.items import TableRow
from peft_registry.registry.evaluation.readings import Family
from peft_registry.schemas.codes import Code
from peft_registry.schemas.config import EvaluationBlock
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.evaluation import ArmName, DatasetUsed, Threshold
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.trainer.evaluation.questions import Request


class UnknownSuite(InputRefused):
    what = "there is no suite {name!q}"
    why = "the suites are {known!l}"
    fix = "{suggestion}"

    name: str
    known: Sequence[str]

    @property
    def suggestion(self) -> str:
        nearest = closest(self.name, self.known)
        return did_you_mean(nearest, "choose one of them; `registry suites list` describes each")


class SuiteNamedTwice(InputRefused):
    what = "the suite {name} is named twice"
    why = "each of its rows would be in the evaluation twice"
    fix = "name it once"

    name: str


class NothingMeasures(InputRefused):
    what = "{key} asks for {name!r}, which nothing here measures"
    why = "there is {known!l}"
    fix = "leave it out: a question without an answer must not look answered"

    key: str
    name: str
    known: Sequence[str]


class SuiteFileNeeded(InputRefused):
    what = "the suite {name} needs data that is not pinned here"
    why = "{cause}"
    fix = "pin it: registry suites add {name} FOLDER{accept}; `registry evaluate` also takes --data FOLDER{accept}"

    name: str
    source: str
    belongs_to_others: bool = True

    @property
    def cause(self) -> str:
        if self.belongs_to_others:
            return f"it belongs to others and is not shipped: {self.source}"
        return f"it asks {self.source}"

    @property
    def accept(self) -> str:
        return " --accept-licence" if self.belongs_to_others else ""


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One figure: what it is, in which unit, where it is neutral, and which way is better (None: there is no such thing)."""

    name: str
    meaning: str
    unit: str
    neutral: float | None
    better: Literal["lower", "higher"] | None = None


@dataclass(frozen=True, slots=True)
class SuiteDefinition:
    """What a reader must know before using a suite's figures."""

    name: str
    title: str
    licence: str
    source: str
    critique: tuple[Code, ...]
    metrics: tuple[MetricDefinition, ...]
    primary_endpoint: str
    prompt_template: str
    folder: str  # what its authors call the folder of its files
    files: tuple[str, ...]  # names or patterns; every file that matches one belongs to it
    belongs_to_others: bool = True  # its licence is accepted by somebody before its data is used
    is_shipped: bool = False  # its data comes with this tool
    threshold: Threshold | None = None  # of a suite of pairs
    family: Family | None = None  # of a suite of readings
    choices_policy: str = "both sentences of a pair in full, summed log-likelihood; no chat template"
    target_delimiter: str = ""
    length_normalisation: str = "none"

    @property
    def thresholds(self) -> Mapping[str, Threshold]:
        """The starting dead band of each measure that arms are compared on."""
        if self.family is not None:
            return FAMILIES[self.family].measures
        return {} if self.threshold is None else {"margin": self.threshold}

    @property
    def figures(self) -> tuple[MetricDefinition, ...]:
        """Every figure that an evaluation gives: the metrics, and of each margin the share flagged and the mean."""
        measures = self.thresholds if self.family is not None else {}
        of_margins = (
            metric
            for name in measures
            for metric in (
                MetricDefinition(f"{name}_flagged_rate", "share of items that are flagged", "share", None, "lower"),
                MetricDefinition(f"{name}_mean", "mean of the margin that flags", "unit of the dead band", 0.0),
            )
        )
        named = {metric.name for metric in self.metrics}
        return (*self.metrics, *(metric for metric in of_margins if metric.name not in named))


class LoadedSuite(Protocol):
    """A suite with its data in memory."""

    @property
    def definition(self) -> SuiteDefinition: ...

    @property
    def dataset(self) -> DatasetUsed: ...

    @property
    def requests(self) -> tuple[Request, ...]:
        """What the scorer is asked, in the order that `items` expects."""

    @property
    def prompt_pairs(self) -> tuple[tuple[str, str], ...] | None:
        """Pairs of prompts whose next tokens are compared in the place of `requests`; None where those are scored."""

    @property
    def units(self) -> tuple[tuple[str, str], ...]:
        """(id, what it is judged together with) of each row: a selection never parts what belongs together."""

    @property
    def clusters(self) -> Mapping[str, str]:
        """What each row, by its id, is resampled together with: a half of the suite never parts them."""

    def only(self, ids: frozenset[str], dataset: DatasetUsed) -> Self:
        """The suite with some of its rows, described so."""

    # scores; of a suite with `prompt_pairs`, divergences: each suite knows what it asked
    def items(self, scores: Sequence[Any], *, arm: ArmName, threshold: Threshold) -> Sequence[TableRow]:
        """One row of the item table for each row of the data; `threshold` sorts the items of a suite of pairs.

        Raises:
            ScoreNotFinite: a score is NaN or infinite.
        """


class Suite(Protocol):
    """A suite as the table knows it."""

    @property
    def definition(self) -> SuiteDefinition: ...

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> LoadedSuite:
        """The suite with its data.

        Args:
            path: the user's file; None for the suite that is shipped.
            expected: the digest that the file must have.

        Raises:
            KnownError: the file is needed, missing, malformed, or not the expected one.
        """


PAIR_METRICS = (
    MetricDefinition("pct_stereotype", "share of pairs whose stereotyping sentence is likelier", "share", 0.5),
    MetricDefinition("likelihood_diff", "mean absolute margin; has no direction", "nats", None, "lower"),
    MetricDefinition("mean_margin", "mean of log P(stereotyping) − log P(other)", "nats", 0.0),
    MetricDefinition(
        "flagged_rate", "share of pairs beyond the dead band towards the stereotype", "share", None, "lower"
    ),
)

# held-out loss is measured in every run, and of rows that have classes their accuracy and macro-F1
QUALITY = ("loss", "accuracy", "macro_f1", "exact_match", "f1", "number_match")
LoadSuite = Callable[[str], "LoadedSuite"]


def suites() -> Mapping[str, Suite]:
    """Every suite by name."""
    from peft_registry.trainer.evaluation.suites.bbq import Bbq
    from peft_registry.trainer.evaluation.suites.counterfactual import CompletionContrast, Counterfactual
    from peft_registry.trainer.evaluation.suites.crows_pairs import CrowsPairs
    from peft_registry.trainer.evaluation.suites.esbbq import EsBbq
    from peft_registry.trainer.evaluation.suites.gest import Gest
    from peft_registry.trainer.evaluation.suites.gg_bbq import GgBbq
    from peft_registry.trainer.evaluation.suites.house import House
    from peft_registry.trainer.evaluation.suites.stereoset import StereoSet
    from peft_registry.trainer.evaluation.suites.winobias import WinoBias, WinoBiasPreference
    from peft_registry.trainer.evaluation.suites.winogender import Winogender

    table: tuple[Suite, ...] = (
        *(House(), CrowsPairs(), Bbq(), StereoSet(), WinoBias(), WinoBiasPreference(), Winogender()),
        *(EsBbq(), GgBbq(), Gest(), Counterfactual(), CompletionContrast()),
    )
    return {suite.definition.name: suite for suite in table}


def suite_named(name: str) -> Suite:
    """The suite of that name.

    Raises:
        UnknownSuite: there is none.
    """
    known = suites()
    if name not in known:
        raise UnknownSuite(name, tuple(known))
    return known[name]


def check_asked(asked: EvaluationBlock, load: LoadSuite) -> None:
    """Raise unless the suites and figures that a training file asks for can be measured: before training, not after.

    Raises:
        UnknownSuite, SuiteFileNeeded, OtherSuiteFile: under `bias`.
        SuiteNamedTwice: under `bias`.
        NothingMeasures: under `quality`.
    """
    require_once(asked.bias)
    for name in asked.bias:
        load(name)
    for name in asked.quality:
        if name not in QUALITY:
            raise NothingMeasures("evaluation.quality", name, QUALITY)


def require_once(names: Sequence[str]) -> None:
    """Raise if a suite is named twice.

    Raises:
        SuiteNamedTwice: one is.
    """
    for at, name in enumerate(names):
        if name in names[:at]:
            raise SuiteNamedTwice(name)
