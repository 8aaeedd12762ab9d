"""Making a home: keys, the trust file that they root, database, store, MLflow store, profile.

`init` makes a trainer/evaluator key, a log key and a root; never an approver, who sends in a public key of their own. The
home is built beside its place and renamed, so a kill leaves none or a whole one.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from peft_registry.registry.database import catalog
from peft_registry.registry.database.session import Database
from peft_registry.registry.disk.files import unwritable, write_atomically
from peft_registry.registry.homes.home import KEY_ROLES, HomeSettings, new_nonce, open_home, write_settings
from peft_registry.registry.homes.layout import HomeFiles
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.facets import FACETS_FORM, facets_form
from peft_registry.registry.signing.keys import PrivateKey, kind_for
from peft_registry.registry.signing.trust import sign_trust
from peft_registry.registry.use_cases.announce_edition import first_announcement
from peft_registry.schemas.errors import InputRefused, Taken
from peft_registry.schemas.policy import Role, TrustedKey, TrustPolicy
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.statement import log_origin
from peft_registry.schemas.values import timestamp

TRUST_DAYS = 365


class HomeExists(Taken):
    what = "{folder} is a registry already"
    why = "init never touches one that exists"
    fix = "use it, or name another place with --home"

    folder: Path


class DatabaseInUse(Taken):
    what = "this database belongs to another registry"
    why = "it holds registry {registry_id:.8}…, whose log has its own name and key"
    fix = "give --database an empty database, or use the home of the registry that it holds"

    registry_id: str


class PasswordInAddress(InputRefused):
    what = "the database address holds a password"
    why = "the address is kept in registry.json, which holds no secrets, and arguments are visible to every user"
    fix = "leave it out and give it to PostgreSQL's client by ~/.pgpass, PGPASSFILE or PGPASSWORD"


class RecoveryIncomplete(InputRefused):
    what = "a recovery key needs a folder and a person"
    why = "one of --recovery-key and --recovery-person was given without the other"
    fix = "give both: where the key is written, and who takes it away"


@dataclass(frozen=True, slots=True)
class NewHome:
    """What a new home is made of. `person` names who holds the keys, as the trust file will say."""

    folder: Path
    profile: OrganisationProfile
    person: str
    passphrase: bytes | None
    database: str | None = None
    store: str | None = None
    recovery: "Recovery | None" = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """A second root, for the day on which the first is lost: its key goes to a folder that somebody takes away."""

    folder: Path
    person: str

    @property
    def key_file(self) -> Path:
        return self.folder / "recovery-root.key"


def make_home(new: NewHome, *, now: str, seen: SeenCheckpoints | None = None) -> HomeSettings:
    """Make a home and return its settings; `seen` keeps what its user has seen of its log, None where nobody remembers.

    Raises:
        HomeExists: one is there already.
        DatabaseInUse, PasswordInAddress: the database is another registry's, or its address holds a secret.
        NotWritable, DiskFull: the place cannot be written; nothing is left.
    """
    if new.database is not None and urlsplit(new.database).password:
        raise PasswordInAddress
    require_no_home(new.folder)
    settings = HomeSettings(registry_id=new_nonce(), created_at=now, database=new.database, store=new.store)
    recovery = None if new.recovery is None else PrivateKey.generate("p256")
    with built_beside(new.folder) as files:
        _fill(files, new, settings, now, recovery)
        if recovery is not None:
            _hand_out(recovery, new)
    registry = open_home(new.folder, passphrase=lambda: new.passphrase or b"", clock=lambda: now, seen=seen)
    try:
        publish_checkpoint(registry)  # over the first entry, which announces the edition
    finally:
        registry.close()
    return settings


def _hand_out(recovery: PrivateKey, new: NewHome) -> None:
    """Write the recovery key where it is taken away from, before the home that lists it is there: never one without the other."""
    assert new.recovery is not None, "a home with a recovery key"
    new.recovery.folder.mkdir(parents=True, exist_ok=True)
    recovery.save(new.recovery.key_file, new.passphrase)
    write_atomically(new.recovery.key_file.with_suffix(".pub"), recovery.public.pem)


@contextmanager
def built_beside(folder: Path) -> Iterator[HomeFiles]:
    """A home of empty folders beside the place of a new one, which it takes, whole, when the block ends.

    Raises:
        NotWritable, DiskFull: the place cannot be written; nothing is left.
    """
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    files = HomeFiles(part)
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        for own in (files.keys, files.checkpoints, files.runs):
            own.mkdir()
        files.keys.chmod(0o700)
        yield files
        if folder.exists():
            folder.rmdir()
        part.replace(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        if part.exists():
            shutil.rmtree(part)


def require_no_home(folder: Path) -> None:
    """Raise HomeExists unless a home can be made at `folder`."""
    if HomeFiles(folder).settings.exists() or (folder.exists() and any(folder.iterdir())):
        raise HomeExists(folder)


def _fill(files: HomeFiles, new: NewHome, settings: HomeSettings, now: str, recovery: PrivateKey | None) -> None:
    keys = {role: PrivateKey.generate(kind_for(role)) for role in KEY_ROLES}
    for role, key in keys.items():
        key.save(files.key(role).private, new.passphrase)
        write_atomically(files.key(role).public, key.public.pem)
    origin = log_origin(settings.registry_id)
    policy = first_policy(keys, person=new.person, origin=origin, unencrypted=new.passphrase is None, now=now)
    if recovery is not None and new.recovery is not None:
        policy = with_root(policy, recovery, person=new.recovery.person)
    write_atomically(files.trust, sign_trust(policy, [keys["root"]]))
    write_atomically(files.profile, new.profile.model_dump_json(indent=2).encode() + b"\n")
    database = Database.create(new.database or f"sqlite:///{files.database}")
    try:
        _claim(database, settings.registry_id)
        with database.write() as tx:
            first_announcement(tx, keys["root"], nonce=new_nonce(), at=now)
    finally:
        database.close()
    write_settings(files.folder, settings)


def _claim(database: Database, registry_id: str) -> None:
    """Write down whose database this is; two registries in one would share a log that neither could sign alone."""
    with database.write() as tx:
        owner = catalog.meta(tx, "registry_id")
        if owner is not None:
            raise DatabaseInUse(owner)
        catalog.set_meta(tx, "registry_id", registry_id)
        catalog.set_meta(tx, FACETS_FORM, facets_form())


def first_policy(keys: dict[Role, PrivateKey], *, person: str, origin: str, unencrypted: bool, now: str) -> TrustPolicy:
    """The first trust file: version 1, one root, valid for a year."""
    until = timestamp(datetime.fromisoformat(now) + timedelta(days=TRUST_DAYS))
    listed = tuple(
        TrustedKey(
            key_id=keys[role].public.key_id,
            public_key_pem=keys[role].public.pem.decode(),
            person=person,
            role=role,
            valid_from=now,
            valid_until=until,
            unencrypted=unencrypted,
            log_origin=origin if role == "log" else None,
        )
        for role in KEY_ROLES
    )
    return TrustPolicy(
        schema_version="2",
        version=1,
        issued_at=now,
        expires_at=until,
        roots=(keys["root"].public.key_id,),
        threshold=1,
        keys=listed,
    )


def with_root(policy: TrustPolicy, root: PrivateKey, *, person: str) -> TrustPolicy:
    """The policy with one more root, which can sign the next version alone as far as the threshold of one lets it."""
    like = next(key for key in policy.keys if key.role == "root")
    listed = like.revised(key_id=root.public.key_id, public_key_pem=root.public.pem.decode("ascii"), person=person)
    return policy.revised(keys=(*policy.keys, listed), roots=(*policy.roots, listed.key_id))
