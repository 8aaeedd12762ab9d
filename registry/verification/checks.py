"""The checks of `registry verify` but for the evidence (8 and 9), in their order. Each takes the findings so far and returns
one line of the list.

A check that meets something wrong raises or returns `failed`; one that cannot be made says `unchecked`. Every name that is
wrong is named: the file, the tensor, the statement.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.identity.manifests import listed_resources, listed_tensors, read_manifest
from peft_registry.registry.identity.weights import MalformedSafetensors, diff_tensors, hash_tensors, weights_digest
from peft_registry.registry.signing import oms
from peft_registry.registry.signing.dsse import NoTrustedSignature
from peft_registry.registry.signing.trust import key_status, require_ok
from peft_registry.registry.verification.evidence_checks import dated_by_log, entry_dates, proven_time_of_signature
from peft_registry.registry.verification.findings import CheckResult, Context, Findings, failed, ok, recorded, unchecked
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import (
    CARD_NAME,
    EVIDENCE_NAME,
    FILE_NAME,
    SIGNATURE_NAME,
    UNSIGNED_PATHS,
    FileEntry,
    Manifest,
    WeightsFile,
)
from peft_registry.schemas.sizes import human_bytes
from peft_registry.schemas.version import CheckStatus, VerifyOutcome


class SignerNotPresented(IntegrityBroken):
    what = f"the signature of {SIGNATURE_NAME} is wrong"
    why = "neither a trusted key nor any key presented with the evidence made it"
    fix = "pull the version again; keep this copy if it came from somebody else"


class NoTrust(NotChecked):
    what = "no trust was given, so nobody vouches for the key"
    why = "a trust file beside the artifact is evidence, not authority"
    fix = "give --trust FILE, or verify inside your own registry"


def check_read(findings: Findings) -> CheckResult:
    """1: the manifest parses, and nothing lies here that it does not list."""
    presented = findings.presented
    data = presented.small(FILE_NAME)
    findings.manifest_digest = Digest.of(data)
    findings.manifest = read_manifest(data)
    expected = {entry.path for entry in findings.manifest.files}
    extra = [name for name in sorted(presented.files) if name not in expected and not _is_unlisted(name)]
    if extra:
        return failed(f"{len(extra)} files that nobody signed", "extra-file", [f"extra: {name}" for name in extra])
    size = sum(entry.size for entry in findings.manifest.files)
    return ok(f"{len(expected)} files, {human_bytes(size)}, no links, nothing extra")


def check_signature(findings: Findings) -> CheckResult:
    """2: `model.sig` verifies. Without a trusted key, a key from the evidence shows only that it is consistent."""
    findings.bundle = oms.parse_bundle(findings.presented.small(SIGNATURE_NAME))
    try:
        findings.signer = oms.verify_bundle(findings.bundle, findings.known_keys)
    except NoTrustedSignature as error:
        if findings.presented_keys:
            # the signers' keys travel with the evidence: a key that nobody presented signed nothing here
            raise SignerNotPresented from error
        raise
    return ok(f"{SIGNATURE_NAME}, ECDSA P-256, key {findings.signer.key_id[:12]}…")


def check_trust(findings: Findings) -> CheckResult:
    """3: the user's trust file lists the key, for signing artifacts, at the proven time or now."""
    if findings.context.trust_problem is not None:
        raise findings.context.trust_problem
    if findings.trust is None:
        raise NoTrust
    if findings.signer is None:
        return unchecked("nobody's signature verified", "no-signer")
    findings.entry_dates = entry_dates(findings)
    findings.dated = dated_by_log(findings)
    status = key_status(
        findings.trust,
        findings.signer.key_id,
        predicate_type=oms.PREDICATE_TYPE,
        signed_at_proven=proven_time_of_signature(findings),
        now=findings.context.now,
    )
    key = require_ok(status)
    noted = ", key file unencrypted" if key.unencrypted else ""
    return ok(
        f"key {key.person}, role {key.role}, trust v{findings.trust.version} until {findings.trust.expires_at[:10]}{noted}",
    )


