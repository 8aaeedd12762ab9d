"""Is this artifact exactly what was registered and signed, by whom, and can it be shown? A numbered checklist.

The ten steps stand in `verification/checklist.py`. `failed` anywhere makes the verdict broken: what was presented contradicts
itself or its signature. `unchecked` in a required step makes it unverified, and so do bytes of the artifact's own that are not
here. `recorded` (base and parents: digest known, bytes not here) spoils nothing.
Parents that are registered here are verified themselves; `verify_lineage` does so with everything that an artifact was made from.
Trust comes from the caller and never from what is being verified. Verifying needs no deep-learning stack and decides nothing
about quality, fairness or safety.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TypedDict, Unpack

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.disk.files import scratch_folder
from peft_registry.registry.disk.hashing import OnBytes, RunDigests, bytes_told
from peft_registry.registry.homes.base_locations import base_location
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.seen_folders import SeenFolders, SeenFolderUnreadable
from peft_registry.registry.identity.base import BaseFolder, identify_base
from peft_registry.registry.identity.manifests import listed_tensors, read_manifest
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.records.record_inputs import NOTHING_ELSEWHERE, Elsewhere
from peft_registry.registry.records.references import versions_of_artifact
from peft_registry.registry.records.signed_records import elsewhere
from peft_registry.registry.records.snapshots import Snapshot
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.transparency import merkle, note
from peft_registry.registry.transparency.epochs import require_accepted
from peft_registry.registry.transparency.log import LogForked, check_prefix
from peft_registry.registry.transparency.note import Checkpoint
from peft_registry.registry.verification.checklist import CHECKLIST, CheckStep, not_reached, run_step, stopped_at
from peft_registry.registry.verification.deep import CheckedArtifact, walk
from peft_registry.registry.verification.evidence_checks import LOG_SIGNER_UNKNOWN
from peft_registry.registry.verification.findings import (
    BaseReader,
    Claimed,
    Context,
    Findings,
    LogHolder,
    OwnLogDamaged,
    ParentVerifier,
)
from peft_registry.registry.verification.presented import Presented, present_folder, present_version
from peft_registry.registry.verification.with_base import (
    ADAPTER_FOLDER,
    BASE_FOLDER,
    check_loaders,
    is_with_base,
    signed_folder,
)
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.version import Check, LineageOutcome, Verdict, VerifyOutcome, Version

_STEPS_OVER_BYTES = frozenset({"files", "tensors"})
_UNSURE_OF_THE_LOG = frozenset({LOG_SIGNER_UNKNOWN, OwnLogDamaged.reference, SeenFolderUnreadable.reference})
_WORST_LAST: tuple[Verdict, ...] = ("verified", "unverified", "broken")
_PARENTS_KEPT = 64  # outcomes of what several versions were made from
_BASES_KEPT = 8  # bases whose identity one run remembers; a base of many tensors takes megabytes


@dataclass(frozen=True)
class Requirements:
    """What the caller asks beyond the default.

    `witness`: somebody else than the holder of the log key cosigned the checkpoint. `file_digests`: the SHA-256 of each weights
    file too, where its header and its tensors prove its bytes already.
    """

    log_proof: bool = False
    base_bytes: bool = False
    witness: bool = False
    file_digests: bool = False


@dataclass(frozen=True)
class DamagedRegistry:
    """A registry of the user's own that cannot be opened as it is: nothing of it is used, and nothing is held against its log.

    `log_name` is that of the log; `problem` says what is wrong.
    """

    log_name: str
    problem: KnownError


@dataclass(frozen=True)
class Examiner:
    """Who asks: whom they trust, what time it is, and what of their own must not be contradicted.

    Attributes:
        trust: whom they trust; None for nobody.
        now: RFC 3339, UTC.
        problem: why there is no trust.
        registry: tells where bases lie, has the parents, and its log is one that a folder's must not contradict; nothing else.
        damaged: their own registry in place of that, where it cannot be opened as it is.
        seen: what they have seen of logs in other folders, which this one must not contradict; None: nobody remembers.
    """

    trust: TrustPolicy | None
    now: str
    problem: KnownError | None = None
    registry: Registry | None = None
    damaged: DamagedRegistry | None = None
    seen: SeenFolders | None = None


def verify_folder(
    folder: Path,
    *,
    trust: TrustPolicy | None,
    now: str,
    trust_problem: KnownError | None = None,
    base: Path | None = None,
    registry: Registry | None = None,
    damaged: DamagedRegistry | None = None,
    version: Version | None = None,
    require: Requirements = Requirements(),
    look_for_base: bool = True,
    digests: RunDigests | None = None,
    seen: SeenFolders | None = None,
) -> VerifyOutcome:
    """Verify a pulled folder; of one with its base beside it both, and what loaders open in front of them.

    Args:
        folder: where it lies; of a dossier its artifact is verified, and not its documents.
        trust, now, trust_problem, registry, damaged, seen: as an `Examiner` has them.
        base: path of the base that the user gave; its bytes must then be right.
        version: the version of that registry that the folder must be.
        require: what else is demanded.
        look_for_base: look where the registry says that the base lies; a caller who just hashed it need not again.
        digests: what was hashed before; the caller's own, and closed by them.
    """
    with _run(Examiner(trust, now, trust_problem, registry, damaged, seen), require, digests=digests) as run:
        if is_with_base(folder):
            return _checked_with_base(run, folder, base=base, version=version)
        context = run.context(base=base, look_for_base=look_for_base, version=version, verify_parent=run.verify_parent)
        return run.check_folder(signed_folder(folder), context, base=base).outcome


def examine_folder(folder: Path, examiner: Examiner) -> CheckedArtifact:
    """As `verify_folder`, with what the checks read, for whoever shows what is recorded there.

    Of a folder with its base beside it this is the adapter, whose base is then looked at.
    """
    with _run(examiner, Requirements()) as run:
        base = folder / BASE_FOLDER if is_with_base(folder) else None
        context = run.context(base=base, verify_parent=run.verify_parent)
        return run.check_folder(signed_folder(folder), context, base=base)


def _checked_with_base(run: "_Run", folder: Path, *, base: Path | None, version: Version | None) -> VerifyOutcome:
    """How an adapter verifies whose base lies beside it, unless the user says that another folder is its base."""
    beside = folder / BASE_FOLDER
    of_base = run.check_folder(beside, run.context(look_for_base=False), base=None).outcome
    chosen = beside if base is None else base
    context = run.context(base=chosen, version=version, verify_parent=run.verify_parent)
    of_adapter = run.check_folder(folder / ADAPTER_FOLDER, context, base=chosen).outcome
    loaders = check_loaders(folder, run.digests)
    verdicts = (of_adapter.verdict, of_base.verdict, "broken" if loaders.status == "failed" else "verified")
    return VerifyOutcome(
        subject=str(folder),
        manifest_digest=of_adapter.manifest_digest,
        verdict=max(verdicts, key=_WORST_LAST.index),
        checks=(*of_adapter.checks, _summary_of_base(of_base), loaders),
    )


def _summary_of_base(outcome: VerifyOutcome) -> Check:
    """The ten checks of the base beside an adapter as a line of its own."""
    if outcome.verdict == "verified":
        return Check(step="base-folder", text="the base beside it is what was registered and signed", status="ok")
    wrong = "failed" if outcome.verdict == "broken" else "unchecked"
    lines = tuple(f"{check.step}: {check.text}" for check in outcome.checks if check.status == wrong)
    first = next((check.error for check in outcome.checks if check.status == wrong), None)
    text = f"the base beside it is {outcome.verdict}"
    return Check(step="base-folder", text=text, status=wrong, error=first, detail=lines)


class VerifierOptions(TypedDict, total=False):
    """What `verifier` may be given."""

    trust: TrustPolicy | None
    trust_problem: KnownError | None
    base: Path | None
    require: Requirements
    look_for_base: bool
    digests: RunDigests | None
    observe: Observe


def verify_version(registry: Registry, version: Version, **options: Unpack[VerifierOptions]) -> VerifyOutcome:
    """Verify a registered version from the store's bytes, as a `verifier` with these options does."""
    with verifier(registry, **options) as verify:
        return verify(version)


