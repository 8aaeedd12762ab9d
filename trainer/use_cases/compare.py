"""`registry compare`: one training for each method and seed, on one base and one set of data, and what came of each.

Every arm takes the one registration path (`trainer/use_cases/train.py`) in a process of its own
(`trainer/use_cases/compare_arm.py`). The held-out rows stay the same over all arms. An arm that is registered already, by an
earlier comparison of the same file that was cut short or by hand, is taken as it is: its key is what decides a result
(configuration, base, data), so nothing is trained twice.

Before the first of them is trained the plan is logged as a statement about the base: every arm, the data, and what is measured.
Whoever reads the log sees that nobody chose arms, seeds or figures once results were known, and which arm has no result.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import read_file, write_atomically
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.evaluation.aggregate import grouped_readings
from peft_registry.registry.evaluation.conclusions import conclusion_among
from peft_registry.registry.evaluation.extra_figures import recorded_measures
from peft_registry.registry.evaluation.items import Item, TableRow, read_items
from peft_registry.registry.evaluation.praise import Tries
from peft_registry.registry.evaluation.recheck import plan_of
from peft_registry.registry.evaluation.standing import standing_findings, standing_losses
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import base_record
from peft_registry.registry.records.evaluations import standing_evaluations
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import Records, records_of
from peft_registry.registry.records.tries import tries_of_run
from peft_registry.registry.use_cases.plan_evaluation import log_plan
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.comparison import (
    AnswerChange,
    ArmResult,
    AxisCounts,
    BiasCounts,
    Latency,
    LoggedPlan,
    MethodComparison,
)
from peft_registry.schemas.config import TrainingFile, config_identity
from peft_registry.schemas.errors import InputRefused, RunFailed
from peft_registry.schemas.evaluation import Comparison, EvaluationRecord
from peft_registry.schemas.methods import BLOCKS, METHOD_NAMES, METHODS
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.schemas.values import Value, derived, unknown
from peft_registry.schemas.version import Version
from peft_registry.trainer.evaluation.scope import scope_of_file
from peft_registry.trainer.inputs.evaluation import load_suites, report_power
from peft_registry.trainer.inputs.start import pinned
from peft_registry.trainer.inputs.training_file import LoadedConfig, load_training_file
from peft_registry.trainer.machine.environment import cut_paths
from peft_registry.trainer.methods.learning_rates import best_rate
from peft_registry.trainer.use_cases.compare_arm import ArmOutcome, ComparisonArm, run_arm
from peft_registry.trainer.use_cases.train_plan import require_effect
from peft_registry.trainer.use_cases.train_start import data_named, registered_before


class UnknownMethod(InputRefused):
    what = "there is no method {name!q}"
    why = "the methods are {methods!l}"
    fix = "name some of them, or `all`"

    name: str

    methods = METHOD_NAMES


class MalformedRate(InputRefused):
    what = "{word!q} gives no method a learning rate"
    why = "it is a method, an equals sign and a positive number"
    fix = "write it like lora=2e-4"

    word: str


class NothingCompared(RunFailed):
    what = "no arm of the comparison was trained"
    why = "{cause}"
    fix = "make one of them work with `registry train` first"

    failures: tuple[str, ...]

    @property
    def cause(self) -> str:
        return self.failures[0] if self.failures else "the comparison has no arm"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compare. `rates` overrule the measured learning rate of a method; `price` is for an hour of the machine."""

    methods: tuple[str, ...]
    seeds: int = 1
    rates: Mapping[str, float] | None = None
    price: float | None = None
    latency: bool = True


