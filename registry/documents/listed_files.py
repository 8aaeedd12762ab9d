"""Which files of a dossier its list has to name: all but the list itself, its signature, and weights that a manifest in it lists.

A name alone leaves nothing out: a file called as weights are, which no manifest here lists, is one that nobody signed.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.documents.dossier import SOURCES_FOLDER, STATEMENT_FILE
from peft_registry.registry.identity.manifests import MANIFEST_MAX_BYTES, read_manifest
from peft_registry.registry.intake.paths import scan_folder
from peft_registry.registry.signing.oms import BUNDLE_MAX_BYTES, parse_bundle
from peft_registry.registry.verification.with_base import ARTIFACT_FOLDER, DOSSIER_FILE
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.manifest import FILE_NAME, SIGNATURE_NAME

_WEIGHTS = ".safetensors"


def files_to_list(dossier: Path) -> frozenset[str]:
    """By their paths in the dossier.

    Raises:
        UnsafePath: the folder holds something that must not be followed or named.
    """
    here = {file.path for file in scan_folder(dossier, family="integrity")}
    return frozenset(here - {DOSSIER_FILE, STATEMENT_FILE} - set(_weights(dossier)))


def _weights(dossier: Path) -> Iterator[str]:
    for folder in (dossier / ARTIFACT_FOLDER, *(dossier / SOURCES_FOLDER).glob("*")):
        place = folder.relative_to(dossier).as_posix()
        yield from (f"{place}/{name}" for name in _names_in(folder) if name.endswith(_WEIGHTS))


def _names_in(folder: Path) -> Iterable[str]:
    """What the manifest of an artifact lists; what its signature covers where that was edited: whoever did so edited no weights."""
    try:
        return [
            entry.path for entry in read_manifest(read_file(folder / FILE_NAME, max_bytes=MANIFEST_MAX_BYTES)).files
        ]
    except KnownError:
        pass
    try:
        bundle = parse_bundle(read_file(folder / SIGNATURE_NAME, max_bytes=BUNDLE_MAX_BYTES))
        return [file.name for file in bundle.resources]
    except KnownError:
        return ()
