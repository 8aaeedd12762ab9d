"""`gate set` and `gate unset`: a person whose role may binds an alias to a policy, or ends that; signed and logged.

Whoever moves the alias afterwards passes that policy: another one is refused before anything is signed, is not signed over by the
holder of the log key, and is a contradiction to whoever reads the alias.
"""

from peft_registry.registry.gate.quorum import can_be_met, nobody_to_spare
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.registry.records.bindings import Binding, Bindings, binding_of, bindings_about, bound_by
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.standing_acts import SaidAlready, needed_text
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.use_cases.acts import say
from peft_registry.registry.use_cases.gate import ReadPolicy, bound_policy
from peft_registry.registry.use_cases.statements import Kept, Saying
from peft_registry.schemas.acts import GATE, Quorum, guarded_subject, spelled_to_bind
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import InputRefused, NotFound, Refused, Taken
from peft_registry.schemas.identity import AliasNeeded, Digest, Reference, check_new_alias
from peft_registry.schemas.lookalikes import folded

_GUARDS = "a gate guards an alias, and not a version"


class AlreadyBound(Taken):
    reference = "alias-already-bound"
    what = "{guarded} is bound to this very policy already"
    why = "{because}"
    fix = "nothing was signed; `registry gate unset {guarded} --reason TEXT --key FILE` ends it"

    guarded: str
    because: str


class NotBound(NotFound):
    reference = "alias-not-bound"
    what = "{guarded} is not bound to a policy"
    why = "{reason}"
    fix = "`registry gate set {guarded} --policy NAME|FILE --reason TEXT --key FILE` binds it"

    guarded: str
    reason: str


class QuorumUnmet(Refused):
    what = "the policy {policy} cannot be bound: nobody could pass it"
    why = "it asks for approvals of {count} persons who did not make the version, and those who may approve today are {approvers!l}"
    fix = "have a root list more approvers with `registry trust add FILE.pub --person NAME --role approver`, or ask for fewer"

    policy: str
    count: int
    approvers: tuple[str, ...]


class BindingSpelling(InputRefused):
    what = "{guarded} is not bound: its capital letters leave other spellings free"
    why = "people take {guarded} and {small} for the same alias, and what binds {small} holds for every spelling"
    fix = (
        "nothing was signed; `registry gate set {small} --policy NAME|FILE --reason TEXT --key FILE` binds all of them"
    )

    guarded: str
    small: str


class Guarded(Frozen):
    """An alias of a name, or of every name (None)."""

    name: str | None
    alias: str

    @property
    def text(self) -> str:
        """As a person types it."""
        return self.alias if self.name is None else f"{self.name}@{self.alias}"

    @property
    def subject(self) -> Digest:
        """What a statement about it is about."""
        return guarded_subject(self.name, self.alias)


class AliasBinding(Frozen):
    """What was signed: the alias, the policy that it is bound to now (None: to none), and the one before.

    `pending` until a checkpoint covers it. `still_needed` says how many persons have to say the same, and who has, where the
    alias stays bound as before until then. `nobody_to_spare`: without any one of those who may approve today nobody could pass.
    """

    alias: str
    policy: str | None
    policy_digest: Digest | None
    before: str | None
    person: str | None
    statement: Digest
    pending: bool
    still_needed: str | None = None
    nobody_to_spare: bool = False


def guarded_named(registry: Registry, text: str) -> Guarded:
    """The alias that a person means: `NAME@ALIAS`, or `ALIAS` of every name, also of those to come.

    Raises:
        MalformedName, MalformedReference, AliasNeeded: it is neither.
        NotFound: nothing is registered under that name.
    """
    if "@" not in text:
        return Guarded(name=None, alias=check_new_alias(text))
    named = Reference.parse(text)
    if named.name is None or named.alias is None:
        raise AliasNeeded(text, _GUARDS)
    version_named(registry, named.name)
    return Guarded(name=named.name, alias=check_new_alias(named.alias))


def policy_of_alias(registry: Registry, text: str) -> ReadPolicy:
    """The policy that `NAME@ALIAS` is bound to, by the bytes that were kept when somebody bound it.

    Raises:
        MalformedName, MalformedReference, AliasNeeded, NotFound: as `guarded_named`.
        NotBound: no binding counts for it.
        ObjectMissing, ObjectCorrupt: the store lost the bytes, or changed them.
        KnownError: as `binding_of`.
    """
    guarded = guarded_named(registry, text)
    if guarded.name is None:
        raise AliasNeeded(text, "a policy is shown of the alias of one name")
    binding = binding_of(registry, guarded.name, guarded.alias)
    if binding is None:
        raise NotBound(guarded.text, "nobody whose role may has bound it, or it was ended since")
    return bound_policy(registry, binding)


