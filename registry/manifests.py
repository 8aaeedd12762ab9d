"""Writing the manifest of an artifact folder: files and tensors hashed, lists sorted, nothing that a second run would change."""

from pathlib import Path

from registry.hashing import hash_file
from registry.intake.paths import scan_folder
from registry.weights import Tensor, hash_weights
from registry.weights import WeightsFile as HashedWeights
from schemas.dataset import DataIdentity
from schemas.identity import Digest
from schemas.manifest import (
    UNSIGNED_PATHS,
    BaseReference,
    FileEntry,
    Kind,
    Layout,
    Manifest,
    Parent,
    TensorEntry,
    WeightsFile,
)

WEIGHTS_SUFFIX = ".safetensors"


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
) -> Manifest:
    """The manifest of a folder's present contents; the card and the evidence are left out.

    Raises:
        UnsafeInputPath: a link, or a name that must not be.
        MalformedSafetensors: a weights file that lies about its contents.
    """
    found = scan_folder(folder, family="intake", exclude=UNSIGNED_PATHS)
    paths = sorted((file.path for file in found), key=lambda path: path.encode())
    weights = [path for path in paths if path.endswith(WEIGHTS_SUFFIX)]
    hashed, digest = hash_weights([folder / path for path in weights], family="intake")
    return Manifest(
        kind=kind,
        layout=layout,
        method=method,
        files=tuple(_file_entry(folder, path) for path in paths),
        weights=tuple(weights_entry(path, one) for path, one in zip(weights, hashed, strict=True)),
        weights_digest=digest,
        base=base,
        data=data,
        config_sha256=config_sha256,
        parents=parents,
    )


def weights_entry(path: str, hashed: HashedWeights) -> WeightsFile:
    """One hashed weights file as the manifest lists it."""
    return WeightsFile(
        path=path, header_sha256=hashed.header_digest, tensors=tuple(tensor_entry(one) for one in hashed.tensors)
    )


def tensor_entry(tensor: Tensor) -> TensorEntry:
    return TensorEntry(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, sha256=tensor.digest)


def _file_entry(folder: Path, path: str) -> FileEntry:
    hashed = hash_file(folder / path)
    return FileEntry(path=path, size=hashed.size, sha256=hashed.sha256)
