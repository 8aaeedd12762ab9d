"""What a run and an evaluation say, as MLflow's params, metrics and dataset inputs. Pure: values in, values out, no mlflow.

Nothing here is a data row or a path of this machine: a value that looks like an absolute path is cut to its base name.
Names and lengths keep what MLflow's databases can hold.
"""

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from peft_registry.registry.evaluation.extra_figures import recorded_measures
from peft_registry.registry.evaluation.halves import part_text
from peft_registry.registry.evaluation.standing import standing_findings, with_repeated, worst_first
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.evaluation import DatasetUsed, EvaluationRecord
from peft_registry.schemas.facets import HELD_OUT_ANSWERS, HELD_OUT_CLASSES, HELD_OUT_NUMBERS
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.run_points import LOOKED_AT, RunMetricName, RunPoint
from peft_registry.schemas.system_metrics import SystemMetrics
from peft_registry.schemas.values import Value

CURVE = "loss/train"
HELD_OUT = "loss/held_out"
# MLflow draws its charts by the first part of their names, in the order of the alphabet: losses come first
_MEASURED_BIAS = "measured bias"
QUALITY = "quality"  # how right answers are
# a metric beside that of after: two points of one metric would be a line that says nothing
_BEFORE = " before"
SYSTEM = "system/"  # MLflow shows such metrics on a page of their own
LOGGED = "logged/"  # of what somebody else's trainer logged: no name of a script's can be one of ours
MAX_CHARTS = 20  # a reader looks through so many
MAX_KEY = 250  # characters of a param, metric or tag name
MAX_PARAM = 6000
MAX_TAG = 8000  # of a run
MAX_VERSION_TAG = 100_000
MAX_DATASET_NAME = 500
MAX_DATASET_DIGEST = 36  # so a SHA-256 does not fit; the whole one is in the dataset's source

_OF_LOSSES = ("loss", "perplexity")  # metrics of a data set that say nothing of bias
_HELD_OUT_ROWS = "held-out"  # the data set of a run's held-out rows, as evaluations name it
# the data set of a figure of right answers on them
_HELD_OUT_ANSWERS = {
    "accuracy": HELD_OUT_CLASSES,
    "macro_f1": HELD_OUT_CLASSES,
    "exact_match": HELD_OUT_ANSWERS,
    "f1": HELD_OUT_ANSWERS,
    "number_match": HELD_OUT_NUMBERS,
}
_MEASURED: Mapping[RunMetricName, str] = {
    "loss": CURVE,
    "held_out_loss": HELD_OUT,
    "validation_loss": "loss/validation",
    # the curve of the held-out rows is called as its last value in the evaluation and in `registry list`
    **{
        name: f"{QUALITY}/{_HELD_OUT_ANSWERS[figure] if part == 'held_out' else part}.{figure}"
        for name, (part, figure) in LOOKED_AT.items()
        if figure != "loss"
    },
    "learning_rate": "training/learning_rate",
    "gradient_norm": "training/gradient_norm",
    "tokens_per_second": f"{SYSTEM}tokens_per_second",
    "peak_memory_bytes": f"{SYSTEM}peak_memory_bytes",
}
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_\-. /]+")
# "/home/x/y.json", "~/y.json", "file:///y.json", "C:\\x\\y.json": at the start or after what can end a word
_ABSOLUTE = re.compile(
    r"""(?:^|(?<=[\s'"=,(\[]))(?:file://)?(?:~|[A-Za-z]:)?[/\\](?:[^/\\\s'",]*[/\\])*([^/\\\s'",]+)"""
)

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DatasetUse:
    """A data set as MLflow lists it: `digest` is the first 36 hex characters, `source` JSON holds the whole digests."""

    name: str
    digest: str
    context: str
    source: str
    profile: str


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One point of a metric. A `final` one is also shown on the model's page, and found by searching models."""

    key: str
    value: float
    step: int
    at_ms: int
    final: bool = False
    dataset: tuple[str, str] | None = None  # name and digest of a `DatasetUse`


