"""Signed notes, checkpoints and proof files as text (C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof v1; Ed25519).

A checkpoint says: the log named `origin` had `size` entries with this root. Its note is signed under the origin as key
name. Signatures of unknown keys are ignored, because witnesses may add theirs; a line that names a trusted key and
fails spoils the whole note.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from peft_registry.registry.signing import strict_base64
from peft_registry.registry.signing.dsse import BadSignature, UnknownKey, WrongSigner
from peft_registry.registry.signing.keys import PublicKey, Signer
from peft_registry.registry.transparency.merkle import HASH_BYTES
from peft_registry.schemas.errors import InputRefused, IntegrityBroken

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
ED25519_TYPE = b"\x01"  # signed-note, "Signature types"
COSIGNATURE_TYPE = (
    b"\x04"  # likewise: a time, and an Ed25519 signature of it with the note (tlog-cosignature, cosignature/v1)
)
_TIME_BYTES = 8
NOTE_MAX_BYTES = 1024 * 1024
CHECKPOINT_MAX_BYTES = 64 * 1024  # of the file of a checkpoint: one note, with a signature of each witness
SIGNATURES_MAX = 64  # signed-note asks for at least 16
PROOF_HASHES_MAX = 63  # a log has fewer than 2^63 entries
_KEY_ID_BYTES = 4
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")  # below 2^63 in practice
_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")  # control characters and halves of surrogate pairs
_UNNAMED = re.compile(r"[\s+]")


class MalformedNote(IntegrityBroken):
    what = "{subject} is malformed"
    why = "{reason}"
    fix = "fetch it again from the log's owner; it cannot be repaired without a new signature"

    subject: str
    reason: str


class WrongOrigin(IntegrityBroken):
    what = "this checkpoint is about another log"
    why = "it names {found!q}, expected is {expected!r}"
    fix = "give the checkpoint or proof of this registry's own log"

    found: str
    expected: str


class UnsignableCheckpoint(InputRefused):
    what = "this checkpoint cannot be signed"
    why = "{reason}"
    fix = "use the registry's own Ed25519 log key and its origin, `peft-registry/` and the registry id"

    reason: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The signed state of the log: how many entries, which root, and which key vouched for it."""

    size: int
    root: bytes
    key_id: str


@dataclass(frozen=True, slots=True)
class Proof:
    """A parsed `.tlog-proof`: nothing in it is trusted before the checkpoint and the hashes are checked.

    Law: `parse_proof(render_proof(proof)) == proof`.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint_text: str
    extra: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    key_id: bytes
    signature: bytes


def checkpoint_text(*, origin: str, size: int, root: bytes) -> str:
    """The three lines that are signed: origin, size in decimal, root in base64.

    Raises:
        UnsignableCheckpoint: the origin cannot be a key name, or the root has not 32 bytes.
    """
    if not origin or _UNNAMED.search(origin) or _UNPRINTABLE.search(origin):
        raise UnsignableCheckpoint(
            f"the origin {origin[:80]!r} is empty or holds blanks, plus signs or control characters"
        )
    if len(root) != HASH_BYTES or size < 0:
        raise UnsignableCheckpoint(f"{size} entries with a root of {len(root)} bytes are no state of a log")
    return f"{origin}\n{size}\n{strict_base64.encode(root)}\n"


def sign_checkpoint(signer: Signer, *, origin: str, size: int, root: bytes) -> str:
    """A checkpoint as a signed note; the same text for the same log state and key.

    Raises:
        UnsignableCheckpoint: not an Ed25519 key, or an origin or root that does not fit.
    """
    if signer.public.kind != "ed25519":
        raise UnsignableCheckpoint(f"signed notes are signed with Ed25519 here, not with {signer.public.kind}")
    text = checkpoint_text(origin=origin, size=size, root=root)
    signature = note_key_id(origin, signer.public) + signer.sign(text.encode("utf-8"))
    return f"{text}\n— {origin} {strict_base64.encode(signature)}\n"


def verify_checkpoint(text: str, *, origin: str, keys: Iterable[PublicKey]) -> Checkpoint:
    """The log state that a trusted key signed for the log `origin`.

    Raises:
        MalformedNote: not a checkpoint.
        WrongOrigin: it is about another log.
        BadSignature: a line names a trusted key that did not sign this; `WrongSigner`: a good signature under a wrong
            name.
        UnknownKey: no trusted key signed this.
    """
    body, lines = _split_note(text)
    stated, size, root = _read_body(body)
    if stated != origin:
        raise WrongOrigin(stated, origin)
    return Checkpoint(size=size, root=root, key_id=_signer_of(body, lines, name=origin, keys=keys).key_id)


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness saw the log in the state of a checkpoint, and no other history of it, at this POSIX time."""

    key_id: str
    at: int