def bind_alias(
    registry: Registry, guarded: Guarded, policy: ReadPolicy | None, signer: Signer, *, reason: str
) -> AliasBinding:
    """Bind an alias to a policy, or (None) end its binding; signed with the key of a person whose role may.

    Raises:
        AlreadyBound, NotBound, SaidAlready: there is nothing to do.
        QuorumUnmet: the policy asks for more approvals than there are persons who could give them.
        BindingSpelling: other spellings of the alias would stay free.
        PredicateMalformed, SecretRefused: the reason is blank, too long, or looks like a secret.
        KeyLacksRole, UnlistedKey, ExpiredKey, RevokedKey: this key may not bind an alias.
        HomeReadOnly: this home cannot be written. In all these cases nothing was signed or recorded.
    """
    registry.require_writable()
    require_no_secrets(reason, what="the reason")
    small = Guarded(name=guarded.name, alias=spelled_to_bind(guarded.alias))
    if policy is not None and guarded != small:
        raise BindingSpelling(guarded.text, small.text)
    quorum = None if policy is None else _quorum_of(policy)
    if policy is not None and quorum is not None:
        _require_met(registry, policy, quorum)
    person = registry.trust.person_of(signer.public.key_id)
    predicate = {
        "name": guarded.name,
        "alias": guarded.alias,
        "policy": None if policy is None else str(policy.digest),
        "policy_name": None if policy is None else policy.policy.name,
        **({} if quorum is None else {"lifted_by": quorum.to_json()}),
        "reason": reason,
        "nonce": registry.nonce(),
    }
    said = say(
        registry,
        guarded.subject,
        lambda _: Saying(GATE.kind, predicate, signer),
        changing=lambda view: _require_needed(view, guarded, policy, person),
        kept=None if policy is None else Kept(policy.data, "policy"),
    )
    before = said.before
    with view_of(registry) as view:
        waiting = _said_so_far(bindings_about(view, guarded.name, guarded.alias), guarded, policy)
    return AliasBinding(
        alias=guarded.text,
        policy=None if policy is None else policy.policy.name,
        policy_digest=None if policy is None else policy.digest,
        before=None if before is None else before.because,
        person=person,
        statement=said.statement,
        pending=said.pending,
        still_needed=None if before is None or not waiting else needed_text(before.lifted_by, waiting),
        nobody_to_spare=quorum is not None and nobody_to_spare(quorum, *_persons(registry)),
    )


def _quorum_of(policy: ReadPolicy) -> Quorum | None:
    """How many persons loosen a binding to a policy: as many as it asks approvals of."""
    asked = policy.policy.approvals
    return None if asked is None else Quorum(count=asked.count, by_others=asked.by_others)


def _persons(registry: Registry) -> tuple[list[str], list[str]]:
    """The persons whose keys may approve now, and those whose keys may register a version."""
    trust, now = registry.trust, registry.clock()
    valid = [key for key in trust.keys if key.valid_from <= now < key.valid_until and not trust.revocation(key.key_id)]
    approvers, trainers = ([key.person for key in valid if key.role == role] for role in ("approver", "trainer"))
    return approvers, trainers


def _require_met(registry: Registry, policy: ReadPolicy, quorum: Quorum) -> None:
    """Raise unless the persons who may approve today are as many as a policy asks for.

    Raises:
        QuorumUnmet: they are fewer, or one of them could have made the version.
    """
    approvers, trainers = _persons(registry)
    if not can_be_met(quorum, approvers, trainers):
        raise QuorumUnmet(policy.policy.name, quorum.count, tuple(sorted(set(approvers))))


def _said_so_far(bindings: Bindings, guarded: Guarded, policy: ReadPolicy | None) -> tuple[str, ...]:
    """The persons who said that an alias is bound to a policy, or to none, where that are not enough."""
    wanted = None if policy is None else policy.digest
    said = (
        loosening.said_by
        for loosening in bindings.loosenings(guarded.name, guarded.alias)
        if loosening.policy == wanted
    )
    return next(said, ())


def _require_needed(view: View, guarded: Guarded, policy: ReadPolicy | None, person: str | None) -> Binding | None:
    """The binding in force now, which the new statement changes.

    Raises:
        AlreadyBound, NotBound, SaidAlready: it would change nothing.
    """
    bindings = bindings_about(view, guarded.name, guarded.alias)
    own, before = bindings.bound(guarded.name, guarded.alias), bindings.in_force(guarded.name, guarded.alias)
    if own is None and policy is None:
        raise NotBound(guarded.text, _why_unbound(view, guarded))
    if own is not None and policy is not None and own.policy == policy.digest:
        # one of an earlier release is bound anew, so that it takes as many persons to loosen it as it asks approvals of
        quorum = _quorum_of(policy)
        if own.lifted_by is not None or quorum is None:
            raise AlreadyBound(guarded.text, own.because)
    said_by = _said_so_far(bindings, guarded, policy)
    if before is not None and person is not None and folded(person) in {folded(other) for other in said_by}:
        raise SaidAlready(person, f"the binding of {guarded.text}", needed_text(before.lifted_by, said_by))
    return before


def _why_unbound(view: View, guarded: Guarded) -> str:
    if guarded.name is not None:
        of_all = bound_by(view, None, guarded.alias)
        if of_all is not None:
            return f"its own binding does not exist, and {of_all.because}"
    return "nobody whose role may has bound it, or it was ended since"
