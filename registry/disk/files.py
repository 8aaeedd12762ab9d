"""Reading files that others may be writing, and writing files that survive a crash.

Reading: a file is opened once, without following a link and without waiting for a FIFO, must be regular, is read with
plain reads (a mapped file that is cut short kills the process), and must be the same file after the read as before.
Writing: to a temporary name, synced, renamed, and the folder synced.
"""

import errno
import os
import stat
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.hub_snapshots import linked_file
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, KnownError, NotFound, Unavailable

BLOCK_BYTES = 1024 * 1024
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FileMissing(NotFound):
    what = "there is no file {path}"
    why = "nothing has that name"
    fix = "check the path"

    path: Path


class FileChanged(IntegrityBroken):
    what = "{path} changed while it was being read"
    why = "{reason}"
    fix = "let whatever writes it finish, then run the command again"

    path: Path
    reason: str


class NotARegularFile(IntegrityBroken):
    what = "{path} is not a regular file"
    why = "it is a link, a folder, a FIFO, a socket or a device, and those are never followed"
    fix = "put a copy of the file itself in its place"

    path: Path


class FileTooLarge(IntegrityBroken):
    what = "{path} is too large to be read at once"
    why = "it has {size} bytes, and {limit} are allowed for a file of its kind"
    fix = "check that it is the file it claims to be"

    path: Path
    size: int
    limit: int


class OfferedFileRefused(InputRefused):
    what = "{path} was not read"
    why = "{reason}"
    fix = "{remedy}"

    path: Path
    reason: str
    remedy: str


class FileUnreadable(Unavailable):
    what = "{path} cannot be read"
    why = "{reason}"
    fix = "check its permissions and the disk, then run the command again"

    path: Path
    reason: str


class DiskFull(Unavailable):
    what = "{path} could not be written"
    why = "the disk is full, or a quota is used up"
    fix = "free some space and run it again; nothing was registered"

    path: Path | str


class NotWritable(Unavailable):
    what = "{path} could not be written"
    why = "{reason}"
    fix = "check its permissions and the disk, then run it again"

    path: Path | str
    reason: str


class NoFolderToWrite(NotWritable):
    why = "there is no folder {reason}"
    fix = "make it with `mkdir -p`, or name a file in another folder"


