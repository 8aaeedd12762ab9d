"""A folder that somebody handed over, verified and then read: the version that it shows, for the commands that show records."""

from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.records.stops import with_stops
from peft_registry.registry.use_cases.verify import Examiner, examine_folder
from peft_registry.registry.verification.presented_records import PresentedVersion, presented_version
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.version import VerifyOutcome


class FolderBroken(IntegrityBroken):
    what = "{outcome.subject} does not verify, so nothing of it is shown"
    why = "{outcome.failed_text}"
    fix = "keep the folder as evidence, and pull the version again from the registry that has it"

    outcome: VerifyOutcome


@dataclass(frozen=True)
class ReadFolder:
    """The version that a folder shows, and how the folder verified: `verified`, or `unverified` where nobody is trusted.

    What stops its use by the registry at hand is in the outcome.
    """

    folder: Path
    shown: PresentedVersion
    outcome: VerifyOutcome


def read_folder(folder: Path, examiner: Examiner) -> ReadFolder:
    """Verify a folder and read what it says of its version. What could not be checked is shown too, and the outcome says so.

    Args:
        folder: a pulled one, or a dossier.
        examiner: who reads it.

    Raises:
        FolderBroken: something in it is not what was signed.
        NotRegistered: no statement in it registers a version.
        FolderMissing, NotAnArtifact: there is nothing to read.
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `with_stops`.
    """
    checked = examine_folder(folder, examiner)
    if checked.verdict == "broken" or checked.findings is None:
        raise FolderBroken(checked.outcome)
    outcome = checked.outcome if examiner.registry is None else with_stops(examiner.registry, checked.outcome)
    return ReadFolder(folder, presented_version(checked.findings), outcome)