def cosignatures(text: str, witnesses: Iterable[PublicKey]) -> tuple[Cosignature, ...]:
    """Who of these witnesses cosigned a checkpoint, and when, in the order of their lines; others are passed over.

    Raises:
        MalformedNote: not a signed note, or a line of a witness that is not a time and a signature.
        BadSignature: a line names a witness that did not sign this.
    """
    body, lines = _split_note(text)
    trusted = tuple(key for key in witnesses if key.kind == "ed25519")
    found = []
    for line in lines:
        for key in trusted:
            if line.key_id != note_key_id(line.name, key, kind=COSIGNATURE_TYPE):
                continue
            at = int.from_bytes(line.signature[:_TIME_BYTES], "big")
            if len(line.signature) <= _TIME_BYTES or at >= 1 << 63:
                raise MalformedNote("a cosignature", "it is not a time and a signature")
            if not key.verify(line.signature[_TIME_BYTES:], _cosigned_message(body, at)):
                raise BadSignature("a cosignature", key_id=key.key_id)
            found.append(Cosignature(key.key_id, at))
    return tuple(found)


def _cosigned_message(body: str, at: int) -> bytes:
    """What a witness signs of the text of a checkpoint, with its last newline, at a POSIX time."""
    return f"cosignature/v1\ntime {at}\n{body}".encode()


def claimed_name(text: str, keys: Iterable[PublicKey]) -> str | None:
    """The name under which a signature line says that one of these keys signed; None if no line names one of them.

    Raises:
        MalformedNote: not a signed note.
    """
    trusted = tuple(key for key in keys if key.kind == "ed25519")
    for line in _split_note(text)[1]:
        if any(line.key_id == note_key_id(line.name, key) for key in trusted):
            return line.name
    return None


def read_unverified(text: str) -> tuple[str, int, bytes]:
    """(origin, size, root) that a checkpoint claims; for one's own text, or to say what a refused one claimed.

    Raises:
        MalformedNote: not a checkpoint.
    """
    return _read_body(_split_note(text)[0])


def note_key_id(name: str, key: PublicKey, *, kind: bytes = ED25519_TYPE) -> bytes:
    """First 4 bytes of SHA-256(name || 0x0A || kind || public key): with the name it says which key signed a line, and as what."""
    return hashlib.sha256(name.encode("utf-8") + b"\n" + kind + key.raw).digest()[:_KEY_ID_BYTES]


def render_proof(proof: Proof) -> str:
    """The text of a `.tlog-proof` file."""
    lines = [PROOF_HEADER]
    if proof.extra is not None:
        lines.append(f"extra {strict_base64.encode(proof.extra)}")
    lines.append(f"index {proof.index}")
    lines.extend(strict_base64.encode(digest) for digest in proof.hashes)
    return "\n".join(lines) + "\n\n" + proof.checkpoint_text


