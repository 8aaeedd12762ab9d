"""What a recorded evaluation may be called now that more seeds of its plan were begun, or words have another rule. Pure.

A record says what was concluded among the seeds that had been begun when it was made, and stays as it was signed. What is shown
of it is judged among all that were begun since: whoever evaluates the first seed and then trains nine more has ten.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from peft_registry.registry.evaluation.aggregate import FIGURES, aggregate
from peft_registry.registry.evaluation.conclusions import conclusion_among
from peft_registry.registry.evaluation.items import read_items
from peft_registry.registry.evaluation.praise import Tries
from peft_registry.registry.evaluation.recheck import newest_plan_of, plan_of, tries_of
from peft_registry.schemas.codes import Said, code, together
from peft_registry.schemas.evaluation import Comparison, EvaluationRecord

_Which = tuple[str, str, str | None, str, str]


def praises(record: EvaluationRecord) -> bool:
    """Whether a comparison of the record is called better."""
    return any(comparison.conclusion == "better" for comparison in record.findings)


def judged_among(record: EvaluationRecord, tries: Tries, items: bytes | None = None) -> EvaluationRecord:
    """The record as it reads among the seeds that were begun by now; for showing, because its digest is another.

    Only what it calls better is judged again, and only where more were begun than it counted.

    Args:
        record: an evaluation.
        tries: what was begun by now.
        items: bytes of its item table; without them p alone decides, and not the interval at the level for so many.

    Raises:
        UnusablePlan: the record does not say how its figures were computed.
        MalformedItems, UnpairedItems: the table is not what was recorded.
    """
    counted = tries_of(record)
    if not praises(record) or (tries.seeds <= counted.seeds and tries.others <= counted.others):
        return record
    recomputed = {} if items is None or tries.seeds <= counted.seeds else _recomputed(record, tries, items)
    comparisons = (
        _judged(comparison, recomputed.get(_which(comparison)), counted, tries)
        if comparison.conclusion == "better"
        else comparison
        for comparison in record.comparisons
    )
    return record.revised(comparisons=tuple(comparisons))


def unjudged(record: EvaluationRecord, why: Said) -> EvaluationRecord:
    """The record as it reads where nobody can say how many seeds were begun by now: none of it is called better."""
    comparisons = (
        comparison.revised(
            conclusion="inconclusive",
            conclusion_reason=code("seeds_begun_since_unknown", said=comparison.conclusion_reason, why=why),
        )
        if comparison.conclusion == "better"
        else comparison
        for comparison in record.comparisons
    )
    return record.revised(comparisons=tuple(comparisons))


def changed_conclusions(signed: Iterable[EvaluationRecord], judged: Iterable[EvaluationRecord]) -> Iterator[str]:
    """What is no longer called better, in a sentence each, for whoever reads the records as they were signed.

    Args:
        signed: evaluations as they were signed.
        judged: the same as they read now, in the same order.
    """
    for before, now in zip(signed, judged, strict=True):
        for comparison, again in zip(before.comparisons, now.comparisons, strict=True):
            if comparison.conclusion != again.conclusion:
                group = f" in the group {comparison.category}" if comparison.category else ""
                yield (
                    f"{comparison.dataset}{group}: signed as `{comparison.conclusion}`, "
                    f"and now {again.conclusion.replace('_', ' ')}: {again.conclusion_reason}"
                )


def words_by_newest_edition(record: EvaluationRecord, items: bytes) -> Iterator[str]:
    """What the newest edition of the figures calls the data sets of an evaluation by an earlier one, where that is another word.

    Args:
        record: an evaluation, as it was signed.
        items: bytes of its item table.

    Raises:
        UnusablePlan: the record does not say how its figures were computed.
        MalformedItems, UnpairedItems: the table is not what was recorded.
    """
    if record.figures_edition >= FIGURES:
        return
    figures = aggregate(read_items(items), newest_plan_of(record))
    today = {_which(comparison): comparison for comparison in figures.comparisons}
    for finding in record.findings:
        again = today.get(_which(finding))
        if again is not None and finding.category is None and again.conclusion != finding.conclusion:
            yield (
                f"{finding.dataset}: signed as `{finding.conclusion}` by an earlier edition of the figures, by the newest "
                f"{again.conclusion.replace('_', ' ')}: {again.conclusion_reason}"
            )


def _recomputed(record: EvaluationRecord, tries: Tries, items: bytes) -> Mapping[_Which, Comparison]:
    """The comparisons that the items give among so many tries."""
    figures = aggregate(read_items(items), replace(plan_of(record), tries=tries))
    return {_which(comparison): comparison for comparison in figures.comparisons}


def _judged(recorded: Comparison, recomputed: Comparison | None, counted: Tries, tries: Tries) -> Comparison:
    """A comparison that was called better, with what it is called now and why."""
    reason = recorded.conclusion_reason
    conclusion = recorded.conclusion
    if tries.seeds > counted.seeds:
        since = tries.seeds - counted.seeds
        if recomputed is not None:
            conclusion = recomputed.conclusion
            now = recomputed.conclusion_reason
        else:
            conclusion, now = conclusion_among(recorded, tries), code("now_among", said=reason, tries=tries.said)
        if conclusion == "better":
            reason = code("still_better", said=now, since=since)
        else:
            reason = code("no_longer_better", said=now, since=since)
    if conclusion == "better" and tries.others_said is not None:
        reason = together((reason, tries.others_said))
    return recorded.revised(conclusion=conclusion, conclusion_reason=reason)


def _which(comparison: Comparison) -> _Which:
    return comparison.dataset, comparison.metric, comparison.category, comparison.before, comparison.after
