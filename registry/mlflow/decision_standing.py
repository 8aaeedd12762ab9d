"""How what people decided about a version stands now, as its page in MLflow says it. By its records: no file of it is read."""

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.record_verdicts import verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.shown_facts import DecidedState
from peft_registry.registry.records.decisions import bound_evidence
from peft_registry.registry.records.signed_records import Records, reading_of
from peft_registry.registry.use_cases.gate import gate_by_records
from peft_registry.registry.use_cases.gate_facts import votes_on
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.version import Version


def standing_of(registry: Registry, version: Version, records: Records, decided: Decided) -> DecidedState:
    """How what people decided about a version stands now, by its records: no file of it is read."""
    verdict = verdict_words = None
    if records.modification is not None:
        model, system = verdicts_of(without_proposals(in_third_form(records.modification)), decided=decided).both
        verdict = f"model: {model.status}; system: {system.status}"
        verdict_words = f"model: {model.words}; system: {system.words}"
    return DecidedState(
        verdict=verdict,
        verdict_words=verdict_words,
        gates=tuple(f"{alias}: {gate_text(registry, version, alias)}" for alias in sorted(version.aliases)),
        approvals=_approvals(registry, version, records),
    )


def gate_text(registry: Registry, version: Version, alias: str) -> str:
    """The policy before an alias of a version, and whether it is open by the records."""
    try:
        shown = gate_by_records(registry, version, alias)
    except (IntegrityBroken, NotChecked) as error:
        # whoever reads the alias is told; its version is copied all the same
        return f"not checked, {error.what}"
    if shown is None:
        return "no policy"
    state = "open" if shown.decision.is_open else f"closed by {len(shown.decision.reasons)}"
    return f"{shown.policy}, {state}"


def _approvals(registry: Registry, version: Version, records: Records) -> str | None:
    """The persons whose newest approval counts under the policy that it names; None where nobody approved."""
    if not any(entry.kind == "approval" for entry in records.statements):
        return None
    votes = votes_on(reading_of(registry), records.statements, bound_evidence(registry, version, records))
    newest = {vote.person: vote for vote in votes}
    counting = [person for person, vote in newest.items() if not vote.objection]
    return f"{len(counting)} of {len(newest)} count" + (f": {', '.join(counting)}" if counting else "")