@contextmanager
def verifier(
    registry: Registry,
    *,
    trust: TrustPolicy | None = None,
    trust_problem: KnownError | None = None,
    base: Path | None = None,
    require: Requirements = Requirements(),
    look_for_base: bool = True,
    digests: RunDigests | None = None,
    observe: Observe = ignore,
) -> Iterator[Callable[[Version], VerifyOutcome]]:
    """Verifies any number of registered versions from the store's bytes; what they share is hashed and judged once.

    Without `trust` the home's own trust file speaks. The bytes of bases are hashed where the home remembers that they lie, unless
    not `look_for_base`. `observe` hears of them.
    """
    with (
        bytes_told(observe, "verify", total=None) as on_bytes,
        _run(
            _examiner_at(registry, trust, trust_problem),
            require,
            look_for_base=look_for_base,
            digests=digests,
            on_bytes=on_bytes,
        ) as run,
    ):
        verify_parent = lru_cache(maxsize=_PARENTS_KEPT)(run.verify_parent)

        def verify(version: Version) -> VerifyOutcome:
            checked = run.check_version(version, base=base, verify_parent=verify_parent)
            if checked.verdict == "verified" and base is None:
                run.remember(version, checked)
            for copy in run.scratch.iterdir():  # what a store far away handed out goes with the version
                copy.unlink()
            return checked.outcome

        yield verify


