"""A folder that somebody handed over, checked and done again as far as it goes: `registry verify FOLDER --audit`."""

from collections.abc import Iterator
from pathlib import Path

from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.disk.release import tool_version
from peft_registry.registry.documents.attached_again import attachments_again
from peft_registry.registry.documents.audit import (
    SIGNATURE,
    checks_again,
    documents_again,
    list_again,
    policies_again,
    policies_not_here,
    version_again,
)
from peft_registry.registry.documents.dossier import (
    SOURCES_FOLDER,
)
from peft_registry.registry.documents.reperformed import Reperformed
from peft_registry.registry.intake.paths import scan_folder
from peft_registry.registry.use_cases.folder_gates import gates_in
from peft_registry.registry.use_cases.verify import Examiner, examine_folder, verify_folder
from peft_registry.registry.verification.presented_records import PresentedVersion, presented_version
from peft_registry.registry.verification.with_base import (
    ARTIFACT_FOLDER,
    BASE_FOLDER,
    DOSSIER_FILE,
    is_dossier,
    signed_folder,
)
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import IntegrityBroken, KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import CARD_NAME, EVIDENCE_NAME, FILE_NAME, SIGNATURE_NAME
from peft_registry.schemas.version import EXIT_CODES, Verdict, VerifyOutcome

_BYTES_LEFT_OUT = frozenset({"files", "tensors"})


class FolderAudit(Frozen):
    """Everything that was done again in a folder, and how its artifact verified."""

    subject: str
    version: str | None  # None where the artifact is broken
    outcome: VerifyOutcome
    lines: tuple[Reperformed, ...]

    @property
    def differing(self) -> tuple[Reperformed, ...]:
        """What is another than recorded."""
        return tuple(line for line in self.lines if line.outcome == "differs")

    @property
    def verdict(self) -> Verdict:
        """Of all of it: broken where anything differs, unverified where nobody is shown to have signed the documents."""
        if self.differing:
            return "broken"
        # whoever passes a dossier on can take its signature off; then pages that follow from no record, as a recall on the
        # cover does, could be written anew and listed
        signature = next((line.outcome for line in self.lines if line.figure == SIGNATURE), "reproduced")
        return self.outcome.verdict if signature == "reproduced" else "unverified"

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def audit_folder(folder: Path, examiner: Examiner) -> FolderAudit:
    """Verify a pulled folder or a dossier, and do again what can be.

    Raises:
        FolderMissing, NotAnArtifact: there is nothing to audit.
        NotRegistered: no statement in it registers a version.
    """
    has_documents = is_dossier(folder)
    place = ARTIFACT_FOLDER if has_documents else ""
    checked = examine_folder(folder, examiner)
    lines = list(checks_again(checked.outcome, folder=place))
    if has_documents:
        lines += _beside_artifact(folder, examiner)
    version = None
    if checked.verdict != "broken" and checked.findings is not None:
        shown = presented_version(checked.findings)
        version = shown.version.label
        from peft_registry.registry.documents.weights import weights_again  # numpy, which a broken folder does not need

        lines += version_again(shown, folder=place)
        lines += weights_again(shown, sources_in(folder), folder=signed_folder(folder), place=place)
        if has_documents:
            lines += _or_broken(documents_again(folder, shown, release=tool_version()))
            lines += policies_not_here(folder, shown)
            lines += attachments_again(folder, shown)
            lines += _gates(folder, shown, checked.outcome)
    return FolderAudit(subject=str(folder), version=version, outcome=checked.outcome, lines=tuple(lines))


def _beside_artifact(folder: Path, examiner: Examiner) -> Iterator[Reperformed]:
    """What of a dossier can be done again without its artifact: also of one that is broken, so that nothing hides behind that."""
    manifest = signed_folder(folder) / FILE_NAME
    digest = hash_file(manifest).sha256 if manifest.is_file() else None
    yield from _or_broken(list_again(folder, digest, examiner.trust, now=examiner.now))
    yield from policies_again(folder)
    for source in sorted(path for path in (folder / SOURCES_FOLDER).glob("*") if path.is_dir()):
        yield _source(source, examiner)


def sources_in(folder: Path) -> dict[Digest, Path]:
    """Where what the version was made from lies here, by manifest: in a dossier, or beside an adapter pulled with its base."""
    places = sorted((folder / SOURCES_FOLDER).glob("*")) if is_dossier(folder) else [folder / BASE_FOLDER]
    return {hash_file(place / FILE_NAME).sha256: place for place in places if (place / FILE_NAME).is_file()}


def _gates(folder: Path, shown: PresentedVersion, outcome: VerifyOutcome) -> Iterator[Reperformed]:
    """What each policy whose bytes are here says of the version, by what is recorded up to its newest statement."""
    at = max(str(stored.appended_at) for stored in shown.records.statements)
    for gate in gates_in(folder, shown, outcome, at=at):
        figure = f"gate {gate.name}"
        if gate.unknown:
            yield Reperformed(figure=figure, outcome="not possible", text=gate.unknown, file=gate.file)
            continue
        through = ", ".join(f"@{alias}" for alias in gate.passed_for)
        if not gate.closed_by and through:
            yield Reperformed(
                figure=figure, outcome="reproduced", text=f"open, as it was for {through}", file=gate.file
            )
            continue
        state = f"closed ({', '.join(gate.closed_by)})" if gate.closed_by else "open"
        why = (
            f"it was open for {through} by what stood then"
            if through
            else "no alias was moved under it, so that nothing is recorded to compare with"
        )
        text = f"{state} by what is here; {why}"
        yield Reperformed(figure=figure, outcome="not possible", text=text, file=gate.file)


def _or_broken(lines: Iterator[Reperformed]) -> Iterator[Reperformed]:
    """The lines, and one more where the list of documents cannot be read."""
    try:
        yield from lines
    except IntegrityBroken as error:
        yield Reperformed(figure="documents", outcome="differs", text=f"{error.what}: {error.why}", file=DOSSIER_FILE)


def _source(source: Path, examiner: Examiner) -> Reperformed:
    """How a source of the version verifies; a source whose files are all absent is not faulted for that."""
    place = f"{SOURCES_FOLDER}/{source.name}"
    try:
        outcome = verify_folder(source, trust=examiner.trust, now=examiner.now)
    except KnownError as error:  # it holds no artifact
        text = f"{error.what}: {error.why}"
        return Reperformed(figure=f"source {source.name}", outcome="differs", text=text, file=place)
    has_files = any(_is_of_manifest(file.path) for file in scan_folder(source, family="integrity"))
    excused = frozenset() if has_files else _BYTES_LEFT_OUT
    failed = [check for check in outcome.checks if check.status == "failed" and check.step not in excused]
    if failed:
        text = "; ".join(f"{check.step}: {check.text} {' '.join(check.detail[:2])}".strip() for check in failed)
        return Reperformed(figure=f"source {source.name}", outcome="differs", text=text, file=place)
    shown = ", ".join(check.step for check in outcome.checks if check.status in ("ok", "recorded"))
    if outcome.verdict == "verified":
        return Reperformed(figure=f"source {source.name}", outcome="reproduced", text=shown, file=place)
    why = "its files are not here" if not has_files else outcome.unchecked_text
    return Reperformed(figure=f"source {source.name}", outcome="not possible", text=f"{why}; {shown}", file=place)


def _is_of_manifest(path: str) -> bool:
    """Whether a file of an artifact is one that its manifest lists."""
    return path not in (FILE_NAME, SIGNATURE_NAME, CARD_NAME) and not path.startswith(f"{EVIDENCE_NAME}/")