def check_policy(findings: Findings) -> CheckResult:
    """4: the signature lists the manifest and exactly its files, and leaves out exactly card and evidence."""
    manifest = findings.need_manifest()
    bundle = findings.bundle
    if bundle is None or findings.manifest_digest is None:
        return unchecked("there is no signature to hold against it", "no-signer")
    oms.require_ignore_paths(bundle, UNSIGNED_PATHS)
    signed = {resource.name: resource.sha256 for resource in bundle.resources}
    expected = {resource.name: resource.sha256 for resource in listed_resources(manifest, findings.manifest_digest)}
    wrong = [f"not signed: {name}" for name in sorted(expected.keys() - signed.keys())]
    wrong += [f"signed, but not in the manifest: {name}" for name in sorted(signed.keys() - expected.keys())]
    wrong += [
        f"signed with another digest: {name}"
        for name in sorted(expected.keys() & signed.keys())
        if expected[name] != signed[name]
    ]
    wrong += _layout_problems(manifest)
    if wrong:
        return failed("the signature and the manifest disagree", "policy-mismatch", wrong)
    what = manifest.kind if manifest.origin is None else f"{manifest.kind}, {manifest.origin}"
    return ok(f"{what}, layout {manifest.layout}; covers every file, leaves out card and evidence")


def check_files(findings: Findings) -> CheckResult:
    """5: every listed file has the bytes that were signed: its size, and its SHA-256.

    A weights file is proven by its header and its tensors, which leave no hole and are hashed on every core; its own SHA-256,
    which one core computes from beginning to end, is asked for where these do not match, and by `--file-digests`.
    """
    manifest = findings.need_manifest()
    files = findings.presented.files
    absent = [entry.path for entry in manifest.files if entry.path in files and files[entry.path] is None]
    listed = {weights.path: weights for weights in manifest.weights}
    wrong = [problem for entry in manifest.files if (problem := _file_problem(findings, entry, listed.get(entry.path)))]
    if wrong:
        text = f"{len(wrong)} of {len(manifest.files)} files are not what was signed"
        return failed(text, "files-changed", wrong)
    if absent:
        text = f"{len(absent)} files are recorded, their bytes are not here"
        return unchecked(text, "bytes-missing", absent)
    return ok(f"{len(manifest.files)} files match")


def check_tensors(findings: Findings) -> CheckResult:
    """6: every tensor has its bytes; the first that differs in a file is named."""
    manifest = findings.need_manifest()
    wrong = []
    tensors = 0
    absent = []
    for weights in manifest.weights:
        path = findings.presented.files.get(weights.path)
        if not isinstance(path, Path):
            absent.append(weights.path)
            continue
        problem = _tensor_problem(path, weights, findings.context)
        tensors += len(weights.tensors)
        if problem:
            wrong.append(problem)
    listed = weights_digest(listed_tensors(manifest.weights))
    if listed != manifest.weights_digest:
        wrong.append(f"{FILE_NAME}: the tensors listed do not give the weights digest it names")
    if wrong:
        return failed("weights are not what was signed", "tensors-changed", wrong)
    if absent:
        return unchecked("recorded, the weights are not here", "bytes-missing", absent)
    return ok(f"{tensors} tensors match, weights {manifest.weights_digest.short}")


def check_base(findings: Findings) -> CheckResult:
    """7: the base's bytes are those that the manifest pins, where they are on this machine; the first wrong tensor is named."""
    manifest = findings.need_manifest()
    if manifest.base is None:
        return ok("none needed: this is a base")
    folder = findings.context.base_folder(manifest.base.manifest)
    pinned = manifest.base.identity
    if folder is None or not folder.exists():
        return recorded(f"recorded: weights {pinned.weights.short}, bytes not here")
    try:
        presented_base = findings.context.identify_base(folder, revision=pinned.revision)
    except InputRefused as error:  # what intake would refuse is no longer the base that was taken in
        return failed(f"{folder.name} is not the base this was made from", error.reference, [str(error)])
    differing = [
        name
        for name in ("weights", "config", "tokenizer", "chat_template", "generation_config")
        if getattr(presented_base.identity, name) != getattr(pinned, name)
    ]
    if not differing:
        return ok(f"weights {pinned.weights.short}, every byte checked")
    lines = [
        f"{name}: here {getattr(presented_base.identity, name)}, pinned {getattr(pinned, name)}" for name in differing
    ]
    tensors = findings.context.base_tensors(manifest.base.manifest) if "weights" in differing else None
    difference = None if tensors is None else diff_tensors(tensors, listed_tensors(presented_base.weights))
    if difference is not None:
        lines.append(str(difference))
    elif "weights" in differing:
        lines.append(f"in {', '.join(file.path for file in presented_base.weights)}")
    return failed(f"{folder.name} is not the base this was made from", "wrong-base", lines)


