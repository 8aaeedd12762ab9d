"""Objects in memory: a real store for tests and for what is thrown away afterwards."""

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from peft_registry.registry.disk.files import reading
from peft_registry.registry.storage.interface import (
    MAX_READ_BYTES,
    CopyMode,
    NotTheBytesNamed,
    ObjectInfo,
    ObjectMissing,
    StoredObject,
    fetch_verified,
    read_verified,
    stream_blocks,
)
from peft_registry.schemas.identity import Digest


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryStore:
    """Keeps `ObjectStore`'s promises except durability."""

    def __init__(self, *, now: Callable[[], datetime] = _now) -> None:
        self._objects: dict[Digest, tuple[bytes, datetime]] = {}
        self._now = now

    def has(self, digest: Digest) -> bool:
        return digest in self._objects

    def put_file(self, path: Path, *, digest: Digest | None = None, mode: CopyMode = "copy") -> StoredObject:  # noqa: ARG002  memory has no links
        if digest is not None and digest in self._objects:
            return StoredObject(digest, len(self._objects[digest][0]))
        with reading(path) as file:
            data = b"".join(file.blocks(0, file.key.size))
        found = Digest.of(data)
        if digest is not None and found != digest:
            raise NotTheBytesNamed(path, digest, found)
        return self.put_bytes(data)

    def put_bytes(self, data: bytes) -> StoredObject:
        digest = Digest.of(data)
        self._objects[digest] = (bytes(data), self._now())
        return StoredObject(digest, len(data))

    def open(self, digest: Digest) -> BinaryIO:
        if digest not in self._objects:
            raise ObjectMissing(digest, self.describe())
        return io.BytesIO(self._objects[digest][0])

    def read_bytes(self, digest: Digest, max_bytes: int = MAX_READ_BYTES) -> bytes:
        with self.open(digest) as stream:
            blocks = stream_blocks(stream, self.describe())
            return read_verified(blocks, digest, max_bytes=max_bytes, where=self.describe())

    def fetch(self, digest: Digest, destination: Path) -> StoredObject:
        with self.open(digest) as stream:
            blocks = stream_blocks(stream, self.describe())
            return fetch_verified(blocks, digest, destination, where=self.describe())

    def local_path(self, digest: Digest) -> Path | None:  # noqa: ARG002  no object here is a file
        return None

    def delete(self, digest: Digest) -> None:
        self._objects.pop(digest, None)

    def list(self) -> Iterator[ObjectInfo]:
        for digest, (data, modified_at) in tuple(self._objects.items()):
            yield ObjectInfo(digest, len(data), modified_at)

    def remove_unfinished(self, *, before: datetime) -> int:  # noqa: ARG002  nothing is ever half written in memory
        return 0

    def describe(self) -> str:
        return "memory://"
