"""The ten checks of `registry verify`, in their order. Each takes the findings so far and returns one line of the list.

A check that meets something wrong raises or returns `failed`; one that cannot be made says `unchecked`. Every name that is
wrong is named: the file, the tensor, the statement.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from registry.base_identity import BaseFolder, identify_base
from registry.hashing import hash_file
from registry.presented import Presented
from registry.register import listed_resources
from registry.signing import dsse, oms
from registry.signing.dsse import Envelope, NoTrustedSignature
from registry.signing.keys import MalformedPublicKey, PublicKey
from registry.signing.oms import Bundle
from registry.signing.trust import key_status, public_keys, require_ok
from registry.transparency import log, note
from registry.weights import Tensor, diff_tensors, hash_tensors, weights_digest
from schemas.errors import IntegrityBroken, KnownError, NotChecked
from schemas.evaluation import EvaluationRecord
from schemas.identity import Digest
from schemas.log import LogEvent
from schemas.manifest import (
    CARD_NAME,
    EVIDENCE_NAME,
    FILE_NAME,
    SIGNATURE_NAME,
    UNSIGNED_PATHS,
    Manifest,
    WeightsFile,
)
from schemas.policy import CHECKPOINT_TYPE, TrustPolicy
from schemas.statement import (
    KEYS_FOLDER,
    PROOF_FILE,
    STATEMENTS_FILE,
    CardPredicate,
    RegistrationPredicate,
    Statement,
)
from schemas.version import Check

BaseFinder = Callable[[Digest | None], Path | None]


class ManifestMalformed(IntegrityBroken):
    reference = "manifest-malformed"

    def __init__(self, why: str) -> None:
        super().__init__(
            what=f"{FILE_NAME} is not a manifest",
            why=why,
            fix="pull the version again; a manifest cannot be repaired without a new signature",
        )


class StatementBroken(IntegrityBroken):
    reference = "statement-broken"

    def __init__(self, line: int, why: str) -> None:
        super().__init__(
            what=f"line {line} of {EVIDENCE_NAME}/{STATEMENTS_FILE} is not a statement about this artifact",
            why=why,
            fix="pull the version again; keep this copy if it came from somebody else",
        )


class NoTrust(NotChecked):
    reference = "no-trust"

    def __init__(self) -> None:
        super().__init__(
            what="no trust was given, so nobody vouches for the key",
            why="a trust file beside the artifact is evidence, not authority",
            fix="give --trust FILE or --root sha256:…, or verify inside your own registry",
        )


@dataclass
class Findings:
    """What the checks have established so far; later checks build on it."""

    presented: Presented
    trust: TrustPolicy | None
    now: str
    manifest: Manifest | None = None
    manifest_digest: Digest | None = None
    bundle: Bundle | None = None
    signer: PublicKey | None = None
    proven_at: str | None = None
    registration: RegistrationPredicate | None = None
    statements: list[tuple[Statement, Digest]] = field(default_factory=list)

    @property
    def trusted_keys(self) -> tuple[PublicKey, ...]:
        return () if self.trust is None else public_keys(self.trust)

    def need_manifest(self) -> Manifest:
        if self.manifest is None:
            raise ManifestMalformed("it could not be read")
        return self.manifest

    def known_keys(self) -> tuple[PublicKey, ...]:
        """Trusted keys, then those presented with the evidence: the latter only tell a wrong signature from an unknown key."""
        prefix = f"{EVIDENCE_NAME}/{KEYS_FOLDER}/"
        found = list(self.trusted_keys)
        for name in sorted(self.presented.files):
            if not name.startswith(prefix):
                continue
            try:
                key = PublicKey.parse(self.presented.small(name))
            except MalformedPublicKey as error:
                raise StatementBroken(0, f"{name} is not a public key") from error
            if not name.removeprefix(prefix).startswith(key.key_id[:16]):
                raise StatementBroken(0, f"{name} holds another key than its name says")
            found.append(key)
        return tuple(found)


def check_read(findings: Findings) -> Check:
    """1: the manifest parses, and nothing lies here that it does not list."""
    presented = findings.presented
    data = presented.small(FILE_NAME)
    findings.manifest_digest = Digest.of(data)
    findings.manifest = _manifest(data)
    expected = {entry.path for entry in findings.manifest.files}
    extra = [name for name in sorted(presented.files) if name not in expected and not _is_unlisted(name)]
    if extra:
        return _failed("read", f"{len(extra)} files that nobody signed", "extra-file", [f"extra: {name}" for name in extra])
    size = sum(entry.size for entry in findings.manifest.files)
    return _ok("read", f"{len(expected)} files, {human_bytes(size)}, no links, nothing extra")


def check_signature(findings: Findings) -> Check:
    """2: `model.sig` verifies. Without a trusted key, a key from the evidence shows only that it is consistent."""
    findings.bundle = oms.parse_bundle(findings.presented.small(SIGNATURE_NAME))
    keys = findings.known_keys()
    try:
        findings.signer = oms.verify_bundle(findings.bundle, keys)
    except NoTrustedSignature as error:
        if findings.presented.has(f"{EVIDENCE_NAME}/{STATEMENTS_FILE}") and keys:
            # every signer's public key travels with the evidence, so a key that nobody presented signed nothing here
            raise _no_presented_key(SIGNATURE_NAME) from error
        raise
    return _ok("signature", f"{SIGNATURE_NAME}, ECDSA P-256, key {findings.signer.key_id[:12]}…")


def check_trust(findings: Findings, problem: KnownError | None) -> Check:
    """3: the user's trust file lists the key, for signing artifacts, at the proven time or now."""
    if problem is not None:
        raise problem
    if findings.trust is None:
        raise NoTrust
    if findings.signer is None:
        return Check(step="trust", text="nobody's signature verified", status="unchecked", error="no-signer")
    findings.proven_at = _proven_time(findings)
    status = key_status(
        findings.trust,
        findings.signer.key_id,
        predicate_type=oms.PREDICATE_TYPE,
        signed_at_proven=findings.proven_at,
        now=findings.now,
    )
    key = require_ok(status)
    noted = ", key file unencrypted" if key.unencrypted else ""
    return _ok(
        "trust",
        f"key {key.person}, role {key.role}, trust v{findings.trust.version} until {findings.trust.expires_at[:10]}{noted}",
    )


