"""The evaluation section of a modification record, from the evidence record of an evaluation. Nothing is averaged or judged.

A version may be evaluated again after it was registered. The section of the record that supersedes then has both, and every
row says of which evaluation it is: figures of an evaluation give way only to those of one that scored the same rows of the same
data with the same arms. What was scored on fewer rows, or on others, stands beside them and hides nothing.
"""

import re
from collections.abc import Sequence
from typing import Any

from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.codes import Code, Said, as_json, code, code_in, says, together
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.evaluation import (
    LOSS_UNIT,
    PLAN,
    Comparison,
    DatasetUsed,
    EvaluationRecord,
    Interval,
    LossComparison,
    Result,
)
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import Evaluation
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Timestamp, Value, derived, measured, unknown

_NO_EVALUATION = unknown(code("no_evaluation_recorded"))
_NO_PLAN = unknown(code("no_plan_fixed_before"))
STALE = "stale"
"""Status of the run of an evaluation that was made of an ingredient and not of the result."""
NOT_REPEATED = code("ingredients_evaluated_alone")


CONDITIONS = ("policy_sha256", "guard_sha256", "trained_on")
"""Keys of a run's row that are there only where they are not the usual."""


class EvaluationSigner(Frozen):
    """Whose key signs the evaluation, and when."""

    key_id: str
    person: str | None
    at: Timestamp


class EvaluationSignature(Frozen):
    """Whose key signed an evaluation that is logged: its statement, and the time of its entry."""

    statement: Digest
    evaluation: Digest  # of the record that the statement holds: SHA-256 of its canonical bytes
    key_id: str
    person: str | None
    at: Timestamp


class ScoredFigures(Frozen):
    """One kind of figures of one suite, and what they were counted on: of two equal ones the later may stand for the earlier."""

    suite: str
    data_sha256: str
    rows_used: int
    selection_ids_sha256: str | None  # of the items; None where a record does not say
    arms: tuple[tuple[str, str], ...]  # name and digest of its composition, in the order of names
    figures: str  # the field of the section that holds them
    conditions: str = ""  # policy, guard text and what was trained on, where they are not the usual


def scored_by(evaluation: EvaluationRecord) -> frozenset[ScoredFigures]:
    """What an evaluation has figures of."""
    compared = {row.dataset for row in evaluation.findings}
    suites = {
        "metrics": {row.dataset for row in evaluation.results},
        "bias": compared,
        "delta": compared | {loss.dataset for loss in evaluation.losses},
    }
    return frozenset(
        _scored(row, figures)
        for row in _runs(evaluation, evaluation.canonical_digest())
        for figures in suites
        if row["suite"] in suites[figures]
    )


def _scored(row: dict[str, Any], figures: str) -> ScoredFigures:
    """What a row of `runs` says that some figures were counted on."""
    return ScoredFigures(
        suite=str(row.get("suite")),
        data_sha256=str(row.get("data_sha256")),
        rows_used=int(row.get("rows_used", 0)),
        selection_ids_sha256=row.get("selection_ids_sha256"),
        arms=tuple(sorted((str(arm.get("name")), str(arm.get("composition"))) for arm in row.get("arms", ()))),
        figures=figures,
        conditions=canonical_bytes({name: _condition(row[name]) for name in CONDITIONS if name in row}).decode(),
    )