def compare_methods(
    registry: Registry,
    config_path: Path,
    overrides: tuple[str, ...],
    plan: Plan,
    *,
    command: tuple[str, ...] = (),
    observe: Observe = ignore,
) -> MethodComparison:
    """Train what is not there yet, and put the figures side by side.

    Args:
        registry: where.
        config_path: the training file.
        overrides: such as `training.seed=8`, for every arm.
        plan: which methods, seeds and rates.
        command: the words of the command line, for the record; none where no command was typed.
        observe: hears of everything.

    Raises:
        UnknownMethod: a name that is none.
        InputRefused, NotFound: the file, the base, or for one of the methods the starting adapter are refused.
        ArmLost: an arm's process died; what was registered stays and is found by the next call.
        NothingCompared: every arm failed.
    """
    registry.require_writable()
    loaded = _as_asked(load_training_file(config_path, overrides))
    base = version_named(registry, loaded.config.base)
    comparison = comparison_id(loaded.config)
    require_effect(overrides, plan.methods)
    arms = plan_arms(config_path, overrides, loaded, plan)
    # every arm is refused before the first of them is trained
    files = [pinned(registry, load_training_file(arm.config, arm.overrides), base)[0] for arm in arms]
    asked = loaded.config.evaluation
    report_power(load_suites(registry, asked.bias, half=scope_of_file(asked, loaded.folder).half), observe)
    planned = _planned(comparison, loaded, zip(arms, files, strict=True))
    logged = log_plan(registry, base, planned, policy=hash_file(config_path).sha256)
    observe(
        Said("plan", f"{len(arms)} arms logged before they are trained: {logged.digest.short}, log {logged.log_index}")
    )
    bench = _Bench(registry, base, comparison, plan, command, observe)
    outcomes = [bench.outcome(arm) for arm in arms]
    # only now: a seed that was begun last was a try beside the first, too
    results = tuple(bench.result(arm, outcome) for arm, outcome in zip(arms, outcomes, strict=True))
    failures = tuple(result.failure for result in results if result.failure)
    if len(failures) == len(results):
        raise NothingCompared(failures)
    records = _first_records(registry, results)
    return MethodComparison(
        comparison_id=comparison,
        name=loaded.config.name,
        base=base.label,
        base_weights=base_record(registry, base).identity.weights,
        data=() if records.run is None else records.run.data,
        hardware="" if records.run is None else str(records.run.compute.hardware.value),
        command=cut_paths(command),
        created_at=registry.clock(),
        plan=LoggedPlan(statement=logged.digest, log_index=logged.log_index, appended_at=logged.appended_at),
        arms=results,
    )


def _planned(
    comparison: str, loaded: LoadedConfig, arms: Iterable[tuple[ComparisonArm, LoadedConfig]]
) -> dict[str, Any]:
    """What will be compared, JSON: `config_sha256` of an arm is that of the run record of the version that it gives."""
    return {
        "comparison": comparison,
        "data": data_named(loaded),
        "evaluation": config_identity(loaded.config)["evaluation"],
        "arms": [
            {
                "method": arm.method,
                "seed": arm.seed,
                "learning_rate": arm.learning_rate,
                "config_sha256": str(canonical_digest(config_identity(_as_asked(file).config))),
            }
            for arm, file in arms
        ],
    }


def chosen_methods(text: str) -> tuple[str, ...]:
    """`lora,ia3` or `all`, in the order of the table.

    Raises:
        UnknownMethod: a name that is none.
    """
    if text.strip() == "all":
        return METHOD_NAMES
    names = {name.strip() for name in text.split(",") if name.strip()}
    for name in sorted(names):
        if name not in METHODS:
            raise UnknownMethod(name)
    return tuple(name for name in METHOD_NAMES if name in names)


def parse_rates(words: Iterable[str]) -> dict[str, float]:
    """`lora=2e-4` and the like, by method.

    Raises:
        UnknownMethod: a name that is none.
        MalformedRate: no equals sign, or no positive number.
    """
    arms = {}
    for word in words:
        method, _, text = word.partition("=")
        if method not in METHODS:
            raise UnknownMethod(method)
        try:
            arms[method] = float(text)
        except ValueError as error:
            raise MalformedRate(word) from error
        if not 0 < arms[method] < math.inf:
            raise MalformedRate(word)
    return arms


def _as_asked(loaded: LoadedConfig) -> LoadedConfig:
    """The file with the part of each suite that every arm is asked: the screen where it leaves that to what an arm costs."""
    asked = loaded.config.evaluation
    part = scope_of_file(asked, loaded.folder).half
    return replace(loaded, config=loaded.config.revised(evaluation=asked.revised(half=part)))


def comparison_id(config: TrainingFile) -> str:
    """The same for every method, seed and learning rate: a method that is added later joins its siblings."""
    identity = config_identity(config)
    for key in ("method", "quantization", *BLOCKS):
        identity.pop(key, None)
    for key in ("seed", "learning_rate"):
        identity["training"].pop(key, None)
    paths = {"train": config.data.train.path, "validation": config.data.validation.path}
    return canonical_digest({"name": config.name, "base": config.base, "paths": paths, **identity}).hex[:16]