def verify_lineage(
    registry: Registry,
    version: Version,
    *,
    trust: TrustPolicy | None = None,
    trust_problem: KnownError | None = None,
    base: Path | None = None,
    require: Requirements = Requirements(),
    observe: Observe = ignore,
) -> LineageOutcome:
    """Verify a registered version and everything that it was made from, at any distance; each object is hashed once.

    What is registered here is verified as it would be by itself; what is not is recorded. Without `trust` the home's own trust
    file speaks; `base` is where the version's own base lies.
    """
    with _run(_examiner_at(registry, trust, trust_problem), require) as run:
        focus = run.check_version(version, base=base)
        return walk(focus, run.check_artifact, digest=version.manifest_digest, observe=observe)


def verify_folder_lineage(
    folder: Path,
    examiner: Examiner,
    *,
    base: Path | None = None,
    require: Requirements = Requirements(),
    observe: Observe = ignore,
) -> LineageOutcome:
    """The same of a pulled folder: what it was made from is verified as far as it is registered with the examiner."""
    with _run(examiner, require) as run:
        focus = run.check_folder(signed_folder(folder), run.context(base=base), base=base)
        return walk(focus, run.check_artifact, digest=focus.outcome.manifest_digest, observe=observe)


@contextmanager
def _run(
    examiner: Examiner,
    require: Requirements,
    *,
    look_for_base: bool = True,
    digests: RunDigests | None = None,
    on_bytes: OnBytes = lambda _: None,
) -> "Iterator[_Run]":
    """A run; `digests` are the caller's own, who closes them and may know some already."""
    own = RunDigests() if digests is None else digests
    try:
        with scratch_folder("registry-verify-") as scratch:
            known, reader = _known(examiner.registry), _remembering(own, on_bytes)
            yield _Run(examiner, require, own, reader, scratch, known, look_for_base, on_bytes)
    finally:
        if own is not digests:
            own.close()


def _known(registry: Registry | None) -> Snapshot | None:
    """The newest snapshot of the log; None where it cannot be read: each artifact that needs it then says why."""
    if registry is None:
        return None
    try:
        with view_of(registry) as view:
            return view.newest
    except IntegrityBroken:
        return None


def _remembering(digests: RunDigests, on_bytes: OnBytes) -> BaseReader:
    """`identify_base` that reads a base once, however many artifacts stand on it."""

    @lru_cache(maxsize=_BASES_KEPT)
    def identify(folder: Path, *, revision: str | None = None) -> BaseFolder:
        return identify_base(folder, revision=revision, cache=digests, on_bytes=on_bytes)

    return identify


