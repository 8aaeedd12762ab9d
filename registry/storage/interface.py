"""What a store of bytes promises, and the rules that every store keeps.

An object's name is the SHA-256 of its bytes. It becomes visible complete or not at all, is never changed, and is
checked against its name whenever it is handed out as verified. Putting the same bytes twice is harmless, so every step
may be repeated after a crash.
"""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from peft_registry.registry.disk.files import BLOCK_BYTES, sync_folder, unwritable
from peft_registry.registry.disk.hashing import write_and_hash
from peft_registry.schemas.errors import IntegrityBroken, NotChecked, Unavailable
from peft_registry.schemas.identity import Digest

CopyMode = Literal["copy", "link"]
MAX_READ_BYTES = 64 * 1024 * 1024


class ObjectMissing(NotChecked):
    """A recorded digest whose bytes are not here: it accuses nobody."""

    what = "the bytes of {digest} are not in {where}"
    why = "the store has no object of that name"
    fix = "restore it from a backup, or register the same files again: the same bytes get the same name"

    digest: Digest
    where: str


class ObjectCorrupt(IntegrityBroken):
    """An object whose bytes do not hash to its name."""

    what = "the object {digest} in {where} is not what was stored"
    why = "its bytes hash to {found}"
    fix = "restore it from a backup, or delete it and register the same files again"

    digest: Digest
    found: Digest
    where: str


class ObjectTooLarge(IntegrityBroken):
    what = "the object {digest} is too large to be read at once"
    why = "it has more than the {limit} bytes allowed for what it should be"
    fix = "check that the digest names the object you mean"

    digest: Digest
    limit: int


class NotTheBytesNamed(IntegrityBroken):
    """A file was offered under a digest that is not its own."""

    what = "{path} is not the file that was to be stored"
    why = "it was recorded as {named}, and its bytes hash to {found}"
    fix = "let whatever writes the file finish, then run the command again"

    path: Path
    named: Digest
    found: Digest


class StoreUnavailable(Unavailable):
    what = "the store {where} cannot be used"
    why = "{reason}"
    fix = "check address, credentials and connection, then run the command again; nothing is half done"

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is durable in the store; `size` in bytes."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as the store lists it; `modified_at` is when it was last put, in UTC."""

    digest: Digest
    size: int
    modified_at: datetime


class ObjectStore(Protocol):
    """Objects by digest. All methods may raise `StoreUnavailable`, and those that write `DiskFull` or `NotWritable`."""

    def has(self, digest: Digest) -> bool:
        """True when an object of that name is there; its bytes are not read."""

    def put_file(self, path: Path, *, digest: Digest | None = None, mode: CopyMode = "copy") -> StoredObject:
        """Store the bytes of a regular file; they are durable when this returns.

        Args:
            path: the file; a link is refused.
            digest: what it was recorded as. When the store has that object already, the file is not read.
            mode: `link` shares blocks with the file where the file system can (reflink), and copies otherwise.

        Raises:
            NotTheBytesNamed: the file does not hash to `digest`.
            FileChanged, FileMissing, NotARegularFile, FileUnreadable: about the file.
        """

    def put_bytes(self, data: bytes) -> StoredObject:
        """Store `data`; durable when this returns."""

    def open(self, digest: Digest) -> BinaryIO:
        """The bytes as a stream that is **not** verified; close it.

        Raises:
            ObjectMissing: there is no such object.
            NotARegularFile: something else lies in its place, such as a link.
        """

    def read_bytes(self, digest: Digest, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """The verified bytes of a small object.

        Raises:
            ObjectMissing, ObjectCorrupt: it is not there, or not what was stored.
            ObjectTooLarge: it has more than `max_bytes`.
        """

    def fetch(self, digest: Digest, destination: Path) -> StoredObject:
        """Put a verified private copy at `destination`, which appears complete or not at all; an old file is replaced.

        Raises:
            ObjectMissing, ObjectCorrupt: it is not there, or not what was stored.
        """

    def local_path(self, digest: Digest) -> Path | None:
        """Where an object lies as a file of this machine, to be read and never written; None where it is not a file."""
        ...

    def delete(self, digest: Digest) -> None:
        """Remove the object; a missing object is not an error."""

    def list(self) -> Iterator[ObjectInfo]:
        """Every object, in no particular order."""

    def remove_unfinished(self, *, before: datetime) -> int:
        """Remove what interrupted writes left behind before that time, and return how many pieces there were."""

    def describe(self) -> str:
        """The store's address, for people; holds no secret."""


def object_key(digest: Digest) -> str:
    """Where every store keeps an object: `objects/ab/abcdef…`."""
    return f"objects/{digest.hex[:2]}/{digest.hex}"


def stream_blocks(stream: BinaryIO, where: str) -> Iterator[bytes]:
    """The rest of a stream in blocks.

    Raises:
        StoreUnavailable: the store stopped answering.
    """
    while True:
        try:
            block = stream.read(BLOCK_BYTES)
        except OSError as error:
            raise StoreUnavailable(where, error.strerror or str(error)) from error
        if not block:
            return
        yield block


def read_verified(blocks: Iterable[bytes], digest: Digest, *, max_bytes: int, where: str) -> bytes:
    """The blocks as one text, checked against `digest`.

    Raises:
        ObjectCorrupt: they hash to something else.
        ObjectTooLarge: there are more than `max_bytes`.
    """
    read: list[bytes] = []
    size = 0
    for block in blocks:
        size += len(block)
        if size > max_bytes:
            raise ObjectTooLarge(digest, max_bytes)
        read.append(block)
    data = b"".join(read)
    found = Digest.of(data)
    if found != digest:
        raise ObjectCorrupt(digest, found, where)
    return data


def fetch_verified(blocks: Iterable[bytes], digest: Digest, destination: Path, *, where: str) -> StoredObject:
    """Write the blocks beside `destination`, and give them that name when they hash to `digest`.

    Raises:
        ObjectCorrupt: they hash to something else; nothing is left.
        DiskFull, NotWritable: about `destination`.
    """
    part = destination.with_name(f".{uuid.uuid4().hex}.part")
    found = write_and_hash(blocks, part, mode=0o644)
    try:
        if found != digest:
            raise ObjectCorrupt(digest, found, where)
        size = part.stat().st_size
        part.replace(destination)
        sync_folder(destination.parent)
    except OSError as error:
        raise unwritable(destination, error) from error
    finally:
        part.unlink(missing_ok=True)
    return StoredObject(digest, size)