def milliseconds(timestamp: str) -> int:
    """Milliseconds since the epoch of an RFC 3339 time."""
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)


@lru_cache(maxsize=4096)  # a list asks for the same few names in each of thousands of runs
def safe_key(text: str) -> str:
    """`text` with what MLflow does not allow in a name replaced by '_', at most 250 characters.

    What had to be changed ends in the first digits of its SHA-256: no two names become one.
    """
    parts = (_NOT_IN_NAMES.sub("_", part).strip(" .") for part in text.split("/"))
    name = "/".join(part for part in parts if part)
    if name == text and 0 < len(name) <= MAX_KEY:
        return name
    mark = f"-{Digest.of(text.encode()).hex[:8]}"
    return f"{name[: MAX_KEY - len(mark)].rstrip('/ .')}{mark}"


def cut(text: str, limit: int) -> str:
    """`text`, or its beginning and how many characters are left out."""
    if len(text) <= limit:
        return text
    # the longest count leaves room for every shorter one
    kept = limit - len(_left_out(len(text)))
    return text[:kept] + _left_out(len(text) - kept)


def _left_out(characters: int) -> str:
    return f"… ({characters} more characters)"


def without_paths(text: str) -> str:
    """`text` with each absolute path cut to its base name."""
    return _ABSOLUTE.sub(lambda match: match.group(1), text)


def run_params(run: RunRecord) -> Pairs:
    """The resolved configuration, flattened with dots, and what the run ran on; sorted by name."""
    environment = run.environment
    facts: dict[str, Any] = {
        "method": run.method,
        "seed": run.seed,
        "parameters.total": run.parameters_total,
        "parameters.trainable": run.parameters_trainable,
        "environment.device": environment.device,
        "environment.dtype": environment.dtype,
        "environment.processor": environment.processor,
        "environment.threads": environment.threads,
        "environment.python": environment.python,
        **{f"library.{name}": version for name, version in environment.libraries.items()},
    }
    params = {**dict(_flattened(run.config)), **facts}
    return tuple(sorted((safe_key(key), cut(without_paths(_text(value)), MAX_PARAM)) for key, value in params.items()))


def settings_params(settings: Mapping[str, Any]) -> Pairs:
    """The configuration of a run that is under way, as its record will have it; sorted by name."""
    params = dict(_flattened(settings))
    return tuple(sorted((safe_key(key), cut(without_paths(_text(value)), MAX_PARAM)) for key, value in params.items()))


def merge_params(merge: MergeRecord) -> Pairs:
    """What a merge was asked to do, and what went in; sorted by name."""
    facts: dict[str, Any] = {
        "algorithm": merge.algorithm,
        "formula": merge.formula,
        "seed": merge.seed,
        "dtype": merge.dtype,
        "base_policy": merge.base_policy,
        "accepted": merge.accepted.reason if merge.accepted else None,
        # a label ends in its number, so that `_` in the place of the colon makes no two of them equal
        **{f"weight.{part.label.replace(':', '_')}": part.weight for part in merge.ingredients},
        **{f"density.{part.label.replace(':', '_')}": part.density for part in merge.ingredients},
        **{f"library.{name}": version for name, version in merge.environment.libraries.items()},
    }
    params = {key: value for key, value in facts.items() if value is not None}
    return tuple(sorted((safe_key(key), cut(without_paths(_text(value)), MAX_PARAM)) for key, value in params.items()))


def merge_metrics(merge: MergeRecord) -> tuple[MetricPoint, ...]:
    """Both figures, and how much changed."""
    at = milliseconds(merge.finished_at)
    figures = {
        "merge/fold_error": merge.fold_error.kl if merge.fold_error else None,
        "merge/fold_error_limit": merge.fold_error.limit if merge.fold_error else None,
        "merge/distance": merge.distance.kl if merge.distance else None,
        "merge/relative_norm": merge.relative_norm,
        "merge/lost_to_rounding": merge.lost_share,
        "merge/parameters_changed": float(merge.parameters_changed),
        **{f"merge/distance/{policy}": distance.kl for policy, distance in merge.compared.items()},
    }
    return tuple(MetricPoint(key, value, 0, at, final=True) for key, value in figures.items() if value is not None)