@dataclass(frozen=True)
class _Run:
    """One verification and all that it leads to: what was hashed for one artifact is known for the next."""

    examiner: Examiner
    require: Requirements
    digests: RunDigests
    identify_base: BaseReader
    scratch: Path
    known: Snapshot | None
    look_for_base: bool  # of a registered version: hash its base where the registry says that it lies
    on_bytes: OnBytes = lambda _: None
    verified: dict[str, CheckedArtifact] = field(default_factory=dict)  # by label and manifest, without their findings

    @property
    def registry(self) -> Registry | None:
        return self.examiner.registry

    def context(
        self,
        *,
        base: Path | None = None,
        look_for_base: bool = True,
        version: Version | None = None,
        verify_parent: ParentVerifier | None = None,
    ) -> Context:
        """What is known besides an artifact; `version` is what it is said to be."""
        return Context(
            trust=self.examiner.trust,
            now=self.examiner.now,
            trust_problem=self.examiner.problem,
            base_folder=_base_folder(self.registry if look_for_base else None, base),
            base_tensors=_base_tensors(self.registry),
            verify_parent=None if self.registry is None else verify_parent,
            claimed=None if self.registry is None or version is None else _claimed(self.registry, version),
            digests=self.digests,
            on_bytes=self.on_bytes,
            file_digests=self.require.file_digests,
            identify_base=self.identify_base,
            elsewhere=_elsewhere(self.registry, is_own=version is not None),
        )

    def check_folder(self, folder: Path, context: Context, *, base: Path | None) -> CheckedArtifact:
        """How a pulled folder verifies."""
        try:
            presented = present_folder(folder)
        except IntegrityBroken as error:
            return _unreadable(str(folder), error)
        damaged, seen = self.examiner.damaged, self.examiner.seen
        own_log = _own_log(self.registry) if damaged is None else _silent(damaged)
        context = replace(context, own_log=_remembering_folder(own_log, seen, folder))
        return _checked(presented, context, _with_base(self.require, base))

    def check_version(
        self, version: Version, *, base: Path | None = None, verify_parent: ParentVerifier | None = None
    ) -> CheckedArtifact:
        """How a version verifies from the store's bytes; its parents are verified if the caller says how."""
        assert self.registry is not None, "only a registry has versions"
        try:
            context = self.context(
                base=base, look_for_base=self.look_for_base, version=version, verify_parent=verify_parent
            )
            presented = present_version(self.registry, version, self.scratch, known=self.known)
        except (IntegrityBroken, NotChecked) as error:
            # what it was made from is in its manifest, whatever else of it cannot be read
            return _unreadable(version.label, error, manifest=self._stored_manifest(version.manifest_digest))
        return _checked(presented, context, _with_base(self.require, base))

    def _stored_manifest(self, digest: Digest) -> Manifest | None:
        """The manifest with that digest; None where the store lost or changed it."""
        assert self.registry is not None, "only a registry has a store"
        try:
            return read_manifest(self.registry.store.read_bytes(digest))
        except (IntegrityBroken, NotChecked):
            return None

    def check_artifact(self, digest: Digest) -> CheckedArtifact:
        """How the artifact with this manifest digest verifies, the worst of its names here; recorded where it has none."""
        if self.registry is None:
            return _not_here(digest)
        try:
            versions = versions_of_artifact(self.registry, digest, known=self.known)
        except (IntegrityBroken, NotChecked) as error:
            return _unreadable(digest.short, error)
        checked = [self._check_source(version) for version in versions]
        return max(checked, key=lambda one: one.outcome.exit_code, default=_not_here(digest))

    def remember(self, version: Version, checked: CheckedArtifact) -> None:
        """Keep how a version verified: as the parent of another it is asked for less, nothing about its own parents."""
        while len(self.verified) >= _PARENTS_KEPT:
            del self.verified[next(iter(self.verified))]
        self.verified[_named(version)] = replace(checked, findings=None)

    def _check_source(self, version: Version) -> CheckedArtifact:
        """How a version that another was made from verifies; a base by reference whose folder is gone is only recorded."""
        assert self.registry is not None, "only a registry has versions"
        known = self.verified.get(_named(version))
        if known is not None:
            return known
        checked = self.check_version(version)
        wants_bytes = self.require.base_bytes
        if checked.verdict != "unverified" or wants_bytes or not _bytes_elsewhere(self.registry, version):
            return checked
        open_steps = {check.step for check in checked.outcome.checks if check.status == "unchecked"}
        required = {step.name for step in CHECKLIST if step.required}
        only_bytes = open_steps & required <= _STEPS_OVER_BYTES
        return replace(checked, verdict="recorded") if only_bytes else checked

    def verify_parent(self, digest: Digest) -> VerifyOutcome | None:
        """How a parent verifies; None where nobody registered it here."""
        checked = self.check_artifact(digest)
        return None if checked.verdict == "recorded" and checked.manifest is None else checked.outcome


