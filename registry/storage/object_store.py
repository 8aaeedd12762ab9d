"""Objects in an S3-compatible bucket, through fsspec: `prefix/objects/ab/abcdef…`.

An upload is hashed while it is sent, and completed only when the digest is right: S3 shows nothing of an upload that
was not completed. What an interrupted upload left is invisible; a lifecycle rule of the bucket removes it.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from peft_registry.registry.disk.files import OpenFile, reading
from peft_registry.registry.disk.hashing import hash_open_file
from peft_registry.registry.extras import ExtraMissing
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

_PART_BYTES = 32 * 1024 * 1024  # S3 allows 10 000 parts: objects up to 312 GiB
_READ_AHEAD_BYTES = 8 * 1024 * 1024
_CONNECT_SECONDS = 10
_READ_SECONDS = 60


class BucketStore:
    """Keeps `ObjectStore`'s promises in a bucket."""

    def __init__(self, filesystem: Any, prefix: str, address: str) -> None:  # an fsspec filesystem, which has no types
        self._files = filesystem
        self._prefix = prefix
        self._address = address

    @classmethod
    def connect(cls, bucket: str, prefix: str, *, endpoint_url: str | None = None, region: str | None = None) -> Self:
        """The store under `prefix` in `bucket`; credentials come from where the AWS clients look for them.

        Raises:
            ExtraMissing: the `s3` extra is not installed.
        """
        import fsspec

        try:
            filesystem = fsspec.filesystem(
                "s3",
                endpoint_url=endpoint_url,
                client_kwargs={} if region is None else {"region_name": region},
                config_kwargs={"connect_timeout": _CONNECT_SECONDS, "read_timeout": _READ_SECONDS},
                use_listings_cache=False,  # others write to the bucket too
                skip_instance_cache=True,
            )
        except ImportError as error:
            raise ExtraMissing("s3", "an S3 store") from error
        root = f"{bucket}/{prefix}".strip("/")
        return cls(filesystem, root, f"s3://{root}")

    def has(self, digest: Digest) -> bool:
        return self._size(digest) is not None

    def put_file(self, path: Path, *, digest: Digest | None = None, mode: CopyMode = "copy") -> StoredObject:  # noqa: ARG002  a bucket shares no blocks with a file
        if digest is not None:
            size = self._size(digest)
            if size is not None:
                return StoredObject(digest, size)
        with reading(path) as file:
            name = digest or hash_open_file(file).sha256
            self._upload(file, name)
            return StoredObject(name, file.key.size)

    def put_bytes(self, data: bytes) -> StoredObject:
        digest = Digest.of(data)
        with self.translated():
            self._files.pipe_file(self._key(digest), data)
        return StoredObject(digest, len(data))

    def open(self, digest: Digest) -> BinaryIO:
        with self.translated():
            try:
                stream = self._files.open(self._key(digest), "rb", block_size=_READ_AHEAD_BYTES)
            except FileNotFoundError as error:
                raise ObjectMissing(digest, self.describe()) from error
        return cast(BinaryIO, io.BufferedReader(_Translated(stream, self)))

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
        with self.translated():
            try:
                self._files.rm_file(self._key(digest))
            except FileNotFoundError:
                return

    def list(self) -> Iterator[ObjectInfo]:
        with self.translated():
            found = self._files.find(f"{self._prefix}/objects", detail=True)
        for key, info in found.items():
            try:
                digest = Digest(key.rpartition("/")[2])
            except MalformedDigest:
                continue
            yield ObjectInfo(digest, int(info["size"]), info["LastModified"].astimezone(UTC))

    def remove_unfinished(self, *, before: datetime) -> int:  # noqa: ARG002  a lifecycle rule of the bucket does it
        return 0

    def describe(self) -> str:
        return self._address

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Inside, whatever the client raises becomes `StoreUnavailable`."""
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(self._address, str(error) or type(error).__name__) from error
        except _client_errors() as error:
            raise StoreUnavailable(self._address, str(error)) from error

    def _key(self, digest: Digest) -> str:
        return f"{self._prefix}/{object_key(digest)}"

    def _size(self, digest: Digest) -> int | None:
        with self.translated():
            try:
                return int(self._files.info(self._key(digest))["size"])
            except FileNotFoundError:
                return None

    def _upload(self, file: OpenFile, name: Digest) -> None:
        digest = hashlib.sha256()
        with self.translated():
            upload = self._files.open(self._key(name), "wb", block_size=_PART_BYTES, autocommit=False)
            complete = False
            try:
                for block in file.blocks(0, file.key.size):
                    digest.update(block)
                    upload.write(block)
                found = Digest(digest.hexdigest())
                if found != name:
                    raise NotTheBytesNamed(file.path, name, found)
                upload.close()
                upload.commit()
                complete = True
            finally:
                if not complete:
                    with suppress(OSError, *_client_errors()):  # the first failure is the one to report
                        upload.discard()
                    # else the collector closes it, which starts the upload once more and hangs when the loop is gone
                    upload.closed = True


class _Translated(io.RawIOBase):
    """A stream of the store that raises our errors."""

    def __init__(self, stream: Any, store: BucketStore) -> None:  # an fsspec file, which has no types
        super().__init__()
        self._stream = stream
        self._store = store

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # any writable buffer
        with self._store.translated():
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _client_errors() -> tuple[type[Exception], ...]:
    """What the S3 client raises besides OSError; evaluated only when something was raised."""
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]  # ships no types

    return (ClientError, BotoCoreError)
