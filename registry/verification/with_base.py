"""A folder that `registry pull --with-base` wrote: an adapter, its base beside it, and in front what loaders open.

    adapter/              the signed artifact, as `registry pull` writes it
    base/                 the registered base, as `registry pull` writes it
    adapter_config.json   the adapter's own, with the path of `base/` as its base
    …                     every other file of the adapter

The signed configuration cannot name a path: it would be another artifact on every machine. So the one in front is made by the
pull, nobody signs it, and it is compared with the signed one whenever the folder is verified.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.disk.hashing import DigestCache, hash_file
from peft_registry.registry.identity.base import ADAPTER_CONFIG_NAME
from peft_registry.registry.identity.manifests import MANIFEST_MAX_BYTES, read_manifest
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES
from peft_registry.registry.intake.paths import scan_folder
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.manifest import FILE_NAME, Manifest
from peft_registry.schemas.version import Check

ADAPTER_FOLDER = "adapter"
BASE_FOLDER = "base"
# of what a recipient is handed (`registry/documents/dossier.py`): the list of its files, and the artifact beside the documents
DOSSIER_FILE = "dossier.json"
ARTIFACT_FOLDER = "artifact"
_BASE_KEY = "base_model_name_or_path"
_REVISION_KEY = "revision"  # of a repository; a folder has none
_STEP = "loaders"


def is_with_base(folder: Path) -> bool:
    """Whether a folder has the form that is described above."""
    parts = (folder / ADAPTER_FOLDER, folder / BASE_FOLDER)
    if (folder / FILE_NAME).exists():
        return False
    # a part that is a link lies somewhere else, and whoever names this folder does not mean that
    return all((part / FILE_NAME).is_file() and not part.is_symlink() for part in parts)


def is_dossier(folder: Path) -> bool:
    """Whether a folder holds documents for a recipient, and the artifact in a folder of its own."""
    if (folder / FILE_NAME).exists() or (folder / ARTIFACT_FOLDER).is_symlink():
        return False
    return (folder / DOSSIER_FILE).is_file()


def signed_folder(folder: Path) -> Path:
    """The part of a folder that holds the artifact: `adapter/` or, of a dossier, `artifact/`; a plain pulled folder itself."""
    if is_dossier(folder):
        return folder / ARTIFACT_FOLDER
    return folder / ADAPTER_FOLDER if is_with_base(folder) else folder


def is_adapter_config(path: str) -> bool:
    """Whether a file of an artifact is what loaders read the base from."""
    return path.rsplit("/", 1)[-1] == ADAPTER_CONFIG_NAME


def config_for_loaders(signed: bytes, base: Path) -> bytes:
    """The configuration of an adapter with a folder as its base.

    Raises:
        MalformedJson: it is not a JSON object.
    """
    values = _values(signed)
    return json.dumps(values | {_BASE_KEY: str(base), _REVISION_KEY: None}, indent=2, sort_keys=True).encode() + b"\n"


def check_loaders(folder: Path, cache: DigestCache | None = None) -> Check:
    """Whether what loaders open in front is the signed adapter on the base beside it, and nothing lies there besides.

    The parts themselves are verified by the checklist.
    """
    try:
        manifest = read_manifest(read_file(folder / ADAPTER_FOLDER / FILE_NAME, max_bytes=MANIFEST_MAX_BYTES))
        wrong = tuple(_differences(folder, manifest, cache))
    except KnownError as error:
        return Check(step=_STEP, text=error.what, status="failed", error=error.reference, detail=(error.why,))
    if wrong:
        text = f"{len(wrong)} of the files that loaders open are not those of the signed adapter on this base"
        return Check(step=_STEP, text=text, status="failed", error="loader-files-differ", detail=wrong)
    return Check(step=_STEP, text="what loaders open is the signed adapter on the base beside it", status="ok")


def _differences(folder: Path, manifest: Manifest, cache: DigestCache | None) -> Iterator[str]:
    listed = {entry.path: entry.sha256 for entry in manifest.files}
    present = {file.path for file in scan_folder(folder, exclude=(ADAPTER_FOLDER, BASE_FOLDER))}
    yield from (f"missing: {path}" for path in sorted(listed.keys() - present))
    yield from (f"extra: {path}" for path in sorted(present - listed.keys()))
    for path in sorted(listed.keys() & present):
        if is_adapter_config(path):
            yield from _config_differences(folder, path)
        elif hash_file(folder / path, cache=cache).sha256 != listed[path]:
            yield f"changed: {path}"


def _config_differences(folder: Path, path: str) -> Iterator[str]:
    signed = _values(read_file(folder / ADAPTER_FOLDER / path, max_bytes=CONFIG_MAX_BYTES))
    opened = _values(read_file(folder / path, max_bytes=CONFIG_MAX_BYTES))
    named = opened.pop(_BASE_KEY, None)
    revision = opened.pop(_REVISION_KEY, None)
    base = folder / BASE_FOLDER
    # a path that is not absolute means another folder wherever a process starts
    if not isinstance(named, str) or not Path(named).is_absolute() or Path(named).resolve() != base.resolve():
        yield f"changed: {path} names {str(named)[:200]!a} as the base, which is not {base}"
    if revision is not None or opened != {
        key: value for key, value in signed.items() if key not in (_BASE_KEY, _REVISION_KEY)
    }:
        yield f"changed: {path} says something else than the signed one"


def _values(data: bytes) -> dict[str, Any]:
    values = read_json(data, what=ADAPTER_CONFIG_NAME)
    return values if isinstance(values, dict) else {}