def check_policy(findings: Findings) -> Check:
    """4: the signature lists the manifest and exactly its files, and leaves out exactly card and evidence."""
    manifest, bundle = findings.need_manifest(), findings.bundle
    if bundle is None or findings.manifest_digest is None:
        return Check(step="policy", text="there is no signature to hold against it", status="unchecked", error="no-signer")
    oms.require_ignore_paths(bundle, UNSIGNED_PATHS)
    signed = {one.name: one.sha256 for one in bundle.resources}
    expected = {one.name: one.sha256 for one in listed_resources(manifest, findings.manifest_digest)}
    wrong = [f"not signed: {name}" for name in sorted(expected.keys() - signed.keys())]
    wrong += [f"signed, but not in the manifest: {name}" for name in sorted(signed.keys() - expected.keys())]
    wrong += [
        f"signed with another digest: {name}" for name in sorted(expected.keys() & signed.keys()) if expected[name] != signed[name]
    ]
    wrong += _layout_problems(manifest)
    if wrong:
        return _failed("policy", "the signature and the manifest disagree", "policy-mismatch", wrong)
    return _ok("policy", f"{manifest.kind}, layout {manifest.layout}; covers every file, leaves out card and evidence")


def check_files(findings: Findings) -> Check:
    """5: every listed file has its size and SHA-256."""
    manifest = findings.need_manifest()
    wrong, recorded = [], 0
    for entry in manifest.files:
        found = findings.presented.files.get(entry.path, b"")
        if entry.path not in findings.presented.files:
            wrong.append(f"missing: {entry.path}")
        elif found is None:
            recorded += 1
        else:
            digest = Digest.of(found) if isinstance(found, bytes) else hash_file(found).sha256
            if digest != entry.sha256:
                wrong.append(f"changed: {entry.path} is {digest.short}, signed was {entry.sha256.short}")
    if wrong:
        return _failed("files", f"{len(wrong)} of {len(manifest.files)} files are not what was signed", "files-changed", wrong)
    if recorded:
        return Check(step="files", text=f"{recorded} files are recorded, their bytes are not here", status="recorded")
    return _ok("files", f"{len(manifest.files)} files match")


