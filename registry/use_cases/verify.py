"""Is this artifact exactly what was registered and signed, by whom, and can it be shown? A numbered checklist.

     1 read          every name is safe, regular files only, nothing that the manifest does not list
     2 signature     model.sig is a good OMS signature over the listed files
     3 trust         the user trusts its key, for this, at that time
     4 policy        the signature covers the manifest and every file of it, and leaves out exactly card and evidence
     5 files         each file has the size and SHA-256 that were signed
     6 tensors       each tensor has the bytes that the manifest names
     7 base          the base's bytes, where they are here, are those it was made from
     8 statements    each is about this manifest, signed by a key with that role; what accompanied the registration is here;
                     a version's row in the catalog says what they say
     9 log           the registration is in the log of a checkpoint that a trusted log key signed
    10 parents       each parent is registered

Rules. `failed` anywhere makes the verdict broken: what was presented contradicts itself or its signature. `unchecked` in a
required check makes it unverified, and so do bytes of the artifact's own that are not here. `recorded` (base and parents:
digest known, bytes not here) and `changed` (the card) spoil nothing. Trust comes from the caller and never from what is
being verified. Verifying needs no deep-learning stack and decides nothing about quality, fairness or safety.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.base_locations import base_location
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import listed_tensors, read_manifest
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.verification.checks import (
    BaseFinder,
    BaseTensors,
    check_base,
    check_files,
    check_parents,
    check_policy,
    check_read,
    check_signature,
    check_tensors,
    check_trust,
)
from peft_registry.registry.verification.evidence_checks import LOG_SIGNER_UNKNOWN, check_log, check_statements
from peft_registry.registry.verification.findings import Claimed, Findings
from peft_registry.registry.verification.presented import Presented, present_folder, present_version
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.version import STEPS, Check, CheckStatus, Verdict, VerifyOutcome, Version

# without one of these nothing was verified; base and parents may be elsewhere
REQUIRED = ("read", "signature", "trust", "policy", "files", "tensors", "statements")


@dataclass(frozen=True)
class Requirements:
    """What the caller asks beyond the default."""

    log_proof: bool = False
    base_bytes: bool = False


@dataclass(frozen=True)
class Known:
    """What the caller knows besides the artifact: trust, where bases lie, which parents exist, which version it should be."""

    trust: TrustPolicy | None
    now: str
    trust_problem: KnownError | None = None
    base_folder: BaseFinder = field(default=lambda _: None)
    base_tensors: BaseTensors = field(default=lambda _: None)
    is_registered: Callable[[Digest], bool] | None = None
    claimed: Claimed | None = None


def verify_presented(presented: Presented, known: Known, *, require: Requirements = Requirements()) -> VerifyOutcome:
    """Run the checklist over what is presented."""
    findings = Findings(presented=presented, trust=known.trust, now=known.now, claimed=known.claimed)
    checks = [_demanded(_run(step, check, findings), require) for step, check in _checklist(known)]
    return VerifyOutcome(
        subject=presented.label,
        manifest_digest=findings.manifest_digest,
        verdict=_verdict(checks, require),
        checks=tuple(checks),
    )


def verify_folder(
    folder: Path,
    *,
    trust: TrustPolicy | None,
    now: str,
    trust_problem: KnownError | None = None,
    base: Path | None = None,
    registry: Registry | None = None,
    version: Version | None = None,
    require: Requirements = Requirements(),
    look_for_base: bool = True,
) -> VerifyOutcome:
    """Verify a pulled folder.

    Args:
        folder: where it lies.
        trust: whom the user trusts; None for nobody.
        now: RFC 3339, UTC.
        trust_problem: why there is no trust.
        base: where the user says that the base lies; its bytes must then be right.
        registry: tells where bases lie and which parents exist, nothing else.
        version: the version of that registry that the folder must be.
        require: what else is demanded.
        look_for_base: look where the registry says that the base lies; a caller who just hashed it need not again.
    """
    known = Known(
        trust=trust,
        now=now,
        trust_problem=trust_problem,
        base_folder=_base_folder(registry if look_for_base else None, base),
        base_tensors=_base_tensors(registry),
        is_registered=None if registry is None else _is_registered(registry),
        claimed=None if registry is None or version is None else _claimed(registry, version),
    )
    try:
        presented = present_folder(folder)
    except IntegrityBroken as error:
        return _unreadable(str(folder), error)
    return verify_presented(presented, known, require=_with_base(require, base))


def verify_version(
    registry: Registry,
    version: Version,
    *,
    trust: TrustPolicy | None = None,
    trust_problem: KnownError | None = None,
    base: Path | None = None,
    require: Requirements = Requirements(),
) -> VerifyOutcome:
    """Verify a registered version from the store's bytes. Without `trust` the home's own trust file speaks."""
    if trust is None and trust_problem is None:
        try:
            trust = registry.trust
        except (NotChecked, IntegrityBroken) as error:
            trust_problem = error
    known = Known(
        trust=trust,
        now=registry.clock(),
        trust_problem=trust_problem,
        base_folder=_base_folder(registry, base),
        base_tensors=_base_tensors(registry),
        is_registered=_is_registered(registry),
        claimed=_claimed(registry, version),
    )
    with tempfile.TemporaryDirectory(prefix="registry-verify-") as scratch:
        try:
            presented = present_version(registry, version, Path(scratch))
        except (IntegrityBroken, NotChecked) as error:
            return _unreadable(version.label, error)
        return verify_presented(presented, known, require=_with_base(require, base))


def _checklist(known: Known) -> Sequence[tuple[str, Callable[[Findings], Check]]]:
    return (
        ("read", check_read),
        ("signature", check_signature),
        ("trust", lambda findings: check_trust(findings, known.trust_problem)),
        ("policy", check_policy),
        ("files", check_files),
        ("tensors", check_tensors),
        ("base", lambda findings: check_base(findings, known.base_folder, known.base_tensors)),
        ("statements", check_statements),
        ("log", check_log),
        ("parents", lambda findings: check_parents(findings, known.is_registered)),
    )


def _run(step: str, check: Callable[[Findings], Check], findings: Findings) -> Check:
    """One check; an error that it raises is its result: wrong or malformed is failed, not checkable is unchecked."""
    try:
        return check(findings)
    except (IntegrityBroken, InputRefused) as error:  # what intake refuses (2) is wrong inside what is presented (6)
        return _raised(step, error)
    except ValidationError as error:
        text = f"malformed: {first_problem(error)}"
        return Check(step=step, text=text, status="failed", error="malformed-document")
    except KnownError as error:
        return _raised(step, error)


def _demanded(check: Check, require: Requirements) -> Check:
    """A recorded base is not enough where its bytes are required; the line then says so."""
    if check.step != "base" or check.status != "recorded" or not require.base_bytes:
        return check
    return check.model_copy(
        update={"status": "unchecked", "error": "base-bytes-required", "text": f"{check.text}, and they are required"}
    )


def _raised(step: str, error: KnownError) -> Check:
    status: CheckStatus = "failed" if isinstance(error, IntegrityBroken | InputRefused) else "unchecked"
    return Check(step=step, text=error.what, status=status, error=error.reference, detail=(error.why,))


def _verdict(checks: Sequence[Check], require: Requirements) -> Verdict:
    if any(check.status == "failed" for check in checks):
        return "broken"
    status: dict[str, CheckStatus] = {check.step: check.status for check in checks}
    needed = [status[step] for step in REQUIRED]
    if require.log_proof or any(check.error == LOG_SIGNER_UNKNOWN for check in checks):
        needed.append(status["log"])
    if require.base_bytes and status["base"] != "ok":
        return "unverified"
    return "unverified" if any(one not in ("ok", "changed") for one in needed) else "verified"


def _unreadable(label: str, error: KnownError) -> VerifyOutcome:
    first = _raised("read", error)
    rest = tuple(Check(step=step, text="not reached", status="unchecked") for step in STEPS[1:])
    verdict: Verdict = "broken" if first.status == "failed" else "unverified"
    return VerifyOutcome(subject=label, manifest_digest=None, verdict=verdict, checks=(first, *rest))


def _with_base(require: Requirements, base: Path | None) -> Requirements:
    """A base that the user points at is to be checked, not looked for."""
    return require if base is None else replace(require, base_bytes=True)


def _claimed(registry: Registry, version: Version) -> Claimed:
    with registry.database.read() as tx:
        return Claimed(version, in_order=catalog.is_in_order(tx, version))


def _base_folder(registry: Registry | None, base: Path | None) -> Callable[[Digest | None], Path | None]:
    def find(manifest: Digest | None) -> Path | None:
        if base is not None or registry is None or manifest is None:
            return base
        return base_location(registry.folder, manifest)

    return find


def _is_registered(registry: Registry) -> Callable[[Digest], bool]:
    def known(manifest: Digest) -> bool:
        with registry.database.read() as tx:
            return bool(catalog.version_by_digest(tx, manifest_digest=manifest))

    return known


def _base_tensors(registry: Registry | None) -> BaseTensors:
    """The tensors that a registered base's manifest lists: they name what is wrong with a base that is not it."""

    def find(manifest: Digest | None) -> tuple[Tensor, ...] | None:
        if registry is None or manifest is None or not registry.store.has(manifest):
            return None
        return listed_tensors(read_manifest(registry.store.read_bytes(manifest)).weights)

    return find
