"""show: everything that is known about one version."""

from pathlib import Path
from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    CheckpointOption,
    HomeOption,
    OptionsExclusive,
    Output,
    OutputOption,
    ReferenceArgument,
)


def add_to(app: typer.Typer) -> None:
    """Enter `registry show`."""
    app.command()(show)


def show(
    reference: ReferenceArgument,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="What an alias pointed at then: name@alias, and a day or a time, UTC."),
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Every move of the aliases of a name.")] = False,
    home: HomeOption = None,
    checkpoint: CheckpointOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show one version. What it is, what it was made from, and every statement about it."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.show import describe_version
    from peft_registry.registry.use_cases.show_moves import version_at

    if history and at is not None:
        raise OptionsExclusive(
            "--history", "--at", "one lists every move of a name, the other what an alias pointed at once"
        )
    if history:
        _show_history(reference, home, checkpoint, output)
        return
    with opened(home, checkpoint=checkpoint) as registry:
        move = None
        if at is not None:
            move, reference = version_at(registry, reference, at)
        described = describe_version(registry, reference)
    if output is Output.json:
        moved = {} if move is None else {"move": move.model_dump(mode="json")}
        console.out_json(described.to_json() | moved)
        return
    if move is not None:
        console.line(f"{'at':<12} {at}: since {move.at}, {console.printable(move.text)}", indent=13)
    for label, text in described.lines():
        console.line(f"{label:<12} {console.printable(text)}", indent=13)
    console.next_step(f"registry verify {described.version.label}")


def _show_history(reference: str, home: Path | None, checkpoint: Path | None, output: Output) -> None:
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.show_moves import moves_of

    with opened(home, checkpoint=checkpoint) as registry:
        name, moves = moves_of(registry, reference)
    if output is Output.json:
        console.out_json([move.model_dump(mode="json") for move in moves])
        return
    if not moves:
        console.note(f"no alias of {name} was moved yet")
    for move in moves:
        console.line(f"{move.at}  {console.printable(move.text)}", indent=22)
    console.next_step(f"registry show {name}")
