"""`append_statement` and `append_together`: the one way in which something is said about an artifact that is registered already.

Beside `register_version` and `set_alias` they are all that writes. Each asks first whether the key may say it, then signs, and
appends the event to the log in one transaction. The log forgets nothing: a statement that its signer may not make would leave its
artifact broken for ever.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from peft_registry.registry.compliance.declared import problems_of_declared
from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.database import catalog
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.registry.records.checkpoints import covered_size, newest_entry_time, publish_checkpoint
from peft_registry.registry.records.entries import misplaced, record_statement, require_may_say
from peft_registry.registry.records.facets import KINDS_WITH_FACETS
from peft_registry.registry.records.logged_statements import EntrySigner, signer_of
from peft_registry.registry.records.record_checks import answers_as_another
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.remembered_stops import to_be_remembered
from peft_registry.registry.records.signed_records import record_checks, signed_statements
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.signing.trust import KeyLacksRole, UnlistedKey
from peft_registry.registry.use_cases.fill_facets import renew_facets
from peft_registry.schemas.acts import ACTS
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.attachment import AttachmentPredicate
from peft_registry.schemas.document import Document, first_problem
from peft_registry.schemas.edition import EditionPredicate
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, raise_any
from peft_registry.schemas.evaluation import EvaluationPlan, EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationPredicate, ModificationRecord
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.statement import (
    KINDS,
    PAYLOAD_TYPE,
    PREDICATE_TYPES,
    ROLE_KINDS,
    CardPredicate,
    RegistrationPredicate,
    StatementKind,
    statement_about,
)
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.version import Version

Before = TypeVar("Before")

# what `registry verify` reads of each; appended malformed, they would spoil their artifact for ever
_SCHEMAS: dict[StatementKind, type[Document]] = {
    "registration": RegistrationPredicate,
    "card": CardPredicate,
    "evaluation-plan": EvaluationPlan,
    "bias-evaluation": EvaluationRecord,
    "modification": ModificationPredicate,
    "observations": Observations,
    "edition": EditionPredicate,
    "answers": AnswersPredicate,
    "attachment": AttachmentPredicate,
    **{act.kind: act.predicate for act in ACTS.values()},
}


class SigningKeyUnlisted(UnlistedKey):
    what = "the key {key_id:.16}… may not sign this"
    why = "the trust file of this registry does not list it"
    fix = (
        "have whoever holds the root list its public half: `registry trust add FILE.pub --person NAME --role {role}`. "
        "Then run this command again"
    )

    predicate_types: tuple[str, ...]

    @property
    def role(self) -> str:
        """Those that may say all of it, as a person reads them."""
        kinds = {KINDS.get(predicate_type) for predicate_type in self.predicate_types}
        return "|".join(role for role, may_say in ROLE_KINDS.items() if kinds <= set(may_say)) or "ROLE"


class PredicateMalformed(InputRefused):
    what = "this is not a statement of kind {kind}"
    why = "{reason}"
    fix = "`registry schema` prints the form of every document; nothing was signed or recorded"

    kind: StatementKind
    reason: str


class StatementMisplaced(InputRefused):
    what = "a statement of kind {kind} cannot be about {label}"
    why = "{reason}"
    fix = "say it about a base; `registry list --kind base` shows them"

    kind: StatementKind
    label: str
    reason: str


class RecordNotAnswered(IntegrityBroken):
    what = "a modification record says something else than people answered or was recorded before"
    why = "{reasons!l}"
    fix = "have it answered with `registry decide`; nothing was signed or recorded"

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StatementContent:
    """What is to be said with a registration, whose key signs it."""

    kind: StatementKind
    predicate: dict[str, Any]  # any JSON object: the kind says which schema


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that a statement binds by digest, such as a policy, and what they are kept as."""

    data: bytes
    role: str


@dataclass(frozen=True, slots=True)
class Saying:
    """What is to be said and by whose key, before it is signed; `kept` is durable before the statement is."""

    kind: StatementKind
    predicate: dict[str, Any]
    signer: Signer
    kept: tuple[Kept, ...] = ()


def sign_statement(subject: Digest, kind: StatementKind, predicate: dict[str, Any], signer: Signer) -> SignedStatement:
    """A signed statement of one kind about a manifest digest."""
    statement = statement_about(subject, kind, predicate)
    payload = statement.to_canonical()
    envelope = dsse.sign(signer, PAYLOAD_TYPE, payload)
    return SignedStatement(statement, envelope, Digest.of(payload), signer.public.key_id)


def entry_time(view: View) -> str:
    """The time of the next entry, RFC 3339: the clock's, and never before the entry that is there; a clock may be set back."""
    return max(view.registry.clock(), newest_entry_time(view.tx) or "")


