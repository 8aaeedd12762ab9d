"""One entry of the log with the statement that it points to, and whether that statement may stand there.

A signer asks before signing (`require_may_say`); the holder of the log key asks again before a checkpoint covers the entry.
"""

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import append_event
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.dsse import Envelope
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.signing.statements import OpenedStatement, SignedStatement
from peft_registry.registry.signing.trust import key_status, require_ok
from peft_registry.registry.transparency.projection import EntryRejected
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event, event_about
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import Statement


def statement_of_entry(tx: catalog.Transaction, index: int, leaf: Event) -> OpenedStatement:
    """The statement that an entry points to, from its signed bytes. Its signature is not checked yet.

    Raises:
        EntryRejected: it is not in the database, is another, or is recorded for another entry.
        MalformedEnvelope, LooseBase64: its envelope is malformed.
    """
    stored = catalog.statement(tx, leaf.statement)
    if stored is None:
        raise EntryRejected(index, f"its statement {leaf.statement} is not in the database")
    if stored.log_index != index:
        raise EntryRejected(index, f"its statement stands at entry {stored.log_index} already")
    return read_statement(stored.envelope, index, leaf)


def is_said_once(statement: Statement) -> bool:
    """Whether a nonce tells a statement from every other: whoever says the same again signs another one."""
    return "nonce" in statement.predicate


def record_statement(tx: catalog.Transaction, subject: Digest, signed: SignedStatement, *, at: str) -> int:
    """Append the event and the row of one statement inside the caller's transaction; returns the log index."""
    predicate_type = signed.statement.predicate_type
    event = event_about(subject, signed.digest, predicate_type=predicate_type, key=signed.key_id, at=at)
    index = append_event(tx, event.to_canonical())
    catalog.insert_statement(
        tx,
        digest=signed.digest,
        subject=subject,
        kind=signed.statement.kind,
        predicate_type=predicate_type,
        key_id=signed.key_id,
        envelope=signed.line,
        log_index=index,
        appended_at=at,
    )
    return index


def read_statement(envelope: bytes, index: int, leaf: Event) -> OpenedStatement:
    """The statement of an envelope, if it is the one that an entry names.

    Raises:
        EntryRejected: it is another, of another kind, about something else, or malformed.
    """
    what = f"the statement of entry {index}"
    parsed = Envelope.parse(envelope, what=what)
    if Digest.of(parsed.payload) != leaf.statement:
        raise EntryRejected(index, f"it names the statement {leaf.statement}, stored is another")
    try:
        statement = Statement.from_json(read_json(parsed.payload, what=what))
    except ValidationError as error:
        raise EntryRejected(index, f"its statement is malformed: {first_problem(error)}") from error
    if statement.logged_kind != leaf.kind:
        raise EntryRejected(index, f"the entry is of kind {leaf.kind}, its statement of kind {statement.logged_kind}")
    if not statement.is_about(leaf.subject):
        raise EntryRejected(index, f"it is about {leaf.subject}, its statement about {statement.subject_digest}")
    return OpenedStatement(statement, parsed, leaf.statement)


def require_signed_entry(
    envelope: bytes, index: int, leaf: Event, *, trust: TrustPolicy, keys: tuple[PublicKey, ...]
) -> None:
    """Raise unless the key that the leaf names signed the envelope, and its role covers what is said.

    Raises:
        BadSignature, WrongSigner, RevokedKey, KeyLacksRole: it must not be relied on.
        UnknownKey, UnlistedKey, ExpiredKey: it could not be checked.
    """
    require_signed(read_statement(envelope, index, leaf), index, leaf, trust=trust, keys=keys)


def require_signed(
    said: OpenedStatement, index: int, leaf: Event, *, trust: TrustPolicy, keys: tuple[PublicKey, ...]
) -> None:
    """As `require_signed_entry`, for a statement that was read before."""
    named = tuple(key for key in keys if key.key_id == leaf.key)
    signer = dsse.verify(said.envelope, named or keys, expected_key_id=leaf.key, what=f"the statement of entry {index}")
    require_may_say(trust, signer.key_id, said.statement.predicate_type, at=leaf.at)


def misplaced(kind: str | None, about: Manifest) -> str:
    """Why a statement of a kind cannot be about an artifact; empty where it can.

    Whoever reads what a base is made from stops at it: a result that somebody calls one would hide all that went into it.
    """
    if kind == "base" and about.kind != "base":
        return f"it calls a base what is registered as {about.kind}"
    return ""


def require_may_say(trust: TrustPolicy, key_id: str, predicate_type: str, *, at: str) -> None:
    """Raise unless the role of a key covers a statement of this type in an entry of this time.

    Raises:
        RevokedKey, KeyLacksRole: it must not be relied on.
        UnlistedKey, ExpiredKey: it could not be checked.
    """
    require_ok(key_status(trust, key_id, predicate_type=predicate_type, signed_at_proven=at, now=at))