def evaluation_section(
    evaluation: EvaluationRecord | None, run: RunRecord | None, signer: EvaluationSigner | None = None
) -> Evaluation:
    """Runs, figures with intervals, differences and bias results; without an evaluation, the run's held-out loss.

    Args:
        evaluation: signed with the record.
        run: for the loss.
        signer: of the evaluation; None where nobody signs it.
    """
    if evaluation is None:
        return _loss_only(run)
    digest = evaluation.canonical_digest()  # takes as long as writing all of the evaluation
    evidence = (digest, evaluation.items.sha256)
    plan = _plan(evaluation)
    which = {"evaluation": str(digest)}
    delta = [_loss(loss) | which for loss in evaluation.losses] or _run_loss(run)
    delta += [_difference(comparison) | which for comparison in evaluation.findings]
    bias = [_bias(comparison) | which for comparison in evaluation.findings]
    return Evaluation.of_known(
        runs=measured(_runs(evaluation, digest), method=_harness(evaluation), evidence=evidence),
        metrics=_listed([_figure(result) | which for result in evaluation.results], _harness(evaluation), evidence),
        delta=derived(delta, method=code("after_less_before_on_items"), evidence=evidence) if delta else None,
        bias=_listed(bias, code("paired_comparison"), evidence),
        limitations=_limitations(evaluation, evidence),
        plan_digest=_NO_PLAN if plan.digest is None else measured(plan.digest, method=plan.where),
        plan_created_at=_NO_PLAN if plan.created_at is None else measured(plan.created_at),
        **_signature(signer, digest),
    )


# what a later evaluation adds to
_JOINED = ("runs", "metrics", "delta", "bias", "limitations")


def with_later_evaluations(
    before: Evaluation, later: Sequence[EvaluationRecord], signatures: Sequence[EvaluationSignature]
) -> Evaluation:
    """The section with what was measured after the record was made.

    Where the same was scored again the newer figures stand here; the older ones stay in the record that is superseded.

    Args:
        before: as it was recorded.
        later: evaluations of the same artifact, at least one, in the order of the log.
        signatures: of every evaluation of the version, in the order of the log.
    """
    section = before
    for evaluation in later:
        section = _with_evaluation(section, evaluation)
    last = signatures[-1]
    return section.revised(
        signed_by=measured(
            [_signed(signature) for signature in signatures],
            method=code("entries_of_evaluations"),
            evidence=tuple(signature.statement for signature in signatures),
        ),
        signed_at=measured(last.at, method=code("newest_entry_of_an_evaluation"), evidence=(last.statement,)),
    )


def _signed(signature: EvaluationSignature) -> dict[str, str]:
    signer = _signer(signature.key_id, signature.person)
    return signer | {"at": signature.at, "evaluation": str(signature.evaluation)}


def _with_evaluation(before: Evaluation, evaluation: EvaluationRecord) -> Evaluation:
    """The section with the rows of one more evaluation."""
    added = evaluation_section(evaluation, None)
    replaced = _Replaced.by(evaluation, before)
    joined = {name: _joined(getattr(before, name), getattr(added, name), replaced) for name in _JOINED}
    joined["limitations"] = _with_groups(joined["limitations"], joined["metrics"])
    runs = joined["runs"].value or []
    return before.revised(
        **joined,
        plan_digest=_of_all_plans(before.plan_digest, added.plan_digest, runs, "sha256"),
        plan_created_at=_of_all_plans(before.plan_created_at, added.plan_created_at, runs, "created_at"),
    )


class _Replaced(Frozen):
    """Which recorded rows a later evaluation takes the place of: pairs of evaluation and suite.

    It has to have every kind of figure that the recorded one has. Rows of earlier versions of this tool do not say of which
    evaluation they are (None), nor which items were chosen. They give way where nothing else can be meant: where one such
    evaluation alone scored their suite, on as many rows.
    """

    rows: frozenset[tuple[str | None, str]]

    @classmethod
    def by(cls, evaluation: EvaluationRecord, before: Evaluation) -> "_Replaced":
        recorded = [row for row in before.runs.value or [] if row.get("status") != STALE]
        unnamed = [row.get("suite") for row in recorded if "evaluation" not in row]
        again = scored_by(evaluation)
        any_items = frozenset(scored.revised(selection_ids_sha256=None) for scored in again)
        replaced = set()
        for row in recorded:
            pair = _pair(row)
            kinds = [name for name in ("metrics", "bias", "delta") if _has_rows(getattr(before, name), pair)]
            is_named = "evaluation" in row
            if not kinds or not (is_named or unnamed.count(row.get("suite")) == 1):
                continue
            figures = {_scored(row, kind) for kind in kinds}
            if figures <= (again if is_named else any_items):
                replaced.add(pair)
        return cls(rows=frozenset(replaced))

    def holds(self, row: dict[str, Any]) -> bool:
        return _pair(row) in self.rows


