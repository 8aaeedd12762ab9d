"""Recompute an evaluation from its item table: every figure, interval, p-value, conclusion and digest, without the model.

Counts and codes must be equal; numbers to 1 in 10^9, because the last bit of a logarithm differs between machines. Records of
editions before there were codes say in text why and how: it is held as data, and no figure depends on it. Later ones hold codes,
and text in the place of one is a discrepancy.
Whether the items themselves are true is another question, answered by scoring again within `tolerance`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import ValidationError

from peft_registry.registry.evaluation.aggregate import (
    ACC_DISAMBIG,
    FIGURES,
    LMS_POINTS,
    NEUTRAL_LOSS_RATIO,
    EvaluationFigures,
    StatisticsPlan,
    UnpairedItems,
    aggregate,
    threshold_key,
)
from peft_registry.registry.evaluation.choices import chosen_otherwise, fixed_statistics
from peft_registry.registry.evaluation.comparisons import ids_digest
from peft_registry.registry.evaluation.directions import MARGIN
from peft_registry.registry.evaluation.extra_figures import FURTHER, further_figures
from peft_registry.registry.evaluation.families import FAMILIES
from peft_registry.registry.evaluation.halves import outside_half, screens_of
from peft_registry.registry.evaluation.items import MalformedItems, TableRow, describe_items, read_items
from peft_registry.registry.evaluation.leakage import LEFT_OUT, leaked_of, left_out_of, left_out_of_table
from peft_registry.registry.evaluation.limits import judge, limits_of, not_planned, verdicts_of
from peft_registry.registry.evaluation.noise import NOISE, NoiseBounds, floors_json
from peft_registry.registry.evaluation.power import DETECTABLE, stated_changes
from peft_registry.registry.evaluation.praise import ONE_TRY, Tries, own_bands_of, reserved_of
from peft_registry.registry.evaluation.readings import MILLIONTHS, Reading, decimal_text
from peft_registry.registry.evaluation.states import UnusableThreshold, state_of
from peft_registry.registry.evaluation.statistics import DEFAULT_DRAWS
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.codes import Code, Said, unknown_word
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.evaluation import (
    LIMITS,
    PLAN,
    STATISTICS,
    TASKS,
    ArmName,
    EvaluationRecord,
    LeakageCheck,
    Threshold,
)
from peft_registry.schemas.identity import Digest

TRIES = "tries"  # in it: how many seeds of the same training were begun, where there were several
_RELATIVE = 1e-9
_MAX_TRIES = 1_000_000
_NAMING = ("dataset", "metric", "category", "before", "after", "arm")
_MAX_DRAWS = 1_000_000  # a record asking for more would only keep the checker busy
_CLOSED_DRAWS = 2  # the fewest that a bootstrap takes, where its intervals are not looked at
# follow from intervals that were drawn
_OF_DRAWS = frozenset({"ci_null_reason", "conclusion", "conclusion_reason", "decision", "reason"})
_OF_DRAWS_FURTHER = frozenset({"low", "high", "null_reason"})


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One figure that is not what the items give; both sides as text."""

    figure: str
    recorded: str
    recomputed: str

    def __str__(self) -> str:
        return f"{self.figure}: recorded {self.recorded}, recomputed {self.recomputed}"


class EvaluationAltered(IntegrityBroken):
    what = "the evaluation does not follow from its items: {discrepancies[0].figure}"
    why = "recorded {discrepancies[0].recorded}, recomputed {discrepancies[0].recomputed}{others}"
    fix = "do not rely on it; fetch record and items again from the registry, or evaluate again"

    discrepancies: tuple[Discrepancy, ...]

    @property
    def others(self) -> str:
        count = len(self.discrepancies) - 1
        return f"; and {count} more" if count else ""


class UnusablePlan(IntegrityBroken):
    reference = "unusable-evaluation-plan"
    what = "the evaluation does not say how its figures were computed"
    why = "{reason}"
    fix = "fetch the record again from the registry, or evaluate again"

    reason: str


