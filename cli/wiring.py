"""Opening what a command needs, from its options. Imports the registry only when a command runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from peft_registry.cli.settings import passphrase_source, state_folder

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
    from peft_registry.schemas.errors import KnownError
    from peft_registry.schemas.policy import TrustPolicy


def typed_command() -> tuple[str, ...]:
    """The words after `registry` on the command line, for the record of a run."""
    return tuple(sys.argv[1:])


@contextmanager
def opened(home: Path | None, passphrase_file: Path | None = None, *, check_log: bool = True) -> "Iterator[Registry]":
    """The registry that the options mean, closed afterwards; `check_log=False` opens one whose log is broken, to look at it."""
    from peft_registry.registry.homes.home import find_home, open_home

    registry = open_home(
        find_home(Path.cwd(), home), passphrase=passphrase_source(passphrase_file), check_log=check_log
    )
    try:
        yield registry
    finally:
        registry.close()


def home_if_any(home: Path | None) -> "Registry | None":
    """The registry, or None where there is none and none was asked for by name."""
    from peft_registry.registry.homes.home import HomeNotFound, find_home, open_home

    try:
        return open_home(find_home(Path.cwd(), home), passphrase=passphrase_source())
    except HomeNotFound:
        if home is not None:
            raise
        return None


def chosen_trust(
    registry: "Registry | None", trust: Path | None, roots: list[str] | None, *, home: Path | None
) -> "tuple[TrustPolicy | None, KnownError | None]":
    """The trust that speaks, and why there is none: the user's file, else that of a home of their own, else nobody.

    A home counts as the user's own if they name it now (`home`), named it before, or made it.
    """
    from peft_registry.registry.disk.files import read_file
    from peft_registry.registry.homes.home import utc_now
    from peft_registry.registry.homes.known_roots import HomeNotNamed, is_known, remember
    from peft_registry.registry.signing.trust import TRUST_MAX_BYTES, TrustAnchors, load_trust
    from peft_registry.schemas.errors import IntegrityBroken, NotChecked
    from peft_registry.schemas.identity import Digest

    try:
        if trust is not None:
            ids = frozenset(Digest.parse(root).hex for root in roots or ())
            anchors = TrustAnchors(root_key_ids=ids, file_given_by_user=not ids)
            data = read_file(trust, max_bytes=TRUST_MAX_BYTES)
            return load_trust(data, anchors=anchors, now=utc_now(), accepted_version=None), None
        if registry is None:
            return None, None
        policy = registry.trust
        state = state_folder()
        if home is not None:
            remember(state, policy.roots[0])
        elif not is_known(state, policy.roots[0]):
            return None, HomeNotNamed(registry.folder)
        return policy, None
    except (NotChecked, IntegrityBroken) as error:
        return None, error