def _pair(row: dict[str, Any]) -> tuple[str | None, str]:
    return row.get("evaluation"), str(row.get("suite"))


def _has_rows(listed: Value, pair: tuple[str | None, str]) -> bool:
    return any(isinstance(row, dict) and _pair(row) == pair for row in listed.value or [])


def _joined(before: Value, added: Value, replaced: _Replaced) -> Value:
    """The recorded rows that still speak, then those measured later."""
    if not added.known:
        return before
    rows = [row for row in before.value or [] if _still_speaks(row, replaced)]
    rows += [row for row in added.value if row not in rows]
    methods = [value.method for value in (before, added) if value.known and value.method]
    return added.revised(
        value=rows,
        method=together(methods) if methods else None,
        evidence=tuple(dict.fromkeys((*before.evidence, *added.evidence))),
    )


def _still_speaks(row: Any, replaced: _Replaced) -> bool:  # a row of a recorded list: an object, a code, or a sentence
    said = _said_in(row)
    if said is not None:
        return not says(said, NOT_REPEATED.code)
    return row.get("status") != STALE and not replaced.holds(row)


def _said_in(row: Any) -> Said | None:  # a row of a recorded list
    """What a row says, as a code or, before there were codes, as a sentence; None of a row of figures."""
    return row if isinstance(row, str) else code_in(row)


def _limitations(evaluation: EvaluationRecord, evidence: tuple[Digest, ...]) -> Value | None:
    """What the evaluation says of its limits, and which of its data sets have no figure for any group."""
    suites = dict.fromkeys(result.dataset for result in evaluation.results)
    grouped = {result.dataset for result in evaluation.results if result.category is not None}
    whole_only = [_no_groups(suite) for suite in suites if suite not in grouped]
    how = code("stated_by_evaluation_and_seen") if whole_only else code("stated_by_evaluation")
    return _listed([as_json(limit) for limit in (*evaluation.limitations, *whole_only)], how, evidence)


def _no_groups(suite: str) -> Code:
    """An overall figure does not answer what the law asks of groups."""
    return code("no_figures_of_groups", suite=suite)


def _with_groups(limitations: Value, metrics: Value) -> Value:
    """The limitations without those that say of a data set that it has no figure of a group, where it now has one."""
    grouped = {str(row.get("suite")) for row in metrics.value or [] if row.get("slice") is not None}
    kept = [row for row in limitations.value or [] if _without_groups(row) not in grouped]
    if len(kept) == len(limitations.value or []):
        return limitations
    return limitations.revised(value=kept) if kept else unknown(code("evaluations_state_no_limits"))


def _without_groups(limitation: Any) -> str | None:  # a row of a recorded list
    """The data set of which a limitation says that it has no figure of a group; None of any other limitation."""
    said = _said_in(limitation)
    if said is None or not says(said, "no_figures_of_groups"):
        return None
    return said.rpartition(": figures")[0] if isinstance(said, str) else str(said.parameters["suite"])


def _of_all_plans(before: Value, added: Value, runs: Sequence[dict[str, Any]], key: str) -> Value:
    """One fact of the plan of every evaluation whose figures stand: the fact itself where all share it, else a list of them."""
    unnamed = before.value if before.known and not isinstance(before.value, list) else None
    plans = [row.get("plan", {}).get(key) if "evaluation" in row else unnamed for row in runs]
    known = list(dict.fromkeys(plan for plan in plans if plan is not None))
    without = dict.fromkeys(str(row.get("suite")) for row, plan in zip(runs, plans, strict=True) if plan is None)
    if not known:
        return added
    if len(known) == 1:
        (fact,) = known
        method = before.method if before.value == fact else added.method
    else:
        fact = known
        method = code("named_in_runs")
    if without:
        none_before = code("no_plan_before_suites", suites=list(without))
        method = none_before if method is None else together((method, none_before))
    return measured(fact, method=method)


