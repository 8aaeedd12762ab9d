"""Signed statements, as they were appended."""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json
from sqlalchemy import Row, bindparam, insert, select

from peft_registry.registry.database.envelopes import Room, packed, unpacked
from peft_registry.registry.database.failures import RowDamaged
from peft_registry.registry.database.session import Transaction, in_parts
from peft_registry.registry.database.tables import statements
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import KINDS, Statement, StatementKind, StoredStatement, logged_kind

if TYPE_CHECKING:
    from peft_registry.registry.signing.dsse import Envelope

# put together once: that takes longer than to run them
_OF_SUBJECTS = (
    select(statements)
    .where(statements.c.subject.in_(bindparam("subjects", expanding=True)))
    .order_by(statements.c.log_index)
)
_HEADS = (
    select(
        statements.c.subject,
        statements.c.digest,
        statements.c.kind,
        statements.c.predicate_type,
        statements.c.log_index,
    )
    .where(statements.c.subject.in_(bindparam("subjects", expanding=True)))
    .order_by(statements.c.subject, statements.c.log_index)
)
_OF_KIND = select(statements.c.digest).where(statements.c.kind == bindparam("kind")).limit(1)
_SUBJECTS_OF_KIND = (
    select(statements.c.subject).where(statements.c.kind == bindparam("kind")).order_by(statements.c.log_index)
)
_OF_KIND_ABOUT = _OF_KIND.where(statements.c.subject.in_(bindparam("subjects", expanding=True)))
_WITH_DIGESTS = select(statements).where(statements.c.digest.in_(bindparam("digests", expanding=True)))


def insert_statement(
    tx: Transaction,
    *,
    digest: Digest,
    subject: Digest,
    kind: StatementKind | None,
    predicate_type: str,
    key_id: str,
    envelope: bytes,
    log_index: int,
    appended_at: str,
) -> None:
    """Record a statement whose event was appended at `log_index`. `digest` is that of the payload bytes.

    Raises:
        AlreadyRecorded: a statement with this digest, or another one for this event, is there.
    """
    values = {
        "digest": digest,
        "subject": subject,
        "kind": kind,
        "predicate_type": predicate_type,
        "key_id": key_id,
        "envelope": packed(envelope),
        "log_index": log_index,
        "appended_at": appended_at,
    }
    tx.execute(insert(statements), values)


def statements_of(tx: Transaction, *, subject: Digest) -> tuple[StoredStatement, ...]:
    """Everything that was said about a manifest digest, in log order.

    Raises:
        MalformedEnvelope, LooseBase64, RowDamaged: a stored row is not what was written.
    """
    return tuple(opened.stored for opened in opened_statements(tx, subjects=(subject,))[subject])


class OpenedRow(NamedTuple):
    """A stored statement and its envelope, which was opened to read it; nobody has looked at the signature."""

    stored: StoredStatement
    envelope: "Envelope"


_RECENT_MAX_BYTES = (
    2 * 1024 * 1024
)  # of envelopes, of some ten versions; as objects, and what was read from them, they take nine times as much


class _RecentRows:
    """The rows that were opened last: a command reads what was said of a version for each thing that it checks or shows.

    A row is asked for by all that it holds, so that one that was changed meanwhile is opened anew. What is kept of one is as it was
    read: whoever looks at its signature does so again.

    Without it, on the home of `registry demo --governance`, `verify` takes 11 % more CPU time once everything is imported, `show`
    37 %, `list --where verdict` 52 %, `report --all` 70 %. Blocks of `reading` that remember what eight artifacts were said to be
    (`records/views.py`) make up for that there, and not where something was made from twenty-five.
    """

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[Any, ...], OpenedRow] = OrderedDict()  # the values of any row
        self._bytes = 0
        self._lock = Lock()  # a server reads in several threads

    def get(self, row: tuple[Any, ...]) -> OpenedRow | None:
        """What it was opened to, if that is still known."""
        with self._lock:
            opened = self._rows.get(row)
            if opened is not None:
                self._rows.move_to_end(row)
            return opened

    def keep(self, row: tuple[Any, ...], opened: OpenedRow) -> None:
        """Know it from now on, and forget those that nobody asked for the longest."""
        size = len(opened.stored.envelope)
        if size > _RECENT_MAX_BYTES:
            return
        with self._lock:
            if row not in self._rows:
                self._rows[row] = opened
                self._bytes += size
            while self._bytes > _RECENT_MAX_BYTES:
                _, oldest = self._rows.popitem(last=False)
                self._bytes -= len(oldest.stored.envelope)


_RECENT = _RecentRows()


