"""Objects in a folder: `objects/ab/abcdef…`, read-only files, written under `tmp/`, synced and renamed."""

import errno
import fcntl
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from peft_registry.registry.disk.files import NotARegularFile, reading, sync_folder, unwritable
from peft_registry.registry.disk.hashing import copy_and_hash, hash_file, write_and_hash
from peft_registry.registry.storage.interface import (
    MAX_READ_BYTES,
    CopyMode,
    NotTheBytesNamed,
    ObjectInfo,
    ObjectMissing,
    StoredObject,
    StoreUnavailable,
    fetch_verified,
    object_key,
    read_verified,
    stream_blocks,
)
from peft_registry.schemas.identity import Digest, MalformedDigest

_FICLONE = 0x40049409  # _IOW(0x94, 9, int), linux/fs.h: share all blocks of another file
_OBJECT_MODE = 0o444


def _new_id() -> str:
    return uuid.uuid4().hex


class FilesystemStore:
    """Keeps `ObjectStore`'s promises in one folder. Nothing is created before the first write."""

    def __init__(self, root: Path, *, new_id: Callable[[], str] = _new_id) -> None:
        self.root = root
        self._objects = root / "objects"
        self._unfinished = root / "tmp"
        self._new_id = new_id

    def has(self, digest: Digest) -> bool:
        return self._size(digest) is not None

    def put_file(self, path: Path, *, digest: Digest | None = None, mode: CopyMode = "copy") -> StoredObject:
        if digest is not None:
            size = self._size(digest)
            if size is not None:
                return StoredObject(digest, size)
        part = self._new_part()
        try:
            if mode == "copy" or not _clone(path, part):
                copied = copy_and_hash(path, part)
            else:
                copied = hash_file(part)
            if digest is not None and copied.sha256 != digest:
                raise NotTheBytesNamed(path, digest, copied.sha256)
            return self._publish(part, copied.sha256, copied.size)
        finally:
            part.unlink(missing_ok=True)

    def put_bytes(self, data: bytes) -> StoredObject:
        part = self._new_part()
        try:
            return self._publish(part, write_and_hash([data], part), len(data))
        finally:
            part.unlink(missing_ok=True)

    def open(self, digest: Digest) -> BinaryIO:
        path = self._path(digest)
        try:
            # O_NONBLOCK: opening a FIFO must not wait for a writer
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ObjectMissing(digest, self.describe()) from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise NotARegularFile(path) from error
            raise StoreUnavailable(self.describe(), error.strerror or str(error)) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)  # before fdopen, which refuses a folder with an error of its own
            raise NotARegularFile(path)
        return os.fdopen(descriptor, "rb")

    def read_bytes(self, digest: Digest, max_bytes: int = MAX_READ_BYTES) -> bytes:
        with self.open(digest) as stream:
            blocks = stream_blocks(stream, self.describe())
            return read_verified(blocks, digest, max_bytes=max_bytes, where=self.describe())

    def fetch(self, digest: Digest, destination: Path) -> StoredObject:
        with self.open(digest) as stream:
            blocks = stream_blocks(stream, self.describe())
            return fetch_verified(blocks, digest, destination, where=self.describe())

    def local_path(self, digest: Digest) -> Path | None:
        return self._path(digest) if self.has(digest) else None

    def delete(self, digest: Digest) -> None:
        path = self._path(digest)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error

    def list(self) -> Iterator[ObjectInfo]:
        for folder in _names(self._objects):
            for name in _names(self._objects / folder):
                try:
                    digest = Digest(name)
                    found = self._path(digest).stat()
                except (MalformedDigest, FileNotFoundError):  # not an object, or deleted meanwhile
                    continue
                yield ObjectInfo(digest, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def remove_unfinished(self, *, before: datetime) -> int:
        removed = 0
        for name in _names(self._unfinished):
            path = self._unfinished / name
            try:
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue
            except OSError as error:
                raise unwritable(path, error) from error
        return removed

    def describe(self) -> str:
        return str(self.root)

    def _path(self, digest: Digest) -> Path:
        return self.root / object_key(digest)

    def _size(self, digest: Digest) -> int | None:
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(self.describe(), error.strerror or str(error)) from error

    def _new_part(self) -> Path:
        try:
            self._unfinished.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self._unfinished, error) from error
        return self._unfinished / f"{self._new_id()}.part"

    def _publish(self, part: Path, digest: Digest, size: int) -> StoredObject:
        """Give a synced file its name; an object that is there already is replaced by the same bytes, just checked."""
        path = self._path(digest)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.chmod(_OBJECT_MODE)
            part.replace(path)
            for folder in (path.parent, self._objects, self.root):
                sync_folder(folder)
        except OSError as error:
            raise unwritable(path, error) from error
        return StoredObject(digest, size)


def _clone(source: Path, part: Path) -> bool:
    """True when `part` now shares the blocks of `source`; False when this file system cannot, and nothing is left."""
    with reading(source) as file:
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unwritable(part, error) from error
        try:
            fcntl.ioctl(descriptor, _FICLONE, file.descriptor)
            os.fsync(descriptor)
        except OSError:  # another file system, or one without reflinks: a copy does the same more slowly
            part.unlink()
            return False
        finally:
            os.close(descriptor)
    return True


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreUnavailable(str(folder), error.strerror or str(error)) from error
