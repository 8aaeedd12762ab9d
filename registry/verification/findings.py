"""What the checks of `registry verify` work on: what the caller knows, what they have established so far, and their results."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from peft_registry.registry.database.catalog import RecordedArtifact
from peft_registry.registry.disk.hashing import DigestCache, OnBytes
from peft_registry.registry.identity.base import BaseFolder, identify_base
from peft_registry.registry.identity.manifests import ManifestMalformed
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.records.record_inputs import NOTHING_ELSEWHERE, Elsewhere
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.signing.oms import Bundle
from peft_registry.registry.signing.statements import OpenedStatement
from peft_registry.registry.signing.trust import ProvenTime, key_status, public_keys
from peft_registry.registry.signing.trust_chain import public_of
from peft_registry.registry.transparency.completeness import CompleteList, EntryDate, checkpoint_over_list, dates_of
from peft_registry.registry.transparency.entries import LoggedEntry, checkpoint_over
from peft_registry.registry.transparency.note import Checkpoint, cosignatures, read_unverified
from peft_registry.registry.verification.evidence import (
    MAX_TRIES,
    STATEMENTS_PATH,
    presented_keys,
    read_entry,
    read_list,
    read_statements,
)
from peft_registry.registry.verification.presented import EvidenceBroken, Presented
from peft_registry.schemas.errors import KnownError, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.policy import CHECKPOINT_TYPE, TrustPolicy
from peft_registry.schemas.statement import RegistrationPredicate, Statement
from peft_registry.schemas.version import CheckStatus, VerifyOutcome, Version

BaseFinder = Callable[[Digest | None], Path | None]
"""Where the base with this manifest lies; None if nobody knows."""

BaseTensors = Callable[[Digest | None], tuple[Tensor, ...] | None]
"""The tensors that the base with this manifest lists; None if its manifest is not here."""


ParentVerifier = Callable[[Digest], VerifyOutcome | None]
"""How a parent that is registered here verifies; None where nobody registered it, as the log says."""


LogHolder = Callable[[str, Checkpoint], None]
"""Raises LogForked where a checkpoint of this origin is not of the log that the caller holds themselves, OwnLogDamaged where that
log cannot tell."""


class OwnLogDamaged(NotChecked):
    what = "your own registry is damaged: nothing could be compared with its log"
    why = "{reason}"
    fix = "run `registry log check` in your registry; where that is not, `registry verify FOLDER --trust FILE` asks it nothing"

    reason: str


class BaseReader(Protocol):
    """Identifies the base in a folder; `identify_base` is one, and a run over many artifacts remembers what it gave."""

    def __call__(self, folder: Path, *, revision: str | None = None) -> BaseFolder: ...


@dataclass(frozen=True, slots=True)
class Claimed:
    """The version that the artifact is said to be, and what the catalogue's rows say about that artifact.

    `in_order`: its number fits those before and after it in the log.
    """

    version: Version
    in_order: bool
    recorded: RecordedArtifact


@dataclass(frozen=True)
class Context:
    """What the caller knows besides the artifact.

    Attributes:
        trust: whom the user trusts; None for nobody.
        now: RFC 3339, UTC.
        trust_problem: why there is no trust.
        base_folder: where a base lies.
        base_tensors: which tensors a base lists.
        verify_parent: how a parent verifies; None where no registry is at hand.
        claimed: the version that the artifact is said to be.
        digests: what was hashed already and need not be again.
        on_bytes: hears of the bytes of weights that are hashed.
        file_digests: the SHA-256 of each weights file is computed too; its header and tensors prove its bytes without.
        identify_base: reads the base in a folder.
        own_log: holds a checkpoint against the caller's own log, where they have one of that origin.
        elsewhere: what is recorded of other artifacts, where the caller's registry has it.
    """

    trust: TrustPolicy | None
    now: str
    trust_problem: KnownError | None = None
    base_folder: BaseFinder = field(default=lambda _: None)
    base_tensors: BaseTensors = field(default=lambda _: None)
    verify_parent: ParentVerifier | None = None
    claimed: Claimed | None = None
    digests: DigestCache | None = None
    on_bytes: OnBytes = lambda _: None
    file_digests: bool = False
    identify_base: BaseReader = identify_base
    own_log: LogHolder = lambda _, __: None
    elsewhere: Elsewhere = NOTHING_ELSEWHERE


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found. `error` is a kebab-case reference, None when ok; `detail` has a line for each thing that is wrong."""

    status: CheckStatus
    text: str
    error: str | None = None
    detail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogProof:
    """What a proof of the log gives: the checkpoint that it leads to, or the problem that says why it proves nothing.

    `dates` has the time of each statement that a list gives one.
    """

    checkpoint: Checkpoint | None = None
    problem: KnownError | None = None
    dates: Mapping[Digest, EntryDate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dated:
    """What a proven log entry dates: the registration that it names, made by the key that it names, and what that covers."""

    proven: ProvenTime
    key_id: str
    registration: RegistrationPredicate
    statements: frozenset[Digest]


@dataclass
class Findings:
    """Filled by the checks in their order.

    What lies in the evidence is read once, so that no two checks see two texts, and each proof of the log is checked once.
    """

    presented: Presented
    context: Context
    manifest: Manifest | None = None
    manifest_digest: Digest | None = None
    bundle: Bundle | None = None
    signer: PublicKey | None = None
    dated: Dated | None = None
    # by statement, for those whose own entry is presented
    entry_dates: Mapping[Digest, EntryDate] = field(default_factory=dict)
    statements: list[tuple[Statement, Digest]] = field(default_factory=list)
    counted: set[Digest] = field(default_factory=set)  # the digests in `statements`
    signers: dict[Digest, PublicKey] = field(default_factory=dict)  # of the statements
    last_signer: PublicKey | None = None  # of a statement
    tries: int = 0  # of keys on statements, beyond the first key of each
    registrations: dict[Digest, RegistrationPredicate] = field(default_factory=dict)
    own_log_problem: OwnLogDamaged | None = None

    def hold_against_own_log(self, origin: str, checkpoint: Checkpoint) -> None:
        """Hold a checkpoint against the caller's own log; where that cannot tell, `own_log_problem` says so.

        Raises:
            LogForked: it is not of that log.
        """
        try:
            self.context.own_log(origin, checkpoint)
        except OwnLogDamaged as problem:  # it speaks of the caller's registry, and not of what is presented
            self.own_log_problem = problem

    @property
    def trust(self) -> TrustPolicy | None:
        """Whom the user trusts; None for nobody."""
        return self.context.trust

    @cached_property
    def presented_statements(self) -> tuple[OpenedStatement, ...]:
        """Every statement that is presented."""
        return read_statements(self.presented)

    @cached_property
    def logged(self) -> LoggedEntry | None:
        """The log entry that the proof speaks of."""
        return read_entry(self.presented)

    @cached_property
    def listed(self) -> CompleteList | None:
        """The list of everything that was said."""
        return read_list(self.presented)

    @cached_property
    def list_proof(self) -> LogProof | None:
        """What the proof of that list gives; None where no list is here, or nobody is trusted to sign one."""
        listed = self.listed
        manifest = self.manifest_digest
        trust = self.trust
        now = self.context.now
        if listed is None or manifest is None or trust is None:
            return None
        try:
            checkpoint = checkpoint_over_list(listed, manifest, trust, now=now)
        except KnownError as error:
            return LogProof(problem=error)
        try:
            return LogProof(checkpoint, dates=dates_of(listed, checkpoint, manifest, trust, now=now))
        except KnownError as error:  # the list is proven, and something that it says of dates is not
            return LogProof(checkpoint, problem=error)

    @cached_property
    def entry_proof(self) -> LogProof | None:
        """What the proof of the registration's entry gives; None where no proof is here, or nobody is trusted to sign one."""
        entry = self.logged
        trust = self.trust
        if entry is None or trust is None:
            return None
        try:
            signed_at = self._checkpoint_time(entry)
            return LogProof(checkpoint_over(entry, trust, now=self.context.now, signed_at=signed_at))
        except KnownError as error:
            return LogProof(problem=error)

    def _checkpoint_time(self, entry: LoggedEntry) -> ProvenTime | None:
        """When the checkpoint over an entry was signed: the time of the snapshot under it, where the list is proven by the same."""
        listed = self.listed
        proof = self.list_proof
        if listed is None or proof is None or proof.checkpoint is None:
            return None
        # by what was signed: a witness may have cosigned the one and not the other
        is_same = read_unverified(listed.proof.checkpoint_text) == read_unverified(entry.proof.checkpoint_text)
        return ProvenTime(listed.stated.leaf.at) if is_same else None

    @cached_property
    def witnesses(self) -> tuple[str, ...]:
        """The persons whose witness keys count and cosigned the checkpoint over the registration's entry.

        Raises:
            BadSignature, MalformedNote: a line names a trusted witness that did not sign this.
        """
        entry, trust = self.logged, self.trust
        if entry is None or trust is None:
            return ()
        text = entry.proof.checkpoint_text
        origin = read_unverified(text)[0]
        keys = {key.key_id: key for key in trust.keys if key.role == "witness" and key.log_origin in (None, origin)}
        persons = []
        for cosigned in cosignatures(text, map(public_of, keys.values())):
            # when a witness signed is its own word, so that nothing proves that it was before its key was revoked or expired
            status = key_status(
                trust, cosigned.key_id, predicate_type=CHECKPOINT_TYPE, signed_at_proven=None, now=self.context.now
            )
            if status.state == "ok":
                persons.append(keys[cosigned.key_id].person)
        return tuple(dict.fromkeys(persons))

    @cached_property
    def presented_keys(self) -> tuple[PublicKey, ...]:
        """The keys that travel with the evidence: they only tell a wrong signature from an unknown key."""
        return presented_keys(self.presented)

    @cached_property
    def known_keys(self) -> tuple[PublicKey, ...]:
        """Trusted keys, then those presented."""
        trusted = () if self.trust is None else public_keys(self.trust)
        return (*trusted, *(key for key in self.presented_keys if key not in trusted))

    @cached_property
    def named_signers(self) -> Mapping[Digest, str]:
        """Whose key signed a statement, as its entry on the list says: a hint, which spares trying all keys."""
        listed = self.listed
        return {} if listed is None else {entry.leaf.statement: entry.leaf.key for entry in listed.stated.entries}

    def keys_to_try(self, statement: Digest) -> Iterator[PublicKey]:
        """Every known key; first the one that the statement's entry names, and then the one that signed the statement before.

        Raises:
            EvidenceBroken: more keys were tried on these statements than any signer makes necessary.
        """
        named = self.named_signers.get(statement)
        ordered = sorted(self.known_keys, key=lambda key: (key.key_id != named, key != self.last_signer))
        for number, key in enumerate(ordered):
            self.tries += number > 0
            if self.tries > MAX_TRIES:
                why = f"its signers are not known after {MAX_TRIES} keys were tried in vain"
                raise EvidenceBroken(STATEMENTS_PATH, why)
            yield key

    def need_manifest(self) -> Manifest:
        """The manifest.

        Raises:
            ManifestMalformed: check 1 could not read it.
        """
        if self.manifest is None:
            raise ManifestMalformed("it could not be read")
        return self.manifest


def ok(text: str, detail: Iterable[str] = ()) -> CheckResult:
    """The check was made, and everything is as it was signed."""
    return CheckResult("ok", text, detail=tuple(detail))


def recorded(text: str, detail: Iterable[str] = ()) -> CheckResult:
    """The digest is signed; the bytes are not here, and need not be."""
    return CheckResult("recorded", text, detail=tuple(detail))


def unchecked(text: str, error: str, detail: Iterable[str] = ()) -> CheckResult:
    """The check could not be made."""
    return CheckResult("unchecked", text, error, tuple(detail))


def failed(text: str, error: str, detail: Iterable[str]) -> CheckResult:
    """What is presented is not what was signed."""
    return CheckResult("failed", text, error, tuple(detail))
