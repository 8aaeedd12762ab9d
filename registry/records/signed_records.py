"""The signed records of a version, read back as values: run, evaluation, modification, base.

Equal bytes under another name are another version, with records of its own (`version_statements.py`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from pydantic import ValidationError

from peft_registry.registry.compliance.editions import editions, figures_of
from peft_registry.registry.compliance.first_form import as_read
from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.logged_statements import (
    LoggedSnapshot,
    LoggedStatement,
    snapshot_after,
)
from peft_registry.registry.records.move_approvals import MADE_BY
from peft_registry.registry.records.provenance import production_of
from peft_registry.registry.records.record_checks import RecordChecks
from peft_registry.registry.records.record_histories import SignedRecord
from peft_registry.registry.records.record_inputs import Elsewhere
from peft_registry.registry.records.stated_bases import SignerOf, stated_base
from peft_registry.registry.records.stored_manifests import manifest_in, stored_manifest
from peft_registry.registry.records.trusted_reading import TrustedReading, WhoseWord
from peft_registry.registry.records.version_statements import (
    SetAside,
    VersionStatements,
    own_card,
    statements_of_version,
)
from peft_registry.registry.records.views import VersionsDiffer, View, view_of
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.trust import public_keys
from peft_registry.registry.transparency.snapshot import artifact_key
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.edition import Edition, EditionPredicate, edition_subject
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked, NotFound
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.log import Event
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.statement import CardPredicate, Statement, StatementKind, StoredStatement
from peft_registry.schemas.version import Version


class StatementAltered(IntegrityBroken):
    what = "the statement {stored.digest.short} of kind {stored.kind} in the database is not what was signed"
    why = "{reason}"
    fix = "restore the database from a backup; nothing that it says now is used"

    stored: StoredStatement
    reason: str


class NoRecord(NotFound):
    reference = "no-modification-record"
    what = "{label} has no modification record"
    why = "a base is registered as it is, and nothing was modified"
    fix = "name a version that `registry train` or `registry merge` made"

    label: str


@dataclass(frozen=True, slots=True)
class Records:
    """What was signed about one version: the newest record of each kind, None where it has none.

    `history` are its modification records, each superseding the one before it, and `modification` is the last of them;
    `set_aside` are those that decide nothing, and why; `pending` of them will stand once a checkpoint covers them, and so will
    `pending_evaluations`, whose figures are not among `evaluations`. `made_by` are the ids of the keys that made these bytes or
    registered them, under whatever name: equal bytes that somebody registers once more are theirs as well.
    """

    manifest: Manifest
    statements: tuple[StoredStatement, ...]
    run: RunRecord | None
    merge: MergeRecord | None
    imported: ImportRecord | None
    evaluation: EvaluationRecord | None
    evaluations: tuple[EvaluationRecord, ...]  # all of them, in the order in which they were recorded
    modification: RecordSections | None
    base: BaseRecord | None
    card: bytes | None
    history: tuple[SignedRecord, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    pending: tuple[SignedRecord, ...] = ()
    pending_evaluations: tuple[StoredStatement, ...] = ()
    made_by: tuple[str, ...] = ()
    made: Digest | None = None  # the statement of how it was made
    note: str = ""  # why this release did not derive its record again; empty where it did

    @property
    def project(self) -> str | None:
        """The project that its run, merge or import names."""
        made = self.run or self.merge or self.imported
        return None if made is None else made.project


class RecordNotDerived(NotChecked):
    reference = "record-of-later-edition"
    what = "nothing is built on {label}, or decided about it, by this release"
    why = "{note}: what follows from that cannot be derived"
    fix = (
        "use the release that wrote it, or a later one; a policy with `newer_editions: true` takes it as it is written"
    )

    label: str
    note: str


def require_derived(records: Records, version: Version) -> None:
    """Raise unless this release derived the record of a version again, and computes the figures of its evaluations.

    Raises:
        RecordNotDerived: one of them is of an edition that this release does not know.
    """
    if records.note:
        raise RecordNotDerived(version.label, f"its record was {records.note}")
    known = figures_of(editions().newest.name)
    latest = max((evaluation.figures_edition for evaluation in records.evaluations), default=0)
    if known is not None and latest > known:
        raise RecordNotDerived(
            version.label, f"figures of an evaluation are of edition {latest}, and {known} is the last known"
        )


def derived_to_supersede(said: VersionStatements, version: Version) -> SignedRecord:
    """The record that the next one of a version is derived from: what this release cannot read of it, that would leave out.

    Raises:
        NoRecord: the version has none.
        RecordNotDerived: it is of an edition that this release does not know, or follows from one.
    """
    newest = record_to_supersede(said, version)
    if newest.note:
        raise RecordNotDerived(version.label, f"its record was {newest.note}")
    return newest


def required_record(said: VersionStatements, version: Version) -> SignedRecord:
    """The record of a version.

    Raises:
        NoRecord: it has none.
    """
    if said.record is None:
        raise NoRecord(version.label)
    return said.record


def record_to_supersede(said: VersionStatements, version: Version) -> SignedRecord:
    """The record that the next one of a version supersedes; it may be pending.

    Raises:
        NoRecord: the version has none.
    """
    if said.newest is None:
        raise NoRecord(version.label)
    return said.newest


def signed_statements(registry: Registry, subject: Digest) -> tuple[StoredStatement, ...]:
    """What was said about an artifact, in the order of the log; each as it was signed, by a key that the home's trust lists.

    Whether that key may still say it is for `registry verify`; without a trust file that holds only the digests are checked.

    Raises:
        StatementAltered: a row is another text than its digest, its subject or its signature say, or is not as it was logged.
    """
    with view_of(registry) as view:
        view.require_log()
        opened = _opened_ahead(view).pop(subject, None)
        if opened is None:
            opened = catalog.opened_statements(view.tx, subjects=(subject,))[subject]
        statements = view.statements(subject, rows=tuple(statement.stored for statement in opened))
        view.read_ahead(entries=(stored.log_index or 0 for stored in statements))
        for stored in statements:
            _require_as_logged(view, stored)
    _require_signed(registry, subject, opened)
    return statements


def signed_statements_of_kinds(
    registry: Registry, subjects: Collection[Digest], kinds: Collection[StatementKind]
) -> dict[Digest, tuple[StoredStatement, ...]]:
    """The statements of some kinds about each of these, as `signed_statements` gives them; the texts of other kinds are not read.

    Which of what was said is of these kinds, and that none of it is missing, the log proves by digest and kind of each statement.

    Raises:
        SaidDiffers, PathRejected: a statement of whatever kind was removed, relabelled or added in the database.
        StatementAltered: as `signed_statements`, of a statement of these kinds.
    """
    with view_of(registry) as view:
        if view.newest is None:  # a statement's kind is proven by nothing but its text
            everything = {subject: signed_statements(registry, subject) for subject in subjects}
            return {
                subject: tuple(stored for stored in statements if stored.kind in kinds)
                for subject, statements in everything.items()
            }
        statements = _opened_of_kinds(view, subjects, kinds)
        said = [statement.stored for of_subject in statements.values() for statement in of_subject]
        view.read_ahead(entries=[stored.log_index or 0 for stored in said])
        for stored in said:
            _require_as_logged(view, stored)
    for subject, of_subject in statements.items():
        _require_signed(registry, subject, of_subject)
    return _stored(statements)


def logged_statements_of_kinds(
    registry: Registry, subjects: Collection[Digest], kinds: Collection[StatementKind]
) -> dict[Digest, tuple[StoredStatement, ...]]:
    """The same by the digests in the log alone: for an order, whose rows are read with their signatures before they are shown.

    Raises:
        SaidDiffers, PathRejected: as `signed_statements_of_kinds`.
        StatementAltered: the text of a statement of these kinds is not the one that was logged.
    """
    with view_of(registry) as view:
        if view.newest is None:
            return signed_statements_of_kinds(registry, subjects, kinds)
        statements = _opened_of_kinds(view, subjects, kinds)
    for subject, of_subject in statements.items():
        for statement in of_subject:
            _require_text(subject, statement)
    return _stored(statements)


def _opened_of_kinds(
    view: View, subjects: Collection[Digest], kinds: Collection[StatementKind]
) -> dict[Digest, tuple[catalog.OpenedRow, ...]]:
    """The statements of these kinds about each of these, once the log has proven which there are."""
    heads = view.heads(subjects)
    view.read_ahead(keys=map(artifact_key, subjects))
    for subject, said in heads.items():
        view.require_all_heads(subject, said)
    of_kinds = {subject: [head.digest for head in said if head.kind in kinds] for subject, said in heads.items()}
    opened = catalog.opened_with(view.tx, {digest for digests in of_kinds.values() for digest in digests})
    return {subject: tuple(opened[digest] for digest in digests) for subject, digests in of_kinds.items()}


def _stored(
    statements: Mapping[Digest, Sequence[catalog.OpenedRow]],
) -> dict[Digest, tuple[StoredStatement, ...]]:
    return {subject: tuple(said.stored for said in of_subject) for subject, of_subject in statements.items()}


def _require_signed(registry: Registry, subject: Digest, statements: Sequence[catalog.OpenedRow]) -> None:
    """Raise unless each of these is about the subject, as its row says, and signed by the key that the row names.

    Raises:
        StatementAltered: one of them is not.
    """
    try:
        keys = public_keys(registry.trust)
    except (NotChecked, IntegrityBroken):  # whoever checks trust says so
        keys = ()
    for statement in statements:
        _require_text(subject, statement)
        stored, envelope = statement
        try:
            if keys:
                dsse.verify(envelope, keys, expected_key_id=stored.key_id)
        except KnownError as error:
            raise StatementAltered(stored, error.why) from error


def _require_text(subject: Digest, statement: catalog.OpenedRow) -> None:
    """Raise unless the text of a statement is the one of its digest, about this artifact and of the kind that its row says."""
    stored, envelope = statement
    if Digest.of(envelope.payload) != stored.digest:
        raise StatementAltered(stored, f"its text hashes to {Digest.of(envelope.payload)}")
    if (stored.statement.subject_digest, stored.statement.kind) != (subject, stored.kind):
        raise StatementAltered(stored, "its text is about another artifact, or of another kind")


def read_statements_ahead(registry: Registry, subjects: Collection[Digest]) -> None:
    """In a block of `reading`, read at once what `signed_statements` reads of each of these: one by one takes much longer.

    Nothing is proven here. What is read of an artifact serves its next reading alone, so that it does not stay in memory.

    Raises:
        MalformedEnvelope, LooseBase64, RowDamaged: a stored row of any of them is not what was written; nothing is read ahead.
    """
    with view_of(registry) as view:
        opened = catalog.opened_statements(view.tx, subjects=subjects)
        view.read_ahead(
            keys=map(artifact_key, subjects),
            entries=(said.stored.log_index or 0 for of_subject in opened.values() for said in of_subject),
        )
        _opened_ahead(view).update(opened)


def _opened_ahead(view: View) -> dict[Digest, tuple[catalog.OpenedRow, ...]]:
    """What was read ahead in a block of `reading`; outside of one nothing."""
    return view.once("statements ahead", dict[Digest, tuple[catalog.OpenedRow, ...]])


def elsewhere(registry: Registry) -> Elsewhere:
    """What the registry has recorded of any artifact; what cannot be read there is said of that artifact, and not here."""

    word = word_of(registry)

    @cache
    def about(subject: Digest) -> tuple[LoggedStatement, ...] | None:
        try:
            statements = signed_statements(registry, subject)
        except KnownError:
            return None
        return tuple(
            LoggedStatement(stored.digest, stored.statement, word.entry_signer(stored)) for stored in statements
        )

    def statement(digest: Digest) -> LoggedStatement | None:
        with registry.database.read() as tx:
            stored = catalog.statement(tx, digest)
        said = None if stored is None else about(stored.statement.subject_digest)
        return next((entry for entry in said or () if entry.digest == digest), None)

    def covered_by(entry: int) -> LoggedSnapshot | None:
        with registry.database.read() as tx:
            store = SqlLogStore(tx)
            return snapshot_after(store.get_leaf, store.size(), entry)

    return Elsewhere(
        manifest=cache(lambda digest: manifest_in(registry, digest)),
        statement=cache(statement),
        about=about,
        snapshot_after=cache(covered_by),
        announced=cache(lambda edition: is_announced(registry, edition)),
        figures_announced=cache(lambda figures: are_figures_announced(registry, figures)),
    )


def is_announced(registry: Registry, edition: Edition, *, with_pending: bool = False) -> bool:
    """Whether somebody whose role may has announced an edition, in an entry that a checkpoint covers.

    `with_pending`: or in one that none covers yet, for whoever makes the next statement.
    """
    stored = announcement_of(registry, edition)
    if stored is None or stored.log_index is None:
        return False
    return with_pending or stored.log_index < covered_size(registry)


def announcement_of(registry: Registry, edition: Edition) -> StoredStatement | None:
    """The statement by which somebody whose role may announced an edition; None where nobody did."""
    announcements = _announcements(registry, edition_subject(edition.name))
    return next((stored for stored, said in announcements if said.edition == edition), None)


def are_figures_announced(registry: Registry, figures: int) -> bool:
    """Whether somebody whose role may has announced an edition to which these figures belong, or later ones, under a checkpoint."""
    stored = announcement_of_figures(registry, figures)
    return stored is not None and stored.log_index is not None and stored.log_index < covered_size(registry)


def announcement_of_figures(registry: Registry, figures: int) -> StoredStatement | None:
    """The first statement by which somebody whose role may announced an edition to which these figures belong, or later ones."""
    with registry.database.read() as tx:
        subjects = catalog.subjects_of_kind(tx, "edition")
    announcements = (pair for subject in subjects for pair in _announcements(registry, subject))
    return next(
        (stored for stored, said in announcements if said.figures is not None and said.figures >= figures), None
    )


def _announcements(registry: Registry, subject: Digest) -> Iterator[tuple[StoredStatement, EditionPredicate]]:
    """The announcements of the edition that a subject stands for, by those whose role may make them."""
    word = word_of(registry)
    try:
        statements = signed_statements(registry, subject)
    except KnownError:  # `registry log check` says what is wrong with it; nothing that is altered announces anything
        return
    for stored in statements:
        said = announced_in(stored.statement) if stored.kind == "edition" and word.may_say(stored) else None
        if said is not None and edition_subject(said.edition.name) == subject:
            yield stored, said


def announced_in(statement: Statement) -> EditionPredicate | None:
    """What a statement announces; None where it is malformed."""
    try:
        return statement.read_by(EditionPredicate.from_json)
    except ValidationError:
        return None


def _require_as_logged(view: View, stored: StoredStatement) -> None:
    """Raise unless the entry of a statement names it, its key and its time as its row does."""
    index = stored.log_index or 0
    leaf = view.leaf(index)
    if not isinstance(leaf, Event) or leaf.statement != stored.digest:
        raise StatementAltered(stored, f"entry {index} of the log names another")
    if (leaf.key, leaf.at) != (stored.key_id, stored.appended_at):
        raise StatementAltered(stored, f"it is logged at {leaf.at} by key {leaf.key:.12}…")


def version_statements(registry: Registry, version: Version, around: Elsewhere | None = None) -> VersionStatements:
    """Which of the statements about a version's artifact speak of this version, and which record is its own.

    Args:
        registry: where it is registered.
        version: the version.
        around: what is recorded of others, for who reads many versions at once; without it that is read anew.

    Raises:
        StatementAltered: a statement about it is not what was signed.
        RecordUnreadable: the record that it was registered with is not one.
        RecordContradicted: that record says what its inputs do not give.
        EditionUnknown: it is of an edition that this release does not know, and nobody announced.
        VersionsDiffer: nobody registered it.
    """
    statements = signed_statements(registry, version.manifest_digest)
    return _of_version(registry, version, statements, around or elsewhere(registry))


def record_checks(registry: Registry, subject: Digest) -> RecordChecks:
    """The records about an artifact and the answers to them that count, as far as they were logged: what a next record is held to.

    Raises:
        StatementAltered: a statement about it is not what was signed.
    """
    checks = RecordChecks(elsewhere(registry))
    word = word_of(registry)
    for stored in signed_statements(registry, subject):
        try:
            if stored.kind == "modification" or word.may_say(stored):
                checks.take(stored.digest, stored.statement, word.entry_signer(stored))
        except ValidationError:  # it holds no record that another could supersede
            continue
    return checks


def word_of(registry: Registry) -> WhoseWord:
    """By whose word what a home has counts; nobody's where no trust file says so: whoever checks trust says that."""
    try:
        return WhoseWord(registry.trust)
    except (NotChecked, IntegrityBroken):
        return WhoseWord(None)