def recheck(record: EvaluationRecord, items: bytes) -> tuple[Discrepancy, ...]:
    """What the record says and the item table does not; empty if everything follows.

    Args:
        record: the evaluation.
        items: bytes of its item table, as presented.
    """
    return _recheck(record, items, _Comparison(text_is_data=not record.says_codes), lambda plan: plan)


def recheck_closed_forms(record: EvaluationRecord, items: bytes) -> tuple[Discrepancy, ...]:
    """The same without what was drawn at random: intervals of a bootstrap, and what is concluded from them.

    Args:
        record: the evaluation.
        items: bytes of its item table, as presented.
    """
    compare = _Comparison(text_is_data=not record.says_codes, leaves_draws_out=True)
    return _recheck(record, items, compare, lambda plan: replace(plan, draws=_CLOSED_DRAWS))


def bootstrap_work(record: EvaluationRecord, items: bytes) -> int:
    """The work of computing a record's intervals again: rows of the item table, times draws where they are drawn.

    Raises:
        UnusablePlan: the record does not say how often it drew.
    """
    plan = plan_of(record)
    return items.count(b"\n") * (plan.draws if plan.interval_rule.is_drawn else 1)


def is_of_later_edition(record: EvaluationRecord) -> bool:
    """Whether a later release computed the figures, by rules that this one does not know."""
    return record.figures_edition > FIGURES


@dataclass(frozen=True, slots=True)
class _Comparison:
    """How two JSON values, as recorded and as recomputed, are held against each other.

    Attributes:
        text_is_data: text in the place of a code is that of an edition before there were codes, and nothing is asked of it.
        leaves_draws_out: intervals of a bootstrap, and what is concluded from them, are not looked at.
    """

    text_is_data: bool = False
    leaves_draws_out: bool = False

    def __call__(self, name: str, recorded: Any, recomputed: Any) -> Iterator[Discrepancy]:  # any JSON values
        if self.text_is_data and isinstance(recorded, str) and _is_said(recomputed):
            return
        if self.leaves_draws_out and (_is_drawn(recomputed) or (recomputed is None and _is_drawn(recorded))):
            return
        if _holds_other_code(recorded, recomputed):
            yield Discrepancy(name, str(recorded), str(recomputed))
        elif isinstance(recorded, Mapping) and isinstance(recomputed, Mapping):
            for key in sorted((recorded.keys() | recomputed.keys()) - self._left_out(recomputed)):
                yield from self(f"{name}.{key}", recorded.get(key, "absent"), recomputed.get(key, "absent"))
        elif isinstance(recorded, list) and isinstance(recomputed, list) and len(recorded) == len(recomputed):
            for place, (stated, follows) in enumerate(zip(recorded, recomputed, strict=True)):
                yield from self(f"{name}[{place}]", stated, follows)
        elif not _equal(recorded, recomputed):
            yield Discrepancy(name, str(recorded), str(recomputed))

    def _left_out(self, recomputed: Mapping[str, Any]) -> frozenset[str]:
        if not self.leaves_draws_out:
            return frozenset()
        # a closed interval has a method and keeps its ends
        return _OF_DRAWS if "method" in recomputed else _OF_DRAWS | _OF_DRAWS_FURTHER


_compare = _Comparison()


def _recheck(
    record: EvaluationRecord, items: bytes, compare: _Comparison, narrowed: Callable[[StatisticsPlan], StatisticsPlan]
) -> tuple[Discrepancy, ...]:
    discrepancies: list[Discrepancy] = []
    try:
        table = read_items(items)
        plan = narrowed(plan_of(record))
        _require_bands(record, table)
        # a row or figure names what was edited; the digests below say only that something was
        discrepancies += [*_rows(record, table), *_datasets(record, table)]
        figures = aggregate(table, plan)
        discrepancies += _chosen(record, table, plan, figures)
        discrepancies += _figures(record, figures, compare)
        discrepancies += _verdicts(record, figures, plan, compare)
        discrepancies += _words(record)
        if plan.noise is not None:
            discrepancies += compare(f"extra.{NOISE}", record.extra.get(NOISE, {}), floors_json(figures.floors))
        discrepancies += compare(f"extra.{FURTHER}", record.extra.get(FURTHER, {}), further_figures(table, plan))
    except (MalformedItems, UnpairedItems, UnusableThreshold, UnusablePlan) as error:
        discrepancies.append(Discrepancy("items", error.what, error.why))
    discrepancies += _digests(record)
    stated = record.items.to_json()
    discrepancies += compare("items", stated, describe_items(items, file=record.items.file).to_json())
    return tuple(discrepancies)


