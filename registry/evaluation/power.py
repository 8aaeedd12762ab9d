"""What a comparison over a part of a suite can show, known before anything is scored.

Whether the test can reach its level follows from the clusters alone, so that `verify` counts it again in the item table. Which
change it finds was simulated on the structure of each suite (`operating.json`, which `python -m docs.measured.operating` makes; the
page of operating characteristics reads the same rows): it is told and recorded, and nothing is concluded from it.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from peft_registry.registry.evaluation.directions import ALPHA
from peft_registry.registry.evaluation.halves import NOT_SELECTED, screens_of
from peft_registry.registry.evaluation.sign_flips import clusters_needed
from peft_registry.schemas.codes import Code, Said, code, code_in
from peft_registry.schemas.evaluation import ITEMS_FOR_A_CLAIM, DatasetUsed, EvaluationRecord, suites_of_plan

TESTABLE = "testable"  # the key in a plan of a suite: whether the test can reach its level
DETECTABLE = "detectable"  # likewise: the change that is found in most comparisons
UNTESTABLE = ("cannot_be_tested", "too_few_for_a_claim")  # codes after which no word follows
POWER = 0.8
WIDEST = 40  # points; what needs more is not called detectable
WHOLE = "whole"  # the table's name for all rows of a suite, where no half is asked


def shown_by(used: DatasetUsed, clusters: Collection[str]) -> Mapping[str, Code]:
    """What a comparison over a suite can show, as its plan holds it: `testable`, and `detectable` where that is known.

    Args:
        used: the suite.
        clusters: as for `testable`.
    """
    can_be_tested = testable(used, clusters)
    found = None if can_be_tested.code in UNTESTABLE else detectable_change(used)
    return {TESTABLE: can_be_tested} | ({} if found is None else {DETECTABLE: found})


def testable(used: DatasetUsed, clusters: Collection[str]) -> Code:
    """Whether the test can reach its level on the rows that are asked.

    Args:
        used: the suite.
        clusters: that of each row on which arms are compared; those that the model was trained on are not among them.
    """
    screen = screens_of([used]).get(used.name)
    if screen is not None:
        return screen
    rows = len(clusters)
    groups = len(set(clusters))
    needs = clusters_needed(ALPHA)
    if groups < needs:
        return code("cannot_be_tested", rows=rows, clusters=groups, needs=needs)
    if rows < ITEMS_FOR_A_CLAIM:
        return code("too_few_for_a_claim", items=rows, needs=ITEMS_FOR_A_CLAIM)
    return code("can_be_tested", rows=rows, clusters=groups, needs=needs)


def detectable_change(used: DatasetUsed) -> Code | None:
    """The change of the flagged share, in points, that most comparisons find, or the code that they are too few.

    None where nothing was simulated for these very rows.
    """
    if used.name in screens_of([used]) or used.left_out(NOT_SELECTED):
        return None
    simulated = _simulated().get((str(used.sha256), used.half or WHOLE, used.name))
    if simulated is None:
        return None
    if simulated.items < ITEMS_FOR_A_CLAIM:  # of rows some are only together one item
        return code("too_few_for_a_claim", items=simulated.items, needs=ITEMS_FOR_A_CLAIM)
    known = [points for points in simulated.points if points is not None]
    if len(known) < len(simulated.points):
        return code("misses_a_change", points=WIDEST)
    return code("finds_a_change", least=min(known), most=max(known), power=POWER)


def stated_changes(record: EvaluationRecord) -> Mapping[str, Said]:
    """The detectable change that a record states, by suite."""
    suites = suites_of_plan(record.stated_plan)
    stated = {name: suite[DETECTABLE] for name, suite in suites.items() if DETECTABLE in suite}
    return {name: code_in(value) or str(value) for name, value in stated.items()}


def operating_rows() -> list[dict[str, Any]]:
    """The simulated rows, JSON objects: a part of a suite under one size of changes each."""
    rows: list[dict[str, Any]] = json.loads((files(__package__) / "operating.json").read_text(encoding="utf-8"))
    return rows


@dataclass(frozen=True, slots=True)
class _Simulated:
    """Of a part of a suite how many items are compared, and the detectable change under each size of changes."""

    items: int
    points: tuple[float | None, ...] = ()


@cache
def _simulated() -> Mapping[tuple[str, str, str], _Simulated]:
    """What was simulated, by data, part and suite; of parts that can be tested."""
    found: dict[tuple[str, str, str], _Simulated] = {}
    for row in operating_rows():
        if row["is_testable"]:
            key = (row["dataset"], row["part"], row["suite"].split()[0])
            before = found.get(key, _Simulated(row["items"]))
            found[key] = _Simulated(row["items"], (*before.points, row["detectable"]))
    return found
