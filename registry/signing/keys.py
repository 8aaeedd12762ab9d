"""Signing keys: P-256 for everything that an OMS tool must check, Ed25519 for the log.

Public keys travel as SubjectPublicKeyInfo PEM and are named by the SHA-256 of that text, re-encoded from the parsed
key, so that line ends and comments in a file do not change the name (OMS v1.0, `hint`). Private keys are written in
the OpenSSH format, whose bcrypt rounds can be chosen; PKCS#8 PEM is read too. A passphrase is never part of an error.
"""

import base64
import binascii
import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from peft_registry.registry.disk.files import why_others_may_reach
from peft_registry.schemas.errors import InputRefused, NotFound, Taken, Unavailable
from peft_registry.schemas.policy import Role

KeyKind = Literal["p256", "ed25519"]
BCRYPT_ROUNDS = 32  # about a quarter of a second on one core; OpenSSH itself writes 24
PASSPHRASE_MAX_BYTES = 72  # what bcrypt looks at
KEY_FILE_MAX_BYTES = 64 * 1024
_PEM_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_OPENSSH_MAGIC = b"openssh-key-v1\0"
# C2SP notes are signed with Ed25519; what OMS tools and statements check is ECDSA P-256
_ED25519_ROLES: tuple[Role, ...] = ("log", "witness")


class MalformedPublicKey(InputRefused):
    what = "this is not a public key that can be used here"
    why = "{reason}"
    fix = "give one P-256 or Ed25519 key as PEM; `openssl pkey -in KEY -pubout` writes it"

    reason: str


class MalformedPrivateKey(InputRefused):
    what = "{path} is not a private key that can be used here"
    why = "{reason}"
    fix = "give one P-256 or Ed25519 key in OpenSSH or PKCS#8 form; `openssl pkcs8 -topk8` converts older files"

    path: Path
    reason: str


class KeyOfAnotherKind(InputRefused):
    what = "this key cannot be used in the role {role}"
    why = "it is of kind {kind}, and this role signs with {needed}"
    fix = "make one with `registry keys create {role}`, or take another key"

    role: str
    kind: str
    needed: str


class KeyAmbiguous(InputRefused):
    what = "{text!q} does not name one key"
    why = "the ids of {count} keys begin with it: {keys}"
    fix = "type more of the id; `registry trust show` lists the trusted keys"

    text: str
    count: int
    keys: str


class KeyFileExposed(InputRefused):
    what = "the private key {path} is open to other users"
    why = "its mode is {mode:04o}; group and others must have no access"
    fix = "run `chmod 600 {path}`, and replace the key if somebody else may have read it"

    path: Path
    mode: int


class PublicKeyNamed(MalformedPrivateKey):
    what = "{path} is a public key"
    fix = "{remedy}"

    reason: str = "it verifies what the private key that belongs to it signs, and signs nothing"
    beside: Path | None = None  # the private key of that name

    @property
    def remedy(self) -> str:
        if self.beside is None:
            return "name the private key that was made with it; whoever signs keeps it"
        return f"name the private key beside it: {self.beside}"


class KeyFileNotOwn(InputRefused):
    what = "the private key {path} is not read: others may reach it"
    why = "{reason}"
    fix = "put a copy of the key in its place with `install -m 600`, and replace the key if somebody else may have read it"

    path: Path
    reason: str


class KeyFileMissing(NotFound):
    what = "there is no private key at {path}"
    why = "the file does not exist"
    fix = "check the path, or restore the key from a backup"

    path: Path


class KeyFileUnreadable(Unavailable):
    what = "the private key {path} cannot be read"
    why = "{reason}"
    fix = "check the file's owner and mode"

    path: Path
    reason: str


class KeyFileUnwritable(Unavailable):
    what = "the private key {path} cannot be written"
    why = "{reason}"
    fix = "check that the folder exists, that it is yours and that the disk has room"

    path: Path
    reason: str