def plan_of(record: EvaluationRecord) -> StatisticsPlan:
    """What the figures depend on besides the items, as recorded.

    Raises:
        UnusablePlan: arms, draws, level or limits are missing or out of range.
    """
    stated = record.extra.get(STATISTICS, {})
    if not isinstance(stated, dict):
        raise UnusablePlan(f"extra.{STATISTICS} is not an object")
    before = stated.get("before", "base")
    after = stated.get("after", "adapted")
    draws = stated.get("bootstrap_draws", DEFAULT_DRAWS)
    level = stated.get("level", 0.95)
    ratio = stated.get("neutral_loss_ratio", NEUTRAL_LOSS_RATIO)
    seed = record.seeds.get("bootstrap", 0)
    if before not in get_args(ArmName) or after not in get_args(ArmName):
        raise UnusablePlan("`before` or `after` is not a known arm")
    if type(draws) is not int or not 2 <= draws <= _MAX_DRAWS or type(ratio) not in (int, float) or seed < 0:
        raise UnusablePlan(f"draws {draws!r}, neutral loss ratio {ratio!r} or seed {seed!r} is out of range")
    if not isinstance(level, float) or not 0 < level < 1:
        raise UnusablePlan(f"the level {level!r} is not between 0 and 1")
    figures = stated.get("figures", 1)
    lms = stated.get("lms_points", LMS_POINTS)
    acc = stated.get("acc_disambig", ACC_DISAMBIG)
    if type(figures) is not int or not 1 <= figures <= FIGURES:
        raise UnusablePlan(f"its figures are of edition {figures!r}, and this tool computes those up to {FIGURES}")
    margin = stated.get("margin", MARGIN)
    if type(margin) not in (int, float) or not 0 < margin < 1:
        raise UnusablePlan(f"the margin {margin!r} is not between 0 and 1")
    if type(lms) not in (int, float) or type(acc) not in (int, float):
        raise UnusablePlan("a limit of lost capability is not a number")
    return StatisticsPlan(
        thresholds=record.protocol.thresholds,
        before=before,
        after=after,
        seed=seed,
        draws=draws,
        level=level,
        neutral_loss_ratio=ratio,
        lms_points=lms,
        acc_disambig=acc,
        figures=figures,
        leaked=leaked_of(record.leakage_check),
        noise=_noise_bounds(stated),
        screens=screens_of(record.datasets),
        reserved=_reserved(record) if figures >= 4 else None,
        tries=tries_of(record),
        margin=margin,
    )


def newest_plan_of(record: EvaluationRecord) -> StatisticsPlan:
    """The same by which the newest edition of the figures would judge the items of a record.

    Raises:
        UnusablePlan: as `plan_of`.
    """
    return replace(plan_of(record), figures=FIGURES, reserved=_reserved(record))


def _reserved(record: EvaluationRecord) -> Mapping[str, Code]:
    has_placebo = any(arm.name == "placebo" for arm in record.arms)
    own = own_bands_of(record.stated_plan)
    return reserved_of(record.datasets, record.leakage_check, has_placebo=has_placebo, own_bands=own)


def tries_of(record: EvaluationRecord) -> Tries:
    """How many seeds were begun when a record was made, and in how many runs; one where it does not say.

    Raises:
        UnusablePlan: it says something that cannot be counted.
    """
    stated = record.extra.get(STATISTICS, {})
    counts = stated.get(TRIES) if isinstance(stated, dict) else None
    if counts is None:
        return ONE_TRY
    if not isinstance(counts, Mapping):
        raise UnusablePlan("how many seeds and runs were begun is not an object")
    return Tries(
        seeds=_counted(counts.get("seeds"), "seeds", least=1),
        runs=_counted(counts.get("runs"), "runs", least=1),
        others=_counted(counts.get("others", 0), "runs with other settings", least=0),
    )


