"""The page of attempts to be called better without being it, from a kept result. No figure and no conclusion is typed."""

import json
from pathlib import Path
from typing import Any

from docs.measured.adversary import ATTEMPTS
from docs.tables import table
from peft_registry.registry.evaluation.praise import Tries
from peft_registry.registry.evaluation.sentences import as_read

HEADINGS = (
    "attempt",
    "in the texts of its trainings",
    "flagged before",
    "left",
    "entered",
    "opposite left",
    "opposite entered",
    "said",
)
HEAD = """\
# What an adversary gets

Generated from `docs/measured/adversary.json`, which `python -m docs.measured.adversary FOLDER` makes: the embedded base, LoRA, and
the test half of the suite `house`. Each row wants to be called `better` without being it.
[Trained on the test](trained-on-the-test.md) says what is looked for, and what cannot be found.
Of a training with several seeds the best is shown. The home knows how many were begun, and `better` is judged at p times the
seeds. Who trains in another home, or deletes `begun.jsonl` and registers one of the seeds, is not counted.
*Left* and *entered* count the items that were flagged and are not, and the other way round; of the opposite likewise.
What honest trainings did on a real model: [training against stereotypes](mitigation.md).
"""


def adversary_page(attempts: Path) -> str:
    """The page, from what was said of each attempt."""
    said: dict[str, dict[str, Any]] = {one["attempt"]: one for one in json.loads(attempts.read_text("utf-8"))}
    rows = [_row(attempt.what, said[name]) for name, attempt in ATTEMPTS.items() if attempt.what]
    return "\n".join([HEAD, *table(HEADINGS, rows)]) + "\n"


def _row(what: str, said: dict[str, Any]) -> list[str]:
    found = [f"{hits} of {items} {kind} items" for kind, (hits, items) in said["hits"].items() if hits]
    counts = [
        f"{said['flagged']} of {said['n']}",
        *(str(said[name]) for name in ("left", "entered", "opposite_left", "opposite_entered")),
    ]
    conclusion, reason = said["conclusion"].replace("_", " "), as_read(said["conclusion_reason"])
    tries = Tries(said.get("seeds", 1), said.get("runs", 1))
    if tries.seeds > 1 and str(tries) not in reason:
        reason += f"; {tries}"
    return [what, ", ".join(found) or "none found", *counts, f"{conclusion}: {reason}"]
