"""`gate set` and `gate unset`: a person whose role may binds an alias to a policy, or ends that; signed and logged.

Whoever moves the alias afterwards passes that policy: another one is refused before anything is signed, is not signed over by the
holder of the log key, and is a contradiction to whoever reads the alias.
"""

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.registry.records.bindings import Binding, binding_of, bound_by
from peft_registry.registry.records.checkpoints import covered_size, publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.remembered_stops import to_be_remembered
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.use_cases.gate import ReadPolicy, bound_policy
from peft_registry.registry.use_cases.statements import Saying, require_sayable, sayable_at, sign_statement
from peft_registry.schemas.acts import guarded_subject
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import InputRefused, NotFound, Taken
from peft_registry.schemas.identity import AliasNeeded, Digest, Reference, check_new_alias
from peft_registry.schemas.statement import PREDICATE_TYPES

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


class BindingSpelling(InputRefused):
    reference = "binding-spelling"
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

    `pending` until a checkpoint covers it.
    """

    alias: str
    policy: str | None
    policy_digest: Digest | None
    before: str | None
    person: str | None
    statement: Digest
    pending: bool


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
        AlreadyBound, NotBound: there is nothing to do.
        BindingSpelling: other spellings of the alias would stay free.
        PredicateMalformed, SecretRefused: the reason is blank, too long, or looks like a secret.
        KeyLacksRole, UnlistedKey, ExpiredKey, RevokedKey: this key may not bind an alias.
        HomeReadOnly: this home cannot be written. In all these cases nothing was signed or recorded.
    """
    registry.require_writable()
    require_no_secrets(reason, what="the reason")
    if policy is not None and guarded.alias != guarded.alias.lower():
        raise BindingSpelling(guarded.text, Guarded(name=guarded.name, alias=guarded.alias.lower()).text)
    predicate = {
        "name": guarded.name,
        "alias": guarded.alias,
        "policy": None if policy is None else str(policy.digest),
        "policy_name": None if policy is None else policy.policy.name,
        "reason": reason,
        "nonce": registry.nonce(),
    }
    with view_of(registry) as view:
        require_sayable(view, guarded.subject, Saying("gate", predicate, signer))
        _require_needed(view, guarded, policy)
    signed = sign_statement(guarded.subject, "gate", predicate, signer)
    if policy is not None:
        registry.store.put_bytes(policy.data)  # young objects are no garbage, so no lease is needed for this long
    with to_be_remembered(registry, signed) as remember, registry.database.write() as tx:
        view = View(registry, tx)
        at = sayable_at(view, signed.key_id, (PREDICATE_TYPES["gate"],))
        before = _require_needed(view, guarded, policy)
        remember()
        index = record_statement(tx, guarded.subject, signed, at=at)
        if policy is not None:
            catalog.keep_object(tx, digest=policy.digest, subject=guarded.subject, role="policy")
    publish_checkpoint(registry)
    return AliasBinding(
        alias=guarded.text,
        policy=None if policy is None else policy.policy.name,
        policy_digest=None if policy is None else policy.digest,
        before=None if before is None else before.because,
        person=registry.trust.person_of(signed.key_id),
        statement=signed.digest,
        pending=index >= covered_size(registry),
    )


def _require_needed(view: View, guarded: Guarded, policy: ReadPolicy | None) -> Binding | None:
    """The binding that stands now, which the new statement changes.

    Raises:
        AlreadyBound, NotBound: it would change nothing.
    """
    standing = bound_by(view, guarded.name, guarded.alias)
    if standing is not None and policy is not None and standing.policy == policy.digest:
        raise AlreadyBound(guarded.text, standing.because)
    if standing is None and policy is None:
        raise NotBound(guarded.text, _why_unbound(view, guarded))
    return standing


def _why_unbound(view: View, guarded: Guarded) -> str:
    if guarded.name is not None:
        of_all = bound_by(view, None, guarded.alias)
        if of_all is not None:
            return f"its own binding does not exist, and {of_all.because}"
    return "nobody whose role may has bound it, or it was ended since"
