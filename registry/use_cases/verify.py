"""Is this artifact exactly what was registered and signed, by whom, and can it be shown? A numbered checklist.

The ten steps stand in `verification/checklist.py`. `failed` anywhere makes the verdict broken: what was presented contradicts
itself or its signature. `unchecked` in a required step makes it unverified, and so do bytes of the artifact's own that are not
here. `recorded` (base and parents: digest known, bytes not here) and `changed` (the card, and nothing else) spoil nothing.
Trust comes from the caller and never from what is being verified. Verifying needs no deep-learning stack and decides nothing
about quality, fairness or safety.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.base_locations import base_location
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import listed_tensors, read_manifest
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.verification.checklist import CHECKLIST, Step, not_reached, run_step, stopped_at
from peft_registry.registry.verification.evidence_checks import LOG_SIGNER_UNKNOWN
from peft_registry.registry.verification.findings import BaseFinder, BaseTensors, Claimed, Context, Findings
from peft_registry.registry.verification.presented import Presented, present_folder, present_version
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.version import Check, Verdict, VerifyOutcome, Version


@dataclass(frozen=True)
class Requirements:
    """What the caller asks beyond the default."""

    log_proof: bool = False
    base_bytes: bool = False


def verify_presented(
    presented: Presented, context: Context, *, require: Requirements = Requirements()
) -> VerifyOutcome:
    """Run the checklist over what is presented."""
    findings = Findings(presented, context)
    checks = {step: _demanded(run_step(step, findings), require) for step in CHECKLIST}
    return VerifyOutcome(
        subject=presented.label,
        manifest_digest=findings.manifest_digest,
        verdict=_verdict(checks, require),
        checks=tuple(checks.values()),
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
        base: path of the base that the user gave; its bytes must then be right.
        registry: tells where bases lie and which parents exist, nothing else.
        version: the version of that registry that the folder must be.
        require: what else is demanded.
        look_for_base: look where the registry says that the base lies; a caller who just hashed it need not again.
    """
    context = Context(
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
    return verify_presented(presented, context, require=_with_base(require, base))


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
    context = Context(
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
        return verify_presented(presented, context, require=_with_base(require, base))


def _demanded(check: Check, require: Requirements) -> Check:
    """A recorded base is not enough where its bytes are required; the line then says so."""
    if check.step != "base" or check.status != "recorded" or not require.base_bytes:
        return check
    text = f"{check.text}, and they are required"
    return Check(step=check.step, text=text, status="unchecked", error="base-bytes-required", detail=check.detail)


def _verdict(checks: Mapping[Step, Check], require: Requirements) -> Verdict:
    if any(check.status == "failed" for check in checks.values()):
        return "broken"
    # a proof by an unknown signer of a log that the user trusts: nothing is verified in spite of it
    log_is_required = require.log_proof or any(check.error == LOG_SIGNER_UNKNOWN for check in checks.values())
    demanded = {"log": log_is_required, "base": require.base_bytes}
    for step, check in checks.items():
        passes = check.status == "ok" or (check.status == "changed" and step.may_change)
        if (step.required or demanded.get(step.name, False)) and not passes:
            return "unverified"
    return "verified"


def _unreadable(label: str, error: KnownError) -> VerifyOutcome:
    first_step, *later = CHECKLIST
    first = stopped_at(first_step, error)
    verdict: Verdict = "broken" if first.status == "failed" else "unverified"
    rest = (not_reached(step) for step in later)
    return VerifyOutcome(subject=label, manifest_digest=None, verdict=verdict, checks=(first, *rest))


def _with_base(require: Requirements, base: Path | None) -> Requirements:
    """A base that the user points at is to be checked, not looked for."""
    return require if base is None else replace(require, base_bytes=True)


def _claimed(registry: Registry, version: Version) -> Claimed:
    with registry.database.read() as tx:
        return Claimed(version, in_order=catalog.is_in_order(tx, version))


def _base_folder(registry: Registry | None, base: Path | None) -> BaseFinder:
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
