"""The page of every suite before and after one run, from the records that `docs/measured/suites.sh` keeps. No figure is typed."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from docs.tables import table
from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.registry.evaluation.halves import NOT_SELECTED
from peft_registry.registry.evaluation.sentences import as_read
from peft_registry.registry.evaluation.states import STATES
from peft_registry.registry.reports.text import number, share, signed
from peft_registry.registry.reports.wording import (
    NO_CLAIM,
    arm_name,
    comparison_sentence,
    conclusion_text,
    interval_text,
    loss_sentence,
)
from peft_registry.schemas.codes import in_words
from peft_registry.schemas.evaluation import (
    CONTROL_ARMS,
    ITEMS_FOR_A_CLAIM,
    Comparison,
    DatasetUsed,
    EvaluationRecord,
    Guards,
    Interval,
    Result,
    State,
)
from peft_registry.trainer.evaluation.suites import SuiteDefinition, suites

NONE = "none"
COMPARED = (
    *("compared", "arm", "n", "flagged", "left", "entered", "opposite left", "opposite entered"),
    *("flagged share", "opposite share", "margin change", "p", "says"),
)
HEAD = f"""\
# Every suite before and after one LoRA run

Generated from `docs/measured/suites-smollm2.jsonl`, which `docs/measured/suites.sh` makes: SmolLM2-135M-Instruct, and a LoRA
trained on grade-school arithmetic ([the file](../measured/suites-lora.yml)). It was meant to teach arithmetic, not to change a
preference: the question is what it did to one on the way. What each figure measures, where it is neutral and what is known
against it: [figures of an evaluation](../compliance/bias-metrics.md).

