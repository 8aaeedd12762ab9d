"""The folder that somebody offers: which of its files are the model, and what the others are. Nothing is loaded.

An adapter is its configuration, its safetensors weights and the tokenizer beside them; a whole model is what a loader opens of it.
Everything else stays outside: its digest and what it is are noted. A pickle among the weights is refused; one beside them, such as
`training_args.bin` and the state of an optimizer, is noted and never opened.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from peft_registry.registry.disk.files import FileTooLarge, StatKey, read_file, reading, unwritable
from peft_registry.registry.disk.hashing import copy_and_hash, digest_like, hash_file
from peft_registry.registry.disk.hub_snapshots import HubSnapshot, blob_of, name_of_folder
from peft_registry.registry.identity.base import (
    ADAPTER_CONFIG_NAME,
    CHAT_TEMPLATE_NAMES,
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    INDEX_NAME,
    TOKENIZER_FILES,
    WEIGHTS_NAME,
)
from peft_registry.registry.imports.adapterhub import require_not_adapterhub
from peft_registry.registry.intake.foreign_formats import HEAD_BYTES, foreign_format
from peft_registry.registry.intake.json import MalformedInput
from peft_registry.registry.intake.model_code import EXTENSIONS as CODE_EXTENSIONS
from peft_registry.registry.intake.paths import FileFound, scan_folder
from peft_registry.registry.intake.pickle import PickleRefused, refuse_pickle
from peft_registry.registry.intake.safetensors import read_header
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.imports import FileUse, SourceFile

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_LARGE = 1024**3  # bytes
_BLOCK = 512  # bytes of `st_blocks`, whatever the file system's own are
_MOST_COMPRESSED = 64  # to one, by a file system that compresses
_LARGEST_BESIDE_WEIGHTS = 512 * 1024 * 1024  # bytes; the largest tokenizers have some 40 MB
_PICKLED_WEIGHTS = ("adapter_model.bin", "pytorch_model.bin", "pytorch_model.bin.index.json")
# what git and the Hub's client keep in a folder says nothing of the model
_NOT_LOOKED_AT = (".cache", ".git", ".gitattributes", ".gitignore", ".huggingface")
_MAX_FILES = 10_000  # ten times what a training with a checkpoint every few steps leaves


class NothingToImport(InputRefused):
    what = "{name} is neither an adapter nor a whole model"
    why = "{reason}"
    fix = "{remedy}"

    folder: Path
    reason: str
    remedy: str

    @property
    def name(self) -> str:
        return name_of_folder(self.folder)


class CachedFileChanged(IntegrityBroken):
    what = "{name} of {repository} in the cache of the Hub's clients is not what was downloaded"
    why = "its digest is {computed}, and in the cache it lies under {stated}"
    fix = "delete the repository from the cache (`hf cache rm`), and import hub:{repository}"

    repository: str
    name: str
    stated: str
    computed: str


@dataclass(frozen=True, slots=True)
class OfferedFolder:
    """What lies in a folder: the files of the model, and those beside them.

    `model_folder` has the files of the model: a copy that nobody else can write, so that what is looked at is what is registered.
    """

    folder: Path
    kind: Literal["adapter", "model"]
    model_files: tuple[FileFound, ...]
    beside: tuple[FileFound, ...]
    model_folder: Path

    @property
    def name(self) -> str:
        """What people call it."""
        return name_of_folder(self.folder)

    def path_of(self, path: str) -> Path:
        """Where a file of it is read."""
        is_of_model = any(file.path == path for file in self.model_files)
        return (self.model_folder if is_of_model else self.folder) / path

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """One file of the folder.

        Raises:
            MalformedInput: it is larger than a file of its kind.
            FileMissing, FileChanged, FileUnreadable: as `read_file`.
        """
        try:
            return read_file(self.path_of(path), max_bytes=max_bytes)
        except FileTooLarge as error:
            raise MalformedInput(path, f"it has {error.size} bytes, more than the {error.limit} allowed") from error

    def copied(self, destination: Path) -> "OfferedFolder":
        """The same with the files of its model copied to a new folder, looked at once more for pickles.

        Raises:
            FileChanged, FileMissing, NotARegularFile, FileUnreadable: about a file of the model.
            MalformedWeights, MalformedInput: weights contradict their header, or another file is too large; nothing was copied.
            CachedFileChanged: of a snapshot, it is not what its name in the cache says.
            PickleRefused: a file is a pickle by now.
            DiskFull, NotWritable: about the copy.
        """
        for file in self.model_files:
            self._require_copyable(file)
        try:
            destination.mkdir()
            for file in self.model_files:
                copied = copy_and_hash(self.folder / file.path, destination / file.path)
                self._require_blob(file.path, copied.sha256.hex, destination / file.path)
                refuse_pickle(destination / file.path)
        except OSError as error:
            raise unwritable(destination, error) from error
        return replace(self, model_folder=destination)

    def _require_copyable(self, file: FileFound) -> None:
        """Raise if a file of weights is larger than its header says, or another file than any of its kind is."""
        if file.path.endswith(".safetensors"):
            read_header(self.folder / file.path, family="intake")
        elif file.size > _LARGEST_BESIDE_WEIGHTS:
            raise MalformedInput(
                file.path, f"it has {file.size} bytes, more than the {_LARGEST_BESIDE_WEIGHTS} allowed"
            )

    def _require_blob(self, path: str, sha256: str, copy: Path) -> None:
        """Raise where a copy of a snapshot's file has not the digest that is the file's name in the cache."""
        snapshot = HubSnapshot.of(self.folder)
        blob = blob_of(self.folder / path)
        if snapshot is None or blob is None:
            return
        computed = sha256 if len(blob.name) == len(sha256) else digest_like(copy, blob.name)
        if computed != blob.name:
            raise CachedFileChanged(snapshot.repository, path, blob.name, computed)


def offered_folder(folder: Path, names: Collection[str] | None = None) -> OfferedFolder:
    """What a folder holds. The links of a snapshot of the Hub are the files of its repository.

    Args:
        folder: that is offered.
        names: of the files that are looked at; None for all of them.

    Raises:
        AdapterHubFolder: the library `adapters` wrote it.
        NothingToImport: no configuration, or no weights: it is something else, or half of it is missing.
        PickleRefused: its weights are, or may be, a pickle.
        MalformedInput: a large file consists of holes.
        UnsafeInputPath: links, devices, unsafe names, two names that are one elsewhere, too many files.
        FolderMissing, FolderUnreadable: as `scan_folder`.
    """
    if names is None:
        files = scan_folder(folder, family="intake", exclude=_NOT_LOOKED_AT, max_files=_MAX_FILES, hub_links=True)
    else:
        files = tuple(FileFound(name, StatKey.of_path(folder / name).size) for name in sorted(names))
    for file in files:
        _require_on_disk(folder, file)
    paths = frozenset(file.path for file in files)
    require_not_adapterhub(folder, paths)
    kind: Literal["adapter", "model"] = "adapter" if ADAPTER_CONFIG_NAME in paths else "model"
    own = _adapter_paths(folder, paths) if kind == "adapter" else _model_paths(folder, paths)
    model_files = tuple(file for file in files if file.path in own)
    for file in model_files:
        refuse_pickle(folder / file.path)
    beside = tuple(file for file in files if file.path not in own)
    return OfferedFolder(folder, kind, model_files, beside, model_folder=folder)


def _require_on_disk(folder: Path, file: FileFound) -> None:
    """Raise where a large file is nearly all holes: it takes no space where it lies, and a day to be copied or hashed."""
    if file.size <= _LARGE:
        return
    try:
        on_disk = (folder / file.path).stat().st_blocks * _BLOCK
    except OSError:  # whoever reads it says so
        return
    if on_disk < file.size // _MOST_COMPRESSED:
        raise MalformedInput(
            file.path, f"it has {file.size} bytes, of which {on_disk} are on the disk: the rest are holes"
        )


def described(offered: OfferedFolder, file: FileFound, use: FileUse) -> SourceFile:
    """A file with its digest and what it is by its first bytes."""
    path = offered.path_of(file.path)
    hashed = hash_file(path)
    return SourceFile(path=file.path, bytes=hashed.size, sha256=hashed.sha256, use=use, what=_what(path))


def _adapter_paths(folder: Path, paths: frozenset[str]) -> frozenset[str]:
    if ADAPTER_WEIGHTS in paths:
        return frozenset({ADAPTER_CONFIG_NAME, ADAPTER_WEIGHTS, *_tokenizer_paths(paths)})
    for name in _PICKLED_WEIGHTS:
        if name in paths:
            raise PickleRefused(folder / name, "its weights are there in no other form")
    raise NothingToImport(
        folder,
        f"it has {ADAPTER_CONFIG_NAME} and no {ADAPTER_WEIGHTS}: it was not saved to its end, or not copied whole",
        _other_folder(paths, "save it again, or copy it again"),
    )


def _model_paths(folder: Path, paths: frozenset[str]) -> frozenset[str]:
    if ADAPTER_WEIGHTS in paths:
        raise NothingToImport(
            folder,
            f"it has {ADAPTER_WEIGHTS} and no {ADAPTER_CONFIG_NAME}, which says what the weights are",
            _other_folder(paths, "save it again, or copy it again"),
        )
    weights = frozenset(path for path in paths if "/" not in path and path.endswith(".safetensors"))
    if WEIGHTS_NAME not in weights and INDEX_NAME not in paths:
        for name in _PICKLED_WEIGHTS:
            if name in paths:
                raise PickleRefused(folder / name, "its weights are there in no other form")
        raise NothingToImport(
            folder,
            f"there is no {ADAPTER_CONFIG_NAME} with its weights, and no {WEIGHTS_NAME}",
            _other_folder(paths, "name the folder that the training wrote at its end"),
        )
    if CONFIG_NAME not in paths:
        raise NothingToImport(
            folder, f"it has weights and no {CONFIG_NAME}, which says what they are", "save it again, or copy it again"
        )
    settings = {CONFIG_NAME, GENERATION_CONFIG_NAME, INDEX_NAME} & paths
    return frozenset({*settings, *weights, *_tokenizer_paths(paths)})


def _tokenizer_paths(paths: frozenset[str]) -> frozenset[str]:
    return frozenset({*TOKENIZER_FILES, *CHAT_TEMPLATE_NAMES}) & paths


def _other_folder(paths: frozenset[str], otherwise: str) -> str:
    """A folder inside that holds an adapter, such as the newest checkpoint or that of a named adapter."""
    inner = {path.rpartition("/")[0] for path in paths if path.endswith(f"/{ADAPTER_WEIGHTS}")}
    whole = sorted((name for name in inner if f"{name}/{ADAPTER_CONFIG_NAME}" in paths), key=newest_checkpoint_key)
    return f"import the folder {whole[-1]} inside it" if whole else otherwise


def newest_checkpoint_key(folder: str) -> tuple[int, str]:
    """The order of folders of checkpoints by the step in their name; a folder without a number comes before all of them."""
    number = folder.rpartition("-")[2]
    return (int(number) if number.isascii() and number.isdigit() else -1, folder)


def _what(path: Path) -> str:
    if path.suffix.lower() in CODE_EXTENSIONS:
        return "program code"
    with reading(path) as file:
        head = b"".join(file.blocks(0, min(HEAD_BYTES, file.key.size)))
    other = foreign_format(head)
    if other is not None:
        return other
    if path.suffix.lower() == ".safetensors":
        return "a safetensors file"
    try:
        refuse_pickle(path)
    except PickleRefused:
        return "a pickle"
    return "text or other data"
