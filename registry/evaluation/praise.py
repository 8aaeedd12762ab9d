"""What must be known besides the figures before a change is called better. Pure.

The items of every suite are public. Whoever trains can train on them, on sentences that say the same, or choose among many runs
by them, and fewer items are flagged each time. A record can show that the items are those that their authors publish, all of the
half which is kept for the test; that the texts of all trainings were compared with them; and what a placebo did to them. Without
any of it a change is a change: whoever writes the items, picks some of them or leaves a control out could have made it.

Of many trainings that differ in their seed alone some look better by chance, and the best of them is what will be shown. How many
were begun is counted (`Tries`), and `better` is judged at the level divided by them: Bonferroni's correction. Runs on the same
rows with other settings may be a search for settings or a search for luck, and nothing tells which: they are counted and said.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from peft_registry.registry.evaluation.halves import NOT_SELECTED
from peft_registry.registry.evaluation.leakage import is_mostly_unchecked
from peft_registry.schemas.evaluation import DatasetUsed, LeakageCheck

WHOLE = "whoever trained may have trained or chosen by these items: only the test half is called better"
OWN = "its items are not known here as their authors publish them: whoever trained may have written or turned them"
CHOSEN = "the items were chosen out of the test half, and another choice may say otherwise"
NO_PLACEBO = "no placebo stands beside it, and a random change of the same size may do as much"
POLICY = "of the policy"  # what a plan says of a suite whose dead band is not its own
OWN_BAND = "its dead band is the policy's and not the suite's: of many bands one lets items count as fixed"
UNCOMPARED = "its training texts were not compared with the items"


@dataclass(frozen=True, slots=True)
class Tries:
    """How many seeds of one plan were begun, in how many runs; the one that is judged is among them.

    `others` are runs of the same method on the same base and the same rows, in any order, with other settings.
    """

    seeds: int = 1
    runs: int = 1
    others: int = 0

    def __str__(self) -> str:
        return f"one of {self.seeds} seeds of this plan, begun in {self.runs} run{'' if self.runs == 1 else 's'}"

    @property
    def others_sentence(self) -> str:
        """That runs with other settings were begun on the same rows; empty where there were none."""
        if not self.others:
            return ""
        runs = "1 more run" if self.others == 1 else f"{self.others} more runs"
        return f"{runs} on the same rows with other settings, begun in all: `better` is not judged among them"


ONE_TRY = Tries()


def reserved_of(
    datasets: Iterable[DatasetUsed],
    leakage: LeakageCheck | None,
    *,
    has_placebo: bool,
    own_bands: frozenset[str] = frozenset(),
) -> Mapping[str, str]:
    """Why each data set's figures are not called better; nothing of those that may be.

    `own_bands` are the data sets whose dead band is another than the suite's.
    """
    reasons = {
        used.name: _reason(used, leakage)
        or (OWN_BAND if used.name in own_bands else None)
        or (None if has_placebo else NO_PLACEBO)
        for used in datasets
    }
    return {name: reason for name, reason in reasons.items() if reason is not None}


def own_bands_of(plan: object) -> frozenset[str]:
    """The data sets of a plan (any JSON value) whose dead band is another than the suite's."""
    suites = plan.get("suites") if isinstance(plan, Mapping) else None
    named = suites.items() if isinstance(suites, Mapping) else ()
    return frozenset(name for name, suite in named if isinstance(suite, Mapping) and suite.get("dead_band") == POLICY)


def _reason(used: DatasetUsed, leakage: LeakageCheck | None) -> str | None:
    if used.half != "test":
        return WHOLE
    if used.published is None:
        return OWN
    if used.excluded.get(NOT_SELECTED, 0):
        return CHOSEN
    return _reason_of_texts(used, leakage)


def _reason_of_texts(used: DatasetUsed, leakage: LeakageCheck | None) -> str | None:
    """Why what the model was trained on lets nothing be called better."""
    if leakage is None or not leakage.trainings:
        return UNCOMPARED
    unknown = [training.training for training in leakage.trainings if training.status == "unknown"]
    if unknown:
        return f"what {unknown[0]} was trained on is unknown"
    entry = next((data for data in leakage.datasets if (data.kind, data.dataset) == ("suite", used.name)), None)
    if entry is not None and is_mostly_unchecked(entry, leakage):
        return f"{entry.unchecked} of {entry.items} items could not be looked for in what was trained on"
    return None
