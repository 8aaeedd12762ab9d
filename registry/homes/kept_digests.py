"""Digests of files that this user hashed before, kept in their own state folder.

Not in the home: whoever can change a base or an object there could write the digest that it had before beside it. What a
verification hashed and what was hashed to use a base lie apart, so that a verification says which files it did not read again.
"""

from pathlib import Path
from typing import Literal

from peft_registry.registry.disk.hashing import DigestCache

_FILES = {"verification": "digests.sqlite", "bases": "base-digests.sqlite"}


def kept_digests(state: Path | None, purpose: Literal["verification", "bases"]) -> DigestCache | None:
    """The digests of earlier runs; None for a user whose state folder cannot be made."""
    if state is None:
        return None
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:  # a convenience is lost, nothing else
        return None
    return DigestCache(state / _FILES[purpose])
