"""The modification record of a version as values: for `registry record` and for programs. Nothing is written."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from pydantic import Field

from peft_registry.registry.compliance.answered_only import with_decisions, without_proposals
from peft_registry.registry.compliance.completeness import SectionCount, completeness, counts_of_sections
from peft_registry.registry.compliance.contradictions import contradictions_with_run
from peft_registry.registry.compliance.fields import field_rules, leaves
from peft_registry.registry.compliance.first_form import as_read
from peft_registry.registry.compliance.form_cuts import CutRow, CutValue, cut_form
from peft_registry.registry.compliance.form_rows import FormCount, Recipient, counts_of_forms, forms
from peft_registry.registry.compliance.proposals import is_proposal, unsigned_in
from peft_registry.registry.compliance.record_changes import ValueChange, changes_between
from peft_registry.registry.compliance.shown_values import shown_leaves, with_unit
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.decision import NOBODY, Decided
from peft_registry.registry.evaluation.judged_again import changed_conclusions
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.attachments import attachments_among
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.decisions import decided_by, decisions_of
from peft_registry.registry.records.evaluations import judged_now, words_of_today
from peft_registry.registry.records.record_histories import SignedRecord
from peft_registry.registry.records.record_statements import statement_of
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of, required_record, version_statements
from peft_registry.registry.records.trusted_reading import TrustedReading, WhoseWord
from peft_registry.registry.records.version_statements import VersionStatements
from peft_registry.registry.records.waiting_answers import answers_taken_up, waiting_answers
from peft_registry.registry.reports.text import THIN, plain, reason_text
from peft_registry.registry.reports.vouchers import Vouchers, vouchers_of
from peft_registry.registry.verification.presented_records import PresentedVersion
from peft_registry.registry.verification.signed_versions import signed_version
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.codes import says
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ASKED, ModificationRecord, RecordInput
from peft_registry.schemas.policy import signer_text
from peft_registry.schemas.report import Gap
from peft_registry.schemas.sizes import human_bytes
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import Value
from peft_registry.schemas.version import Version

_SHOWN_CHARACTERS = 160  # of a value in a line; JSON has it whole


class Signed(Frozen):
    """The statement that says something: its digest, whose key signed it, when it entered the log and where."""

    statement: Digest
    key_id: str
    person: str | None
    role: str | None
    log_index: int | None
    appended_at: str | None
    pending: bool  # no checkpoint covers it: it decides nothing

    @property
    def who(self) -> str:
        """Whose key signed it, as the trust file has it."""
        return signer_text(self.key_id, self.person, self.role)

    @property
    def text(self) -> str:
        return f"{self.who}, {self.appended_at}, log {self.log_index}{', pending' if self.pending else ''}"


class AnswersShown(Frozen):
    """Answers to questions of a record: who gave them and how many, and whether a record took them up, or the next one will."""

    signed: Signed
    person: str
    role: str
    paths: tuple[str, ...]
    taken_up: bool
    waits: bool  # for the next record, or for a checkpoint over the one that takes them up

    @property
    def text(self) -> str:
        state = "" if self.taken_up else ", no record takes them up: others answered first, or the record moved on"
        if self.waits:
            state = ", not taken up by a record that holds yet"
        return f"{len(self.paths)} by {self.signed.text}{state}"


class AttachmentShown(Frozen):
    """A file that somebody attached to the version: its bytes are in the store."""

    attached_as: str
    name: str
    sha256: Digest
    size: int
    who: str
    attached_at: str
    statement: Digest

    @property
    def text(self) -> str:
        size = human_bytes(self.size)
        return f"{self.name} as {self.attached_as}, {size}, {self.sha256}, by {self.who}, {self.attached_at}"


class RecordLink(Frozen):
    """One record of a version: what it changed in the one before it, why, and from which answers it was built."""

    record_id: str
    digest: Digest  # of its canonical bytes
    created_at: str
    signed: Signed
    supersedes: str | None
    reason: str | None
    answers: tuple[AnswersShown, ...]
    changes: tuple[ValueChange, ...]

    def lines(self) -> Iterator[tuple[str, str]]:
        """Label and text: which record it is, who signed it, and in place of which."""
        yield "record", f"{self.record_id} of {self.created_at}, {self.digest}"
        yield "signed", self.signed.text
        if self.supersedes is not None:
            yield "supersedes", f"{self.supersedes}: {self.reason or 'no reason is given'}"


class RecordPart(NamedTuple):
    """A part of what people read of a record: labelled lines, then paths with what stands there."""

    lines: tuple[tuple[str, str], ...] = ()
    rows: tuple[tuple[str, str], ...] = ()


class RecordShown(Frozen):
    """A version's record, what is open in it, and those that it superseded, oldest first and itself last."""

    version: str
    record: dict[str, Any]  # as signed
    edition: Edition | None  # that derived it; None for a record from before editions
    inputs: tuple[RecordInput, ...]  # the signed statements that it follows from
    note: str  # why this release did not derive it again; empty where it did
    fields: str  # how many are filled, of how many
    filled: int
    required: int
    sections: tuple[SectionCount, ...]
    forms: tuple[FormCount, ...]
    open: tuple[Gap, ...]
    unsigned: tuple[str, ...]  # fields that were typed, and signed by nobody who may answer them
    history: tuple[RecordLink, ...]
    waiting: tuple[AnswersShown, ...]  # answers that the next record takes up, or one that is pending
    overtaken: tuple[AnswersShown, ...]  # answers that no record has taken up, and none will
    set_aside: tuple[str, ...]  # records that decide nothing, and why
    contradictions: tuple[str, ...]  # what in the record cannot be together
    judged_again: tuple[str, ...]  # what evaluations were called, and are not now
    attachments: tuple[AttachmentShown, ...]  # the newest of each kind and name
    values: tuple[tuple[str, Value], ...]  # path and value as a reader is shown it, in the order of the schema

    @property
    def current(self) -> RecordLink:
        """The record that holds."""
        return self.history[-1]

    def to_json(self, *, with_history: bool = False) -> dict[str, Any]:
        """One object; the history only on request, because each change repeats a value."""
        left_out = {"values"} if with_history else {"values", "history"}
        shown = self.model_dump(mode="json", exclude=left_out)
        return shown | {"signed": self.current.model_dump(mode="json", exclude={"changes"})}

    def parts(self) -> Iterator[RecordPart]:
        """What people read: which record it is and its counts, what is known by section, then what is open by who owes it."""
        yield RecordPart(lines=self.lines())
        vouchers = self._vouchers(self.current)
        known = [(path, value) for path, value in self.values if value.settled]
        for _, values in groupby(known, key=lambda entry: entry[0].partition(".")[0]):
            yield RecordPart(rows=tuple((path, _value_text(path, value, vouchers)) for path, value in values))
        by_owner = sorted(self.open, key=lambda gap: gap.owner)
        for owner, questions in groupby(by_owner, key=lambda gap: gap.owner):
            rows = tuple((gap.field, _question_text(gap)) for gap in questions)
            heading = f"{len(rows)} for {owner}; where no reason stands, {ASKED.reason}"
            yield RecordPart(lines=(("open", heading),), rows=rows)

    def lines(self) -> tuple[tuple[str, str], ...]:
        """Label and text of each line about the record as a whole."""
        lines = [("version", self.version), *self.current.lines()]
        lines += [("answers", answers.text) for link in self.history for answers in link.answers]
        lines += [("answers", answers.text) for answers in (*self.waiting, *self.overtaken)]
        if self.edition is not None:
            lines.append(("edition", f"{self.edition.name}{', a draft' if self.edition.draft else ''}"))
        lines += [("note", self.note)] if self.note else []
        lines.append(("fields", self.fields))
        if self.unsigned:
            lines.append(
                ("unsigned", f"{len(self.unsigned)} values were typed, and signed by nobody who may answer them")
            )
        lines += [("form", form.text) for form in self.forms]
        lines += [("attached", attachment.text) for attachment in self.attachments]
        lines += [("set aside", text) for text in self.set_aside]
        lines += [("contradicts", text) for text in self.contradictions]
        lines += [("judged again", text) for text in self.judged_again]
        return tuple(lines)

    def history_parts(self) -> Iterator[RecordPart]:
        """Each record with what it changed, oldest first."""
        yield RecordPart(lines=(("version", self.version),))
        for link in self.history:
            vouchers = self._vouchers(link)
            yield RecordPart(
                lines=(*link.lines(), *(("answers", answers.text) for answers in link.answers)),
                rows=tuple((change.path, _change_text(change, vouchers)) for change in link.changes),
            )
        rest = [("answers", answers.text) for answers in (*self.waiting, *self.overtaken)]
        rest += [("set aside", text) for text in self.set_aside]
        if rest:
            yield RecordPart(lines=tuple(rest))

    def _vouchers(self, link: RecordLink) -> Vouchers:
        shown = [answers for earlier in self.history for answers in earlier.answers]
        return Vouchers({answers.signed.statement: answers.signed.who for answers in shown}, link.signed.who)


