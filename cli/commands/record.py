"""record: the modification record of a version, and the files that people attach to it."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from peft_registry.cli import console
from peft_registry.cli.commands import verdict
from peft_registry.cli.groups import CommandWithOthers
from peft_registry.cli.options import (
    KEY_FILE,
    KeyPassphraseOption,
    OptionNeeded,
    OptionsExclusive,
    RootOption,
    TrustOption,
    VersionOrFolderArgument,
)
from peft_registry.cli.outcome import READS_AT, SIGNS, Home, Line, Outcome, Part, Table, Verbatim, command, of_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from peft_registry.registry.use_cases.show_record import RecordPart
    from peft_registry.schemas.attachment import AttachedAs


class RecipientOption(StrEnum):
    """Who gets the Model Documentation Form."""

    ai_office = "ai-office"
    national_authority = "national-authority"
    downstream = "downstream"

    @property
    def recipient(self) -> Literal["aio", "nca", "dp"]:
        """As the table of rows names them."""
        return _RECIPIENTS[self]


class AttachedAsOption(StrEnum):
    """What a file is that is attached."""

    instructions = "instructions"
    risk_file = "risk-file"
    declaration = "declaration"
    monitoring_plan = "monitoring-plan"

    @property
    def named(self) -> "AttachedAs":
        return self.value


_RECIPIENTS: dict[RecipientOption, Literal["aio", "nca", "dp"]] = {
    RecipientOption.ai_office: "aio",
    RecipientOption.national_authority: "nca",
    RecipientOption.downstream: "dp",
}


def add_to(app: typer.Typer) -> None:
    """Enter `registry record`, and `registry record verdict` below it."""
    group = typer.Typer(cls=CommandWithOthers, invoke_without_command=True)
    group.callback()(record)
    verdict.add_to(group)
    app.add_typer(group, name="record")


@command((*READS_AT, *(option for option in SIGNS if option not in READS_AT)))
def record(
    home: Home,
    reference: VersionOrFolderArgument,
    history: Annotated[
        bool, typer.Option("--history", help="Every record of the version, what each changed and who signed it.")
    ] = False,
    to: Annotated[
        RecipientOption | None,
        typer.Option(help="The Model Documentation Form as this recipient gets it, instead of the record."),
    ] = None,
    attach: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Attach this file to the version, signed by its digest; show nothing."),
    ] = None,
    attached_as: Annotated[
        AttachedAsOption | None, typer.Option("--as", help="What the file is, with --attach.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar=KEY_FILE, help="Private key of whoever attaches it, with --attach.")
    ] = None,
    key_passphrase_file: KeyPassphraseOption = None,
    trust: TrustOption = None,
    root: RootOption = None,
) -> Outcome:
    """Show the modification record. Each value with its source, and what is open; or attach a file to the version."""
    from peft_registry.registry.use_cases import show_record

    if attach is not None:
        _require_alone({"--history": history, "--to": to, "--trust": trust, "--root": root})
        return _attach(home, reference, attach, attached_as, key, key_passphrase_file)
    for option, is_typed in {"--as": attached_as, "--key": key}.items():
        if is_typed is not None:
            raise OptionNeeded("--attach FILE", f"{option} says something of a file that is attached")
    if to is not None and history:
        raise OptionsExclusive("--history", "--to", "a form is cut from the record that holds")
    read = home.read_folder(reference, trust, root)
    if to is not None:
        form = (
            show_record.describe_form(home.registry, reference, to.recipient)
            if read is None
            else show_record.describe_form_in(read.shown, to.recipient)
        )
        # a row that a recipient gets may decide nothing here
        next_step = f"registry decide {form.version} --form gaps.yml --all"
        return of_folder(Outcome(form.model_dump(mode="json"), _lines(form.parts()), next_step), reference, read)
    shown = (
        show_record.describe_record(home.registry, reference)
        if read is None
        else show_record.describe_record_in(read.shown)
    )
    outcome = Outcome(
        shown.to_json(with_history=history),
        _lines(shown.history_parts() if history else shown.parts()),
        f"registry report {shown.version}",
    )
    return of_folder(outcome, reference, read)


def _require_alone(beside: dict[str, object]) -> None:
    """Raise where an option of what is shown stands beside `--attach`, which shows nothing.

    Raises:
        OptionsExclusive: one does.
    """
    for option, value in beside.items():
        if value:
            raise OptionsExclusive("--attach", option, "a file is attached, and nothing is shown")


def _attach(
    home: Home,
    reference: str,
    file: Path,
    attached_as: AttachedAsOption | None,
    key: Path | None,
    key_passphrase_file: Path | None,
) -> Outcome:
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.attach import attach

    if attached_as is None:
        raise OptionNeeded(f"--as {'|'.join(AttachedAsOption)}", "who gets the file depends on what it is")
    if key is None:
        raise OptionNeeded(f"--key {KEY_FILE}", "whoever attaches a file signs its digest")
    signer = home.signer(key, key_passphrase_file)
    done = attach(home.registry, version_named(home.registry, reference), file, attached_as.named, signer)
    lines = [
        f"attached {done.name} to {done.version} as {done.attached_as}, by {done.person}",
        f"digest   {done.sha256}",
    ]
    if done.takes_place_of is not None:
        lines.append(f"before   {done.takes_place_of}: whoever has its documents keeps them")
    return Outcome(
        done.model_dump(mode="json"), lines, f"registry report {done.version} DOSSIER --to national-authority"
    )


def _lines(parts: "Iterable[RecordPart]") -> "Iterator[Part]":
    for number, part in enumerate(parts):
        if number:
            yield Verbatim("")
        for label, text in part.lines:
            # escaped before it is padded, so that what stands behind it begins in one column
            yield Line(f"{console.printable(label):<12} {text}", 13)
        if part.rows:
            yield Table(part.rows, prose=1)
