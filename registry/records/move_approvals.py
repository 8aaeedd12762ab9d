"""Whether a move of a bound alias had the approvals that the policy of its binding asks for, by what was signed before it.

A move names the policy that it passed, and whoever signs it can name one that it never passed. Approvals are other people's,
and the log has them. What else a policy asks rests on the records of that time: `registry gate status` holds it against those of
today.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from peft_registry.registry.gate.policy import ApprovalRule, GatePolicy
from peft_registry.registry.gate.quorum import spoke_twice
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.yaml import read_yaml
from peft_registry.registry.records.bindings import Binding, MovedPastGate
from peft_registry.registry.records.entries import require_signed_entry
from peft_registry.registry.records.views import View
from peft_registry.registry.signing.trust import public_keys
from peft_registry.schemas.acts import AliasPredicate, ApprovalPredicate, WaiverPredicate
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import KnownError, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event
from peft_registry.schemas.lookalikes import folded
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import Statement

MADE_BY = ("provenance", "registration")
"""Statements whose signer had a part in making a version."""


class BoundPolicyUnread(NotChecked):
    what = "the policy that {guarded} is bound to cannot be read"
    why = "{reason}"
    fix = (
        "use the release that it was written for, or bind another with "
        "`registry gate set {guarded} --policy NAME|FILE --reason TEXT --key FILE`"
    )

    guarded: str
    reason: str


@dataclass(frozen=True, slots=True)
class ApprovalFact:
    """What bears on the approvals of a version: that a person had a part in making it (no policy), approved it under one, or waived
    a rule of one.
    """

    person: str
    policy: Digest | None
    waived: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A move of an alias in the log: what it says, the manifest that it points at, and its entry."""

    said: AliasPredicate
    manifest: Digest
    entry: int


def require_approved(view: View, binding: Binding | None, move: Move) -> None:
    """Raise unless a move had the approvals that the policy of its binding asks for.

    Raises:
        MovedPastGate: it had fewer.
        BoundPolicyUnread, ObjectMissing, ObjectCorrupt: the bytes of the policy cannot be read.
        SaidDiffers, PathRejected: what was said of the version is not in the database.
    """
    rule = None if binding is None else approvals_asked(view.registry, binding)
    if binding is not None and rule is not None:
        require_enough(binding, rule, _said_before(view, move), move)


def approvals_asked(registry: Registry, binding: Binding) -> ApprovalRule | None:
    """How many persons have to approve by the policy of a binding; None where nobody has to.

    Raises:
        BoundPolicyUnread, ObjectMissing, ObjectCorrupt: its bytes cannot be read.
    """
    data = registry.store.read_bytes(binding.policy)
    try:
        return GatePolicy.model_validate(read_yaml(data, what=binding.policy_name)).approvals
    except ValidationError as error:
        raise BoundPolicyUnread(binding.guarded, first_problem(error)) from error


def require_enough(binding: Binding, rule: ApprovalRule, said: Iterable[ApprovalFact], move: Move) -> None:
    """Raise unless enough persons approved, of what was said of a version before a move.

    Raises:
        MovedPastGate: fewer did.
    """
    known = tuple(said)
    makers = {folded(entry.person) for entry in known if entry.policy is None} if rule.by_others else set()
    under_it = [entry for entry in known if entry.policy == binding.policy]
    approvers = {folded(entry.person) for entry in under_it if entry.waived is None}
    others = frozenset(approvers - makers)
    # a binding of an earlier release asked less
    waived = () if binding.lifted_by is None or move.said.gate is None else move.said.gate.waived
    waived_by = (
        frozenset(folded(entry.person) for entry in under_it if entry.waived == name) - makers for name in waived
    )
    count = len(others - spoke_twice(waived_by, others))
    if count < rule.count:
        under = f"with {count} of {rule.count} approvals"
        raise MovedPastGate(move.said.name, move.said.alias, under, binding.because, move.entry)


def said_by(statement: Statement, person: str) -> ApprovalFact | None:
    """What a statement says that bears on the approvals of its version; None for any other."""
    if statement.kind in MADE_BY:
        return ApprovalFact(person, None)
    try:
        if statement.kind == "approval":
            return ApprovalFact(person, ApprovalPredicate.from_json(statement.predicate).policy)
        if statement.kind == "waiver":
            waiver = WaiverPredicate.from_json(statement.predicate)
            return ApprovalFact(person, waiver.policy, waived=waiver.rule)
    except ValidationError:
        return None
    return None


def _said_before(view: View, move: Move) -> Iterator[ApprovalFact]:
    for stored in view.statements(move.manifest):
        index = stored.log_index
        if index is None or index >= move.entry or stored.kind not in (*MADE_BY, "approval", "waiver"):
            continue
        leaf = view.leaf(index)
        if not isinstance(leaf, Event):
            continue
        said = said_by(stored.statement, view.trust.person_of(leaf.key) or f"key {leaf.key}")
        # whoever made it did, whatever became of their key; an approval counts if its key may give it
        if said is not None and (said.policy is None or _is_signed(stored.envelope, index, leaf, view.trust)):
            yield said


def _is_signed(envelope: bytes, index: int, leaf: Event, trust: TrustPolicy) -> bool:
    try:
        require_signed_entry(envelope, index, leaf, trust=trust, keys=public_keys(trust))
    except KnownError:
        return False
    return True