def opened_statements(tx: Transaction, *, subjects: Collection[Digest]) -> dict[Digest, tuple[OpenedRow, ...]]:
    """What was said about each of these, as `statements_of`, for who checks its signatures: opening an envelope takes long.

    Raises:
        MalformedEnvelope, LooseBase64, RowDamaged: as `statements_of`, if any row of any of them is not what was written.
    """
    said: dict[Digest, list[OpenedRow]] = {subject: [] for subject in subjects}
    room = Room()
    for row in tx.execute(_OF_SUBJECTS, {"subjects": tuple(subjects)}):
        said[row.subject].append(_opened(row, room))
    return {subject: tuple(of_subject) for subject, of_subject in said.items()}


@dataclass(frozen=True, slots=True)
class StatementHead:
    """Which statement was made, without its text; what the row says of it, and nothing that was signed."""

    digest: Digest
    kind: StatementKind | None
    logged_kind: str  # what its entry in the log calls it
    log_index: int


def statement_heads(tx: Transaction, *, subjects: Collection[Digest]) -> dict[Digest, tuple[StatementHead, ...]]:
    """Which statements were made about each of these, in log order. Their texts, which take most of the time, are not read."""
    heads: dict[Digest, list[StatementHead]] = {subject: [] for subject in subjects}
    for part in in_parts(tuple(heads)):
        for subject, digest, kind, predicate_type, log_index in tx.execute(_HEADS, {"subjects": part}):
            # where the row calls it another kind than its type does, that: the log contradicts it, as it does `StoredStatement`
            logged = logged_kind(predicate_type) if kind == KINDS.get(predicate_type) else f"{kind}"
            heads[subject].append(StatementHead(digest, kind, logged, log_index))
    return {subject: tuple(of_subject) for subject, of_subject in heads.items()}


def any_statement(tx: Transaction, kind: StatementKind) -> bool:
    """Whether a statement of that kind was ever recorded, of whatever."""
    return tx.execute(_OF_KIND, {"kind": kind}).one_or_none() is not None


def subjects_of_kind(tx: Transaction, kind: StatementKind) -> tuple[Digest, ...]:
    """What statements of that kind are about, each once, in the order of the log."""
    return tuple(dict.fromkeys(tx.execute(_SUBJECTS_OF_KIND, {"kind": kind}).scalars()))


def any_about(tx: Transaction, subjects: Collection[Digest], kind: StatementKind) -> bool:
    """Whether a statement of that kind was ever recorded about one of these."""
    for part in in_parts(tuple(subjects)):
        if tx.execute(_OF_KIND_ABOUT, {"subjects": part, "kind": kind}).one_or_none() is not None:
            return True
    return False


def statement(tx: Transaction, digest: Digest) -> StoredStatement | None:
    """The statement with this payload digest, if it was recorded."""
    return statements_with(tx, (digest,)).get(digest)


def statements_with(tx: Transaction, digests: Collection[Digest]) -> dict[Digest, StoredStatement]:
    """The statements with these payload digests; one that was not recorded is absent."""
    return {digest: opened.stored for digest, opened in opened_with(tx, digests).items()}


def opened_with(tx: Transaction, digests: Collection[Digest]) -> dict[Digest, OpenedRow]:
    """The same, for who checks their signatures."""
    found: dict[Digest, OpenedRow] = {}
    room = Room()
    for part in in_parts(sorted(digests)):
        found |= {row.digest: _opened(row, room) for row in tx.execute(_WITH_DIGESTS, {"digests": part})}
    return found


def _opened(row: Row[Any], room: Room) -> OpenedRow:
    values = tuple(row)
    opened = _RECENT.get(values)
    if opened is None or len(opened.stored.envelope) > room.left(row.subject):
        opened = _open(row, left=room.left(row.subject))
        _RECENT.keep(values, opened)
    room.take(row.subject, opened.stored.envelope)
    return opened


def _open(row: Row[Any], *, left: int) -> OpenedRow:
    # imported here: a list of versions needs no cryptography
    from peft_registry.registry.signing.dsse import Envelope

    line = unpacked(row.envelope, row.digest, left=left)
    envelope = Envelope.parse(line, what=f"statement {row.digest}")
    try:
        stored = StoredStatement(
            digest=row.digest,
            kind=row.kind,
            # not `model_validate_json`, which makes a copy of every value of the predicate and takes half as long again
            statement=Statement.model_validate(from_json(envelope.payload)),
            key_id=row.key_id,
            envelope=line,
            log_index=row.log_index,
            appended_at=row.appended_at,
        )
    except ValidationError as error:
        raise RowDamaged("statements", f"{row.digest}: {first_problem(error)}") from error
    except ValueError as error:
        raise RowDamaged("statements", f"{row.digest}: its payload is not JSON: {error}") from error
    return OpenedRow(stored, envelope)
