"""SHA-256 of files: each read once, in plain reads, and only believed when the file stood still meanwhile.

hashlib releases the interpreter lock for large blocks, so threads hash in parallel. The cache saves repeated work on
bases of many gigabytes; what is meant for an auditor does not use it.
"""

import contextlib
import hashlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from peft_registry.registry.disk.files import (
    FileChanged,
    FileMissing,
    FileUnreadable,
    NotARegularFile,
    OpenFile,
    StatKey,
    reading,
    unwritable,
    why_others_may_reach,
)
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started

__all__ = [
    "DigestCache",
    "FileChanged",
    "FileMissing",
    "FileUnreadable",
    "HashedFile",
    "NotARegularFile",
    "RunDigests",
    "StatKey",
    "bytes_told",
    "copy_and_hash",
    "digest_like",
    "hash_file",
    "hash_files",
    "hash_open_file",
    "write_and_hash",
]

OnBytes = Callable[[int], None]
"""Called with the number of bytes just read, from any thread."""

_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE_TABLE = """CREATE TABLE IF NOT EXISTS digests (
    key TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (key, kind))"""
_SHA256_DIGITS = 64
_SETTLED_NS = 2_000_000_000  # the coarsest timestamps in use (FAT) are 2 s apart
# Linux writes a changed page back within 35 s (vm.dirty_expire_centisecs, vm.dirty_writeback_centisecs); until then a program that
# has mapped it changes it again without a new time
_WRITTEN_BACK_NS = 60_000_000_000
# mapped writes leave no time in memory file systems, and any user can mount a FUSE one that states the times that they want
_TIMELESS = ("tmpfs", "ramfs", "devtmpfs", "hugetlbfs", "fuse")
_OPEN_CACHE_FLAGS = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def _ignore(_: int) -> None:
    return None


@dataclass(frozen=True, slots=True)
class HashedFile:
    """What a file is: the digest and number of its bytes, and the state in which they were read."""

    sha256: Digest
    size: int
    key: StatKey


class DigestCache:
    """Digests of files that have not changed since: same device, inode, size, mtime and ctime.

    A convenience, never evidence: whoever can write the cache can lie in it. One that others can write is not used, and one that
    cannot be opened, read or written counts as empty. Nothing is remembered of files whose times do not tell of every change.
    `kind` keeps different facts about one file apart.
    """

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._lock = threading.Lock()
        self._now_ns = now_ns
        self._connection = _open_cache(path)

    def get(self, key: StatKey, kind: str = "file") -> Digest | None:
        """The digest put for exactly this state of the file, or None."""
        text = self.get_text(key, kind)
        try:
            return None if text is None else Digest.parse(text)
        except MalformedDigest:
            return None

    def put(self, key: StatKey, digest: Digest, kind: str = "file") -> None:
        """Remember a digest; a file changed within the last two seconds is left out, since it may change unseen."""
        self.put_text(key, str(digest), kind)

    def get_text(self, key: StatKey, kind: str) -> str | None:
        """The text put for exactly this state of the file, or None."""
        return self._stored_text(key, kind) if _keeps_times(key.device) else None

    def _stored_text(self, key: StatKey, kind: str) -> str | None:
        if self._connection is None:
            return None
        try:
            with self._lock:
                row = self._connection.execute(
                    "SELECT value FROM digests WHERE key = ? AND kind = ?", (_text(key), kind)
                ).fetchone()
        except sqlite3.Error:
            return None
        return None if row is None else str(row[0])

    def put_text(self, key: StatKey, value: str, kind: str) -> None:
        """Remember a text, under the rule of `put`."""
        if self._connection is None or not _keeps_times(key.device) or self._age_ns(key) < _SETTLED_NS:
            return
        try:
            with self._lock, self._connection:
                self._connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (_text(key), kind, value))
        except sqlite3.Error:
            return

    def settle(self, file: OpenFile) -> None:
        """Before a file is read that will be remembered: from here on any write of it changes its times, also through a mapping."""
        if self._connection is not None and self._age_ns(file.key) < _WRITTEN_BACK_NS:
            with contextlib.suppress(OSError):  # a file system that cannot, or a disk that will say so when it is read
                os.fsync(file.descriptor)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _age_ns(self, key: StatKey) -> int:
        return self._now_ns() - max(key.mtime_ns, key.ctime_ns)


