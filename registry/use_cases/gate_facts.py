"""What a gate is told of a version: gathered from its signed records, evaluations, approvals and waivers, as they are today."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from pydantic import ValidationError

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.assessment import is_screened
from peft_registry.registry.compliance.base_terms import EU_EXCLUSION, eu_exclusion_of
from peft_registry.registry.compliance.completeness import completeness, is_yes, makes_media
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.proposals import unsigned_in
from peft_registry.registry.compliance.record_licences import (
    inherited_licence_flags,
    licence_flags_of,
    own_licence_flags,
    stated_licence_flags,
)
from peft_registry.registry.compliance.record_verdicts import verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.evaluation.extra_figures import recorded_measures
from peft_registry.registry.evaluation.halves import is_whole, screens_of
from peft_registry.registry.evaluation.leakage import beyond_limit, leakage_lines
from peft_registry.registry.evaluation.limits import readable_verdicts, verdict_line
from peft_registry.registry.evaluation.lost_quality import lost_quality
from peft_registry.registry.evaluation.sign_flips import highest_change
from peft_registry.registry.gate.facts import (
    DecisionFact,
    FigureWithInterval,
    FlaggedChange,
    GateFacts,
    LostFact,
    MetricFact,
    Status,
    SuiteFacts,
    Vote,
    Waiver,
)
from peft_registry.registry.gate.policy import PROMOTION_STOPS
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.ancestry import ancestry_of
from peft_registry.registry.records.decisions import (
    BoundEvidence,
    PersonsDecision,
    bound_evidence,
    decided_by,
    decisions_of,
    makers_among,
    makers_of,
    strict_reading,
)
from peft_registry.registry.records.evaluations import judged_now, newest_of_each, stale_for
from peft_registry.registry.records.signed_records import Records, records_of, require_derived
from peft_registry.registry.records.stops import shown_stops
from peft_registry.registry.records.trusted_reading import TrustedReading
from peft_registry.registry.records.views import view_of
from peft_registry.registry.storage.interface import ObjectMissing
from peft_registry.registry.use_cases.statements import entry_time
from peft_registry.registry.verification.presented_records import PresentedVersion
from peft_registry.schemas.acts import ApprovalPredicate, ShownStop, WaiverPredicate
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.evaluation import CONTROL_ARMS, Comparison, EvaluationRecord, task_named
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.version import VerifyOutcome, Version

_NOT_KNOWN = "trained_on_unknown"
"""The line of a check for leaked items that says of which training nothing is known."""


def gate_facts(
    registry: Registry,
    version: Version,
    policy: Digest,
    outcome: VerifyOutcome | None,
    *,
    at: Timestamp | None = None,
    newer_editions: bool = False,
) -> GateFacts:
    """Everything that a policy is held against.

    Args:
        registry: open.
        version: which.
        policy: the SHA-256 of the policy's bytes, which approvals and waivers have to name.
        outcome: how it verified a moment ago; None where no file of it is read.
        at: the time by which it is judged what is over; None for now.
        newer_editions: whether a record of a newer, announced edition counts as it is written.

    Raises:
        IntegrityBroken: what is recorded of it is not what was signed.
        RecordNotDerived: its record is of an edition that this release does not know, and that is not allowed.
    """
    records = records_of(registry, version)
    if not newer_editions:
        require_derived(records, version)
    evaluations = newest_of_each(records.evaluations)
    evidence = GateEvidence(
        version=version,
        records=records,
        judged=tuple(zip(evaluations, judged_now(registry, version, evaluations), strict=True)),
        stale=lambda record: _text_or_none(stale_for(registry, version, record)),
        bound=bound_evidence(registry, version, records),
        decisions=decisions_of(registry, version, records),
        makers=tuple(makers_of(registry, records)),
        stops=shown_stops(registry, PROMOTION_STOPS, version.manifest_digest, label=version.label),
        inherited_licence_flags=tuple(dict.fromkeys(_inherited_licence_flags(registry, version, records))),
        reading=strict_reading(registry),
    )
    return facts_among(evidence, policy, outcome, at=_now(registry) if at is None else at)


@dataclass(frozen=True, slots=True)
class GateEvidence:
    """What is recorded of a version, before it is judged by a policy: of a registry's own, or of one that a folder shows.

    Attributes:
        version: which.
        records: everything that is recorded of it.
        judged: each evaluation that a reader should see, as signed and as it reads now.
        stale: why an evaluation does not speak of the version; None where it does.
        bound: its record, and the evaluations that do.
        decisions: what persons decided.
        makers: the persons whose keys had a part in making it.
        stops: what forbids that it is promoted.
        inherited_licence_flags: of all that it was made from.
        reading: by whose word approvals and waivers count.
    """

    version: Version
    records: Records
    judged: tuple[tuple[EvaluationRecord, EvaluationRecord], ...]
    stale: Callable[[EvaluationRecord], str | None]
    bound: BoundEvidence
    decisions: tuple[PersonsDecision, ...]
    makers: tuple[str, ...]
    stops: tuple[ShownStop, ...]
    inherited_licence_flags: tuple[str, ...]
    reading: TrustedReading


def facts_among(evidence: GateEvidence, policy: Digest, outcome: VerifyOutcome | None, *, at: Timestamp) -> GateFacts:
    """Everything that a policy is held against, of what is recorded; the other arguments as `gate_facts`. Pure."""
    version, records = evidence.version, evidence.records
    record = None if records.modification is None else in_third_form(records.modification)
    answered = frozenset() if record is None else frozenset(_answered_trainings(record, version))
    decisions = tuple(_decisions(evidence.decisions, policy))
    statements = records.statements
    reading = evidence.reading
    judged = [(evidence.stale(signed), signed, now) for signed, now in evidence.judged]
    return GateFacts(
        label=version.label,
        manifest=version.manifest_digest,
        now=at,
        # as signed: less is asked of a base, and a row could say that it is one
        is_base=records.manifest.kind == "base",
        verdict=None if outcome is None else outcome.verdict,
        verdict_text="" if outcome is None else outcome.failed_text or outcome.unchecked_text,
        stops=evidence.stops,
        makers=evidence.makers,
        suites=tuple(suite for stale, signed, now in judged for suite in _suites(stale, signed, now, answered)),
        metrics=tuple(metric for stale, signed, now in judged for metric in _metrics(stale, signed, now)),
        # two evaluations may show the same
        lost=tuple(
            dict.fromkeys(lost for signed, now in evidence.judged for lost in _lost(evidence.stale, signed, now))
        ),
        open_fields=() if record is None else tuple(_with_rules(gap.field for gap in completeness(record).open)),
        open_questions=0 if record is None else len(completeness(record).open),
        unsigned_fields=() if record is None else tuple(_with_rules(leaf.path for leaf in unsigned_in(record))),
        statuses=() if record is None else tuple(_statuses(without_proposals(record), decided_by(decisions))),
        makes_media=None if record is None or not record.use.modalities.known else makes_media(record),
        is_screened=None if record is None else is_screened(record),
        own_licence_flags=tuple(dict.fromkeys(_own_licence_flags(record, records.base))),
        licence_flags=evidence.inherited_licence_flags,
        votes=tuple(votes_on(reading, statements, evidence.bound, policy=policy)),
        waivers=tuple(waivers_on(reading, statements, evidence.bound, policy=policy)),
        decisions=tuple(
            DecisionFact(question=decision.question, text=decision.text, objection=decision.objection)
            for decision in decisions
        ),
    )


def evidence_in(shown: PresentedVersion) -> GateEvidence:
    """The evidence of a version that a folder shows.

    Only its registry knows what stops its use from above, and the terms of what it was merged from at a distance. Of its own record
    and of what was said about it everything counts.
    """
    records = shown.records
    evaluations = newest_of_each(records.evaluations)
    record = None if records.modification is None else in_third_form(records.modification)
    return GateEvidence(
        version=shown.version,
        records=records,
        judged=tuple((evaluation, evaluation) for evaluation in evaluations),
        stale=lambda evaluation: shown.stale(evaluation) or None,
        bound=shown.bound_evidence,
        decisions=shown.decisions,
        makers=tuple(makers_among(records, shown.reading)),
        stops=(),
        inherited_licence_flags=() if record is None else tuple(dict.fromkeys(inherited_licence_flags(record))),
        reading=shown.reading,
    )


def _text_or_none(value: object) -> str | None:
    return None if value is None else f"{value}"


def _with_rules(paths: Iterable[str]) -> Iterator[str]:
    """Paths of fields; of a field of an array that of its rule too, `data[].licence`, which speaks of every item."""
    fields = tuple(paths)
    yield from dict.fromkeys((*fields, *(FieldPath.parse(field).rule for field in fields)))


def _now(registry: Registry) -> Timestamp:
    """The time by which it is judged what is over.

    It is the clock's, and never before the newest entry of the log: a clock that was set back lets no waiver count again.
    """
    with view_of(registry) as view:
        return entry_time(view)


def _suites(
    stale: str | None, signed: EvaluationRecord, now: EvaluationRecord, answered: frozenset[str]
) -> Iterator[SuiteFacts]:
    screens = screens_of(now.datasets)
    leaks = tuple(leakage_lines(now.leakage_check))
    limits = readable_verdicts(now)
    unkept = [verdict for verdict in limits if verdict.decision != "held"]
    for data in now.datasets:
        findings = [row for row in now.findings if row.dataset == data.name]
        if not findings and not any(result.dataset == data.name for result in now.results):
            continue  # texts of guards and retention: no suite
        yield SuiteFacts(
            suite=data.name,
            evaluation=signed.canonical_digest(),
            stale=stale,
            conclusions=tuple((row.category, row.conclusion) for row in findings),
            changes=tuple(map(_flagged_change, findings)),
            leaked=tuple(str(line) for line in leaks if line.code != _NOT_KNOWN),
            unknown_trainings=tuple(
                str(line) for line in leaks if line.code == _NOT_KNOWN and line.parameters["training"] not in answered
            ),
            unkept=tuple(verdict_line(verdict) for verdict in unkept if verdict.dataset == data.name),
            undecided=tuple(
                verdict_line(verdict)
                for verdict in unkept
                if verdict.dataset == data.name and verdict.decision == "undecided"
            ),
            data=data.sha256,
            rows=data.rows_used,
            is_whole=is_whole(data),
            limits=sum(verdict.dataset == data.name for verdict in limits),
            is_screen=data.name in screens,
        )


def _answered_trainings(record: ModificationRecord, version: Version) -> Iterator[str]:
    """The training elsewhere of which somebody who may signed that it was on no item of a suite."""
    said = record.content.holds_evaluated_items
    if record.identity.kind.value == "import" and is_yes(said) is False and said.evidence:
        yield version.label


def _flagged_change(row: Comparison) -> FlaggedChange:
    interval = row.net_change_interval
    if interval is None or row.net_change is None:
        return FlaggedChange(slice=row.category, change=row.net_change, high=None)
    nothing_moved = interval.revised(low=0.0, high=0.0)
    return FlaggedChange(
        slice=row.category,
        change=row.net_change,
        high=highest_change(row.net_change, interval, row.n),
        least=highest_change(0.0, nothing_moved, row.n),
    )


def _metrics(stale: str | None, signed: EvaluationRecord, now: EvaluationRecord) -> Iterator[MetricFact]:
    """The figures of whole data sets of the arm that an evaluation is about, each with its change where rows were paired."""
    compared = [arm.name for arm in now.arms if arm.name not in CONTROL_ARMS]
    used = {data.name: data for data in now.datasets}
    changes = {(measure.get("dataset"), measure.get("metric")): measure for measure in recorded_measures(now)}
    silent = {name: str(why) for name, why in screens_of(now.datasets).items()}
    silent |= {entry.dataset: str(why) for entry, why in beyond_limit(now.leakage_check)}
    for result in now.results:
        interval = result.interval
        figure = _estimate(result.value, interval and interval.low, interval and interval.high)
        if result.category is not None or result.arm != compared[-1] or figure is None:
            continue
        data, task = used.get(result.dataset), now.stated_tasks.get(result.dataset, {})
        change = changes.get((result.dataset, result.metric), {})
        asked, measures = task.get("examples"), task.get("measures")
        yield MetricFact(
            metric=f"{result.dataset}.{result.metric}",
            evaluation=signed.canonical_digest(),
            stale=stale,
            figure=figure,
            change=_change(change),
            before=compared[0].replace("_", " "),
            lower_is_better=isinstance(measures, dict) and measures.get(result.metric) == "lower",
            data=None if data is None else data.sha256,
            rows=result.n if data is None else data.rows_used,
            examples=asked.get("count") if isinstance(asked, dict) and type(asked.get("count")) is int else None,
            silent=silent.get(result.dataset),
        )


def _change(measure: Mapping[str, object]) -> FigureWithInterval | None:
    """How a figure changed, as it is recorded.

    Edition 6 of the figures takes each changed answer for a million of them, but for those of tasks. Where fewer than six changed,
    its interval is narrower than one row weighs, and may leave the change out: then none is known.
    """
    change = _estimate(measure.get("change"), measure.get("low"), measure.get("high"))
    rows = measure.get("n")
    if change is None or change.low is None or change.high is None or type(rows) is not int or rows < 1:
        return change
    is_too_narrow = (change.high - change.low) * rows < 1 and task_named(str(measure.get("dataset"))) is None
    return FigureWithInterval(value=change.value) if is_too_narrow else change


def _estimate(value: object, low: object, high: object) -> FigureWithInterval | None:
    """A figure with its interval as a record states it, which may be any JSON value; None unless the figure is a number."""
    numbers = [number if type(number) in (int, float) else None for number in (value, low, high)]
    return None if numbers[0] is None else FigureWithInterval(value=numbers[0], low=numbers[1], high=numbers[2])


def _lost(
    stale: Callable[[EvaluationRecord], str | None], signed: EvaluationRecord, now: EvaluationRecord
) -> Iterator[LostFact]:
    lost = lost_quality(now)
    # whether it speaks of the version is looked up where it matters
    why = stale(signed) if lost else None
    for quality in lost:
        yield LostFact(text=quality.line, stale=why)


def _decisions(decisions: Iterable[PersonsDecision], policy: Digest) -> Iterator[PersonsDecision]:
    """Of every decision, whether it counts under a policy."""
    for decision in decisions:
        if decision.policy != policy and not decision.objection:
            another = f"it is for another policy, {decision.policy_name} {decision.policy.short}"
            yield replace(decision, objection=another)
        else:
            yield decision


def _statuses(record: ModificationRecord, decided: Decided) -> Iterator[Status]:
    for verdict in verdicts_of(record, decided=decided).both:
        basis, words = (None, "") if verdict.row is None else (f"{verdict.row}, {verdict.clause}", verdict.words)
        missing = tuple(verdict.open_questions)
        yield Status(table=verdict.table, status=verdict.status, basis=basis, missing=missing, words=words)


def _own_licence_flags(record: ModificationRecord | None, base: BaseRecord | None) -> Iterator[str]:
    """What the licence of something says: of a result as its record has it, of a base as it is declared."""
    if record is not None:
        yield from own_licence_flags(record)
    if base is not None:
        yield from stated_licence_flags(base.facts.licence, base.facts.licence_flags)
        if is_yes(eu_exclusion_of(base.facts)):  # stated beside the flags, which nobody may have read
            yield EU_EXCLUSION


def _inherited_licence_flags(registry: Registry, version: Version, records: Records) -> Iterator[str]:
    """What the licences say of all that something was made from: bases, data, and results with licences of their own."""
    if records.modification is not None:
        yield from inherited_licence_flags(in_third_form(records.modification))
    try:
        ancestry = ancestry_of(registry, [version]) if records.manifest.made_from else ()
    except ObjectMissing:  # no gate is open: `stops` says of what the manifest is gone, and each rule is held to that
        return
    for ancestor in ancestry:
        if ancestor.record is not None and ancestor.manifest != version.manifest_digest:
            record = in_third_form(ancestor.record)
            yield from licence_flags_of(record)


def votes_on(
    reading: TrustedReading,
    statements: Iterable[StoredStatement],
    bound: BoundEvidence,
    *,
    policy: Digest | None = None,
) -> Iterator[Vote]:
    """The approvals among the statements about a version, each with why it does not count.

    Args:
        reading: by whose word they count.
        statements: that speak of the version, in the order of the log.
        bound: the record and the evaluations of the version as they are now.
        policy: the SHA-256 of the policy for which they have to be; None: each for the one that it names.
    """
    for entry in statements:
        if entry.kind != "approval":
            continue
        try:
            approval = ApprovalPredicate.from_json(entry.statement.predicate)
        except ValidationError:
            continue
        objection = reading.objection_to(entry)
        if policy is not None and approval.policy != policy:
            objection = objection or f"it is for another policy, {approval.policy_name} {approval.policy.short}"
        stale = bound.objection_to(approval.record, approval.evaluations)
        yield Vote(
            person=reading.person_behind(entry),
            key_id=entry.key_id,
            at=entry.appended_at,
            policy_name=approval.policy_name,
            reason=approval.reason,
            objection=objection or stale,
        )


def waivers_on(
    reading: TrustedReading,
    statements: Iterable[StoredStatement],
    bound: BoundEvidence,
    *,
    policy: Digest | None = None,
) -> Iterator[Waiver]:
    """The waivers among the statements about a version, each with why it does not count; the arguments are those of `votes_on`."""
    for entry in statements:
        if entry.kind != "waiver":
            continue
        try:
            waiver = WaiverPredicate.from_json(entry.statement.predicate)
        except ValidationError:
            continue
        objection = reading.objection_to(entry)
        if policy is not None and waiver.policy != policy:
            objection = objection or "it is for another policy"
        if waiver.evaluations is not None:
            stale = bound.objection_to(waiver.record, waiver.evaluations)
            objection = objection or stale
        person = reading.person_behind(entry)
        yield Waiver(rule=waiver.rule, person=person, until=waiver.until, reason=waiver.reason, objection=objection)