class _FixedPlan(Frozen):
    """What was to be scored and how, which an evaluation fixed before it scored anything: digest, where that is from, time."""

    digest: str | None = None
    where: Code | None = None
    created_at: Timestamp | None = None

    def to_json(self) -> dict[str, Any]:
        facts = {
            "sha256": self.digest,
            "where": None if self.where is None else self.where.to_json(),
            "created_at": self.created_at,
        }
        return {name: fact for name, fact in facts.items() if fact is not None}


def _plan(evaluation: EvaluationRecord) -> _FixedPlan:
    """The plan of an evaluation; nothing where it had none."""
    plan = evaluation.extra.get(PLAN)
    policy = evaluation.protocol.policy_sha256
    fixed_at = evaluation.protocol.preregistered_at
    if isinstance(plan, dict) and isinstance(plan.get("sha256"), str):
        logged = plan.get("log_index")
        where = code("plan_in_log", entry=logged) if type(logged) is int else code("plan_in_evaluation_alone")
        return _FixedPlan(digest=plan["sha256"], where=where, created_at=fixed_at)
    if policy:
        return _FixedPlan(digest=str(policy), where=code("file_of_thresholds"), created_at=fixed_at)
    return _FixedPlan(created_at=fixed_at)


def _signature(signer: EvaluationSigner | None, evaluation: Digest) -> dict[str, Value]:
    if signer is None:
        return {}
    by = _signer(signer.key_id, signer.person)
    return {
        "signed_by": measured([by], method=code("signs_evaluation_and_record"), evidence=(evaluation,)),
        "signed_at": derived(signer.at, method=code("time_of_this_record")),
    }


def _signer(key_id: str, person: str | None) -> dict[str, str]:
    return {"key": key_id} | ({"person": person} if person else {})


def _listed(items: list[Any], method: Code, evidence: tuple[Digest, ...]) -> Value | None:
    return measured(items, method=method, evidence=evidence) if items else None


def _loss_only(run: RunRecord | None) -> Evaluation:
    delta = _run_loss(run)
    loss = derived(delta, method=code("loss_after_less_before")) if delta else _NO_EVALUATION
    return Evaluation(
        runs=_NO_EVALUATION,
        metrics=_NO_EVALUATION,
        delta=loss,
        bias=_NO_EVALUATION,
        limitations=_NO_EVALUATION,
        plan_digest=_NO_EVALUATION,
        plan_created_at=_NO_EVALUATION,
        signed_by=_NO_EVALUATION,
        signed_at=_NO_EVALUATION,
    )


def _run_loss(run: RunRecord | None) -> list[dict[str, Any]]:
    if run is None or not (run.loss_before.known and run.loss_after.known):
        return []
    before = run.loss_before.value
    after = run.loss_after.value
    return [{"metric": "loss", "unit": LOSS_UNIT, "before": before, "after": after, "change": after - before}]


def _harness(evaluation: EvaluationRecord) -> Code:
    tool = f"{evaluation.harness.get('name', 'harness')} {evaluation.harness.get('version', '')}".strip()
    return code("computed_by", tool=tool)


def _runs(evaluation: EvaluationRecord, digest: Digest) -> list[dict[str, Any]]:
    arms = [{"name": arm.name, "composition": str(arm.composition_digest)} for arm in evaluation.arms]
    of_each: dict[str, Any] = {
        "arms": arms,
        "seeds": dict(evaluation.seeds),
        "finished_at": evaluation.created_at,
        "evaluation": str(digest),
    }
    plan = _plan(evaluation).to_json()
    if plan:
        of_each["plan"] = plan
    of_each |= _conditions(evaluation)
    return [_rows_used(data) | of_each for data in evaluation.datasets]


