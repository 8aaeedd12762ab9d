"""The evaluation plans that stand in the log. `use_cases/plan_evaluation.py` logs them, `evaluation/plans.py` judges by them."""

from collections.abc import Mapping
from dataclasses import dataclass

from peft_registry.registry.evaluation.halves import shares_items
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import signed_statements
from peft_registry.schemas.evaluation import EvaluationPlan, EvaluationRecord, Part
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version


@dataclass(frozen=True, slots=True)
class LoggedEvaluationPlan:
    """A plan as it stands in the log: digest of its statement, entry, time (RFC 3339), and what it says."""

    digest: Digest
    log_index: int
    appended_at: str
    plan: EvaluationPlan


def logged_plans(registry: Registry, version: Version) -> Mapping[Digest, LoggedEvaluationPlan]:
    """The plans that were logged about a version, by the digest of their statement."""
    stored = signed_statements(registry, version.manifest_digest)
    return {
        plan.digest: LoggedEvaluationPlan(
            plan.digest, plan.log_index, plan.appended_at, plan.statement.read_by(EvaluationPlan.from_json)
        )
        for plan in stored
        if plan.kind == "evaluation-plan" and plan.log_index is not None and plan.appended_at is not None
    }


def earlier_evaluation(
    registry: Registry,
    version: Version,
    asked: Mapping[str, Part | None],
    *,
    before: int,
    digests: Mapping[str, Digest] | None = None,
) -> int | None:
    """The log entry of the first evaluation of a version, older than an entry, that asked some of the same items; None for none.

    Args:
        registry: holds the log.
        version: that is evaluated.
        asked: data sets, each with the half of it, or its screen; None: the whole.
        before: the log entry.
        digests: of other data that is asked, by name: it is the same under another name.
    """
    others = {} if digests is None else digests
    for stored in signed_statements(registry, version.manifest_digest):
        if stored.kind == "bias-evaluation" and stored.log_index is not None and stored.log_index < before:
            record = stored.statement.read_by(EvaluationRecord.from_json)
            if any(
                (used.name in asked and shares_items(used.half, asked[used.name]))
                or used.name in others
                or used.sha256 in others.values()
                for used in record.datasets
            ):
                return stored.log_index
    return None
