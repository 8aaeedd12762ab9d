"""Who decided what about a version, as it was signed, and how each stands today: for a page beside MLflow's."""

from collections.abc import Iterator

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.record_licences import licence_flags_of
from peft_registry.registry.compliance.record_verdicts import verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.decisions import (
    PersonsDecision,
    bound_evidence,
    decided_by,
    decisions_of,
)
from peft_registry.registry.records.holds import holds_above
from peft_registry.registry.records.signed_records import Records, reading_of, records_of
from peft_registry.registry.records.stops import recalls_and_others, use_stops
from peft_registry.registry.records.trusted_reading import WhoseWord
from peft_registry.registry.reports.pages import PageTable
from peft_registry.registry.reports.wording import decided_text
from peft_registry.registry.use_cases.gate import (
    SUGGESTED,
    UNGUARDED,
    GateShown,
    gate_of,
    held_against,
    read_gate_policy,
)
from peft_registry.registry.use_cases.gate_facts import votes_on, waivers_on
from peft_registry.registry.use_cases.show_moves import moves_to
from peft_registry.registry.verification.signed_versions import signed_version
from peft_registry.schemas.acts import ShownStop
from peft_registry.schemas.policy import signer_text
from peft_registry.schemas.version import VerifyOutcome, Version

_Row = tuple[tuple[str, ...], ...]
_TABLES = {"gpai_modifier": "Model", "high_risk": "System"}


def decision_tables(registry: Registry, version: Version, outcome: VerifyOutcome | None) -> tuple[PageTable, ...]:
    """Verdicts, gates, what people decided, and moves of a version that was verified a moment ago.

    Without an outcome a gate is held against the records alone.

    Raises:
        IntegrityBroken: what is recorded of it is not what was signed.
    """
    records = records_of(registry, version)
    decisions = decisions_of(registry, version, records)
    recalls, stops = recalls_and_others(use_stops(registry, version.manifest_digest, label=version.label))
    holds = holds_above(registry, version.manifest_digest, version.label)
    return (
        *_verdicts(records, decided_by(decisions)),
        PageTable(
            title="The gate today",
            head=("Alias", "Policy", "Says", "Why, and what opens it"),
            rows=tuple(_gates(registry, signed_version(registry, version), outcome)),
            empty="",
        ),
        PageTable(
            title="Decisions",
            head=("Decided", "Person and key", "Day", "Under", "Reason", "Today"),
            rows=tuple(map(_decision, decisions)),
            empty="No person decided a question that the verdicts leave open.",
        ),
        PageTable(
            title="Approvals",
            head=("Person and key", "Day", "Under", "Reason", "Today"),
            rows=tuple(_approvals(registry, version, records)),
            empty="Nobody approved it.",
        ),
        PageTable(
            title="Waivers",
            head=("Rule", "Person", "Until", "Reason", "Today"),
            rows=tuple(_waivers(registry, version, records)),
            empty="No rule is waived for it.",
        ),
        PageTable(
            title="Holds",
            head=("What must be kept, by whom, since when, until when and why",),
            rows=tuple(((hold.text,),) for hold in holds),
            empty="Neither it nor anything that it was made from is on hold.",
        ),
        PageTable(
            title="Recalls",
            head=("What is recalled, by whom, when and why",),
            rows=tuple(((text,),) for text in recalls),
            empty="Neither it nor anything that it was made from is recalled.",
        ),
        *_other_stops(stops),
        PageTable(
            title="Moves of aliases",
            head=("Time", "Alias", "By", "Under", "Reason", "Entry"),
            rows=tuple(_moves(registry, version)),
            empty="No alias was ever moved to it.",
        ),
    )


def _other_stops(stops: tuple[ShownStop, ...]) -> Iterator[PageTable]:
    """A table of what other acts than a recall forbid, where any does."""
    if stops:
        yield PageTable(
            title="Other stops",
            head=("What is stopped, by whom, when and why", "Act", "It must not be"),
            rows=tuple(((stop.text,), (stop.kind,), (stop.act.forbidden,)) for stop in stops),
            empty="",
        )


