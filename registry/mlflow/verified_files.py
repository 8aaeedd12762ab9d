"""The files of a signed manifest for a reader that must not get a wrong byte. No mlflow here.

The manifest is verified before anything is listed; each file is hashed while it is copied, and the copy gets its name only
when it is the file that was signed. Copies are private: MLflow writes into the folder it gets. How the files are laid out is
in `model_layout`.
"""

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Protocol

from pydantic import ValidationError

from peft_registry.registry.disk.files import BLOCK_BYTES, unwritable
from peft_registry.registry.identity.manifests import MANIFEST_MAX_BYTES
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.mlflow.model_layout import (
    MODEL_FILE,
    Content,
    LayoutReaders,
    NotLoadableByMlflow,
    SignedFile,
    VerifiedPart,
    model_layout,
    needs_base,
    quantisation_note,
)
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotFound
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.manifest import FileEntry, Manifest
from peft_registry.schemas.trained_templates import (
    NoTemplate,
    SeveralTemplates,
    Template,
    TemplateOfSeveralColumns,
    require_for_questions,
)


class ManifestReader(Protocol):
    """What reading a version from a registry takes."""

    def verify(self, digest: Digest) -> None:
        """Raise unless the manifest is signed by a trusted key and not recalled.

        Raises:
            IntegrityBroken, NotChecked, Refused: it is not, or that could not be checked.
        """

    def require_usable(self, digest: Digest) -> None:
        """Raise where the manifest is recalled by now; it was verified before.

        Raises:
            IntegrityBroken, NotChecked, Refused: it is, or that could not be checked.
        """

    def manifest_bytes(self, digest: Digest) -> bytes:
        """The bytes stored under the manifest's digest, which the caller checks."""

    def open_file(self, manifest: Digest, entry: FileEntry) -> BinaryIO:
        """A file of the manifest as a stream, which the caller checks and closes."""

    def knows(self, digest: Digest) -> bool:
        """Whether a version has this manifest; it is not verified."""

    def loading_lines(self, digest: Digest) -> str:
        """The lines of Python in the card of a manifest that was verified; '' where it has none."""

    def template(self, digest: Digest) -> Template:
        """The template that a version whose manifest was verified was trained with.

        Raises:
            SeveralTemplates: what it was merged from was trained with different ones.
        """


class NotARegistrySource(InputRefused):
    what = "{uri!a} names no registered version"
    why = f"a source is {SOURCE_PREFIX} and the 64 hexadecimal characters of a manifest digest"
    fix = "copy the source from the version's page, or use models:/NAME/NUMBER"

    uri: str


class NoSuchFile(NotFound):
    what = "the version has no file {path!q}"
    why = "its manifest {manifest.short} does not list it"
    fix = "list the files first: `registry show` prints them"

    path: str
    manifest: Digest


class WrongBytes(IntegrityBroken):
    what = "{subject} is not what was signed"
    why = "{signed} was recorded, and its bytes hash to {found}"
    fix = "restore it from a backup; nothing was handed out"

    subject: str
    signed: Digest
    found: Digest