def parse_proof(text: str) -> Proof:
    """Read a `.tlog-proof` file; nothing in it is checked against a key or a root yet.

    Raises:
        MalformedNote, LooseBase64: not in the form of C2SP tlog-proof v1.
    """
    what = "a log proof"
    head, separator, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not separator or lines.pop(0) != PROOF_HEADER:
        raise MalformedNote(what, f"it does not start with {PROOF_HEADER} or holds no checkpoint")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = strict_base64.decode(lines.pop(0).removeprefix("extra "), what=f"the extra data of {what}")
    number = lines.pop(0).removeprefix("index ") if lines and lines[0].startswith("index ") else ""
    if not _DECIMAL.match(number):
        raise MalformedNote(what, "it has no index in decimal without leading zeros")
    if len(lines) > PROOF_HASHES_MAX:
        raise MalformedNote(what, f"it holds {len(lines)} hashes, more than any log needs")
    hashes = tuple(strict_base64.decode(line, what=f"a hash of {what}") for line in lines)
    if any(len(digest) != HASH_BYTES for digest in hashes):
        raise MalformedNote(what, f"a hash has not {HASH_BYTES} bytes")
    _split_note(checkpoint)
    return Proof(index=int(number), hashes=hashes, checkpoint_text=checkpoint, extra=extra)


def _split_note(text: str) -> tuple[str, tuple[_Line, ...]]:
    """The signed text, with its last newline, and the signature lines."""
    what = "a signed note"
    if len(text) > NOTE_MAX_BYTES:
        raise MalformedNote(what, f"it is longer than {NOTE_MAX_BYTES} characters")
    if _UNPRINTABLE.search(text):
        raise MalformedNote(what, "it holds control characters or half a surrogate pair")
    # the text may hold empty lines; the last one separates the signatures
    body, separator, block = text.rpartition("\n\n")
    if not separator or not block.endswith("\n"):
        raise MalformedNote(what, "it is not a text, an empty line, and signature lines that end in a newline")
    lines = block.removesuffix("\n").split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise MalformedNote(what, f"it holds {len(lines)} signatures, more than {SIGNATURES_MAX}")
    return body + "\n", tuple(_signature_line(line) for line in lines)


def _signature_line(line: str) -> _Line:
    dash, _, rest = line.partition(" ")
    name, blank, encoded = rest.partition(" ")
    if dash != "—" or not blank or not name or _UNNAMED.search(name):
        raise MalformedNote("a signature line", "it is not an em dash, a key name and base64")
    data = strict_base64.decode(encoded, what="a signature line")
    if len(data) <= _KEY_ID_BYTES:
        raise MalformedNote("a signature line", "it holds no signature after the key id")
    return _Line(name=name, key_id=data[:_KEY_ID_BYTES], signature=data[_KEY_ID_BYTES:])


def _signer_of(body: str, lines: tuple[_Line, ...], *, name: str, keys: Iterable[PublicKey]) -> PublicKey:
    what = "a checkpoint"
    message = body.encode("utf-8")
    trusted = tuple(key for key in keys if key.kind == "ed25519")
    signer: PublicKey | None = None
    for line in lines:
        for key in trusted:
            if line.name != name or line.key_id != note_key_id(name, key):
                continue
            if not key.verify(line.signature, message):
                raise BadSignature(what, key_id=key.key_id)
            signer = signer or key
    if signer is not None:
        return signer
    for line in lines:
        for key in trusted:
            if key.verify(line.signature, message):
                raise WrongSigner(what, key_id=f"{line.name}+{line.key_id.hex()}", signer=key.key_id)
    raise UnknownKey(what, len(trusted), key_id=f"{lines[0].name}+{lines[0].key_id.hex()}")


def _read_body(body: str) -> tuple[str, int, bytes]:
    what = "a checkpoint"
    lines = body.removesuffix("\n").split("\n")
    if len(lines) < 3 or "" in lines:
        raise MalformedNote(what, "it is not an origin, a size, a root and extension lines")
    origin, size, root = lines[:3]
    if not _DECIMAL.match(size):
        raise MalformedNote(what, "its size is not decimal without leading zeros")
    decoded = strict_base64.decode(root, what=f"the root of {what}")
    if len(decoded) != HASH_BYTES:
        raise MalformedNote(what, f"its root has not {HASH_BYTES} bytes")
    return origin, int(size), decoded
