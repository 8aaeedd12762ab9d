"""What a user's reference means: which version an alias, a bare name or a number is, as the log says and not as the rows do.

The catalogue's rows are a convenience that whoever can write the database can change. What decides is the snapshot under the
newest checkpoint (`records/snapshots.py`): a move that was cut out, an older one that was replayed, a version that was removed or
renumbered contradict it. A log of an earlier release has no snapshot until its next entry; there an alias without its signed
move is treated as if it did not exist.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bindings import binding_in_force, require_moved_through
from peft_registry.registry.records.entries import require_signed, require_signed_entry, statement_of_entry
from peft_registry.registry.records.move_approvals import Move, require_approved
from peft_registry.registry.records.snapshots import Snapshot, read_leaf
from peft_registry.registry.records.views import VersionsDiffer, View, view_of
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.dsse import Envelope
from peft_registry.registry.signing.trust import KeyLacksRole, RevokedKey, key_status, public_keys, require_ok
from peft_registry.registry.transparency import log, snapshot
from peft_registry.registry.transparency.entries import checkpoint_over, parse_entry
from peft_registry.schemas.acts import AliasPredicate, guarded_subject
from peft_registry.schemas.errors import KnownError, NotChecked, NotFound
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.log import Event
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.version import Version


class AliasUnsigned(NotFound):
    what = "{name}@{alias} is recorded, but nobody who is allowed to has signed it"
    why = "{reason}"
    fix = "name the version by number, or sign the alias again with `registry promote {name}:NUMBER {alias}`"

    name: str
    alias: str
    reason: str


class AliasPending(NotFound):
    what = "{name}@{alias} does not point anywhere yet"
    why = "it was moved to {moved_to}, which counts once the log is signed"
    fix = "run `registry log sign` where the log key is, or name the version: {moved_to}"

    name: str
    alias: str
    moved_to: str


def require_signed_alias(registry: Registry, version: Version, alias: str, *, trust: TrustPolicy | None = None) -> None:
    """Raise AliasUnsigned unless the alias points at this version by a move that a trusted key signed.

    Args:
        registry: whose catalogue says so.
        version: what the catalogue's row points at.
        alias: its name.
        trust: whom the user trusts; None for the home's own trust file.

    Raises:
        AliasUnsigned: it does not.
        ProofRejected, LogForked, LogTruncated: the database is not what was logged.
    """
    policy = registry.trust if trust is None else trust
    with view_of(registry, trust=policy) as view:
        move = catalog.newest_move(view.tx, name=version.name, alias=alias)
        stored = None if move is None else catalog.statement(view.tx, move.statement_digest)
        if move is None or stored is None or move.number != version.number:
            raise AliasUnsigned(version.name, alias, "its newest recorded move points elsewhere, or to no statement")
        proven_at = _logged_at(view, stored)
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


def _require_says(stored: StoredStatement, version: Version, alias: str) -> AliasPredicate:
    try:
        predicate = AliasPredicate.from_json(stored.statement.predicate)
    except ValidationError as error:
        raise AliasUnsigned(version.name, alias, "the statement that moved it is not about an alias") from error
    moved = (stored.statement.kind, stored.statement.subject_digest, predicate.name, predicate.alias, predicate.removed)
    if moved != ("alias", version.manifest_digest, version.name, alias, False):
        raise AliasUnsigned(version.name, alias, "the statement that moved it says something else")
    return predicate


def _logged_at(view: View, stored: StoredStatement) -> str | None:
    """The time at which the log received the statement, where a checkpoint that counts covers its entry.

    Raises:
        ProofRejected, LogForked, LogTruncated, BadSignature, WrongOrigin, MalformedNote, MalformedJson: the entry is not the one
            that was signed over.
    """
    checkpoint = view.registry.recorded_checkpoint(view.tx)
    if checkpoint is None or stored.log_index is None:
        return None
    store = SqlLogStore(view.tx)
    try:
        leaf = store.get_leaf(stored.log_index)
        entry = parse_entry(log.prove(store, stored.log_index, checkpoint, extra=leaf))
        checkpoint_over(entry, view.trust, now=view.registry.clock())
    except (NotChecked, NotFound, RevokedKey, KeyLacksRole):
        # it is pending, or nobody whose word counts now signed over it: that dates nothing, and accuses nobody
        return None
    return entry.event.at if entry.event.statement == Digest.of(Envelope.parse(stored.envelope).payload) else None


def version_named(registry: Registry, text: str, *, trust: TrustPolicy | None = None) -> Version:
    """The version that a user's reference means, as the newest checkpoint of the log has it.

    An alias points where its last logged move says, a bare name is its newest logged version, and a number is the artifact that
    was registered as it. What is behind the checkpoint is pending: it can be named by its number and decides nothing else.

    Raises:
        MalformedReference: the text is not a reference.
        NotFound: there is no such version.
        AliasUnsigned: the alias is recorded, and nobody who may has signed that.
        AliasPending: its first move waits for a signed log.
        MovedPastGate: it was moved under another policy than the one that it was bound to, or without the approvals of that.
        VersionsDiffer, PathRejected, LogForked, LogTruncated: the database is not what was logged.
    """
    reference = Reference.parse(text)
    with view_of(registry, trust=trust) as view:
        newest = view.newest
        if newest is None:
            version = catalog.resolve(view.tx, reference)
        else:
            version = _logged_version(view, reference)
    if newest is None and reference.alias is not None:
        require_signed_alias(registry, version, reference.alias, trust=trust)
    return version


def versions_of_artifact(registry: Registry, manifest: Digest, *, known: Snapshot | None = None) -> tuple[Version, ...]:
    """The versions that have an artifact, in the order of registration, each as the log says; none where nobody registered it.

    `known` is the newest snapshot of the log, where the caller has checked it.

    Raises:
        VersionsDiffer: a version of it was renumbered, exchanged or never logged, or all of them were removed from the database.
        PathRejected, LogForked, LogTruncated: the database is not what was logged.
    """
    with view_of(registry, known=known) as view:
        versions = catalog.version_by_digest(view.tx, manifest_digest=manifest)
        for version in versions:
            view.require_logged(version)
        if not versions and view.value(snapshot.artifact_key(manifest), snapshot.ArtifactValue) is not None:
            raise VersionsDiffer(manifest.short, f"the log has {manifest}, and the catalogue has no version of it")
    return versions


def _logged_version(view: View, reference: Reference) -> Version:
    """The version that the snapshot gives for a reference."""
    name = reference.name or ""
    if reference.alias is not None:
        return _aliased_version(view, reference)
    if reference.digest is None and reference.number is None:
        count = view.newest_number(name)
        if count is not None:
            return _numbered_version(view, name, count)
    elif reference.number is not None and view.is_logged(name, reference.number):
        return _numbered_version(view, name, reference.number)
    # by digest, or not logged: what the catalogue finds is pending or was never registered
    version = catalog.resolve(view.tx, reference)
    view.require_logged(version)
    return version


def _numbered_version(view: View, name: str, number: int) -> Version:
    """The catalogue's row of a version that the log has."""
    try:
        version = catalog.resolve(view.tx, Reference(name=name, number=number))
    except NotFound as error:
        raise VersionsDiffer(name, f"an entry registers {name}:{number}, and the catalogue does not have it") from error
    view.require_logged(version)
    return version


