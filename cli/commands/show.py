"""show: everything that is known about one version."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import OptionsExclusive, ReferenceArgument
from peft_registry.cli.outcome import READS_AT, Home, Line, Note, Outcome, Part, command

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.show import VersionShown
    from peft_registry.registry.use_cases.show_moves import AliasMoveShown


def add_to(app: typer.Typer) -> None:
    """Enter `registry show`."""
    app.command()(show)


@command(READS_AT)
def show(
    home: Home,
    reference: ReferenceArgument,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="What an alias pointed at then: name@alias, and a day or a time, UTC."),
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Every move of the aliases of a name.")] = False,
) -> Outcome:
    """Show one version. What it is, what it was made from, and every statement about it."""
    from peft_registry.registry.use_cases.show import describe_version
    from peft_registry.registry.use_cases.show_moves import version_at

    if history and at is not None:
        raise OptionsExclusive(
            "--history", "--at", "one lists every move of a name, the other what an alias pointed at once"
        )
    if history:
        return _history(home, reference)
    move = None
    if at is not None:
        move, reference = version_at(home.registry, reference, at)
    described = describe_version(home.registry, reference)
    moved = {} if move is None else {"move": move.model_dump(mode="json")}
    return Outcome(
        described.to_json() | moved,
        _lines(described, at, move),
        f"registry verify {described.version.label}",
    )


def _lines(described: "VersionShown", at: str | None, move: "AliasMoveShown | None") -> Iterator[Line]:
    if move is not None:
        yield Line(f"{'at':<12} {at}: since {move.at}, {move.text}", 13)
    for label, text in described.lines():
        yield Line(f"{label:<12} {console.printable(text)}", 13)


def _history(home: Home, reference: str) -> Outcome:
    from peft_registry.registry.use_cases.show_moves import moves_of

    name, moves = moves_of(home.registry, reference)
    lines: list[Part] = [Line(f"{move.at}  {move.text}", 22) for move in moves]
    if not moves:
        lines = [Note(f"no alias of {name} was moved yet")]
    return Outcome([move.model_dump(mode="json") for move in moves], lines, f"registry show {name}")
