"""show: everything that is known about one version."""

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    CheckpointOption,
    HomeOption,
    Output,
    OutputOption,
    ReferenceArgument,
)


def add_to(app: typer.Typer) -> None:
    app.command()(show)


def show(
    reference: ReferenceArgument,
    home: HomeOption = None,
    checkpoint: CheckpointOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show one version. What it is, what it was made from, and every statement about it."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.show import describe_version

    with opened(home, checkpoint=checkpoint) as registry:
        described = describe_version(registry, reference)
    if output is Output.json:
        console.out_json(described.to_json())
        return
    for label, text in described.lines():
        console.line(f"{label:<12} {console.printable(text)}", indent=13)
    console.next_step(f"registry verify {described.version.label}")
