"""What a decision table comes to."""

from peft_registry.schemas.document import Frozen


class Decision(Frozen):
    """The row that decided, with why it did; or no row, and what would have to be answered first."""

    row: str | None = None
    reasons: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
