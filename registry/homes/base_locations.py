"""Paths of the bases registered by reference on this machine: `HOME/bases.json`, local and never part of a record."""

import json
from pathlib import Path

from peft_registry.registry.disk.files import read_file, write_atomically
from peft_registry.registry.intake.json import read_json
from peft_registry.schemas.identity import Digest

FILE_NAME = "bases.json"
MAX_BYTES = 4 * 1024 * 1024  # some ten thousand bases


def base_location(home: Path, manifest: Digest) -> Path | None:
    """The folder of a base used by reference, or None when this machine does not know one."""
    path = _read(home).get(manifest.hex)
    if path is None or "\0" in path:  # no file system has such a path, and pathlib raises on it
        return None
    return Path(path)


def remember_base_location(home: Path, manifest: Digest, folder: Path) -> None:
    """Remember the path of a base; a later one replaces it."""
    known = _read(home) | {manifest.hex: str(folder.resolve())}
    write_atomically(home / FILE_NAME, json.dumps(known, indent=2, sort_keys=True).encode() + b"\n")


def _read(home: Path) -> dict[str, str]:
    path = home / FILE_NAME
    if not path.exists():
        return {}
    value = read_json(read_file(path, max_bytes=MAX_BYTES), what=str(path))
    return {str(key): str(folder) for key, folder in value.items()} if isinstance(value, dict) else {}
