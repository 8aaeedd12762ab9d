"""record: the modification record of a version."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import CheckpointOption, HomeOption, Output, OutputOption, ReferenceArgument


def add_to(app: typer.Typer) -> None:
    """Enter `registry record`."""
    app.command()(record)


def record(
    reference: ReferenceArgument,
    history: Annotated[
        bool, typer.Option("--history", help="Every record of the version, what each changed and who signed it.")
    ] = False,
    home: HomeOption = None,
    checkpoint: CheckpointOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show the modification record. Each value with its source, and what is open."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.show_record import describe_record

    with opened(home, checkpoint=checkpoint) as registry:
        shown = describe_record(registry, reference)
    if output is Output.json:
        console.out_json(shown.to_json(with_history=history))
        return
    for number, part in enumerate(shown.history_parts() if history else shown.parts()):
        if number:
            console.out()
        for label, text in part.lines:
            console.line(f"{console.printable(label):<12} {console.printable(text)}", indent=13)
        if part.rows:
            console.table(part.rows, prose=1)
    console.next_step(f"registry report {shown.version}")