class FormShown(Frozen):
    """The Model Documentation Form of a version as one recipient gets it."""

    version: str
    form: str
    recipient: Recipient
    record_id: str
    record: Digest  # of its canonical bytes
    notice: str
    rows: tuple[CutRow, ...]
    vouched: dict[str, str] = Field(exclude=True)  # whose key stands behind what a person states, by path

    def parts(self) -> Iterator[RecordPart]:
        """What people read: whose form it is, then its rows by section."""
        recipient = forms().recipients[self.recipient]
        states = Counter(row.state for row in self.rows)
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        yield RecordPart(
            lines=(
                ("version", self.version),
                ("form", f"{self.form}, for the {recipient}"),
                ("record", f"{self.record_id}, {self.record}"),
                ("rows", counts),
                ("note", self.notice),
            )
        )
        for section, rows in groupby(self.rows, key=lambda row: row.section):
            shown = tuple((f"{row.row} {row.title}", _row_text(row, self.vouched)) for row in rows)
            yield RecordPart(lines=(("section", section),), rows=shown)


def describe_form(registry: Registry, reference: str, recipient: Recipient) -> FormShown:
    """The Model Documentation Form as a recipient gets it, from the record that holds.

    Raises:
        KnownError: as `describe_record`.
    """
    version = signed_version(registry, version_named(registry, reference))
    return _form_shown(version, version_statements(registry, version), WhoseWord(registry.trust), recipient)


