"""record: the modification record of a version."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from peft_registry.cli import console
from peft_registry.cli.commands import verdict
from peft_registry.cli.groups import CommandWithOthers
from peft_registry.cli.options import OptionsExclusive, RootOption, TrustOption, VersionOrFolderArgument
from peft_registry.cli.outcome import READS_AT, Home, Line, Outcome, Part, Table, Verbatim, command, of_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from peft_registry.registry.use_cases.show_record import RecordPart


class RecipientOption(StrEnum):
    """Who gets the Model Documentation Form."""

    ai_office = "ai-office"
    national_authority = "national-authority"
    downstream = "downstream"

    @property
    def recipient(self) -> Literal["aio", "nca", "dp"]:
        """As the table of rows names them."""
        return _RECIPIENTS[self]


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


@command(READS_AT)
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
    trust: TrustOption = None,
    root: RootOption = None,
) -> Outcome:
    """Show the modification record. Each value with its source, and what is open."""
    from peft_registry.registry.use_cases import show_record

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


def _lines(parts: "Iterable[RecordPart]") -> "Iterator[Part]":
    for number, part in enumerate(parts):
        if number:
            yield Verbatim("")
        for label, text in part.lines:
            # escaped before it is padded, so that what stands behind it begins in one column
            yield Line(f"{console.printable(label):<12} {text}", 13)
        if part.rows:
            yield Table(part.rows, prose=1)