def _aliased_version(view: View, reference: Reference) -> Version:
    """The version that an alias points to by its last logged move, signed by somebody whom the view's trust lets say so."""
    name, alias = reference.name or "", reference.alias or ""
    guarded = [snapshot.artifact_key(guarded_subject(scope, alias)) for scope in (name, None)]
    view.read_ahead(keys=(snapshot.alias_key(name, alias), *guarded))
    target = view.alias_target(name, alias)
    if target is None:
        # where there is no such row either, the error names those close by
        recorded = catalog.resolve(view.tx, reference)
        pending = newest_signed_move(view, name, alias)
        if pending is not None and pending.manifest == recorded.manifest_digest:
            raise AliasPending(name, alias, recorded.label)
        raise AliasUnsigned(recorded.name, alias, "the log does not say so up to its newest checkpoint")
    assert target.manifest is not None, "an alias that points somewhere"
    version = catalog.idempotent_version(view.tx, name=name, manifest_digest=target.manifest)
    if version is None:
        raise VersionsDiffer(
            name, f"entry {target.entry} points {alias} at {target.manifest}, which the catalogue lacks"
        )
    view.read_ahead(keys=[snapshot.version_key(version.name, version.number)], entries=[target.entry])
    view.require_logged(version)
    leaf = view.leaf(target.entry)
    if not isinstance(leaf, Event):
        raise AliasUnsigned(name, alias, f"entry {target.entry} is not a move")
    said = catalog.statement(view.tx, leaf.statement)
    if said is None:
        raise AliasUnsigned(name, alias, "the statement that moved it is not in the database")
    try:
        move = _require_says(said, version, alias)
        require_signed_entry(said.envelope, target.entry, leaf, trust=view.trust, keys=public_keys(view.trust))
    except KnownError as error:
        raise AliasUnsigned(name, alias, f"{error}") from error
    binding = binding_in_force(view, name, alias, before=target.entry)
    require_moved_through(binding, name, alias, move.gate, target.entry)
    require_approved(view, binding, Move(move, target.manifest, target.entry))
    return version


@dataclass(frozen=True, slots=True)
class SignedMove:
    """The newest move of an alias that is signed and logged: where it points, None for nowhere, by whose key and when."""

    manifest: Digest | None
    key_id: str
    at: Timestamp
    entry: int


def newest_signed_move(view: View, name: str, alias: str) -> SignedMove | None:
    """The last move of an alias that the log has; None where it was never moved.

    Whoever is about to move it comes behind what no checkpoint covers yet, so that a pending move counts if it is signed. No row of
    the catalogue is believed.

    Raises:
        PathRejected, ProofRejected, EntryRejected, LogForked, LogTruncated: the database is not what was logged.
    """
    newest = view.newest
    covered = 0 if newest is None else newest.size
    trust = view.registry.read_trust(at=view.registry.clock())
    for index, data in SqlLogStore(view.tx).leaves_from(covered):
        move = _pending_move(view.tx, index, data, (name, alias), trust)
        if move is not None:
            return move
    target = view.value(snapshot.alias_key(name, alias), snapshot.AliasValue)
    if target is None:
        return None
    leaf = view.leaf(target.entry)
    if not isinstance(leaf, Event):
        raise AliasUnsigned(name, alias, f"entry {target.entry} is not a move")
    return SignedMove(target.manifest, leaf.key, leaf.at, target.entry)


def _pending_move(
    tx: catalog.Transaction, index: int, data: bytes, alias: tuple[str, str], trust: TrustPolicy
) -> SignedMove | None:
    """The move of an alias, a name and a word, that an entry is; None where it is another entry, or nobody who may signed it."""
    try:
        leaf = read_leaf(data)
        if not isinstance(leaf, Event) or leaf.kind != "alias":
            return None
        said = statement_of_entry(tx, index, leaf)
        require_signed(said, index, leaf, trust=trust, keys=public_keys(trust))
        move = AliasPredicate.from_json(said.statement.predicate)
    except (KnownError, ValidationError):  # the holder of the log key takes it out
        return None
    if (move.name, move.alias) != alias:
        return None
    return SignedMove(None if move.removed else leaf.subject, leaf.key, leaf.at, index)
