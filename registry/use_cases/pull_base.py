"""The bytes of a registered base as a folder: found by reference or assembled from the store, and checked against its identity."""

from collections.abc import Callable
from pathlib import Path

from peft_registry.registry.homes.base_locations import base_location
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import BaseFolder, identify_base
from peft_registry.registry.identity.manifests import listed_tensors
from peft_registry.registry.identity.weights import TensorDifference, diff_tensors
from peft_registry.registry.records.signed_records import stored_manifest
from peft_registry.registry.verification.presented import local_object
from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotChecked
from peft_registry.schemas.manifest import FileEntry
from peft_registry.schemas.version import Version


class WrongBase(IntegrityBroken):
    reference = "wrong-base"
    what = "{folder} is not the base that was registered"
    why = "its {part} is {found}, pinned is {pinned}{first_difference}"
    fix = "restore the base's files, or register these as a base of their own with `registry base add`"

    folder: Path
    part: str
    pinned: object
    found: object
    difference: TensorDifference | None

    @property
    def first_difference(self) -> str:
        return "" if self.difference is None else f"; the first tensor that differs: {self.difference}"


class BaseBytesMissing(NotChecked):
    reference = "base-bytes-missing"
    what = "the bytes of {label} are not on this machine"
    why = "it was added by reference on another machine, or its folder has moved"
    fix = "add it again here with `registry base add FOLDER`: equal bytes are the same version"

    label: str


def base_folder(
    registry: Registry, version: Version, scratch: Path, *, only: Callable[[FileEntry], bool] = lambda _: True
) -> Path:
    """A folder with the base's files: where it lies by reference, or assembled from the store under `scratch`.

    From the store come the files that are wanted (`only`): a question about the configuration needs no weights.

    Raises:
        BaseBytesMissing: neither is possible on this machine.
    """
    location = base_location(registry.folder, version.manifest_digest)
    if location is not None and location.is_dir():
        return location
    manifest = stored_manifest(registry, version.manifest_digest)
    folder = scratch / version.manifest_digest.hex
    for entry in filter(only, manifest.files):
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        source = local_object(registry.store, entry.sha256, scratch)
        if source is None:
            raise BaseBytesMissing(version.label)
        if not target.exists():
            registry.store.fetch(entry.sha256, target)
    return folder


def check_base_folder(registry: Registry, version: Version, folder: Path, identity: BaseIdentity) -> BaseFolder:
    """Identify the folder again and compare it with what is pinned, before anything is loaded from it.

    Raises:
        WrongBase: another identity; names the first tensor that differs.
    """
    try:
        presented_base = identify_base(folder, revision=identity.revision, cache=registry.cache)
    except InputRefused as error:  # what intake would refuse is no longer the base that was taken in
        raise WrongBase(folder, "content", identity.weights, f"refused ({error})", None) from error
    for part in ("weights", "config", "tokenizer", "chat_template", "generation_config"):
        pinned, here = getattr(identity, part), getattr(presented_base.identity, part)
        if pinned == here:
            continue
        difference = None
        if part == "weights":
            manifest = stored_manifest(registry, version.manifest_digest)
            difference = diff_tensors(listed_tensors(manifest.weights), listed_tensors(presented_base.weights))
        raise WrongBase(folder, part, pinned, here, difference)
    return presented_base
