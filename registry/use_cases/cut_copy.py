"""A copy of a version as others get it: whole, or cut to what everybody may read.

Whoever opens a registry reads everything in it, and `registry pull` gives them all of it, because only a whole copy is verified by
itself. What is handed on is cut here, whichever way it goes: in a dossier, as a folder, to the Hub.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.files import scratch_folder, write_new
from peft_registry.registry.disk.hashing import copy_and_hash
from peft_registry.registry.documents.recipients import recipients
from peft_registry.registry.exports.hub import STATEMENTS_PATH, HubFolder, StatementLine, published_part
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.imports.model_texts import texts_given_away
from peft_registry.registry.intake.paths import scan_folder
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.dsse import NoTrustedSignature
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.signing.statements import OpenedStatement
from peft_registry.registry.use_cases.pull import PullRefused, new_folder, verified_copy
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.registry.verification.evidence import (
    key_path,
    presented_keys,
    read_list,
    read_statements,
)
from peft_registry.registry.verification.presented import present_folder
from peft_registry.schemas.errors import InputRefused, Refused
from peft_registry.schemas.hand_over import RecipientName
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.version import VerifyOutcome, Version

_READABLE = 0o644


class BaseNotPublished(InputRefused):
    what = "{label} is a base, and its weights are not sent"
    why = "they are its provider's, who publishes them under terms of their own"
    fix = "hand on what was made from it; its card names the base"

    label: str


class PathInFiles(Refused):
    what = "the files of {label} tell of a folder on somebody's machine"
    why = "everybody would read it: {places!l}"
    fix = "import it, or train it, without what names that folder; or choose who reads it: without --public, or --to downstream"

    label: str
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CutCopy:
    """How a copy for somebody verifies by itself, and what was withheld from it, each statement with its kind and digest."""

    outcome: VerifyOutcome
    withheld: tuple[str, ...]


def pull_for(
    registry: Registry,
    version: Version,
    recipient: RecipientName,
    destination: Path,
    *,
    trust: TrustPolicy | None = None,
) -> CutCopy:
    """Write a version to `destination`, a new folder, as a recipient gets it.

    Of a copy that is cut, `verify` checks all that is there and names each statement that is not: `unverified`, for that alone.

    Raises:
        BaseNotPublished: it is a base.
        VersionStopped: it, or something that it was made from, is recalled, and the recipient is not an authority.
        PathInFiles, SecretRefused: as `write_for`.
        DestinationTaken, PullRefused, PullUnverified, ObjectMissing, BytesElsewhere, DiskFull, NotWritable: as `pull_version`.
    """
    if version.kind == "base":
        raise BaseNotPublished(version.label)
    require_may_get(registry, version, recipient)
    with new_folder(destination) as part:
        withheld = write_for(registry, version, recipient, part, trust=trust)
        outcome = verify_folder(part, trust=trust or registry.trust, now=registry.clock(), look_for_base=False)
        outcome = outcome.revised(subject=version.label)
        if outcome.verdict == "broken":  # the copy of the copy is not what was verified
            raise PullRefused(outcome)
        require_may_get(registry, version, recipient)  # again, as `pull_version`
    return CutCopy(outcome, withheld)


def require_may_get(registry: Registry, version: Version, recipient: RecipientName) -> None:
    """Raise where a version must not be used, and the recipient gets it for use; authorities get it all the same.

    Raises:
        VersionStopped: it is so.
        StopsUnknown: what it was made from cannot be read.
    """
    if not recipients().recipients[recipient].persons:
        require_not_stopped(registry, "export", version)


def write_for(
    registry: Registry, version: Version, recipient: RecipientName, folder: Path, *, trust: TrustPolicy | None = None
) -> tuple[str, ...]:
    """Write a version into an empty folder as a recipient gets it, and return what was withheld.

    It is verified whole before anything is taken away. A recipient who may see the record gets all of its evidence.

    Raises:
        PathInFiles: everybody would read a path of somebody's machine in a file that was signed as it is.
        SecretRefused: such a file even holds what looks like a secret.
        PullRefused, PullUnverified, ObjectMissing, BytesElsewhere: as `pull_version`.
    """
    if recipients().recipients[recipient].evidence == "whole":
        verified_copy(registry, version, folder, trust=trust, look_for_base=False, with_decisions=True)
        return ()
    with scratch_folder("registry-cut-") as scratch:
        copy = scratch / "copy"
        copy.mkdir()
        verified_copy(registry, version, copy, trust=trust, look_for_base=False)
        if recipient == "public":
            require_no_paths(version, copy)
        cut = public_part(copy, with_records=False).for_everybody
        for name, content in cut.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                write_new(target, content, mode=_READABLE)
            else:
                copy_and_hash(content, target, mode=_READABLE)
    return cut.withheld


def require_no_paths(version: Version, folder: Path) -> None:
    """Raise if a file that was signed as it is names a path of somebody's machine.

    Raises:
        PathInFiles: one does.
        SecretRefused: it even holds what looks like a secret.
    """
    findings = texts_given_away(folder, [file.path for file in scan_folder(folder)])
    if findings:
        raise PathInFiles(version.label, tuple(finding.place or "" for finding in findings))


def public_part(folder: Path, *, with_records: bool) -> HubFolder:
    """What of a pulled folder goes to everybody, or with its records to those who may see them."""
    presented = present_folder(folder)
    envelopes = [line for line in presented.small(STATEMENTS_PATH).split(b"\n") if line]
    keys = presented_keys(presented)
    lines = tuple(
        StatementLine(envelope, read.statement, read.digest, _signer_of(read, keys))
        for envelope, read in zip(envelopes, read_statements(presented), strict=True)
    )
    files = {file.path: folder / file.path for file in scan_folder(folder)}
    return published_part(files, lines, read_list(presented), with_records=with_records)


def _signer_of(read: OpenedStatement, keys: Sequence[PublicKey]) -> str | None:
    """The path of the key that signed a statement of a verified folder; None where it is not among these."""
    try:
        signer = dsse.verify(read.envelope, keys)
    except NoTrustedSignature:
        return None
    return key_path(signer)
