"""What a user's reference means, and whether an alias may be believed: its newest move is a signed, logged statement.

The catalog's row is a convenience that whoever can write the database can change. An alias without its signed move is treated
as if it did not exist. A move that was cut out of the log together with its statement cannot be seen from here; the
checkpoint remembered outside the database shows it when the home is opened.
"""

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.dsse import Envelope
from peft_registry.registry.signing.trust import key_status, public_keys, require_ok
from peft_registry.registry.transparency import log
from peft_registry.registry.transparency.entries import checkpoint_over, parse_entry
from peft_registry.schemas.errors import KnownError, NotFound
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import AliasPredicate, StoredStatement
from peft_registry.schemas.version import Version


class AliasUnsigned(NotFound):
    reference = "alias-unsigned"
    what = "{name}@{alias} is recorded, but nobody who is allowed to has signed it"
    why = "{reason}"
    fix = "name the version by number, or sign the alias again with `registry promote {name}:NUMBER {alias}`"

    name: str
    alias: str
    reason: str


def require_signed_alias(registry: Registry, version: Version, alias: str, *, trust: TrustPolicy | None = None) -> None:
    """Raise AliasUnsigned unless the alias points at this version by a move that a trusted key signed.

    Args:
        registry: whose catalog says so.
        version: what the catalog's row points at.
        alias: its name.
        trust: whom the user trusts; None for the home's own trust file.

    Raises:
        AliasUnsigned: it does not.
    """
    policy = registry.trust if trust is None else trust
    with registry.database.read() as tx:
        move = catalog.newest_move(tx, name=version.name, alias=alias)
        stored = None if move is None else catalog.statement(tx, move.statement_digest)
        if move is None or stored is None or move.number != version.number:
            raise AliasUnsigned(version.name, alias, "its newest recorded move points elsewhere, or to no statement")
        proven_at = _logged_at(tx, stored, policy, now=registry.clock())
    try:
        _require_says(stored, version, alias)
        envelope = Envelope.parse(stored.envelope)
        signer = dsse.verify(envelope, public_keys(policy), what="the alias")
        status = key_status(
            policy,
            signer.key_id,
            predicate_type=stored.statement.predicate_type,
            signed_at_proven=proven_at,
            now=registry.clock(),
        )
        require_ok(status)
    except KnownError as error:
        raise AliasUnsigned(version.name, alias, f"{error}") from error


def _require_says(stored: StoredStatement, version: Version, alias: str) -> None:
    try:
        predicate = AliasPredicate.from_json(stored.statement.predicate)
    except ValidationError as error:
        raise AliasUnsigned(version.name, alias, "the statement that moved it is not about an alias") from error
    moved = (stored.statement.kind, stored.statement.subject_digest, predicate.name, predicate.alias, predicate.removed)
    if moved != ("alias", version.manifest_digest, version.name, alias, False):
        raise AliasUnsigned(version.name, alias, "the statement that moved it says something else")


def _logged_at(tx: catalog.Transaction, stored: StoredStatement, policy: TrustPolicy, *, now: str) -> str | None:
    """The time at which the log received the statement, where a checkpoint that counts covers its entry."""
    checkpoint = catalog.latest_checkpoint(tx)
    if checkpoint is None or stored.log_index is None:
        return None
    store = SqlLogStore(tx)
    try:
        leaf = store.get_leaf(stored.log_index)
        entry = parse_entry(log.prove(store, stored.log_index, checkpoint, extra=leaf))
        checkpoint_over(entry, policy, now=now)
    except KnownError:
        return None
    return entry.event.at if entry.event.statement == Digest.of(Envelope.parse(stored.envelope).payload) else None


def version_named(registry: Registry, text: str, *, trust: TrustPolicy | None = None) -> Version:
    """The version that a user's reference means; an alias counts only by its signed move.

    Raises:
        MalformedReference: the text is not a reference.
        NotFound: there is no such version.
        AliasUnsigned: the alias is recorded, and nobody who may has signed that.
    """
    reference = Reference.parse(text)
    with registry.database.read() as tx:
        version = catalog.resolve(tx, reference)
    if reference.alias is not None:
        require_signed_alias(registry, version, reference.alias, trust=trust)
    return version
