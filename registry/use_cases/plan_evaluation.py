"""Logging the plan of an evaluation before anything is scored, so that its thresholds can decide something."""

from typing import Any

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.plans import LoggedEvaluationPlan, logged_plans
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.evaluation import EvaluationPlan
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version


def log_plan(registry: Registry, version: Version, plan: dict[str, Any], *, policy: Digest) -> LoggedEvaluationPlan:
    """Sign the plan and append it to the log; the same plan twice stands there once, at its first place.

    Args:
        registry: open and writable.
        version: what is going to be evaluated.
        plan: any JSON object.
        policy: digest of the file that sets the thresholds.

    Raises:
        KeyLacksRole: the trust file, written before there were plans, does not let the key sign one.
        KnownError: as `append_statement`.
    """
    predicate = EvaluationPlan(plan_sha256=canonical_digest(plan), policy_sha256=policy, plan=plan)
    signed = append_statement(
        registry,
        subject=version.manifest_digest,
        kind="evaluation-plan",
        predicate=predicate.to_json(),
        signer=registry.trainer_key,
    )
    return logged_plans(registry, version)[signed.digest]
