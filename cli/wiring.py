"""Opening what a command needs, from its options. Imports the registry only when a command runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from peft_registry.cli import console
from peft_registry.cli.settings import passphrase_source, state_folder
from peft_registry.schemas.errors import InputRefused

if TYPE_CHECKING:
    from peft_registry.registry.disk.hashing import DigestCache
    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.homes.pins import Pins
    from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
    from peft_registry.registry.homes.seen_folders import SeenFolders
    from peft_registry.registry.use_cases.verify import DamagedRegistry
    from peft_registry.schemas.errors import KnownError
    from peft_registry.schemas.policy import TrustPolicy


class RootWithoutTrust(InputRefused):
    what = "--root says who must have signed a trust file, and --trust names none"
    why = "without that file it has no effect: the registry's own trust is not compared with it"
    fix = "add --trust FILE, or leave --root out"


REMINDER_DAYS = 30  # before a trust file expires


def typed_command() -> tuple[str, ...]:
    """The words after `registry` on the command line, for the record of a run."""
    return tuple(sys.argv[1:])


@contextmanager
def opened(
    home: Path | None, passphrase_file: Path | None = None, *, check_log: bool = True, checkpoint: Path | None = None
) -> "Iterator[Registry]":
    """The registry that the options mean, closed afterwards.

    `check_log=False` opens one whose log is broken, to look at it; a `checkpoint` is one that its log has to continue.
    """
    registry = _open(home, passphrase_file, check_log=check_log, checkpoint=checkpoint)
    try:
        yield registry
        _note_pending(registry)
    finally:
        registry.close()


def _note_pending(registry: "Registry") -> None:
    """Say so where a command has signed something that waits for the holder of the log key."""
    from peft_registry.registry.records.checkpoints import pending_elsewhere

    if registry.has_signer_loaded:
        pending = pending_elsewhere(registry)
        if pending:
            entries = "1 entry" if pending == 1 else f"{pending} entries"
            console.note(
                f"pending  {entries}, until the log is signed: `registry log sign`, where the log key is; a recall, a hold and "
                "a binding count already, everything else only then",
                indent=9,
            )


def home_if_any(home: Path | None, *, checkpoint: Path | None = None) -> "Registry | None":
    """The registry, or None where there is none and none was asked for by name."""
    from peft_registry.registry.homes.home import HomeNotFound

    try:
        return _open(home, checkpoint=checkpoint)
    except HomeNotFound:
        if home is not None:
            raise
        return None


def home_if_own(home: Path | None, *, checkpoint: Path | None = None) -> "Registry | None":
    """As `home_if_any`; without the registry of somebody else that lies in a parent folder, and saying so.

    For what works without any registry: whoever plants one must not be able to stop it.
    """
    from peft_registry.registry.homes.home import HomeOfAnotherUser
    from peft_registry.registry.homes.known_homes import AddressesChanged, HomeNotNamed

    try:
        return home_if_any(home, checkpoint=checkpoint)
    except (HomeNotNamed, HomeOfAnotherUser, AddressesChanged) as error:
        console.note(f"note: {error.what}; nothing of it is used ({error.fix})", indent=6)
        return None


def home_beside_folder(
    home: Path | None, *, checkpoint: Path | None = None
) -> "tuple[Registry | None, DamagedRegistry | None]":
    """As `home_if_own`, for what is judged by evidence of its own: also a registry that is damaged, opened as it is, and how.

    Not where a `checkpoint` is demanded that the log does not continue: the user asked about the registry then.

    Raises:
        HomeDamaged: what it is, or whom it trusts, cannot be read.
    """
    from peft_registry.registry.use_cases.verify import DamagedRegistry
    from peft_registry.schemas.errors import IntegrityBroken

    try:
        return home_if_own(home, checkpoint=checkpoint), None
    except IntegrityBroken as error:
        if checkpoint is not None:
            raise
        registry = _open(home, check_log=False)
        return registry, DamagedRegistry(registry.log_name, error)


def home_folder(home: Path | None) -> Path:
    """The folder of the registry that the options mean.

    Raises:
        HomeNotFound, HomeOfAnotherUser, HomeNotNamed, HomeDamaged: there is none that may be used.
    """
    from peft_registry.registry.homes.home import find_home

    return find_home(Path.cwd(), home, state=state_folder())


def remember_home(folder: Path) -> None:
    """Know a registry from now on whose trust file its user has just accepted."""
    from peft_registry.registry.homes import home

    home.remember_home(state_folder(), folder, home.read_settings(folder))


def seen_checkpoints() -> "SeenCheckpoints":
    """What this user has seen of logs before, in their state folder."""
    from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints

    return SeenCheckpoints(state_folder(), console.note)


def seen_folders() -> "SeenFolders | None":
    """What this user has seen of logs in folders that they verified; None for a user without a state folder."""
    from peft_registry.registry.homes.seen_folders import SeenFolders

    state = state_folder()
    return None if state is None else SeenFolders(state, console.note)


def _open(
    home: Path | None, passphrase_file: Path | None = None, *, check_log: bool = True, checkpoint: Path | None = None
) -> "Registry":
    from peft_registry.registry.homes.home import open_home, remember_accepted

    registry = open_home(
        home_folder(home),
        passphrase=passphrase_source(passphrase_file),
        check_log=check_log,
        pins=users_pins(),
        seen=seen_checkpoints(),
        against=() if checkpoint is None else (checkpoint_text(checkpoint),),
    )
    if home is not None:
        remember_accepted(registry, state_folder())
    _remind_of_expiry(registry)
    _warn_of_clock(registry)
    return registry


def _remind_of_expiry(registry: "Registry") -> None:
    """Say that the trust file expires soon; opening looked at it, for the keys of the log."""
    from peft_registry.registry.signing.trust import days_left

    policy = vars(registry).get("trust")  # not there where it could not be read, which the command says itself
    if policy is not None and days_left(policy, now=registry.clock()) < REMINDER_DAYS:
        console.note(
            f"note: the trust file expires at {policy.expires_at}: `registry trust renew`, where its root key is",
            indent=6,
        )


def _warn_of_clock(registry: "Registry") -> None:
    """Say that the log is ahead of this machine's clock: by that clock a key or a trust file may count that has expired."""
    from peft_registry.registry.records.checkpoints import log_ahead_of_clock

    newest = log_ahead_of_clock(registry)
    if newest is not None:
        console.warn(
            f"this machine's clock says {registry.clock()}, and the newest entry of the log is of {newest}: set the clock; "
            "until it passes that time, everything that is signed here gets the date of that entry"
        )


