"""OpenSSF Model Signing v1.0, key method: the signature file of an artifact folder (ossf/model-signing-spec,
spec/v1.0.md).

Nesting: Sigstore bundle v0.3 > DSSE envelope > in-toto Statement v1 > OMS predicate. The profile that every tool can
check is signed here: files, SHA-256, P-256. Reading is stricter than the reference tool: one reading per text, root
digest recomputed, no duplicate, no link, no other hash. The root digest covers no names, so it identifies nothing by
itself; use it together with the digest of the payload. Files are not touched here: whoever verifies a folder compares
it with `Bundle.resources`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.intake.paths import UnsafePath, safe_relative_path
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.dsse import Envelope, MalformedEnvelope
from peft_registry.registry.signing.keys import PublicKey, Signer
from peft_registry.registry.signing.strict_base64 import LooseBase64
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import PAYLOAD_TYPE, STATEMENT_TYPE

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
BUNDLE_MAX_BYTES = 64 * 1024 * 1024  # about 200 000 files
_OLD_PREDICATE_TYPE = "https://model_signing/Digests/v0.1"
OLD_MEDIA_TYPES = tuple(f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2, 3))
_USE_KEY = "verify it with the tool of its kind, or ask for a signature by key"
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")


class MalformedBundle(IntegrityBroken):
    what = "{subject} is not an OMS v1.0 signature bundle"
    why = "{reason}"
    fix = "fetch the folder again from where it was signed; a changed signature file cannot be repaired"

    subject: str
    reason: str


class UnsupportedBundle(NotChecked):
    what = "{subject} cannot be checked here"
    why = "it is {kind}"
    fix = "{remedy}"

    subject: str
    kind: str
    remedy: str


class UnexpectedIgnorePaths(IntegrityBroken):
    what = "the signature leaves out paths that it must cover"
    why = "it ignores {found!l}; allowed is exactly {allowed!l}"
    fix = "do not use this folder: what a signer excludes is not protected by the signature"

    found: Sequence[str]
    allowed: Sequence[str]


class UnsignableListing(InputRefused):
    what = "this folder cannot be signed"
    why = "{reason}"
    fix = "rename or remove the file in question, and sign with a P-256 key"

    reason: str


@dataclass(frozen=True, slots=True)
class Resource:
    """One signed file: its POSIX path from the folder and the SHA-256 of its bytes."""

    name: str
    sha256: Digest


@dataclass(frozen=True, slots=True)
class Bundle:
    """A parsed signature file. Its contents mean nothing until `verify_bundle` has named the key."""

    envelope: Envelope
    hint: str | None
    """Id of the key that the file names, which nothing protects; None where it names none in a form that is read (see
    `foreign`).
    """
    model_name: str
    root: Digest
    resources: tuple[Resource, ...]
    ignore_paths: tuple[str, ...]

    @property
    def payload_digest(self) -> Digest:
        """SHA-256 of the signed statement: unlike the root digest it covers names and settings too."""
        return Digest.of(self.envelope.payload)


def sign_folder_listing(
    signer: Signer, *, model_name: str, resources: Sequence[Resource], ignore_paths: Sequence[str]
) -> bytes:
    """The bytes of `model.sig`: one line of canonical JSON, the same for the same listing and key.

    Args:
        signer: a P-256 key.
        model_name: shown to people, decides nothing; the base name of the folder.
        resources: every signed file, in any order; written in code-point order of the whole name.
        ignore_paths: paths from the folder that may hold anything.

    Raises:
        UnsignableListing: an empty listing, a name that occurs twice or that no tool would accept, or not a P-256 key.
    """
    if signer.public.kind != "p256":
        raise UnsignableListing(f"OMS v1.0 has no signatures by {signer.public.kind} keys")
    ordered = sorted(resources, key=lambda resource: resource.name)
    problem = _listing_problem([resource.name for resource in ordered], ignore_paths) or (
        "" if model_name else "it has no name"
    )
    if problem:
        raise UnsignableListing(problem)
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": model_name, "digest": {"sha256": root_digest(ordered).hex}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "resources": [
                {"name": resource.name, "algorithm": "sha256", "digest": resource.sha256.hex} for resource in ordered
            ],
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": sorted(ignore_paths),
            },
        },
    }
    envelope = dsse.sign(signer, PAYLOAD_TYPE, canonical_bytes(statement))
    material = {"publicKey": {"hint": signer.public.key_id}, "tlogEntries": []}
    bundle = {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope.to_json()}
    return canonical_bytes(bundle)


def root_digest(resources: Iterable[Resource]) -> Digest:
    """SHA-256 over the raw digests in the order given. It covers no names."""
    hasher = hashlib.sha256()
    for resource in resources:
        hasher.update(resource.sha256.raw)
    return Digest(hasher.hexdigest())


def parse_bundle(data: bytes, *, what: str = "model.sig") -> Bundle:
    """Read a signature file of ours strictly; its signature is not checked yet.

    Raises:
        MalformedBundle: anything but the profile that is signed here, or a text with two readings.
        UnsupportedBundle: a well-known other kind: certificate, keyless, message signature, shards, another hash, an
            older release.
    """
    value = read_json(data, what=what, max_bytes=BUNDLE_MAX_BYTES, error=MalformedBundle)
    _refuse_older_kinds(value, what)
    require_bundle_by_key(value, what)
    if value["mediaType"] != MEDIA_TYPE:
        raise MalformedBundle(what, f"its mediaType is not {MEDIA_TYPE}")
    hint = _hint(value["verificationMaterial"], what)
    return read_statement(read_envelope(value["dsseEnvelope"], what), hint=hint, what=what)


def verify_bundle(bundle: Bundle, keys: Iterable[PublicKey], *, what: str = "model.sig") -> PublicKey:
    """The trusted key that signed a bundle of ours; its hint must name that very key.

    Whoever changes the hint of a registered folder makes other tools refuse it (the reference tool compares the hint
    with its key), so the change is told here too.

    Raises:
        BadSignature: the hint names a trusted key that did not sign this; or (`WrongSigner`) another trusted key did.
        UnknownKey: no trusted key signed this and the hint names none of them.
        NoTrustedSignature: as before, in a bundle without hint.
        MalformedBundle: the signature is by a kind of key that OMS does not have.
    """
    message = dsse.pae(bundle.envelope.payload_type, bundle.envelope.payload)
    signature = bundle.envelope.signatures[0].sig
    signer = dsse.find_signer(signature, message, keys, named=bundle.hint, what=what)
    if signer.kind != "p256":
        raise MalformedBundle(what, f"OMS v1.0 has no signatures by {signer.kind} keys")
    return signer


def require_ignore_paths(bundle: Bundle, allowed: Sequence[str]) -> None:
    """Raise unless the bundle leaves out exactly the allowed paths, in any order.

    Raises:
        UnexpectedIgnorePaths: it leaves out more or less.
    """
    if sorted(bundle.ignore_paths) != sorted(allowed):
        raise UnexpectedIgnorePaths(bundle.ignore_paths, allowed)


def require_bundle_by_key(value: Any, what: str) -> None:  # any JSON value
    """Raise unless this has the fields of a bundle that was signed with a key.

    Raises:
        UnsupportedBundle: a well-known other kind: certificate, keyless, message signature.
        MalformedBundle: none of them.
    """
    material = value.get("verificationMaterial") if isinstance(value, dict) else None
    methods = set(material) if isinstance(material, dict) else set()
    if isinstance(value, dict) and "messageSignature" in value:
        raise UnsupportedBundle(what, "a Sigstore signature of a single file (messageSignature)", _USE_KEY)
    if "certificate" in methods:
        raise UnsupportedBundle(what, "signed without a key (Sigstore keyless), which needs the network", _USE_KEY)
    if "x509CertificateChain" in methods:
        raise UnsupportedBundle(what, "signed with a certificate, and only keys are supported", _USE_KEY)
    if not isinstance(value, dict) or set(value) != {"mediaType", "verificationMaterial", "dsseEnvelope"}:
        raise MalformedBundle(what, "its fields are not exactly mediaType, verificationMaterial and dsseEnvelope")


def read_statement(envelope: Envelope, *, hint: str | None, what: str, single_file: bool = False) -> Bundle:
    """The bundle that an envelope's statement describes; `single_file` also allows the old name `.` for a lone file.

    Raises:
        MalformedBundle, UnsupportedBundle: as for `parse_bundle`.
    """
    if envelope.payload_type != PAYLOAD_TYPE:
        raise MalformedBundle(what, f"its payload type is not {PAYLOAD_TYPE}")
    value = read_json(
        envelope.payload, what=f"the statement of {what}", max_bytes=BUNDLE_MAX_BYTES, error=MalformedBundle
    )
    if not isinstance(value, dict) or value.get("_type") != STATEMENT_TYPE:
        raise MalformedBundle(what, f"its statement is not of type {STATEMENT_TYPE}")
    if value.get("predicateType") == _OLD_PREDICATE_TYPE:
        raise UnsupportedBundle(what, "a signature of OMS 0.2", "sign the folder again with a current tool")
    if set(value) != {"_type", "subject", "predicateType", "predicate"} or value["predicateType"] != PREDICATE_TYPE:
        raise MalformedBundle(what, f"its statement has unknown fields or is not about {PREDICATE_TYPE}")
    predicate = value["predicate"]
    if not isinstance(predicate, dict) or set(predicate) != {"resources", "serialization"}:
        raise MalformedBundle(what, "its predicate does not hold exactly resources and serialization")
    ignore_paths = _serialization(predicate["serialization"], what)
    resources = _resources(predicate["resources"], what)
    names = [resource.name for resource in resources]
    problem = "" if single_file and names == ["."] else _listing_problem(names, ignore_paths)
    if problem:
        raise MalformedBundle(what, problem)
    model_name, root = _subject(value["subject"], what)
    if root_digest(resources) != root:
        raise MalformedBundle(what, "its root digest is not the digest of the listed files")
    return Bundle(
        envelope=envelope,
        hint=hint,
        model_name=model_name,
        root=root,
        resources=resources,
        ignore_paths=ignore_paths,
    )


def _refuse_older_kinds(value: Any, what: str) -> None:  # any JSON value
    if not isinstance(value, dict):
        return
    if value.get("mediaType") in OLD_MEDIA_TYPES:
        raise UnsupportedBundle(what, "a Sigstore bundle of an older version", _USE_KEY)
    material = value.get("verificationMaterial")
    public_key = material.get("publicKey") if isinstance(material, dict) else None
    if isinstance(public_key, dict) and "rawBytes" in public_key:
        older = "check it as a foreign signature, or sign the folder again with a current tool"
        raise UnsupportedBundle(what, "a bundle of model-signing before 1.1", older)


def _hint(material: Any, what: str) -> str:  # any JSON value
    if not isinstance(material, dict) or not {"publicKey"} <= set(material) <= {"publicKey", "tlogEntries"}:
        raise MalformedBundle(what, "its verificationMaterial does not hold publicKey, and tlogEntries at most")
    if material.get("tlogEntries", []) != []:
        raise MalformedBundle(what, "a signature by key has no entries of a Sigstore log")
    public_key = material["publicKey"]
    if not isinstance(public_key, dict) or set(public_key) != {"hint"}:
        raise MalformedBundle(what, "its publicKey does not hold exactly a hint")
    hint = public_key["hint"]
    if not isinstance(hint, str) or not _HEX64.match(hint):
        raise MalformedBundle(what, "its hint is not the SHA-256 of a key in lower-case hexadecimal")
    return hint


def read_envelope(value: Any, what: str) -> Envelope:  # any JSON value
    """The envelope of a bundle.

    Raises:
        MalformedBundle: not a DSSE envelope, or not with exactly one signature. DSSE itself allows several; the Sigstore
            bundle, whose rules OMS takes over (§4, §8.2), has its readers refuse every number but one.
    """
    signatures = value.get("signatures") if isinstance(value, dict) else None
    if isinstance(signatures, list) and len(signatures) != 1:
        several = "a Sigstore bundle has exactly one, and further signers write files of their own"
        raise MalformedBundle(what, f"it holds {len(signatures)} signatures: {several}")
    try:
        return Envelope.from_json(value, what=what)
    except (MalformedEnvelope, LooseBase64) as error:
        raise MalformedBundle(what, error.why) from error


def _serialization(value: Any, what: str) -> tuple[str, ...]:  # any JSON value
    required = {"method", "hash_type", "allow_symlinks"}
    if not isinstance(value, dict) or not required <= set(value):
        raise MalformedBundle(what, "its serialization lacks method, hash_type or allow_symlinks")
    again = "sign the folder again with method files and sha256"
    if value["method"] == "shards":
        raise UnsupportedBundle(what, "signed by shards of files, and only whole files are supported", again)
    if value["hash_type"] in ("blake2b", "blake3"):
        raise UnsupportedBundle(what, f"hashed with {value['hash_type']}, and only sha256 is supported", again)
    if not set(value) <= required | {"ignore_paths"} or value["method"] != "files" or value["hash_type"] != "sha256":
        raise MalformedBundle(what, "its serialization is not method files with hash_type sha256")
    if value["allow_symlinks"] is not False:
        raise MalformedBundle(what, "it allows links, which can point anywhere")
    ignore_paths = value.get("ignore_paths", [])
    if not isinstance(ignore_paths, list) or not all(isinstance(path, str) for path in ignore_paths):
        raise MalformedBundle(what, "its ignore_paths is not a list of texts")
    return tuple(ignore_paths)


def _resources(value: Any, what: str) -> tuple[Resource, ...]:  # any JSON value
    if not isinstance(value, list):
        raise MalformedBundle(what, "its resources are not a list")
    resources = []
    for entry in value:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise MalformedBundle(what, "a resource has no name")
        name = entry["name"]
        digest = entry.get("digest")
        if entry.get("algorithm") != "sha256":
            raise MalformedBundle(what, f"{name[:80]!r} is not hashed with sha256, as the rest is said to be")
        if not isinstance(digest, str) or not _HEX64.match(digest):
            raise MalformedBundle(what, f"the digest of {name[:80]!r} is not 64 lower-case hexadecimal characters")
        resources.append(Resource(name, Digest(digest)))
    return tuple(resources)


def _subject(value: Any, what: str) -> tuple[str, Digest]:  # any JSON value
    if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], dict):
        raise MalformedBundle(what, "it does not have exactly one subject")
    name = value[0].get("name")
    digests = value[0].get("digest")
    root = digests.get("sha256") if isinstance(digests, dict) else None
    if not isinstance(name, str) or not name or not isinstance(root, str) or not _HEX64.match(root):
        raise MalformedBundle(what, "its subject lacks a name or a sha256 in lower-case hexadecimal")
    return name, Digest(root)


def _listing_problem(names: Sequence[str], ignore_paths: Sequence[str]) -> str:
    """Why these names cannot be signed; empty if they can."""
    if not names:
        return "it lists no file"
    for path in (*names, *ignore_paths):
        problem = _path_problem(path)
        if problem:
            return f"the path {path[:80]!r} {problem}"
    for listing in (names, ignore_paths):
        twice = [path for path, times in Counter(listing).items() if times > 1]
        if twice:
            return f"{twice[0][:80]!r} is listed twice"
    return ""


def _path_problem(path: str) -> str:
    try:
        safe_relative_path(path)
    except UnsafePath as error:
        return f"is refused: {error.why}"
    return ""
