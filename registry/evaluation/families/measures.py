"""Answers of a model measured one by one: exact match, F1, a metric of the user's. Higher or lower is said where it is defined."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from peft_registry.registry.evaluation.clusters import IntervalRule, Kind
from peft_registry.registry.evaluation.families.figures import FigureBuilder, by_cluster, first_of
from peft_registry.registry.evaluation.items import Item
from peft_registry.registry.evaluation.readings import MILLIONTHS, Reading
from peft_registry.schemas.evaluation import ArmName, Result, Threshold


def results(rows: Sequence[Reading], *, category: str | None, rule: IntervalRule) -> Iterator[Result]:
    """The mean of each measure."""
    figures = FigureBuilder(rows[0].dataset, rows[0].arm, category, rule)
    for label in rows[0].labels:
        kind = kind_of_measure(first_of(label)(row) for row in rows)
        yield figures.mean(label, rows, first_of(label), by_cluster, kind=kind, full=MILLIONTHS)


def kind_of_measure(values: Iterable[int]) -> Kind:
    """A share where every answer is either right or wrong; values in millionths."""
    return "share" if set(values) <= {0, MILLIONTHS} else "mean"


def margins(
    arms: Mapping[ArmName, Sequence[Reading]],  # noqa: ARG001  every family has the same form
    before: ArmName,  # noqa: ARG001
    thresholds: Mapping[str, Threshold],  # noqa: ARG001
) -> Iterator[Item]:
    """None: a measure of quality says nothing about stereotypes."""
    return iter(())