@dataclass(frozen=True, slots=True)
class StatKey:
    """What the file system says about one state of one file; equal keys mean unchanged bytes, short of deceit."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "StatKey":
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @classmethod
    def of_path(cls, path: Path) -> "StatKey":
        """The key of `path` now; no link is followed but that of a snapshot of the Hub (`hub_snapshots.py`).

        Raises:
            FileMissing: nothing has that name.
            FileUnreadable: it cannot be looked at.
        """
        try:
            found = path.lstat()
            target = linked_file(path) if stat.S_ISLNK(found.st_mode) else None
            return cls.of(found if target is None else target.lstat())
        except OSError as error:
            raise _unreadable(path, error) from error

    def same_content(self, other: "StatKey") -> bool:
        """Same file, size and modification time; a changed ctime alone (a hard link, permissions) is not an edit."""
        return (self.device, self.inode, self.size, self.mtime_ns) == (
            other.device,
            other.inode,
            other.size,
            other.mtime_ns,
        )


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A regular file open for reading; the descriptor belongs to `reading`."""

    path: Path
    descriptor: int
    key: StatKey

    def blocks(self, begin: int, end: int, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
        """The bytes from `begin` up to `end`, in blocks; safe from several threads at once.

        Raises:
            FileChanged: the file ends before `end`.
            FileUnreadable: the disk refuses.
        """
        while begin < end:
            block = self._read(min(block_bytes, end - begin), begin)
            if not block:
                raise FileChanged(self.path, f"it ended at byte {begin}, and {end} were expected")
            begin += len(block)
            yield block

    def fill(self, buffer: memoryview, begin: int) -> None:
        """Fill the buffer with the bytes from `begin` on; safe from several threads at once.

        Raises:
            FileChanged: the file ends before the buffer is full.
            FileUnreadable: the disk refuses.
        """
        while buffer:
            try:
                count = os.preadv(self.descriptor, [buffer], begin)
            except OSError as error:
                raise _unreadable(self.path, error) from error
            if not count:
                raise FileChanged(self.path, f"it ended at byte {begin}, and {begin + len(buffer)} were expected")
            buffer = buffer[count:]
            begin = begin + count

    def ends_at(self, size: int) -> bool:
        """True when nothing follows byte `size`.

        Raises:
            FileUnreadable: the disk refuses.
        """
        return not self._read(1, size)

    def _read(self, size: int, position: int) -> bytes:
        try:
            return os.pread(self.descriptor, size, position)
        except OSError as error:
            raise _unreadable(self.path, error) from error


@contextmanager
def reading(path: Path) -> Iterator[OpenFile]:
    """A regular file, opened without following a link; on leaving it must be the file that was opened.

    A link of a snapshot of the Hub to a file of its own repository is read as that file (`hub_snapshots.py`).

    Raises:
        FileMissing: nothing has that name.
        NotARegularFile: a link, folder, FIFO, socket or device.
        FileChanged: device, inode, size or modification time changed while it was open.
        FileUnreadable: permissions, or the disk.
    """
    try:
        descriptor = _open(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise NotARegularFile(path)
        key = StatKey.of(before)
        yield OpenFile(path, descriptor, key)
        if not key.same_content(StatKey.of(os.fstat(descriptor))):
            raise FileChanged(path, "its size or its modification time is not what it was before the read")
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, _OPEN_FLAGS)
    except OSError as error:
        target = linked_file(path) if error.errno == errno.ELOOP else None
        if target is None:
            raise
        return os.open(target, _OPEN_FLAGS)


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """The whole of a small regular file.

    Raises:
        FileTooLarge: it has more than `max_bytes`.
        FileMissing, NotARegularFile, FileChanged, FileUnreadable: as `reading`.
    """
    with reading(path) as file:
        if file.key.size > max_bytes:
            raise FileTooLarge(path, file.key.size, max_bytes)
        return b"".join(file.blocks(0, file.key.size))


def read_offered(path: Path, *, max_bytes: int) -> bytes:
    """The whole of a small file that the user names on a command line; a link of theirs is followed.

    Raises:
        OfferedFileRefused: it is not a regular file, has more than `max_bytes`, or its links go round in a circle.
        FileMissing, FileChanged, FileUnreadable: as `reading`.
    """
    try:
        return read_file(followed(path), max_bytes=max_bytes)
    except NotARegularFile as error:
        remedy = "name a regular file, or put what it gives into one"
        raise OfferedFileRefused(_from_here(path), error.why, remedy) from error
    except FileTooLarge as error:
        remedy = f"shorten it to at most {_size(max_bytes)}, or name the file that was meant"
        raise OfferedFileRefused(_from_here(path), error.why, remedy) from error


def _size(count: int) -> str:
    if count >= 1 << 20:
        return f"{count >> 20} MiB"
    return f"{count >> 10} KiB" if count >= 1 << 10 else f"{count} bytes"


def _from_here(path: Path) -> Path:
    """The path as a user types it: from the working folder, where it lies below that."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def followed(path: Path) -> Path:
    """Where a link of the user's leads; the path itself for one that goes round in a circle, which nobody can read."""
    try:
        return path.resolve()
    except RuntimeError:
        return path


def why_others_may_reach(status: os.stat_result) -> str | None:
    """Why others than its owner and root could read or replace an open file that holds a secret; None where they cannot.

    Root's own files pass: root reads everything, and hands secrets out in files of its own. The caller checks the mode.
    """
    if status.st_uid not in (os.geteuid(), 0):
        return f"it belongs to user {status.st_uid}, who can change it"
    if status.st_nlink > 1:
        return f"it has {status.st_nlink} names, and under another it may outlive this one"
    return None


def unwritable(path: Path | str, error: OSError) -> KnownError:
    """The error to raise when writing `path` failed with `error`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(path)
    if error.errno == errno.ENOENT and isinstance(path, Path) and not path.parent.exists():
        return NoFolderToWrite(path, str(path.parent))
    return NotWritable(path, error.strerror or str(error))


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder, gone with everything in it when the block ends.

    Raises:
        DiskFull, NotWritable: no folder for temporary files can be written.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise unwritable("a temporary folder (TMPDIR)", error) from error
    with folder as name:
        yield Path(name)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


# the temporary name is the process's: its threads take turns
_ONE_THREAD = threading.Lock()


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put `data` at `path`: whoever looks sees the old file or the new one, also after a power cut.

    Raises:
        DiskFull: no space left.
        NotWritable: permissions, a missing folder, or the disk.
    """
    with _ONE_THREAD:
        _put(path, data, mode=mode)
        try:
            sync_folder(path.parent)
        except OSError as error:
            raise unwritable(path, error) from error


def write_below(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Put files below a folder, by their path from there, each as `write_atomically` does; a folder that is missing is made.

    All of them are durable when this returns; each folder is synced once.

    Raises:
        DiskFull, NotWritable: as `write_atomically`; what was put before stays.
    """
    folders: dict[Path, None] = {}
    with _ONE_THREAD:
        for name, data in files:
            path = folder / name
            if path.parent not in folders:
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise unwritable(path.parent, error) from error
                folders[path.parent] = None
            _put(path, data, mode=0o644)
        for written in folders:
            try:
                sync_folder(written)
            except OSError as error:
                raise unwritable(written, error) from error


def _put(path: Path, data: bytes, *, mode: int) -> None:
    """Put `data` at `path`, synced; its name is not yet."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.unlink(missing_ok=True)  # of a killed process that had the same number
        write_new(part, data, mode=mode)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Create `path` with `data`, synced; a file that is there already is left alone.

    Raises:
        OSError: it exists, or it could not be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)


def _unreadable(path: Path, error: OSError) -> KnownError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return FileMissing(path)
    if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket, or a device without a driver
        return NotARegularFile(path)
    return FileUnreadable(path, error.strerror or str(error))
