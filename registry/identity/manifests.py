"""Manifests: written from an artifact folder so that a second run changes nothing, and read from bytes that nobody vouches for."""

from functools import lru_cache
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from peft_registry.registry.disk.hashing import OnBytes, hash_file
from peft_registry.registry.identity.weights import HashedWeights, Tensor, hash_weights
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.intake.paths import UnsafePath, safe_relative_path, scan_folder
from peft_registry.registry.signing.oms import Resource
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import (
    FILE_NAME,
    SIGNATURE_NAME,
    UNSIGNED_PATHS,
    BaseReference,
    FileEntry,
    Kind,
    Layout,
    Manifest,
    Origin,
    Parent,
    TensorEntry,
    WeightsFile,
)

WEIGHTS_SUFFIX = ".safetensors"
# what an artifact folder holds besides the files that its manifest lists
MANIFEST_MAX_BYTES = 64 * 1024 * 1024  # about 100 bytes a tensor
# checks, statements and stops of one version each read its manifest and its parents'; larger ones are not kept
_KEPT, _KEPT_BYTES = 64, 64 * 1024
RESERVED_PATHS = (FILE_NAME, SIGNATURE_NAME, *UNSIGNED_PATHS)


class ManifestMalformed(IntegrityBroken):
    what = f"{FILE_NAME} is not a manifest"
    why = "{reason}"
    fix = "pull the version again; a manifest cannot be repaired without a new signature"

    reason: str


def manifest_of_folder(
    folder: Path,
    *,
    kind: Kind,
    layout: Layout,
    method: str | None,
    base: BaseReference | None,
    data: tuple[DataIdentity, ...] = (),
    config_sha256: Digest | None = None,
    parents: tuple[Parent, ...] = (),
    origin: Origin | None = None,
    on_bytes: OnBytes = lambda _: None,
) -> Manifest:
    """The manifest of a folder's present contents; the card and the evidence are left out.

    `on_bytes` hears of the bytes of its weights.

    Raises:
        UnsafeInputPath: a link, or a name that must not be.
        MalformedSafetensors: a weights file that lies about its contents.
    """
    files = scan_folder(folder, family="intake", exclude=UNSIGNED_PATHS)
    paths = sorted((file.path for file in files), key=lambda path: path.encode())
    weights = [path for path in paths if path.endswith(WEIGHTS_SUFFIX)]
    hashed, digest = hash_weights(
        [folder / path for path in weights], with_file_digest=True, family="intake", on_bytes=on_bytes
    )
    by_path = dict(zip(weights, hashed, strict=True))
    return Manifest(
        kind=kind,
        layout=layout,
        method=method,
        files=tuple(_file_entry(folder, path, by_path.get(path)) for path in paths),
        weights=tuple(weights_entry(path, file) for path, file in by_path.items()),
        weights_digest=digest,
        base=base,
        data=data,
        config_sha256=config_sha256,
        parents=parents,
        origin=origin,
    )


def read_manifest(data: bytes) -> Manifest:
    """The manifest in these bytes, every path of which can be read and written inside a folder of the artifact's own.

    Raises:
        MalformedJson: not strict JSON.
        ManifestMalformed: not a manifest, or one that lists a path which no artifact folder may hold.
    """
    return _read_kept(data) if len(data) <= _KEPT_BYTES else _read(data)


@lru_cache(maxsize=_KEPT)
def _read_kept(data: bytes) -> Manifest:
    return _read(data)


def _read(data: bytes) -> Manifest:
    value = read_json(data, what=FILE_NAME)
    try:
        manifest = Manifest.from_json(value)
    except ValidationError as error:
        raise ManifestMalformed(first_problem(error)) from error
    problem = path_problem(manifest)
    if problem:
        raise ManifestMalformed(problem)
    return manifest


def path_problem(manifest: Manifest) -> str:
    """Why a listed path cannot be a file of an artifact folder; empty if all can."""
    paths = {entry.path for entry in manifest.files}
    for path in sorted(paths):
        try:
            above = _folders_above(path)
        except UnsafePath as error:
            return f"it lists {path[:200]!a}: {error.why}"
        if path in RESERVED_PATHS or any(parent in RESERVED_PATHS for parent in above):
            return f"it lists {path!a}, a name that is not for files of the model"
        if not paths.isdisjoint(above):
            return f"it lists {path!a} and a folder above it as files"
    return ""


@lru_cache(maxsize=1024)  # most artifacts have files of the same names
def _folders_above(path: str) -> tuple[str, ...]:
    """The folders that a listed path lies in, without that of the artifact; UnsafePath where it may not be listed."""
    safe_relative_path(path)
    return tuple(str(parent) for parent in PurePosixPath(path).parents)[:-1]


def weights_entry(path: str, hashed: HashedWeights) -> WeightsFile:
    """One hashed weights file as the manifest lists it."""
    return WeightsFile(
        path=path, header_sha256=hashed.header_digest, tensors=tuple(tensor_entry(tensor) for tensor in hashed.tensors)
    )


def listed_tensors(files: tuple[WeightsFile, ...]) -> tuple[Tensor, ...]:
    """The tensors that a manifest lists, as values that can be compared."""
    entries = (entry for file in files for entry in file.tensors)
    return tuple(Tensor(entry.name, entry.dtype, entry.shape, entry.sha256) for entry in entries)


def tensor_entry(tensor: Tensor) -> TensorEntry:
    """A hashed tensor as a manifest lists it."""
    return TensorEntry(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, sha256=tensor.digest)


def _file_entry(folder: Path, path: str, weights: HashedWeights | None) -> FileEntry:
    """One file as the manifest lists it; a weights file was hashed as a whole together with its tensors."""
    if weights is not None and weights.file_digest is not None:
        return FileEntry(path=path, size=weights.file_size, sha256=weights.file_digest)
    hashed = hash_file(folder / path)
    return FileEntry(path=path, size=hashed.size, sha256=hashed.sha256)


def listed_resources(manifest: Manifest, manifest_digest: Digest) -> tuple[Resource, ...]:
    """What `model.sig` lists: every file of the manifest, and the manifest itself."""
    files = tuple(Resource(entry.path, entry.sha256) for entry in manifest.files)
    return (*files, Resource(FILE_NAME, manifest_digest))
