"""What must be known besides the figures before a change is called better. Pure.

The items of every suite are public. Whoever trains can train on them, on sentences that say the same, or choose among many runs
by them, and fewer items are flagged each time. Two things can be shown by a record: that the items are of the half which is kept
for the test, and that the texts of all trainings were compared with them. Without them a change is a change.

Of many trainings that differ in their seed alone some look better by chance, and the best of them is what will be shown. How many
were begun is counted (`Tries`), and `better` is judged at the level divided by them: Bonferroni's correction. Runs on the same
rows with other settings may be a search for settings or a search for luck, and nothing tells which: they are counted and said.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from peft_registry.schemas.evaluation import DatasetUsed, LeakageCheck

WHOLE = "whoever trained may have trained or chosen by these items: only the test half is called better"
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


def reserved_of(datasets: Iterable[DatasetUsed], leakage: LeakageCheck | None) -> Mapping[str, str]:
    """Why each data set's figures are not called better; nothing of those that may be."""
    reasons = {used.name: _reason(used, leakage) for used in datasets}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _reason(used: DatasetUsed, leakage: LeakageCheck | None) -> str | None:
    if used.half != "test":
        return WHOLE
    if leakage is None or not leakage.trainings:
        return UNCOMPARED
    unknown = [training.training for training in leakage.trainings if training.status == "unknown"]
    if unknown:
        return f"what {unknown[0]} was trained on is unknown"
    return None