def checkpoint_text(path: Path) -> str:
    """The text of a checkpoint that somebody kept elsewhere."""
    from peft_registry.registry.disk.files import read_offered
    from peft_registry.registry.transparency.note import CHECKPOINT_MAX_BYTES

    return read_offered(path, max_bytes=CHECKPOINT_MAX_BYTES).decode("utf-8", "replace")


def users_pins() -> "Pins":
    """What this user accepted before, in their state folder."""
    from peft_registry.registry.homes.pins import Pins

    return Pins(state_folder(), console.note)


def chosen_trust(
    registry: "Registry | None", trust: Path | None, roots: list[str] | None
) -> "tuple[TrustPolicy | None, KnownError | None]":
    """The trust that speaks, and why there is none: the user's file, else that of a home of their own, else nobody.

    Raises:
        RootWithoutTrust: roots are named, and no file that they signed.
        OfferedFileRefused: the user's file is a FIFO, a folder or too large to be one.
    """
    from peft_registry.registry.disk.files import read_offered
    from peft_registry.registry.homes.home import utc_now
    from peft_registry.registry.homes.pins import name_of_chain
    from peft_registry.registry.signing.trust import TrustAnchors, current_policy, days_left, open_chain
    from peft_registry.registry.signing.trust_chain import TRUST_MAX_BYTES
    from peft_registry.schemas.errors import IntegrityBroken, NotChecked
    from peft_registry.schemas.identity import Digest

    if roots and trust is None:
        raise RootWithoutTrust
    try:
        if trust is not None:
            ids = frozenset(Digest.parse(root).hex for root in roots or ())
            anchors = TrustAnchors(root_key_ids=ids, file_given_by_user=not ids)
            data = read_offered(trust, max_bytes=TRUST_MAX_BYTES)
            chain = open_chain(data, anchors=anchors, accepted_version=None)
            users_pins().follow(name_of_chain(chain), chain)
            policy = current_policy(chain, now=utc_now())
            if days_left(policy, now=utc_now()) < REMINDER_DAYS:
                console.note(f"note: {trust} expires at {policy.expires_at}: ask its keeper for a newer version")
            return policy, None
        if registry is None:
            return None, None
        return registry.trust, None
    except (NotChecked, IntegrityBroken) as error:
        return None, error


def digests_of_earlier_runs() -> "DigestCache | None":
    """Digests of files that this user verified before, in their state folder; None where they have none that can be written."""
    from peft_registry.registry.homes.kept_digests import kept_digests

    return kept_digests(state_folder(), "verification")