def run_datasets(data: Iterable[DataIdentity]) -> tuple[DatasetUse, ...]:
    """One data set a split that was really used; its digest is that of the selected rows."""
    return tuple(
        DatasetUse(
            name=cut(f"{identity.name} ({selection.split})", MAX_DATASET_NAME),
            digest=selection.rows_sha256.hex[:MAX_DATASET_DIGEST],
            context={"train": "training"}.get(selection.split, selection.split),
            source=_json(
                {
                    "file": identity.name,
                    "file_sha256": str(identity.sha256),
                    "rows_sha256": str(selection.rows_sha256),
                }
                | ({} if identity.template_sha256 is None else {"template_sha256": str(identity.template_sha256)})
            ),
            profile=_json({"num_rows": selection.rows, "rows_in_file": identity.rows_total, "rule": selection.rule}),
        )
        for identity in data
        for selection in identity.selections
    )


def evaluation_dataset(used: DatasetUsed) -> DatasetUse:
    """A suite's data, or a half of it, as a data set with the context `evaluation`."""
    part = part_text(used)
    half = "" if part is None else f" ({part})"
    return DatasetUse(
        name=cut(f"{used.name} {used.version}{half}", MAX_DATASET_NAME),
        digest=used.sha256.hex[:MAX_DATASET_DIGEST],
        context="evaluation",
        source=_json({"file": without_paths(used.file), "file_sha256": str(used.sha256), "licence": used.licence}),
        profile=_json({"num_rows": used.rows_used, "rows_in_file": used.rows_total, "rule": used.selection}),
    )


