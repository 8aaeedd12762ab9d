"""Which statements about an artifact speak of one version of it, and which modification record is that version's. Pure.

Equal bytes may be registered under several names, each with its own records: what accompanies one registration says nothing of
another. A version's record is the last of the history that begins with its own registration (`record_histories.py`). One that no
checkpoint covers yet is pending: readers stay with the record before it, and whoever makes the next record builds on it. So is an
evaluation that was made later: its figures are not those of the version yet. Every other modification record decides nothing, and
is named with the reason. An approval, a waiver or a decision speaks of the version whose record it names. What is said of the
artifact itself (a later evaluation, a hold, a recall) speaks of all its versions.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from peft_registry.registry.records.logged_statements import EntrySigner
from peft_registry.registry.records.next_record_checks import RecordCheck
from peft_registry.registry.records.record_checks import RecordChecks
from peft_registry.registry.records.record_histories import (
    ArtifactRecords,
    MaySay,
    Registration,
    SignedRecord,
    SignerOf,
)
from peft_registry.registry.records.record_inputs import NOTHING_ELSEWHERE, Elsewhere
from peft_registry.registry.records.views import VersionsDiffer
from peft_registry.schemas.acts import ACTS, AliasPredicate
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import CardPredicate, Statement, StoredStatement
from peft_registry.schemas.version import Version


@dataclass(frozen=True, slots=True)
class SetAside:
    """A modification record that decides nothing for the version, and why."""

    statement: StoredStatement
    reason: str


@dataclass(frozen=True, slots=True)
class VersionStatements:
    """What was said of one version.

    Attributes:
        statements: all that speak of it, in the order of the log.
        history: its modification records, each superseding the one before it; the last one is its record. Empty: it has none.
        set_aside: other modification records that name it, or no version at all, and those that are pending.
        pending: records that go on from `history` and stand once a checkpoint covers them.
        answers: statements of answers whose signer may give them.
        accompanied_by: the statements that its registration names.
        pending_evaluations: those of the statements that hold an evaluation which was made later and no checkpoint covers.
    """

    statements: tuple[StoredStatement, ...]
    history: tuple[SignedRecord, ...]
    set_aside: tuple[SetAside, ...]
    pending: tuple[SignedRecord, ...] = ()
    answers: frozenset[Digest] = frozenset()
    accompanied_by: frozenset[Digest] = frozenset()
    pending_evaluations: frozenset[Digest] = frozenset()

    @property
    def standing(self) -> dict[str, Statement]:
        """What stands of each kind (of a foreign type: of each predicate type): the newest statement.

        But the record of the version, and how it was made as its registration names it: a later word on that replaces neither.
        An evaluation that is pending does not stand yet.
        """
        newest = {
            stored.kind or stored.statement.predicate_type: stored.statement
            for stored in self.statements
            if stored.digest not in self.pending_evaluations
        }
        for stored in self.statements:
            if stored.kind == "provenance" and stored.digest in self.accompanied_by:
                newest["provenance"] = stored.statement
        if self.record is not None:
            newest["modification"] = self.record.statement.statement
        return newest

    @property
    def predicates(self) -> dict[str, dict[str, Any]]:
        """What each of these says, any JSON object."""
        return {kind: statement.predicate for kind, statement in self.standing.items()}

    @property
    def made(self) -> Digest | None:
        """The statement of how it was made that its registration names; None where that names none."""
        named = [
            stored.digest
            for stored in self.statements
            if stored.kind == "provenance" and stored.digest in self.accompanied_by
        ]
        return named[-1] if named else None

    @property
    def record(self) -> SignedRecord | None:
        """The version's record."""
        return self.history[-1] if self.history else None

    @property
    def chain(self) -> tuple[SignedRecord, ...]:
        """Its records with those that are pending, in the order of the log."""
        return (*self.history, *self.pending)

    @property
    def newest(self) -> SignedRecord | None:
        """The record that the next one supersedes: else the holder of the log key would get two in place of the same one."""
        return self.chain[-1] if self.history else None


def statements_of_version(
    version: Version,
    statements: Sequence[StoredStatement],
    *,
    may_say: MaySay,
    covered: int,
    known: Elsewhere = NOTHING_ELSEWHERE,
    signer_of: SignerOf = lambda stored: EntrySigner(
        stored.key_id, logged_at=stored.appended_at, index=stored.log_index
    ),
) -> VersionStatements:
    """What speaks of a version.

    Args:
        version: as the log has it.
        statements: everything that was said about its artifact, in the order of the log.
        may_say: asked of the signer of each record that would supersede another, and of answers.
        covered: how many entries of the log a signed checkpoint covers. A version whose registration is behind it keeps the record
            that it was registered with.
        known: finds what is recorded of other artifacts.
        signer_of: asked of each statement, so that a record names those who signed.

    Raises:
        RecordUnreadable: the record that it was registered with is not one.
        RecordContradicted: that record contradicts its run or its evaluation, or states what only a person's signature does.
        VersionsDiffer: none of the statements registers it.
    """
    records = ArtifactRecords.of(
        statements,
        may_say=may_say,
        record_checks=RecordChecks(known),
        signer_of=signer_of,
    )
    own = next((entry for entry in records.registrations if entry.stored.log_index == version.log_index), None)
    if own is None or own.name != version.name:
        raise VersionsDiffer(version.name, f"no statement about its artifact registers {version.label}")
    chain = records.history_of(own)
    in_chain = {link.statement.digest for link in chain}
    standing = tuple(link for link in chain[1:] if _is_covered(link.statement, covered))
    history = (*chain[:1], *standing)
    pending = chain[len(history) :]
    of_others = _said_of_others(version, records, own, chain)
    decides_nothing = (
        stored for stored in records.later if stored.digest not in in_chain and stored.digest not in of_others
    )
    return VersionStatements(
        statements=tuple(stored for stored in statements if stored.digest not in of_others),
        history=history,
        set_aside=(
            *(SetAside(link.statement, _why_pending(link.statement)) for link in pending),
            *(SetAside(stored, records.why_aside(stored, version, chain)) for stored in decides_nothing),
        ),
        pending=pending,
        answers=frozenset(stored.digest for stored in statements if stored.kind == "answers" and may_say(stored)),
        accompanied_by=own.accompanied_by,
        pending_evaluations=frozenset(
            stored.digest
            for stored in statements
            if stored.kind == "bias-evaluation"
            and stored.digest not in own.accompanied_by
            and not _is_covered(stored, covered)
        ),
    )


