"""Which half of each suite is scored, or its screen, and which text measures lost capability: the same two answers at every door.

A training file has them as keys of `evaluation`, the command line as options; all come together in one value here.
"""

from dataclasses import dataclass
from pathlib import Path

from peft_registry.schemas.config import EvaluationBlock
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.evaluation import Part
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.neutral import GuardText, read_guard_text, shipped_guard


class GuardDigestWithoutText(InputRefused):
    what = "{digest.short} pins nothing"
    why = "it is the digest of a guard text, and no text was named"
    fix = "name the file with --guard-text, or `evaluation.guard_text` in the training file"

    digest: Digest


@dataclass(frozen=True, slots=True)
class EvaluationScope:
    """Which half of each suite is scored, and which text measures lost capability.

    Attributes:
        half: of each suite, or its screen; None for the whole.
        guard_text: file of the text whose loss shows lost capability; None for the sentences that ship.
        guard_sha256: that its bytes must have; None for any.

    Raises:
        GuardDigestWithoutText: there is a digest, and no text that it could be of.
    """

    half: Part | None = None
    guard_text: Path | None = None
    guard_sha256: Digest | None = None

    def __post_init__(self) -> None:
        if self.guard_sha256 is not None and self.guard_text is None:
            raise GuardDigestWithoutText(self.guard_sha256)

    def guard(self) -> GuardText:
        """The text whose loss shows lost capability.

        Raises:
            GuardTextRefused, OtherGuardText, OfferedFileRefused, FileMissing, FileUnreadable: as `read_guard_text`.
        """
        if self.guard_text is None:
            return shipped_guard()
        return read_guard_text(self.guard_text, self.guard_sha256)


SCREENED: Part = "screen"
FULL: Part = "development"  # the other half stays unseen by whoever trains, and is as large
EVERYTHING = EvaluationScope()  # whole suites, and the sentences that ship
SCREEN = EvaluationScope(SCREENED)  # what is looked at after a training or a merge, where nobody says more


def scope_of_file(asked: EvaluationBlock, folder: Path) -> EvaluationScope:
    """What a training file says of it; the screen where it leaves the part to what that costs.

    Args:
        asked: its section `evaluation`.
        folder: that its relative paths start from.

    Raises:
        GuardDigestWithoutText: as `EvaluationScope`.
    """
    text = None if asked.guard_text is None else folder / asked.guard_text
    return EvaluationScope(SCREENED if asked.half == "auto" else asked.half, text, asked.guard_sha256)
