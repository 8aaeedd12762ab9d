"""`registry keys`: private keys in a home, or in a folder for a person who takes theirs away.

A key is one file that its holder alone can read (OpenSSH, 0600), and its public half beside it (SPKI PEM), which travels.
Nothing here makes anybody trust a key: that is a signature of the root under the next version of the trust file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peft_registry.registry.disk.files import read_file, read_offered, unwritable, write_new
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.layout import key_files
from peft_registry.registry.signing.keys import (
    KEY_FILE_MAX_BYTES,
    KeyFileExists,
    PrivateKey,
    PublicKey,
    kind_for,
    require_kind,
)
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import KnownError, NotChecked, NotFound, Taken
from peft_registry.schemas.policy import Role, TrustPolicy

KeyListing = Literal["listed", "not listed", "not yet valid", "expired", "revoked", "unknown", "unreadable"]


class KeyUnknown(NotFound):
    what = "no key here is called {name!q}"
    why = "no key in this home has that role, and the trust file lists no key with that digest"
    fix = "choose one that `registry keys list` or `registry trust show` prints"

    name: str


class PublicFileTaken(Taken):
    what = "{path} exists already"
    why = "it may be somebody's key, and nothing is overwritten"
    fix = "name another file"

    path: Path


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key pair as it was written."""

    role: Role
    private_file: Path
    public_file: Path
    public: PublicKey


class KeyShown(Frozen):
    """A private key that lies in the home, and what the home's trust file says of it."""

    role: str
    file: str
    key_id: str | None  # None where its public file cannot be read
    state: KeyListing
    person: str | None = None
    listed_role: Role | None = None
    valid_until: str | None = None
    reason: str | None = None  # why it was revoked, or why nothing can be said


def keys_folder(registry: Registry) -> Path:
    """Where a home keeps its keys.

    Raises:
        HomeReadOnly: nothing can be written here.
    """
    registry.require_writable()
    return registry.files.keys


def require_no_key(folder: Path, role: Role) -> None:
    """Raise KeyFileExists unless a key of this role can be written into a folder; asked before anybody types a passphrase."""
    for path in key_files(folder, role):
        if path.exists():
            raise KeyFileExists(path)


def create_key(folder: Path, role: Role, passphrase: bytes | None) -> KeyPair:
    """Make a key pair for a role in a folder; None writes the private key unencrypted.

    Raises:
        KeyFileExists: there is one already; nothing was changed.
        KeyFileUnwritable, NotWritable, DiskFull: nothing is left behind.
        UnusablePassphrase: empty, or longer than bcrypt reads.
    """
    return _write(folder, role, PrivateKey.generate(kind_for(role)), passphrase)


def import_key(folder: Path, role: Role, key: PrivateKey, passphrase: bytes | None) -> KeyPair:
    """Keep a key that was made elsewhere as the key of a role; the file that it came from is left as it is.

    Raises:
        KeyOfAnotherKind: this role signs with other keys.
        KeyFileExists, KeyFileUnwritable, NotWritable, DiskFull, UnusablePassphrase: as for `create_key`.
    """
    require_kind(key.public, role)
    return _write(folder, role, key, passphrase)


def list_keys(registry: Registry) -> tuple[KeyShown, ...]:
    """The private keys in a home, by file name. Nobody is asked for a passphrase."""
    try:
        trust, problem = registry.trust, None
    except NotChecked as error:
        trust, problem = None, error
    paths = sorted(registry.files.keys.glob("*.key"))
    return tuple(_shown(path, trust, problem, now=registry.clock()) for path in paths)


def export_key(registry: Registry, name: str, target: Path) -> PublicKey:
    """Write the public key that a role in this home, or `sha256:…` of a key, means; returns it.

    Raises:
        KeyUnknown: there is none.
        PublicFileTaken: the file exists.
        NotWritable, DiskFull: it cannot be written.
    """
    public = _named(registry, name)
    try:
        write_new(target, public.pem, mode=0o644)
    except FileExistsError as error:
        raise PublicFileTaken(target) from error
    except OSError as error:
        raise unwritable(target, error) from error
    return public


def _write(folder: Path, role: Role, key: PrivateKey, passphrase: bytes | None) -> KeyPair:
    require_no_key(folder, role)
    private_file, public_file = key_files(folder, role)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise unwritable(folder, error) from error
    key.save(private_file, passphrase)
    try:
        write_new(public_file, key.public.pem, mode=0o644)
    except OSError as error:
        private_file.unlink(missing_ok=True)  # half a pair would stand in the way of the next attempt
        raise unwritable(public_file, error) from error
    return KeyPair(role, private_file, public_file, key.public)


def _named(registry: Registry, name: str) -> PublicKey:
    if not name.startswith("sha256:"):
        public_file = registry.files.key(name).public
        if not name.isalnum() or not public_file.is_file():
            raise KeyUnknown(name)
        return PublicKey.parse(read_file(public_file, max_bytes=KEY_FILE_MAX_BYTES))
    listed = registry.trust.key(name.removeprefix("sha256:"))
    if listed is None:
        raise KeyUnknown(name)
    return PublicKey.parse(listed.public_key_pem.encode())


def _shown(path: Path, trust: TrustPolicy | None, problem: KnownError | None, *, now: str) -> KeyShown:
    role = path.name.removesuffix(".key")
    try:
        public = PublicKey.parse(read_offered(path.with_suffix(".pub"), max_bytes=KEY_FILE_MAX_BYTES))
    except KnownError as error:
        return KeyShown(role=role, file=str(path), key_id=None, state="unreadable", reason=f"{error}")
    if trust is None:
        reason = None if problem is None else f"{problem}"
        return KeyShown(role=role, file=str(path), key_id=public.key_id, state="unknown", reason=reason)
    listed = trust.key(public.key_id)
    if listed is None:
        return KeyShown(role=role, file=str(path), key_id=public.key_id, state="not listed")
    revocation = trust.revocation(public.key_id)
    state: KeyListing = "listed"
    if revocation is not None:
        state = "revoked"
    elif now < listed.valid_from:
        state = "not yet valid"
    elif now >= listed.valid_until:
        state = "expired"
    return KeyShown(
        role=role,
        file=str(path),
        key_id=public.key_id,
        state=state,
        person=listed.person,
        listed_role=listed.role,
        valid_until=listed.valid_until,
        reason=None if revocation is None else revocation.reason,
    )
