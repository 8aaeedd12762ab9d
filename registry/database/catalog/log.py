"""The checkpoints over the log's entries."""

from sqlalchemy import exists, insert, select

from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import checkpoints


def put_checkpoint(tx: Transaction, size: int, text: str) -> None:
    """Keep a signed checkpoint; the same text is kept once."""
    same = exists().where(checkpoints.c.size == size, checkpoints.c.text == text)
    if not tx.execute(select(same)).scalar_one():
        tx.execute(insert(checkpoints), {"size": size, "text": text})


def latest_checkpoint(tx: Transaction) -> str | None:
    """The text of the checkpoint that covers most; None if there is none."""
    query = select(checkpoints.c.text).order_by(checkpoints.c.size.desc(), checkpoints.c.id.desc()).limit(1)
    text: str | None = tx.execute(query).scalar_one_or_none()
    return text