def describe_form_in(shown: PresentedVersion, recipient: Recipient) -> FormShown:
    """The same of a version that a folder shows.

    Raises:
        RecordWithheld, NoRecord: its record is not here, or it has none.
    """
    shown.require_record()
    return _form_shown(shown.version, shown.said, shown.reading, recipient)


def _form_shown(version: Version, said: VersionStatements, word: WhoseWord, recipient: Recipient) -> FormShown:
    link = required_record(said, version)
    form = forms().named("mdf")
    record = without_proposals(in_third_form(link.record))
    vouchers = vouchers_of(said.statements, record.record_id, word.who)
    return FormShown(
        version=version.label,
        form=form.title,
        recipient=recipient,
        record_id=link.record.record_id,
        record=link.digest,
        notice=field_rules().notice,
        rows=cut_form(record, form, recipient),
        vouched={leaf.path: vouchers.of(leaf.path, leaf.value) for leaf in leaves(record)},
    )


def describe_record(registry: Registry, reference: str) -> RecordShown:
    """The record of the version that a reference means, as it was signed; of the first form, without approvals that nobody signed.

    Raises:
        MalformedReference, NotFound: as `version_named`.
        NoRecord: it has none.
        IntegrityBroken: what is recorded is not what was signed.
    """
    version = signed_version(registry, version_named(registry, reference))
    said = version_statements(registry, version)
    reading = TrustedReading(registry.trust, covered_size(registry), registry.clock())
    # its evidence is read only where somebody decided something
    is_decided = any(entry.kind == "decision" for entry in said.statements)
    decided = decided_by(decisions_of(registry, version)) if is_decided else NOBODY
    return _record_shown(version, said, reading, decided, _judged_again(registry, version))


