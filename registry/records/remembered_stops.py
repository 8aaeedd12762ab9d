"""Which statements stop something, and which of them this user remembers and the database may have lost.

A recall, a hold and a binding count from their signature on. What a checkpoint covers cannot be taken out unnoticed; what is
pending can. So each is kept in the user's state (`homes/remembered_stops.py`) by whoever signs it, before it enters the log, and
by whoever reads it there while it is pending.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.remembered_stops import StopMemoryUnreadable
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.records.entries import require_may_say
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.signing.trust import public_keys
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import KnownError, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import Statement, StoredStatement
from peft_registry.schemas.values import Timestamp


def is_signed(registry: Registry, entry: StoredStatement, *, at: Timestamp) -> bool:
    """Whether somebody signed what is pending who might say it at a time: its row alone can be written by whoever writes the
    database.
    """
    what = f"statement {entry.digest.short}"
    try:
        envelope = dsse.Envelope.parse(entry.envelope, what=what)
        dsse.verify(envelope, public_keys(registry.trust), expected_key_id=entry.key_id, what=what)
        require_may_say(registry.trust, entry.key_id, entry.statement.predicate_type, at=at)
    except KnownError:
        return False
    return Digest.of(envelope.payload) == entry.digest


@contextmanager
def to_be_remembered(registry: Registry, signed: SignedStatement) -> Iterator[Callable[[], None]]:
    """What remembers a stop, to be called before it is recorded; where the block fails, nothing was, and it is forgotten again."""
    memory = registry.stops if signed.statement.is_stop else None

    def remember() -> None:
        if memory is not None:
            memory.keep(signed.digest, signed.line)

    try:
        yield remember
    except BaseException:
        if memory is not None:
            memory.drop(signed.digest)
        raise


def remembered_stops(registry: Registry) -> tuple[StoredStatement, ...]:
    """The stops that this user remembers of a registry, as statements that are in no log; none where no trust file says whose
    word counts, because then no pending statement does.

    Raises:
        StopMemoryUnreadable: one of them is not what was kept, or is of another registry.
    """
    if registry.stops is None:
        return ()
    kept = tuple(registry.stops.envelopes())
    if not kept:
        return ()
    try:
        keys = public_keys(registry.trust)
    except NotChecked:
        return ()
    stops: list[StoredStatement] = []
    for path, line in kept:
        what = "what is kept there"
        try:
            envelope = dsse.Envelope.parse(line, what=what)
            signer = dsse.verify(envelope, keys, what=what)
            statement = Statement.from_json(read_json(envelope.payload, what=what))
        except dsse.NoTrustedSignature as error:
            reason = "none of the keys that this registry's trust file lists signed it: it is of another registry"
            raise StopMemoryUnreadable(path, reason) from error
        except ValidationError as error:
            raise StopMemoryUnreadable(path, first_problem(error)) from error
        except KnownError as error:
            raise StopMemoryUnreadable(path, f"{error.what}: {error.why}") from error
        digest = Digest.of(envelope.payload)
        if digest.hex != path.name or not statement.is_stop:
            raise StopMemoryUnreadable(path, "it holds another statement than its name says")
        stops.append(
            StoredStatement(
                digest=digest, kind=statement.kind, statement=statement, key_id=signer.key_id, envelope=line
            )
        )
    return tuple(stops)
