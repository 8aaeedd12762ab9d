"""What was done again, and what came of it: a line of an audit. Pure."""

from typing import Literal

from peft_registry.schemas.document import Frozen

NO_FIGURE = "the record has no such figure, and says why"

Outcome = Literal["reproduced", "within tolerance", "not possible", "differs"]


class Reperformed(Frozen):
    """A figure, or several of one kind, that were done again.

    Attributes:
        figure: what.
        outcome: what came of it.
        text: by which formula and with which numbers; within which tolerance; or why it is not possible.
        file: where what is recorded lies, seen from the folder.
    """

    figure: str
    outcome: Outcome
    text: str
    file: str
