"""Which policy an alias is bound to: said by a person whose role may, of an alias of one name or of that alias of every name.

What counts is what was signed, in the order of the log: a move passes the policy that its alias was bound to by the entries before
it. What a checkpoint covers is proven to be all of it; behind it counts what is signed, because whoever moves comes behind it too.
"""

import math
from dataclasses import dataclass, replace

from pydantic import ValidationError

from peft_registry.registry.gate.quorum import is_unbound, is_weaker, within_reach
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.entries import require_signed_entry
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.signing.trust import KeyLacksRole, RevokedKey, public_keys
from peft_registry.schemas.acts import GatePredicate, PassedGate, Quorum, guarded_subject, spelled_to_bind
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked, Refused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event, event_about
from peft_registry.schemas.lookalikes import folded
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import PREDICATE_TYPES, StoredStatement
from peft_registry.schemas.values import Timestamp


class AliasBound(Refused):
    what = "{name}@{alias} may not be moved {under}"
    why = "{because}"
    fix = (
        "leave --policy out, and the policy that it is bound to is asked; whoever may bind it says otherwise with "
        "`registry gate set {guarded} --policy NAME|FILE --reason TEXT --key FILE`"
    )

    name: str
    alias: str
    under: str
    because: str
    guarded: str


class MovedPastGate(IntegrityBroken):
    reference = "alias-moved-past-its-gate"
    what = "{name}@{alias} was moved {under}, past the policy that it is bound to"
    why = "{because}, and entry {entry} moved it afterwards"
    fix = "do not use what it points at: move it again with `registry promote {name}:NUMBER {alias}`, which asks that policy"

    name: str
    alias: str
    under: str
    because: str
    entry: int


@dataclass(frozen=True, slots=True)
class Binding:
    """An alias is bound to a policy; `name` is None where it is of every name."""

    name: str | None
    alias: str
    policy: Digest
    policy_name: str
    by: str  # the person whose key signed it, or the key's id
    at: Timestamp  # when it entered the log
    reason: str
    lifted_by: Quorum | None = None  # how many persons loosen it; None: one does

    @property
    def guarded(self) -> str:
        """What is bound, as a person types it."""
        return self.alias if self.name is None else f"{self.name}@{self.alias}"

    @property
    def because(self) -> str:
        """Who bound what to which policy, when and why."""
        what = f"{self.alias} of every name" if self.name is None else self.guarded
        return f"{self.by} bound {what} to {self.policy_name} ({self.policy.short}) at {self.at}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Loosening:
    """That an alias is bound to another policy, or (None) to none, said by some persons, and not by enough."""

    policy: Digest | None
    said_by: tuple[str, ...]


class Bindings:
    """What aliases are bound to after the statements that were followed, in the order of the log.

    What binds an alias that nothing binds counts from one person. Another policy, or none, counts once as many persons have said
    the same as the binding asks that is in force; a binding of an alias of one name, where that of every name is bound already, is
    another policy too.
    """

    def __init__(self) -> None:
        self._bound: dict[Digest, Binding | None] = {}
        self._waiting: dict[Digest, dict[tuple[Digest | None, Quorum | None], dict[str, str]]] = {}

    def follow(self, said: GatePredicate, leaf: Event, trust: TrustPolicy) -> None:
        """Take up what somebody said whose key may say it."""
        subject = guarded_subject(said.name, said.alias)
        new = _binding_said(said, leaf, trust)
        if new is None and self._bound.get(subject) is None:
            return  # there is nothing that it could end
        before = self.in_force(said.name, said.alias)
        if new is not None and before is not None and _asks_more(new, before):
            # the same policy asks for the same approvals: nobody alone makes of it what more persons have to loosen
            new = replace(new, lifted_by=before.lifted_by)
        if before is not None and self._loosens(said, new, before):
            waiting = self._waiting.setdefault(subject, {}).setdefault((said.policy, said.lifted_by), {})
            person = trust.person_of(leaf.key) or f"key {leaf.key[:12]}…"
            waiting.setdefault(folded(person), person)
            may_make = [key.person for key in trust.keys if key.role == "trainer" and key.valid_from <= leaf.at]
            if not is_unbound(before.lifted_by, waiting.values(), may_make):
                return
        self._bound[subject] = new
        self._waiting.pop(subject, None)

    def bound(self, name: str | None, alias: str) -> Binding | None:
        """What binds exactly this: an alias of a name, or of every name (None)."""
        return self._bound.get(guarded_subject(name, alias))

    def in_force(self, name: str | None, alias: str) -> Binding | None:
        """The binding that counts for an alias: that of the name before that of every name."""
        bindings = (self.bound(*scope) for scope in scopes_of(name, alias))
        return next((binding for binding in bindings if binding is not None), None)

    def loosenings(self, name: str | None, alias: str) -> tuple[Loosening, ...]:
        """What some persons said of exactly this, and not enough."""
        waiting = self._waiting.get(guarded_subject(name, alias), {})
        return tuple(Loosening(policy, tuple(persons.values())) for (policy, _), persons in waiting.items())

    def _loosens(self, said: GatePredicate, new: Binding | None, before: Binding) -> bool:
        """Whether what binds afterwards is another policy than that which binds now, or the same and easier to loosen."""
        if before.lifted_by is None:
            return False  # one person said it, and one takes it back
        after = new
        if after is None:
            scopes = [scope for scope in scopes_of(said.name, said.alias) if scope != (said.name, said.alias)]
            after = next((bound for scope in scopes if (bound := self.bound(*scope)) is not None), None)
        return after is None or after.policy != before.policy or is_weaker(after.lifted_by, before.lifted_by)


