"""What a decision table comes to, and what persons decided that it reads beside the recorded answers."""

from peft_registry.schemas.document import Frozen


class Decision(Frozen):
    """The row that decided, with why it did; or no row, and what would have to be answered first."""

    row: str | None = None
    reasons: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Decided(Frozen):
    """What persons decided of a version, None where nobody did, and how that is told; the questions of `schemas/acts.py`.

    A decision answers what is open. It takes back no "yes" that is recorded, and it stands for no figure: the fixed thresholds wait
    for a recorded attempt all the same.
    """

    qualitative_change: bool | None = None
    purpose: bool | None = None
    substantial_modification: bool | None = None
    article_6_3: bool | None = None
    system_provider: bool | None = None
    of_model: tuple[str, ...] = ()
    of_system: tuple[str, ...] = ()


NOBODY = Decided()
"""Nobody decided anything."""


def with_decision(recorded: bool | None, decided: bool | None) -> bool | None:
    """The answer of a record, with what a person decided where it is open or says no."""
    if recorded is None:
        return decided
    return recorded or decided is True  # a person's "no" takes back no recorded "yes"