class MalformedManifest(IntegrityBroken):
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
    """A version in MLflow's layout, or as its manifest lists it where MLflow cannot load it; `refusal` then says why.

    It and its base are verified once, when the first file is asked for.
    """

    reader: ManifestReader
    digest: Digest
    versions: LayoutReaders

    @cached_property
    def refusal(self) -> NotLoadableByMlflow | None:
        """Why MLflow cannot load it; None where it can."""
        try:
            self._layout  # noqa: B018 - made for what it raises
        except NotLoadableByMlflow as error:
            return error
        return None

    @property
    def note(self) -> str | None:
        """What whoever loads it has to know."""
        return quantisation_note(self._part.manifest)

    def require_usable(self) -> None:
        """Raise where it was recalled since it was verified: a copy of a large model takes minutes.

        Raises:
            IntegrityBroken, NotChecked, Refused: it was, or that could not be checked.
        """
        self.reader.require_usable(self.digest)

    @cached_property
    def contents(self) -> Mapping[str, Content]:
        """Every path with the signed file that lies there, or with bytes that were made up."""
        return dict(self._part.files()) if self.refusal is not None else self._layout

    @cached_property
    def _part(self) -> VerifiedPart:
        """The version. Its base is verified first, because that names the file that is wrong, and not only what follows from it."""
        manifest = _stored_manifest(self.reader, self.digest)
        base = _base_of(VerifiedPart(self.digest, manifest))
        if base is not None and self.reader.knows(base):
            self.reader.verify(base)
        self.reader.verify(self.digest)
        return VerifiedPart(self.digest, manifest)

    @cached_property
    def _layout(self) -> Mapping[str, Content]:
        part, base = self._part, None
        digest = _base_of(part)
        if digest is not None and self.reader.knows(digest):
            base = VerifiedPart(digest, _stored_manifest(self.reader, digest))
        lines = self.reader.loading_lines(self.digest)
        return model_layout(part, base, lines=lines, template=self._template(), versions=self.versions)

    def _template(self) -> Template:
        """The template of its training, if a question alone fills it."""
        try:
            template = self.reader.template(self.digest)
            require_for_questions(template)
        except (SeveralTemplates, TemplateOfSeveralColumns) as error:
            return NoTemplate(error.what)
        return template

    def entries(self, folder: str) -> tuple[Entry, ...]:
        """Files and folders directly in `folder` ('' is the root), sorted; nothing for a file.

        Raises:
            NoSuchFile: neither a file nor a folder of that name.
        """
        prefix = f"{folder}/" if folder else ""
        entries: dict[str, Entry] = {}
        for path, content in self.contents.items():
            if path == folder:
                return ()
            if path.startswith(prefix):
                name, below, _ = path[len(prefix) :].partition("/")
                entries[name] = Entry(prefix + name, None if below else _size(content))
        if folder and not entries:
            raise NoSuchFile(folder, self.digest)
        return tuple(entries[name] for name in sorted(entries))

    def copy(self, path: str, destination: Path) -> None:
        """Put a private copy of a file at `destination`, complete and as signed, or nothing.

        Raises:
            NoSuchFile: there is no file of that name.
            NotLoadableByMlflow: it is the file that MLflow loads by, of a version that it cannot load.
            WrongBytes: the stored bytes are not those that were signed.
            DiskFull, NotWritable: about `destination`.
        """
        content = self.contents.get(path)
        if content is None:
            if path == MODEL_FILE and self.refusal is not None:
                raise self.refusal
            raise NoSuchFile(path, self.digest)
        part = destination.with_name(f".{uuid.uuid4().hex}.part")
        try:
            if isinstance(content, bytes):
                part.write_bytes(content)
            else:
                self._copy_signed(path, content, part)
            part.replace(destination)
        except OSError as error:
            raise unwritable(destination, error) from error
        finally:
            part.unlink(missing_ok=True)

    def _copy_signed(self, path: str, file: SignedFile, part: Path) -> None:
        """A copy, because nothing else can change it between its check and its loading; a second name would be the store's."""
        hasher = hashlib.sha256()
        with self.reader.open_file(file.manifest, file.entry) as source, part.open("xb") as target:
            for block in _blocks(source):
                hasher.update(block)
                target.write(block)
        digest = Digest(hasher.hexdigest())
        if digest != file.entry.sha256:
            raise WrongBytes(path, file.entry.sha256, digest)


def _base_of(part: VerifiedPart) -> Digest | None:
    """The manifest of the base that the layout takes files of; None where it takes none, or nobody knows which it is."""
    reference = part.manifest.base
    return None if reference is None or not needs_base(part) else reference.manifest


def _stored_manifest(reader: ManifestReader, digest: Digest) -> Manifest:
    """The manifest of a digest. Who signed it is not checked here.

    Raises:
        WrongBytes, MalformedManifest: the stored bytes are not a manifest of this digest.
    """
    data = reader.manifest_bytes(digest)
    stored = Digest.of(data)
    if stored != digest:
        raise WrongBytes("the manifest", digest, stored)
    value = read_json(data, what="manifest.json", max_bytes=MANIFEST_MAX_BYTES)
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        raise MalformedManifest(digest, first_problem(error)) from error


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.entry.size


@dataclass(frozen=True, slots=True)
class Place:
    """What a URI and a path of MLflow mean together.

    Attributes:
        manifest: the digest that stands in one of the two.
        folder: of the version, with a slash behind it, where the URI names one besides the digest; '' for the root.
        path: inside the version; '' is the root.
        prefix: what MLflow expects in front of each path that is listed.
    """

    manifest: Digest
    folder: str
    path: str
    prefix: str

    def shown(self, path: str) -> str:
        """How MLflow calls a path of the version."""
        return self.prefix + path.removeprefix(self.folder)


def parse_source(uri: str, path: str | None) -> Place:
    """The place that MLflow means. It splits what the user wrote before the last part, wherever that is.

    `download_artifacts("registry://sha256/<hex>")` arrives as the root `registry://sha256/` and the path `<hex>`;
    `…/<hex>/peft/adapter_config.json` as the root `…/<hex>/peft` and the name of the file.

    Raises:
        NotARegistrySource: there is no digest in either.
    """
    root = uri.rstrip("/") + "/"
    inner = (path or "").strip("/")
    if not root.startswith(SOURCE_PREFIX):
        raise NotARegistrySource(uri)
    hexadecimal, _, below = root[len(SOURCE_PREFIX) :].partition("/")
    folder, prefix = below.strip("/"), ""
    if not hexadecimal:
        hexadecimal, _, inner = inner.partition("/")
        prefix = f"{hexadecimal}/"
    try:
        digest = Digest(hexadecimal)
    except MalformedDigest as error:
        raise NotARegistrySource(f"{uri} {path or ''}".strip()) from error
    return Place(digest, f"{folder}/" if folder else "", "/".join(part for part in (folder, inner) if part), prefix)


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    while block := stream.read(BLOCK_BYTES):
        yield block