How to read it: `base` and `adapted` are scored on the same items from the same loaded weights. Beside them stand two controls:
`noise` is the base scored again in another order, `placebo` the adapter turned at random with its size kept. A change that the
placebo makes as well says nothing about what was learned. Intervals are 95 %, resampled over templates where items share them.
*Left* and *entered* count the items that were flagged and are not, and the other way round; of the opposite likewise. Shares
change by entered less left, in points of all items; below 0 fewer are flagged. The p is of sign flips of whole templates, of a
group after Holm; `none` where the primary endpoint is not significant, or where too few templates moved.
"Inconclusive" does not mean that nothing changed, and "not informative" that the model is at chance on the suite's own control
question, or that there are too few items. Rows drawn by a seed say so; groups are shown from {ITEMS_FOR_A_CLAIM} items on.
Figures of different suites do not compare. {NO_CLAIM}
"""

OLDER = """\
**The records are of edition {older} of the figures, and edition {today} judges otherwise.** Their tests set repaired items against
introduced ones and left out those that were turned round, so their words and p are not shown. The counts follow from the matrices,
which every edition has. To judge them again takes the items, which are not kept here: `docs/measured/suites.sh` scores them anew.
"""


def suites_page(path: Path) -> str:
    """The page, from a file with one evaluation record a line."""
    lines = [HEAD]
    records = [EvaluationRecord.from_json(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    lines += _editions(records)
    lines += _run(records)
    known = suites()
    placed = [
        (list(known).index(data.name), data, record)
        for record in records
        for data in record.datasets
        if data.name in known and any(one.dataset == data.name for one in record.results)
    ]
    for _, data, record in sorted(placed, key=lambda one: one[0]):
        lines += _suite(known[data.name].definition, data, record, records[0])
    return "\n".join(lines).rstrip("\n") + "\n"


def _editions(records: Iterable[EvaluationRecord]) -> Iterator[str]:
    """That records are older than the figures of today, if they are, and what of them is shown then."""
    older = sorted({edition for record in records if (edition := _edition(record)) != FIGURES})
    if older:
        yield OLDER.format(older=" and ".join(map(str, older)), today=FIGURES)


def _edition(record: EvaluationRecord) -> int:
    """Of the figures of a record."""
    return int(record.extra["statistics"]["figures"])


def _run(records: Iterable[EvaluationRecord]) -> Iterator[str]:
    """What was trained and how it was scored."""
    first, *_ = records
    arms = _compositions(first)
    numerics = first.numerics
    libraries = ", ".join(f"{name} {numerics.libraries[name]}" for name in ("torch", "transformers", "peft"))
    yield from (f"- {one.dataset}: loss {loss_sentence(one)} in nats per token." for one in first.losses)
    yield f"- Compositions: base {arms['base']}, adapted {arms['adapted']}."
    yield f"- Scored in {numerics.softmax_dtype} on {numerics.device} ({numerics.device_name}), {libraries}."
    yield ""


def _compositions(record: EvaluationRecord) -> dict[str, str]:
    """The digest of what was scored before and after."""
    return {one.name: one.composition_digest.short for one in record.arms if one.name in ("base", "adapted")}


def _suite(
    definition: SuiteDefinition, data: DatasetUsed, record: EvaluationRecord, first: EvaluationRecord
) -> Iterator[str]:
    yield f"## {definition.title}"
    yield ""
    yield f"`{data.name}`: {_rows(data)}; licence {data.licence}; {data.file}, {data.sha256}."
    bands = [
        f"{key.removeprefix(f'{data.name}.').replace('_', ' ')} {number(band.lo)} … {number(band.hi)}"
        for key, band in record.protocol.thresholds.items()
        if key.startswith(f"{data.name}.")
    ]
    yield f"Primary endpoint: {definition.primary_endpoint}. Dead band: {', '.join(bands)}."
    if _compositions(record) != _compositions(first):
        again = ", ".join(f"{name} {digest}" for name, digest in _compositions(record).items())
        yield f"The same file was trained once more for this suite; its compositions: {again}."
    yield ""
    arms = [arm.name for arm in record.arms]
    yield from table(["figure", "neutral at", *arms, "n"], _figures(definition, data, record))
    yield ""
    compared = [one for one in record.comparisons if one.dataset == data.name]
    findings = [one for one in record.findings if one.dataset == data.name]
    for one in findings:
        if one.category is None:
            yield from _matrix(one)
    yield from table(
        COMPARED,
        [_compared(one, is_of_today=_edition(record) == FIGURES) for one in compared],
    )
    for one in findings:
        if one.category is None and _edition(record) == FIGURES:
            yield from _moves(one, record)
    yield ""
    yield f"Guards: {_guards(record.guards)}"
    yield ""


_NOT_SELECTED = str(NOT_SELECTED)


def _rows(data: DatasetUsed) -> str:
    left_out = [f"{count} {reason}" for reason, count in data.left_out_because.items() if reason != _NOT_SELECTED]
    rows = f"{data.selection} {data.rows_used} rows" if data.selection == "all" else data.selection
    return "; left out: ".join([rows, *([", ".join(left_out)] if left_out else [])])


def _figures(definition: SuiteDefinition, data: DatasetUsed, record: EvaluationRecord) -> Iterator[list[str]]:
    neutral = {one.name: one.neutral for one in definition.figures}
    found: dict[str, dict[str, Result]] = {}
    for one in record.results:
        if one.dataset == data.name and one.category is None:
            found.setdefault(one.metric, {})[one.arm] = one
    for name, by_arm in found.items():
        where = neutral.get(name)
        cells = [_value(by_arm.get(arm.name)) for arm in record.arms]
        yield [f"`{name}`", NONE if where is None else number(where), *cells, str(next(iter(by_arm.values())).n)]


def _value(result: Result | None) -> str:
    if result is None:
        return ""
    if result.value is None:
        return f"{NONE}: {as_read(result.null_reason)}"
    return number(result.value) + _ends(result.ci_clustered or result.ci)


def _compared(one: Comparison, *, is_of_today: bool) -> list[str]:
    """The row of a comparison. What left and entered a state follows from the matrix, which every edition has; intervals, p and the
    word of an older edition belong to another test, and are left out."""
    what = one.metric.replace("_", " ") if one.category is None else f"{one.metric.replace('_', ' ')}, {one.category}"
    flagged, opposite = (_left_and_entered(one, state) for state in ("stereo", "inverted"))
    ends = (one.net_change_interval, None if one.opposite is None else one.opposite.ci) if is_of_today else (None, None)
    margin = "" if one.mean_margin_change is None else signed(one.mean_margin_change) + _ends(one.mean_margin_change_ci)
    p = one.test.p_holm if is_of_today and one.test is not None else None
    return [
        *(what, one.after, str(one.n), str(one.flagged)),
        *map(str, (*flagged, *opposite)),
        _points((flagged[1] - flagged[0]) / one.n, ends[0]),
        _points((opposite[1] - opposite[0]) / one.n, ends[1]),
        margin,
        NONE if p is None else number(p, 2),
        _word(one, is_of_today=is_of_today),
    ]


def _left_and_entered(one: Comparison, state: State) -> tuple[int, int]:
    matrix = one.transition_matrix
    stayed = matrix[state][state]
    return sum(matrix[state].values()) - stayed, sum(row[state] for row in matrix.values()) - stayed


def _word(one: Comparison, *, is_of_today: bool) -> str:
    if one.after in CONTROL_ARMS:
        return "control"
    return conclusion_text(one) if is_of_today else "not judged"


def _points(change: float, interval: Interval | None) -> str:
    ends = "" if interval is None else f" ({signed(100 * interval.low, 2)} … {signed(100 * interval.high, 2)})"
    return signed(100 * change, 2) + ends


def _matrix(one: Comparison) -> Iterator[str]:
    """What became of the items: the transition matrix."""
    rows = [[f"{before} before", *(str(one.transition_matrix[before][after]) for after in STATES)] for before in STATES]
    yield from table([one.metric.replace("_", " "), *(f"{state} after" for state in STATES)], rows)
    yield ""


def _moves(one: Comparison, record: EvaluationRecord) -> Iterator[str]:
    """The sentence of the report, and what is left after the control."""
    yield ""
    yield f"{one.metric.replace('_', ' ').capitalize()}: {comparison_sentence(one, record)}"
    further = record.extra["further"]["comparisons"]
    beyond = next((each["beyond_control"] for each in further if _is_about(each, one)), None)
    if beyond is not None and beyond["fix_rate_difference"] is not None:
        ends = as_read(in_words(beyond["null_reason"])) or f"{share(beyond['low'])} … {share(beyond['high'])}"
        difference = share(beyond["fix_rate_difference"])
        yield f"Fix rate less that of {arm_name(beyond['control'])}, on the same items: {difference} ({ends})."


def _is_about(further: dict[str, object], one: Comparison) -> bool:
    return (further["dataset"], further["metric"]) == (one.dataset, one.metric)


def _guards(guards: Guards) -> str:
    pairs = (
        ("loss of everyday sentences", guards.neutral_loss_before, guards.neutral_loss_after),
        ("lms", guards.lms_before, guards.lms_after),
        ("acc_disambig", guards.acc_disambig_before, guards.acc_disambig_after),
    )
    shown = [
        f"{name} {number(before)} → {number(after)}"
        for name, before, after in pairs
        if before is not None and after is not None
    ]
    if guards.both_options_less_likely_share is not None:
        shown.append(f"both options less likely in {share(guards.both_options_less_likely_share)} of the items")
    lost = (
        "lost capability: fewer flagged items would not be called better"
        if guards.confounded
        else "no sign of lost capability"
    )
    return f"{'; '.join(shown)}; {lost}."


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f" ({interval_text(interval).removeprefix('95 % interval ')})"
