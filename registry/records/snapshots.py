"""What the log says in the end, proven to a signed checkpoint: for aliases, the newest version, and all that was said.

The rows of the catalogue can be changed by whoever can write the database. A snapshot cannot: it is the last leaf under the
checkpoint, and its root covers every alias, version and list of statements. Reading one of them takes one path and one signature.
Entries behind the newest checkpoint are pending and decide nothing.

A log without a snapshot was written by an earlier release; it gets its first one with the next entry.
"""

from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.database.snapshot_store import SqlSnapshot
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.transparency import log, merkle, note, prefix_tree, snapshot
from peft_registry.schemas.document import Document, first_problem
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Leaf, LogSnapshot, leaf_of

Value = TypeVar("Value", bound=Document)


class SaidDiffers(IntegrityBroken):
    reference = "statements-differ-from-log"
    what = "what the database holds about {manifest} is not what was said"
    why = "{reason}"
    fix = "run `registry log check` to see what was removed or changed, and restore the home from a backup"

    manifest: Digest
    reason: str


class VersionsDiffer(IntegrityBroken):
    reference = "versions-differ-from-log"
    what = "the versions of {name} in the database are not those that were registered"
    why = "{reason}"
    fix = "run `registry log check` to see what was removed or changed, and restore the home from a backup"

    name: str
    reason: str


class SnapshotMalformed(IntegrityBroken):
    reference = "log-snapshot-malformed"
    what = "the last entry under the newest checkpoint is not a leaf of this log"
    why = "{reason}"
    fix = "run `registry log check`, and restore the home from a backup"

    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The snapshot under a checkpoint that a log key signed, and the checkpoint's text."""

    leaf: LogSnapshot
    checkpoint: str

    @property
    def root(self) -> bytes:
        return bytes.fromhex(self.leaf.root)

    @property
    def size(self) -> int:
        """How many entries it speaks of."""
        return self.leaf.size


def newest_snapshot(registry: Registry, tx: catalog.Transaction) -> Snapshot | None:
    """The snapshot that decides; None where no checkpoint was made, or the log is of an earlier release.

    Raises:
        LogTruncated, LogForked: the log is not the one of its newest checkpoint.
        MalformedNote, WrongOrigin, BadSignature, UnknownKey: the checkpoint is not ours.
    """
    text = catalog.latest_checkpoint(tx)
    if text is None:
        return None
    checkpoint = note.verify_checkpoint(text, origin=registry.origin, keys=registry.log_keys)
    if checkpoint.size == 0:
        return None
    store = SqlLogStore(tx)
    log.check_prefix(store, size=checkpoint.size, root=checkpoint.root)
    data = store.get_leaf(checkpoint.size - 1)
    proof = merkle.inclusion_proof(checkpoint.size - 1, checkpoint.size, store.get_node)
    merkle.check_inclusion(merkle.leaf_hash(data), checkpoint.size - 1, checkpoint.size, proof, checkpoint.root)
    leaf = read_leaf(data)
    if not isinstance(leaf, LogSnapshot):
        return None
    if leaf.size != checkpoint.size - 1:
        raise SnapshotMalformed(f"it is entry {checkpoint.size - 1} and speaks of {leaf.size} entries")
    return Snapshot(leaf, text)


def read_leaf(data: bytes) -> Leaf:
    """A leaf from its bytes.

    Raises:
        SnapshotMalformed: they are neither an event nor a snapshot in canonical form.
    """
    try:
        leaf = leaf_of(read_json(data, what="an entry of the log"))
    except ValidationError as error:
        raise SnapshotMalformed(first_problem(error)) from error
    if leaf.to_canonical() != data:
        raise SnapshotMalformed("it is not written in canonical form")
    return leaf


def proven(tx: catalog.Transaction, newest: Snapshot, key: bytes, form: type[Value]) -> Value | None:
    """What a key maps to under the snapshot; None where it is proven to map to nothing.

    Raises:
        PathRejected: the stored nodes do not lead to the signed root.
    """
    tree = SqlSnapshot(tx)
    path = prefix_tree.path_to(key, tree.get_node)
    ends_here = path.end is not None and path.end.key == key
    data = tree.value_of(key) if ends_here else None
    prefix_tree.check_path(key, data, path, newest.root)
    return None if data is None else snapshot.read_value(data, form)


def require_all_said(tx: catalog.Transaction, newest: Snapshot, manifest: Digest) -> None:
    """Raise unless the database holds exactly the statements about a manifest that the log says were made.

    Statements behind the snapshot are pending and are not looked at.

    Raises:
        SaidDiffers: one was removed, relabelled or added.
    """
    stored = [
        (statement.digest, f"{statement.kind}")
        for statement in catalog.statements_of(tx, subject=manifest)
        if statement.log_index is not None and statement.log_index < newest.size
    ]
    value = proven(tx, newest, snapshot.artifact_key(manifest), snapshot.ArtifactValue)
    if value is None:
        if stored:
            raise SaidDiffers(manifest, f"{len(stored)} statements are stored, and the log has none")
        return
    if value.count != len(stored):
        raise SaidDiffers(manifest, f"the log has {value.count} statements, {len(stored)} are stored")
    if snapshot.statements_value(stored) != value:
        raise SaidDiffers(manifest, "as many are stored as the log has, and one of them is another or of another kind")