def reading_of(registry: Registry) -> TrustedReading:
    """The same, and how much of its log is covered."""
    return TrustedReading(word_of(registry).trust, covered_size(registry), registry.clock())


def _of_version(
    registry: Registry, version: Version, statements: tuple[StoredStatement, ...], around: Elsewhere
) -> VersionStatements:
    """What speaks of a version, if its records follow from what they name."""
    reading = reading_of(registry)
    return statements_of_version(
        version,
        statements,
        may_say=reading.may_say,
        covered=reading.covered,
        known=around,
        signer_of=reading.entry_signer,
    )


def signer_of_fact(registry: Registry) -> SignerOf:
    """Whose key signed a statement by the home's trust; without one nobody knows, and verification says that nothing is checked."""
    return word_of(registry).signer_of_fact


def card_bytes(
    registry: Registry, version: Version, statements: Sequence[StoredStatement], recorded: Digest | None
) -> bytes | None:
    """The newest of its model cards that these statements sign; None if it has none.

    The catalogue's row has one card for each artifact, that of its first registration. A row that names a card which nobody signed
    stays what is looked at, so that it is found. Homes of earlier releases kept no other: a version that was registered later with
    another one shows that.

    Args:
        registry: where it is registered.
        version: as the log has it.
        statements: what was said about its artifact, in the order of the log.
        recorded: the card in the catalogue's row.

    Raises:
        ObjectMissing, ObjectCorrupt: the store lost or changed it.
    """
    if recorded is None:
        return None
    signed = {entry.statement.predicate.get("sha256") for entry in statements if entry.kind == "card"}
    own = own_card(version, statements) if str(recorded) in signed else None
    if own is None or (own.predicate.supersedes is None and not registry.store.has(own.predicate.sha256)):
        return registry.store.read_bytes(recorded)
    return registry.store.read_bytes(own.predicate.sha256)