def check_parents(findings: Findings) -> CheckResult:
    """10: each parent besides the base is registered, and verifies itself, where a registry is at hand."""
    verify_parent = findings.context.verify_parent
    parents = [parent for parent in findings.need_manifest().parents if parent.role != "base"]
    if not parents:
        return ok("none besides the base" if findings.need_manifest().base else "none")
    if verify_parent is None:
        return recorded(f"{len(parents)} recorded")
    outcomes = {digest: verify_parent(digest) for digest in dict.fromkeys(parent.manifest for parent in parents)}
    broken = [outcome for outcome in outcomes.values() if outcome is not None and outcome.verdict == "broken"]
    if broken:
        text = f"{len(broken)} of {len(outcomes)} are not what was registered"
        return failed(text, "parent-broken", _problems(broken, "failed"))
    unverified = [outcome for outcome in outcomes.values() if outcome is not None and outcome.verdict == "unverified"]
    if unverified:
        text = f"{len(unverified)} of {len(outcomes)} could not be verified"
        return unchecked(text, "parent-unverified", _problems(unverified, "unchecked"))
    missing = [str(digest) for digest, outcome in outcomes.items() if outcome is None]
    if missing:
        return recorded(f"{len(missing)} recorded, not registered here", missing)
    return ok(f"{len(parents)} registered here")


def _problems(outcomes: Iterable[VerifyOutcome], status: CheckStatus) -> Iterator[str]:
    """A line for each check of a parent that has this status, with what it found first."""
    for outcome in outcomes:
        for check in outcome.checks:
            # checks after one that could not go on have no error and found nothing
            if check.status == status and check.error is not None:
                first = f" ({check.detail[0]})" if check.detail else ""
                yield f"{outcome.subject} {check.step}: {check.text}{first}"


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


def _file_problem(findings: Findings, entry: FileEntry, weights: WeightsFile | None) -> str:
    if not findings.presented.has(entry.path):
        return f"missing: {entry.path}"
    content = findings.presented.files[entry.path]
    if content is None:
        return ""
    if findings.presented.size(entry.path) != entry.size:
        # not read: it may be as long as whoever put it there likes
        return f"changed: {entry.path} has {findings.presented.size(entry.path)} bytes, signed were {entry.size}"
    if isinstance(content, bytes):
        digest = Digest.of(content)
    elif weights is not None and _is_proven_by_tensors(findings, content, entry, weights):
        return ""
    else:
        digest = hash_file(content, cache=findings.context.digests).sha256
    return "" if digest == entry.sha256 else f"changed: {entry.path} is {digest.short}, signed was {entry.sha256.short}"


def _is_proven_by_tensors(findings: Findings, path: Path, entry: FileEntry, weights: WeightsFile) -> bool:
    """Whether header and tensors, and the file's own digest where that is wanted, show that these are the bytes signed."""
    wants_own = findings.context.file_digests
    try:
        presented = hash_tensors(
            path,
            with_file_digest=wants_own,
            cache=findings.context.digests,
            on_bytes=findings.context.on_bytes,
        )
    except MalformedSafetensors:
        return False
    return (
        presented.file_size == entry.size
        and presented.header_digest == weights.header_sha256
        and presented.tensors == listed_tensors((weights,))
        and (not wants_own or presented.file_digest == entry.sha256)
    )


def _tensor_problem(path: Path, weights: WeightsFile, context: Context) -> str:
    try:
        presented = hash_tensors(path, cache=context.digests, family="integrity", on_bytes=context.on_bytes)
    except IntegrityBroken as error:
        return f"{weights.path}: {error.why}"
    difference = diff_tensors(listed_tensors((weights,)), presented.tensors)
    if difference is not None:
        return f"{weights.path}: {difference}"
    if presented.header_digest != weights.header_sha256:
        return f"{weights.path}: its header was changed"
    return ""
