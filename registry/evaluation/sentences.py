"""An evaluation in a few lines for a terminal: whole data sets only, each figure with its interval or the reason for none."""

from collections.abc import Iterator

from schemas.evaluation import CONTROL_ARMS, EvaluationRecord, Result


def compared_arms(record: EvaluationRecord) -> str:
    """`base → adapted`, `parent → merged`; one name where nothing is compared."""
    return " → ".join(_arms(record))


def result_lines(record: EvaluationRecord) -> Iterator[str]:
    """One line a figure of a whole data set: before, and after where there is one; then what changed, and what each comparison
    may say."""
    arms = _arms(record)
    by_figure: dict[tuple[str, str], dict[str, Result]] = {}
    for one in record.results:
        if one.category is None and one.arm in arms:
            by_figure.setdefault((one.dataset, one.metric), {})[one.arm] = one
    for (dataset, metric), found in by_figure.items():
        values = " → ".join(_value(found[arm]) for arm in arms if arm in found)
        yield f"{dataset:<20} {metric:<28} {values}  n={next(iter(found.values())).n}"
    for loss in record.losses:
        interval = loss.change_ci
        ends = f" [{interval.low:+.4f}, {interval.high:+.4f}]" if interval else f" (no interval: {loss.ci_null_reason})"
        yield f"{loss.dataset:<20} {'loss change':<28} {loss.change:+.4f}{ends}  n={loss.n}"
    for finding in record.findings:
        if finding.category is None:
            said = f"{finding.conclusion.replace('_', ' ')}: {finding.conclusion_reason}"
            yield f"{finding.dataset:<20} {finding.metric:<28} {said}"


def _arms(record: EvaluationRecord) -> list[str]:
    return [arm.name for arm in record.arms if arm.name not in CONTROL_ARMS]


def _value(result: Result) -> str:
    if result.value is None:
        return f"none ({result.null_reason})"
    interval = result.ci_clustered or result.ci
    ends = f" [{interval.low:.4f}, {interval.high:.4f}]" if interval else ""
    return f"{result.value:.4f}{ends}"