def _card(registry: Registry, version: Version, statements: tuple[StoredStatement, ...]) -> bytes | None:
    """The newest model card of the version that counts; None if it has none. One that is pending does not count yet.

    Raises:
        VersionsDiffer: its row names a card that nobody signed.
    """
    with registry.database.read() as tx:
        digest = catalog.artifact(tx, manifest_digest=version.manifest_digest).card_digest
    signed = {
        stored.statement.read_by(CardPredicate.from_json).sha256 for stored in statements if stored.kind == "card"
    }
    if digest is None and not signed:
        return None
    if digest is None:
        raise VersionsDiffer(version.name, f"{version.label}, card: none in the catalogue, and one was signed")
    if digest not in signed:
        raise VersionsDiffer(version.name, f"{version.label}, card: {digest} in the catalogue, and nobody signed it")
    counting = max(covered_size(registry), version.log_index + 1)  # what it was registered with counts in any case
    standing = [stored for stored in statements if stored.log_index is not None and stored.log_index < counting]
    return card_bytes(registry, version, standing, digest)


def records_of(registry: Registry, version: Version, around: Elsewhere | None = None) -> Records:
    """Everything that is recorded about a version.

    Args:
        registry: where it is registered.
        version: the version.
        around: what is recorded of others, for who reads many versions at once; without it that is read anew.

    Raises:
        StatementAltered: a statement about it is not what was signed.
        RecordUnreadable: the modification record that it was registered with is not one.
        RecordContradicted: that record says what nobody signed.
        VersionsDiffer: nobody registered it, or its card is not one that was signed.
    """
    statements = signed_statements(registry, version.manifest_digest)
    around = around or elsewhere(registry)
    return records_among(
        version,
        stored_manifest(registry, version.manifest_digest),
        statements,
        _of_version(registry, version, statements, around),
        reading_of(registry),
        card=_card(registry, version, statements),
    )


