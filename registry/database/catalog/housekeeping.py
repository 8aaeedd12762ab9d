"""What gc must know: who is about to use a digest, and which objects something recorded points to."""

from collections.abc import Iterable, Iterator

from sqlalchemy import bindparam, delete, select, union

from peft_registry.registry.database.rows import insert_or
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import artifact_files, artifacts, kept_objects, leases
from peft_registry.registry.database.tables import meta as meta_table
from peft_registry.schemas.identity import Digest

_ROWS_AT_ONCE = 1000


def take_lease(tx: Transaction, *, digests: Iterable[Digest], holder: str, until: str) -> None:
    """Say that `holder` is about to register these digests, whether or not they exist yet; again prolongs it."""
    rows = [{"holder": holder, "digest": digest, "until": until} for digest in sorted(set(digests))]
    if not rows:
        return
    statement = insert_or(tx, leases)
    tx.execute(
        statement.on_conflict_do_update(index_elements=["holder", "digest"], set_={"until": statement.excluded.until}),
        rows,
    )


def release_leases(tx: Transaction, holder: str) -> None:
    """Give back everything that `holder` leased."""
    tx.execute(delete(leases).where(leases.c.holder == holder))


def leased(tx: Transaction, now: str) -> frozenset[Digest]:
    """The digests that somebody holds at `now`."""
    return frozenset(tx.execute(select(leases.c.digest).where(leases.c.until > now)).scalars())


def keep_object(tx: Transaction, *, digest: Digest, subject: Digest, role: str) -> None:
    """Record that an object belongs to `subject` though it is none of its files (an item table, a report)."""
    values = {"digest": digest, "subject": subject, "role": role}
    tx.execute(insert_or(tx, kept_objects).values(**values).on_conflict_do_nothing())


def referenced_objects(tx: Transaction) -> Iterator[Digest]:
    """Every digest that something recorded points to, each once, in the order of digests.

    Files of an artifact that is kept by reference are among them: keeping too much is harmless.
    """
    query = union(
        select(artifacts.c.manifest_digest.label("digest")),
        select(artifacts.c.signature_digest).where(artifacts.c.signature_digest.is_not(None)),
        select(artifacts.c.card_digest).where(artifacts.c.card_digest.is_not(None)),
        select(artifact_files.c.sha256),
        select(kept_objects.c.digest),
    ).order_by("digest")
    yield from tx.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)).scalars()


# put together once: that takes longer than to run it
_FACT = select(meta_table.c.value).where(meta_table.c.key == bindparam("key"))


def meta(tx: Transaction, key: str) -> str | None:
    """A fact of the registry as a whole, or None."""
    value: str | None = tx.execute(_FACT, {"key": key}).scalar_one_or_none()
    return value


def set_meta(tx: Transaction, key: str, value: str) -> None:
    """Record a fact of the registry as a whole; the newest counts."""
    tx.execute(
        insert_or(tx, meta_table)
        .values(key=key, value=value)
        .on_conflict_do_update(index_elements=["key"], set_={"value": value})
    )