class RunDigests(DigestCache):
    """Digests of one run: each state of a file is hashed once, however many look at it.

    A private temporary database that nobody else can write holds them, so that memory does not grow with what was hashed.

    Args:
        kept: digests of earlier runs, believed where this one has none; what is hashed now is put there too.
    """

    def __init__(self, kept: DigestCache | None = None) -> None:
        self.reused: set[StatKey] = set()  # files that were not read again, because `kept` knew them
        self._kept = kept
        self._lock = threading.Lock()
        self._connection = sqlite3.connect("", check_same_thread=False)  # SQLite's name for a temporary file
        self._connection.execute(_CREATE_TABLE)

    def get_text(self, key: StatKey, kind: str) -> str | None:
        """The text put for exactly this state of the file, in this run or in an earlier one."""
        known = self._stored_text(key, kind)
        if known is not None or self._kept is None:
            return known
        kept = self._kept.get_text(key, kind)
        if kept is not None:
            self.reused.add(key)
        return kept

    def put_text(self, key: StatKey, value: str, kind: str) -> None:
        """Remember a text; also of a file that was just written: the run speaks of the moment at which it was read."""
        if self._kept is not None:
            self._kept.put_text(key, value, kind)
        assert self._connection is not None, "opened by the constructor"
        with self._lock, self._connection:
            self._connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (_text(key), kind, value))

    def settle(self, file: OpenFile) -> None:
        """What is remembered beyond this run must be of a file whose times tell of the next write."""
        if self._kept is not None:
            self._kept.settle(file)


@contextmanager
def bytes_told(observe: Observe, step: str, *, total: int | None) -> Iterator[OnBytes]:
    """What a reader of files calls with the bytes that it read, to tell whoever observes how many there were so far.

    Args:
        observe: hears of the step.
        step: what the bytes are read for.
        total: how many there are; what is known from before is not read.
    """
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        observe(Advanced(step, done))

    observe(Started(step, total=total, unit="B"))
    yield on_bytes
    observe(Finished(step))


def hash_file(
    path: Path,
    *,
    expected: StatKey | None = None,
    cache: DigestCache | None = None,
    on_bytes: OnBytes = _ignore,
) -> HashedFile:
    """Digest and size of a regular file.

    Args:
        path: the file; a link is refused.
        expected: the state in which it was seen earlier; another state now is `FileChanged`.
        cache: believed when it knows this state of the file.
        on_bytes: hears of progress.

    Raises:
        FileChanged: it changed during the read, or since `expected`.
        FileMissing, NotARegularFile, FileUnreadable: as `peft_registry.registry.disk.files.reading`.
    """
    with reading(path) as file:
        if expected is not None and not expected.same_content(file.key):
            raise FileChanged(path, "its size or its modification time is not what it was when it was listed")
        known = cache.get(file.key) if cache is not None else None
        if cache is not None and known is None:
            cache.settle(file)
        hashed = HashedFile(known, file.key.size, file.key) if known else hash_open_file(file, on_bytes=on_bytes)
    if cache is not None and known is None:
        cache.put(hashed.key, hashed.sha256)
    return hashed


def hash_open_file(file: OpenFile, *, on_bytes: OnBytes = _ignore) -> HashedFile:
    """Digest and size of a file that `reading` holds open.

    Raises:
        FileChanged: it is shorter or longer than when it was opened.
    """
    digest = hashlib.sha256()
    for block in file.blocks(0, file.key.size):
        digest.update(block)
        on_bytes(len(block))
    if not file.ends_at(file.key.size):
        raise FileChanged(file.path, "it grew")
    return HashedFile(Digest(digest.hexdigest()), file.key.size, file.key)


def hash_files(
    paths: Sequence[Path],
    *,
    workers: int | None = None,
    cache: DigestCache | None = None,
    on_bytes: OnBytes = _ignore,
) -> tuple[HashedFile, ...]:
    """Digests in the order of `paths`; the number of `workers` (default: one a core) does not change them.

    Raises:
        FileChanged, FileMissing, NotARegularFile, FileUnreadable: the first in the order of `paths`.
    """
    with ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1) as pool:
        return tuple(pool.map(lambda path: hash_file(path, cache=cache, on_bytes=on_bytes), paths))


