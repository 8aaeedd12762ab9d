"""The part of `docs/explanation/methods-compared.md` on accuracy over seeds, from what `docs/measured/banking77.py` kept."""

import json
from pathlib import Path

from docs.measured.banking77 import INTENTS, RATES, SEEDS, TESTED, TRAINED, Accuracy
from docs.tables import table
from peft_registry.registry.evaluation.over_seeds import share_over_seeds
from peft_registry.registry.evaluation.statistics import NoInterval

HEADINGS = (
    "method",
    "seeds",
    "before",
    "accuracy, lowest … highest seed",
    "mean over seeds, with its interval over rows and seeds",
)


def accuracy_lines(path: Path) -> list[str]:
    """The section; without a kept result, what it would take."""
    planned = len(RATES) * len(SEEDS)
    lines = [
        "## accuracy over seeds",
        "",
        f"{INTENTS} intents of Banking77, {INTENTS * TRAINED} rows to train on and {INTENTS * TESTED} to test on, one epoch; the",
        f"likeliest of the {INTENTS} labels is the answer, by chance {100 / INTENTS:g} %. `docs/measured/banking77.py` makes it.",
        "",
    ]
    found = [Accuracy(**row) for row in json.loads(path.read_text("utf-8"))] if path.exists() else []
    if not found:
        return [
            *lines,
            f"Not measured yet: it takes {planned} trainings and as many scorings, some hours of one core.",
        ]
    methods = dict.fromkeys(one.method for one in found)
    rows = [_row(method, [one for one in found if one.method == method]) for method in methods]
    if len(found) < planned:
        lines += [f"{len(found)} of {planned} trainings are measured; the others go on where these stopped.", ""]
    return [*lines, *table(HEADINGS, rows)]


def _row(method: str, seeds: list[Accuracy]) -> list[str]:
    shares = [100 * one.right / one.rows for one in seeds]
    before = 100 * seeds[0].base / seeds[0].rows
    return [method, str(len(seeds)), f"{before:.1f} %", f"{min(shares):.1f} … {max(shares):.1f} %", _mean(seeds)]


def _mean(seeds: list[Accuracy]) -> str:
    share = share_over_seeds([(one.right, one.rows) for one in seeds])
    assert share is not None, "rows were asked"
    text, interval = f"{100 * share.value:.1f} %", share.interval
    if isinstance(interval, NoInterval):
        return f"{text} (no interval: {interval.reason})"
    return f"{text} ({100 * interval.low:.1f} … {100 * interval.high:.1f})"