def check_tensors(findings: Findings) -> Check:
    """6: every tensor has its bytes; the first that differs in a file is named."""
    manifest = findings.need_manifest()
    wrong, tensors, recorded = [], 0, 0
    for weights in manifest.weights:
        found = findings.presented.files.get(weights.path)
        if not isinstance(found, Path):
            recorded += 1
            continue
        problem = _tensor_problem(found, weights)
        tensors += len(weights.tensors)
        if problem:
            wrong.append(problem)
    listed = weights_digest(_tensor(entry) for weights in manifest.weights for entry in weights.tensors)
    if listed != manifest.weights_digest:
        wrong.append(f"{FILE_NAME}: the tensors listed do not give the weights digest it names")
    if wrong:
        return _failed("tensors", "weights are not what was signed", "tensors-changed", wrong)
    if recorded:
        return Check(step="tensors", text="recorded, the weights are not here", status="recorded")
    return _ok("tensors", f"{tensors} tensors match, weights {manifest.weights_digest.short}")


def check_base(findings: Findings, find: BaseFinder) -> Check:
    """7: the base's bytes are those that the manifest pins, where they are on this machine."""
    manifest = findings.need_manifest()
    if manifest.base is None:
        return _ok("base", "none needed: this is a base")
    folder = find(manifest.base.manifest)
    pinned = manifest.base.identity
    if folder is None:
        return Check(step="base", text=f"recorded: weights {pinned.weights.short}, bytes not here", status="recorded")
    found: BaseFolder = identify_base(folder, revision=pinned.revision)
    differing = [
        name
        for name in ("weights", "config", "tokenizer", "chat_template", "generation_config")
        if getattr(found.identity, name) != getattr(pinned, name)
    ]
    if differing:
        return _failed(
            "base",
            f"{folder.name} is not the base this was made from",
            "wrong-base",
            [f"{name}: here {getattr(found.identity, name)}, pinned {getattr(pinned, name)}" for name in differing],
        )
    return _ok("base", f"weights {pinned.weights.short}, every byte checked")


def check_statements(findings: Findings) -> Check:
    """8: every statement is about this manifest and signed for its role; the card and the item tables are those they name."""
    lines = findings.presented.small(f"{EVIDENCE_NAME}/{STATEMENTS_FILE}").split(b"\n")
    keys = findings.known_keys()
    unknown: list[str] = []
    for number, line in enumerate((line for line in lines if line), start=1):
        problem = _one_statement(findings, number, line, keys)
        if problem:
            unknown.append(problem)
    found = {digest for _, digest in findings.statements}
    if findings.registration is None:
        return Check(step="statements", text="no registration statement is here", status="unchecked", error="no-registration")
    registered = [RegistrationPredicate.from_json(one.predicate) for one, _ in findings.statements if one.kind == "registration"]
    withheld = sorted({str(digest) for one in registered for digest in one.accompanied_by if digest not in found})
    if withheld:
        text = f"{len(withheld)} statements that were registered with it are withheld"
        return Check(step="statements", text=text, status="unchecked", error="statements-withheld", detail=tuple(withheld))
    if unknown:
        text = f"{len(unknown)} of {len(findings.statements)} are signed by keys that you do not trust"
        return Check(step="statements", text=text, status="unchecked", error="unknown-key", detail=tuple(unknown))
    _check_item_tables(findings)
    if _card_changed(findings):
        text = f"{len(findings.statements)} bound to this manifest; the card was edited since it was signed"
        return Check(step="statements", text=text, status="changed", error="card-changed")
    return _ok("statements", f"{len(findings.statements)} bound to this manifest")


def check_log(findings: Findings) -> Check:
    """9: the registration is in the log, by a checkpoint that a trusted log key signed."""
    if not findings.presented.has(f"{EVIDENCE_NAME}/{PROOF_FILE}"):
        return Check(step="log", text="pending: no checkpoint covers the registration yet", status="unchecked", error="log-pending")
    proof = note.parse_proof(findings.presented.small(f"{EVIDENCE_NAME}/{PROOF_FILE}").decode("utf-8", "replace"))
    event = _leaf(proof)
    if event.subject != findings.manifest_digest:
        return _failed("log", "the proof is about another artifact", "proof-of-another", [str(event.subject)])
    if findings.trust is None:
        return Check(step="log", text=f"entry {proof.index}; no trust to check its signature", status="unchecked", error="no-trust")
    checkpoint = _proven(findings, findings.trust, proof)
    registrations = {digest for statement, digest in findings.statements if statement.kind == "registration"}
    if event.statement not in registrations:
        return _failed("log", "the logged registration is not among the statements", "proof-of-another", [str(event.statement)])
    origin = _origin(proof)
    return _ok("log", f"entry {proof.index} of {checkpoint.size} in {origin}, {event.at}")