def copy_and_hash(source: Path, destination: Path, *, mode: int = 0o600, on_bytes: OnBytes = _ignore) -> HashedFile:
    """Create `destination` with the bytes of `source`, synced; the digest is of the bytes that were written.

    Nothing stays at `destination` when it fails. Its folder is not synced: the caller renames first.

    Raises:
        FileChanged, FileMissing, NotARegularFile, FileUnreadable: about `source`.
        DiskFull, NotWritable: about `destination`, also when it exists already.
    """
    with ExitStack() as undo:
        with reading(source) as file:
            digest = write_and_hash(file.blocks(0, file.key.size), destination, mode=mode, on_bytes=on_bytes)
            undo.callback(destination.unlink, missing_ok=True)
            if not file.ends_at(file.key.size):
                raise FileChanged(source, "it grew")
        undo.pop_all()
    return HashedFile(digest, file.key.size, file.key)


def digest_like(path: Path, name: str) -> str:
    """The digest of a file in the form of a name in the cache of the Hub's clients, in hexadecimal.

    Args:
        path: the file.
        name: 64 digits for SHA-256; else git's SHA-1 over "blob <size>\\0" and the bytes.

    Raises:
        FileMissing, NotARegularFile, FileChanged, FileUnreadable: as `hash_file`.
    """
    with reading(path) as file:
        size = file.key.size
        is_git = len(name) != _SHA256_DIGITS
        digest = hashlib.sha1(f"blob {size}\0".encode()) if is_git else hashlib.sha256()  # noqa: S324
        for block in file.blocks(0, size):
            digest.update(block)
    return digest.hexdigest()


def write_and_hash(
    blocks: Iterable[bytes], destination: Path, *, mode: int = 0o600, on_bytes: OnBytes = _ignore
) -> Digest:
    """Create `destination` from blocks, synced, and return the digest of what was written; nothing stays on failure.

    Raises:
        DiskFull: no space left.
        NotWritable: it exists already, permissions, or the disk.
    """
    digest = hashlib.sha256()
    try:
        descriptor = os.open(destination, _CREATE_FLAGS, mode)
    except OSError as error:
        raise unwritable(destination, error) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            for block in blocks:
                digest.update(block)
                stream.write(block)
                on_bytes(len(block))
            stream.flush()
            os.fsync(descriptor)
    except OSError as error:
        destination.unlink(missing_ok=True)
        raise unwritable(destination, error) from error
    except BaseException:  # an interrupt too must not leave half a file
        destination.unlink(missing_ok=True)
        raise
    return Digest(digest.hexdigest())


def _open_cache(path: Path) -> sqlite3.Connection | None:
    try:
        if not _is_private(path):
            return None
        connection = sqlite3.connect(path, timeout=1, check_same_thread=False)
    except (OSError, sqlite3.Error):
        return None
    try:
        connection.execute(_CREATE_TABLE)
    except sqlite3.Error:
        connection.close()
        return None
    return connection


def _is_private(path: Path) -> bool:
    """Whether a file, made here if there is none, is the user's own, in a folder of theirs, and nobody else can write either.

    Raises:
        OSError: it is a link, or cannot be made or looked at.
    """
    descriptor = os.open(path, _OPEN_CACHE_FLAGS, 0o600)
    try:
        file = os.fstat(descriptor)
        folder = path.parent.stat()
    finally:
        os.close(descriptor)
    is_own = why_others_may_reach(file) is None and folder.st_uid in (os.geteuid(), 0)
    return stat.S_ISREG(file.st_mode) and is_own and not (file.st_mode | folder.st_mode) & _WRITABLE_BY_OTHERS


@lru_cache(maxsize=64)
def _keeps_times(device: int) -> bool:
    """Whether the times of files on a device tell of every write; True where the system does not say what it is."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    number = f"{os.major(device)}:{os.minor(device)}"
    # proc_pid_mountinfo(5): the third field is the device; the file system's type follows the separator
    kinds = [line.partition(" - ")[2] for line in mounts.splitlines() if line.split()[2:3] == [number]]
    return not any(kind.startswith(_TIMELESS) for kind in kinds)


def _text(key: StatKey) -> str:
    # text, because inode and device numbers may pass SQLite's signed 64 bits
    return f"{key.device}:{key.inode}:{key.size}:{key.mtime_ns}:{key.ctime_ns}"
