"""The files of a signed manifest for a reader that must not get a wrong byte. No mlflow here.

The manifest is verified before anything is listed; each file is hashed while it is copied, and the copy gets its name only
when it is the file that was signed. Copies are private: MLflow writes into the folder it gets.
"""

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Protocol

from pydantic import ValidationError

from peft_registry.registry.disk.files import BLOCK_BYTES, unwritable
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotFound
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.manifest import FileEntry, Manifest

MAX_MANIFEST_BYTES = 64 * 1024 * 1024


class ManifestReader(Protocol):
    """What reading a version from a registry takes."""

    def verify(self, digest: Digest) -> None:
        """Raise unless the manifest is signed by a trusted key and not recalled.

        Raises:
            IntegrityBroken, NotChecked, Refused: it is not, or that could not be checked.
        """

    def manifest_bytes(self, digest: Digest) -> bytes:
        """The bytes stored under the manifest's digest, which the caller checks."""

    def open_file(self, manifest: Digest, entry: FileEntry) -> BinaryIO:
        """A file of the manifest as a stream, which the caller checks and closes."""


class NotARegistrySource(InputRefused):
    reference = "not-a-registry-source"
    what = "{uri!a} names no registered version"
    why = f"a source is {SOURCE_PREFIX} and the 64 hexadecimal characters of a manifest digest"
    fix = "copy the source from the version's page, or use models:/NAME/NUMBER"

    uri: str


class NoSuchFile(NotFound):
    reference = "no-such-file"
    what = "the version has no file {path!q}"
    why = "its manifest {manifest.short} does not list it"
    fix = "list the files first: `registry show` prints them"

    path: str
    manifest: Digest


class WrongBytes(IntegrityBroken):
    reference = "wrong-bytes"
    what = "{subject} is not what was signed"
    why = "{signed} was recorded, and its bytes hash to {found}"
    fix = "restore it from a backup; nothing was handed out"

    subject: str
    signed: Digest
    found: Digest


class MalformedManifest(IntegrityBroken):
    reference = "malformed-manifest"
    what = "the manifest {digest} cannot be read"
    why = "{reason}"
    fix = "restore it from a backup, or register it again"

    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A file with its size in bytes, or a folder (None)."""

    path: str
    size: int | None


@dataclass(frozen=True)
class VerifiedFiles:
    """The files of one manifest; verified once, when the first of them is asked for."""

    reader: ManifestReader
    digest: Digest

    @cached_property
    def manifest(self) -> Manifest:
        data = self.reader.manifest_bytes(self.digest)
        digest = Digest.of(data)
        if digest != self.digest:
            raise WrongBytes("the manifest", self.digest, digest)
        self.reader.verify(self.digest)
        value = read_json(data, what="manifest.json", max_bytes=MAX_MANIFEST_BYTES)
        try:
            return Manifest.model_validate(value)
        except ValidationError as error:
            raise MalformedManifest(self.digest, first_problem(error)) from error

    def entries(self, folder: str) -> tuple[Entry, ...]:
        """Files and folders directly in `folder` ('' is the root), sorted; nothing for a file.

        Raises:
            NoSuchFile: neither a file nor a folder of that name.
        """
        prefix = f"{folder}/" if folder else ""
        entries: dict[str, Entry] = {}
        for file in self.manifest.files:
            if file.path == folder:
                return ()
            if file.path.startswith(prefix):
                name, below, _ = file.path[len(prefix) :].partition("/")
                entries[name] = Entry(prefix + name, None if below else file.size)
        if folder and not entries:
            raise NoSuchFile(folder, self.digest)
        return tuple(entries[name] for name in sorted(entries))

    def copy(self, path: str, destination: Path) -> None:
        """Put a private copy of a file at `destination`, complete and as signed, or nothing.

        Raises:
            NoSuchFile: the manifest has no file of that name.
            WrongBytes: the stored bytes are not those that were signed.
            DiskFull, NotWritable: about `destination`.
        """
        entry = next((file for file in self.manifest.files if file.path == path), None)
        if entry is None:
            raise NoSuchFile(path, self.digest)
        part = destination.with_name(f".{uuid.uuid4().hex}.part")
        try:
            digest = self._copy_bytes(entry, part)
            if digest != entry.sha256:
                raise WrongBytes(path, entry.sha256, digest)
            part.replace(destination)
        except OSError as error:
            raise unwritable(destination, error) from error
        finally:
            part.unlink(missing_ok=True)

    def _copy_bytes(self, entry: FileEntry, part: Path) -> Digest:
        hasher = hashlib.sha256()
        with self.reader.open_file(self.digest, entry) as source, part.open("xb") as target:
            for block in _blocks(source):
                hasher.update(block)
                target.write(block)
        return Digest(hasher.hexdigest())


def parse_source(uri: str, path: str | None) -> tuple[Digest, str, str]:
    """The manifest digest, the path inside it, and what MLflow expects in front of each path.

    `download_artifacts("registry://sha256/<hex>")` arrives as the root `registry://sha256/` and the path `<hex>`.

    Raises:
        NotARegistrySource: there is no digest in either.
    """
    root = uri.rstrip("/") + "/"
    inner = (path or "").strip("/")
    if not root.startswith(SOURCE_PREFIX):
        raise NotARegistrySource(uri)
    hexadecimal, prefix = root[len(SOURCE_PREFIX) :].rstrip("/"), ""
    if not hexadecimal:
        hexadecimal, _, inner = inner.partition("/")
        prefix = f"{hexadecimal}/"
    try:
        return Digest(hexadecimal), inner, prefix
    except MalformedDigest as error:
        raise NotARegistrySource(f"{uri} {path or ''}".strip()) from error


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    while block := stream.read(BLOCK_BYTES):
        yield block
