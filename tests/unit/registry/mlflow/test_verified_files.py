"""What MLflow gets from `registry://` is exactly what was signed, or nothing."""

import io
from pathlib import Path
from typing import BinaryIO

import pytest

from peft_registry.registry.mlflow.model_layout import LayoutReaders, NotLoadableByMlflow
from peft_registry.registry.mlflow.verified_files import (
    Entry,
    NoSuchFile,
    NotARegistrySource,
    VerifiedFiles,
    WrongBytes,
    parse_source,
)
from peft_registry.schemas.errors import KnownError, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import FileEntry, Manifest
from peft_registry.schemas.trained_templates import NoTemplate, Template

FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights", "tokenizer/vocab.json": b"{ }"}


class Shelf:
    """A `ManifestReader` over bytes in memory; `distrust` is raised by `verify`."""

    def __init__(self, distrust: KnownError | None = None) -> None:
        self.stored = {Digest.of(data): data for data in FILES.values()}
        manifest = Manifest(
            kind="adapter",
            layout="peft",
            files=tuple(
                FileEntry(path=path, size=len(data), sha256=Digest.of(data)) for path, data in sorted(FILES.items())
            ),
            weights=(),
            weights_digest=Digest.of(b"w"),
        )
        self.manifest = manifest.to_canonical()
        self.digest = Digest.of(self.manifest)
        self.distrust = distrust

    def verify(self, digest: Digest) -> None:
        if self.distrust is not None:
            raise self.distrust

    def require_usable(self, digest: Digest) -> None:
        self.verify(digest)

    def manifest_bytes(self, digest: Digest) -> bytes:
        return self.manifest

    def open_file(self, manifest: Digest, entry: FileEntry) -> BinaryIO:
        return io.BytesIO(self.stored[entry.sha256])

    def knows(self, digest: Digest) -> bool:
        return False

    def loading_lines(self, digest: Digest) -> str:
        return "load(this)"

    def template(self, digest: Digest) -> Template:
        return NoTemplate("a:1 was imported")

    def files(self) -> VerifiedFiles:
        return VerifiedFiles(self, self.digest, LayoutReaders("3.10.1", "3.11.9"))


def test_files_and_folders_are_listed_one_level_at_a_time() -> None:
    files = Shelf().files()
    assert files.entries("") == (
        Entry("adapter_config.json", 2),
        Entry("adapter_model.safetensors", 7),
        Entry("tokenizer", None),
    )
    assert files.entries("tokenizer") == (Entry("tokenizer/vocab.json", 3),)
    assert files.entries("adapter_config.json") == ()


def test_a_copy_is_private_and_whole(tmp_path: Path) -> None:
    Shelf().files().copy("tokenizer/vocab.json", tmp_path / "vocab.json")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("vocab.json", b"{ }")]


def test_one_wrong_byte_leaves_nothing(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.stored[Digest.of(b"weights")] = b"weightz"
    with pytest.raises(WrongBytes):
        shelf.files().copy("adapter_model.safetensors", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_other_than_the_one_named_is_refused_before_anything_is_listed() -> None:
    shelf = Shelf()
    shelf.manifest = shelf.manifest.replace(b"peft", b"pefT")
    with pytest.raises(WrongBytes):
        shelf.files().entries("")


def test_what_is_not_trusted_is_neither_listed_nor_copied(tmp_path: Path) -> None:
    files = Shelf(NotChecked.in_words(what="a", why="b", fix="c")).files()
    with pytest.raises(NotChecked):
        files.entries("")
    with pytest.raises(NotChecked):
        files.copy("adapter_config.json", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_what_mlflow_cannot_load_is_listed_as_it_was_signed_and_its_model_file_refused(tmp_path: Path) -> None:
    files = Shelf().files()
    assert "MLmodel" not in [entry.path for entry in files.entries("")]
    with pytest.raises(NotLoadableByMlflow) as refused:
        files.copy("MLmodel", tmp_path / "MLmodel")
    assert refused.value.lines == "load(this)"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../secret", "adapter", "manifest.json", "/etc/passwd", "tokenizer"])
def test_only_what_the_manifest_lists_can_be_copied(path: str, tmp_path: Path) -> None:
    with pytest.raises(NoSuchFile):
        Shelf().files().copy(path, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


HEX = "ab" * 32


@pytest.mark.parametrize(
    ("uri", "path", "inner", "shown"),
    [
        (f"registry://sha256/{HEX}", None, "", "a/b/c"),
        (f"registry://sha256/{HEX}/", "a/b", "a/b", "a/b/c"),
        ("registry://sha256/", HEX, "", f"{HEX}/a/b/c"),
        ("registry://sha256", f"{HEX}/a/b", "a/b", f"{HEX}/a/b/c"),
        (f"registry://sha256/{HEX}/a", "b", "a/b", "b/c"),
        (f"registry://sha256/{HEX}/a/b", None, "a/b", "c"),
    ],
)
def test_every_way_in_which_mlflow_splits_a_source_is_read(uri: str, path: str | None, inner: str, shown: str) -> None:
    place = parse_source(uri, path)
    assert (place.manifest, place.path, place.shown("a/b/c")) == (Digest(HEX), inner, shown)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("registry://sha256/", None),
        ("registry://sha256/abc", None),
        (f"registry://md5/{HEX}", None),
        (f"registry://sha256/{HEX.upper()}", None),
        (f"s3://sha256/{HEX}", None),
        ("registry://sha256/", "../x"),
    ],
)
def test_any_other_source_is_refused(uri: str, path: str | None) -> None:
    with pytest.raises(NotARegistrySource):
        parse_source(uri, path)
