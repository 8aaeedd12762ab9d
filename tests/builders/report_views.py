"""The page of a version as values, from facts that a test names one by one."""

from collections.abc import Mapping
from typing import Any

from peft_registry.registry.reports.decisions import AliasGate
from peft_registry.registry.reports.evaluation_view import ShownEvaluation
from peft_registry.registry.reports.version_facts import KeyHolders, PageChecks, RecordHistory, VersionFacts
from peft_registry.registry.reports.view import build_report_view
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.report import RecordStep, ReportView
from peft_registry.schemas.version import VerifyOutcome
from tests.builders.records import NOW, TOOL


def a_report_view(
    *,
    evaluation: EvaluationRecord | None = None,
    evaluations: tuple[ShownEvaluation, ...] = (),
    persons: Mapping[str, str] | None = None,
    roles: Mapping[str, str] | None = None,
    roots: tuple[str, ...] = (),
    record_steps: tuple[RecordStep, ...] = (),
    record_notes: tuple[str, ...] = (),
    verification: VerifyOutcome | None = None,
    gates: Mapping[str, AliasGate] | None = None,
    **recorded: Any,  # the other fields of `VersionFacts`
) -> ReportView:
    """A report as of the time of the builders; `evaluation` is shown where `evaluations` names none."""
    alone = () if evaluation is None else (ShownEvaluation(evaluation),)
    return build_report_view(
        VersionFacts(**recorded, evaluations=evaluations or alone),
        as_of=NOW,
        tool_version=TOOL,
        holders=KeyHolders(persons or {}, roles or {}, roots),
        history=RecordHistory(record_steps, record_notes),
        checks=PageChecks(verification, gates or {}),
    )
