"""The evaluation section of a modification record, from the evidence record of an evaluation. Nothing is averaged or judged.

A version may be evaluated again after it was registered: the section of the record that supersedes then has both.
"""

from collections.abc import Sequence
from typing import Any

from peft_registry.schemas.document import Frozen
from peft_registry.schemas.evaluation import PLAN, Comparison, EvaluationRecord, Interval, LossComparison, Result
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import Evaluation
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Timestamp, Value, derived, measured, unknown

_NO_EVALUATION = unknown("no evaluation was recorded with this modification")
_NO_PLAN = unknown("the evaluation followed no plan that was fixed before it")
STALE = "stale"
"""Status of the run of an evaluation that was made of an ingredient and not of the result."""
NOT_REPEATED = "the evaluations of the ingredients were not repeated on the merged model"


class EvaluationSigner(Frozen):
    """Whose key signs the evaluation, and when."""

    key_id: str
    person: str | None
    at: Timestamp


class EvaluationSignature(Frozen):
    """Whose key signed an evaluation that is logged: its statement, and the time of its entry."""

    statement: Digest
    key_id: str
    person: str | None
    at: Timestamp


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
    evidence = (evaluation.canonical_digest(), evaluation.items.sha256)
    protocol = evaluation.protocol
    delta = [_loss(loss) for loss in evaluation.losses] or _run_loss(run)
    delta += [_difference(comparison) for comparison in evaluation.findings]
    bias = [_bias(comparison) for comparison in evaluation.findings]
    return Evaluation.of_known(
        runs=measured(_runs(evaluation), method=_harness(evaluation), evidence=evidence),
        metrics=_listed([_figure(result) for result in evaluation.results], _harness(evaluation), evidence),
        delta=derived(delta, method="after − before on the same items", evidence=evidence) if delta else None,
        bias=_listed(bias, "paired comparison of the same items", evidence),
        limitations=_listed(list(evaluation.limitations), "stated by the evaluation", evidence),
        plan_digest=_plan(evaluation),
        plan_created_at=measured(protocol.preregistered_at) if protocol.preregistered_at else _NO_PLAN,
        **_signature(signer, evaluation),
    )


# what a later evaluation adds to, and what it writes of itself
_JOINED = ("runs", "metrics", "delta", "bias", "limitations")
WRITTEN_BY_EVALUATIONS = frozenset(
    f"evaluation.{name}" for name in (*_JOINED, "plan_digest", "plan_created_at", "signed_by", "signed_at")
)


def with_later_evaluations(
    before: Evaluation, later: Sequence[EvaluationRecord], signatures: Sequence[EvaluationSignature]
) -> Evaluation:
    """The section with what was measured after the record was made.

    Of a suite that was scored again the newer figures stand here; the older ones stay in the record that is superseded.

    Args:
        before: as it was recorded.
        later: evaluations of the same artifact, at least one, in the order of the log.
        signatures: of every evaluation of the version, in the order of the log.
    """
    sections = [evaluation_section(evaluation, None) for evaluation in later]
    suites = {data.name for evaluation in later for data in evaluation.datasets}
    last = signatures[-1]
    joined = {
        name: _joined(getattr(before, name), [getattr(section, name) for section in sections], suites)
        for name in _JOINED
    }
    return before.revised(
        **joined,
        plan_digest=sections[-1].plan_digest,
        plan_created_at=sections[-1].plan_created_at,
        signed_by=measured(
            [_signer(signature.key_id, signature.person) | {"at": signature.at} for signature in signatures],
            method="the entries of the evaluations in the log",
            evidence=tuple(signature.statement for signature in signatures),
        ),
        signed_at=measured(last.at, method="the newest entry of an evaluation in the log", evidence=(last.statement,)),
    )


def _joined(before: Value, later: Sequence[Value], suites: set[str]) -> Value:
    """The recorded rows that still speak, then those measured later."""
    known = [value for value in later if value.known]
    if not known:
        return before
    rows = [row for row in before.value or [] if _still_speaks(row, suites)]
    for value in known:
        rows += [row for row in value.value if row not in rows]
    methods = dict.fromkeys(value.method for value in (before, *known) if value.known and value.method)
    evidence = dict.fromkeys(digest for value in (before, *known) for digest in value.evidence)
    return known[-1].revised(value=rows, method="; ".join(methods) or None, evidence=tuple(evidence))


