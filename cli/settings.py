"""Flag > environment > file > default, resolved once. Nothing else in the program reads the environment for settings."""

import os
import sys
import warnings
from collections.abc import Callable
from getpass import GetPassWarning, getpass
from pathlib import Path

from peft_registry.cli import console
from peft_registry.schemas.errors import InputRefused

PASSPHRASE_VARIABLE = "REGISTRY_PASSPHRASE"  # noqa: S105  the name of a variable


class PassphraseUnavailable(InputRefused):
    reference = "passphrase-unavailable"
    what = "the signing key has a passphrase and nobody can be asked for it"
    why = "this is not a terminal, and neither --passphrase-file nor REGISTRY_PASSPHRASE is set"
    fix = "set one of them, or run on a terminal"


class PassphraseWouldShow(InputRefused):
    reference = "passphrase-would-show"
    what = "this terminal would show the passphrase while it is typed"
    why = "it cannot switch its echo off"
    fix = "set --passphrase-file or REGISTRY_PASSPHRASE, or use another terminal"


def state_folder() -> Path | None:
    """Where this user's own notes are kept; None for a user without a home folder."""
    from peft_registry.registry.homes import known_homes

    return known_homes.state_folder(os.environ)


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
    if file is not None or PASSPHRASE_VARIABLE in os.environ:
        return _read_passphrase(file, "")
    while True:
        passphrase = _read_passphrase(None, "New passphrase for the registry's keys: ")
        if _ask("The same passphrase again: ") == passphrase:
            return passphrase
        console.note("the two differ; type it again")


def _read_passphrase(file: Path | None, prompt: str) -> bytes:
    from peft_registry.registry.disk.files import read_file

    if file is not None:
        return read_file(file, max_bytes=4096).rstrip(b"\r\n")
    if PASSPHRASE_VARIABLE in os.environ:
        return os.fsencode(os.environ[PASSPHRASE_VARIABLE])  # whatever bytes it has, also where they are no UTF-8
    return _ask(prompt)


def _ask(prompt: str) -> bytes:
    """What a person types without seeing it.

    Raises:
        PassphraseUnavailable: there is no person, or the input ends.
        PassphraseWouldShow: this terminal cannot hide what is typed.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise PassphraseUnavailable
    with warnings.catch_warnings():
        warnings.simplefilter("error", GetPassWarning)  # getpass would warn, and then echo
        try:
            return getpass(prompt).encode()
        except GetPassWarning as error:
            raise PassphraseWouldShow from error
        except EOFError as error:
            raise PassphraseUnavailable from error