def _named(version: Version) -> str:
    return f"{version.label} {version.manifest_digest}"


def _examiner_at(registry: Registry, trust: TrustPolicy | None, problem: KnownError | None) -> Examiner:
    """Whom the caller trusts, else the home's own trust file."""
    if trust is None and problem is None:
        try:
            trust = registry.trust
        except (NotChecked, IntegrityBroken) as error:
            problem = error
    return Examiner(trust, registry.clock(), problem, registry)


def _checked(presented: Presented, context: Context, require: Requirements) -> CheckedArtifact:
    findings = Findings(presented, context)
    checks = {step: _demanded(run_step(step, findings), require, findings) for step in CHECKLIST}
    verdict = _verdict(checks, require)
    outcome = VerifyOutcome(
        subject=presented.label,
        manifest_digest=findings.manifest_digest,
        verdict=verdict,
        checks=tuple(checks.values()),
    )
    return CheckedArtifact(outcome, findings.manifest, verdict, findings)


def _demanded(check: Check, require: Requirements, findings: Findings) -> Check:
    """A recorded base is not enough where its bytes are required, nor a proof that nobody witnessed; the line then says so."""
    if check.step == "base" and check.status == "recorded" and require.base_bytes:
        text, error = f"{check.text}, and they are required", "base-bytes-required"
    elif check.step == "log" and check.status == "ok" and require.witness and not findings.witnesses:
        text, error = f"{check.text}; no trusted witness cosigned it, and one is required", "witness-required"
    else:
        return check
    return Check(step=check.step, text=text, status="unchecked", error=error, detail=check.detail)


def _verdict(checks: Mapping[CheckStep, Check], require: Requirements) -> Verdict:
    if any(check.status == "failed" for check in checks.values()):
        return "broken"
    # a proof by an unknown signer of a log that the user trusts, or one that the user's own log, were it whole, might contradict:
    # nothing is verified in spite of it
    log_is_required = (
        require.log_proof or require.witness or any(check.error in _UNSURE_OF_THE_LOG for check in checks.values())
    )
    demanded = {"log": log_is_required, "base": require.base_bytes}
    for step, check in checks.items():
        if (step.required or demanded.get(step.name, False)) and check.status != "ok":
            return "unverified"
    return "verified"


def _bytes_elsewhere(registry: Registry, version: Version) -> bool:
    """Whether an artifact was added by reference, and nothing is where it was then."""
    with registry.database.read() as tx:
        by_reference = catalog.artifact(tx, manifest_digest=version.manifest_digest).by_reference
    folder = base_location(registry.folder, version.manifest_digest)
    return by_reference and (folder is None or not folder.exists())


def _unreadable(label: str, error: KnownError, *, manifest: Manifest | None = None) -> CheckedArtifact:
    first_step, *later = CHECKLIST
    first = stopped_at(first_step, error)
    verdict: Verdict = "broken" if first.status == "failed" else "unverified"
    rest = (not_reached(step) for step in later)
    outcome = VerifyOutcome(subject=label, manifest_digest=None, verdict=verdict, checks=(first, *rest))
    return CheckedArtifact(outcome, manifest, verdict)


def _not_here(digest: Digest) -> CheckedArtifact:
    """An artifact that a signed manifest names and nobody registered here: nothing can be said of it, and nothing is wrong."""
    checks = (not_reached(step) for step in CHECKLIST)
    outcome = VerifyOutcome(subject=digest.short, manifest_digest=digest, verdict="unverified", checks=tuple(checks))
    return CheckedArtifact(outcome, None, "recorded")


def _with_base(require: Requirements, base: Path | None) -> Requirements:
    """A base that the user points at is to be checked, not looked for."""
    return require if base is None else replace(require, base_bytes=True)


def _claimed(registry: Registry, version: Version) -> Claimed:
    with registry.database.read() as tx:
        recorded = catalog.recorded_artifact(tx, manifest_digest=version.manifest_digest)
        return Claimed(version, catalog.is_in_order(tx, version), recorded)