def _conditions(evaluation: EvaluationRecord) -> dict[str, Any]:  # JSON values
    """What the figures depend on besides rows and arms, where it is not the usual: the file of thresholds, which may set another
    dead band; a guard text from outside; and what of the rows was found, or could not be looked for, in what was trained on."""
    conditions: dict[str, Any] = {}
    if evaluation.protocol.policy_sha256 is not None:
        conditions["policy_sha256"] = str(evaluation.protocol.policy_sha256)
    guard = evaluation.stated_plan.get("guard_text")
    if isinstance(guard, dict):
        conditions["guard_sha256"] = str(guard.get("sha256"))
    check = evaluation.leakage_check
    if check is not None:
        found = [
            *(_hits(entry.dataset, entry.hits, entry.items) for entry in check.datasets if entry.hits),
            *(_unknown_training(training.training) for training in check.trainings if training.status == "unknown"),
        ]
        conditions |= {"trained_on": as_json(together(found))} if found else {}
    return conditions


def _hits(dataset: str, hits: int, items: int) -> Code:
    return code("hits_of_items", dataset=dataset, hits=hits, items=items)


def _unknown_training(training: str) -> Code:
    return code("training_unknown", training=training)


def _condition(value: Any) -> Any:  # a JSON value under one of `CONDITIONS`
    """A condition in the form that is written now: rows of before there were codes say in text what was trained on."""
    if not isinstance(value, str):
        return value
    parts = [_HITS_BEFORE.fullmatch(part) for part in value.split("; ")]
    if not all(parts):
        return value
    found = [
        _unknown_training(part["name"])
        if part["hits"] is None
        else _hits(part["name"], int(part["hits"]), int(part["items"]))
        for part in parts
        if part is not None
    ]
    return as_json(together(found))


# `house: 3 of 224`, `polite-replies:1: unknown`
_HITS_BEFORE = re.compile(r"(?P<name>.*): (?:unknown|(?P<hits>[0-9]+) of (?P<items>[0-9]+))")


def _rows_used(data: DatasetUsed) -> dict[str, Any]:
    used = {
        "suite": data.name,
        "version": data.version,
        "data_sha256": str(data.sha256),
        "rows_used": data.rows_used,
    }
    if data.half is not None:
        used["half"] = data.half
    ids = data.selection_ids_sha256
    return used if ids is None else used | {"selection_ids_sha256": str(ids)}


def _interval(interval: Interval | None) -> dict[str, Any]:
    if interval is None:
        return {"low": None, "high": None}
    return {"low": interval.low, "high": interval.high, "level": interval.level, "interval": as_json(interval.method)}


def _figure(result: Result) -> dict[str, Any]:
    figure: dict[str, Any] = {
        "suite": result.dataset,
        "metric": result.metric,
        "slice": result.category,
        "arm": result.arm,
        "value": result.value,
        "n": result.n,
    }
    if result.value is None:
        figure["null_reason"] = None if result.null_reason is None else as_json(result.null_reason)
    return figure | _interval(result.interval)


def _loss(loss: LossComparison) -> dict[str, Any]:
    figures = {"before": loss.before, "after": loss.after, "change": loss.change, "n": loss.n}
    return {"suite": loss.dataset, "metric": "loss", "unit": LOSS_UNIT} | figures | _interval(loss.change_ci)


def _difference(comparison: Comparison) -> dict[str, Any]:
    where = {
        "suite": comparison.dataset,
        "metric": comparison.metric,
        "slice": comparison.category,
        "before": comparison.before,
        "after": comparison.after,
    }
    return where | {"change": comparison.net_change, "n": comparison.n} | _interval(comparison.net_change_interval)


def _bias(comparison: Comparison) -> dict[str, Any]:
    counts = ("n", "flagged", "fixed", "overcorrected", "persistent", "unresolved", "introduced")
    return (
        {
            "suite": comparison.dataset,
            "metric": comparison.metric,
            "slice": comparison.category,
            "before": comparison.before,
            "after": comparison.after,
        }
        | {name: getattr(comparison, name) for name in counts}
        | {"p_holm": comparison.test.p_holm if comparison.test else None, "conclusion": comparison.conclusion}
        | {"conclusion_reason": as_json(comparison.conclusion_reason)}
    )