class KeyFileExists(Taken):
    what = "{path} exists already"
    why = "a private key is never overwritten: what it signed could not be signed again"
    fix = "choose another file name, or move the old key away"

    path: Path


class PassphraseNeeded(InputRefused):
    what = "the private key {path} is encrypted"
    why = "no passphrase was given"
    fix = "give it by prompt, file descriptor, file or environment"

    path: Path


class WrongPassphrase(InputRefused):
    what = "the private key {path} does not open"
    why = "the passphrase is wrong, or the file is damaged"
    fix = "try the passphrase again; if it is right, restore the file from a backup"

    path: Path


class UnusablePassphrase(InputRefused):
    what = "this passphrase cannot protect a key"
    why = "{reason}"
    fix = f"choose one of 1 to {PASSPHRASE_MAX_BYTES} bytes, or ask for keys without one (--unencrypted)"

    reason: str


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key and its canonical PEM text.

    Law: `PublicKey.parse(key.pem) == key`.
    """

    kind: KeyKind
    pem: bytes

    def __post_init__(self) -> None:
        if _canonical(self.pem) != (self.kind, self.pem):
            raise MalformedPublicKey("its kind or its text is not what the key itself encodes to; use PublicKey.parse")

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read one public key in PEM form; comments and CRLF line ends around it are ignored.

        Raises:
            MalformedPublicKey: no key, several keys, a private key, a certificate, or another kind of key.
        """
        if len(data) > KEY_FILE_MAX_BYTES:
            raise MalformedPublicKey(f"it has {len(data)} bytes, more than any public key needs")
        labels = _PEM_LABEL.findall(data)
        if not labels:
            raise MalformedPublicKey("it holds no '-----BEGIN PUBLIC KEY-----'")
        if len(labels) > 1:
            raise MalformedPublicKey(f"it holds {len(labels)} PEM blocks, and which one is meant would be a guess")
        if labels[0] != b"PUBLIC KEY":
            raise MalformedPublicKey(f"it holds a {labels[0].decode('ascii')}, not a PUBLIC KEY")
        kind, pem = _canonical(data)
        return cls(kind=kind, pem=pem)

    @property
    def key_id(self) -> str:
        """64 lower-case hexadecimal characters: SHA-256 of the PEM text (the OMS `hint`)."""
        return hashlib.sha256(self.pem).hexdigest()

    @property
    def raw(self) -> bytes:
        """Ed25519: the 32 bytes of RFC 8032. P-256: the uncompressed point, 65 bytes."""
        key = _loaded(self.pem)
        if isinstance(key, ed25519.Ed25519PublicKey):
            return key.public_bytes_raw()
        return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` is this key's over `message`: ECDSA with SHA-256 in strict DER, or Ed25519 (64 bytes)."""
        key = _loaded(self.pem)
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, message)
            else:
                key.verify(signature, message, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


def kind_for(role: Role) -> KeyKind:
    """The kind of key that signs in a role."""
    return "ed25519" if role in _ED25519_ROLES else "p256"


def require_kind(key: PublicKey, role: Role) -> None:
    """Raise KeyOfAnotherKind unless a key can sign in a role."""
    if key.kind != kind_for(role):
        raise KeyOfAnotherKind(role, key.kind, kind_for(role))


def key_id_named(text: str, key_ids: Iterable[str]) -> str | None:
    """The id that a user means by `sha256:…` or its first characters; None if there is none.

    Raises:
        KeyAmbiguous: several ids begin so.
    """
    start = text.removeprefix("sha256:").rstrip("…")
    matches = sorted({key_id for key_id in key_ids if start and key_id.startswith(start)})
    if len(matches) > 1:
        raise KeyAmbiguous(text, len(matches), ", ".join(f"{key_id[:16]}…" for key_id in matches))
    return matches[0] if matches else None


class Signer(Protocol):
    """Whatever can sign: a key in memory, or a device that keeps it."""

    @property
    def public(self) -> PublicKey:
        """The key that verifies what `sign` returns."""
        ...

    def sign(self, message: bytes) -> bytes:
        """DER-encoded ECDSA for P-256, 64 bytes for Ed25519."""
        ...


class PrivateKey:
    """A private key in memory. Signing the same message twice gives the same bytes (RFC 6979, RFC 8032)."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, *, encrypted: bool) -> None:
        self._key = key
        self._encrypted = encrypted
        public = key.public_key()
        self._public = PublicKey(kind=_kind_of(public), pem=_pem_of(public))

    @classmethod
    def generate(cls, kind: KeyKind) -> Self:
        """A new random key; nothing is written."""
        if kind == "p256":
            return cls(ec.generate_private_key(ec.SECP256R1()), encrypted=False)
        return cls(ed25519.Ed25519PrivateKey.generate(), encrypted=False)

    @classmethod
    def load(cls, path: Path, passphrase: Callable[[], bytes] | None = None) -> Self:
        """Read a private key; `passphrase` is called once, and only when the file is encrypted.

        Raises:
            KeyFileMissing, KeyFileUnreadable: the file cannot be read.
            KeyFileExposed, KeyFileNotOwn: other users have access to it, or it is a link.
            PublicKeyNamed: it is the public half.
            MalformedPrivateKey: not exactly one P-256 or Ed25519 key in OpenSSH or PKCS#8 form.
            PassphraseNeeded, WrongPassphrase: it is encrypted and does not open.
        """
        data = _read_private_file(path)
        label = _only_private_block(path, data)
        encrypted = _is_encrypted(path, label, data)
        secret: bytes | None = None
        if encrypted:
            secret = passphrase() if passphrase is not None else b""
            if not secret:
                raise PassphraseNeeded(path)
        return cls(_open_private(path, label, data, secret), encrypted=encrypted)

    def save(self, path: Path, passphrase: bytes | None) -> None:
        """Write a new file in OpenSSH format, mode 0600 from its first byte and synced; None writes it unencrypted.

        Raises:
            KeyFileExists: the path is taken; nothing was changed.
            KeyFileUnwritable: the disk or the folder refuses; nothing is left behind.
            UnusablePassphrase: empty, or longer than bcrypt reads.
        """
        data = self._encode(passphrase)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise KeyFileExists(path) from error
        except OSError as error:
            raise KeyFileUnwritable(path, error.strerror or "the system gave no reason") from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise KeyFileUnwritable(path, error.strerror or "the system gave no reason") from error

    @property
    def public(self) -> PublicKey:
        """The key that verifies what `sign` returns."""
        return self._public

    @property
    def encrypted(self) -> bool:
        """Whether the file that it was loaded from was encrypted; False for a key just made."""
        return self._encrypted

    def sign(self, message: bytes) -> bytes:
        """P-256: DER of a deterministic ECDSA signature with SHA-256. Ed25519: 64 bytes."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))

    def secret_for(self, purpose: str) -> bytes:
        """32 bytes that only a holder of this key can make, others for each purpose; they say nothing about the key."""
        plain = serialization.NoEncryption()
        own = self._key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, plain)
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(own)

    def _encode(self, passphrase: bytes | None) -> bytes:
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            if not passphrase:
                raise UnusablePassphrase("it is empty")
            if len(passphrase) > PASSPHRASE_MAX_BYTES:
                raise UnusablePassphrase(f"it is longer than {PASSPHRASE_MAX_BYTES} bytes, and bcrypt ignores the rest")
            builder = serialization.PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(BCRYPT_ROUNDS)
            encryption = builder.build(passphrase)
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption)


@lru_cache(maxsize=256)
def _loaded(pem: bytes) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedPublicKey("its contents do not decode to a key") from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    name = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__.lstrip("_")
    raise MalformedPublicKey(f"it is a key of kind {name}; only P-256 and Ed25519 are used here")


@lru_cache(maxsize=256)
def _canonical(pem: bytes) -> tuple[KeyKind, bytes]:
    """Kind and text of the key in a PEM text: a trust file is read many times, and its keys are the same each time."""
    key = _loaded(pem)
    return _kind_of(key), _pem_of(key)


def _kind_of(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> KeyKind:
    return "ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "p256"


def _pem_of(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _read_private_file(path: Path) -> bytes:
    """The file's bytes; who may reach it is asked of the open file, so that its name cannot be turned meanwhile."""
    try:
        # O_NONBLOCK: opening a FIFO by mistake must not wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise KeyFileMissing(path) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise KeyFileNotOwn(path, "it is a link, and whoever can turn it chooses the key") from error
        raise KeyFileUnreadable(path, error.strerror or "the system gave no reason") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)  # before fdopen, which refuses a folder with an error of its own
        raise MalformedPrivateKey(path, "it is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        # everybody may read a public key: what others may do with it is no reason to replace it
        if _is_public(file.read(KEY_FILE_MAX_BYTES)):
            raise PublicKeyNamed(path, beside=_private_beside(path))
        file.seek(0)
        if status.st_mode & 0o077:
            raise KeyFileExposed(path, stat.S_IMODE(status.st_mode))
        reason = why_others_may_reach(status)
        if reason is not None:
            raise KeyFileNotOwn(path, reason)
        data = file.read(KEY_FILE_MAX_BYTES + 1)
    if len(data) > KEY_FILE_MAX_BYTES:
        raise MalformedPrivateKey(path, f"it is longer than {KEY_FILE_MAX_BYTES} bytes")
    return data


def _is_public(data: bytes) -> bool:
    """Whether a file holds a public key and no private one: SPKI PEM, or a line of OpenSSH."""
    return _PEM_LABEL.findall(data) == [b"PUBLIC KEY"] or data.startswith((b"ssh-ed25519 ", b"ecdsa-sha2-nistp256 "))


def _private_beside(path: Path) -> Path | None:
    """The private key that lies beside a public one, as `registry keys create` and ssh-keygen name them."""
    return next((file for file in (path.with_suffix(".key"), path.with_suffix("")) if file.is_file()), None)


def _only_private_block(path: Path, data: bytes) -> bytes:
    labels = _PEM_LABEL.findall(data)
    if len(labels) != 1:
        raise MalformedPrivateKey(path, f"it holds {len(labels)} PEM blocks where one private key is expected")
    label: bytes = labels[0]
    if label not in (b"OPENSSH PRIVATE KEY", b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"):
        raise MalformedPrivateKey(path, f"it holds a {label.decode('ascii')}")
    return label


def _is_encrypted(path: Path, label: bytes, data: bytes) -> bool:
    if label != b"OPENSSH PRIVATE KEY":
        return label == b"ENCRYPTED PRIVATE KEY"
    body = data.partition(b"-----BEGIN OPENSSH PRIVATE KEY-----")[2].partition(b"-----END")[0]
    try:
        raw = base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error as error:
        raise MalformedPrivateKey(path, "its base64 is damaged") from error
    if not raw.startswith(_OPENSSH_MAGIC):
        raise MalformedPrivateKey(path, "it does not start as OpenSSH keys do")
    # PROTOCOL.key: the magic, then the cipher's name as a string with a 4-byte length
    start = len(_OPENSSH_MAGIC) + 4
    length = int.from_bytes(raw[len(_OPENSSH_MAGIC) : start], "big")
    return raw[start : start + length] != b"none"


def _open_private(
    path: Path, label: bytes, data: bytes, secret: bytes | None
) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    load = serialization.load_ssh_private_key if label == b"OPENSSH PRIVATE KEY" else serialization.load_pem_private_key
    try:
        key = load(data, secret)
    except UnsupportedAlgorithm as error:
        raise MalformedPrivateKey(path, "its cipher or key type is not supported") from error
    except (ValueError, TypeError) as error:
        if secret is not None:
            raise WrongPassphrase(path) from error
        raise MalformedPrivateKey(path, "its contents do not decode to a key") from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise MalformedPrivateKey(path, "only P-256 and Ed25519 keys are used here")
