"""What the checks of `registry verify` have established so far; later checks build on it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from peft_registry.registry.identity.manifests import ManifestMalformed
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.signing.oms import Bundle
from peft_registry.registry.signing.trust import public_keys
from peft_registry.registry.transparency.entries import LoggedEntry
from peft_registry.registry.verification.evidence import ReadStatement, presented_keys, read_entry, read_statements
from peft_registry.registry.verification.presented import Presented
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import RegistrationPredicate, Statement
from peft_registry.schemas.version import Check, CheckStatus, Version


@dataclass(frozen=True, slots=True)
class Claimed:
    """The version that the artifact is said to be. `in_order`: its number fits those before and after it in the log."""

    version: Version
    in_order: bool


@dataclass(frozen=True, slots=True)
class Dated:
    """What a proven log entry dates: the registration that it names, made by the key that it names, and what that covers."""

    at: str
    key_id: str
    registration: RegistrationPredicate
    statements: frozenset[Digest]


@dataclass
class Findings:
    """Filled by the checks in their order. What lies in the evidence is read once, so that no two checks see two texts."""

    presented: Presented
    trust: TrustPolicy | None
    now: str
    claimed: Claimed | None = None
    manifest: Manifest | None = None
    manifest_digest: Digest | None = None
    bundle: Bundle | None = None
    signer: PublicKey | None = None
    dated: Dated | None = None
    statements: list[tuple[Statement, Digest]] = field(default_factory=list)
    registrations: dict[Digest, RegistrationPredicate] = field(default_factory=dict)

    @cached_property
    def said(self) -> tuple[ReadStatement, ...]:
        """Every statement that is presented."""
        return read_statements(self.presented)

    @cached_property
    def logged(self) -> LoggedEntry | None:
        """The log entry that the proof speaks of."""
        return read_entry(self.presented)

    @cached_property
    def presented_keys(self) -> tuple[PublicKey, ...]:
        """The keys that travel with the evidence: they only tell a wrong signature from an unknown key."""
        return presented_keys(self.presented)

    @property
    def known_keys(self) -> tuple[PublicKey, ...]:
        """Trusted keys, then those presented."""
        trusted = () if self.trust is None else public_keys(self.trust)
        return (*trusted, *(key for key in self.presented_keys if key not in trusted))

    def need_manifest(self) -> Manifest:
        """The manifest.

        Raises:
            ManifestMalformed: check 1 could not read it.
        """
        if self.manifest is None:
            raise ManifestMalformed("it could not be read")
        return self.manifest


def ok(step: str, text: str) -> Check:
    return Check(step=step, text=text, status="ok")


def unchecked(step: str, text: str, error: str, detail: Iterable[str] = ()) -> Check:
    return _check(step, text, "unchecked", error, detail)


def failed(step: str, text: str, error: str, detail: Iterable[str]) -> Check:
    return _check(step, text, "failed", error, detail)


def _check(step: str, text: str, status: CheckStatus, error: str, detail: Iterable[str]) -> Check:
    return Check(step=step, text=text, status=status, error=error, detail=tuple(detail))
