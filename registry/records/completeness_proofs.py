"""The proof that travels with a version: which statements are all that was said about it up to a checkpoint, and when each was."""

from collections.abc import Iterator

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.database.snapshot_store import SqlSnapshot
from peft_registry.registry.records.snapshots import Snapshot, SnapshotMalformed, covered_by, read_leaf
from peft_registry.registry.records.views import View
from peft_registry.registry.transparency import completeness, merkle, note, prefix_tree, snapshot
from peft_registry.schemas.acts import AliasPredicate
from peft_registry.schemas.log import Event, LogSnapshot
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.version import Version


def completeness_proof(view: View, version: Version, stored: tuple[StoredStatement, ...]) -> str | None:
    """The text of `evidence/complete.tlog-proof`: which statements are all that was said up to the newest checkpoint, and when.

    It shows the version's number too, and its aliases. `stored` are those of `View.statements` about its artifact; the view's trust
    says who keeps the log. None where the log says nothing of this artifact, and where no checkpoint decides.
    """
    newest = view.newest
    covered = () if newest is None else covered_by(newest, stored)
    if newest is None or not covered:
        return None
    tree, store = view.nodes.tree, view.nodes.log
    key = snapshot.artifact_key(version.manifest_digest)
    tree.read_paths(key, snapshot.version_key(version.name, version.number))
    path = _path_to(tree, key)
    size, indexes = newest.size + 1, [statement.log_index or 0 for statement in covered]
    store.read((*merkle.frontier(size), *(node for index in indexes for node in merkle.path_nodes(index, size))))
    store.read_leaves(indexes)
    return completeness.render_list(
        note.Proof(index=newest.size, hashes=newest.hashes, checkpoint_text=newest.checkpoint),
        newest.leaf,
        path,
        tuple((statement.digest, statement.logged_kind) for statement in covered),
        entries=tuple(_entry_proof(store, newest, statement) for statement in covered),
        earlier=_earlier_checkpoints(view, store, newest, covered),
        versions=tuple(_version_place(view, tree, version)),
        aliases=tuple(_alias_places(view, tree, version, covered)),
    )


def _path_to(tree: SqlSnapshot, key: bytes) -> prefix_tree.Path:
    tree.read_paths(key)
    return prefix_tree.path_to(key, tree.get_node)


def _siblings(tree: SqlSnapshot, key: bytes) -> tuple[str, ...]:
    return tuple(sibling.hex() for sibling in _path_to(tree, key).siblings)


def _version_place(view: View, tree: SqlSnapshot, version: Version) -> Iterator[completeness.VersionPlace]:
    """Its name and number as the snapshot has them; nothing while its registration is pending."""
    key = snapshot.version_key(version.name, version.number)
    value = view.value(key, snapshot.VersionValue)
    if value is not None and value.manifest == version.manifest_digest:
        yield completeness.VersionPlace(
            name=version.name, number=version.number, entry=value.entry, siblings=_siblings(tree, key)
        )


def _alias_places(
    view: View, tree: SqlSnapshot, version: Version, covered: tuple[StoredStatement, ...]
) -> Iterator[completeness.AliasPlace]:
    """The aliases of its name that point to it under the snapshot: each was moved there by one of the statements."""
    moves = [AliasPredicate.from_json(stored.statement.predicate) for stored in covered if stored.kind == "alias"]
    for alias in sorted({move.alias for move in moves if move.name == version.name}):
        value = view.alias_target(version.name, alias)
        if value is not None and value.manifest == version.manifest_digest:
            siblings = _siblings(tree, snapshot.alias_key(version.name, alias))
            yield completeness.AliasPlace(name=version.name, alias=alias, entry=value.entry, siblings=siblings)


def _entry_proof(store: SqlLogStore, newest: Snapshot, statement: StoredStatement) -> completeness.EntryProof:
    """Where a statement stands in the log.

    Raises:
        SnapshotMalformed: what stands there is not an event.
    """
    assert statement.log_index is not None, "a statement that the checkpoint covers"
    leaf = read_leaf(store.get_leaf(statement.log_index))
    if not isinstance(leaf, Event):
        raise SnapshotMalformed(f"entry {statement.log_index} is not an event")
    return completeness.EntryProof(
        index=statement.log_index, leaf=leaf, hashes=_hashes_of(store, newest, statement.log_index)
    )


def _hashes_of(store: SqlLogStore, newest: Snapshot, index: int) -> tuple[str, ...]:
    """The hashes beside the way from an entry to the root under the newest checkpoint."""
    store.read_path(index, newest.size + 1)
    return tuple(node.hex() for node in merkle.inclusion_proof(index, newest.size + 1, store.get_node))


def _earlier_checkpoints(
    view: View, store: SqlLogStore, newest: Snapshot, statements: tuple[StoredStatement, ...]
) -> tuple[completeness.EarlierCheckpoint, ...]:
    """The first checkpoint over each statement, where somebody else than the statement's signer keeps the log.

    Only then is its date more than the signer's own word, and most registries have one person for both.
    """
    keepers = {key.person for key in view.trust.keys if key.role == "log"}
    texts = {}
    for statement in statements:
        assert statement.log_index is not None, "a statement that the checkpoint covers"
        if keepers <= {view.trust.person_of(statement.key_id)}:
            continue
        text = catalog.first_checkpoint_over(view.tx, statement.log_index)
        if text is not None:
            texts[note.read_unverified(text)[1]] = text
    earlier = (_earlier(store, newest, size, text) for size, text in sorted(texts.items()) if size <= newest.size)
    return tuple(checkpoint for checkpoint in earlier if checkpoint is not None)


def _earlier(store: SqlLogStore, newest: Snapshot, size: int, text: str) -> completeness.EarlierCheckpoint | None:
    """A checkpoint with the snapshot under it; None for one of the first release, which had no snapshots."""
    leaf = read_leaf(store.get_leaf(size - 1))
    if not isinstance(leaf, LogSnapshot):
        return None
    consistency = merkle.consistency_proof(size, newest.size + 1, store.get_node)
    return completeness.EarlierCheckpoint(
        text=text,
        leaf=leaf,
        hashes=_hashes_of(store, newest, size - 1),
        consistency=tuple(node.hex() for node in consistency),
    )
