"""`registry log sign` and `registry log reject`: what the holder of the log key does with the entries of others.

An entry of the log is pending until a checkpoint covers it. The holder of the log key signs one once every new entry may stand in
the log; one that may not stops all behind it, because a signature over the tree proves each entry in it to everybody, for ever.
Such an entry is taken out before it is covered, and the entries behind it move up. Nobody has signed over their places yet, so the
log that was signed stays append-only. What was taken out is kept in the home, as evidence.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore, append_event
from peft_registry.registry.database.pending import (
    PendingEntry,
    pending_entries,
    take_off,
)
from peft_registry.registry.disk.files import unwritable, write_atomically
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.records.checkpoints import (
    PendingProblem,
    covered_size,
    pending_problems,
    publish_checkpoint,
    view_to_sign,
)
from peft_registry.registry.records.entries import (
    is_said_once,
    read_statement,
    record_statement,
    require_may_say,
    require_signed,
)
from peft_registry.registry.records.snapshots import read_leaf
from peft_registry.registry.records.views import View
from peft_registry.registry.signing.dsse import Envelope
from peft_registry.registry.signing.trust import KeyLacksRole, key_status, public_keys, require_ok
from peft_registry.registry.transparency import merkle
from peft_registry.registry.use_cases.fill_facets import renew_facets
from peft_registry.registry.use_cases.statements import Saying, require_sayable, sayable_at, sign_statement
from peft_registry.schemas.acts import ACTS, AliasPredicate
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import (
    InputRefused,
    IntegrityBroken,
    KnownError,
    NotChecked,
    NotFound,
    Taken,
    Unavailable,
)
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event
from peft_registry.schemas.modification import modification_in
from peft_registry.schemas.policy import CHECKPOINT_TYPE
from peft_registry.schemas.statement import PREDICATE_TYPES, RegistrationPredicate, Statement

REJECTED_FOLDER = "rejected"  # under the home
_OF_NO_VERSION = frozenset(act.kind for act in ACTS.values() if act.about != "version")
"""Kinds of statements that stand whether or not their subject is registered: it may be an alias, or data."""
_Form = TypeVar("_Form", RegistrationPredicate, AliasPredicate)


class LogKeyElsewhere(NotFound):
    what = "the log key is not in this registry's folder"
    why = "it is held by {holders}, and nobody else signs the log"
    fix = "have them run `registry log sign`; whoever takes the key over runs `registry keys import FILE --role log`"

    holders: str


class EntryCovered(Taken):
    what = "entry {index} stays in the log"
    why = "a signed checkpoint covers its first {covered} entries, and what was signed over is never taken out"
    fix = "say otherwise by a new statement; `registry log show` marks the entries that are pending"

    index: int
    covered: int


class EntryUnknown(NotFound):
    what = "the log has no entry {index}"
    why = "it holds {size} entries, numbered from 0"
    fix = "run `registry log sign`, which names the entries that it refuses"

    index: int
    size: int


class ReasonMissing(InputRefused):
    reference = "rejection-without-reason"
    what = "no entry was taken out of the log"
    why = "the reason is empty, and it is all that explains the act to whoever asks later"
    fix = "add --reason TEXT"


class RefusedEntry(Frozen):
    """An entry that the holder of the log key does not sign over, and why."""

    index: int
    kind: str | None
    person: str | None  # whose key the entry names, as the trust file says
    key_id: str | None
    error: str
    why: str
    is_wrong: bool  # False where it could only not be checked, such as an unlisted key


class SignedLog(Frozen):
    """What `log sign` did: entries under the newest checkpoint before and after, and what stopped it."""

    before: int
    covered: int
    size: int
    refused: tuple[RefusedEntry, ...]

    @property
    def exit_code(self) -> int:
        """0, 5 where all that is refused could not be checked, 6 where something is wrong."""
        if any(entry.is_wrong for entry in self.refused):
            return IntegrityBroken.exit_code
        return NotChecked.exit_code if self.refused else 0


class StayingStop(Frozen):
    """A stop that somebody would have taken out: it counts all the same, and that it was rejected is in the log."""

    index: int  # of its entry, before the rejection
    kind: str
    person: str | None
    statement: Digest


class Rejection(Frozen):
    """What was taken out: the entries that were named, those that depend on them, and where they are kept."""

    rejected: tuple[int, ...]
    dependent: tuple[int, ...]
    moved: int  # entries behind them that have other numbers now
    kept_in: tuple[str, ...]
    staying: tuple[StayingStop, ...] = ()


def sign_log(registry: Registry) -> SignedLog:
    """Check every pending entry and sign a checkpoint over all of them; nothing is signed where one is refused.

    Raises:
        LogKeyElsewhere: somebody else holds the log key.
        LogForked, LogTruncated, PathRejected: what is covered is not what was signed.
        HomeReadOnly: this home cannot be written.
    """
    registry.require_writable()
    require_log_key(registry)
    before = covered_size(registry)
    with registry.database.read() as tx:
        problems = pending_problems(view_to_sign(registry, tx))
        size = SqlLogStore(tx).size()
    if problems:
        refused = tuple(_refused(registry, problem) for problem in problems)
        return SignedLog(before=before, covered=before, size=size, refused=refused)
    covered = publish_checkpoint(registry)
    return SignedLog(before=before, covered=covered, size=covered, refused=())


def keep_signing(
    registry: Registry, *, every_seconds: float, wait: Callable[[float], None] = time.sleep
) -> Iterator[SignedLog]:
    """Sign what is pending again and again; gives each outcome that differs from the one before.

    What is refused stops nobody: it is said once, and looked at again until somebody rejects it. So is a database that is away.

    Raises:
        KnownError: as `sign_log`, but for what this machine or a backend cannot do just now.
    """
    last: SignedLog | None = None
    while True:
        try:
            signed = sign_log(registry)
        except Unavailable as error:
            if registry.seen is not None:
                registry.seen.say(f"warning: {error}")
        else:
            if last is None or (signed.covered, signed.refused) != (last.covered, last.refused):
                yield signed
            last = signed
        wait(every_seconds)


def reject_entries(registry: Registry, indices: tuple[int, ...], *, reason: str) -> Rejection:
    """Take pending entries out of the log, with what depends on them; the entries behind them move up.

    A recall, a hold or a binding of somebody who may say it is not taken out: that it was rejected is signed and logged, and it
    counts as before, because the holder of the log key alone undoes nothing. The rejection of anything else that has a nonce is
    logged too, so that nobody can put it back without a key.

    A registration depends on the statements that it names, a record on the answers that it takes up and on the record that it
    supersedes, a move on the version that it points to, and a statement on an artifact that is registered. An entry that moves up
    and was dated later than now, because it stood behind one that was, is dated now.

    Raises:
        LogKeyElsewhere: somebody else holds the log key.
        RevokedKey, ExpiredKey, UnlistedKey, KeyLacksRole: the key here may not sign the log, or a rejection.
        SecretRefused, PredicateMalformed: the reason looks like a secret, or is too long.
        EntryCovered, EntryUnknown, ReasonMissing: nothing was changed.
        PrivilegeMissing: this role does not own the tables.
        NotWritable, DiskFull: the evidence cannot be kept; nothing was changed.
    """
    registry.require_writable()
    if not reason.strip():
        raise ReasonMissing
    person = require_log_key(registry)
    now = registry.clock()
    with registry.database.write() as tx:
        covered = covered_size(registry)
        size = SqlLogStore(tx).size()
        for index in indices:
            if not 0 <= index < size:
                raise EntryUnknown(index, size)
            if index < covered:
                raise EntryCovered(index, covered)
        entries = pending_entries(tx, covered)
        staying = {entry.index: stop for entry in entries if (stop := _counting_stop(registry, entry, now)) is not None}
        named = frozenset(indices) - staying.keys()
        rejected = _with_dependent(tx, entries, named, covered)
        take_off(tx, entries, covered)
        moved = _append_again(tx, entries, rejected, now=now)
        # what was read from a statement that is gone goes with it
        for subject in {entry.statement.subject for entry in entries if entry.statement is not None}:
            renew_facets(View(registry, tx), subject)
        kept_in = _keep_evidence(
            registry, [entry for entry in entries if entry.index in rejected], reason=reason, person=person, now=now
        )
        kept = tuple(staying[index] for index in sorted(frozenset(indices) & staying.keys()))
        for stop in kept:
            _log_rejection(registry, tx, stop.statement, reason)
        if _may_log_rejections(registry, now):
            for digest in (_said_once(entry) for entry in entries if entry.index in named):
                if digest is not None:
                    _log_rejection(registry, tx, digest, reason)
    return Rejection(
        rejected=tuple(sorted(named)),
        dependent=tuple(sorted(rejected - named)),
        moved=moved,
        kept_in=tuple(f"{path}" for path in kept_in),
        staying=kept,
    )


def require_log_key(registry: Registry) -> str:
    """The person who holds the log key here, as the trust file says.

    Raises:
        LogKeyElsewhere, RevokedKey, ExpiredKey, UnlistedKey, KeyLacksRole: it may not sign.
    """
    trust = registry.read_trust(at=registry.clock())
    key = registry.log_key
    if key is None:
        holders = {listed.person for listed in trust.keys if listed.role == "log"}
        raise LogKeyElsewhere(", ".join(sorted(holders)) or "nobody whom the trust file lists")
    status = key_status(
        trust, key.public.key_id, predicate_type=CHECKPOINT_TYPE, signed_at_proven=None, now=registry.clock()
    )
    return require_ok(status).person


def _refused(registry: Registry, problem: PendingProblem) -> RefusedEntry:
    return RefusedEntry(
        index=problem.index,
        kind=problem.kind,
        person=None if problem.key_id is None else registry.trust.person_of(problem.key_id),
        key_id=problem.key_id,
        error=problem.error.reference,
        why=problem.error.why,
        is_wrong=isinstance(problem.error, IntegrityBroken),
    )


# --- what is not taken out ---


def _counting_stop(registry: Registry, entry: PendingEntry, now: str) -> StayingStop | None:
    """The stop that an entry holds, if somebody signed it whose key may say it now; None for any other entry."""
    event = _read(entry).event
    if event is None or entry.statement is None:
        return None
    try:
        said = read_statement(entry.statement.envelope, entry.index, event)
        require_signed(said, entry.index, event.revised(at=now), trust=registry.trust, keys=public_keys(registry.trust))
    except KnownError:
        return None
    if not said.statement.is_stop or registry.trust.revocation(event.key) is not None:
        return None
    return StayingStop(
        index=entry.index,
        kind=f"{said.statement.kind}",
        person=registry.trust.person_of(event.key),
        statement=said.digest,
    )


def _said_once(entry: PendingEntry) -> Digest | None:
    """The digest of the statement that an entry holds, where a nonce tells it from every other; None of any other entry."""
    event = _read(entry).event
    if event is None or entry.statement is None:
        return None
    try:
        said = read_statement(entry.statement.envelope, entry.index, event)
    except KnownError:
        return None
    return said.digest if is_said_once(said.statement) else None


def _may_log_rejections(registry: Registry, now: str) -> bool:
    """Whether the trust file lets the log key say that it rejected something; one of an earlier release does not."""
    key = registry.log_key
    assert key is not None, "whoever rejects holds the log key"
    try:
        require_may_say(registry.trust, key.public.key_id, PREDICATE_TYPES["rejection"], at=now)
    except KeyLacksRole:
        return False
    return True


def _log_rejection(registry: Registry, tx: catalog.Transaction, rejected: Digest, reason: str) -> None:
    key = registry.log_key
    assert key is not None, "whoever rejects holds the log key"
    predicate = {"reason": reason, "nonce": registry.nonce()}
    view = View(registry, tx)
    require_sayable(view, rejected, Saying("rejection", predicate, key))
    at = sayable_at(view, key.public.key_id, (PREDICATE_TYPES["rejection"],))
    record_statement(tx, rejected, sign_statement(rejected, "rejection", predicate, key), at=at)


# --- what is taken out, and what moves up ---


@dataclass(frozen=True, slots=True)
class _Read:
    """A pending entry as far as it can be read: what depends on what."""

    event: Event | None
    statement: Statement | None

    @property
    def registers(self) -> str | None:
        """The name under which it registers its subject."""
        registration = self.registration
        return None if registration is None else registration.name

    @property
    def registration(self) -> RegistrationPredicate | None:
        return self._predicate("registration", RegistrationPredicate)

    @property
    def move(self) -> AliasPredicate | None:
        return self._predicate("alias", AliasPredicate)

    @property
    def answers(self) -> frozenset[str]:
        """The digests of the answers that a record takes up; of one that is malformed, as far as it names them."""
        named = self._correction.get("answers")
        return frozenset(f"{digest}" for digest in named) if isinstance(named, list) else frozenset()

    @property
    def superseded(self) -> str | None:
        """The digest of the record that a record supersedes; None where it names none."""
        named = self._correction.get("supersedes_digest")
        return named if isinstance(named, str) else None

    @property
    def record_digest(self) -> str | None:
        """The digest of a record by which another names it; None for another kind, and for one that is malformed."""
        if self.statement is None or self.statement.kind != "modification":
            return None
        try:
            record = modification_in(self.statement)
        except ValidationError:
            return None
        return f"{record.canonical_digest()}"

    @property
    def _correction(self) -> dict[str, Any]:  # any JSON values
        if self.statement is None or self.statement.kind != "modification":
            return {}
        record = self.statement.predicate.get("record")
        # before editions the predicate was the record itself
        stated = record if isinstance(record, dict) else self.statement.predicate
        correction = stated.get("correction")
        return correction if isinstance(correction, dict) else {}

    def _predicate(self, kind: str, form: type[_Form]) -> _Form | None:
        if self.event is None or self.statement is None or self.event.kind != kind:
            return None
        try:
            return form.from_json(self.statement.predicate)
        except ValidationError:
            return None


def _read(entry: PendingEntry) -> _Read:
    try:
        leaf = read_leaf(entry.leaf)
    except IntegrityBroken:
        return _Read(None, None)
    if not isinstance(leaf, Event) or entry.statement is None:
        return _Read(leaf if isinstance(leaf, Event) else None, None)
    try:
        payload = Envelope.parse(entry.statement.envelope).payload
        return _Read(leaf, Statement.from_json(read_json(payload, what="a statement")))
    except (KnownError, ValidationError):
        return _Read(leaf, None)


def _with_dependent(
    tx: catalog.Transaction, entries: tuple[PendingEntry, ...], named: frozenset[int], covered: int
) -> frozenset[int]:
    """The named entries and every pending one that cannot stand without them."""
    read = {entry.index: _read(entry) for entry in entries}
    rejected = set(named)
    while True:
        more = {
            index for index, one in read.items() if index not in rejected and _falls(tx, one, read, rejected, covered)
        }
        if not more:
            return frozenset(rejected)
        rejected |= more


def _falls(tx: catalog.Transaction, one: _Read, read: dict[int, _Read], rejected: set[int], covered: int) -> bool:
    """Whether an entry cannot stand once those are gone."""
    if one.event is None:
        return False
    gone = {event.statement for index in rejected if (event := read[index].event) is not None}
    registration, move = one.registration, one.move
    if registration is not None:
        return not gone.isdisjoint(registration.accompanied_by)
    if not one.answers.isdisjoint(f"{digest}" for digest in gone):
        return True
    if one.event.says in _OF_NO_VERSION:
        return False
    if one.superseded is not None and one.superseded in {read[index].record_digest for index in rejected}:
        return True
    subject = one.event.subject
    registered = {version.name for version in catalog.version_by_digest(tx, subject) if version.log_index < covered}
    registered |= {
        other.registers
        for index, other in read.items()
        if index not in rejected and other.event is not None and other.event.subject == subject and other.registers
    }
    return not registered if move is None else move.name not in registered


def _append_again(
    tx: catalog.Transaction, entries: tuple[PendingEntry, ...], rejected: frozenset[int], *, now: str
) -> int:
    """Append what stays, with the statements, versions and moves that belong to it; returns how many have another number now."""
    store = SqlLogStore(tx)
    size = store.size()
    newest = "" if size == 0 else read_leaf(store.get_leaf(size - 1)).at
    moved = 0
    for entry in entries:
        if entry.index in rejected:
            continue
        event = _read(entry).event
        entered_at = newest if event is None else max(newest, min(event.at, now))
        leaf = entry.leaf if event is None else event.revised(at=entered_at).to_canonical()
        newest = entered_at
        index = append_event(tx, leaf)
        moved += index != entry.index
        _record_again(tx, entry, index, entered_at)
    return moved


def _record_again(tx: catalog.Transaction, entry: PendingEntry, index: int, entered_at: str) -> None:
    row = entry.statement
    if row is None:
        return
    catalog.insert_statement(
        tx,
        digest=row.digest,
        subject=row.subject,
        kind=row.kind,  # type: ignore[arg-type]  # what the row had: the next check of the entry reads it
        predicate_type=row.predicate_type,
        key_id=row.key_id,
        envelope=row.envelope,
        log_index=index,
        appended_at=entered_at,
    )
    if entry.version is not None:
        name, _ = entry.version
        catalog.add_version(
            tx, name=name, manifest_digest=row.subject, key_id=row.key_id, registered_at=entered_at, log_index=index
        )
    if entry.move is not None:
        target = catalog.idempotent_version(tx, name=entry.move.name, manifest_digest=row.subject)
        number_now = None if entry.move.number is None or target is None else target.number
        catalog.set_alias(
            tx,
            name=entry.move.name,
            alias=entry.move.alias,
            number=number_now,
            statement_digest=row.digest,
            at=entered_at,
        )


def _keep_evidence(
    registry: Registry, entries: list[PendingEntry], *, reason: str, person: str, now: str
) -> tuple[Path, ...]:
    """What was taken out, one file an entry; written before the transaction ends, so that none is taken out without."""
    folder = registry.folder / REJECTED_FOLDER
    paths = []
    try:
        folder.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise unwritable(folder, error) from error
    for entry in entries:
        path = folder / f"{entry.index}-{merkle.leaf_hash(entry.leaf).hex()[:16]}.json"
        envelope = None if entry.statement is None else entry.statement.envelope.decode("utf-8", "backslashreplace")
        value = {
            "entry": entry.index,
            "leaf": entry.leaf.decode("utf-8", "backslashreplace"),
            "statement": envelope,
            "version": None if entry.version is None else "{}:{}".format(*entry.version),
            "reason": reason,
            "rejected_by": person,
            "rejected_at": now,
        }
        write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n", mode=0o600)
        paths.append(path)
    return tuple(paths)
