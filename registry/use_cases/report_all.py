"""`report --all`: the whole registry on a page, read version by version from what was signed; no file of a version is read.

What is kept of it is bounded, and what is read of a version does not depend on how many there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version as package_version

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.record_licences import licence_flags_of
from peft_registry.registry.compliance.record_verdicts import verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.rare_collections import rare_collections
from peft_registry.registry.records.bindings import binding_of
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.decisions import BoundEvidence, bound_evidence, decided_by
from peft_registry.registry.records.evaluations import newest_of_each, stale_for
from peft_registry.registry.records.holds import every_hold
from peft_registry.registry.records.signed_records import reading_of, records_of, version_statements
from peft_registry.registry.records.stops import use_stops
from peft_registry.registry.records.version_statements import VersionStatements
from peft_registry.registry.records.views import view_of
from peft_registry.registry.reports.whole_registry import (
    Due,
    GatheredLists,
    InUse,
    OpenQuestions,
    Undecided,
    WholeRegistry,
)
from peft_registry.registry.use_cases.gate import SUGGESTED, gate_by_records, newest_move
from peft_registry.registry.use_cases.gate_facts import votes_on, waivers_on
from peft_registry.registry.use_cases.show_verdict import persons_decisions
from peft_registry.registry.verification.signed_versions import all_signed_versions
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.version import Version

_DECISIONS = ("alias", "approval", "waiver", "decision", "hold")
_MOST_DAYS = 36_500
# of keys that a registry holds itself; others have been made by their persons
_KEY_REMEDIES = {role: f"`registry trust rotate {role}`" for role in ("trainer", "log", "root")}


class WithinRefused(InputRefused):
    what = "{days} days ahead are out of range"
    why = "what falls due is listed for 0 to {most} days ahead"
    fix = "write --within 90, or another number of days"

    days: int
    most: int


@rare_collections()
def report_all(registry: Registry, *, within_days: int) -> WholeRegistry:
    """The report on every version of a registry, and on its keys, as of now.

    Args:
        registry: open.
        within_days: how far ahead what falls due is listed; what lies behind it is counted.

    Raises:
        WithinRefused: not so many days can be looked ahead.
        IntegrityBroken: what is recorded of a version is not what was signed.
    """
    if not 0 <= within_days <= _MOST_DAYS:
        raise WithinRefused(within_days, _MOST_DAYS)
    now = registry.clock()
    collected = GatheredLists(now=now, days=within_days)
    for due in (*_of_trust(registry.trust, now), *_of_holds(registry)):
        collected.add_due(due)
    for version in all_signed_versions(registry):
        if version.kind == "base":
            collected.bases += 1
            if version.aliases:
                said = version_statements(registry, version)
                _collect_aliases(registry, version, said, _Standing.of(registry, version, said, None), collected)
            continue
        collected.versions += 1
        _collect(registry, version, collected)
    with registry.database.read() as tx:
        size = SqlLogStore(tx).size()
    covered = covered_size(registry)
    return WholeRegistry(
        title=registry.origin,
        made_at=now,
        until=collected.until,
        tool_version=package_version("peft-registry"),
        covered=covered,
        pending=max(0, size - covered),
        versions=collected.versions,
        bases=collected.bases,
        undecided=collected.undecided.listed,
        undecided_count=collected.undecided.count,
        open=collected.open.listed,
        open_count=collected.open.count,
        in_use=collected.in_use.listed,
        in_use_count=collected.in_use.count,
        worrying=collected.worrying,
        due=collected.due.listed,
        due_count=collected.due.count,
        kinds=collected.kinds,
    )


def _collect(registry: Registry, version: Version, collected: GatheredLists) -> None:
    said = version_statements(registry, version)
    if not any(entry.kind in _DECISIONS for entry in said.statements):
        explain = f"`registry promote {version.label} ALIAS --explain` says what is missing"
        collected.add_undecided(Undecided(version=version.label, registered_at=version.registered_at, remedy=explain))
    record = None if said.record is None else in_third_form(said.record.record)
    if record is not None:
        _collect_open(version, record, decided_by(persons_decisions(registry, version, said)), collected)
        _collect_retention(version, record, collected)
    for due in _of_waivers(registry, version, said):
        collected.add_due(due)
    if version.aliases:
        _collect_aliases(registry, version, said, _Standing.of(registry, version, said, record), collected)


def _collect_aliases(
    registry: Registry, version: Version, said: VersionStatements, standing: "_Standing", collected: GatheredLists
) -> None:
    """What points at a version or a base, and what of that does not hold today."""
    for due in standing.due(version, collected.now):
        collected.add_due(due)
    for alias in version.aliases:
        collected.add_in_use(_in_use(registry, version, alias, said, standing))


def _collect_open(version: Version, record: ModificationRecord, decided: Decided, collected: GatheredLists) -> None:
    counted = completeness(record)
    status = tuple(
        dict.fromkeys(
            question
            for verdict in verdicts_of(without_proposals(record), decided=decided).both
            for question in verdict.missing
        )
    )
    if status or counted.open:
        remedy = f"`registry decide {version.label} --form gaps.yml`"
        questions = OpenQuestions(version=version.label, status=status, fields=counted.sentence, remedy=remedy)
        collected.add_open(questions, count=len(counted.open))


def _collect_retention(version: Version, record: ModificationRecord, collected: GatheredLists) -> None:
    until = record.retention.until
    if until.known:
        text = "its documentation is kept until then"
        remedy = f"`registry record {version.label}` says why; a later day is declared with `registry decide`"
        collected.add_due(
            Due(on=str(until.value)[:10], kind="retention", about=version.label, text=text, remedy=remedy)
        )


def _of_trust(trust: TrustPolicy, now: Timestamp) -> Iterator[Due]:
    """The end of the trust file, and of every key that still counts."""
    yield Due(
        on=trust.expires_at[:10],
        kind="trust file",
        about=f"version {trust.version}",
        text=f"it decides nothing from {trust.expires_at} on",
        remedy="`registry trust renew` by whoever holds the root",
    )
    for key in trust.keys:
        if trust.revocation(key.key_id) is None:
            over = "; what it signed before still counts" if key.valid_until <= now else ""
            yield Due(
                on=key.valid_until[:10],
                kind="key",
                about=f"{key.person}, {key.role}",
                text=f"key {key.key_id[:12]}… signs nothing from {key.valid_until} on{over}",
                remedy=_KEY_REMEDIES.get(key.role, "list a new key of this person with `registry trust add`"),
            )


def _of_holds(registry: Registry) -> Iterator[Due]:
    """The end of every hold that has one; nothing refuses a deletion for its sake from then on."""
    with view_of(registry) as view:
        for subject, hold in every_hold(view).by_subject.items():
            if hold.until is None:
                continue
            versions = catalog.version_by_digest(view.tx, subject)
            about = ", ".join(version.label for version in versions) or f"{hold.source.name} ({subject.short})"
            yield Due(
                on=hold.until[:10],
                kind="hold",
                about=about,
                text=f"it may be deleted again: {hold.because}",
                remedy=f"`registry hold {subject} --until YYYY-MM-DD --reason TEXT --key FILE`, if it has to be kept longer",
            )


def _of_waivers(registry: Registry, version: Version, said: VersionStatements) -> Iterator[Due]:
    """The end of every waiver that counts for a version as it is now."""
    if not any(entry.kind == "waiver" for entry in said.statements):
        return
    records = records_of(registry, version)
    bound = bound_evidence(registry, version, records)
    for waiver in waivers_on(reading_of(registry), said.statements, bound):
        if waiver.objection:
            continue
        yield Due(
            on=waiver.until[:10],
            kind="waiver",
            about=version.label,
            text=f"the rule {waiver.rule} counts again: {waiver.reason}",
            remedy=f"`registry promote {version.label} ALIAS --explain` says whether it is met",
        )


@dataclass(frozen=True, slots=True)
class _Standing:
    """What of a version that is in use does not hold today."""

    stale: tuple[str, ...]  # evaluations, and why each does not speak of it
    is_evaluated: bool
    is_base: bool  # which is what others are compared with, and is not evaluated for itself
    lapsed: tuple[str, ...]  # approvals, and why each does not count
    undecided: tuple[str, ...]  # decisions of persons, likewise
    flags: tuple[str, ...]  # beside its status, and of licences
    stops: tuple[str, ...]  # who stopped its use, and why

    @classmethod
    def of(
        cls,
        registry: Registry,
        version: Version,
        said: VersionStatements,
        record: ModificationRecord | None,
    ) -> "_Standing":
        """As a version is now, by its own record."""
        evaluations = newest_of_each(
            [
                entry.statement.read_by(EvaluationRecord.from_json)
                for entry in said.statements
                if entry.kind == "bias-evaluation" and entry.digest not in said.pending_evaluations
            ]
        )
        stale = [(evaluation, stale_for(registry, version, evaluation)) for evaluation in evaluations]
        bound = BoundEvidence.of(record, [evaluation for evaluation, why in stale if why is None])
        return cls(
            stale=tuple(
                f"the evaluation of {', '.join(data.name for data in evaluation.datasets)} is {why}"
                for evaluation, why in stale
                if why is not None
            ),
            is_evaluated=bool(bound.evaluations),
            is_base=version.kind == "base",
            lapsed=tuple(_lapsed(registry, said, bound)),
            undecided=tuple(_no_longer_decided(registry, version, said)),
            flags=() if record is None else tuple(_flags(registry, version, said, record)),
            stops=tuple(stop.text for stop in use_stops(registry, version.manifest_digest, label=version.label)),
        )

    @property
    def worry(self) -> tuple[str, ...]:
        """A line for each."""
        is_asked = not (self.is_evaluated or self.stale or self.is_base)
        never = ("it was not evaluated",) if is_asked else ()
        return (*self.stops, *self.stale, *never, *self.lapsed, *self.undecided)

    def due(self, version: Version, now: Timestamp) -> Iterator[Due]:
        """They are due now."""
        for text in self.stale:
            remedy = f"`registry evaluate {version.label}`"
            yield Due(on=now[:10], kind="evaluation", about=version.label, text=text, remedy=remedy)
        for text in self.lapsed:
            command = f"`registry gate approve {version.label} --policy NAME|FILE --reason TEXT --key FILE`"
            remedy = f"{command}, once it was looked at again"
            yield Due(on=now[:10], kind="approval", about=version.label, text=text, remedy=remedy)
        for text in self.undecided:
            command = f"registry decide {version.label} --on QUESTION --outcome yes|no"
            remedy = f"`{command} --policy NAME|FILE --reason TEXT --key FILE`"
            yield Due(on=now[:10], kind="decision", about=version.label, text=text, remedy=remedy)


def _flags(registry: Registry, version: Version, said: VersionStatements, record: ModificationRecord) -> Iterator[str]:
    """What is said beside the status of a version, and what the licences of all that is in its record restrict."""
    decided = decided_by(persons_decisions(registry, version, said))
    for flag in verdicts_of(without_proposals(record), decided=decided).flags:
        yield f"{flag.name.replace('_', ' ')} ({flag.flag})"
    yield from (f"licence: {flag.replace('_', ' ')}" for flag in licence_flags_of(record))


def _lapsed(registry: Registry, said: VersionStatements, bound: BoundEvidence) -> Iterator[str]:
    """The approvals that do not count for a version as it is now; of one person the newest alone."""
    newest = {vote.person: vote for vote in votes_on(reading_of(registry), said.statements, bound)}
    for vote in newest.values():
        if vote.objection:
            yield f"the approval of {vote.person} of {str(vote.at)[:10]} does not count: {vote.objection}"


def _no_longer_decided(registry: Registry, version: Version, said: VersionStatements) -> Iterator[str]:
    """The decisions that do not count for a version as it is now; of one question the newest alone."""
    newest = {decision.question: decision for decision in persons_decisions(registry, version, said)}
    for decision in newest.values():
        if decision.objection:
            yield f"a decision does not count: {decision.objection} ({decision.text})"


def _in_use(registry: Registry, version: Version, alias: str, said: VersionStatements, standing: _Standing) -> InUse:
    move = newest_move(registry, version, alias, said.statements)
    binding = binding_of(registry, version.name, alias)
    gate = None if move is None else move.said.gate
    another = binding is not None and (gate is None or gate.policy != binding.policy)
    passed = "it passed another policy than the one that it is bound to"
    reason = "" if move is None or move.said.reason is None else f": {move.said.reason}"
    # the status of an alias that no policy was asked of and that is bound to none has to name one
    named = f" --policy {SUGGESTED}" if gate is None and binding is None else ""
    return InUse(
        alias=f"{version.name}@{alias}",
        version=version.label,
        moved="by a move that is not signed" if move is None else f"{_by_whom(registry, move.stored)}{reason}",
        policy=None if gate is None else f"policy {gate.policy_name} ({gate.policy.short})",
        flags=standing.flags,
        bound=None if binding is None else f"bound to {binding.policy_name} by {binding.by} on {binding.at[:10]}",
        worry=(*((passed,) if another else ()), *standing.worry, *_closed(registry, version, alias)),
        remedy=f"`registry gate status {version.name}@{alias}{named}`",
    )


def _by_whom(registry: Registry, entry: StoredStatement) -> str:
    return f"by {registry.trust.person_of(entry.key_id) or entry.key_id[:12]} on {str(entry.appended_at)[:10]}"


def _closed(registry: Registry, version: Version, alias: str) -> Iterator[str]:
    """That the policy of an alias says no today, by the records."""
    gate = gate_by_records(registry, version, alias)
    if gate is not None and not gate.decision.is_open:
        rules = ", ".join(dict.fromkeys(reason.rule for reason in gate.decision.reasons))
        yield f"blocked today by policy {gate.policy}: {rules}"
