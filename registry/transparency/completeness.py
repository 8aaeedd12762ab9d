"""The proof that a folder holds everything that was said about its artifact: `evidence/complete.tlog-proof`. Pure.

An append-only log alone cannot show that nothing more was said. The snapshot under a checkpoint can: it maps the artifact to the
number and the root of its statements. The file is a C2SP tlog-proof of that snapshot's leaf; its `extra` holds the leaf, the path
from the snapshot's root to the artifact, and the list of statements.

It also dates each statement, by the statement's own entry and the proof of that under the same checkpoint. Where the log is kept by
somebody else than the signer, the first checkpoint over the entry is there too, as a date by that keeper's word: its snapshot, and
the proof that the log continues it. Files of earlier releases have neither.

It also shows under which name and number the snapshot has the artifact, and which aliases point to it. Files of earlier releases do
not, and releases that do not know these fields leave them as they are.

A list may seal statements: their leaf hashes stand in their places. It is still shown to be all, and does not tell what they are.

What it proves holds up to its checkpoint. Later statements are not in it, and nobody who holds only the folder can know of them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, ValidationError

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.signing.trust import Covered, ProvenTime, key_status, public_keys, require_ok
from peft_registry.registry.transparency import log, merkle, note, prefix_tree, snapshot
from peft_registry.registry.transparency.epochs import require_names_log
from peft_registry.registry.transparency.note import Checkpoint, MalformedNote, Proof, WrongOrigin
from peft_registry.registry.transparency.prefix_tree import Pair, Path
from peft_registry.schemas.document import Document, first_problem
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event, LogSnapshot
from peft_registry.schemas.policy import CHECKPOINT_TYPE, TrustPolicy
from peft_registry.schemas.statement import COMPLETE_FILE, Sha256Hex, urn

_SCHEMA: Literal["urn:peft-registry:completeness:v1"] = "urn:peft-registry:completeness:v1"
assert urn("completeness") == _SCHEMA


class StatementEntry(Document):
    """One statement of the list: the digest of its payload, and what its entry calls it."""

    digest: Digest
    kind: str


class SealedEntry(Document):
    """One statement of the list of which neither digest nor kind is told: its leaf hash in the tree over the statements.

    A public copy has them, so that what people decide about an artifact does not become known by the proof that all else is there.
    """

    leaf: Sha256Hex


class EntryProof(Document):
    """Where a statement of the list stands in the log: its entry, and the hashes beside the way to the checkpoint's root."""

    index: int = Field(ge=0)
    leaf: Event
    hashes: tuple[Sha256Hex, ...] = Field(max_length=note.PROOF_HASHES_MAX)


class EarlierCheckpoint(Document):
    """A checkpoint that covered entries before: its text, the snapshot under it, and the proof that the log continued it."""

    text: str
    leaf: LogSnapshot
    hashes: tuple[Sha256Hex, ...] = Field(max_length=note.PROOF_HASHES_MAX)  # of the snapshot's leaf, to the newer root
    consistency: tuple[Sha256Hex, ...] = Field(max_length=note.PROOF_HASHES_MAX)


class VersionPlace(Document):
    """A name and number that the snapshot gives the artifact: the entry that registered it, and the hashes beside the way."""

    name: str
    number: int = Field(ge=1)
    entry: int = Field(ge=0)
    siblings: tuple[Sha256Hex, ...] = Field(max_length=prefix_tree.KEY_BITS)


class AliasPlace(Document):
    """An alias that points to the artifact under the snapshot: the entry that moved it there, and the hashes beside the way."""

    name: str
    alias: str
    entry: int = Field(ge=0)
    siblings: tuple[Sha256Hex, ...] = Field(max_length=prefix_tree.KEY_BITS)