def sayable_at(view: View, key_id: str, predicate_types: Iterable[str]) -> str:
    """The time of the next entry, RFC 3339, once a key may make statements of these types in it.

    Asked before anything is signed, and again in the transaction that records it. The trust file is read anew, and judged at the
    time of the entry: a clock that was set back makes nothing valid that the log has seen expire.

    Raises:
        TrustExpired, TrustRolledBack: the trust file decides nothing any more.
        RevokedKey, KeyLacksRole, SigningKeyUnlisted, ExpiredKey: whoever reads it would not rely on this signer.
    """
    entered_at = entry_time(view)
    trust = view.registry.read_trust(at=entered_at)
    types = tuple(predicate_types)
    for predicate_type in types:
        try:
            require_may_say(trust, key_id, predicate_type, at=entered_at)
        except UnlistedKey as error:  # whoever signs is told how a key gets listed, and not how a signature is checked
            raise SigningKeyUnlisted(error.subject, error.tried, error.key_id, types) from error
    return entered_at


def append_statement(
    registry: Registry,
    *,
    subject: Digest,
    kind: StatementKind,
    predicate: dict[str, Any],
    signer: Signer,
    evidence: tuple[bytes, ...] = (),
) -> SignedStatement:
    """Sign and record a statement about a registered artifact. The same payload twice is recorded once.

    `evidence` are bytes that the statement binds by digest, such as an item table: durable before the statement is. Whatever is
    raised but by a full disk or a lost database, nothing was signed or stored.

    Raises:
        PredicateMalformed: the predicate is not what its kind says.
        FactMalformed, FactNeedsSignature, FactNotDeclarable, SeveralProblems: it declares what no person can.
        StatementMisplaced: it calls a base what is none.
        RecordNotAnswered: a record says what nobody signed or recorded, or supersedes a record that is not there.
        SecretRefused: a text in it looks like a secret.
        NotFound: no artifact with this manifest digest is registered.
        VersionsDiffer, PathRejected, LogForked, LogTruncated: a row says that it is, and the log does not.
        HomeReadOnly: this home cannot be written.
        KnownError: as `sayable_at`.
    """
    registry.require_writable()
    saying = Saying(kind, predicate, signer)
    with view_of(registry) as view:
        require_sayable(view, subject, saying)
    _require_answered(registry, subject, saying)
    version = version_named(registry, str(subject))
    _require_in_place(registry, version, kind)
    signed = sign_statement(subject, kind, predicate, signer)
    record_signed(
        registry,
        signed,
        changing=lambda view: catalog.artifact(view.tx, manifest_digest=subject),
        kept=tuple(Kept(data, "evidence") for data in evidence),
        beside=lambda view, _: _renew(view, signed),
    )
    return signed


@dataclass(frozen=True, slots=True)
class Recorded(Generic[Before]):
    """The entry of a statement in the log, and what it changed."""

    index: int
    before: Before


def record_signed(
    registry: Registry,
    signed: SignedStatement,
    *,
    changing: Callable[[View], Before],
    kept: tuple[Kept, ...] = (),
    beside: Callable[[View, str], None] | None = None,
) -> Recorded[Before]:
    """Record what was signed in one transaction with what follows from it, and have it covered; a stop is remembered before.

    The same payload twice is recorded once.

    Args:
        registry: open and writable.
        signed: a statement that its signer may make.
        changing: what it changes; raises where that is nothing: asked where nobody else writes.
        kept: durable before the statement is.
        beside: writes what follows from it; given the time of its entry.

    Raises:
        KnownError: as `sayable_at` and `changing`; nothing was recorded.
    """
    subject = signed.statement.subject_digest
    for one in kept:
        registry.store.put_bytes(one.data)  # young objects are no garbage, so no lease is needed for this long
    with to_be_remembered(registry, signed) as remember, registry.database.write() as tx:
        view = View(registry, tx)
        before = changing(view)
        known = catalog.statement(tx, signed.digest)
        if known is not None and known.log_index is not None:
            index = known.log_index
        else:
            at = sayable_at(view, signed.key_id, (signed.statement.predicate_type,))
            remember()
            index = record_statement(tx, subject, signed, at=at)
            for one in kept:  # with the statement, or a kill between the two would leave it to be collected
                catalog.keep_object(tx, digest=Digest.of(one.data), subject=subject, role=one.role)
            if beside is not None:
                beside(view, at)
    publish_checkpoint(registry)
    return Recorded(index, before)


def append_together(
    registry: Registry,
    *,
    subject: Digest,
    sayings: Sequence[Callable[[tuple[SignedStatement, ...], str], Saying | None]],
) -> tuple[SignedStatement, ...]:
    """Sign and record several statements about a registered artifact in one transaction: all of them, or none.

    Args:
        registry: open and writable.
        subject: the manifest digest of the artifact.
        sayings: each makes a statement from those that are signed before it and the time of all their entries, or none (None). What
            one raises is raised, and nothing is recorded.

    Raises:
        KnownError: as `append_statement`.
    """
    registry.require_writable()
    version = version_named(registry, str(subject))
    signed: tuple[SignedStatement, ...] = ()
    said: list[tuple[Digest, Saying]] = []
    with registry.database.write() as tx:
        view = View(registry, tx)
        at = entry_time(view)
        for make in sayings:
            saying = make(signed, at)
            if saying is None:
                continue
            _require_in_place(registry, version, saying.kind)
            require_sayable(view, subject, saying)
            _require_answered(registry, subject, saying, together=said, at=at)
            signed = (*signed, sign_statement(subject, saying.kind, saying.predicate, saying.signer))
            said.append((signed[-1].digest, saying))
        for statement, (_, saying) in zip(signed, said, strict=True):
            catalog.artifact(tx, manifest_digest=subject)
            _keep(registry, tx, subject, saying.kept)
            record_statement(tx, subject, statement, at=at)
            _renew(view, statement)
    publish_checkpoint(registry)
    return signed


