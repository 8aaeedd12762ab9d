"""Whether an evaluation kept to the plan that stands in the log before its scores.

Only thresholds that were set beforehand can gate anything. What proves `beforehand` is the log and no clock: the entry of the
plan is older than that of the evaluation.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from peft_registry.registry.evaluation.limits import limits_of
from peft_registry.registry.evaluation.recheck import Discrepancy
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.evaluation import LIMITS, PLAN, EvaluationPlan, EvaluationRecord, Limit, suites_of_plan
from peft_registry.schemas.identity import Digest


def plan_discrepancies(
    record: EvaluationRecord, plans: Mapping[Digest, EvaluationPlan], older: frozenset[Digest] | None = None
) -> Iterator[Discrepancy]:
    """Where an evaluation that names a logged plan did not follow it.

    Args:
        record: the evaluation.
        plans: what was presented with it, by the digest of the statement.
        older: those that stand before the evaluation in the log; None where no log is at hand.
    """
    stated = record.extra.get(PLAN)
    said = record.extra.get(LIMITS)
    if isinstance(said, dict) and said.get("not_planned") is None and _statement_of(stated) is None:
        yield Discrepancy(f"extra.{LIMITS}.not_planned", "planned", "no plan in a log is named")
    named = stated.get("statement") if isinstance(stated, dict) else None
    if not isinstance(stated, dict) or named is None:
        return
    place = f"extra.{PLAN}.statement"
    found = next((plan for digest, plan in plans.items() if str(digest) == named), None)
    if found is None:
        yield Discrepancy(place, str(named), "no plan of that digest is here")
        return
    if found.plan_sha256 != canonical_digest(found.plan) or str(found.plan_sha256) != stated.get("sha256"):
        yield Discrepancy(place, str(stated.get("sha256")), f"{found.plan_sha256} in the statement")
    if record.protocol.policy_sha256 != found.policy_sha256:
        yield Discrepancy("protocol.policy_sha256", str(record.protocol.policy_sha256), str(found.policy_sha256))
    for key, lo, hi in _bands(found.plan):
        band = record.protocol.thresholds.get(key)
        if band is None or band.lo < lo or band.hi < hi:  # noise widens a band, and nothing narrows it
            recorded = "absent" if band is None else f"{band.lo} … {band.hi}"
            yield Discrepancy(f"protocol.thresholds[{key}]", recorded, f"at least {lo} … {hi}, as planned")
    planned = _limits_of_plan(found.plan)
    if planned != limits_of(record):
        recorded = ", ".join(f"{limit.dataset}.{limit.figure}" for limit in limits_of(record)) or "none"
        yield Discrepancy(f"extra.{LIMITS}.limits", recorded, "those that were planned")
    if older is not None and not any(str(digest) == named for digest in older):
        yield Discrepancy(place, "logged before the evaluation", "logged after it")


def _limits_of_plan(plan: Mapping[str, Any]) -> tuple[Limit, ...] | None:
    """The limits of a plan; None where they cannot be read."""
    stated = plan.get(LIMITS, [])
    try:
        return tuple(Limit.from_json(limit) for limit in stated)
    except (ValidationError, TypeError, KeyError):
        return None


def _statement_of(stated: Any) -> Any:  # any JSON value
    return stated.get("statement") if isinstance(stated, dict) else None


def _bands(plan: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """The dead bands of a plan, as far as it has the form of one: it may come from anywhere."""
    for suite in suites_of_plan(plan).values():
        bands = suite.get("thresholds")
        for key, band in bands.items() if isinstance(bands, dict) else ():
            lo, hi = (band.get("lo"), band.get("hi")) if isinstance(band, dict) else (None, None)
            if isinstance(lo, int | float) and isinstance(hi, int | float):
                yield key, lo, hi
