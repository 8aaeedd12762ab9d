"""`registry report NAME FOLDER --to RECIPIENT`: what was written of a dossier, and what comes next."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli.options import KEY_FILE
from peft_registry.cli.outcome import Outcome

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.signing.keys import PrivateKey
    from peft_registry.registry.use_cases.hand_over import HandedOver
    from peft_registry.schemas.hand_over import RecipientName
    from peft_registry.schemas.version import Version


class DossierRecipient(StrEnum):
    """Who gets a dossier. An authority is one of two: the forms give them different rows."""

    ai_office = "ai-office"
    national_authority = "national-authority"
    downstream = "downstream"
    public = "public"

    @property
    def named(self) -> "RecipientName":
        return self.value


RecipientOption = Annotated[
    DossierRecipient | None,
    typer.Option(
        "--to", help="Write the documents that this recipient gets, and what shows that they are true, to FOLDER."
    ),
]
FolderArgument = Annotated[
    Path | None, typer.Argument(metavar="FOLDER", help="With --to: new folder to write to.", show_default=False)
]
SignedByOption = Annotated[
    Path | None, typer.Option("--key", metavar=KEY_FILE, help="With --to: private key that signs the documents.")
]
WithBaseOption = Annotated[
    bool, typer.Option("--with-base", help="With --to: the weights of what it was made from too.")
]


@dataclass(frozen=True)
class DossierRequest:
    """What was typed of a dossier."""

    folder: Path
    recipient: DossierRecipient
    with_base: bool


def signer_of_dossier(key: Path | None, key_passphrase_file: Path | None) -> "PrivateKey | None":
    """Whose key signs the documents; None leaves them unsigned.

    Raises:
        KnownError: as `signer_from`.
    """
    from peft_registry.cli.settings import signer_from

    return None if key is None else signer_from(key, key_passphrase_file, None)


def write_dossier(
    registry: "Registry", version: "Version", request: DossierRequest, signer: "PrivateKey | None"
) -> Outcome:
    """Write it, and say what it holds.

    Raises:
        KnownError: as `hand_over`.
    """
    from peft_registry.registry.use_cases.hand_over import hand_over

    done = hand_over(
        registry, version, request.recipient.named, request.folder, signer=signer, with_base=request.with_base
    )
    value = {
        "dossier": str(request.folder),
        "version": done.version.label,
        "manifest_digest": str(done.version.manifest_digest),
        "files": done.files,
        "signed_by": done.signed_by,
        "index": done.index.to_json(),
    }
    return Outcome(value, _lines(done, request.folder), _next_step(registry, done, request))


def _next_step(registry: "Registry", done: "HandedOver", request: DossierRequest) -> str:
    """The next command. An audit is proposed only where it can end with 0: of a signed dossier that holds all evidence."""
    from peft_registry.registry.documents.recipients import recipients

    if done.signed_by is None:
        own = registry.files.key("trainer").private
        key = own if own.is_file() else "FILE"
        return f"registry report {done.version.label} {request.folder}-signed --to {request.recipient} --key {key}"
    if recipients().recipients[request.recipient].evidence == "whole":
        return f"registry verify {request.folder} --audit"
    return "registry trust export FOLDER"  # the record stays here: who signed is all that its reader can check


def _lines(done: "HandedOver", folder: Path) -> Iterator[str]:
    from peft_registry.registry.documents.pages import counts_of
    from peft_registry.registry.documents.recipients import form_of

    yield f"dossier  {done.version.label} → {folder}  {done.files} files"
    for document in done.documents:
        yield f"{'document':<9}{form_of(document.document).title}: {counts_of(document)}"
    signed = "nobody, so that no audit verifies them: --key FILE signs" if done.signed_by is None else done.signed_by
    yield f"signed   by {signed}"