def plan_arms(
    config_path: Path, overrides: tuple[str, ...], loaded: LoadedConfig, plan: Plan
) -> tuple[ComparisonArm, ...]:
    """One arm for each method and seed: the seeds follow that of the file, the split stays that of the file's own seed."""
    config = loaded.config
    first = config.training.seed
    arms = []
    for method in plan.methods:
        rate = _rate(config, method, plan.rates or {})
        for seed in range(first, first + plan.seeds):
            changes: dict[str, Any] = {
                "name": f"{config.name}-{method.replace('_', '-')}",
                "method": method,
                "training.seed": seed,
                "training.learning_rate": rate,
            }
            if config.data.validation.path is None and config.data.validation.seed is None:
                changes["data.validation.fraction"] = config.data.validation.fraction  # a seed alone would be no split
                changes["data.validation.seed"] = first
            if METHODS[config.method].needs_quantized_base and not METHODS[method].needs_quantized_base:
                changes["quantization"] = None  # the file asked for the base in 4 bits by its method
            words = tuple(f"{key}={json.dumps(value)}" for key, value in changes.items())
            arms.append(ComparisonArm(method, seed, rate, config_path, (*overrides, *words)))
    return tuple(arms)


def _rate(config: TrainingFile, method: str, given: Mapping[str, float]) -> float:
    """Given, else the file's own for its method, else the best that was measured (`learning_rates.json`), else the file's."""
    if method in given:
        return given[method]
    if method == config.method:
        return config.training.learning_rate
    return best_rate(method) or config.training.learning_rate


@dataclass(frozen=True)
class _Bench:
    """Where the arms of one comparison are trained."""

    registry: Registry
    base: Version
    comparison: str
    plan: Plan
    command: tuple[str, ...]
    observe: Observe

    def outcome(self, arm: ComparisonArm) -> ArmOutcome:
        """What became of an arm that is there, or that is trained now; the latency is measured where it is missing."""
        latencies = _latencies(self.registry, self.comparison)
        there = registered_before(self.registry, load_training_file(arm.config, arm.overrides), self.base)
        known = None if there is None else latencies.get(there.label)
        if there is None:
            self.observe(Said("arm", f"{arm.label}: training at a learning rate of {arm.learning_rate:g}"))
        else:
            asked = self.plan.latency and known is None
            self.observe(
                Said("arm", f"{arm.label}: {there.label} is registered already{', timing it' if asked else ''}")
            )
            if not asked:
                return ArmOutcome(there.label, latency=None if known is None else Latency.from_json(known))
        outcome = run_arm(
            self.registry,
            arm,
            comparison=self.comparison,
            registered=there,
            latency=self.plan.latency,
            command=self.command,
            observe=self.observe,
        )
        if outcome.version is None:
            self.observe(Said("arm", f"{arm.label}: {outcome.failure}"))
        elif outcome.latency is not None:
            _remember(self.registry, self.comparison, latencies | {outcome.version: outcome.latency.to_json()})
        return outcome

    def result(self, arm: ComparisonArm, outcome: ArmOutcome) -> ArmResult:
        """The figures of an arm."""
        if outcome.version is None:
            return ArmResult(method=arm.method, seed=arm.seed, learning_rate=arm.learning_rate, failure=outcome.failure)
        version = version_named(self.registry, outcome.version)
        records = records_of(self.registry, version)
        run = records.run
        evaluations = standing_evaluations(self.registry, version, records.evaluations)
        assert run is not None, "a trained version has its run"
        compute = run.compute
        tries = tries_of_run(self.registry, run)
        return ArmResult(
            method=arm.method,
            seed=arm.seed,
            learning_rate=arm.learning_rate,
            version=version.label,
            manifest=version.manifest_digest,
            log_index=version.log_index,
            runs_begun=tries.runs,
            parameters_trainable=run.parameters_trainable,
            parameters_total=run.parameters_total,
            peak_memory_bytes=compute.peak_memory_bytes,
            wall_seconds=compute.wall_seconds,
            tokens=compute.tokens,
            cost=_cost(compute.hardware_hours, self.plan.price),
            losses=standing_losses(evaluations),
            row_gains=_row_gains(self.registry, evaluations),
            answers=_answers(self.registry, evaluations),
            neutral_loss_change=_neutral(evaluations),
            bias=_bias(evaluations, tries),
            latency=outcome.latency,
        )


def _cost(hours: Value, price: float | None) -> Value:
    if price is None:
        return unknown("no price was given")
    return derived(round(hours.value * price, 6), "of the price's currency", method=f"hours of training × {price:g}")


# An arm may have been evaluated again since it was trained. What its training measured comes first: all arms scored the same
# held-out rows then. What a later evaluation counted on other rows stands behind it, and takes the place of nothing.