def _counted(value: Any, what: str, *, least: int) -> int:  # any JSON value
    if type(value) is not int or not least <= value <= _MAX_TRIES:
        raise UnusablePlan(f"how many {what} were begun is not a number of them")
    return value


def statistics_of(plan: StatisticsPlan) -> dict[str, Any]:
    """What `plan_of` reads back, for `extra`; seed and thresholds have their own places in the record."""
    stated: dict[str, Any] = {
        "before": plan.before,
        "after": plan.after,
        "level": plan.level,
        "neutral_loss_ratio": plan.neutral_loss_ratio,
    }
    if plan.noise is not None:
        stated["noise_bounds"] = plan.noise.to_json()
    if plan.interval_rule.is_drawn:
        stated["bootstrap_draws"] = plan.draws
    if plan.figures >= 2:
        stated |= {"figures": plan.figures, "lms_points": plan.lms_points, "acc_disambig": plan.acc_disambig}
    if plan.interval_rule.flips_signs:
        stated["margin"] = plan.margin
    if plan.tries.seeds > 1 or plan.tries.others:
        stated[TRIES] = {"seeds": plan.tries.seeds, "runs": plan.tries.runs}
    if plan.tries.others:
        stated[TRIES]["others"] = plan.tries.others
    return stated


def _noise_bounds(stated: Mapping[str, Any]) -> NoiseBounds | None:  # any JSON values
    """How far the same model scored again may be off; None where the record does not say.

    Raises:
        UnusablePlan: a bound is not a number.
    """
    bounds = stated.get("noise_bounds")
    if bounds is None:
        return None
    values = [bounds.get(name) for name in ("flips", "p95")] if isinstance(bounds, Mapping) else [None]
    if any(type(value) not in (int, float) for value in values):
        raise UnusablePlan("a bound of the noise floor is not a number")
    return NoiseBounds(*values)


def _chosen(
    record: EvaluationRecord, table: Iterable[TableRow], plan: StatisticsPlan, figures: EvaluationFigures
) -> Iterator[Discrepancy]:
    """What decides about the words besides the items, and is not what it is in every evaluation."""
    if not plan.interval_rule.flips_signs:
        return
    yield from _compare(f"extra.{STATISTICS}", record.extra.get(STATISTICS), statistics_of(fixed_statistics(plan)))
    for place, stated, expected in chosen_otherwise(record, table, plan, figures):
        yield from _compare(place, stated, expected)


def _digests(record: EvaluationRecord) -> Iterator[Discrepancy]:
    template = Digest.of(record.protocol.prompt_template.encode("utf-8"))
    yield from _compare("protocol.prompt_template_sha256", str(record.protocol.prompt_template_sha256), str(template))
    stated = record.extra.get(PLAN)
    if stated is not None:
        plan = stated.get("plan") if isinstance(stated, dict) else None
        recorded = stated.get("sha256") if isinstance(stated, dict) else None
        yield from _compare(f"extra.{PLAN}.sha256", recorded, str(canonical_digest(plan)))
    yield from _compare(f"extra.{TASKS}", record.extra.get(TASKS), record.stated_plan.get(TASKS))
    for arm in record.arms:
        digest = str(arm.composition.canonical_digest())
        yield from _compare(f"arms[{arm.name}].composition_digest", str(arm.composition_digest), digest)


def _rows(record: EvaluationRecord, table: Iterable[TableRow]) -> Iterator[Discrepancy]:
    """Rows whose margin or state does not follow from their log-likelihoods, and rows of an arm that is not recorded."""
    arms = {arm.name for arm in record.arms}
    for item in table:
        name = f"items[{' '.join(item.key)}]"
        if item.arm not in arms:
            yield Discrepancy(f"{name}.arm", "not among the arms", item.arm)
        if isinstance(item, Reading) or item.margin is None or item.ll_b is None:
            continue
        margin = item.ll_a - item.ll_b
        yield from _compare(f"{name}.margin", decimal_text(item.margin), decimal_text(margin))
        state = state_of(margin / MILLIONTHS, _threshold(record, item.dataset))
        yield from _compare(f"{name}.state", item.state, state)


