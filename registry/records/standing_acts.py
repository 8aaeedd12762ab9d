"""Which acts stand about a digest: those that were signed by whoever may, and that not enough persons took back since."""

from dataclasses import dataclass

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.gate.quorum import is_lifted, largest, those_who_count, within_reach
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.entries import require_may_say
from peft_registry.registry.records.move_approvals import MADE_BY
from peft_registry.registry.records.remembered_stops import is_signed, remembered_stops
from peft_registry.registry.records.snapshots import covered_by
from peft_registry.registry.records.views import SaidDiffers, View
from peft_registry.registry.signing import dsse
from peft_registry.schemas.acts import Act, Quorum
from peft_registry.schemas.errors import KnownError, Refused, Taken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lookalikes import folded
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import Timestamp


class SaidAlready(Taken):
    what = "{person} has already signed this, and {name} is unchanged"
    why = "{needed}"
    fix = "nothing was signed; ask another person to sign the same with a key of their own"

    person: str
    name: str
    needed: str


class MakerLiftsNothing(Refused):
    what = "{person} may not take back what stops {name}"
    why = "a key of theirs made it, and {needed}"
    fix = "nothing was signed; ask persons who had no part in making it to sign it with keys of their own"

    person: str
    name: str
    needed: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The acts of one kind about a digest that are in force, and who has signed against them so far.

    Attributes:
        acts: in the order of the log.
        lifted_by: how many persons must take them back; None: one is enough.
        said_by: the persons who took them back, and count; a checkpoint need not cover that yet.
        makers: the persons who had a part in making the subject.
    """

    acts: tuple[StoredStatement, ...]
    lifted_by: Quorum | None
    said_by: tuple[str, ...]
    makers: tuple[str, ...]

    @property
    def is_being_taken_back(self) -> bool:
        """Whether enough persons signed that, and it waits for a checkpoint."""
        return bool(self.said_by) and is_lifted(self.lifted_by, self.said_by, self.makers)

    @property
    def needed(self) -> str:
        """As `needed_text`."""
        return needed_text(self.lifted_by, self.said_by)

    def require_may_lift(self, name: str, person: str) -> None:
        """Raise unless the signature of `person` counts towards taking back what stops `name`.

        Raises:
            SaidAlready, MakerLiftsNothing: it does not count.
        """
        if self.lifted_by is None:
            return  # one person is enough, who may sign again, for instance with another reason
        if not those_who_count(self.lifted_by, [person], self.makers):
            raise MakerLiftsNothing(person, name, self.needed)
        if folded(person) in {folded(other) for other in self.said_by}:
            raise SaidAlready(person, name, self.needed)


def needed_text(quorum: Quorum | None, said_by: tuple[str, ...]) -> str:
    """How many persons must sign to loosen something, and who of them has signed, as a part of a sentence."""
    count = 1 if quorum is None else quorum.count
    persons = "1 person" if count == 1 else f"{count} persons"
    others = ", none of whom made it" if quorum is not None and quorum.by_others else ""
    so_far = ", ".join(said_by) or "nobody"
    return f"{persons} must sign this{others}; so far {so_far}"


def standing_acts(view: View, subject: Digest, act: Act) -> Standing:
    """The acts of a row of the table about a digest that stand.

    Args:
        view: reads the statements; the trust file of its registry says who may.
        subject: what the acts are about.
        act: says which they are, what takes them back, and what that costs at the least.

    Raises:
        SaidDiffers, PathRejected, StopMemoryUnreadable: as `View.acts`; and a covered act is another text than was logged.
    """
    standing: tuple[StoredStatement, ...] = ()
    quorum: Quorum | None = None
    said: dict[str, str] = {}  # the persons who took them back, by their folded names
    covered: list[str] = []
    said_of_it = _said(view, subject, act)
    # nobody looks for the makers of what nothing was ever said of, which is nearly everything
    makers = _makers(view, subject) if said_of_it else ()
    for said_act in said_of_it:
        if not said_act.takes_back:
            # one that no checkpoint covers yet counts already: waiting would let out what must not get out
            standing = (*standing, said_act.entry)
            quorum = largest((quorum, _lifted_by(view.registry, act, said_act.entry)))
            # whoever forbids it again means it, whatever others have said before
            said = {}
            covered = []
            continue
        person = person_behind(view.registry, said_act.entry)
        if those_who_count(quorum, [person], makers):
            said.setdefault(folded(person), person)
        if said_act.is_covered:
            covered.append(person)
            if is_lifted(quorum, covered, makers):
                standing = ()
                quorum = None
                said = {}
                covered = []
    return Standing(standing, quorum, tuple(said.values()), makers)


def _makers(view: View, subject: Digest) -> tuple[str, ...]:
    """The persons whose keys had a part in making what acts are about; nobody of data, weights and keys."""
    made = (entry for entry in view.statements(subject) if entry.kind in MADE_BY)
    return tuple(dict.fromkeys(person_behind(view.registry, entry) for entry in made))


def _lifted_by(registry: Registry, act: Act, entry: StoredStatement) -> Quorum | None:
    """What an act says that it takes to lift it, and never less than its row asks."""
    stated = entry.statement.predicate.get("lifted_by")
    try:
        quorum = largest((act.quorum, None if stated is None else Quorum.from_json(stated)))
    except ValidationError:  # of whoever forbids it: what it says besides is not for us to read
        quorum = act.quorum
    try:
        at = entry.appended_at or registry.clock()
        return within_reach(quorum, registry.trust.persons_who_sign(entry.statement.predicate_type, at=at))
    except KnownError:  # whoever checks trust says so
        return quorum


@dataclass(frozen=True, slots=True)
class _Said:
    """An act that counts, or that takes back once a checkpoint covers it."""

    entry: StoredStatement
    takes_back: bool
    is_covered: bool


def _said(view: View, subject: Digest, act: Act) -> tuple[_Said, ...]:
    """The acts of a row about a digest of those who may, in the order of the log.

    Raises:
        SaidDiffers, PathRejected: as `standing_acts`.
    """
    newest = view.newest
    said = view.acts(subject)
    for entry in said if newest is None else covered_by(newest, said):
        if entry.kind == act.kind:
            _require_unaltered(subject, entry)
    # both: a row that is pending may name another kind than what was signed
    stored = tuple(entry for entry in said if entry.kind == act.kind and entry.statement.kind == act.kind)
    covered = stored if newest is None else covered_by(newest, stored)
    counting: list[_Said] = []
    for entry in stored:
        is_covered = entry in covered
        takes_back = not entry.statement.is_stop
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
            counting.append(_Said(entry, takes_back, is_covered))
    return tuple(counting)


def _require_unaltered(subject: Digest, entry: StoredStatement) -> None:
    """Raise SaidDiffers where a row has the digest that was logged, and holds another text."""
    payload = dsse.Envelope.parse(entry.envelope, what=f"statement {entry.digest.short}").payload
    if Digest.of(payload) != entry.digest:
        raise SaidDiffers(subject, f"the text of its {entry.kind} {entry.digest.short} was exchanged")


def lost_stops(registry: Registry, tx: Transaction) -> tuple[str, ...]:
    """Kind, subject and person of each stop that this user remembers, and no row of the database has.

    Raises:
        StopMemoryUnreadable: one of them cannot be read.
    """
    return tuple(
        f"{stop.kind} of {stop.statement.subject_digest} by {person_behind(registry, stop)}"
        for stop in remembered_stops(registry)
        if catalog.statement(tx, stop.digest) is None
    )


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