def _verdicts(records: Records, decided: Decided) -> Iterator[PageTable]:
    head = ("Of the", "Status", "Why", "What is not answered")
    title = "Indicative status"
    if records.modification is None:
        yield PageTable(title=title, head=head, rows=(), empty="It has no modification record: nothing was modified.")
        return
    record = without_proposals(in_third_form(records.modification))
    verdicts = verdicts_of(record, decided=decided)
    rows = tuple(
        (
            (_TABLES[verdict.table],),
            (verdict.text,),
            verdict.reasons or ("too much is not answered" if verdict.row is None else f"row {verdict.row}",),
            tuple(verdict.open_questions) or ("nothing",),
        )
        for verdict in verdicts.both
    )
    yield PageTable(title=f"{title}, by the record of {record.record_created_at[:10]}", head=head, rows=rows, empty="")
    yield PageTable(
        title="Said beside the status",
        head=("Flag", "Why", "Effect"),
        rows=tuple(((flag.title,), (flag.because,), (flag.effect,)) for flag in verdicts.flags),
        empty="Nothing is.",
    )
    yield PageTable(
        title="Licence flags",
        head=("Of its own licence, its bases and its data",),
        rows=tuple(((flag,),) for flag in licence_flags_of(record)),
        empty="None follows from the licences that are recorded.",
    )


def _gates(registry: Registry, version: Version, outcome: VerifyOutcome | None) -> Iterator[_Row]:
    """Each alias before the policy that it is bound to, else the one that let it through.

    Where there is neither, or no alias, before the policy that `registry promote` asks where nobody names one.
    """
    for alias in version.aliases or (None,):
        shown = None if alias is None else gate_of(registry, version, alias, outcome)
        if shown is not None:
            bound = () if shown.bound is None else (shown.bound,)
            says = "open" if shown.decision.is_open else "closed"
            yield (f"@{alias}",), (_named(shown), *bound), (says,), _reasons(shown)
            continue
        shown = held_against(registry, version, read_gate_policy(SUGGESTED), outcome)
        says = f"would be {'open' if shown.decision.is_open else 'closed'}"
        named = f"none; shown is {_named(shown)}, which `registry promote` asks where nobody names another"
        if alias is None:
            yield ("none yet",), (named,), (says,), _reasons(shown)
        else:
            yield (f"@{alias}",), (named, f"guards {UNGUARDED}"), (says,), _reasons(shown)


def _named(shown: GateShown) -> str:
    return f"{shown.policy} ({shown.policy_digest.short})"


def _reasons(shown: GateShown) -> tuple[str, ...]:
    reasons = [f"{reason.rule}: {reason.text} → {reason.remedy}" for reason in shown.decision.reasons]
    waived = [f"waived: {entry.reason.rule}, until {entry.waiver.until[:10]}" for entry in shown.decision.suspended]
    return (*((*reasons, *dict.fromkeys(waived)) or ("nothing is missing",)), *shown.cautions)


def _decision(decision: PersonsDecision) -> _Row:
    return (
        (f"{_sentence(decision)} ({decision.question}: {'yes' if decision.is_yes else 'no'})",),
        (signer_text(decision.key_id, decision.person if decision.role else None, decision.role),),
        (str(decision.at)[:10],),
        (decision.policy_name,),
        (decision.reason,),
        (f"does not count: {decision.objection}" if decision.objection else "counts",),
    )


def _sentence(decision: PersonsDecision) -> str:
    """What was decided, in words, as the first on its line."""
    words = decided_text(decision.question, is_yes=decision.is_yes)
    return f"{words[0].upper()}{words[1:]}"


def _approvals(registry: Registry, version: Version, records: Records) -> Iterator[_Row]:
    bound = bound_evidence(registry, version, records)
    for vote in votes_on(reading_of(registry), records.statements, bound):
        counts = f"does not count: {vote.objection}" if vote.objection else "counts"
        yield (
            (WhoseWord(registry.trust).who(vote.key_id),),
            (str(vote.at)[:10],),
            (vote.policy_name,),
            (vote.reason,),
            (counts,),
        )


def _waivers(registry: Registry, version: Version, records: Records) -> Iterator[_Row]:
    now = registry.clock()
    bound = bound_evidence(registry, version, records)
    for waiver in waivers_on(reading_of(registry), records.statements, bound):
        over = "it is over" if waiver.until <= now else ""
        objection = waiver.objection or over
        counts = f"does not count: {objection}" if objection else "counts, where the policy lets it be waived"
        yield (waiver.rule,), (waiver.person,), (waiver.until[:10],), (waiver.reason,), (counts,)


def _moves(registry: Registry, version: Version) -> Iterator[_Row]:
    for move in moves_to(registry, (version,)):
        where = f"@{move.alias}" if move.version is not None else f"@{move.alias} taken away"
        policy = move.policy or "no policy"
        yield (move.at,), (where,), (move.by,), (policy,), (move.reason or "none is given",), (f"{move.log_index}",)
