"""Keep the newest evaluation of each suite: `python docs/measured/suites.py HOME NAME:NUMBER >suites-smollm2.jsonl`.

One record a line, as it was signed but for figures of groups; groups below 100 items, of which nothing is claimed, are left out
of the comparisons too. Aggregates alone: no item, no text.
"""

import json
import sys
from pathlib import Path
from typing import Any

from peft_registry.registry.homes.home import open_home
from peft_registry.registry.records.evaluations import stored_evaluations
from peft_registry.registry.records.references import version_named
from peft_registry.schemas.evaluation import ITEMS_FOR_A_CLAIM, EvaluationRecord


def kept(record: EvaluationRecord, datasets: set[str]) -> dict[str, Any]:
    """What the page reads of a record: the data sets that no later record has, whole, and comparisons of groups of enough items."""
    results = (one for one in record.results if one.dataset in datasets and one.category is None)
    comparisons = (
        one
        for one in record.comparisons
        if one.dataset in datasets and (one.category is None or one.n >= ITEMS_FOR_A_CLAIM)
    )
    return record.revised(results=tuple(results), comparisons=tuple(comparisons)).to_json()


registry = open_home(Path(sys.argv[1]))
evaluations = stored_evaluations(registry, version_named(registry, sys.argv[2]))
newest = {one.name: number for number, found in enumerate(evaluations) for one in found.record.datasets}
for number, found in enumerate(evaluations):
    names = {name for name, last in newest.items() if last == number or name == "neutral"}
    if names != {"neutral"}:
        sys.stdout.write(json.dumps(kept(found.record, names)) + "\n")
registry.close()
