"""Which half of each suite is scored, and which text measures lost capability: options as a value, and as overrides of a file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from peft_registry.cli.options import SuiteHalf

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.scope import EvaluationScope


def scope_of_options(half: SuiteHalf, guard_text: Path | None, guard_sha256: str | None) -> "EvaluationScope":
    """What the options of a command say.

    Raises:
        GuardDigestWithoutText, MalformedDigest: the digest pins nothing, or is malformed.
    """
    from peft_registry.schemas.identity import Digest
    from peft_registry.trainer.evaluation.scope import EvaluationScope

    return EvaluationScope(half.half, guard_text, None if guard_sha256 is None else Digest.parse(guard_sha256))


def scope_overrides(half: SuiteHalf | None, guard_text: Path | None, guard_sha256: str | None) -> tuple[str, ...]:
    """The options as overrides of a training file; none for an option that was not given.

    A path typed here starts from this folder, one in the file from the file's.
    """
    words: list[str] = []
    if half is not None:
        words.append(f"evaluation.half={half.half or 'null'}")
    if guard_text is not None:
        words.append(f"evaluation.guard_text={json.dumps(str(guard_text.absolute()), ensure_ascii=False)}")
        words.append("evaluation.guard_sha256=null")  # the file's is of the file's text
    if guard_sha256 is not None:
        words.append(f"evaluation.guard_sha256={json.dumps(guard_sha256)}")
    return tuple(words)