def _keep(registry: Registry, tx: Transaction, subject: Digest, kept: Sequence[Kept]) -> None:
    """Store what a statement binds, and record whose it is in the transaction of the statement: else it would be collected."""
    for one in kept:
        registry.store.put_bytes(one.data)
        catalog.keep_object(tx, digest=Digest.of(one.data), subject=subject, role=one.role)


def require_sayable(view: View, subject: Digest, saying: Saying) -> None:
    """Raise unless a statement has the form of its kind and its signer may make it now; nothing is signed yet.

    Raises:
        PredicateMalformed, FactMalformed, FactNeedsSignature, FactNotDeclarable, SeveralProblems, SecretRefused, KnownError: as
            `append_statement`.
    """
    _require_form(saying.kind, saying.predicate)
    require_declarable(view.registry, subject, saying.kind, saying.predicate)
    require_no_secrets(saying.predicate, what=f"the statement of kind {saying.kind}")
    key_id = saying.signer.public.key_id
    at = sayable_at(view, key_id, (PREDICATE_TYPES[saying.kind],))
    key = view.registry.read_trust(at=at).key(key_id)
    another = answers_as_another(statement_about(subject, saying.kind, saying.predicate), key)
    if another:
        raise KeyLacksRole(key_id, another)


def _require_in_place(registry: Registry, version: Version, kind: StatementKind) -> None:
    """Raise unless a statement of a kind can be about a version's artifact.

    Raises:
        StatementMisplaced: it calls a base what is none.
        ObjectMissing, ObjectCorrupt: the store lost its manifest or changed it.
    """
    reason = misplaced(kind, stored_manifest(registry, version.manifest_digest)) if kind == "base" else ""
    if reason:
        raise StatementMisplaced(kind, version.label, reason)


def _renew(view: View, signed: SignedStatement) -> None:
    """Have what is found by its facets found by what this statement says of it."""
    if signed.statement.kind in KINDS_WITH_FACETS:
        renew_facets(view, signed.statement.subject_digest)


def require_declarable(registry: Registry, subject: Digest, kind: StatementKind, predicate: dict[str, Any]) -> None:
    """Raise unless people may declare what a statement declares anew about an artifact; what is signed already stands.

    Raises:
        FactMalformed, FactNeedsSignature, FactNotDeclarable: the only value that no person can declare so.
        SeveralProblems: all of them.
        StatementAltered: a row is another text than was signed.
    """
    if any(problems_of_declared(kind, predicate)):
        said = signed_statements(registry, subject)
        earlier = [stored.statement.predicate for stored in said if stored.kind == kind]
        raise_any(problems_of_declared(kind, predicate, earlier=earlier))


def _require_answered(
    registry: Registry,
    subject: Digest,
    saying: Saying,
    *,
    together: Sequence[tuple[Digest, Saying]] = (),
    at: Timestamp | None = None,
) -> None:
    """Raise unless a record follows from what it names, by an edition of this release.

    Once in the log any other would leave its artifact broken for ever.

    `together` are signed already, by their digests, and enter the log right before it, at the time `at`.
    """
    if saying.kind != "modification":
        return
    checks = record_checks(registry, subject)
    for digest, earlier in together:
        key = registry.trust.key(earlier.signer.public.key_id)
        statement = statement_about(subject, earlier.kind, earlier.predicate)
        checks.take(digest, statement, signer_of(key, at=at, index=None))
    statement = statement_about(subject, saying.kind, saying.predicate)
    edition = ModificationPredicate.from_json(saying.predicate).edition
    reasons = [] if editions().standing(edition) == "known" else [f"this release derives by no edition {edition.name}"]
    check = checks.take(Digest.of(statement.to_canonical()), statement, EntrySigner(index=covered_size(registry)))
    reasons += () if check is None else (*check.wrong, *check.lacking)
    if check is not None and isinstance(check.record, ModificationRecord) and not check.record.supersedes_another:
        reasons.append("it supersedes no record, and its version has one")
    if reasons:
        raise RecordNotAnswered(tuple(reasons))


def _require_form(kind: StatementKind, predicate: dict[str, Any]) -> None:
    schema = _SCHEMAS.get(kind)
    try:
        if schema is not None:
            schema.from_json(predicate)
    except ValidationError as error:
        raise PredicateMalformed(kind, first_problem(error)) from error
