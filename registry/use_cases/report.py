"""The report use case: gather what is recorded about a version, verify it, and render one self-contained page.

The same records, `as_of`, rule set and tool version give the same bytes. A page that nobody looks at yet, as the copy in
MLflow, is rendered without checks, and says so: what was true when it was written need not be true when it is read.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from peft_registry.registry.compliance.answered_only import with_decisions, without_proposals
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.verdicts.decision import NOBODY, Decided
from peft_registry.registry.database import catalog
from peft_registry.registry.disk.release import tool_version
from peft_registry.registry.evaluation.judged_again import changed_conclusions
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size, newest_entry_time
from peft_registry.registry.records.decisions import decided_by, decisions_of
from peft_registry.registry.records.evaluations import judged_now, newest_of_each, stale_for, words_of_today
from peft_registry.registry.records.holds import holds_above
from peft_registry.registry.records.signed_records import Records, records_of, signed_statements
from peft_registry.registry.records.stops import with_stops
from peft_registry.registry.records.trained_templates import trained_template
from peft_registry.registry.records.waiting_answers import answers_taken_up
from peft_registry.registry.reports.decisions import AliasGate
from peft_registry.registry.reports.evaluation_view import ShownEvaluation
from peft_registry.registry.reports.html import render_html
from peft_registry.registry.reports.version_facts import UNCHECKED, KeyHolders, PageChecks, RecordHistory, VersionFacts
from peft_registry.registry.reports.view import build_report_view
from peft_registry.registry.storage.interface import ObjectMissing
from peft_registry.registry.use_cases.folder_gates import alias_gates_in
from peft_registry.registry.use_cases.gate import gate_of
from peft_registry.registry.use_cases.read_folder import ReadFolder
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.registry.verification.presented_records import ItemsNotHere
from peft_registry.registry.verification.signed_versions import signed_lineage, signed_version
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.errors import InputRefused, KnownError
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.lineage import Lineage
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.report import RecordStep
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.run_samples import RunSamples, Sample
from peft_registry.schemas.trained_templates import NoTemplate, SeveralTemplates, Template
from peft_registry.schemas.values import RFC3339
from peft_registry.schemas.version import VerifyOutcome, Version


class MalformedTime(InputRefused):
    what = "{text!q} is not a time"
    why = "a report is made as of a time in UTC, such as 2026-05-01T12:00:00Z"
    fix = "write --as-of like that, or leave it out"

    text: str


class AsOfRefused(InputRefused):
    what = "a report cannot be made as of {text}"
    why = "the newest record that the page shows is of {newest}"
    fix = "leave --as-of out, or write a time in UTC from {newest} on"

    text: str
    newest: str


@dataclass(frozen=True, slots=True)
class ReportedEvaluation:
    """An evaluation that a page shows: why it does not speak of the version, and who added it later; both empty for none.

    `record` is as it reads now: what it calls better is judged among all seeds that were begun by now.
    """

    record: EvaluationRecord
    stale: str
    added: str


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """What the page of a version follows from, but for the checks.

    Attributes:
        version: with the aliases that the page shows.
        lineage: its sources and what was made from it.
        as_of: the time that the page speaks of, RFC 3339.
        records: what was signed about it.
        evaluations: those that are shown, newest first.
        holders: of the keys that the trust file names.
        judged_again: what was signed and is called otherwise now: among the seeds that were begun since, or by newer rules.
        decided: what persons decided of it, as it counts.
    """

    version: Version
    lineage: Lineage
    as_of: str
    records: Records
    evaluations: tuple[ReportedEvaluation, ...]
    holders: KeyHolders
    judged_again: tuple[str, ...] = ()
    decided: Decided = NOBODY

    @property
    def digest(self) -> Digest:
        """SHA-256 over all of it; equal digests give equal pages. A record counts as the statement that holds it."""
        return canonical_digest(
            {
                "tool": tool_version(),
                "rule_set": field_rules().rule_set,
                "version": self.version.model_dump(mode="json"),
                "lineage": self.lineage.model_dump(mode="json"),
                "as_of": self.as_of,
                "statements": [
                    [str(stored.digest), stored.key_id, stored.appended_at, stored.log_index]
                    for stored in self.records.statements
                ],
                "record": [str(link.statement.digest) for link in self.records.history],
                "notes": list(record_notes(self.records)),
                "judged": [str(evaluation.record.canonical_digest()) for evaluation in self.evaluations],
                "stale": [evaluation.stale for evaluation in self.evaluations],
                "persons": dict(self.holders.persons),
                "roles": dict(self.holders.roles),
                "roots": list(self.holders.roots),
                "trust_expires_at": self.holders.expires_at,
                **({} if self.decided == NOBODY else {"decided": self.decided.model_dump(mode="json")}),
            }
        )


def require_time(as_of: str | None) -> None:
    """Raise unless a report may speak of this time, whatever it is about; None is that of the newest record.

    Raises:
        MalformedTime: it is not one.
    """
    if as_of is not None and not re.fullmatch(RFC3339, as_of):
        raise MalformedTime(as_of)


def _require_not_before(as_of: str | None, newest: str) -> None:
    require_time(as_of)
    if as_of is not None and as_of < newest:
        raise AsOfRefused(as_of, newest)


def make_report(
    registry: Registry, version: Version, *, as_of: str | None = None, trust_problem: KnownError | None = None
) -> bytes:
    """The HTML page of one version with the checks made now, UTF-8.

    Args:
        registry: open.
        version: a registered version.
        as_of: the time that the report speaks of; default: when the newest statement about the version was made.
        trust_problem: why the home's own trust file does not count for this user; the page then says unverified.

    Raises:
        MalformedTime, AsOfRefused: not a time, or one before the newest record.
        IntegrityBroken: what is recorded is not what was signed.
    """
    inputs = report_inputs(registry, version, as_of=as_of)
    outcome = with_stops(registry, verify_version(registry, version, trust_problem=trust_problem))
    checks = PageChecks(
        _with_own_count(registry, inputs, outcome),
        _gates(registry, inputs, outcome),
        tuple(hold.text for hold in holds_above(registry, version.manifest_digest, version.label)),
    )
    # rows of the user's data: they stand on the page that is made here, and not on the copies in MLflow and in folders for others
    return render_report(registry, inputs, checks, samples=_samples(registry, inputs.records.run))


def _samples(registry: Registry, run: RunRecord | None) -> tuple[Sample, ...]:
    """The rows that were answered before and after, where the training file asked for some and the store has them."""
    if run is None or run.samples is None:
        return ()
    try:
        data = registry.store.read_bytes(run.samples.sha256)
    except ObjectMissing:
        return ()
    return RunSamples.from_json(json.loads(data)).samples


def _gates(registry: Registry, inputs: ReportInputs, outcome: VerifyOutcome) -> dict[str, AliasGate]:
    """How the policy before each alias of the version stands to it; nothing of an alias that nothing is asked of.

    What is over is judged by the time that the page speaks of, or by the newest entry of the log where that is later: by records
    alone, so that the same records give the same page.
    """
    with registry.database.read() as tx:
        at = max(inputs.as_of, newest_entry_time(tx) or "")
    entry = covered_size(registry) - 1
    gates = {}
    for alias in inputs.version.aliases:
        try:
            shown = gate_of(registry, inputs.version, alias, outcome, at=at)
        except KnownError as error:
            gates[alias] = AliasGate(policy="", entry=entry, as_of=at, closed_by=(), unknown=f"{error}")
            continue
        if shown is not None:
            rules = tuple(dict.fromkeys(reason.rule for reason in shown.decision.reasons))
            policy = f"{shown.policy} ({shown.policy_digest.short})"
            gates[alias] = AliasGate(policy=policy, entry=entry, as_of=at, closed_by=rules, cautions=shown.cautions)
    return gates


def _with_own_count(registry: Registry, inputs: ReportInputs, outcome: VerifyOutcome) -> VerifyOutcome:
    """The checks, with how many of the statements that were checked are about this version.

    They are checked for the artifact, and equal bytes may be registered as other versions, of which the page shows nothing.
    """
    own = len(inputs.records.statements)
    if own == len(signed_statements(registry, inputs.version.manifest_digest)):
        return outcome
    label = inputs.version.label
    checks = tuple(
        check.revised(text=f"{own} about {label}; with those of other versions of equal bytes {check.text}")
        if check.step == "statements" and check.status == "ok"
        else check
        for check in outcome.checks
    )
    return outcome.revised(checks=checks)


def report_inputs(
    registry: Registry,
    version: Version,
    *,
    as_of: str | None = None,
    records: Records | None = None,
    current: Version | None = None,
) -> ReportInputs:
    """What the page of a version follows from. Reads records only, no file of the artifact.

    Args:
        registry: open.
        version: a registered version.
        as_of: as for `make_report`.
        records: those of the version, where the caller has read them.
        current: the version with the aliases that it has now, where the caller has read it as `signed_version` does.

    Raises:
        MalformedTime, AsOfRefused: not a time, or one before the newest record.
        IntegrityBroken: what is recorded is not what was signed.
    """
    records = records or records_of(registry, version)
    if current is None:
        with registry.database.read() as tx:
            recorded = catalog.resolve(tx, reference_of(version))
        current = signed_version(registry, recorded)
    lineage = signed_lineage(registry, version.manifest_digest)
    newest = max(str(stored.appended_at) for stored in records.statements)
    persons = {key.key_id: key.person for key in registry.trust.keys}
    added = _added_later(version, records, persons)
    shown = newest_of_each(records.evaluations)
    judged = judged_now(registry, version, shown)
    _require_not_before(as_of, newest)
    return ReportInputs(
        version=current,
        lineage=lineage,
        as_of=as_of or newest,
        records=records,
        evaluations=tuple(
            ReportedEvaluation(
                record=now,
                stale=str(stale_for(registry, version, record) or ""),
                added=added.get(record.canonical_digest(), ""),
            )
            for record, now in zip(shown, judged, strict=True)
        ),
        holders=_holders(registry.trust),
        judged_again=(*changed_conclusions(shown, judged), *words_of_today(registry, shown)),
        decided=decided_by(decisions_of(registry, version, records)),
    )


def _holders(trust: TrustPolicy) -> KeyHolders:
    persons = {key.key_id: key.person for key in trust.keys}
    roots = tuple(dict.fromkeys(persons[key_id] for key_id in trust.roots if key_id in persons))
    return KeyHolders(persons, {key.key_id: key.role for key in trust.keys}, roots, trust.expires_at)


def _added_later(version: Version, records: Records, persons: Mapping[str, str]) -> dict[Digest, str]:
    """When and by whom an evaluation was added after the registration, by the digest of its record."""
    added = {}
    for stored in records.statements:
        if stored.kind == "bias-evaluation" and (stored.log_index or 0) > version.log_index:
            digest = stored.statement.read_by(EvaluationRecord.from_json).canonical_digest()
            person = persons.get(stored.key_id) or f"key {stored.key_id[:12]}…"
            other = "" if stored.key_id == version.key_id else ", whose key did not register it"
            added[digest] = f"added {str(stored.appended_at)[:10]} by {person}{other}"
    return added


def make_report_in(read: ReadFolder, *, as_of: str | None = None) -> bytes:
    """The page of a version that a folder shows, as `make_report` makes it, without what only its registry knows.

    The gate before an alias is told where the bytes of the policy that let it through lie there.

    Args:
        read: the version, and how the folder verified.
        as_of: as for `make_report`.

    Raises:
        MalformedTime, AsOfRefused: not a time, or one before the newest record.
    """
    shown = read.shown
    records = shown.records
    newest = max(str(stored.appended_at or "") for stored in records.statements)
    _require_not_before(as_of, newest)
    trust = shown.reading.trust
    holders = KeyHolders() if trust is None else _holders(trust)
    added = _added_later(shown.version, records, holders.persons)
    evaluations = newest_of_each(records.evaluations)
    inputs = ReportInputs(
        version=shown.version,
        lineage=shown.lineage,
        as_of=as_of or newest,
        records=records,
        evaluations=tuple(
            ReportedEvaluation(record, shown.stale(record), added.get(record.canonical_digest(), ""))
            for record in evaluations
        ),
        holders=holders,
        judged_again=shown.words_of_today,
        decided=decided_by(shown.decisions),
    )
    template = None if shown.version.kind == "base" else shown.template

    def items_of(record: EvaluationRecord) -> bytes | None:
        try:
            return shown.items(record)
        except ItemsNotHere:  # a copy for others has the figures without the rows
            return None

    gates = alias_gates_in(read.folder, shown, read.outcome, at=inputs.as_of)
    return _rendered(inputs, PageChecks(read.outcome, gates, of_folder=True), items_of=items_of, template=template)


def render_report(
    registry: Registry, inputs: ReportInputs, checks: PageChecks = UNCHECKED, samples: tuple[Sample, ...] = ()
) -> bytes:
    """The HTML page, UTF-8. Unchecked the page says that no check was made for it, and nothing of gates.

    Raises:
        ObjectMissing, ObjectCorrupt: the store lost or changed an item table.
    """
    return _rendered(
        inputs,
        checks,
        items_of=lambda record: registry.store.read_bytes(record.items.sha256),
        template=_template(registry, inputs),
        samples=samples,
    )


def _rendered(
    inputs: ReportInputs,
    checks: PageChecks,
    *,
    items_of: Callable[[EvaluationRecord], bytes | None],
    template: Template | None,
    samples: tuple[Sample, ...] = (),
) -> bytes:
    records = inputs.records
    view = build_report_view(
        VersionFacts(
            version=inputs.version,
            lineage=inputs.lineage,
            run=records.run,
            merge=records.merge,
            imported=records.imported,
            base=records.base,
            template=template,
            record=None
            if records.modification is None
            else with_decisions(without_proposals(records.modification), inputs.decided),
            signed_record=records.modification,
            evaluations=_shown_evaluations(inputs, items_of),
            statements=records.statements,
            decided=inputs.decided,
        ),
        as_of=inputs.as_of,
        tool_version=tool_version(),
        holders=inputs.holders,
        history=RecordHistory(record_steps(records), (*standing_notes(records), *inputs.judged_again)),
        checks=checks,
    )
    return render_html(view, samples).encode()


def _template(registry: Registry, inputs: ReportInputs) -> Template | None:
    if inputs.version.kind == "base":
        return None
    try:
        return trained_template(registry, inputs.version, inputs.records)
    except SeveralTemplates as error:
        return NoTemplate(error.what)


def _shown_evaluations(
    inputs: ReportInputs, items_of: Callable[[EvaluationRecord], bytes | None]
) -> tuple[ShownEvaluation, ...]:
    """The evaluations with their item tables; where no figure of any stands, the newest as it was recorded."""
    if inputs.evaluations:
        return tuple(
            ShownEvaluation(
                evaluation.record,
                items_of(evaluation.record),
                evaluation.stale or None,
                evaluation.added,
            )
            for evaluation in inputs.evaluations
        )
    newest = inputs.records.evaluation
    return () if newest is None else (ShownEvaluation(newest),)


def record_notes(records: Records) -> tuple[str, ...]:
    """What the record of a version supersedes and why, which records decide nothing, and which evaluations are pending.

    Empty where it is as registered.
    """
    return (*(step.whole for step in record_steps(records)), *standing_notes(records))


def record_steps(records: Records) -> tuple[RecordStep, ...]:
    """The answers about a version and the records that supersede one, in the order of the log; what is not logged comes last."""
    steps: list[tuple[int | None, RecordStep]] = []
    for before, after in pairwise(records.history):
        assert isinstance(after.record, ModificationRecord), "only the second form supersedes"
        text = (
            f"Modification record {after.record.record_id} of {after.record.record_created_at} supersedes "
            f"{before.record.record_id}: {after.record.correction.reason or 'no reason is given'}."
        )
        steps.append((after.statement.log_index, RecordStep(text=text, whole=text)))
    named = {digest for link in records.history for digest in answers_taken_up(link.record)}
    named_by_pending = {digest for link in records.pending for digest in answers_taken_up(link.record)}
    for stored in records.statements:
        if stored.kind == "answers":
            said = stored.statement.read_by(AnswersPredicate.from_json)
            paths = ", ".join(answer.path for answer in said.answers)
            taken = ", and no record has taken it up"
            if stored.digest in named:
                taken = ""
            elif stored.digest in named_by_pending:
                taken = ", and the record that takes it up is pending"
            who = (
                f"Answered by {said.person} as {said.role} on {stored.appended_at}, under key {stored.key_id[:16]}… "
                f"(statement {stored.digest.short})"
            )
            count = "1 field" if len(said.answers) == 1 else f"{len(said.answers)} fields"
            step = RecordStep(text=f"{who}: {count}{taken}.", whole=f"{who}: {paths}{taken}.")
            steps.append((stored.log_index, step))
    steps.sort(key=lambda step: (step[0] is None, step[0] or 0))
    return tuple(step for _, step in steps)


def standing_notes(records: Records) -> tuple[str, ...]:
    """Which records decide nothing, and which evaluations are pending."""
    notes = [
        f"A modification record (statement {aside.statement.digest.short}) decides nothing here: {aside.reason}."
        for aside in records.set_aside
    ]
    notes += [
        f"An evaluation of {stored.appended_at} (statement {stored.digest.short}) is pending, and none of its figures counts yet: "
        "it stands once whoever holds the log key has run `registry log sign`."
        for stored in records.pending_evaluations
    ]
    return tuple(notes)


def reference_of(version: Version) -> Reference:
    """The reference that means exactly this version."""
    return Reference(name=version.name, number=version.number)