def binding_in_force(view: View, name: str, alias: str, *, before: int | None = None) -> Binding | None:
    """The binding of an alias that counts; that of the name before that of every name. None where there is none.

    What binds `prod` also binds `Prod`, which people and some databases take for the same.

    Args:
        view: reads the log, and says whose word counts.
        name: of the versions.
        alias: of one of them.
        before: only what stands before this entry counts; None: all of it.

    Raises:
        SaidDiffers, EntryRejected, BadSignature: what was said of the alias is not in the database as it was signed.
        PathRejected, ProofRejected: the database is not that of its checkpoint.
        StopMemoryUnreadable: what this user remembers of it cannot be read.
    """
    return bindings_about(view, name, alias, before=before).in_force(name, alias)


def scopes_of(name: str | None, alias: str) -> tuple[tuple[str | None, str], ...]:
    """What may bind an alias, in the order in which it counts: a name, None for every one, and the alias as a binding spells it."""
    return tuple((scope, spelled_to_bind(alias)) for scope in dict.fromkeys((name, None)))


def binding_of(registry: Registry, name: str, alias: str) -> Binding | None:
    """The binding of an alias that counts now, pending ones among them.

    Raises:
        KnownError: as `binding_in_force`.
    """
    with view_of(registry) as view:
        return binding_in_force(view, name, alias)


def bound_by(view: View, name: str | None, alias: str) -> Binding | None:
    """The binding of an alias of a name, or of every name (None), by what was said of exactly that.

    Raises:
        KnownError: as `binding_in_force`.
    """
    return bindings_about(view, name, alias).bound(name, alias)


def bindings_about(view: View, name: str | None, alias: str, *, before: int | None = None) -> Bindings:
    """What was said of an alias of a name, or of every name (None), and of whatever else binds it, in the order of the log.

    Raises:
        KnownError: as `binding_in_force`.
    """
    acts = [
        (stored, subject)
        for subject in dict.fromkeys(guarded_subject(*scope) for scope in scopes_of(name, alias))
        for stored in view.acts(subject)
        if stored.kind == "gate"
    ]
    bindings = Bindings()
    for stored, subject in sorted(acts, key=lambda act: _place(act[0])):
        index = stored.log_index
        if before is not None and (index is None or index >= before):
            continue
        leaf = view.leaf(index) if index is not None else _entry_to_come(view, stored)
        is_covered = index is not None and view.is_covered(index)
        said = _said(stored, leaf, view.trust, subject, is_covered=is_covered) if isinstance(leaf, Event) else None
        if said is not None and isinstance(leaf, Event):
            bindings.follow(said, leaf, view.trust)
    return bindings


def _place(stored: StoredStatement) -> float:
    """Where it stands in the log; what that has lost comes last, as it is appended again."""
    return math.inf if stored.log_index is None else stored.log_index


def _entry_to_come(view: View, stored: StoredStatement) -> Event:
    """The entry of a statement that this user remembers and the log has lost, as whoever writes next appends it."""
    return event_about(
        stored.statement.subject_digest,
        stored.digest,
        predicate_type=stored.statement.predicate_type,
        key=stored.key_id,
        at=view.registry.clock(),
    )


def _binding_said(said: GatePredicate, leaf: Event, trust: TrustPolicy) -> Binding | None:
    """The binding that an entry makes; None where it ends one."""
    if said.policy is None:
        return None
    return Binding(
        name=said.name,
        alias=said.alias,
        policy=said.policy,
        policy_name=said.policy_name or said.policy.short,
        by=trust.person_of(leaf.key) or f"key {leaf.key[:12]}…",
        at=leaf.at,
        reason=said.reason,
        lifted_by=within_reach(said.lifted_by, trust.persons_who_sign(PREDICATE_TYPES["gate"], at=leaf.at)),
    )


def _asks_more(new: Binding, before: Binding) -> bool:
    """Whether a binding to the policy that binds already says that more persons loosen it; an earlier release said nothing."""
    if new.policy != before.policy or before.lifted_by is None:
        return False
    return is_weaker(before.lifted_by, new.lifted_by)


def _said(
    stored: StoredStatement, leaf: Event, trust: TrustPolicy, subject: Digest, *, is_covered: bool
) -> GatePredicate | None:
    """What a statement says of an alias; None where it is of somebody whose word does not count.

    Raises:
        EntryRejected, BadSignature: a checkpoint covers it, and its row holds another text.
    """
    try:
        require_signed_entry(stored.envelope, stored.log_index or 0, leaf, trust=trust, keys=public_keys(trust))
        said = GatePredicate.from_json(stored.statement.predicate)
    except (RevokedKey, KeyLacksRole, NotChecked, ValidationError):
        return None
    except KnownError:
        if is_covered:
            raise
        return None  # whoever can write the database puts behind the checkpoint what they like
    return said if guarded_subject(said.name, said.alias) == subject else None


def require_passed(binding: Binding | None, name: str, alias: str, gate: PassedGate | None) -> None:
    """Raise unless a move that is about to be signed passed the policy that its alias is bound to.

    Raises:
        AliasBound: it names another policy, or none.
    """
    if binding is not None and (gate is None or gate.policy != binding.policy):
        raise AliasBound(name, alias, under_policy(gate), binding.because, binding.guarded)


def require_moved_through(binding: Binding | None, name: str, alias: str, gate: PassedGate | None, entry: int) -> None:
    """Raise unless a move that is in the log passed the policy that its alias was bound to before.

    Raises:
        MovedPastGate: it names another policy, or none.
    """
    if binding is not None and (gate is None or gate.policy != binding.policy):
        raise MovedPastGate(name, alias, under_policy(gate), binding.because, entry)


def under_policy(gate: PassedGate | None) -> str:
    """By which policy something was moved, as a part of a sentence."""
    return "without a policy" if gate is None else f"under {gate.policy_name} ({gate.policy.short})"