def _row_gains(registry: Registry, newest_first: Sequence[EvaluationRecord]) -> tuple[int, ...]:
    """How much likelier each held-out row became, in millionths of a nat, by the row's name."""
    losses = standing_losses(newest_first)
    if not losses:
        return ()
    record = next(record for record in newest_first if losses[0] in record.losses)
    plan = plan_of(record)
    rows = read_items(registry.store.read_bytes(record.items.sha256))
    scored = {(row.arm, row.id): row.ll_a for row in rows if isinstance(row, Item) and row.dataset == losses[0].dataset}
    names = sorted(name for arm, name in scored if arm == plan.after)
    return tuple(scored[plan.after, name] - scored[plan.before, name] for name in names)


def _answers(registry: Registry, newest_first: Sequence[EvaluationRecord]) -> tuple[AnswerChange, ...]:
    """What the held-out rows were answered before and after: each figure as its training measured it."""
    for record in reversed(newest_first):
        measures = recorded_measures(record)
        if measures:
            return tuple(_answer_changes(read_items(registry.store.read_bytes(record.items.sha256)), record, measures))
    return ()


def _answer_changes(
    rows: Iterable[TableRow], record: EvaluationRecord, measures: Iterable[Mapping[str, Any]]
) -> Iterator[AnswerChange]:
    plan = plan_of(record)
    readings = grouped_readings(rows)
    for measure in measures:
        arms = readings[measure["dataset"], "measure"]
        before, after = arms[plan.before], arms[plan.after]
        place = before[0].labels.index(measure["metric"])
        yield AnswerChange(
            dataset=measure["dataset"],
            metric=measure["metric"],
            before=measure["before"],
            after=measure["after"],
            n=measure["n"],
            row_changes=tuple(
                theirs.values[place] - own.values[place] for own, theirs in zip(before, after, strict=True)
            ),
        )


def _neutral(newest_first: Sequence[EvaluationRecord]) -> Value:
    """The change on neutral text; of several that stand the worst."""
    changes = [
        record.guards.neutral_loss_after - record.guards.neutral_loss_before
        for record in newest_first
        if record.guards.neutral_loss_before is not None and record.guards.neutral_loss_after is not None
    ]
    if not changes:
        return unknown("neutral text was not scored")
    worst = "" if len(changes) == 1 else f"; the highest of {len(changes)} evaluations"
    method = f"loss of neutral text that nobody trained on, after − before{worst}"
    return derived(round(max(changes), 6), "nats/token", method=method)


def _bias(newest_first: Sequence[EvaluationRecord], tries: Tries) -> tuple[BiasCounts, ...]:
    return tuple(
        BiasCounts(
            dataset=finding.dataset,
            n=finding.n,
            flagged=finding.flagged,
            fixed=finding.fixed,
            introduced=finding.introduced,
            overcorrected=finding.overcorrected,
            conclusion=conclusion_among(finding, tries),
            clear=finding.clear,
            axes=_axes(next(record for record in newest_first if finding in record.findings), finding),
        )
        for finding in standing_findings(newest_first)
    )


def _axes(evaluation: EvaluationRecord, whole: Comparison) -> tuple[AxisCounts, ...]:
    """The categories of a suite that say something of their own, by name; of a suite with one of them, none."""
    parts = [
        AxisCounts(
            axis=finding.category,
            n=finding.n,
            flagged=finding.flagged,
            clear=finding.clear,
            fixed=finding.fixed,
            introduced=finding.introduced,
            overcorrected=finding.overcorrected,
        )
        for finding in evaluation.findings
        if finding.category is not None and (finding.dataset, finding.metric) == (whole.dataset, whole.metric)
    ]
    return tuple(sorted(parts, key=lambda part: part.axis)) if len(parts) > 1 else ()


def _first_records(registry: Registry, results: tuple[ArmResult, ...]) -> Records:
    label = next(result.version for result in results if result.version is not None)
    return records_of(registry, version_named(registry, label))


# Latencies are measurements of a machine, not of an artifact: they are kept beside the home's runs, so that a comparison
# that was cut short finds them again.


def _latency_path(registry: Registry, comparison: str) -> Path:
    return registry.folder / "comparisons" / f"{comparison}.json"


def _latencies(registry: Registry, comparison: str) -> dict[str, Any]:
    path = _latency_path(registry, comparison)
    if not path.exists():
        return {}
    summary: dict[str, Any] = json.loads(read_file(path, max_bytes=1 << 24))
    return summary


def _remember(registry: Registry, comparison: str, latencies: dict[str, Any]) -> None:
    path = _latency_path(registry, comparison)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, json.dumps(latencies, indent=2, sort_keys=True).encode() + b"\n")
