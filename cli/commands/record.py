"""record: the modification record of a version."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from peft_registry.cli import console
from peft_registry.cli.commands import verdict
from peft_registry.cli.groups import CommandWithOthers
from peft_registry.cli.options import (
    CheckpointOption,
    HomeOption,
    OptionsExclusive,
    Output,
    OutputOption,
    ReferenceArgument,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def record(
    reference: ReferenceArgument,
    history: Annotated[
        bool, typer.Option("--history", help="Every record of the version, what each changed and who signed it.")
    ] = False,
    to: Annotated[
        RecipientOption | None,
        typer.Option(help="The Model Documentation Form as this recipient gets it, instead of the record."),
    ] = None,
    home: HomeOption = None,
    checkpoint: CheckpointOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show the modification record. Each value with its source, and what is open."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.show_record import describe_form, describe_record

    if to is not None and history:
        raise OptionsExclusive("--history", "--to", "a form is cut from the record that holds")
    if to is not None:
        with opened(home, checkpoint=checkpoint) as registry:
            form = describe_form(registry, reference, to.recipient)
        if output is Output.json:
            console.out_json(form.model_dump(mode="json"))
            return
        _print(form.parts())
        console.next_step(f"registry decide {form.version} --form gaps.yml")
        return
    with opened(home, checkpoint=checkpoint) as registry:
        shown = describe_record(registry, reference)
    if output is Output.json:
        console.out_json(shown.to_json(with_history=history))
        return
    _print(shown.history_parts() if history else shown.parts())
    console.next_step(f"registry report {shown.version}")


def _print(parts: "Iterable[RecordPart]") -> None:
    for number, part in enumerate(parts):
        if number:
            console.out()
        for label, text in part.lines:
            console.line(f"{console.printable(label):<12} {console.printable(text)}", indent=13)
        if part.rows:
            console.table(part.rows, prose=1)