def check_parents(findings: Findings, is_registered: Callable[[Digest], bool] | None) -> Check:
    """10: each parent besides the base is registered here, where a registry is at hand."""
    parents = [parent for parent in findings.need_manifest().parents if parent.role != "base"]
    if not parents:
        return _ok("parents", "none besides the base" if findings.need_manifest().base else "none")
    if is_registered is None:
        return Check(step="parents", text=f"{len(parents)} recorded", status="recorded")
    missing = [str(parent.manifest) for parent in parents if not is_registered(parent.manifest)]
    if missing:
        return Check(step="parents", text=f"{len(missing)} recorded, not registered here", status="recorded", detail=tuple(missing))
    return _ok("parents", f"{len(parents)} registered here")


def human_bytes(size: int) -> str:
    """A size for people, decimal units."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def _manifest(data: bytes) -> Manifest:
    from registry.intake.json import read_json

    value = read_json(data, what=FILE_NAME)
    try:
        return Manifest.from_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ManifestMalformed(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error


def _is_unlisted(name: str) -> bool:
    return name in (FILE_NAME, SIGNATURE_NAME, CARD_NAME) or name.startswith(f"{EVIDENCE_NAME}/")


def _layout_problems(manifest: Manifest) -> list[str]:
    """What a loader of this layout needs must be among the signed files."""
    paths = {entry.path for entry in manifest.files}
    needed = {"peft": ["adapter_config.json", "adapter_model.safetensors"], "model": ["config.json"], "bundle": []}
    wrong = [f"layout {manifest.layout} needs {name}" for name in needed[manifest.layout] if name not in paths]
    if not manifest.weights:
        wrong.append("no weights are listed")
    return wrong


def _no_presented_key(name: str) -> IntegrityBroken:
    error = StatementBroken(0, "neither a trusted key nor any key presented with the evidence made its signature")
    error.what = f"the signature of {name} is wrong"
    return error


def _tensor(entry: object) -> Tensor:
    from schemas.manifest import TensorEntry

    assert isinstance(entry, TensorEntry)
    return Tensor(entry.name, entry.dtype, entry.shape, entry.sha256)


def _tensor_problem(path: Path, weights: WeightsFile) -> str:
    try:
        found = hash_tensors(path, family="integrity")
    except IntegrityBroken as error:
        return f"{weights.path}: {error.why}"
    difference = diff_tensors((_tensor(entry) for entry in weights.tensors), found.tensors)
    if difference is not None:
        return f"{weights.path}: {difference}"
    if found.header_digest != weights.header_sha256:
        return f"{weights.path}: its header was changed"
    return ""


def _one_statement(findings: Findings, number: int, line: bytes, keys: Iterable[PublicKey]) -> str:
    """Record one statement; returns why it does not count, or an empty text.

    Raises:
        StatementBroken: it is malformed, about something else, or no key that was presented or is trusted signed it.
    """
    envelope = Envelope.parse(line, what=f"statement {number}")
    try:
        signer = dsse.verify(envelope, keys, what=f"statement {number}")
    except NoTrustedSignature as error:
        raise StatementBroken(number, "neither a trusted key nor any key presented with it made its signature") from error
    statement = _statement(envelope, number)
    if statement.subject_digest != findings.manifest_digest:
        raise StatementBroken(number, f"it is about {statement.subject_digest.short}")
    digest = Digest.of(envelope.payload)
    findings.statements.append((statement, digest))
    if findings.trust is None:
        return f"{number}: {statement.predicate_type}, no trust was given"
    proven = findings.proven_at if _is_dated(findings, statement, digest) else None
    status = key_status(
        findings.trust,
        signer.key_id,
        predicate_type=statement.predicate_type,
        signed_at_proven=proven,
        now=findings.now,
    )
    if status.state == "unknown":
        return f"{number}: {statement.predicate_type} by key {signer.key_id[:12]}…"
    require_ok(status)
    return ""


def _is_dated(findings: Findings, statement: Statement, digest: Digest) -> bool:
    """Whether the log entry of the registration dates this statement too."""
    if statement.kind == "registration":
        findings.registration = RegistrationPredicate.from_json(statement.predicate)
        return True
    registered = findings.registration or _registration(findings)
    return registered is not None and digest in registered.accompanied_by


def _registration(findings: Findings) -> RegistrationPredicate | None:
    """The registration that the log proof points at, read ahead of the others: it comes last in the file."""
    lines = findings.presented.small(f"{EVIDENCE_NAME}/{STATEMENTS_FILE}").split(b"\n")
    for line in reversed([line for line in lines if line]):
        statement = _statement(Envelope.parse(line), 0)
        if statement.kind == "registration":
            return RegistrationPredicate.from_json(statement.predicate)
    return None


def _statement(envelope: Envelope, number: int) -> Statement:
    from registry.intake.json import read_json

    try:
        return Statement.from_json(read_json(envelope.payload, what=f"statement {number}"))
    except ValidationError as error:
        raise StatementBroken(number, error.errors(include_url=False, include_input=False)[0]["msg"]) from error


def _check_item_tables(findings: Findings) -> None:
    for statement, _ in findings.statements:
        if statement.kind != "bias-evaluation":
            continue
        items = EvaluationRecord.from_json(statement.predicate).items
        name = f"{EVIDENCE_NAME}/{items.file}"
        if findings.presented.has(name) and Digest.of(findings.presented.small(name)) != items.sha256:
            raise StatementBroken(0, f"{name} is not the item table that the evaluation signed")


def _card_changed(findings: Findings) -> bool:
    signed = {
        CardPredicate.from_json(statement.predicate).sha256
        for statement, _ in findings.statements
        if statement.kind == "card"
    }
    return findings.presented.has(CARD_NAME) and Digest.of(findings.presented.small(CARD_NAME)) not in signed


def _proven_time(findings: Findings) -> str | None:
    """The time of the log entry, if a trusted log key vouches for it and it covers this very signature."""
    name = f"{EVIDENCE_NAME}/{PROOF_FILE}"
    if not findings.presented.has(name) or findings.bundle is None:
        return None
    proof = note.parse_proof(findings.presented.small(name).decode("utf-8", "replace"))
    event = _leaf(proof)
    if findings.trust is None:
        return None
    try:
        _proven(findings, findings.trust, proof)
    except KnownError:  # check 9 reports it; here it only means that no time is proven
        return None
    registered = _registration(findings)
    covers = registered is not None and registered.signature == findings.bundle.payload_digest
    return event.at if covers else None


def _leaf(proof: note.Proof) -> LogEvent:
    from registry.intake.json import read_json

    try:
        return LogEvent.from_json(read_json(proof.extra or b"", what="the proven log entry"))
    except ValidationError as error:
        raise note.MalformedNote(PROOF_FILE, "its entry is not a log event") from error


def _proven(findings: Findings, trust: TrustPolicy, proof: note.Proof) -> note.Checkpoint:
    """The checkpoint that covers the proof's entry, signed by a log key that counts now and for this very log."""
    origin = _origin(proof)
    checkpoint = log.verify_parsed(proof, proof.extra or b"", origin=origin, keys=public_keys(trust, role="log"))
    status = key_status(
        trust, checkpoint.key_id, predicate_type=CHECKPOINT_TYPE, signed_at_proven=None, now=findings.now
    )
    key = require_ok(status)
    if key.log_origin is not None and key.log_origin != origin:
        raise note.WrongOrigin(origin, key.log_origin)
    return checkpoint


def _origin(proof: note.Proof) -> str:
    return proof.checkpoint_text.split("\n", 1)[0]


def _ok(step: str, text: str) -> Check:
    return Check(step=step, text=text, status="ok")


def _failed(step: str, text: str, error: str, detail: Iterable[str]) -> Check:
    return Check(step=step, text=text, status="failed", error=error, detail=tuple(detail))
