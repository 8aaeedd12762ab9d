"""A folder that somebody handed over, checked and done again as far as it goes: `registry verify FOLDER --audit`."""

from collections.abc import Iterator
from pathlib import Path

from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.disk.release import tool_version
from peft_registry.registry.documents.attached_again import attachments_again
from peft_registry.registry.documents.audit import (
    SIGNATURE,
    HandedList,
    checks_again,
    documents_again,
    files_of,
    handed_list,
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
    def edited(self) -> tuple[Reperformed, ...]:
        """What differs, a line for each file: of a folder only where no file in it is named, which is what it is about then."""
        first: dict[str, Reperformed] = {}
        for line in self.differing:
            first.setdefault(line.file or line.figure, line)
        return tuple(line for place, line in first.items() if not any(other.startswith(f"{place}/") for other in first))

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
    handed = None
    if has_documents:
        handed, beside = _beside_artifact(folder, examiner)
        lines += beside
    version = None
    if checked.verdict != "broken" and checked.findings is not None:
        shown = presented_version(checked.findings)
        version = shown.version.label
        from peft_registry.registry.documents.weights import weights_again  # numpy, which a broken folder does not need

        lines += version_again(shown, folder=place)
        broken = {line.file for line in lines if line.outcome == "differs"}
        intact = {
            digest: source
            for digest, source in sources_in(folder).items()
            if not any(Path(file).is_relative_to(source.relative_to(folder)) for file in broken)
        }
        lines += weights_again(shown, intact, folder=signed_folder(folder), place=place)
        if has_documents:
            if handed is not None:
                lines += documents_again(folder, handed, shown, release=tool_version())
            lines += policies_not_here(folder, shown)
            lines += attachments_again(folder, shown)
            lines += _gates(folder, shown, checked.outcome)
    return FolderAudit(subject=str(folder), version=version, outcome=checked.outcome, lines=tuple(lines))


def _beside_artifact(folder: Path, examiner: Examiner) -> tuple[HandedList | None, list[Reperformed]]:
    """What of a dossier can be done again without its artifact: also of one that is broken, so that nothing hides behind that.

    Returns: its list, None where it cannot be read; and the lines.
    """
    manifest = signed_folder(folder) / FILE_NAME
    digest = hash_file(manifest).sha256 if manifest.is_file() else None
    handed = None
    lines: list[Reperformed] = []
    try:
        handed = handed_list(folder, digest, examiner.trust, now=examiner.now)
        lines += list_again(folder, handed)
    except IntegrityBroken as error:
        text = f"{error.what}: {error.why}"
        lines.append(Reperformed(figure="documents", outcome="differs", text=text, file=DOSSIER_FILE))
    lines += policies_again(folder)
    for source in sorted(path for path in (folder / SOURCES_FOLDER).glob("*") if path.is_dir()):
        lines += _source(source, examiner)
    return handed, lines


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


def _source(source: Path, examiner: Examiner) -> Iterator[Reperformed]:
    """How a source of the version verifies, each wrong file by its name; one whose files are all absent is not faulted for that."""
    place, figure = f"{SOURCES_FOLDER}/{source.name}", f"source {source.name}"
    try:
        outcome = verify_folder(source, trust=examiner.trust, now=examiner.now)
    except KnownError as error:  # it holds no artifact
        yield Reperformed(figure=figure, outcome="differs", text=f"{error.what}: {error.why}", file=place)
        return
    has_files = any(_is_of_manifest(file.path) for file in scan_folder(source, family="integrity"))
    failed = [check for check in outcome.checks if check.status == "failed"]
    files = {
        name: text
        for check in failed
        for name, text in files_of(check).items()
        if has_files or not text.startswith("missing: ")
    }
    for name, text in files.items():
        yield Reperformed(figure=figure, outcome="differs", text=text, file=f"{place}/{name}")
    others = [check for check in failed if not files_of(check)]
    if others:
        text = "; ".join(f"{check.step}: {check.text} {' '.join(check.detail[:2])}".strip() for check in others)
        yield Reperformed(figure=figure, outcome="differs", text=text, file=place)
    if files or others:
        return
    shown = ", ".join(check.step for check in outcome.checks if check.status in ("ok", "recorded"))
    if outcome.verdict == "verified":
        yield Reperformed(figure=figure, outcome="reproduced", text=shown, file=place)
        return
    why = "its files are not here" if not has_files else outcome.unchecked_text
    yield Reperformed(figure=figure, outcome="not possible", text=f"{why}; {shown}", file=place)


def _is_of_manifest(path: str) -> bool:
    """Whether a file of an artifact is one that its manifest lists, weights aside: they alone are no reason to ask for the rest."""
    is_beside = path in (FILE_NAME, SIGNATURE_NAME, CARD_NAME) or path.startswith(f"{EVIDENCE_NAME}/")
    return not is_beside and not path.endswith(".safetensors")