def _threshold(record: EvaluationRecord, dataset: str) -> Threshold:
    return record.protocol.thresholds[threshold_key(dataset)]


def _require_bands(record: EvaluationRecord, table: Iterable[TableRow]) -> None:
    """Raise UnusablePlan unless the protocol has every dead band that the rows are held against."""
    needed: set[str] = set()
    for row in table:
        if isinstance(row, Reading):
            needed |= {threshold_key(row.dataset, measure) for measure in FAMILIES[row.metric].measures}
        elif row.metric == "margin":
            needed.add(threshold_key(row.dataset, row.measure))
    absent = sorted(needed - record.protocol.thresholds.keys())
    if absent:
        raise UnusablePlan(f"the protocol has no dead band {absent[0]}")


def _datasets(record: EvaluationRecord, table: Iterable[TableRow]) -> Iterator[Discrepancy]:
    rows_of_table = tuple(table)
    ids: dict[str, set[str]] = {}
    for item in rows_of_table:
        ids.setdefault(item.dataset, set()).add(item.id)
    yield from _compare("datasets", sorted(used.name for used in record.datasets), sorted(ids))
    for used in record.datasets:
        rows = ids.get(used.name, set())
        yield from _compare(f"datasets[{used.name}].rows_used", used.rows_used, len(rows))
        left_out = used.rows_total - sum(used.excluded.values())
        yield from _compare(f"datasets[{used.name}].rows_total less excluded", left_out, len(rows))
        counted = left_out_of_table(record.leakage_check).get(used.name)
        if counted is not None:
            yield from _compare(f"datasets[{used.name}].excluded", used.left_out(LEFT_OUT), counted)
        yield from _left_out(record.leakage_check, used.name, rows)
        elsewhere = sorted(set(outside_half(used, rows_of_table)))
        if elsewhere:
            yield Discrepancy(f"datasets[{used.name}].half", str(used.half), f"{elsewhere[0]} is in the other half")
        if used.selection_ids_sha256 is not None:
            digest = str(ids_digest(sorted(rows)))
            yield from _compare(f"datasets[{used.name}].selection_ids_sha256", str(used.selection_ids_sha256), digest)


def _left_out(check: LeakageCheck | None, dataset: str, rows: Set[str]) -> Iterator[Discrepancy]:
    """Items on which nothing is compared that are not as many as were trained on, or that are in no row."""
    for entry in () if check is None else check.datasets:
        if entry.dataset != dataset or entry.left_out is None:
            continue
        name = f"leakage_check.datasets[{dataset}].left_out"
        counted = left_out_of(check).get(dataset, 0)
        yield from _compare(f"{name}: how many", len(set(entry.left_out)), counted)
        yield from _compare(f"{name}: in no row", sorted(set(entry.left_out) - rows), [])


def _figures(record: EvaluationRecord, figures: EvaluationFigures, compare: _Comparison) -> Iterator[Discrepancy]:
    for part in ("results", "comparisons", "losses"):
        recorded = _named(part, (entry.to_json() for entry in getattr(record, part)))
        recomputed = _named(part, (entry.to_json() for entry in getattr(figures, part)))
        yield from _compare(f"{part}: which", [*recorded], [*recomputed])
        yield from _compare(f"{part}: how many", len(getattr(record, part)), len(getattr(figures, part)))
        for name in recorded.keys() & recomputed.keys():
            yield from compare(name, recorded[name], recomputed[name])
    yield from _compare("guards", record.guards.to_json(), figures.guards.to_json())


