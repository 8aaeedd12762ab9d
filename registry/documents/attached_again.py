"""The files of a dossier that people attached to the version, held against the statements that attach them."""

from collections.abc import Iterator
from pathlib import Path

from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.documents.reperformed import Outcome, Reperformed
from peft_registry.registry.documents.view import ATTACHMENTS_FOLDER, attachment_file
from peft_registry.registry.intake.paths import scan_folder
from peft_registry.registry.records.attachments import attachments_among
from peft_registry.registry.verification.presented_records import PresentedVersion


def attachments_again(dossier: Path, shown: PresentedVersion) -> Iterator[Reperformed]:
    """Each attached file by the digest that was signed; nothing where the statements stay with whoever handed the folder over."""
    if not shown.records.history:
        return
    attached = {
        attachment_file(one.attached_as, one.name): one
        for one in attachments_among(shown.records.statements, shown.reading)
    }
    for file, attachment in attached.items():
        figure = f"attachment {attachment.name}"
        if not (dossier / file).is_file():
            yield Reperformed(figure=figure, outcome="not possible", text="its bytes are not here", file=file)
            continue
        is_it = hash_file(dossier / file).sha256 == attachment.sha256
        outcome: Outcome = "reproduced" if is_it else "differs"
        text = f"attached as {attachment.attached_as} by {shown.reading.who(attachment.key_id)}"
        yield Reperformed(
            figure=figure,
            outcome=outcome,
            text=text if is_it else f"its bytes are not those that were {text}",
            file=file,
        )
    if not (dossier / ATTACHMENTS_FOLDER).is_dir():
        return
    for found in scan_folder(dossier / ATTACHMENTS_FOLDER, family="integrity"):
        file = f"{ATTACHMENTS_FOLDER}/{found.path}"
        if file not in attached:
            text = "no statement that counts attaches it"
            yield Reperformed(figure=f"attachment {found.path}", outcome="differs", text=text, file=file)
