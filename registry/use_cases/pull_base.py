"""The files of a registered base in a private folder, each of them compared with the list that was registered.

What is loaded is what was compared: the folder holds the listed files and nothing else, so that a file that somebody puts
beside them is not seen by any loader. Files from the store and small files are copies, digested while they are written.
Weights used by reference are too large to be copied; they are links to where they lie, digested there, and their state on
disk is compared again after loading (`require_unchanged`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.files import FileMissing, NotARegularFile, StatKey, unwritable
from peft_registry.registry.disk.hashing import OnBytes, bytes_told, copy_and_hash, hash_file
from peft_registry.registry.homes.base_locations import base_location
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import listed_tensors
from peft_registry.registry.identity.weights import TensorDifference, diff_tensors, hash_tensors
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.verification.presented import local_object
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotChecked
from peft_registry.schemas.manifest import FileEntry, Manifest
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.version import Version

# what is smaller is copied; the largest tokenizer.json published has about 35 MB
COPIED_MAX_BYTES = 64 * 1024 * 1024
WEIGHTS_SUFFIX = ".safetensors"
_PRIVATE = 0o700


class WrongBase(IntegrityBroken):
    what = "{folder} is not the base that was registered"
    why = "its {part} is {found}, registered is {registered}{first_difference}"
    fix = "restore the base's files, or register these as a base of their own with `registry base add`"

    folder: Path
    part: str
    registered: object
    found: object
    difference: TensorDifference | None

    @property
    def first_difference(self) -> str:
        return "" if self.difference is None else f"; the first tensor that differs: {self.difference}"


class BaseBytesMissing(NotChecked):
    what = "the bytes of {label} are not on this machine"
    why = "it was added by reference on another machine, or its folder has moved"
    fix = "add it again here with `registry base add FOLDER`: equal bytes are the same version"

    label: str


class BaseChanged(IntegrityBroken):
    what = "{path} of the base changed between its check and its loading"
    why = "the file's device, inode, size or times are others, or it disappeared"
    fix = "let whatever writes there finish, then run the command again; nothing was registered"

    path: str


@dataclass(frozen=True, slots=True)
class CheckedFolder:
    """A private folder of files that were compared, and the states of the files outside that it links to."""

    folder: Path
    linked: Mapping[Path, StatKey]

    def require_unchanged(self) -> None:
        """Raise unless what the folder links to is what was compared: to be called after each loading.

        Raises:
            BaseChanged: a file was changed, replaced or removed, also when it was put back.
        """
        for path, key in self.linked.items():
            try:
                state = StatKey.of_path(path)
            except FileMissing:
                state = None
            if state != key:
                raise BaseChanged(path.name)


def checked_folder(
    registry: Registry,
    version: Version,
    scratch: Path,
    *,
    only: Callable[[FileEntry], bool] = lambda _: True,
    observe: Observe = ignore,
) -> CheckedFolder:
    """The files of a version under `scratch`, from where a base lies by reference, else from the store.

    Args:
        registry: holds the version.
        version: a base, or anything whose bytes are in the store.
        scratch: a folder of this process; the result is a folder in it that no other user can enter.
        only: the files that are wanted: a question about the configuration needs no weights.
        observe: hears of the bytes that are compared.

    Raises:
        BaseBytesMissing: neither is possible on this machine.
        WrongBase: a file differs from the registered one; names the first tensor that differs.
        DiskFull, NotWritable: about `scratch`.
    """
    manifest = stored_manifest(registry, version.manifest_digest)
    folder = scratch / version.manifest_digest.hex
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
        for entry in filter(only, manifest.files):
            (folder / entry.path).parent.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
    except OSError as error:
        raise unwritable(folder, error) from error
    location = base_location(registry.folder, version.manifest_digest)
    if location is not None and location.is_dir():
        total = sum(entry.size for entry in filter(only, manifest.files))
        with bytes_told(observe, "base", total=total) as on_bytes:
            return CheckedFolder(folder, _view(registry, manifest, location, folder, only, on_bytes=on_bytes))
    for entry in filter(only, manifest.files):
        if local_object(registry.store, entry.sha256, scratch) is None:
            raise BaseBytesMissing(version.label)
        if not (folder / entry.path).exists():
            registry.store.fetch(entry.sha256, folder / entry.path)
    return CheckedFolder(folder, {})


def _view(
    registry: Registry,
    manifest: Manifest,
    location: Path,
    folder: Path,
    only: Callable[[FileEntry], bool],
    *,
    on_bytes: OnBytes,
) -> dict[Path, StatKey]:
    """Copies of the small files and links to the large ones; the states of the latter from before they were read."""
    linked: dict[Path, StatKey] = {}
    for entry in filter(only, manifest.files):
        source, target = location / entry.path, folder / entry.path
        is_large = source.suffix == WEIGHTS_SUFFIX or entry.size > COPIED_MAX_BYTES
        try:
            if is_large:
                # past links of the user's above the folder: a change of one of them is another file
                source = source.parent.resolve() / source.name
                linked[source] = StatKey.of_path(source)
            if source.suffix == WEIGHTS_SUFFIX:
                _compare_weights(registry, manifest, entry, source, location, on_bytes=on_bytes)
            else:
                _compare_file(registry, entry, source, None if is_large else target, location)
        except FileMissing as error:
            raise WrongBase(location, entry.path, entry.sha256, "missing", None) from error
        except NotARegularFile as error:
            raise WrongBase(location, entry.path, entry.sha256, "no regular file", None) from error
        if is_large and not target.is_symlink():
            target.symlink_to(source)
    return linked


def _compare_weights(
    registry: Registry, manifest: Manifest, entry: FileEntry, source: Path, location: Path, *, on_bytes: OnBytes
) -> None:
    try:
        hashed = hash_tensors(source, with_file_digest=True, cache=registry.cache, family="intake", on_bytes=on_bytes)
    except InputRefused as error:  # what intake would refuse is no longer the base that was taken in
        raise WrongBase(location, entry.path, entry.sha256, f"refused ({error})", None) from error
    if hashed.file_digest != entry.sha256:
        listed = listed_tensors(tuple(file for file in manifest.weights if file.path == entry.path))
        raise WrongBase(location, entry.path, entry.sha256, hashed.file_digest, diff_tensors(listed, hashed.tensors))


def _compare_file(registry: Registry, entry: FileEntry, source: Path, target: Path | None, location: Path) -> None:
    if target is None:
        digest = hash_file(source, cache=registry.cache).sha256
    elif target.exists():  # of an earlier call with the same scratch: a copy of its own, compared when it was made
        return
    else:
        size = StatKey.of_path(source).size
        if size != entry.size:  # and no other file is copied, however long it has become
            raise WrongBase(location, entry.path, f"{entry.size} bytes", f"{size} bytes", None)
        digest = copy_and_hash(source, target).sha256
    if digest != entry.sha256:
        if target is not None:
            target.unlink()
        raise WrongBase(location, entry.path, entry.sha256, digest, None)
