"""Joining a registry that others made: a second home with a key of its own, on the shared catalogue and the shared store.

It gets no new registry id, no log key and no root; a home that only reads gets no key at all. Whom it trusts comes from a trust
file whose root the joiner named; one of its log keys must have signed the newest checkpoint of that database. What the new key
signs counts once the root has signed it in, and is pending until whoever holds the log key signs.

Nothing is written to the database or the store. The home is built beside its place and renamed: a kill leaves none or a whole one.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.database.session import Database
from peft_registry.registry.disk.files import write_atomically
from peft_registry.registry.homes.home import HomeSettings, write_settings
from peft_registry.registry.homes.layout import LATEST, HomeFiles
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.signing.trust import TrustAnchors, current_policy, open_chain
from peft_registry.registry.signing.trust_chain import TrustChain, render_chain
from peft_registry.registry.storage import open_store
from peft_registry.registry.transparency import log, note
from peft_registry.registry.transparency.epochs import epochs_of, log_keys_of
from peft_registry.registry.use_cases.keys import create_key
from peft_registry.registry.use_cases.make_home import PasswordInAddress, built_beside, require_no_home
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotFound
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.statement import log_origin


class JoinIncomplete(InputRefused):
    what = "joining a registry needs its store, its trust file and its root"
    why = "{missing!l} was not given"
    fix = "ask whoever holds the root for `registry trust export FOLDER`, and for the root over another channel"

    missing: tuple[str, ...]


class NoRegistryThere(NotFound):
    what = "there is no registry in this database"
    why = "nobody has made one there"
    fix = "compare the address with those who use it, or make a new registry with `registry init --database`"


class TrustOfAnotherRegistry(IntegrityBroken):
    what = "this trust file does not speak of the registry in this database"
    why = "it lists no log key of {origin}"
    fix = "ask whoever holds the root for the trust file of this registry"

    origin: str


class StoreOfAnother(NotFound):
    reference = "store-of-another-registry"
    what = "this store is not that of the registry in the database"
    why = "it does not have {manifest}, which is registered as {label}"
    fix = "compare the address of the store with those who use it"

    manifest: Digest
    label: str


@dataclass(frozen=True, slots=True)
class JoiningHome:
    """What a second home is made of.

    Attributes:
        folder: where it will lie.
        profile: the organisation's.
        passphrase: of its key; None for a key without one.
        makes_key: whether it registers anything; a home that only reads needs no key of its own.
        database: the shared database.
        store: the shared store; None for a folder that only this home has.
        trust: bytes of the registry's trust file.
        root_key_ids: roots that the joiner named; one of them has signed a version of it.
    """

    folder: Path
    profile: OrganisationProfile
    passphrase: bytes | None
    database: str
    store: str
    trust: bytes
    root_key_ids: frozenset[str]
    makes_key: bool = True


@dataclass(frozen=True, slots=True)
class JoiningKey:
    """The key of a home that registers, which the root has to sign in."""

    public_file: Path
    key_id: str


@dataclass(frozen=True, slots=True)
class JoinedHome:
    """A home that was made, the chain that it trusts, and its key; None where it only reads."""

    settings: HomeSettings
    chain: TrustChain
    key: JoiningKey | None


def join_home(new: JoiningHome, *, now: str) -> JoinedHome:
    """Make a home on a registry that others made.

    Raises:
        HomeExists, PasswordInAddress: nothing was asked of the database.
        MalformedTrust, UnknownRoot, TrustExpired, TrustStepBroken, TrustThresholdNotMet: the trust file is not one of that root.
        NoRegistryThere, SchemaMismatch, DatabaseUnreachable: the database holds no registry, or cannot be read.
        TrustOfAnotherRegistry, StoreOfAnother: these do not belong together.
        BadSignature, UnknownKey, WrongOrigin, LogForked, LogTruncated: the log is not one that its keeper signed.
        NotWritable, DiskFull: the place cannot be written; nothing is left.
    """
    if urlsplit(new.database).password:
        raise PasswordInAddress
    require_no_home(new.folder)
    chain = open_chain(new.trust, anchors=TrustAnchors(root_key_ids=new.root_key_ids), accepted_version=None)
    policy = current_policy(chain, now=now)
    settings, checkpoint = _found(new, chain, policy, now)
    with built_beside(new.folder) as files:
        public = _fill(files, new, settings, chain, checkpoint)
    key = None if public is None else JoiningKey(HomeFiles(new.folder).key("trainer").public, public.key_id)
    return JoinedHome(settings, chain, key)


def _found(new: JoiningHome, chain: TrustChain, policy: TrustPolicy, now: str) -> tuple[HomeSettings, str | None]:
    """The settings of the registry in the database, and its newest checkpoint, once it is the one that the trust file speaks of."""
    database = Database.open(new.database)
    try:
        with database.read() as tx:
            registry_id = catalog.meta(tx, "registry_id")
            if registry_id is None:
                raise NoRegistryThere
            origin = log_origin(registry_id)
            if not any(key.role == "log" and key.log_origin == origin for key in policy.keys):
                raise TrustOfAnotherRegistry(origin)
            current = epochs_of(chain, origin).origin
            checkpoint = catalog.latest_checkpoint(tx)
            if checkpoint is not None:
                signed = note.verify_checkpoint(checkpoint, origin=current, keys=log_keys_of(policy, origin))
                log.check_prefix(SqlLogStore(tx), size=signed.size, root=signed.root)
            page = catalog.list_versions(tx, limit=1)
    finally:
        database.close()
    store = open_store(new.store)
    for version in page.versions:
        if not store.has(version.manifest_digest):
            raise StoreOfAnother(version.manifest_digest, version.label)
    return HomeSettings(registry_id=registry_id, created_at=now, database=new.database, store=new.store), checkpoint


def _fill(
    files: HomeFiles, new: JoiningHome, settings: HomeSettings, chain: TrustChain, checkpoint: str | None
) -> PublicKey | None:
    public = create_key(files.keys, "trainer", new.passphrase).public if new.makes_key else None
    write_atomically(files.trust, render_chain(chain))
    write_atomically(files.profile, new.profile.model_dump_json(indent=2).encode() + b"\n")
    if checkpoint is not None:  # from here on a database that is older, or another, is noticed
        epochs = epochs_of(chain, log_origin(settings.registry_id))
        kept_in = files.checkpoints_of(epochs.number_of(checkpoint))
        kept_in.mkdir(exist_ok=True)
        for name in (f"{note.read_unverified(checkpoint)[1]}", LATEST):
            write_atomically(kept_in / name, checkpoint.encode())
    write_settings(files.folder, settings)
    return public
