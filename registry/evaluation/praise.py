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
from peft_registry.registry.evaluation.leakage import is_mostly_unchecked, more_alike_than_chance
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import DatasetUsed, LeakageCheck, suites_of_plan

WHOLE = code("only_the_test_half")
OWN = code("items_not_known_as_published")
CHOSEN = code("items_chosen")
NO_PLACEBO = code("no_placebo_beside")
DEAD_BAND = "dead_band"  # the key in a plan of a suite whose dead band is not its own
OWN_BAND = code("dead_band_of_the_policy")
UNCOMPARED = code("texts_not_compared")


@dataclass(frozen=True, slots=True)
class Tries:
    """How many seeds of one plan were begun, in how many runs; the one that is judged is among them.

    `others` are runs of the same method on the same base and the same rows, in any order, with other settings.
    """

    seeds: int = 1
    runs: int = 1
    others: int = 0

    def __str__(self) -> str:
        return str(self.said)

    @property
    def said(self) -> Code:
        """That it is one of so many seeds."""
        return code("one_of_seeds", seeds=self.seeds, runs=self.runs)

    @property
    def others_said(self) -> Code | None:
        """That runs with other settings were begun on the same rows; None where there were none."""
        return code("other_runs", runs=self.others) if self.others else None


ONE_TRY = Tries()


def reserved_of(
    datasets: Iterable[DatasetUsed],
    leakage: LeakageCheck | None,
    *,
    has_placebo: bool,
    own_bands: frozenset[str] = frozenset(),
) -> Mapping[str, Code]:
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
    return frozenset(name for name, suite in suites_of_plan(plan).items() if DEAD_BAND in suite)


def _reason(used: DatasetUsed, leakage: LeakageCheck | None) -> Code | None:
    if used.half != "test":
        return WHOLE
    if used.published is None:
        return OWN
    if used.left_out(NOT_SELECTED):
        return CHOSEN
    return _reason_of_texts(used, leakage)


def _reason_of_texts(used: DatasetUsed, leakage: LeakageCheck | None) -> Code | None:
    """Why what the model was trained on lets nothing be called better."""
    if leakage is None or not leakage.trainings:
        return UNCOMPARED
    unknown = [training.training for training in leakage.trainings if training.status == "unknown"]
    if unknown:
        return code("training_texts_unknown", training=unknown[0])
    entry = next((data for data in leakage.datasets if (data.kind, data.dataset) == ("suite", used.name)), None)
    if entry is not None and is_mostly_unchecked(entry, leakage):
        return code("mostly_not_looked_for", unchecked=entry.unchecked, items=entry.items)
    return None if entry is None else more_alike_than_chance(entry)
