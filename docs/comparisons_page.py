"""`docs/explanation/methods-compared.md`: the kept comparisons and sweeps as tables. No figure is typed."""

import json
from collections.abc import Iterator
from pathlib import Path

from docs.accuracy_page import accuracy_lines
from docs.tables import table
from peft_registry.registry.evaluation.readings import MILLIONTHS
from peft_registry.registry.evaluation.sentences import as_read
from peft_registry.registry.evaluation.sign_flips import ClusterChanges, change_interval
from peft_registry.registry.evaluation.statistics import NoInterval
from peft_registry.registry.reports.comparison import (
    ANSWER_HEADINGS,
    BIAS_HEADINGS,
    HEADINGS,
    answer_rows,
    bias_rows,
    plan_line,
    signed,
    table_rows,
)
from peft_registry.schemas.comparison import ArmResult, MethodComparison
from peft_registry.trainer.methods.learning_rates import against_full, measured_rates

RUN_HEADINGS = (
    *("method", "seed", "registered as", "accuracy", "its change, over rows", "rows that became right, wrong"),
    "held-out loss",
)
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

# what stands above the comparison of a file that measure.sh alone does not explain
NOTES = {
    "intents": """\
Five methods with five seeds each, by the accuracy of answers. The rows are the first six intents by name of Banking77 that have
forty texts, forty of each. Half of them is trained on, in ten epochs of steps of eight rows; the class of each row in the other
half is the likeliest of the six in the template of the training, by chance 16.7 %. The base is the one that ships, with 0.7 M
parameters, because two processes then train all 25 in 34 minutes of a machine that others use, too. The rates are the best of its
sweeps (below). Nothing was chosen by a result, and no run of this plan is left out. IA3 with seed 10 was begun twice, by both
processes at once; one of them was ended.

Three plans on SmolLM2-135M-Instruct were logged before and given up, because the machine was too busy for them. By then two LoRAs
with seed 7 were registered: 49.2 % before and 90.8 % after on 120 rows of these intents, 54.0 % and 88.0 % on 50 rows of five of
them. They are in no table.

```sh
python -m docs.measured.banking77 rows BANKING77_CSV >banking77.csv
registry compare compare-intents.yml --methods lora,lora_pro,bottleneck,ia3,prompt_tuning --seeds 5 --no-latency \\
  --learning-rate lora=1e-2 --learning-rate lora_pro=1e-2 --learning-rate bottleneck=3e-2 --learning-rate ia3=3e-1 \\
  --learning-rate prompt_tuning=3e-1 --output json prompt_tuning.seeds=1 >compare-intents.json
python -m docs.generate
```
"""
}


def comparisons_page(measured: Path) -> str:
    """The page, from the folder of kept results."""
    lines = [HEAD]
    for path in sorted(measured.glob("compare-*.json")):
        comparison = MethodComparison.from_json(json.loads(path.read_text("utf-8")))
        name = path.stem.removeprefix("compare-")
        note = [NOTES[name]] if name in NOTES else []
        lines += [f"## {name}", "", *note, *_comparison(comparison), ""]
    lines += [*accuracy_lines(measured / "accuracy-banking77.json"), "", "## Learning rates", "", *_rates()]
    return "\n".join(lines) + "\n"


def _comparison(comparison: MethodComparison) -> Iterator[str]:
    rows = ", ".join(f"{part.rows} {part.split} rows" for data in comparison.data for part in data.selections)
    names = ", ".join(data.name for data in comparison.data)
    base = f"{comparison.base} ({comparison.base_weights.short})"
    yield f"{base}, {names}: {rows}. {as_read(comparison.hardware)}."
    yield f"`{comparison.command[1]}`, comparison {comparison.comparison_id}."
    planned = plan_line(comparison)
    if planned is not None:
        yield f"Plan: {planned}."
    timed = [arm.latency for arm in comparison.arms if arm.latency is not None]
    yield from dict.fromkeys(f"Latency: {latency.base.method}." for latency in timed)
    yield ""
    yield from table(HEADINGS, table_rows(comparison))
    answered = answer_rows(comparison)
    if answered:
        yield ""
        yield from table(ANSWER_HEADINGS, answered)
        yield ""
        yield from table(RUN_HEADINGS, [_run_row(arm) for arm in comparison.arms])
    if any(counts.axes for arm in comparison.arms for counts in arm.bias):
        yield ""
        yield from table(BIAS_HEADINGS, bias_rows(comparison))


def _run_row(arm: ArmResult) -> list[str]:
    """One training, whatever became of it."""
    accuracy = next((one for one in arm.answers if one.metric == "accuracy"), None)
    if arm.version is None or accuracy is None or arm.quality is None:
        return [arm.method, f"{arm.seed}", f"failed: {arm.failure}", "", "", "", ""]
    answers = tuple(change // MILLIONTHS for change in accuracy.row_changes)
    interval = change_interval(ClusterChanges(answers, (1,) * len(answers)))
    change = signed(accuracy.after - accuracy.before)
    ends = interval.reason if isinstance(interval, NoInterval) else f"{signed(interval.low)} … {signed(interval.high)}"
    better = sum(change > 0 for change in accuracy.row_changes)
    worse = sum(change < 0 for change in accuracy.row_changes)
    return [
        arm.method,
        f"{arm.seed}",
        f"{arm.version}, entry {arm.log_index}",
        f"{accuracy.before:.3f} → {accuracy.after:.3f}",
        f"{change} ({ends})",
        f"{better}, {worse} of {accuracy.n}",
        f"{arm.quality.before:.3f} → {arm.quality.after:.3f}",
    ]


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
