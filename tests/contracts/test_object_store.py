"""What every store of bytes keeps, on each backend: a folder, memory, and a bucket behind the S3 protocol."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from peft_registry.registry.disk.files import DiskFull, FileChanged, FileMissing, NotARegularFile, NotWritable
from peft_registry.registry.storage import ObjectStore, StoreAddressInvalid, open_store
from peft_registry.registry.storage.interface import (
    NotTheBytesNamed,
    ObjectCorrupt,
    ObjectInfo,
    ObjectMissing,
    ObjectTooLarge,
    StoredObject,
    StoreUnavailable,
    object_key,
)
from peft_registry.schemas.errors import Unavailable
from peft_registry.schemas.identity import Digest
from tests.contracts.object_stores import NthCallFails, StoreUnderTest
from tests.servers.s3 import S3Server

MEBIBYTE = 1024 * 1024
CONTENTS = [b"", b"hello", os.urandom(3 * MEBIBYTE + 17)]
ABSENT = Digest.of(b"never stored")


def digest_of(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


@pytest.fixture
def store(under_test: StoreUnderTest) -> ObjectStore:
    return under_test.store


@pytest.mark.parametrize("data", CONTENTS, ids=["empty", "small", "blocks"])
def test_bytes_come_back_under_their_digest(data: bytes, under_test: StoreUnderTest, tmp_path: Path) -> None:
    stored = under_test.store.put_bytes(data)
    assert stored == StoredObject(digest_of(data), len(data))
    again = under_test.reopen()
    assert again.has(stored.digest)
    assert again.read_bytes(stored.digest) == data
    with again.open(stored.digest) as stream:
        assert stream.read() == data
    assert again.fetch(stored.digest, tmp_path / "copy") == stored
    assert (tmp_path / "copy").read_bytes() == data


@pytest.mark.parametrize("mode", ["copy", "link"])
@pytest.mark.parametrize("data", CONTENTS, ids=["empty", "small", "blocks"])
@pytest.mark.parametrize("named", [False, True])
def test_a_file_is_stored_under_its_digest(
    data: bytes, mode: str, named: bool, store: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(data)
    stored = store.put_file(tmp_path / "file", digest=digest_of(data) if named else None, mode=mode)
    assert stored == StoredObject(digest_of(data), len(data))
    (tmp_path / "file").write_bytes(b"changed afterwards")
    assert store.read_bytes(stored.digest) == data


def test_a_file_larger_than_one_part_of_an_upload(store: ObjectStore, tmp_path: Path) -> None:
    data = os.urandom(MEBIBYTE) * 34
    (tmp_path / "file").write_bytes(data)
    stored = store.put_file(tmp_path / "file")
    assert stored == StoredObject(digest_of(data), len(data))
    store.fetch(stored.digest, tmp_path / "copy")
    assert digest_of((tmp_path / "copy").read_bytes()) == stored.digest


def test_putting_twice_is_putting_once(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert store.put_bytes(b"x") == store.put_file(tmp_path / "file") == store.put_bytes(b"x")
    assert len(list(store.list())) == 1


def test_a_file_that_is_there_already_is_not_read(store: ObjectStore, tmp_path: Path) -> None:
    stored = store.put_bytes(b"x")
    assert store.put_file(tmp_path / "no such file", digest=stored.digest) == stored


def test_listing_names_every_object_with_size_and_time(store: ObjectStore) -> None:
    assert list(store.list()) == []
    before = datetime.now(UTC) - timedelta(seconds=2)
    stored = {store.put_bytes(bytes([index]) * index) for index in range(12)}
    found: list[ObjectInfo] = list(store.list())
    assert {StoredObject(info.digest, info.size) for info in found} == stored
    assert all(before <= info.modified_at <= datetime.now(UTC) + timedelta(seconds=2) for info in found)


def test_a_deleted_object_is_gone_and_deleting_again_is_no_error(store: ObjectStore) -> None:
    kept, gone = store.put_bytes(b"kept"), store.put_bytes(b"gone")
    store.delete(gone.digest)
    store.delete(gone.digest)
    store.delete(ABSENT)
    assert not store.has(gone.digest)
    assert [info.digest for info in store.list()] == [kept.digest]


def test_bytes_that_are_not_here_accuse_nobody(store: ObjectStore, tmp_path: Path) -> None:
    assert not store.has(ABSENT)
    for ask in (store.open, store.read_bytes, lambda digest: store.fetch(digest, tmp_path / "copy")):
        with pytest.raises(ObjectMissing, match=str(ABSENT)) as caught:
            ask(ABSENT)
        assert caught.value.exit_code == 5
    assert list(tmp_path.glob("*copy*")) == list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize("damaged", [b"hellp", b"hell", b"hello ", b""])
def test_damaged_bytes_are_never_handed_out_as_verified(
    damaged: bytes, under_test: StoreUnderTest, tmp_path: Path
) -> None:
    stored = under_test.store.put_bytes(b"hello")
    under_test.replace_bytes(stored.digest, damaged)
    store = under_test.reopen()
    destination = tmp_path / "out" / "copy"
    destination.parent.mkdir()
    destination.write_bytes(b"old")
    with pytest.raises(ObjectCorrupt, match=digest_of(damaged).hex) as caught:
        store.fetch(stored.digest, destination)
    assert caught.value.exit_code == 6
    assert [(path.name, path.read_bytes()) for path in destination.parent.iterdir()] == [("copy", b"old")]
    with pytest.raises(ObjectCorrupt):
        store.read_bytes(stored.digest)


def test_a_damaged_object_is_healed_by_putting_the_bytes_again(under_test: StoreUnderTest) -> None:
    stored = under_test.store.put_bytes(b"hello")
    under_test.replace_bytes(stored.digest, b"other")
    under_test.store.put_bytes(b"hello")
    assert under_test.store.read_bytes(stored.digest) == b"hello"


def test_reading_whole_has_a_limit(store: ObjectStore) -> None:
    stored = store.put_bytes(b"12345")
    assert store.read_bytes(stored.digest, 5) == b"12345"
    with pytest.raises(ObjectTooLarge):
        store.read_bytes(stored.digest, 4)


def test_a_file_that_is_not_what_was_recorded_is_not_stored(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"other")
    with pytest.raises(NotTheBytesNamed) as caught:
        store.put_file(tmp_path / "file", digest=digest_of(b"recorded"))
    assert caught.value.exit_code == 6
    assert list(store.list()) == []
    assert not store.has(digest_of(b"recorded"))


def test_links_and_missing_files_are_not_stored(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    for mode in ("copy", "link"):
        with pytest.raises(NotARegularFile):
            store.put_file(tmp_path / "link", mode=mode)
        with pytest.raises(FileMissing):
            store.put_file(tmp_path / "none", mode=mode)
    assert list(store.list()) == []


def test_a_file_cut_short_while_it_is_stored_is_not_stored(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3 * MEBIBYTE))
    pread = os.pread

    def cut_after_reading(descriptor: int, size: int, position: int) -> bytes:
        data = pread(descriptor, size, position)
        os.truncate(path, 2 * MEBIBYTE)
        return data

    monkeypatch.setattr(os, "pread", cut_after_reading)
    with pytest.raises(FileChanged):
        store.put_file(path)
    assert list(store.list()) == []


@pytest.mark.parametrize("source", ["bytes", "file", "large file"])
def test_a_write_that_fails_at_any_step_leaves_no_half_object(
    source: str, under_test: StoreUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the smallest part that S3 takes, because the file is read once for each block of it
    monkeypatch.setattr("peft_registry.registry.storage.object_store._PART_BYTES", 5 * MEBIBYTE)
    data = os.urandom(MEBIBYTE) * 6 if source == "large file" else b"hello"
    (tmp_path / "file").write_bytes(data)
    for failing in range(1, 200):
        under_test.store.delete(digest_of(data))
        with pytest.MonkeyPatch.context() as broken:
            fails = NthCallFails(failing)
            under_test.break_writes(broken, fails)
            try:
                if source == "bytes":
                    under_test.store.put_bytes(data)
                else:
                    under_test.store.put_file(tmp_path / "file")
                failed = False
            except Unavailable:
                failed = True
        if not failed:
            break
        # Only a failure after the object got its name may leave it there, and then it is whole.
        assert all(info.size == len(data) for info in under_test.store.list())
        if under_test.store.has(digest_of(data)):
            assert under_test.store.read_bytes(digest_of(data)) == data
        if source != "large file":  # the same call works afterwards
            under_test.store.put_bytes(data)
            assert under_test.store.read_bytes(digest_of(data)) == data
    assert fails.calls < failing, "the loop ended because a write met no failure"
    assert under_test.store.read_bytes(digest_of(data)) == data


# --- what only one backend has


def test_a_folder_holds_read_only_files_by_digest(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()
    stored = store.put_bytes(b"hello")
    path = tmp_path / "store" / object_key(stored.digest)
    assert path.relative_to(tmp_path) == Path("store/objects/2c", stored.digest.hex)
    assert path.stat().st_mode & 0o777 == 0o444
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_names_that_are_no_digests_are_not_objects(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put_bytes(b"hello")
    (tmp_path / "objects" / "2c" / "README").touch()
    (tmp_path / "objects" / "stray").touch()
    assert len(list(store.list())) == 1


def test_what_a_crash_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put_bytes(b"hello")
    (tmp_path / "tmp" / "old.part").touch()
    os.utime(tmp_path / "tmp" / "old.part", (1000, 1000))
    (tmp_path / "tmp" / "young.part").touch()
    assert store.remove_unfinished(before=datetime.fromtimestamp(2000, UTC)) == 1
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["young.part"]


def test_a_link_in_the_place_of_an_object_is_not_followed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    stored = store.put_bytes(b"hello")
    path = tmp_path / "store" / object_key(stored.digest)
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(NotARegularFile):
        store.read_bytes(stored.digest)


@pytest.mark.parametrize(
    ("number", "expected"), [(28, DiskFull), (122, DiskFull), (13, NotWritable), (30, NotWritable), (5, NotWritable)]
)
def test_why_a_folder_cannot_be_written_is_said(
    number: int, expected: type[Unavailable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(number, os.strerror(number))

    store = open_store(str(tmp_path))
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(expected) as caught:
        store.put_bytes(b"hello")
    assert caught.value.exit_code == 8
    assert list(store.list()) == []


@pytest.mark.parametrize("what", ["a wrong key", "no such bucket", "nobody listens"])
def test_a_bucket_that_cannot_be_used_is_unavailable(
    what: str, s3_credentials: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, endpoint = "bucket", s3_credentials.endpoint_url
    if what == "a wrong key":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    elif what == "no such bucket":
        bucket = "no-such-bucket"
    else:
        endpoint = "http://127.0.0.1:1"
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = open_store(f"s3://{bucket}/p?endpoint_url={endpoint}&region=us-east-1")
    with pytest.raises(StoreUnavailable) as caught:
        store.put_bytes(b"hello")
    assert caught.value.exit_code == 8
    assert s3_credentials.secret_key not in str(caught.value)


def test_the_parts_of_an_address(tmp_path: Path) -> None:
    assert open_store(str(tmp_path)).describe() == open_store(f"file://{tmp_path}").describe() == str(tmp_path)
    assert open_store("s3://bucket/a/b/?region=eu-west-1").describe() == "s3://bucket/a/b"
    assert open_store("s3://bucket").describe() == "s3://bucket"
    assert open_store("memory://").describe() == "memory://"


@pytest.mark.parametrize(
    "uri",
    ["", "file://", "ftp://x/y", "s3://", "s3:///prefix", "s3://b/p?key=x", "s3://id:SECRET@bucket/p"],
)
def test_an_address_that_names_no_store_is_refused(uri: str) -> None:
    with pytest.raises(StoreAddressInvalid) as caught:
        open_store(uri)
    assert caught.value.exit_code == 2
    assert "SECRET" not in caught.value.what + caught.value.why