def describe_record_in(shown: PresentedVersion) -> RecordShown:
    """The same of a version that a folder shows, which knows nothing of seeds that were begun since.

    Raises:
        RecordWithheld, NoRecord: its record is not here, or it has none.
    """
    shown.require_record()
    return _record_shown(shown.version, shown.said, shown.reading, decided_by(shown.decisions), shown.words_of_today)


def _record_shown(
    version: Version, said: VersionStatements, reading: TrustedReading, decided: Decided, judged_again: tuple[str, ...]
) -> RecordShown:
    link = required_record(said, version)
    signed = link.record
    record = as_read(signed)
    signed_json = said.predicates["modification"]
    stated = statement_of(signed_json) if "edition" in signed_json else None
    as_decided = with_decisions(without_proposals(record), decided)
    count = completeness(with_decisions(record, decided))
    answers_by_statement = _answers_shown(reading, said, version)
    return RecordShown(
        version=version.label,
        record=signed_json.get("record", signed_json) if record is signed else record.to_json(),
        edition=None if stated is None else stated.edition,
        inputs=() if stated is None else stated.inputs,
        note=link.note,
        fields=count.sentence,
        filled=count.filled,
        required=count.total,
        sections=counts_of_sections(record),
        forms=counts_of_forms(record),
        open=count.open,
        unsigned=tuple(leaf.path for leaf in unsigned_in(record) if not is_proposal(leaf)),
        history=_links(reading, said, answers_by_statement),
        waiting=tuple(answers for answers in answers_by_statement.values() if answers.waits),
        overtaken=tuple(
            answers for answers in answers_by_statement.values() if not answers.taken_up and not answers.waits
        ),
        set_aside=tuple(f"modification {aside.statement.digest.short}: {aside.reason}" for aside in said.set_aside),
        contradictions=tuple(
            f"{problem.what}: {problem.why}" for problem in contradictions_with_run(in_third_form(record))
        ),
        judged_again=judged_again,
        attachments=tuple(
            AttachmentShown(
                attached_as=attachment.attached_as,
                name=attachment.name,
                sha256=attachment.sha256,
                size=attachment.size,
                who=reading.who(attachment.key_id),
                attached_at=attachment.attached_at,
                statement=attachment.statement,
            )
            for attachment in attachments_among(said.statements, reading)
        ),
        values=tuple((leaf.path, leaf.value) for leaf in shown_leaves(as_decided)),
    )


def _judged_again(registry: Registry, version: Version) -> tuple[str, ...]:
    evaluations = records_of(registry, version).evaluations
    judged = judged_now(registry, version, evaluations)
    return (*changed_conclusions(evaluations, judged), *words_of_today(registry, evaluations))


def _links(
    reading: TrustedReading, said: VersionStatements, answers_by_statement: Mapping[Digest, AnswersShown]
) -> tuple[RecordLink, ...]:
    earlier = (None, *said.history)
    return tuple(
        _link(reading, before, link, answers_by_statement) for before, link in zip(earlier, said.history, strict=False)
    )


