"""The signed state of the log: checkpoints made by the holder of the log key, and proofs from them.

Until a checkpoint covers an entry the entry is `pending`. Publishing is idempotent and repairs what a kill left over.
"""

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.transparency import log, note
from peft_registry.schemas.version import Version


def publish_checkpoint(registry: Registry) -> int:
    """Sign the log's present state and remember it outside the database; returns the size it covers.

    Without the log key nothing happens: whoever holds it publishes later.
    """
    with registry.database.read() as tx:
        store = SqlLogStore(tx)
        size = store.size()
        latest = catalog.latest_checkpoint(tx)
        covered = note.read_unverified(latest)[1] if latest else 0
        root = log.current_root(store)
    key = registry.log_key
    if key is None or (covered == size and registry.remembered_checkpoint() == latest):
        return covered
    text = note.sign_checkpoint(key, origin=registry.origin, size=size, root=root)
    # remembered outside first: a checkpoint that only the database knows protects against nothing
    registry.remember_checkpoint(text, size)
    with registry.database.write() as tx:
        catalog.put_checkpoint(tx, size=size, text=text)
    return size


def registration_proof(registry: Registry, version: Version) -> str | None:
    """The `.tlog-proof` text of a version's registration, or None while it is pending. Its `extra` is the leaf itself."""
    with registry.database.read() as tx:
        checkpoint = catalog.latest_checkpoint(tx)
        if checkpoint is None or note.read_unverified(checkpoint)[1] <= version.log_index:
            return None
        store = SqlLogStore(tx)
        return log.prove(store, version.log_index, checkpoint, extra=store.get_leaf(version.log_index))
