"""Hashing files that may change meanwhile. The oracle is hashlib over the bytes that the test wrote."""

import hashlib
import mmap
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.registry.disk import files
from peft_registry.registry.disk.files import (
    DiskFull,
    FileTooLarge,
    NoFolderToWrite,
    NotWritable,
    OfferedFileRefused,
    StatKey,
    read_file,
    read_offered,
    write_atomically,
    write_below,
)
from peft_registry.registry.disk.hashing import (
    DigestCache,
    FileChanged,
    FileMissing,
    NotARegularFile,
    copy_and_hash,
    hash_file,
    hash_files,
    write_and_hash,
)
from peft_registry.schemas.identity import Digest
from tests.builders.files import while_reading
from tests.conftest import not_run

MEBIBYTE = 1024 * 1024


@pytest.fixture
def tmp_path(on_disk: Path) -> Path:
    """Every folder of these tests: what is remembered of files is their subject."""
    return on_disk


def _digest(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("size", [0, 1, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 3 * MEBIBYTE])
def test_the_digest_and_size_of_a_file(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    found = hash_file(tmp_path / "a")
    assert (found.sha256, found.size) == (_digest(data), size)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_number_of_workers_changes_neither_digests_nor_order(workers: int, tmp_path: Path) -> None:
    contents = [os.urandom(index * 1000) for index in range(20)]
    paths = []
    for index, data in enumerate(contents):
        paths.append(tmp_path / f"{19 - index:02}")
        paths[-1].write_bytes(data)
    assert [found.sha256 for found in hash_files(paths, workers=workers)] == [_digest(data) for data in contents]


Edit = Callable[[Path], None]


def _truncate(path: Path) -> None:
    os.truncate(path, MEBIBYTE)


def _append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def _rewrite(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(2 * MEBIBYTE)
        stream.write(b"other bytes")


@pytest.mark.parametrize("edit", [_truncate, _append, _rewrite])
def test_a_file_that_changes_during_the_read_is_refused(edit: Edit, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(os.urandom(3 * MEBIBYTE))
    with pytest.raises(FileChanged) as caught:
        hash_file(path, on_bytes=while_reading(path, edit))
    assert caught.value.exit_code == 6


def test_a_file_replaced_under_its_name_during_the_read_keeps_the_bytes_of_the_one_opened(tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = os.urandom(3 * MEBIBYTE)
    path.write_bytes(data)
    (tmp_path / "b").write_bytes(b"other")
    found = hash_file(path, on_bytes=while_reading(path, (tmp_path / "b").replace))
    assert found.sha256 == _digest(data)


def test_a_file_that_changed_since_it_was_listed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    listed = StatKey.of_path(path)
    assert hash_file(path, expected=listed).sha256 == _digest(b"1")
    path.write_bytes(b"22")
    with pytest.raises(FileChanged, match="listed"):
        hash_file(path, expected=listed)


def test_links_folders_and_fifos_are_not_read_and_do_not_block(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "folder", "fifo"):
        with pytest.raises(NotARegularFile):
            hash_file(tmp_path / name)
    with pytest.raises(FileMissing):
        hash_file(tmp_path / "none")


def test_a_small_file_is_read_whole_and_a_large_one_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_file(tmp_path / "a", max_bytes=5) == b"12345"
    with pytest.raises(FileTooLarge):
        read_file(tmp_path / "a", max_bytes=4)


def test_a_file_that_a_user_names_may_be_a_link_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "fifo")
    assert read_offered(tmp_path / "link", max_bytes=5) == b"12345"
    for name, limit in (("a", 4), ("fifo", 5), ("circle", 5), (".", 5)):
        with pytest.raises(OfferedFileRefused) as refused:
            read_offered(tmp_path / name, max_bytes=limit)
        assert refused.value.exit_code == 2


def test_a_file_of_ten_megabytes_is_told_how_long_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facts.yml").write_bytes(b"x" * 10_000_000)
    with pytest.raises(OfferedFileRefused, match=r"^facts.yml was not read") as refused:
        read_offered(tmp_path / "facts.yml", max_bytes=1 << 20)
    assert "shorten it to at most 1 MiB" in refused.value.fix


def test_a_copy_has_the_digest_of_what_was_written(tmp_path: Path) -> None:
    data = os.urandom(2 * MEBIBYTE + 5)
    (tmp_path / "a").write_bytes(data)
    copied = copy_and_hash(tmp_path / "a", tmp_path / "b")
    assert (copied.sha256, copied.size) == (_digest(data), len(data))
    assert (tmp_path / "b").read_bytes() == data


@pytest.mark.parametrize("edit", [_truncate, _append, _rewrite])
def test_a_copy_of_a_file_that_changes_leaves_nothing(edit: Edit, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(os.urandom(3 * MEBIBYTE))
    with pytest.raises(FileChanged):
        copy_and_hash(path, tmp_path / "b", on_bytes=while_reading(path, edit))
    assert not (tmp_path / "b").exists()


def test_a_copy_never_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(NotWritable):
        copy_and_hash(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"old"


def test_a_file_is_not_written_into_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(NoFolderToWrite) as refused:
        write_atomically(tmp_path / "missing" / "page.html", b"page")
    assert refused.value.why == f"there is no folder {tmp_path / 'missing'}"
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("call", ["write_and_hash", "write_atomically", "write_below"])
def test_a_full_disk_is_said_and_leaves_nothing(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull) as caught:
        if call == "write_and_hash":
            write_and_hash([b"x"], tmp_path / "a")
        elif call == "write_below":
            write_below(tmp_path, [("a", b"x"), ("b", b"x")])
        else:
            write_atomically(tmp_path / "a", b"x")
    assert caught.value.exit_code == 8
    assert list(tmp_path.iterdir()) == []


def test_an_atomic_write_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "a", b"old")

    def fails(self: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.Path, "replace", fails)
    with pytest.raises(NotWritable):
        write_atomically(tmp_path / "a", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_files_below_a_folder_are_put_there_with_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    sync = files.sync_folder

    def synced_folder(folder: Path) -> None:
        synced.append(folder)
        sync(folder)

    monkeypatch.setattr(files, "sync_folder", synced_folder)
    write_below(tmp_path / "new", [("report/a.html", b"1"), ("report/b.json", b"2"), ("c.md", b"3"), ("c.md", b"4")])
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"new/report/a.html": b"1", "new/report/b.json": b"2", "new/c.md": b"4"}
    assert synced == [tmp_path / "new" / "report", tmp_path / "new"], "each folder once"


def test_where_a_folder_cannot_be_made_what_was_put_before_stays(tmp_path: Path) -> None:
    with pytest.raises(NotWritable, match="taken"):
        write_below(tmp_path, [("taken", b"1"), ("taken/b", b"2")])
    assert (tmp_path / "taken").read_bytes() == b"1"


class TestDigestCache:
    def _cache(self, tmp_path: Path, *, later_seconds: int = 60) -> DigestCache:
        return DigestCache(tmp_path / "cache.db", now_ns=lambda: time.time_ns() + later_seconds * 10**9)

    def test_a_known_state_is_not_read_again(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(b"abc")
        cache = self._cache(tmp_path)
        read: list[int] = []
        first = hash_file(path, cache=cache, on_bytes=read.append)
        again = hash_file(path, cache=cache, on_bytes=read.append)
        assert first == again
        assert read == [3]
        cache.close()
        reopened = self._cache(tmp_path)
        assert reopened.get(StatKey.of_path(path)) == _digest(b"abc")
        reopened.close()

    def test_any_change_of_the_state_is_a_miss(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(b"abc")
        cache = self._cache(tmp_path)
        before = hash_file(path, cache=cache)
        status = path.stat()
        while path.stat().st_ctime_ns == status.st_ctime_ns:  # a file system's clock moves in steps
            path.write_bytes(b"abd")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # the old mtime, but not the old ctime
        assert path.stat().st_mtime_ns == before.key.mtime_ns
        assert hash_file(path, cache=cache).sha256 == _digest(b"abd")
        cache.close()

    def test_a_file_changed_a_moment_ago_is_not_remembered(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(b"abc")
        changed_at = path.stat().st_ctime_ns
        for age_ns, is_remembered in ((0, False), (1_999_999_999, False), (2_000_000_000, True)):
            cache = DigestCache(tmp_path / "cache.db", now_ns=lambda age_ns=age_ns: changed_at + age_ns)
            hash_file(path, cache=cache)
            assert (cache.get(StatKey.of_path(path)) is not None) == is_remembered, age_ns
            cache.close()

    def test_numbers_beyond_63_bits_are_kept_apart(self, tmp_path: Path) -> None:
        cache = self._cache(tmp_path)
        keys = [StatKey(2**64 - 1, 2**64 - index, 1, 1, 1) for index in (1, 2)]
        for index, key in enumerate(keys):
            cache.put(key, _digest(bytes([index])))
        assert [cache.get(key) for key in keys] == [_digest(b"\0"), _digest(b"\1")]
        cache.close()

    def test_a_damaged_cache_counts_as_empty(self, tmp_path: Path) -> None:
        (tmp_path / "cache.db").write_bytes(b"not a database" * 100)
        (tmp_path / "a").write_bytes(b"abc")
        cache = self._cache(tmp_path)
        assert hash_file(tmp_path / "a", cache=cache).sha256 == _digest(b"abc")
        cache.close()

    def test_a_value_that_is_no_digest_counts_as_absent(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"abc")
        cache = self._cache(tmp_path)
        hash_file(tmp_path / "a", cache=cache)
        with sqlite3.connect(tmp_path / "cache.db") as connection:
            connection.execute("UPDATE digests SET value = 'sha256:0'")
        connection.close()
        assert hash_file(tmp_path / "a", cache=cache).sha256 == _digest(b"abc")
        cache.close()

    def test_a_folder_that_cannot_be_written_counts_as_empty(self, tmp_path: Path) -> None:
        cache = DigestCache(tmp_path / "no such folder" / "cache.db")
        cache.put(StatKey(1, 1, 1, 1, 1), _digest(b""))
        assert cache.get(StatKey(1, 1, 1, 1, 1)) is None
        cache.close()


# --- a cache, or a file, that somebody else can write


def a_cache(folder: Path, *, later_seconds: int = 60) -> DigestCache:
    return DigestCache(folder / "cache.db", now_ns=lambda: time.time_ns() + later_seconds * 10**9)


def test_a_cache_that_others_can_write_is_not_used_and_a_new_one_is_private(tmp_path: Path) -> None:
    path, key = tmp_path / "cache.db", StatKey(1 << 20, 1, 1, 1, 1)
    cache = a_cache(tmp_path)
    cache.put(key, _digest(b"true"))
    cache.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for mode, known in ((0o620, None), (0o602, None), (0o600, _digest(b"true"))):
        path.chmod(mode)
        assert known_after_reopening(tmp_path, key) == known
    for mode, known in ((0o770, None), (0o707, None), (0o755, _digest(b"true"))):
        tmp_path.chmod(mode)
        assert known_after_reopening(tmp_path, key) == known


def test_a_cache_that_is_a_link_or_has_a_second_name_or_is_no_file_is_not_used(tmp_path: Path) -> None:
    path, key, elsewhere = tmp_path / "cache.db", StatKey(1 << 20, 1, 1, 1, 1), tmp_path / "elsewhere"
    cache = a_cache(tmp_path)
    cache.put(key, _digest(b"planted"))
    cache.close()
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert known_after_reopening(tmp_path, key) is None
    path.unlink()
    path.hardlink_to(elsewhere)
    assert known_after_reopening(tmp_path, key) is None
    path.unlink()
    os.mkfifo(path)
    assert known_after_reopening(tmp_path, key) is None


def test_a_cache_of_another_user_is_not_used(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        not_run("only root can give a file to another user")
    path, key = tmp_path / "cache.db", StatKey(1 << 20, 1, 1, 1, 1)
    cache = a_cache(tmp_path)
    cache.put(key, _digest(b"planted"))
    cache.close()
    os.chown(path, 65534, 65534)
    assert known_after_reopening(tmp_path, key) is None
    os.chown(path, 0, 0)
    os.chown(tmp_path, 65534, 65534)
    assert known_after_reopening(tmp_path, key) is None


def known_after_reopening(folder: Path, key: StatKey) -> Digest | None:
    cache = a_cache(folder)
    try:
        return cache.get(key)
    finally:
        cache.close()


def test_a_write_through_a_mapping_is_seen_by_whoever_remembers_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(8192))
    cache = a_cache(tmp_path, later_seconds=3)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0] = 1  # from here on the page is changed, and changing it again needs no new time
        assert hash_file(path, cache=cache).sha256 == _digest(b"\x01" + bytes(8191))
        time.sleep(0.02)  # of a new time: the clock of file systems goes in steps
        mapped[1] = 1
        assert hash_file(path, cache=cache).sha256 == _digest(b"\x01\x01" + bytes(8190))
    cache.close()


def test_nothing_is_remembered_where_a_write_through_a_mapping_leaves_no_time(tmp_path: Path) -> None:
    if not Path("/dev/shm").is_dir():
        not_run("there is no file system in memory")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        path = Path(memory, "a")
        path.write_bytes(bytes(8192))
        cache = a_cache(tmp_path)
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            for number in range(3):
                mapped[number] = 1
                expected = bytes([1] * (number + 1)) + bytes(8191 - number)
                assert hash_file(path, cache=cache).sha256 == _digest(expected)
        cache.close()