class CompleteStatements(Document):
    """What `extra` holds. `siblings` are the hashes beside the way from the snapshot's root to the artifact, root first."""

    schema_: Literal["urn:peft-registry:completeness:v1"] = Field(default=_SCHEMA, alias="schema")
    leaf: LogSnapshot
    siblings: tuple[Sha256Hex, ...] = Field(max_length=prefix_tree.KEY_BITS)
    statements: tuple[StatementEntry | SealedEntry, ...] = Field(min_length=1, max_length=10_000)
    entries: tuple[EntryProof, ...] = Field(default=(), max_length=10_000)
    earlier: tuple[EarlierCheckpoint, ...] = Field(default=(), max_length=10_000)
    versions: tuple[VersionPlace, ...] = Field(default=(), max_length=10_000, exclude_if=lambda value: not value)
    aliases: tuple[AliasPlace, ...] = Field(default=(), max_length=10_000, exclude_if=lambda value: not value)

    model_config = Document.model_config | {"populate_by_name": True, "serialize_by_alias": True}


@dataclass(frozen=True, slots=True)
class CompleteList:
    """A list of statements with its proof. Nothing is proven before `checkpoint_over_list` has returned."""

    proof: Proof
    stated: CompleteStatements

    @property
    def told(self) -> tuple[StatementEntry, ...]:
        """The statements of which the list tells digest and kind, in the order of the log."""
        return tuple(entry for entry in self.stated.statements if isinstance(entry, StatementEntry))

    @property
    def digests(self) -> frozenset[Digest]:
        """Their digests."""
        return frozenset(entry.digest for entry in self.told)

    @property
    def sealed(self) -> int:
        """How many statements there are besides."""
        return len(self.stated.statements) - len(self.told)


@dataclass(frozen=True, slots=True)
class EntryDate:
    """The entry and the time that the log gives a statement. They count for the key that the entry names, and for no other."""

    key_id: str
    proven: ProvenTime
    index: int


def render_list(
    proof_of_leaf: Proof,
    leaf: LogSnapshot,
    path: Path,
    statements: tuple[snapshot.StatementAndKind, ...],
    *,
    entries: tuple[EntryProof, ...] = (),
    earlier: tuple[EarlierCheckpoint, ...] = (),
    versions: tuple[VersionPlace, ...] = (),
    aliases: tuple[AliasPlace, ...] = (),
) -> str:
    """The text of the file; `proof_of_leaf` is that of the snapshot's leaf."""
    stated = CompleteStatements(
        leaf=leaf,
        siblings=tuple(sibling.hex() for sibling in path.siblings),
        statements=tuple(StatementEntry(digest=digest, kind=kind) for digest, kind in statements),
        entries=entries,
        earlier=earlier,
        versions=versions,
        aliases=aliases,
    )
    return _render(proof_of_leaf, stated)


def sealed_list(listed: CompleteList, *, told: Collection[Digest], dated: Collection[Digest]) -> str:
    """The text of a file that tells of less and proves the same.

    Args:
        listed: the list.
        told: the statements of which it still tells digest and kind.
        dated: those of which it still says when they were logged and by whose key.
    """
    stated = listed.stated
    statements = tuple(
        SealedEntry(leaf=_leaf_of(entry).hex())
        if isinstance(entry, StatementEntry) and entry.digest not in told
        else entry
        for entry in stated.statements
    )
    entries = tuple(entry for entry in stated.entries if entry.leaf.statement in dated)
    # a name or an alias would tell of the statement that gave it
    shown = {entry.index for entry in entries}
    versions = tuple(place for place in stated.versions if place.entry in shown)
    aliases = tuple(place for place in stated.aliases if place.entry in shown)
    return _render(
        listed.proof, stated.revised(statements=statements, entries=entries, versions=versions, aliases=aliases)
    )


def _render(proof: Proof, stated: CompleteStatements) -> str:
    return note.render_proof(
        Proof(
            index=proof.index, hashes=proof.hashes, checkpoint_text=proof.checkpoint_text, extra=stated.to_canonical()
        )
    )


