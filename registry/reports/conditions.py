"""Under which conditions the figures of a report came about: what an auditor asks before reading one of them.

Pure, over records. What a record does not say is said to be unknown, and never taken for the better answer.
"""

from collections.abc import Iterable, Iterator, Sequence

from peft_registry.registry.evaluation.leakage import leakage_status
from peft_registry.registry.evaluation.limits import not_planned, readable_verdicts
from peft_registry.registry.evaluation.recheck import UnusablePlan, tries_of
from peft_registry.registry.reports.text import whole
from peft_registry.schemas.evaluation import CONTROL_ARMS, DatasetUsed, EvaluationRecord


def condition_lines(records: Sequence[EvaluationRecord]) -> tuple[str, ...]:
    """Which items, whether they were trained on, among how many tries, with limits set when, and in which numbers; empty without
    a comparison.

    Args:
        records: the evaluations that stand, newest first.
    """
    compared = [record for record in records if record.findings]
    if not compared:
        return ()
    return (
        _in_one_line("Items", (line for record in compared for line in _items(record))),
        _in_one_line(
            "Found in what was trained on",
            (part for record in compared for part in leakage_status(record.leakage_check)),
        ),
        _in_one_line("Tries", map(_tries, compared)),
        _in_one_line("Limits set by a policy", _limits(compared)),
        _in_one_line("Scored in", map(_numbers, compared)),
    )


def _in_one_line(name: str, parts: Iterable[str]) -> str:
    return f"{name}: {'; '.join(dict.fromkeys(parts))}."


def _items(record: EvaluationRecord) -> Iterator[str]:
    compared = {finding.dataset for finding in record.findings}
    for used in record.datasets:
        if used.name in compared:
            yield f"{used.name}, {_chosen(used)}"


def _chosen(used: DatasetUsed) -> str:
    """`the whole suite, 224 rows`; `the test half, 160 of 224 rows, whole clusters by digest`, as the record has it."""
    if used.selection != "all":
        return used.selection
    left_out = used.rows_total - used.rows_used
    rest = f" ({whole(left_out)} more are left out: {'; '.join(used.left_out_because)})" if left_out > 0 else ""
    return f"the whole suite, {whole(used.rows_used)} rows{rest}"


def _tries(record: EvaluationRecord) -> str:
    """How many seeds were begun; those that were begun later are counted where something is called better."""
    try:
        tries = tries_of(record)
    except UnusablePlan:
        return "unknown, the record's count cannot be read"
    others = f" ({tries.others_said})" if tries.others else ""
    if tries.seeds == 1:
        return f"when it was scored no other seed of the same plan had been begun{others}"
    return f"{tries}{others}"


def _limits(records: Sequence[EvaluationRecord]) -> Iterator[str]:
    """Of each data set whether limits were set, and whether that was before its items were first scored."""
    limited: set[str] = set()
    for record in records:
        why = not_planned(record)
        for dataset in dict.fromkeys(verdict.dataset for verdict in readable_verdicts(record)):
            limited.add(dataset)
            when = "set before the first score" if why is None else f"not set beforehand, {why}"
            yield f"those for {dataset} were {when}"
    compared = dict.fromkeys(finding.dataset for record in records for finding in record.findings)
    without = [dataset for dataset in compared if dataset not in limited]
    if without:
        yield f"none for {', '.join(without)}"


def _numbers(record: EvaluationRecord) -> str:
    """The numbers that the models were scored in, which are not those that they were trained in."""
    scored = [arm.composition for arm in record.arms if arm.name not in CONTROL_ARMS]
    types = ", ".join(dict.fromkeys(composition.dtype for composition in scored))
    quantised = tuple(dict.fromkeys(composition.quantisation for composition in scored if composition.quantisation))
    of_base = f" (a base held in {', '.join(quantised)})" if quantised else ""
    return f"{types}{of_base}, softmax in {record.numerics.softmax_dtype}, on {record.numerics.device}"