def _link(
    reading: TrustedReading,
    before: SignedRecord | None,
    link: SignedRecord,
    answers_by_statement: Mapping[Digest, AnswersShown],
) -> RecordLink:
    record = link.record
    correction = record.correction if isinstance(record, ModificationRecord) else None
    return RecordLink(
        record_id=record.record_id,
        digest=link.digest,
        created_at=record.record_created_at,
        signed=_signed(reading, link.statement),
        supersedes=None if before is None else record.supersedes,
        reason=None if correction is None or correction.reason is None else str(correction.reason),
        answers=tuple(
            answers_by_statement[digest]
            for digest in (() if correction is None else correction.answers)
            if digest in answers_by_statement
        ),
        changes=() if before is None else changes_between(before.record, record),
    )


def _answers_shown(reading: TrustedReading, said: VersionStatements, version: Version) -> dict[Digest, AnswersShown]:
    """The answers about a version by statement, in the order of the log."""
    taken_up = _taken_up(said.history)
    waiting = {answers.statement for answers in waiting_answers(said, version)} | _taken_up(said.pending)
    shown = {}
    for stored in said.statements:
        if stored.kind == "answers":
            predicate = AnswersPredicate.from_json(stored.statement.predicate)
            shown[stored.digest] = AnswersShown(
                signed=_signed(reading, stored),
                person=predicate.person,
                role=predicate.role,
                paths=tuple(answer.path for answer in predicate.answers),
                taken_up=stored.digest in taken_up,
                waits=stored.digest in waiting,
            )
    return shown


def _taken_up(records: Iterable[SignedRecord]) -> set[Digest]:
    """The statements of answers that records take up."""
    return {digest for link in records for digest in answers_taken_up(link.record)}


def _signed(reading: TrustedReading, stored: StoredStatement) -> Signed:
    return Signed(
        statement=stored.digest,
        key_id=stored.key_id,
        person=reading.person_of(stored.key_id),
        role=reading.role_of(stored.key_id),
        log_index=stored.log_index,
        appended_at=stored.appended_at,
        pending=not reading.covers(stored),
    )


def _row_text(row: CutRow, vouched: Mapping[str, str]) -> str:
    """What answers a row, in one line; else its state, with who owes it."""
    if row.state == "open" or not row.values:
        return row.state_in_words
    text = "; ".join(_cut_text(value, vouched.get(value.path, "")) for value in row.values)
    return text + "".join(f" [{note}]" for note in row.notes)


def _cut_text(value: CutValue, vouched: str) -> str:
    unit = f" {value.unit}" if value.unit else ""
    told = f" [{', '.join(filter(None, (value.source, vouched)))}]" if value.source else ""
    return f"{value.label}: {_in_one_line(plain(value.value).replace(THIN, ' '))}{unit}{told}"


def _value_text(path: str, value: Value | None, vouchers: Vouchers) -> str:
    """A value in one line: what, in which unit, from where, by whom."""
    if value is None:
        return "no such place"
    if not value.applies:
        return f"not applicable: {value.reason} [{', '.join(_origin(path, value, vouchers)[1:])}]"
    if not value.known:
        return f"unknown: {value.reason}"
    unit = f" {value.unit}" if value.unit else ""
    text = _in_one_line(plain(value.value).replace(THIN, " "))
    return f"{text}{unit} [{', '.join(_origin(path, value, vouchers))}]"


def _change_text(change: ValueChange, vouchers: Vouchers) -> str:
    """A value before and after; to the last digit where they read the same otherwise."""
    values = [None if value is None else with_unit(change.path, value) for value in (change.before, change.after)]
    before, after = (_value_text(change.path, value, vouchers) for value in values)
    if before == after:
        before, after = (
            "no such place" if value is None else _in_one_line(canonical_bytes(value.value).decode())
            for value in values
        )
    return f"{before} → {after}"


def _in_one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def _question_text(gap: Gap) -> str:
    reason = "" if says(gap.reason, "not_answered") else f"; {reason_text(gap.reason)}"
    return f"{gap.label} ({gap.answers}){reason}"


def _origin(path: str, value: Value, vouchers: Vouchers) -> list[str]:
    """Where a value comes from, and whose key vouches for it."""
    by = vouchers.of(path, value)
    return [str(value.source), *([by] if by else [])]