def _leaf_of(entry: StatementEntry | SealedEntry) -> bytes:
    """The leaf hash of a statement of the list."""
    if isinstance(entry, SealedEntry):
        return bytes.fromhex(entry.leaf)
    return snapshot.statement_hash(entry.digest, entry.kind)


def parse_list(text: str) -> CompleteList:
    """The list of a file's text.

    Raises:
        MalformedNote, LooseBase64, MalformedJson: it is not a proof of this form.
    """
    proof = note.parse_proof(text)
    value = read_json(proof.extra or b"", what="the list of statements")
    try:
        stated = CompleteStatements.from_json(value)
    except ValidationError as error:
        raise MalformedNote(COMPLETE_FILE, f"its list is malformed: {first_problem(error)}") from error
    return CompleteList(proof, stated)


def checkpoint_over_list(listed: CompleteList, manifest: Digest, trust: TrustPolicy, *, now: str) -> Checkpoint:
    """The checkpoint up to which the list is everything that was said about a manifest digest.

    The log key counts at the time of the snapshot, which its holder wrote: what a key signed while it was valid stays good when it
    has expired or was replaced. Whoever has a stolen key can write any time, and that is what revoking it as compromised is for.

    Raises:
        WrongOrigin, BadSignature, ProofRejected, PathRejected, RevokedKey, KeyLacksRole: the proof is wrong.
        UnknownKey, ExpiredKey, EpochNotStated: nobody whom the user trusts vouches for it.
    """
    keys = public_keys(trust, role="log")
    origin = _origin(listed.proof.checkpoint_text, keys)
    leaf = listed.stated.leaf
    checkpoint = log.verify_proof(listed.proof, leaf.to_canonical(), origin=origin, keys=keys)
    if not listed.proof.index == leaf.size == checkpoint.size - 1:
        raise MalformedNote(COMPLETE_FILE, "its snapshot is not the last entry under its checkpoint")
    _require_keeper(trust, checkpoint, ProvenTime(leaf.at), origin=origin, now=now)
    said = snapshot.value_of_hashes([_leaf_of(entry) for entry in listed.stated.statements])
    _require_pair(listed, snapshot.artifact_key(manifest), said, listed.stated.siblings)
    _require_places(listed, manifest)
    return checkpoint


def _require_places(listed: CompleteList, manifest: Digest) -> None:
    """Raise unless the snapshot of a proven list has the artifact under each name and number, and each alias there.

    Args:
        listed: a list whose snapshot's leaf is proven.
        manifest: the artifact.

    Raises:
        PathRejected: one of them does not lead to the root of the snapshot.
    """
    for place in listed.stated.versions:
        registered = snapshot.VersionValue(manifest=manifest, entry=place.entry)
        _require_pair(listed, snapshot.version_key(place.name, place.number), registered, place.siblings)
    for pointer in listed.stated.aliases:
        target = snapshot.AliasValue(manifest=manifest, entry=pointer.entry)
        _require_pair(listed, snapshot.alias_key(pointer.name, pointer.alias), target, pointer.siblings)


def _require_pair(listed: CompleteList, key: bytes, stated: Document, siblings: tuple[str, ...]) -> None:
    value = stated.to_canonical()
    path = Path(_bytes_of(siblings), Pair(key, prefix_tree.hash_of(value)))
    prefix_tree.check_path(key, value, path, bytes.fromhex(listed.stated.leaf.root))


def origin_of_list(listed: CompleteList, trust: TrustPolicy) -> str:
    """The log that a list's checkpoint speaks of."""
    return _origin(listed.proof.checkpoint_text, public_keys(trust, role="log"))


