"""How an act is said: asked whether it may be and changes anything, signed, remembered, logged and covered. Written once.

Each act is a row of `ACTS`. What is its own, such as what it changes and what a reader is told, is the file's that calls this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

from peft_registry.registry.database.session import Transaction
from peft_registry.registry.gate.quorum import largest
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.standing_acts import Standing, person_of, standing_acts
from peft_registry.registry.records.subjects import NamedSubject, quorum_below
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.use_cases.statements import (
    Before,
    Kept,
    Saying,
    record_signed,
    require_sayable,
    sign_statement,
)
from peft_registry.schemas.acts import Act
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lookalikes import folded


@dataclass(frozen=True, slots=True)
class ActSaid(Generic[Before]):
    """An act that was signed and logged; `pending` until a checkpoint covers it, `before` is what it changed."""

    statement: Digest
    pending: bool
    before: Before


def say(
    registry: Registry,
    subject: Digest,
    saying: Callable[[View], Saying],
    *,
    changing: Callable[[View], Before],
    kept: Kept | None = None,
    beside: Callable[[Transaction, SignedStatement, str], None] | None = None,
) -> ActSaid[Before]:
    """Sign, remember and log an act.

    Args:
        registry: open and writable.
        subject: what it is about.
        saying: what is said, by what is known now.
        changing: what it would change; raises where that is nothing, or where this person may not. Asked before anything is signed,
            and again where nobody else writes: who said the same meanwhile, in this home or another, came first.
        kept: durable before the statement is.
        beside: writes, in the transaction that records it, what follows from it; given the statement and the time of its entry.

    Raises:
        PredicateMalformed, SecretRefused, KeyLacksRole, UnlistedKey, ExpiredKey, RevokedKey: as `require_sayable`.
        KnownError: as `changing`. In all these cases nothing was signed or recorded.
    """
    with view_of(registry) as view:
        said = saying(view)
        require_sayable(view, subject, said)
        changing(view)
    signed = sign_statement(subject, said.kind, said.predicate, said.signer)
    recorded = record_signed(
        registry,
        signed,
        changing=changing,
        kept=() if kept is None else (kept,),
        beside=None if beside is None else lambda view, at: beside(view.tx, signed, at),
    )
    return ActSaid(signed.digest, recorded.index >= covered_size(registry), recorded.before)


@dataclass(frozen=True, slots=True)
class SaidStop:
    """A stop that was signed and logged, or (`lifted`) what takes all of its kind back.

    `still_needed` says how many persons have to take it back, and who has, where it stands until another does. `by_maker`: a key
    of whoever took it back made its subject.
    """

    statement: Digest
    pending: bool
    still_needed: str | None
    by_maker: bool


def say_stop(
    registry: Registry,
    act: Act,
    subject: NamedSubject,
    signer: Signer,
    *,
    lift: bool,
    said: dict[str, Any],  # any JSON values: what its predicate holds besides
    changing: Callable[[View, Standing], None],
    beside: Callable[[Transaction], None] | None = None,
) -> SaidStop:
    """Forbid what an act of the table stops, or take that back; the statement says how many persons it takes to lift it.

    Raises:
        SaidAlready, MakerLiftsNothing: it would take nothing back.
        KnownError: as `say` and `changing`. In all these cases nothing was signed or recorded.
    """
    person = person_of(registry, signer.public.key_id) or "nobody"
    assert act.taken_back_by is not None, "a stop can be taken back"
    lifted = act.taken_back_by

    def saying(view: View) -> Saying:
        quorum = None if lift else largest((act.quorum, quorum_below(view, subject)))
        asked = {} if quorum is None else {"lifted_by": quorum.to_json()}
        return Saying(act.kind, {**said, lifted: lift, **asked, "nonce": registry.nonce()}, signer)

    def standing(view: View) -> Standing:
        acts = standing_acts(view, subject.digest, act)
        changing(view, acts)
        if lift:
            acts.require_may_lift(subject.name, person)
        return acts

    done = say(
        registry,
        subject.digest,
        saying,
        changing=standing,
        beside=None if beside is None else lambda tx, _, __: beside(tx),
    )
    needed: str | None = None
    if lift:
        with view_of(registry) as view:
            left = standing_acts(view, subject.digest, act)
        needed = left.needed if left.acts and not left.is_being_taken_back else None
    return SaidStop(
        statement=done.statement,
        pending=done.pending,
        still_needed=needed,
        by_maker=lift and folded(person) in {folded(maker) for maker in done.before.makers},
    )