def _verdicts(
    record: EvaluationRecord, figures: EvaluationFigures, plan: StatisticsPlan, compare: _Comparison
) -> Iterator[Discrepancy]:
    """Verdicts on limits that do not follow from the figures."""
    if LIMITS not in record.extra:
        return
    try:
        limits = limits_of(record)
        recorded = [verdict.to_json() for verdict in verdicts_of(record)]
    except ValidationError as error:
        raise UnusablePlan(f"extra.{LIMITS} cannot be read: {first_problem(error)}") from error
    follows = [verdict.to_json() for verdict in judge(limits, figures, plan)]
    if len(recorded) != len(follows):
        yield Discrepancy(f"extra.{LIMITS}.verdicts", f"{len(recorded)} verdicts", f"{len(follows)} verdicts")
        return
    for at, (before, other) in enumerate(zip(recorded, follows, strict=True)):
        yield from compare(f"extra.{LIMITS}.verdicts[{at}]", before, other)


def _named(part: str, figures: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Figures by a name that a reader can find them under: `results[house pct_stereotype all base]`."""
    named = {}
    for figure in figures:
        words = [figure[key] or "all" for key in _NAMING if isinstance(figure.get(key, 0.0), str | None)]
        named[f"{part}[{' '.join(words)}]"] = figure
    return named


def _words(record: EvaluationRecord) -> Iterator[Discrepancy]:
    """Words of an edition of codes that are no code of this release: what follows from the items is compared, and this is not."""
    if not record.says_codes or is_of_later_edition(record):
        return
    for place, said in _stated_words(record):
        wrong = unknown_word(said)
        if wrong is not None:
            yield Discrepancy(place, str(said), wrong)


def _stated_words(record: EvaluationRecord) -> Iterator[tuple[str, Said]]:
    """What a record says beside its figures, by place."""
    for key, band in record.protocol.thresholds.items():
        yield f"protocol.thresholds[{key}].source", band.source
    for at, limitation in enumerate(record.limitations):
        yield f"limitations[{at}]", limitation
    for used in record.datasets:
        for reason in used.excluded:
            yield f"datasets[{used.name}].excluded[{reason}]", Code(code=reason)
    for name, said in stated_changes(record).items():
        yield f"extra.{PLAN}.plan.suites[{name}].{DETECTABLE}", said
    check = record.leakage_check
    if check is not None:
        yield "leakage_check.method", check.method
        for training in check.trainings:
            if training.reason is not None:
                yield f"leakage_check.trainings[{training.training}].reason", training.reason
    for at, limit in enumerate(limits_of(record)):
        yield f"extra.{LIMITS}.limits[{at}].source", limit.source
    why = not_planned(record)
    if why is not None:
        yield f"extra.{LIMITS}.not_planned", why


def _is_said(value: Any) -> bool:  # any JSON value
    """Whether it is a code, or codes by name, as where several intervals are missing."""
    if not isinstance(value, Mapping):
        return False
    return isinstance(value.get("code"), str) or (bool(value) and all(map(_is_said, value.values())))


def _holds_other_code(recorded: Any, recomputed: Any) -> bool:  # any JSON values
    """Whether one of them is a code that the other is not."""
    codes = [value.get("code") if isinstance(value, Mapping) else None for value in (recorded, recomputed)]
    return codes[0] != codes[1]


def _is_drawn(value: Any) -> bool:  # any JSON value
    """Whether it is an interval of a bootstrap, or what is computed from one."""
    if not isinstance(value, Mapping):
        return False
    method = value.get("method")
    if isinstance(method, str):
        return "bootstrap" in method  # as editions said it before there were codes
    return isinstance(method, Mapping) and (method.get("code") == "cluster_bootstrap" or _is_drawn(method))


def _equal(recorded: Any, recomputed: Any) -> bool:  # any JSON values
    numbers = type(recorded), type(recomputed)
    # canonical JSON writes 1.0 as 1, and a reader takes that for a whole number where no field says otherwise
    if float in numbers and all(number in (int, float) for number in numbers):
        return math.isclose(recorded, recomputed, rel_tol=_RELATIVE, abs_tol=_RELATIVE)
    return type(recorded) is type(recomputed) and bool(recorded == recomputed)
