"""`registry admin upgrade`: a home of an earlier release gets the schema and the snapshot of this one, or stays as it was.

    backup → one transaction with every missing revision → one with what versions are found by → checkpoint, with the first snapshot
    of what the log says

The backup of SQLite is a copy of the database beside it, taken before anything changes. A server's database is for its own tools to
back up; there the transaction alone is what a kill cannot divide.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.database.session import Database
from peft_registry.registry.database.tables import SCHEMA_REVISION
from peft_registry.registry.disk.files import unwritable
from peft_registry.registry.homes.home import Passphrase, Registry, open_home, read_settings
from peft_registry.registry.homes.known_homes import require_accepted_addresses
from peft_registry.registry.homes.layout import HomeFiles
from peft_registry.registry.homes.pins import Pins
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from peft_registry.registry.records.checkpoints import covered_size, publish_checkpoint
from peft_registry.registry.records.signed_records import is_announced
from peft_registry.registry.signing.keys import PrivateKey, Signer
from peft_registry.registry.signing.rotation import WiderThanRole, next_draft
from peft_registry.registry.signing.trust import ExpiredKey, KeyLacksRole, TrustExpired, UnlistedKey
from peft_registry.registry.use_cases.announce_edition import announce_edition
from peft_registry.registry.use_cases.fill_facets import fill_facets
from peft_registry.registry.use_cases.next_card import renew_cards
from peft_registry.registry.use_cases.trust import issue, place_of_home
from peft_registry.schemas.progress import Observe, Said, ignore

TrustUpgrade = Literal["current", "upgraded", "no-root-key", "expired", "wider-than-role", "waiting"]
EditionAnnounced = Literal["before", "now", "no-key", "refused"]


SignerOfPerson = Callable[[Registry], Signer]
"""The key of a person, once the home that tells whether it must be listed is open."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade did: revisions before and after, and the backup that it made (None where none was needed or possible).

    `trust` says whether the trust file has form 2 now, or why it stays in form 1; `edition` whether the edition by which this
    release derives records was announced before or now, or why it is not.
    """

    before: str | None
    after: str
    backup: Path | None
    covered: int  # entries under the checkpoint that it ended with
    trust: TrustUpgrade = "current"
    edition: EditionAnnounced = "before"
    cards: int = 0  # signed anew, of versions whose record had superseded another after their card was signed

    @property
    def changed(self) -> bool:
        return self.before != self.after or self.trust == "upgraded" or self.edition == "now" or self.cards > 0


def needed_upgrade(folder: Path, *, pins: Pins | None = None) -> tuple[str | None, str]:
    """(schema revision of a home, revision of this program); nothing is written.

    Raises:
        AddressesChanged: it names another database than the user accepted, which was not asked.
        HomeNotFound, HomeDamaged, SchemaMismatch: there is no home, or a newer program made it.
    """
    if pins is not None:
        settings = read_settings(folder)
        require_accepted_addresses(pins.state, folder, settings.registry_id, settings.addresses)
    database = Database.open(_address(folder), read_only=read_settings(folder).database is None)
    try:
        return database.revision, SCHEMA_REVISION
    finally:
        database.close()


def upgrade_home(
    folder: Path,
    *,
    passphrase: Passphrase | None = None,
    pins: Pins | None = None,
    seen: SeenCheckpoints | None = None,
    announce: SignerOfPerson | None = None,
    observe: Observe = ignore,
) -> Upgraded:
    """Bring a home up to date; one that is already is given a snapshot where its log has none.

    `announce` gives the key that announces the edition of this release: of an approver or an officer. Without it the root of the
    home signs that, where its key is here.

    Raises:
        TrustReplaced, TrustRolledBack, TrustForked: its trust file is not the one that the user accepted; nothing was changed.
        DatabaseLocked: somebody else is writing; nothing was changed.
        NotWritable, DiskFull: the backup could not be written; nothing was changed.
        EntryRejected, LogForked, LogTruncated: the log contradicts itself: the schema is new, and nothing was signed over it.
    """
    ask_once = None if passphrase is None else cache(passphrase)
    # as it is: nothing is changed in a home that was exchanged, or whose log was set back
    open_home(folder, pins=pins, seen=seen).close()
    _unlock(folder, ask_once)
    before, after = needed_upgrade(folder)
    backup = None
    if before != after:
        backup = _back_up(folder, before)
        if backup is not None:
            observe(Said("backup", f"{backup}"))
        Database.create(_address(folder)).close()
        observe(Said("schema", f"revision {before} → {after}"))
    registry = open_home(folder, passphrase=ask_once, pins=pins, seen=seen)
    try:
        filled = fill_facets(registry)
        if filled:
            observe(Said("facets", f"of {filled} versions"))
        covered = publish_checkpoint(registry)
        trust = _upgrade_trust(registry)
    finally:
        registry.close()
    # opened anew: what a root may sign stands in the trust file of form 2
    registry = open_home(folder, passphrase=ask_once, pins=pins, seen=seen)
    try:
        edition = _announce(registry, announce)
        cards = 0 if edition in ("no-key", "refused") else renew_cards(registry)
        if cards:
            observe(Said("cards", f"of {cards} versions, as their records say today"))
        covered = covered_size(registry)
    finally:
        registry.close()
    return Upgraded(before, after, backup, covered, trust, edition, cards)


def _announce(registry: Registry, announce: SignerOfPerson | None) -> EditionAnnounced:
    """Announce the edition of this release, with a person's key or the root's."""
    if is_announced(registry, editions().newest, with_pending=True):
        return "before"
    if announce is None and not registry.files.key("root").private.exists():
        return "no-key"
    signer = registry.private_key("root") if announce is None else announce(registry)
    try:
        announce_edition(registry, signer)
    except (KeyLacksRole, ExpiredKey, UnlistedKey, TrustExpired):
        if announce is not None:
            raise
        return "refused"  # a root of a trust file of the first release, which lists what each key may sign
    return "now"


def _upgrade_trust(registry: Registry) -> TrustUpgrade:
    """Make a chain of a trust file of the first release, where the root key is here to sign it."""
    if registry.trust_chain.newest.policy.schema_version == "2":
        return "current"
    if registry.read_only or not registry.files.key("root").private.exists():
        return "no-root-key"
    try:
        place = place_of_home(registry)
        change = issue(place, next_draft(place.chain.newest, now=place.now))
    except TrustExpired:
        return "expired"
    except WiderThanRole:
        return "wider-than-role"
    return "upgraded" if change.state == "accepted" else "waiting"


def _unlock(folder: Path, passphrase: Passphrase | None) -> None:
    """Ask for the log key's passphrase before anything is done; who does not hold the key is not asked."""
    key = HomeFiles(folder).key("log").private
    if key.exists():
        PrivateKey.load(key, passphrase)


def _address(folder: Path) -> str:
    return read_settings(folder).database or f"sqlite:///{HomeFiles(folder).database}"


def _back_up(folder: Path, revision: str | None) -> Path | None:
    """A copy of a home's own database, complete although others may be writing; None for a server's."""
    if read_settings(folder).database is not None:
        return None
    backups = HomeFiles(folder).backups
    target = backups / f"database-{revision}.sqlite"
    part = target.with_suffix(".part")
    try:
        backups.mkdir(exist_ok=True, mode=0o700)
        part.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(HomeFiles(folder).database)) as source,
            closing(sqlite3.connect(part)) as copy,
        ):
            source.backup(copy)
        part.replace(target)
    except (OSError, sqlite3.OperationalError) as error:
        raise unwritable(target, error if isinstance(error, OSError) else OSError(f"{error}")) from error
    return target
