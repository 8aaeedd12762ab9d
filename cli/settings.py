"""Flag > environment > file > default, resolved once. Nothing else in the program reads the environment for settings."""

import os
import stat
import sys
import warnings
from collections.abc import Callable
from getpass import GetPassWarning, getpass
from pathlib import Path
from typing import TYPE_CHECKING

from peft_registry.cli import console
from peft_registry.schemas.errors import InputRefused

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.signing.keys import PrivateKey

PASSPHRASE_FILE_MAX_BYTES = 4096
PASSPHRASE_VARIABLE = "REGISTRY_PASSPHRASE"  # noqa: S105  the name of a variable


class PassphraseUnavailable(InputRefused):
    what = "the signing key has a passphrase and nobody can be asked for it"
    why = "this is not a terminal, and neither --passphrase-file nor REGISTRY_PASSPHRASE is set"
    fix = "set one of them, or run on a terminal"


class PassphraseWouldShow(InputRefused):
    what = "this terminal would show the passphrase while it is typed"
    why = "it cannot switch its echo off"
    fix = "set --passphrase-file or REGISTRY_PASSPHRASE, or use another terminal"


class PassphraseFileExposed(InputRefused):
    what = "the passphrase in {path} is not read"
    why = "{reason}"
    fix = "keep it in a file of your own with mode 0600 that is not a link; change the passphrase if others may have read it"

    path: Path
    reason: str


def tracking_uri() -> str | None:
    """Which server the user's own MLflow writes to."""
    return os.environ.get("MLFLOW_TRACKING_URI")


def array_variables() -> dict[str, str]:
    """What Slurm or Kubernetes says of which process of an array this is."""
    from peft_registry.registry.bulk.lists import VARIABLES

    return {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}


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


def signer_from(key: Path, key_passphrase_file: Path | None, passphrase_file: Path | None) -> "PrivateKey":
    """A person's own key from a file; where its passphrase has no file of its own, it is that of the registry's keys.

    Raises:
        PassphraseUnavailable: it is encrypted, and nobody can be asked.
        KeyFileMissing, KeyFileUnreadable, KeyFileExposed, MalformedPrivateKey, WrongPassphrase: as `PrivateKey.load`.
    """
    from peft_registry.registry.signing.keys import PrivateKey

    return PrivateKey.load(key, passphrase_source(key_passphrase_file or passphrase_file))


def unlocked_signer(
    registry: "Registry", key: Path, key_passphrase_file: Path | None, passphrase_file: Path | None
) -> "PrivateKey":
    """A person's own key as `signer_from` reads it, once the registry's own keys are unlocked: they sign the log.

    Raises:
        PassphraseUnavailable: one of them is encrypted, and nobody can be asked.
        KeyFileMissing, KeyFileUnreadable, KeyFileExposed, MalformedPrivateKey, WrongPassphrase: as `PrivateKey.load`.
    """
    registry.unlock()
    return signer_from(key, key_passphrase_file, passphrase_file)


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
    if file is not None:
        return _read_passphrase_file(file)
    if PASSPHRASE_VARIABLE in os.environ:
        return os.fsencode(os.environ[PASSPHRASE_VARIABLE])  # whatever bytes it has, also where they are no UTF-8
    return _ask(prompt)


def _read_passphrase_file(path: Path) -> bytes:
    """The passphrase in a file that nobody else can reach; as for a private key, the open file is asked.

    Raises:
        PassphraseFileExposed: others can read or replace it.
        FileMissing, FileUnreadable: it cannot be read.
    """
    from peft_registry.registry.disk.files import NotARegularFile, reading, why_others_may_reach

    try:
        with reading(path) as file:
            status = os.fstat(file.descriptor)
            mode = stat.S_IMODE(status.st_mode)
            reason = why_others_may_reach(status)
            if mode & 0o077:
                reason = f"its mode is {mode:04o}; group and others must have no access"
            if file.key.size > PASSPHRASE_FILE_MAX_BYTES:
                reason = f"it has {file.key.size} bytes, and no passphrase is longer than {PASSPHRASE_FILE_MAX_BYTES}"
            if reason is not None:
                raise PassphraseFileExposed(path, reason)
            return b"".join(file.blocks(0, file.key.size)).rstrip(b"\r\n")
    except NotARegularFile as error:
        raise PassphraseFileExposed(path, error.why) from error


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