def run_metrics(run: RunRecord) -> tuple[MetricPoint, ...]:
    """The loss curve by step, the held-out loss before (step 0) and after, and every figure of what it used that is known.

    A run record holds no time for each step, so the points of the curve are spread evenly over the run. What it used stands on
    MLflow's page of system metrics, not among the charts.
    """
    start, end = milliseconds(run.started_at), milliseconds(run.finished_at)
    last = last_step(run)
    curve = tuple(
        MetricPoint(CURVE, value, step, start + (end - start) * step // max(last, 1))
        for step, value in zip(run.curve.steps, run.curve.loss, strict=True)
    )
    before = _number(run.loss_before)
    baseline = () if before is None or last == 0 else (MetricPoint(f"{HELD_OUT}{_BEFORE}", before, 0, start),)
    figures = (
        (HELD_OUT, run.loss_after),
        *((f"{SYSTEM}{name}", value) for name, value in sorted(run.compute) if isinstance(value, Value)),
    )
    return (
        *curve,
        *baseline,
        *(
            MetricPoint(key, number, last, end, final=True)
            for key, envelope in figures
            if (number := _number(envelope)) is not None
        ),
    )


def measured_points(points: Iterable[RunPoint]) -> tuple[MetricPoint, ...]:
    """What a training measured step by step, whether it is under way or signed: each at the time at which it was measured.

    A run under way and the run that is registered of it give their metrics the same names.
    """
    return tuple(
        MetricPoint(key, value, point.step, round(point.at * 1000))
        for point in points
        for key, value in (
            *((_MEASURED[name], value) for name, value in sorted(point.values.items())),
            *((safe_key(f"{LOGGED}{name}"), value) for name, value in sorted(point.logged.items())),
        )
    )


def system_metrics(metrics: SystemMetrics) -> tuple[MetricPoint, ...]:
    """How busy the machine was, by step and each at the time at which it was read: MLflow's page of system metrics draws them."""
    return tuple(
        MetricPoint(f"{SYSTEM}{name}", value, sample.step, round(sample.at * 1000))
        for sample in metrics.samples
        for name, value in sorted(sample.values.items())
    )


def loss_change(run: RunRecord) -> str | None:
    """The held-out loss before and after, `2.412 → 1.871`; None where one of them is unknown."""
    before, after = _number(run.loss_before), _number(run.loss_after)
    return None if before is None or after is None else f"{before:.4g} → {after:.4g}"


def last_step(run: RunRecord | None) -> int:
    """The step under which final figures are shown."""
    return max(run.curve.steps, default=0) if run else 0


def evaluation_metrics(record: EvaluationRecord, step: int) -> tuple[MetricPoint, ...]:
    """Figures over whole data sets: `measured bias/<data set>.<metric>`, of answers `quality/<data set>.<metric>`, and
    `loss/<data set>`; after at `step`, before beside it. The held-out loss has the name of its curve.

    Figures of groups, of arms besides the two that are compared, and the outcomes of the comparison are in the tables only.
    """
    at = milliseconds(record.created_at)
    datasets = {used.name: evaluation_dataset(used) for used in record.datasets}
    after = "merged" if any(arm.name == "merged" for arm in record.arms) else "adapted"
    arms = {finding.dataset: (finding.before, finding.after) for finding in reversed(record.findings)}

    def point(dataset: str, key: str, value: float, *, is_after: bool) -> MetricPoint:
        used = datasets.get(dataset)
        bound = (used.name, used.digest) if used else None
        if is_after:
            return MetricPoint(safe_key(key), value, step, at, final=True, dataset=bound)
        return MetricPoint(safe_key(f"{key}{_BEFORE}"), value, 0, at, dataset=bound)

    answers = {measure.get("dataset") for measure in recorded_measures(record)}
    results = []
    for result in record.results:
        before_arm, after_arm = arms.get(result.dataset, ("base", after))
        is_shown = result.category is None and result.metric not in _OF_LOSSES
        if is_shown and result.value is not None:
            key = f"{_MEASURED_BIAS}/{result.dataset}.{result.metric}"
            if result.dataset in answers:
                key = f"{QUALITY}/{result.dataset}.{result.metric}"
            if result.arm == after_arm:
                results.append(point(result.dataset, key, result.value, is_after=True))
            elif result.arm == before_arm and step > 0:
                results.append(point(result.dataset, key, result.value, is_after=False))
    losses = (
        point(loss.dataset, _loss_key(loss.dataset), value, is_after=is_after)
        for loss in record.losses
        for value, is_after in ((loss.after, True), *(((loss.before, False),) if step > 0 else ()))
    )
    # what comes first is shown where there are more metrics than charts: losses, then each figure beside that of before
    by_name = sorted(results, key=lambda point: (not point.key.startswith(QUALITY), point.key.removesuffix(_BEFORE)))
    return _each_once((*losses, *by_name))


def standing_metrics(newest_first: Sequence[EvaluationRecord], step: int) -> tuple[MetricPoint, ...]:
    """The points of every evaluation that stands.

    A metric of MLflow holds a figure a step. Where a later evaluation counted other rows of the same suite, the earlier keeps
    the name and the later stands beside it under its own digest, so that no chart loses what was shown first.
    """
    points: list[MetricPoint] = []
    taken: set[str] = set()
    for record, standing in reversed(tuple(zip(newest_first, _without_repeated(newest_first), strict=True))):
        own = evaluation_metrics(standing, step)
        mark = f"/evaluation {record.canonical_digest().hex[:8]}"
        points += [
            dataclasses.replace(point, key=safe_key(point.key + mark)) if point.key in taken else point
            for point in own
            if point.key not in _OF_THE_RUN or point.key not in taken
        ]
        taken |= {point.key for point in own}
    return _each_once(points)


def charted(points: Iterable[MetricPoint]) -> tuple[MetricPoint, ...]:
    """The points that MLflow is given, by step: the first 20 metrics, because it draws a chart for each, and all of `system/`.

    What is left out stands in the tables of the run. What is shown once is never left out for what comes later.
    """
    once = _without_line_of_two(_each_once(points))
    keys = list(dict.fromkeys(point.key for point in once if not point.key.startswith(SYSTEM)))
    left_out = frozenset(keys[MAX_CHARTS:])
    return tuple(sorted((point for point in once if point.key not in left_out), key=lambda point: point.step))


def with_bars(points: Sequence[MetricPoint]) -> tuple[MetricPoint, ...]:
    """The points, those that are all of their metric at step 0: MLflow draws such a one as a bar, and at any other step as a dot.

    Not of a run under way, whose curves begin with one point.
    """
    counts = Counter(point.key for point in points)
    return tuple(
        dataclasses.replace(point, step=0) if point.step and counts[point.key] == 1 else point for point in points
    )


def _without_line_of_two(points: Sequence[MetricPoint]) -> tuple[MetricPoint, ...]:
    """The points without the first of a held-out loss that was measured before and after alone: that of before has a metric."""
    held_out = [point for point in points if point.key == HELD_OUT]
    has_before = any(point.key == f"{HELD_OUT}{_BEFORE}" for point in points)
    if not has_before or len(held_out) != 2:
        return tuple(points)
    first = min(held_out, key=lambda point: point.step)
    return tuple(point for point in points if point is not first)


def _without_repeated(newest_first: Sequence[EvaluationRecord]) -> list[EvaluationRecord]:
    """The evaluations without those figures that a later one counted again."""
    results = [suites for _, suites in with_repeated(newest_first, "metrics")]
    findings = [suites for _, suites in with_repeated(newest_first, "bias")]
    losses = [suites for _, suites in with_repeated(newest_first, "delta")]
    return [
        record.revised(
            results=tuple(row for row in record.results if row.dataset not in repeated_results),
            comparisons=tuple(row for row in record.comparisons if row.dataset not in repeated_findings),
            losses=tuple(row for row in record.losses if row.dataset not in repeated_losses),
        )
        for record, repeated_results, repeated_findings, repeated_losses in zip(
            newest_first, results, findings, losses, strict=True
        )
    ]


def conclusions(newest_first: Sequence[EvaluationRecord]) -> tuple[tuple[str, str], ...]:
    """(data set and metric, conclusion) of each comparison over a whole data set that stands, the worst first.

    Of several evaluations each says on how many items.
    """
    return tuple(
        (
            f"{finding.dataset}.{finding.metric}",
            finding.conclusion if len(newest_first) == 1 else f"{finding.conclusion} ({finding.n} items)",
        )
        for finding in worst_first(standing_findings(newest_first))
    )


def bias_status(newest_first: Sequence[EvaluationRecord], recorded: int) -> str:
    """Every conclusion that stands, the worst first, and of how many evaluations.

    Args:
        newest_first: the evaluations that stand.
        recorded: how many there are, those included that do not speak of this version or that were made again.
    """
    if not newest_first:
        return "not evaluated" if not recorded else f"not evaluated: {recorded} recorded, none of what is registered"
    parts = [f"{conclusion}: {figure}" for figure, conclusion in conclusions(newest_first)]
    several = () if len(newest_first) == 1 else (f"{len(newest_first)} evaluations",)
    return "; ".join([*parts, *several]) or "not compared"


_OF_THE_RUN = (HELD_OUT, f"{HELD_OUT}{_BEFORE}")  # what the run measured itself, no evaluation measures in its place


def _loss_key(dataset: str) -> str:
    """The held-out loss has one name, whether the run or an evaluation recorded it."""
    return HELD_OUT if dataset == _HELD_OUT_ROWS else f"loss/{dataset}"


def _each_once(points: Iterable[MetricPoint]) -> tuple[MetricPoint, ...]:
    """The first point of each key and step: names that differ only in what MLflow refuses would overwrite each other."""
    first: dict[tuple[str, int], MetricPoint] = {}
    for point in points:
        first.setdefault((point.key, point.step), point)
    return tuple(first.values())


def _number(envelope: Value) -> float | None:
    """The finite number in an envelope; counts beyond 2^53 are text by schema."""
    if isinstance(envelope.value, bool) or not isinstance(envelope.value, int | float | str):
        return None
    try:
        number = float(envelope.value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _flattened(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _flattened(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _text(value: Any) -> str:  # any JSON value
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:  # any JSON value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
