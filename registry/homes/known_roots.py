"""Which roots this user has used by name: what tells a home of their own from one that came with somebody's archive.

A home found by walking upwards may have been unpacked together with what is being verified; its owner on disk is then the
user all the same. So its trust file is authority only if the user made it (`init`), or named it once (`--home`,
`REGISTRY_HOME`). Kept in the user's own state folder, one root key id a line.
"""

import os
from pathlib import Path

from peft_registry.registry.disk.files import read_file
from peft_registry.schemas.errors import NotChecked

FILE_NAME = "roots"
_MAX_BYTES = 1 << 20


class HomeNotNamed(NotChecked):
    reference = "home-not-named"
    what = "the registry at {folder} was found in a parent folder, and you have never named it"
    why = "it may have come in the same archive as what is being verified, and its trust file would vouch for itself"
    fix = "if it is yours, name it once with --home {folder}; otherwise use --trust FILE"

    folder: Path


def is_known(state: Path | None, root: str) -> bool:
    """Whether this user has made or named a registry with that root key."""
    path = None if state is None else state / FILE_NAME
    if path is None or not path.is_file():
        return False
    return root in read_file(path, max_bytes=_MAX_BYTES).decode("ascii", "replace").split()


def remember(state: Path | None, root: str) -> None:
    """Note a root that the user named. Where the state folder cannot be written, homes have to be named each time."""
    if state is None or is_known(state, root):
        return
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(state / FILE_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # a convenience is lost, nothing else
        return
    with os.fdopen(descriptor, "ab") as file:
        file.write(root.encode() + b"\n")