def dates_of(
    listed: CompleteList, checkpoint: Checkpoint, manifest: Digest, trust: TrustPolicy, *, now: str
) -> Mapping[Digest, EntryDate]:
    """When each statement of the list entered the log; empty for a file of an earlier release.

    Args:
        listed: the list.
        checkpoint: what `checkpoint_over_list` returned for it.
        manifest: what the statements are about.
        trust: whom the user trusts.
        now: RFC 3339, UTC.

    Raises:
        ProofRejected, MalformedNote: an entry or an earlier checkpoint is not in this log, or speaks of something else.
        BadSignature, WrongOrigin: an earlier checkpoint is not what a log key signed.
    """
    covers = _covers(listed, checkpoint, trust, now=now)
    kinds = {entry.digest: entry.kind for entry in listed.told}
    dates = {}
    for entry in listed.stated.entries:
        leaf = entry.leaf
        if leaf.subject != manifest or kinds.get(leaf.statement) != leaf.kind:
            raise MalformedNote(COMPLETE_FILE, f"entry {entry.index} is not of a statement that it lists")
        if leaf.statement in dates:
            raise MalformedNote(COMPLETE_FILE, f"entry {entry.index} is of a statement that has one before")
        _require_in_log(leaf.to_canonical(), entry.index, entry.hashes, checkpoint)
        covered = tuple(cover for size, cover in covers if entry.index < size)
        dates[leaf.statement] = EntryDate(leaf.key, ProvenTime(leaf.at, covered), entry.index)
    return dates


def _covers(
    listed: CompleteList, checkpoint: Checkpoint, trust: TrustPolicy, *, now: str
) -> tuple[tuple[int, Covered], ...]:
    """(how many entries it covers, when and by whom) of this checkpoint and of each earlier one."""
    keys = public_keys(trust, role="log")
    log_name = trust.log_of(_origin(listed.proof.checkpoint_text, keys))
    newest = trust.person_of(checkpoint.key_id) or checkpoint.key_id
    covers = [(checkpoint.size, Covered(listed.stated.leaf.at, newest))]
    if len({older.leaf.size for older in listed.stated.earlier}) < len(listed.stated.earlier):
        raise MalformedNote(COMPLETE_FILE, "two earlier checkpoints cover as many entries")
    for older in listed.stated.earlier:
        origin = _origin(older.text, keys)
        # it may be of an earlier epoch: that the log went on from there is proven below
        if trust.log_of(origin) != log_name:
            raise WrongOrigin(origin, log_name)
        signed = note.verify_checkpoint(older.text, origin=origin, keys=keys)
        if older.leaf.size != signed.size - 1:
            raise MalformedNote(COMPLETE_FILE, "the snapshot of an earlier checkpoint is not the last entry under it")
        _require_in_log(older.leaf.to_canonical(), older.leaf.size, older.hashes, checkpoint)
        consistency = _bytes_of(older.consistency)
        merkle.check_consistency(signed.size, checkpoint.size, consistency, signed.root, checkpoint.root)
        proven = ProvenTime(older.leaf.at)
        status = key_status(trust, signed.key_id, predicate_type=CHECKPOINT_TYPE, signed_at_proven=proven, now=now)
        if status.state == "ok" and status.key is not None:  # by a key that fell, its date is nobody's word
            covers.append((signed.size, Covered(older.leaf.at, status.key.person)))
    return tuple(covers)


def _require_in_log(leaf: bytes, index: int, hashes: tuple[str, ...], checkpoint: Checkpoint) -> None:
    merkle.check_inclusion(merkle.leaf_hash(leaf), index, checkpoint.size, _bytes_of(hashes), checkpoint.root)


def _require_keeper(
    trust: TrustPolicy, checkpoint: Checkpoint, signed_at: ProvenTime, *, origin: str, now: str
) -> None:
    status = key_status(trust, checkpoint.key_id, predicate_type=CHECKPOINT_TYPE, signed_at_proven=signed_at, now=now)
    require_names_log(trust, require_ok(status), origin)


def _origin(text: str, keys: tuple[PublicKey, ...]) -> str:
    return note.claimed_name(text, keys) or text.split("\n", 1)[0]


def _bytes_of(hashes: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(text) for text in hashes)
