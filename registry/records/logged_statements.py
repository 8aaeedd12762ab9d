"""A statement as the log has it: what is said, and whose key signed it, where and when it entered. Pure."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import LogSnapshot
from peft_registry.schemas.policy import TrustedKey
from peft_registry.schemas.statement import LOG_SNAPSHOT, Statement
from peft_registry.schemas.values import Timestamp


@dataclass(frozen=True, slots=True)
class EntrySigner:
    """Whose key signed a statement, and where and when it entered the log; None for what is not known here."""

    key_id: str | None = None
    person: str | None = None
    logged_at: Timestamp | None = None
    role: str | None = None  # empty: the trust file does not list the key
    index: int | None = None


@dataclass(frozen=True, slots=True)
class LoggedStatement:
    """A statement, its digest, and whose key signed it."""

    digest: Digest
    statement: Statement
    signer: EntrySigner


def signer_of(key: TrustedKey | None, *, at: Timestamp | None, index: int | None) -> EntrySigner:
    """The signer of an entry, as the trust file lists the key; None for one that it does not list."""
    if key is None:
        return EntrySigner(logged_at=at, role="", index=index)
    return EntrySigner(key.key_id, key.person, at, key.role, index)


NOBODY = EntrySigner()
"""The signer of a statement of which nothing is known but what it says."""


class LoggedSnapshot(NamedTuple):
    """A snapshot among the entries of the log: its own entry, under whose checkpoint all entries before it are, and its time."""

    entry: int
    at: Timestamp


SnapshotFinder = Callable[[int], LoggedSnapshot | None]
"""The first snapshot behind an entry: from then on the entry was covered. None where there is none, or the log is not at hand."""


def snapshot_after(read_leaf: Callable[[int], bytes], size: int, entry: int) -> LoggedSnapshot | None:
    """The first snapshot behind an entry of a log of that many."""
    for index in range(entry + 1, size):
        leaf = read_leaf(index)
        if LOG_SNAPSHOT.encode() in leaf:  # most leaves are events: they are not parsed
            value = json.loads(leaf)
            if isinstance(value, dict) and value.get("schema") == LOG_SNAPSHOT:
                return LoggedSnapshot(index, LogSnapshot.from_json(value).at)
    return None