def _said_of_others(
    version: Version, records: ArtifactRecords, own: Registration, chain: tuple[SignedRecord, ...]
) -> set[Digest]:
    """The statements that speak of other versions of the artifact, and not of this one."""
    others = [entry for entry in records.registrations if entry is not own]
    elsewhere = [link for entry in others for link in records.readable_history_of(entry)]
    brought = {digest for entry in others for digest in entry.brought}
    brought |= {link.statement.digest for link in elsewhere}
    brought -= own.accompanied_by
    brought -= {link.statement.digest for link in chain}
    other_records = {link.digest for link in elsewhere}
    if other_records:  # each of these digests is computed anew
        other_records -= {link.digest for link in chain}
    other_names = {entry.name for entry in others}
    named = {
        stored.digest
        for stored in records.statements
        if _speaks_elsewhere(stored, version, records.checks, other_records, other_names)
    }
    return brought | named


@dataclass(frozen=True, slots=True)
class SignedCard:
    """A model card of a version: the statement that signs it, and what that says."""

    statement: Digest
    predicate: CardPredicate


def own_card(version: Version, statements: Sequence[StoredStatement]) -> SignedCard | None:
    """The newest model card of a version: the one that it was registered with, or what took its place since.

    None where it was registered with none. Equal bytes that are registered under two names have a card for each.

    Args:
        version: as the log has it.
        statements: what was said about its artifact, in the order of the log; what comes behind a checkpoint may be left out.
    """
    registration = next(
        (entry for entry in statements if entry.kind == "registration" and entry.log_index == version.log_index), None
    )
    named = None if registration is None else registration.statement.predicate.get("accompanied_by")
    if not isinstance(named, list):
        return None
    cards = _readable_cards(statements)
    newest = newest_card(cards, frozenset(map(str, named)))
    return None if newest is None else SignedCard(newest, cards[newest])


def newest_card(cards: Mapping[Digest, CardPredicate], accompanied_by: Collection[str]) -> Digest | None:
    """The statement of the newest card of a version; None where none accompanied its registration.

    Args:
        cards: all that were signed about its artifact, by statement, in the order of the log.
        accompanied_by: the digests of the statements that its registration names.
    """
    newest = next((digest for digest in reversed(tuple(cards)) if str(digest) in accompanied_by), None)
    for digest, card in cards.items():  # each names one that is signed before it
        if newest is not None and card.supersedes == newest:
            newest = digest
    return newest


def _readable_cards(statements: Sequence[StoredStatement]) -> dict[Digest, CardPredicate]:
    """What the statements of cards say, in their order, without what is malformed: whoever checks a statement says so."""
    cards: dict[Digest, CardPredicate] = {}
    for stored in statements:
        if stored.kind == "card":
            with suppress(ValidationError):
                cards[stored.digest] = stored.statement.read_by(CardPredicate.from_json)
    return cards


def _is_covered(stored: StoredStatement, covered: int) -> bool:
    return stored.log_index is not None and stored.log_index < covered


def _why_pending(stored: StoredStatement) -> str:
    where = "it is not in the log" if stored.log_index is None else f"no checkpoint covers entry {stored.log_index}"
    return f"pending: {where} yet; it stands once whoever holds the log key has run `registry log sign`"


def _speaks_elsewhere(
    stored: StoredStatement,
    version: Version,
    checks: Mapping[Digest, RecordCheck | str],
    other_records: set[Digest],
    other_names: set[str],
) -> bool:
    """Whether a statement that accompanied no registration speaks of another version of the artifact."""
    predicate = stored.statement.predicate
    act = ACTS.get(stored.kind or "")
    if stored.kind == "answers" or (
        act is not None and act.is_of_record
    ):  # bound to the record that a person looked at
        return str(predicate.get("record")) in map(str, other_records)
    match stored.kind:
        case "registration":
            return stored.log_index != version.log_index
        case "alias":
            return AliasPredicate.from_json(predicate).name != version.name
        case "modification":
            check = checks[stored.digest]
            if isinstance(check, str):
                return False
            name = check.record.identity.result_name.value
            return name != version.name and name in other_names
        case _:
            return False
