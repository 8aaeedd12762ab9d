"""The outbox: what registration and statements leave behind for the mirror in MLflow."""

from typing import Literal

from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest

OutboxKind = Literal["version", "alias", "statement"]


class OutboxEntry(Frozen):
    """One row of the outbox. `id` orders the rows; `alias` names the alias that moved to, or was taken from, this version."""

    id: int
    kind: OutboxKind
    name: str
    number: int
    manifest: Digest
    alias: str | None = None

    @property
    def label(self) -> str:
        return f"{self.name}:{self.number}"
