"""`docs/explanation/methods-compared.md`: the kept comparisons and sweeps as tables. No figure is typed."""

import json
from collections.abc import Iterator
from pathlib import Path

from docs.accuracy_page import accuracy_lines
from docs.tables import table
from peft_registry.registry.evaluation.sentences import as_read
from peft_registry.registry.reports.comparison import BIAS_HEADINGS, HEADINGS, bias_rows, table_rows
from peft_registry.schemas.comparison import MethodComparison
from peft_registry.trainer.methods.learning_rates import against_full, measured_rates

HEAD = """\
# Methods compared on a real model

Generated from the results in `docs/measured`, which `docs/measured/measure.sh` makes; what the columns are says
[how to choose a method](../how-to/choose-a-method.md). One small model, few rows and seeds: read the intervals.
Arms were trained two at a time on two cores, a thread each: losses and peak memory compare, times of training roughly.
Latencies are processor time, measured afterwards with nothing beside; `full` has the base's own architecture, so what
its latency differs from zero by is noise.
A quantized base starts from a higher loss than the others, so its change is not from the same place.
How this bears on popular claims: [claims](claims.md).
"""


def comparisons_page(measured: Path) -> str:
    """The page, from the folder of kept results."""
    lines = [HEAD]
    for path in sorted(measured.glob("compare-*.json")):
        comparison = MethodComparison.from_json(json.loads(path.read_text("utf-8")))
        lines += [f"## {path.stem.removeprefix('compare-')}", "", *_comparison(comparison), ""]
    lines += [*accuracy_lines(measured / "accuracy-banking77.json"), "", "## Learning rates", "", *_rates()]
    return "\n".join(lines) + "\n"


def _comparison(comparison: MethodComparison) -> Iterator[str]:
    rows = ", ".join(f"{part.rows} {part.split} rows" for data in comparison.data for part in data.selections)
    names = ", ".join(data.name for data in comparison.data)
    base = f"{comparison.base} ({comparison.base_weights.short})"
    yield f"{base}, {names}: {rows}. {as_read(comparison.hardware)}."
    yield f"`{comparison.command[1]}`, comparison {comparison.comparison_id}."
    timed = [arm.latency for arm in comparison.arms if arm.latency is not None]
    yield from dict.fromkeys(f"Latency: {latency.base.method}." for latency in timed)
    yield ""
    yield from table(HEADINGS, table_rows(comparison))
    if any(counts.axes for arm in comparison.arms for counts in arm.bias):
        yield ""
        yield from table(BIAS_HEADINGS, bias_rows(comparison))


def _rates() -> Iterator[str]:
    headings = ("method", "base", "tried", "best", "nearly as good", "its best, over bases, against full fine-tuning's")
    yield from table(
        headings,
        [
            (
                rate.method,
                rate.base,
                f"{rate.tried[0]:g} … {rate.tried[1]:g}",
                f"{rate.best:g}",
                f"{rate.low:g} … {rate.high:g}",
                against_full(rate.method) or "not measured",
            )
            for rate in measured_rates()
        ],
    )