def _elsewhere(registry: Registry | None, *, is_own: bool) -> Elsewhere:
    """What the user's registry knows of other artifacts.

    Only of a version of its own: entries of another log are numbered otherwise, and what was said when is not told by these.
    """
    if registry is None:
        return NOTHING_ELSEWHERE
    with view_of(registry) as view:
        known = view.once("elsewhere", lambda: elsewhere(registry))
    return known if is_own else replace(known, about=lambda _: None)


def _own_log(registry: Registry | None) -> LogHolder:
    """Holds a checkpoint that somebody presents against the log of the user's own registry, if it is of that log.

    Whoever has a stolen log key can sign another history; it is not the one that lies here. A checkpoint beyond what is here was
    made at another copy of a shared log, and nothing can be said of it. In an earlier epoch nothing was made beyond the loss that
    a root accepted, and what that covers cannot be compared any more.
    """

    def hold(origin: str, checkpoint: Checkpoint) -> None:
        if registry is None or origin not in registry.epochs.origins:
            return
        kept = registry.epochs.kept_of(origin)
        if kept is not None and checkpoint.size > kept:
            require_accepted(registry.epochs, origin, size=checkpoint.size, root=checkpoint.root)
            return
        with view_of(registry) as view:
            store = SqlLogStore(view.tx)
            if checkpoint.size > store.size():
                return
            try:
                store.read_frontier(checkpoint.size)
                check_prefix(store, size=checkpoint.size, root=checkpoint.root)
            except LogForked as fork:
                _require_own(view, store, fork)
                raise
            except IntegrityBroken as error:
                raise OwnLogDamaged(f"{error.what}: {error.why}") from error

    return hold


def _remembering_folder(own_log: LogHolder, seen: SeenFolders | None, folder: Path) -> LogHolder:
    """Holds a checkpoint also against those that came with other folders that the user verified."""

    def hold(origin: str, checkpoint: Checkpoint) -> None:
        if seen is not None:
            seen.hold(origin, checkpoint, folder)
        own_log(origin, checkpoint)

    return hold


def _silent(damaged: DamagedRegistry) -> LogHolder:
    """Of a registry that cannot be opened as it is: says of each checkpoint of its log that it cannot tell."""

    def hold(origin: str, checkpoint: Checkpoint) -> None:  # noqa: ARG001  whatever it covers
        if origin == damaged.log_name or origin.startswith(f"{damaged.log_name}/"):
            raise OwnLogDamaged(f"{damaged.problem.what}: {damaged.problem.why}")

    return hold


def _require_own(view: View, store: SqlLogStore, fork: LogForked) -> None:
    """Raise unless the user's own log proves that its first entries are other than those of a checkpoint.

    They are proven to the newest checkpoint that it continues. Else a node is damaged, or these entries are ones that nobody
    signed over, and somebody who can write the database would make every folder broken.

    Raises:
        OwnLogDamaged: it does not.
    """
    try:
        newest = max(
            (note.read_unverified(text)[1:] for text in view.registry.newest_checkpoints(view.tx)), default=(0, b"")
        )
        size, root = newest
        if size < fork.size:
            raise OwnLogDamaged(
                f"a checkpoint covers {fork.size} entries of it, its own newest one {size}, and the rest are others"
            )
        proof = merkle.consistency_proof(fork.size, size, store.get_node)
        merkle.check_consistency(fork.size, size, proof, fork.found, root)
    except IntegrityBroken as error:
        raise OwnLogDamaged(f"{error.what}: {error.why}") from error


def _base_folder(registry: Registry | None, base: Path | None) -> Callable[[Digest | None], Path | None]:
    def find(manifest: Digest | None) -> Path | None:
        if base is not None or registry is None or manifest is None:
            return base
        return base_location(registry.folder, manifest)

    return find


def _base_tensors(registry: Registry | None) -> Callable[[Digest | None], tuple[Tensor, ...] | None]:
    """The tensors that a registered base's manifest lists: they name what is wrong with a base that is not it."""

    def find(manifest: Digest | None) -> tuple[Tensor, ...] | None:
        if registry is None or manifest is None or not registry.store.has(manifest):
            return None
        return listed_tensors(read_manifest(registry.store.read_bytes(manifest)).weights)

    return find
