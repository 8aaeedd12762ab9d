"""The families of readings: which figures each has, which margins are derived from it, and when it says nothing.

A family is a row here and its functions in a file beside this one. All of it is computed from the item table alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from peft_registry.registry.evaluation.clusters import IntervalRule
from peft_registry.registry.evaluation.families import bbq, counterfactual, measures, stereoset, winobias, winogender
from peft_registry.registry.evaluation.items import Item
from peft_registry.registry.evaluation.readings import Family, Reading
from peft_registry.schemas.codes import Code
from peft_registry.schemas.evaluation import ArmName, Result, Threshold


class Results(Protocol):
    def __call__(self, rows: Sequence[Reading], *, category: str | None, rule: IntervalRule) -> Iterator[Result]:
        """The figures of one arm; at least one row."""


class Margins(Protocol):
    def __call__(
        self, arms: Mapping[ArmName, Sequence[Reading]], before: ArmName, thresholds: Mapping[str, Threshold]
    ) -> Iterator[Item]:
        """What is compared between arms, in every arm; thresholds by measure."""


class NotInformative(Protocol):
    def __call__(self, rows: Sequence[Reading], rule: IntervalRule) -> Code | None:
        """Why the figures of these rows, of the arm before, say nothing; None if they may say something."""


@dataclass(frozen=True, slots=True)
class FamilyRow:
    """One family. `measures` are its margins with their starting dead bands."""

    results: Results
    margins: Margins
    measures: Mapping[str, Threshold]
    not_informative: NotInformative


FAMILIES: Mapping[Family, FamilyRow] = {
    "bbq": FamilyRow(bbq.results, bbq.margins, bbq.MEASURES, bbq.not_informative),
    "stereoset": FamilyRow(stereoset.results, stereoset.margins, stereoset.MEASURES, stereoset.not_informative),
    "winogender": FamilyRow(winogender.results, winogender.margins, winogender.MEASURES, winogender.not_informative),
    "winobias": FamilyRow(winobias.results, winobias.margins, winobias.MEASURES, winobias.not_informative),
    "contrast": FamilyRow(
        counterfactual.contrast_results,
        counterfactual.contrast_margins,
        counterfactual.CONTRAST_MEASURES,
        counterfactual.always_informative,
    ),
    "divergence": FamilyRow(
        counterfactual.divergence_results,
        counterfactual.divergence_margins,
        counterfactual.DIVERGENCE_MEASURES,
        counterfactual.always_informative,
    ),
    "measure": FamilyRow(measures.results, measures.margins, {}, counterfactual.always_informative),
}
