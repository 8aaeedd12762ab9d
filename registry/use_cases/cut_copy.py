"""A copy of a version as others get it: whole, or cut to what everybody may read.

Whoever opens a registry reads everything in it, and `registry pull` gives them all of it, because only a whole copy verifies
(`verified`). What is handed on to somebody else is cut here, whichever way it goes.
"""

from collections.abc import Sequence
from pathlib import Path

from peft_registry.registry.exports.hub import STATEMENTS_PATH, HubFolder, StatementLine, published_part
from peft_registry.registry.imports.model_texts import texts_given_away
from peft_registry.registry.intake.paths import scan_folder
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.dsse import NoTrustedSignature
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.signing.statements import OpenedStatement
from peft_registry.registry.verification.evidence import (
    key_path,
    presented_keys,
    read_list,
    read_statements,
)
from peft_registry.registry.verification.presented import present_folder
from peft_registry.schemas.errors import Refused
from peft_registry.schemas.version import Version


class PathInFiles(Refused):
    what = "the files of {label} tell of a folder on somebody's machine"
    why = "everybody would read it: {places!l}"
    fix = "import it, or train it, without what names that folder; or leave out --public, and choose who reads it"

    label: str
    places: tuple[str, ...]


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