def _still_speaks(row: Any, suites: set[str]) -> bool:  # a row of a recorded list: an object, or a sentence
    if isinstance(row, dict):
        return row.get("suite") not in suites and row.get("status") != STALE
    return bool(row != NOT_REPEATED)


def _plan(evaluation: EvaluationRecord) -> Value:
    """The digest of what was to be scored and how, which the evaluation fixes before it scores anything."""
    plan = evaluation.extra.get(PLAN)
    if not isinstance(plan, dict) or not isinstance(plan.get("sha256"), str):
        policy = evaluation.protocol.policy_sha256
        return measured(str(policy), method="SHA-256 of the file of thresholds") if policy else _NO_PLAN
    where = (
        f"entry {plan['log_index']} of the log" if "log_index" in plan else "in the evaluation, and in no log before it"
    )
    return measured(plan["sha256"], method=f"SHA-256 of the plan's canonical JSON; {where}")


def _signature(signer: EvaluationSigner | None, evaluation: EvaluationRecord) -> dict[str, Value]:
    if signer is None:
        return {}
    by = _signer(signer.key_id, signer.person)
    evidence = (evaluation.canonical_digest(),)
    return {
        "signed_by": measured(
            [by], method="signs the evaluation and this record, one after the other", evidence=evidence
        ),
        "signed_at": derived(
            signer.at, method="the time of this record; the evaluation's entry in the log has its own"
        ),
    }


def _signer(key_id: str, person: str | None) -> dict[str, str]:
    return {"key": key_id} | ({"person": person} if person else {})


def _listed(items: list[Any], method: str, evidence: tuple[Digest, ...]) -> Value | None:
    return measured(items, method=method, evidence=evidence) if items else None


def _loss_only(run: RunRecord | None) -> Evaluation:
    delta = _run_loss(run)
    loss = derived(delta, method="held-out loss after − before, on the same rows") if delta else _NO_EVALUATION
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
    before, after = run.loss_before.value, run.loss_after.value
    return [{"metric": "loss", "unit": "nats per token", "before": before, "after": after, "change": after - before}]


def _harness(evaluation: EvaluationRecord) -> str:
    return f"{evaluation.harness.get('name', 'harness')} {evaluation.harness.get('version', '')}".strip()


def _runs(evaluation: EvaluationRecord) -> list[dict[str, Any]]:
    arms = [{"name": arm.name, "composition": str(arm.composition_digest)} for arm in evaluation.arms]
    return [
        {
            "suite": data.name,
            "version": data.version,
            "data_sha256": str(data.sha256),
            "rows_used": data.rows_used,
            "arms": arms,
            "seeds": dict(evaluation.seeds),
            "finished_at": evaluation.created_at,
        }
        for data in evaluation.datasets
    ]


def _interval(interval: Interval | None) -> dict[str, Any]:
    if interval is None:
        return {"low": None, "high": None}
    return {"low": interval.low, "high": interval.high, "level": interval.level, "interval": interval.method}


def _figure(result: Result) -> dict[str, Any]:
    figure: dict[str, Any] = {
        "suite": result.dataset,
        "metric": result.metric,
        "slice": result.category,
        "arm": result.arm,
        "value": result.value,
        "n": result.n,
    }
    figure |= {"null_reason": result.null_reason} if result.value is None else {}
    return figure | _interval(result.ci)


def _loss(loss: LossComparison) -> dict[str, Any]:
    figures = {"before": loss.before, "after": loss.after, "change": loss.change, "n": loss.n}
    return {"suite": loss.dataset, "metric": "loss", "unit": "nats per token"} | figures | _interval(loss.change_ci)


def _difference(comparison: Comparison) -> dict[str, Any]:
    where = {
        "suite": comparison.dataset,
        "metric": comparison.metric,
        "slice": comparison.category,
        "before": comparison.before,
        "after": comparison.after,
    }
    return where | {"change": comparison.net_change, "n": comparison.n} | _interval(comparison.net_change_ci)


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
        | {"conclusion_reason": comparison.conclusion_reason}
    )
