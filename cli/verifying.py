"""What `registry verify` is asked, and the answer: of a version in a registry, or of a folder that anybody hands over."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from peft_registry.cli import console

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.audit_folder import FolderAudit
    from peft_registry.registry.use_cases.read_folder import ReadFolder
    from peft_registry.registry.use_cases.verify import Examiner, Requirements
    from peft_registry.schemas.progress import Observe
    from peft_registry.schemas.version import LineageOutcome, VerifyOutcome, Version


def is_folder(target: str) -> bool:
    """A folder is written as one: with a separator, or as the name of a folder that is there."""
    return "/" in target or target in (".", "..") or Path(target).is_dir()


def is_artifact_folder(target: str) -> bool:
    """As `is_folder`, for commands that nearly always get a version: a folder of that name is meant if it holds a copy of one."""
    if "/" in target or target in (".", ".."):
        return True
    return any((Path(target) / place / "manifest.json").is_file() for place in (".", "adapter", "artifact"))


@dataclass(frozen=True)
class VerifyRequest:
    """What was asked, as typed."""

    target: str
    home: Path | None = None
    trust: Path | None = None
    root: list[str] | None = None
    checkpoint: Path | None = None
    base: Path | None = None
    require: Sequence[str] = ()
    file_digests: bool = False
    no_cache: bool = False

    def requirements(self) -> "Requirements":
        """What has to be shown beside the usual.

        Raises:
            InputRefused: `--require` names something else.
        """
        from peft_registry.registry.use_cases.verify import Requirements
        from peft_registry.schemas.errors import InputRefused

        unknown = sorted(set(self.require) - {"base-bytes", "log-proof", "witness"})
        if unknown:
            raise InputRefused.in_words(
                what=f"--require {unknown[0]} is not known",
                why="what can be required is base-bytes, log-proof and witness",
                fix="use one of them",
            )
        return Requirements(
            log_proof="log-proof" in self.require,
            base_bytes="base-bytes" in self.require,
            witness="witness" in self.require,
            file_digests=self.file_digests,
        )


@contextmanager
def _looked_up(request: VerifyRequest) -> "Iterator[_LookedUp]":
    """The registry, the trust and, unless a folder is meant, the version that the request names."""
    if is_folder(request.target):
        with _beside_folder(request) as examiner:
            yield _LookedUp(examiner, None)
        return
    from peft_registry.cli.wiring import chosen_trust, home_if_any
    from peft_registry.registry.database.catalog import VersionUnknown
    from peft_registry.registry.homes.home import HomeNotFound, utc_now
    from peft_registry.registry.homes.layout import FOLDER_NAME
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.verify import Examiner

    registry = home_if_any(request.home, checkpoint=request.checkpoint)
    try:
        policy, problem = chosen_trust(registry, request.trust, request.root)
        if registry is None:
            raise HomeNotFound(
                f"a folder {request.target}, and for {FOLDER_NAME} in {Path.cwd()} and every folder above"
            )
        examiner = Examiner(policy, utc_now(), problem, registry)
        try:
            version = version_named(registry, request.target, trust=policy)
        except VersionUnknown as unknown:
            if not Path(request.target).is_file():
                raise
            # the user sees a file of that name, and that no version has it would be no answer
            why = "it is a file; `registry verify` takes a version, or a folder that holds one"
            fix = "name a version as NAME:NUMBER, or a folder that `registry pull` wrote; `registry list` shows the versions"
            raise VersionUnknown(unknown.version, why, unknown.close, fix) from unknown
        yield _LookedUp(examiner, version)
    finally:
        if registry is not None:
            registry.close()


@contextmanager
def _beside_folder(request: VerifyRequest) -> "Iterator[Examiner]":
    """Who asks about a folder; of a registry at hand that is damaged nothing is asked but whom it trusts."""
    from peft_registry.cli.wiring import chosen_trust, home_beside_folder, seen_folders
    from peft_registry.registry.homes.home import utc_now
    from peft_registry.registry.use_cases.verify import Examiner

    registry, damaged = home_beside_folder(request.home, checkpoint=request.checkpoint)
    try:
        if registry is None:
            require_absent({"--checkpoint": request.checkpoint}, beside="a folder where there is no registry")
        policy, problem = chosen_trust(registry, request.trust, request.root)
        yield Examiner(policy, utc_now(), problem, None if damaged else registry, damaged, seen_folders())
    finally:
        if registry is not None:
            registry.close()


@dataclass(frozen=True)
class _LookedUp:
    """Who asks, and what about; `version` is None for a folder."""

    examiner: "Examiner"
    version: "Version | None"


def verified(request: VerifyRequest) -> "VerifyOutcome":
    """The checklist of what the request names, a version or a folder; what stops its use is among its findings.

    Raises:
        InputRefused: a requirement or an option is not known, or has no use here.
        KnownError: the version, the registry or the trust cannot be found or read.
    """
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import digests_of_earlier_runs
    from peft_registry.registry.disk.hashing import RunDigests
    from peft_registry.registry.records.stops import with_stops
    from peft_registry.registry.use_cases.verify import verify_folder, verify_version

    require = request.requirements()
    kept = None if request.no_cache else digests_of_earlier_runs()
    with _looked_up(request) as subject, closing(RunDigests(kept)) as digests:
        examiner = subject.examiner
        if examiner.registry is not None and subject.version is not None:
            outcome = verify_version(
                examiner.registry,
                subject.version,
                trust=examiner.trust,
                trust_problem=examiner.problem,
                base=request.base,
                require=require,
                digests=digests,
                observe=Progress(story_on_stdout=False),
            )
        else:
            outcome = verify_folder(
                Path(request.target),
                trust=examiner.trust,
                trust_problem=examiner.problem,
                now=examiner.now,
                base=request.base,
                registry=examiner.registry,
                damaged=examiner.damaged,
                require=require,
                digests=digests,
                seen=examiner.seen,
            )
        if examiner.registry is not None and outcome.verdict != "broken":
            outcome = with_stops(examiner.registry, outcome)
        if digests.reused:
            count = len(digests.reused)
            unchanged = (
                "1 file is unchanged since you verified it last"
                if count == 1
                else f"{count} files are unchanged since you verified them last"
            )
            console.note(f"note: {unchanged}; --no-cache hashes everything again", indent=6)
    return outcome


def read_presented(request: VerifyRequest) -> "ReadFolder":
    """The version that a folder shows, once that was verified; says on stderr where it could not be.

    Raises:
        FolderBroken: something in it is not what was signed.
        KnownError: the folder, the registry or the trust cannot be read.
    """
    from peft_registry.registry.use_cases.read_folder import read_folder

    with _beside_folder(request) as examiner:
        read = read_folder(Path(request.target), examiner)
    if read.outcome.verdict == "unverified":
        console.note(
            f"unverified: {read.outcome.unchecked_text}; `registry verify {request.target}` says more", indent=12
        )
    return read


def audited(request: VerifyRequest) -> "FolderAudit":
    """Everything in a folder that can be done again, and how it verified.

    Raises:
        InputRefused: a version of the registry is named.
        KnownError: the folder, the registry or the trust cannot be read.
    """
    from peft_registry.registry.use_cases.audit_folder import audit_folder
    from peft_registry.schemas.errors import InputRefused

    if not is_folder(request.target):
        raise InputRefused.in_words(
            what=f"--audit is about a folder, and {request.target} is a version of the registry",
            why="an audit shows what a folder alone gives, without the registry that wrote it",
            fix=f"`registry pull {request.target} FOLDER`, or `registry report {request.target} FOLDER --to RECIPIENT`, "
            "then audit that",
        )
    with _beside_folder(request) as examiner:
        return audit_folder(Path(request.target), examiner)


def audited_with_rerun(
    request: VerifyRequest, count: int, states: Path, data: Path, *, observe: "Observe"
) -> "FolderAudit":
    """As `audited`, with stretches of the training run again, where nothing of the folder is broken.

    Raises:
        InputRefused: a version of the registry is named.
        KnownError: the folder, the registry or the trust cannot be read.
    """
    import peft_registry.trainer.training.rerun  # noqa: F401  the small install lacks torch, and says so before it hashes anything
    from peft_registry.registry.use_cases.read_folder import read_folder
    from peft_registry.trainer.use_cases.rerun import Rerun, rerun

    audit = audited(request)
    if audit.verdict == "broken":
        return audit
    with _beside_folder(request) as examiner:
        read = read_folder(Path(request.target), examiner)
    again = rerun(Rerun(read, count, states, data, request.base), observe)
    return audit.revised(lines=(*audit.lines, *again))


def verified_lineage(request: VerifyRequest) -> "LineageOutcome":
    """As `verified`, with everything that it was made from, at any distance."""
    from peft_registry.cli.progress import Progress
    from peft_registry.registry.use_cases.verify import verify_folder_lineage, verify_lineage

    require = request.requirements()
    observe = Progress(story_on_stdout=False)
    with _looked_up(request) as subject:
        examiner = subject.examiner
        if examiner.registry is not None and subject.version is not None:
            return verify_lineage(
                examiner.registry,
                subject.version,
                trust=examiner.trust,
                trust_problem=examiner.problem,
                base=request.base,
                require=require,
                observe=observe,
            )
        return verify_folder_lineage(
            Path(request.target), examiner, base=request.base, require=require, observe=observe
        )


def require_absent(options: "Mapping[str, object]", *, beside: str) -> None:
    """Raise unless none of these options was given."""
    from peft_registry.schemas.errors import InputRefused

    for name, value in options.items():
        if value:
            raise InputRefused.in_words(
                what=f"{name} cannot be combined with {beside}",
                why="it would decide nothing",
                fix=f"leave out {name}; `--help` says what each option is for",
            )