def records_among(
    version: Version,
    manifest: Manifest,
    statements: tuple[StoredStatement, ...],
    said: VersionStatements,
    reading: TrustedReading,
    *,
    card: bytes | None,
) -> Records:
    """What is recorded about a version in the statements about its artifact. Pure.

    Args:
        version: as the log has it.
        manifest: of its artifact.
        statements: everything that was said about that, in the order of the log.
        said: what of it speaks of this version.
        reading: by whose word it counts.
        card: the model card that was signed with the version; None if it has none.
    """
    newest = said.standing
    evaluation = newest.get("bias-evaluation")
    production = newest["provenance"].read_by(production_of) if "provenance" in newest else None
    # a statement that calls a base what is none says nothing of it
    base = None
    if manifest.kind == "base":
        base = stated_base(statements, version.name, reading.signer_of_fact, covered=reading.covered)
    return Records(
        manifest=manifest,
        statements=said.statements,
        run=production if isinstance(production, RunRecord) else None,
        merge=production if isinstance(production, MergeRecord) else None,
        imported=production if isinstance(production, ImportRecord) else None,
        evaluation=None if evaluation is None else evaluation.read_by(EvaluationRecord.from_json),
        evaluations=tuple(
            stored.statement.read_by(EvaluationRecord.from_json)
            for stored in said.statements
            if stored.kind == "bias-evaluation" and stored.digest not in said.pending_evaluations
        ),
        pending_evaluations=tuple(stored for stored in said.statements if stored.digest in said.pending_evaluations),
        modification=None if said.record is None else as_read(said.record.record),
        base=None if base is None else base.record,
        card=card,
        history=said.history,
        set_aside=said.set_aside,
        pending=said.pending,
        made_by=tuple(dict.fromkeys(stored.key_id for stored in statements if stored.kind in MADE_BY)),
        made=said.made,
        note="" if said.record is None else said.record.note,
    )
