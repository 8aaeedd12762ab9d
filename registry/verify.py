"""Is this artifact exactly what was registered and signed, by whom, and can it be shown? A numbered checklist.

     1 read          every name is safe, regular files only, nothing that the manifest does not list
     2 signature     model.sig is a good OMS signature over the listed files
     3 trust         the user trusts its key, for this, at that time
     4 policy        the signature covers the manifest and every file of it, and leaves out exactly card and evidence
     5 files         each file has the size and SHA-256 that were signed
     6 tensors       each tensor has the bytes that the manifest names
     7 base          the base's bytes, where they are here, are those it was made from
     8 statements    each is about this manifest, signed by a key with that role; what accompanied the registration is here
     9 log           the registration is in the log of a checkpoint that a trusted log key signed
    10 parents       each parent is registered

Rules. `failed` anywhere makes the verdict broken: what was presented contradicts itself or its signature. `unchecked` in a
required check makes it unverified. `recorded` (digest known, bytes not here) and `changed` (the card) spoil nothing. Trust
comes from the caller and never from what is being verified. Verifying needs no deep-learning stack and decides nothing
about quality, fairness or safety.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from registry.base_locations import base_location
from registry.checks import (
    Findings,
    check_base,
    check_files,
    check_log,
    check_parents,
    check_policy,
    check_read,
    check_signature,
    check_statements,
    check_tensors,
    check_trust,
)
from registry.database import catalog
from registry.home import Registry
from registry.presented import Presented, present_folder, present_version
from schemas.errors import IntegrityBroken, KnownError, NotChecked
from schemas.identity import Digest
from schemas.policy import TrustPolicy
from schemas.version import STEPS, Check, CheckStatus, Verdict, VerifyOutcome, Version

# without one of these nothing was verified; base and parents may be elsewhere
REQUIRED = ("read", "signature", "trust", "policy", "files", "tensors", "statements")


@dataclass(frozen=True)
class Requirements:
    """What the caller asks beyond the default."""

    log_proof: bool = False
    base_bytes: bool = False


@dataclass(frozen=True)
class Known:
    """What the caller knows besides the artifact: trust, the log's name and keys, where bases lie, which parents exist."""

    trust: TrustPolicy | None
    now: str
    trust_problem: KnownError | None = None
    base_folder: Callable[[Digest | None], Path | None] = field(default=lambda _: None)
    is_registered: Callable[[Digest], bool] | None = None


def verify_presented(presented: Presented, known: Known, *, require: Requirements = Requirements()) -> VerifyOutcome:
    """Run the checklist over what is presented."""
    findings = Findings(presented=presented, trust=known.trust, now=known.now)
    checks = []
    for step, check in _checklist(known):
        checks.append(_run(step, check, findings))
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
    require: Requirements = Requirements(),
) -> VerifyOutcome:
    """Verify a pulled folder; a registry, where there is one, only tells where bases lie and which parents exist."""
    known = Known(
        trust=trust,
        now=now,
        trust_problem=trust_problem,
        base_folder=_base_folder(registry, base),
        is_registered=None if registry is None else _is_registered(registry),
    )
    try:
        presented = present_folder(folder)
    except IntegrityBroken as error:
        return _unreadable(str(folder), error)
    return verify_presented(presented, known, require=require)


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
        is_registered=_is_registered(registry),
    )
    with tempfile.TemporaryDirectory(prefix="registry-verify-") as scratch:
        try:
            presented = present_version(registry, version, Path(scratch))
        except IntegrityBroken as error:
            return _unreadable(version.label, error)
        return verify_presented(presented, known, require=require)


def _checklist(known: Known) -> Sequence[tuple[str, Callable[[Findings], Check]]]:
    return (
        ("read", check_read),
        ("signature", check_signature),
        ("trust", lambda findings: check_trust(findings, known.trust_problem)),
        ("policy", check_policy),
        ("files", check_files),
        ("tensors", check_tensors),
        ("base", lambda findings: check_base(findings, known.base_folder)),
        ("statements", check_statements),
        ("log", check_log),
        ("parents", lambda findings: check_parents(findings, known.is_registered)),
    )


def _run(step: str, check: Callable[[Findings], Check], findings: Findings) -> Check:
    """One check; an error that it raises is its result: wrong is failed, not checkable is unchecked."""
    try:
        return check(findings)
    except IntegrityBroken as error:
        return Check(step=step, text=error.what, status="failed", error=error.reference, detail=(error.why,))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Check(step=step, text=f"malformed: {where}: {first['msg']}", status="failed", error="malformed-document")
    except KnownError as error:
        return Check(step=step, text=error.what, status="unchecked", error=error.reference, detail=(error.why,))


def _verdict(checks: Sequence[Check], require: Requirements) -> Verdict:
    if any(check.status == "failed" for check in checks):
        return "broken"
    status: dict[str, CheckStatus] = {check.step: check.status for check in checks}
    needed = [status[step] for step in REQUIRED]
    if require.log_proof:
        needed.append(status["log"])
    if require.base_bytes and status["base"] != "ok":
        return "unverified"
    return "unverified" if any(one not in ("ok", "changed", "recorded") for one in needed) else "verified"


def _unreadable(label: str, error: IntegrityBroken) -> VerifyOutcome:
    first = Check(step="read", text=error.what, status="failed", error=error.reference, detail=(error.why,))
    rest = tuple(Check(step=step, text="not reached", status="unchecked") for step in STEPS[1:])
    return VerifyOutcome(subject=label, manifest_digest=None, verdict="broken", checks=(first, *rest))


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
