"""Flag > environment > file > default, resolved once. Nothing else in the program reads the environment for settings."""

import os
import sys
from collections.abc import Callable
from getpass import getpass
from pathlib import Path

from peft_registry.schemas.errors import InputRefused

PASSPHRASE_VARIABLE = "REGISTRY_PASSPHRASE"  # noqa: S105  the name of a variable


class PassphraseUnavailable(InputRefused):
    reference = "passphrase-unavailable"
    what = "the signing key has a passphrase and nobody can be asked for it"
    why = "this is not a terminal, and neither --passphrase-file nor REGISTRY_PASSPHRASE is set"
    fix = "set one of them, or run on a terminal"


def state_folder() -> Path | None:
    """Where this user's own notes are kept (XDG base directories); None for a user without a home folder."""
    stated = os.environ.get("XDG_STATE_HOME") or ""
    if stated.startswith("/"):
        return Path(stated) / "peft-registry"
    try:
        return Path.home() / ".local" / "state" / "peft-registry"
    except RuntimeError:
        return None


def passphrase_source(file: Path | None = None) -> Callable[[], bytes]:
    """Where the keys' passphrase comes from, asked for at most once, and only when a key is encrypted."""
    known: list[bytes] = []

    def ask() -> bytes:
        if not known:
            known.append(_read_passphrase(file, "Passphrase of the registry's keys: "))
        return known[0]

    return ask


def new_passphrase(file: Path | None, *, unencrypted: bool) -> bytes | None:
    """The passphrase for new keys, None for keys without one.

    Raises:
        PassphraseUnavailable: nobody can be asked and --unencrypted was not given.
    """
    if unencrypted:
        return None
    first = _read_passphrase(file, "New passphrase for the registry's keys: ")
    if file is None and PASSPHRASE_VARIABLE not in os.environ and getpass("Once more: ").encode() != first:
        raise InputRefused.in_words(
            what="the two passphrases differ", why="one was mistyped", fix="run the command again"
        )
    return first


def _read_passphrase(file: Path | None, prompt: str) -> bytes:
    from peft_registry.registry.disk.files import read_file

    if file is not None:
        return read_file(file, max_bytes=4096).rstrip(b"\r\n")
    if PASSPHRASE_VARIABLE in os.environ:
        return os.fsencode(os.environ[PASSPHRASE_VARIABLE])  # whatever bytes it has, also where they are no UTF-8
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise PassphraseUnavailable
    return getpass(prompt).encode()
