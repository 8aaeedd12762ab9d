"""Which acts stand about a digest: those that were signed by whoever may, and that nothing took back since."""

from dataclasses import dataclass

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.entries import require_may_say
from peft_registry.registry.records.remembered_stops import is_signed
from peft_registry.registry.records.snapshots import covered_by
from peft_registry.registry.records.views import SaidDiffers, View
from peft_registry.registry.signing import dsse
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StatementKind, StoredStatement
from peft_registry.schemas.values import Timestamp


def standing_acts(
    view: View, subject: Digest, kind: StatementKind, *, taken_back_by: str
) -> tuple[StoredStatement, ...]:
    """The acts of a kind about a digest that stand, in the order of the log.

    Args:
        view: reads the statements; the trust file of its registry says who may.
        subject: what the acts are about.
        kind: of the acts.
        taken_back_by: the field of the predicate that is true where an act takes back all before it.

    Raises:
        SaidDiffers, PathRejected, StopMemoryUnreadable: as `View.acts`; and a covered act is another text than was logged.
    """
    standing: tuple[StoredStatement, ...] = ()
    for act in _acts(view, subject, kind, taken_back_by=taken_back_by):
        if not act.takes_back:
            # one that no checkpoint covers yet counts already: waiting would let out what must not get out
            standing = (*standing, act.entry)
        elif act.is_covered:
            standing = ()
    return standing


def is_being_taken_back(view: View, subject: Digest, kind: StatementKind, *, taken_back_by: str) -> bool:
    """Whether what takes all that stands back is signed, and waits for a checkpoint; the arguments are those of `standing_acts`.

    Raises:
        SaidDiffers, PathRejected: as `standing_acts`.
    """
    acts = _acts(view, subject, kind, taken_back_by=taken_back_by)
    return bool(acts) and acts[-1].takes_back and not acts[-1].is_covered


@dataclass(frozen=True, slots=True)
class _Act:
    """An act that counts, or that takes back once a checkpoint covers it."""

    entry: StoredStatement
    takes_back: bool
    is_covered: bool


def _acts(view: View, subject: Digest, kind: StatementKind, *, taken_back_by: str) -> tuple[_Act, ...]:
    """The acts of a kind about a digest of those who may, in the order of the log.

    Raises:
        SaidDiffers, PathRejected: as `standing_acts`.
    """
    newest = view.newest
    said = view.acts(subject)
    for entry in said if newest is None else covered_by(newest, said):
        if entry.kind == kind:
            _require_unaltered(subject, entry)
    # both: a row that is pending may name another kind than what was signed
    stored = tuple(entry for entry in said if entry.kind == kind and entry.statement.kind == kind)
    covered = stored if newest is None else covered_by(newest, stored)
    acts: list[_Act] = []
    for entry in stored:
        is_covered = entry in covered
        takes_back = entry.statement.predicate.get(taken_back_by) is True
        if not is_covered:
            # its row alone shows nothing: anybody who writes the database can write one
            counts = is_signed(view.registry, entry, at=entry.appended_at or view.registry.clock())
        elif takes_back:
            # a key that may not say so opens nothing
            counts = _may_say(view.registry, entry)
        else:
            # what forbids counts, whoever signed it
            counts = True
        if counts:
            acts.append(_Act(entry, takes_back, is_covered))
    return tuple(acts)


def _require_unaltered(subject: Digest, entry: StoredStatement) -> None:
    """Raise SaidDiffers where a row has the digest that was logged, and holds another text."""
    payload = dsse.Envelope.parse(entry.envelope, what=f"statement {entry.digest.short}").payload
    if Digest.of(payload) != entry.digest:
        raise SaidDiffers(subject, f"the text of its {entry.kind} {entry.digest.short} was exchanged")


def person_behind(registry: Registry, entry: StoredStatement) -> str:
    """Whose key signed it, or the key's id."""
    return person_of(registry, entry.key_id) or f"key {entry.key_id[:12]}…"


def logged_at(at: Timestamp | None) -> str:
    """When an act entered the log, as a part of a sentence; None: this user remembers it, and the log has lost it."""
    return ", and the log has lost that" if at is None else f" at {at}"


def person_of(registry: Registry, key_id: str) -> str | None:
    """Whose key it is; None where no trust file says so."""
    try:
        return registry.trust.person_of(key_id)
    except KnownError:  # whoever checks trust says so
        return None


def _may_say(registry: Registry, entry: StoredStatement) -> bool:
    predicate_type = entry.statement.predicate_type
    try:
        require_may_say(registry.trust, entry.key_id, predicate_type, at=entry.appended_at or registry.clock())
    except KnownError:
        return False
    return True
