"""A home: where one registry keeps its database, objects, keys, trust and remembered checkpoints, opened as one value.

    HOME/registry.json     what this registry is: id, database, store, MLflow server (no secrets)
    HOME/profile.json      the organisation, as answered at init
    HOME/trust.json        the signed trust file: the home's own, hence authority; HOME/trust-accepted remembers its version
    HOME/keys/             trainer.key log.key root.key (OpenSSH, 0600) and their .pub (SPKI PEM)
    HOME/checkpoints/      remembered outside the database: `latest`, and one file a size; those of epoch N in `epoch-N/`
    HOME/database.sqlite   HOME/objects/   HOME/runs/   HOME/states/   HOME/begun.jsonl

Opening checks that the log continues the last remembered checkpoint, and what its user has seen of it. The clock and the
source of nonces come with the value, so that everything below can be tested with fixed ones.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.database.session import Database
from peft_registry.registry.disk.child_environment import Need
from peft_registry.registry.disk.files import DiskFull, NotWritable, write_atomically
from peft_registry.registry.disk.hashing import DigestCache
from peft_registry.registry.homes.kept_digests import kept_digests
from peft_registry.registry.homes.known_homes import (
    Addresses,
    HomeNotNamed,
    known_at,
    known_under,
    remember,
    remember_addresses,
    require_accepted_addresses,
)
from peft_registry.registry.homes.layout import FOLDER_NAME, LATEST, HomeFiles
from peft_registry.registry.homes.pins import Pins
from peft_registry.registry.homes.remembered_stops import RememberedStops
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing.keys import PrivateKey, PublicKey
from peft_registry.registry.signing.trust import TrustAnchors, current_policy, open_chain
from peft_registry.registry.signing.trust_chain import TrustChain
from peft_registry.registry.storage import open_store
from peft_registry.registry.storage.interface import ObjectStore
from peft_registry.registry.transparency import note
from peft_registry.registry.transparency.epochs import (
    Epochs,
    EpochUnknown,
    epochs_of,
    log_keys_of,
    require_opened,
    require_signed_losses,
    require_standing,
)
from peft_registry.registry.transparency.log import check_against_remembered
from peft_registry.schemas.document import Frozen, first_problem
from peft_registry.schemas.errors import IntegrityBroken, NotChecked, NotFound, Refused, Unavailable
from peft_registry.schemas.policy import Role, TrustPolicy
from peft_registry.schemas.statement import log_origin
from peft_registry.schemas.values import timestamp

KEY_ROLES: tuple[Role, ...] = ("trainer", "log", "root")
SETTINGS_MAX_BYTES = 1024 * 1024
OWN_MAX_BYTES = 64 * 1024 * 1024  # of any small file of a home: trust, settings, checkpoints
_SIZE = re.compile("0|[1-9][0-9]*")
_VERSION = re.compile("[0-9]{1,18}")
Passphrase = Callable[[], bytes]
Schema = TypeVar("Schema", bound=BaseModel)
Made = TypeVar("Made")


class HomeNotFound(NotFound):
    what = "there is no registry here"
    why = "looked for {looked}"
    fix = "{remedy}"

    looked: str
    inside: Path | None = None  # a registry in the folder that was named

    @property
    def remedy(self) -> str:
        if self.inside is None:
            return "run `registry init`, or name a home with --home or REGISTRY_HOME"
        return f"name the registry in that folder, {self.inside}"


class HomeOfAnotherUser(Refused):
    what = "the registry at {folder} was found in a parent folder and belongs to another user"
    why = "its trust file would decide what you accept"
    fix = "name it with --home if you mean it, or run `registry init` in your own folder"

    folder: Path


class HomeDamaged(IntegrityBroken):
    what = "{path} cannot be read as part of a registry"
    why = "{reason}"
    fix = "restore it from a backup; nothing was changed"

    path: Path
    reason: str


class HomeReadOnly(Unavailable):
    reference = "read-only-home"
    what = "the registry at {folder} cannot be written"
    why = "the folder is read-only for this user"
    fix = "run as a user who may write it; reading and verifying work as it is"

    folder: Path


class HomeSettings(Frozen):
    """`registry.json`: what this registry is. `database` and `store` null mean inside the home."""

    schema_version: Literal["1"] = "1"
    registry_id: str
    created_at: str
    database: str | None = None
    store: str | None = None
    mirror: Literal["store", "server"] | None = None
    mirror_uri: str | None = None

    @property
    def addresses(self) -> Addresses:
        """What lies outside of the home."""
        return Addresses(self.database, self.store, self.mirror_uri)

    @property
    def needs(self) -> frozenset[Need]:
        """Which credentials a child needs that opens this home."""
        needs: set[Need] = set()
        if self.database is not None:
            needs.add("database")
        if self.store is not None:
            needs.add("store")
        return frozenset(needs)


def utc_now() -> str:
    """The time as every document writes it: RFC 3339, UTC, whole seconds, `Z`."""
    return timestamp(datetime.now(UTC))


def new_nonce() -> str:
    """32 random hexadecimal characters."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Registry:
    """One open registry. Cheap to make: trust, keys, store and cache are read when they are first used."""

    folder: Path
    settings: HomeSettings
    database: Database
    read_only: bool
    clock: Callable[[], str] = utc_now
    nonce: Callable[[], str] = new_nonce
    passphrase: Passphrase | None = field(default=None, repr=False)
    pins: Pins | None = None
    seen: SeenCheckpoints | None = None
    known_here: frozenset[str] = frozenset()
    """Ids of the registries that its user knew at this place before it was opened."""

    @property
    def files(self) -> HomeFiles:
        """Where its files and folders lie."""
        return HomeFiles(self.folder)

    def kept(self, what: str, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives for a key, kept while the home is open; of each `what` only that of the last key.

        Only for what the key alone decides: what was proven to a signed root, say, and not what a row or a file says.
        """
        known = self._kept.get(what)
        if known is not None and known[0] == key:
            value: Made = known[1]
            return value
        made = make()
        self._kept[what] = (key, made)
        return made

    @cached_property
    def _kept(self) -> dict[str, tuple[Hashable, Any]]:  # what each `make` gives
        return {}

    @property
    def log_name(self) -> str:
        """The log's origin before any loss was accepted, which names the log in the trust file."""
        return log_origin(self.settings.registry_id)

    @property
    def origin(self) -> str:
        """The log's origin, in the epoch that it is in."""
        return self.epochs.origin

    @cached_property
    def epochs(self) -> Epochs:
        """The accepted losses of the log, as the home's trust file states them; none where no trust file can say so."""
        try:
            return epochs_of(self.trust_chain, self.log_name)
        except NotChecked:
            return Epochs(self.log_name)

    @cached_property
    def store(self) -> ObjectStore:
        return open_store(self.settings.store or str(self.folder))

    @cached_property
    def cache(self) -> DigestCache | None:
        """Digests of bases by stat key, in the user's state folder; None where nobody remembers."""
        return None if self.seen is None else kept_digests(self.seen.state, "bases")

    @cached_property
    def trust(self) -> TrustPolicy:
        """What the newest version of the home's own trust file says, checked and not expired."""
        return current_policy(self.trust_chain, now=self.clock())

    @cached_property
    def trust_chain(self) -> TrustChain:
        """The versions of the home's own trust file, checked, and held against what this user accepted before.

        The newest may have expired: whoever renews it reads it so.
        """
        return self._read_trust_chain()

    def read_trust(self, *, at: str) -> TrustPolicy:
        """The home's own trust file as it lies there now, not expired at a time, RFC 3339.

        What is about to be signed asks for it anew: a training takes days, and a key may be revoked meanwhile.
        """
        return current_policy(self._read_trust_chain(), now=at)

    def _read_trust_chain(self) -> TrustChain:
        data = _read(self.files.trust)
        accepted_file = self.files.trust_accepted
        accepted = _number(accepted_file) if accepted_file.exists() else None
        anchors = TrustAnchors(file_given_by_user=True)
        chain = open_chain(data, anchors=anchors, accepted_version=accepted)
        if self.pins is not None:
            self.pins.follow(self.settings.registry_id, chain, before=self.known_here)
        version = chain.newest.policy.version
        if not self.read_only and version != accepted:
            # reading works on a full disk too: there the older version stays remembered
            with contextlib.suppress(DiskFull, NotWritable):
                write_atomically(accepted_file, str(version).encode())
        return chain

    @cached_property
    def trainer_key(self) -> PrivateKey:
        return self.private_key("trainer")

    @cached_property
    def log_key(self) -> PrivateKey | None:
        """The log key, or None where somebody else holds it."""
        return self.private_key("log") if self.has_log_key else None

    @property
    def has_log_key(self) -> bool:
        """Whether the log key is here; nobody is asked for its passphrase."""
        return self.files.key("log").private.exists()

    @property
    def has_signer_loaded(self) -> bool:
        """Whether the key that signs statements was asked for since the home was opened."""
        return "trainer_key" in vars(self)

    @property
    def log_keys(self) -> tuple[PublicKey, ...]:
        """The public keys that may sign checkpoints of this log; a trust file may list those of other logs too."""
        return log_keys_of(self.trust, self.log_name)

    def private_key(self, role: str) -> PrivateKey:
        return PrivateKey.load(self.files.key(role).private, self.passphrase)

    def unlock(self) -> None:
        """Load the keys that sign a registration: their passphrase is asked for now, before the work that they sign.

        Raises:
            HomeReadOnly: nothing can be registered here.
            SchemaMismatch: nor here before an upgrade.
            WrongPassphrase, PassphraseNeeded, KeyFileMissing: a key does not open.
        """
        self.require_writable()
        # a base that is converted, or a training, takes minutes: what it ends in is known now
        self.database.require_current()
        _ = self.trainer_key, self.log_key

    def require_writable(self) -> None:
        """Raise HomeReadOnly unless this home can be written."""
        if self.read_only:
            raise HomeReadOnly(self.folder)

    @cached_property
    def stops(self) -> RememberedStops | None:
        """The stops that this user remembers, which no checkpoint covered; None where nobody remembers."""
        if self.seen is None or self.seen.state is None:
            return None
        return RememberedStops.of(self.seen.state, self.settings.registry_id, self.seen.say)

    @property
    def checkpoints_folder(self) -> Path:
        """Where checkpoints of the epoch that the log is in are kept outside the database; those of others stay where they are."""
        return self.files.checkpoints_of(self.epochs.number)

    def recorded_checkpoint(self, tx: catalog.Transaction) -> str | None:
        """The newest checkpoint in the database, of the epoch that the log is in."""
        return catalog.latest_checkpoint(tx, origin=self.origin if self.epochs.number else None)

    def newest_checkpoints(self, tx: catalog.Transaction) -> tuple[str, ...]:
        """The checkpoints that the log has to continue: `latest`, the one of the greatest size beside it, and the database's own.

        Whoever removes one of them leaves the others.
        """
        folder = self.checkpoints_folder
        sizes = _sizes(folder)
        largest = _read(folder / f"{max(sizes)}").decode("utf-8", "replace") if sizes else None
        path = folder / LATEST
        latest = _read(path).decode("utf-8", "replace") if path.exists() else None
        kept = (latest, largest, self.recorded_checkpoint(tx))
        return tuple(dict.fromkeys(text for text in kept if text is not None))

    def remembered_checkpoint(self) -> str | None:
        """The newest checkpoint kept outside the database: the one beside it, or the one that this user has seen."""
        path = self.checkpoints_folder / LATEST
        latest = _read(path).decode("utf-8", "replace") if path.exists() else None
        kept = [text for text in (latest, self.seen_checkpoint()) if text is not None]
        return max(kept, key=lambda text: note.read_unverified(text)[1], default=None)

    def seen_checkpoint(self) -> str | None:
        """The newest checkpoint of this log, in its epoch, that this user has seen, wherever it came from."""
        return None if self.seen is None else self.seen.newest(self.origin)

    def remembered_checkpoints(self) -> tuple[tuple[str, str], ...]:
        """(place, text) of every checkpoint kept outside the database, of every epoch, by place."""
        kept = []
        for folder in self.files.every_checkpoints_folder():
            names = [*(f"{size}" for size in _sizes(folder)), *([LATEST] if (folder / LATEST).exists() else [])]
            paths = [folder / name for name in sorted(names)]
            kept += [(f"{path.relative_to(self.folder)}", _read(path).decode("utf-8", "replace")) for path in paths]
        if self.seen is not None:
            texts = (self.seen.newest(origin) for origin in (*self.epochs.origins, self.epochs.next_origin))
            kept += [("your state folder", text) for text in texts if text is not None]
        return tuple(kept)

    def remember_checkpoint(self, text: str, size: int) -> None:
        """Keep a checkpoint outside the database, by size and as the latest, and as seen by this user."""
        folder = self.checkpoints_folder
        folder.mkdir(exist_ok=True, parents=True)
        for name in (f"{size}", LATEST):
            write_atomically(folder / name, text.encode())
        if self.seen is not None:
            self.seen.remember(self.origin, text)

    def close(self) -> None:
        self.database.close()


def find_home(start: Path, explicit: Path | None, *, state: Path | None) -> Path:
    """The home to use: the one named, else `.registry` in `start` or above, as git looks for its folder.

    Nothing of a home that was found upwards is read before it is known to be the user's own.

    Args:
        start: where to look first.
        explicit: the home that the user names.
        state: the user's state folder, which holds the homes that they made or named before.

    Raises:
        HomeNotFound: nothing is there.
        HomeOfAnotherUser: it was found upwards and another user owns it.
        HomeNotNamed: it was found upwards, and this user neither made nor named it.
        HomeDamaged: the user's own cannot be read.
    """
    if explicit is not None:
        if not HomeFiles(explicit).settings.is_file():
            inside = explicit / FOLDER_NAME
            is_home = HomeFiles(inside).settings.is_file()
            raise HomeNotFound(f"{HomeFiles(explicit).settings}", inside if is_home else None)
        return explicit
    for folder in (start, *start.parents):
        home = folder / FOLDER_NAME
        if HomeFiles(home).settings.is_file():
            return _require_own(home, state)
    raise HomeNotFound(f"{FOLDER_NAME} in {start} and every folder above")


def _require_own(home: Path, state: Path | None) -> Path:
    """The real path of a home that was found upwards, if it is the user's: a link cannot be turned to another afterwards."""
    real = home.resolve()
    if real.stat().st_uid not in (os.getuid(), 0):
        raise HomeOfAnotherUser(home)
    known = known_at(state, real)
    if not known or read_settings(real).registry_id not in known:
        raise HomeNotNamed(home)
    return real


def open_home(
    folder: Path,
    *,
    passphrase: Passphrase | None = None,
    clock: Callable[[], str] = utc_now,
    nonce: Callable[[], str] = new_nonce,
    check_log: bool = True,
    pins: Pins | None = None,
    seen: SeenCheckpoints | None = None,
    against: Sequence[str] = (),
) -> Registry:
    """An open registry; its log continues the last checkpoint that was remembered outside the database.

    Args:
        folder: the home.
        passphrase: asked for when a key is first used.
        clock: the time, RFC 3339, UTC.
        nonce: the source of ids.
        check_log: False opens one whose log is broken, to look at it.
        pins: the trust files that its user accepted before; None for a caller who knows the home otherwise.
        seen: what its user has seen of logs before; None where nobody remembers.
        against: texts of checkpoints that were kept elsewhere, which the log has to continue too.

    Raises:
        AddressesChanged: it names another database or server than the user accepted; nothing was asked of that.
        TrustReplaced, TrustRolledBack, TrustForked: its trust file is not the one that the user accepted before.
        HomeNotFound, HomeDamaged: there is none, or it cannot be read.
        LogTruncated, LogForked: the database is older than, or other than, what was signed.
        LossNotAccepted, EpochUnknown, EpochNotOpened, EpochUnsound: it is older, and no root accepted that loss.
        SeenCheckpointUnreadable: what was seen before cannot be compared.
        MalformedNote, WrongOrigin, BadSignature: what it is compared with is not a checkpoint of this log.
    """
    settings = read_settings(folder)
    if pins is not None:
        require_accepted_addresses(pins.state, folder, settings.registry_id, settings.addresses)
    read_only = not os.access(folder, os.W_OK)
    uri = settings.database or f"sqlite:///{HomeFiles(folder).database}"
    database = Database.open(uri, read_only=read_only and settings.database is None)
    registry = Registry(
        folder,
        settings,
        database,
        read_only,
        clock=clock,
        nonce=nonce,
        passphrase=passphrase,
        pins=pins,
        seen=seen,
        known_here=frozenset() if pins is None else known_under(pins.state, folder),
    )
    try:
        if check_log:
            _check_log(registry, against)
    except BaseException:
        registry.close()
        raise
    if pins is not None and settings.registry_id in registry.known_here:
        remember_addresses(pins.state, folder, settings.registry_id, settings.addresses)
    return registry


def remember_home(state: Path | None, folder: Path, settings: HomeSettings) -> bool:
    """Know a home, and what it may contact, from now on; False where the state folder cannot be written."""
    is_known = remember(state, folder, settings.registry_id)
    return remember_addresses(state, folder, settings.registry_id, settings.addresses) and is_known


def remember_accepted(registry: Registry, state: Path | None) -> bool:
    """Know a registry that its user named from now on, once its trust file is one that they accept; False where it is not.

    Not one that stands where another was: the next command would find it known here.
    """
    try:
        _ = registry.trust_chain
    except (IntegrityBroken, NotChecked):  # said by whatever asks for trust
        return False
    return remember_home(state, registry.folder, registry.settings)


def read_settings(folder: Path) -> HomeSettings:
    """`registry.json` of a home.

    Raises:
        HomeDamaged: it is not readable as one.
    """
    return read_own(HomeFiles(folder).settings, HomeSettings)


def write_settings(folder: Path, settings: HomeSettings) -> None:
    """Replace `registry.json`."""
    write_atomically(HomeFiles(folder).settings, settings.model_dump_json(indent=2).encode() + b"\n")


def read_own(path: Path, schema: type[Schema]) -> Schema:
    """One of the home's own small JSON files.

    Raises:
        HomeDamaged: it is missing or not what belongs there.
        MalformedJson: it is not JSON.
    """
    value = read_json(_read(path), what=str(path), max_bytes=SETTINGS_MAX_BYTES)
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise HomeDamaged(path, first_problem(error)) from error


def _check_log(registry: Registry, against: Sequence[str]) -> None:
    """Hold the log against the newest checkpoints that survive, those given, and what its user has seen; remember the newest."""
    with registry.database.read() as tx:
        store = SqlLogStore(tx)
        seen = _check_seen(registry, store)
        try:
            keys = registry.log_keys
        except NotChecked:
            if against:
                raise
            # an expired trust file says nothing about the log; verification reports it, and reading goes on
            return
        epochs = registry.epochs
        require_signed_losses(epochs, keys)
        kept = registry.newest_checkpoints(tx)
        if kept or against:
            store.read_frontier(store.size())
        for text in dict.fromkeys((*kept, *against)):
            origin = epochs.origins[epochs.number_of(text)]
            note.verify_checkpoint(text, origin=origin, keys=keys)
            if require_standing(epochs, text, store) == "continued":
                check_against_remembered(store, text, keys, origin=origin)
            elif text in against and registry.seen is not None:
                registry.seen.say(_acceptance(epochs, text))
        newest = _newest_of(epochs, (*kept, *against, *seen))
        if epochs.number:
            checkpoint = None if newest is None else note.verify_checkpoint(newest, origin=epochs.origin, keys=keys)
            require_opened(epochs, store, checkpoint)
    if registry.seen is not None and newest is not None:
        if epochs.number and seen and registry.seen_checkpoint() is None:
            registry.seen.say(_acceptance(epochs, seen[-1]))
            registry.seen.remember(registry.origin, newest)
        registry.seen.follow(registry.origin, newest)


def _check_seen(registry: Registry, store: SqlLogStore) -> tuple[str, ...]:
    """What its user has seen of the log, of each epoch; raise unless the log continues it, or its loss was accepted.

    Its signature was checked when it was seen, and its key may be gone by now.
    """
    if registry.seen is None:
        return ()
    epochs = registry.epochs
    if registry.seen.newest(epochs.next_origin) is not None:
        _ = registry.trust_chain  # where it cannot be read, that is what is wrong
        raise EpochUnknown(epochs.next_origin, epochs.number)
    texts = [text for origin in epochs.origins if (text := registry.seen.newest(origin)) is not None]
    for text in texts:
        require_standing(epochs, text, store)
    return tuple(texts)


def _newest_of(epochs: Epochs, texts: Iterable[str]) -> str | None:
    """The largest checkpoint of the newest epoch."""
    of_epoch = [text for text in texts if note.read_unverified(text)[0] == epochs.origin]
    return max(of_epoch, key=lambda text: note.read_unverified(text)[1], default=None)


def _acceptance(epochs: Epochs, text: str) -> str:
    """What is said of a checkpoint of an earlier epoch."""
    stated = epochs.accepted_loss(text) or epochs.stated[-1]
    epoch = stated.epoch
    return (
        f"note: accepted loss in epoch {epoch.number} of {epoch.log}: of {stated.lost.size} entries {epoch.kept_size} were kept, "
        f"accepted by {epoch.accepted_by} at {epoch.accepted_at} ({epoch.reason})"
    )


def _sizes(folder: Path) -> list[int]:
    """The sizes for which a checkpoint is kept in a folder, by its names: decimal, in ASCII, without leading zeros."""
    if not folder.is_dir():
        return []
    return [int(path.name) for path in folder.iterdir() if _SIZE.fullmatch(path.name)]


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise HomeDamaged(path, "it is not a regular file")  # reading a FIFO would wait for ever
    try:
        size = path.stat().st_size
        if size > OWN_MAX_BYTES:
            raise HomeDamaged(path, f"it has {size} bytes, and a file of its kind has at most {OWN_MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise HomeDamaged(path, error.strerror or str(error)) from error


def _number(path: Path) -> int:
    text = _read(path).decode("ascii", "replace").strip()
    if not _VERSION.fullmatch(text):
        raise HomeDamaged(path, "it holds no version number")
    return int(text)
