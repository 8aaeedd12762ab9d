"""gc: what nothing recorded points to is removed from the store."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli.outcome import READS, Home, Line, Outcome, command

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.collect import Collected

_SHOWN = 20  # objects; JSON has all


def add_to(app: typer.Typer) -> None:
    """Enter `registry admin gc`."""
    app.command()(gc)


@command(READS)
def gc(
    home: Home,
    references: Annotated[
        list[str] | None, typer.Argument(metavar="DIGEST", help="Garbage to remove; default: all of it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed; remove nothing.")] = False,
) -> Outcome:
    """Remove what nothing recorded points to from the store. What is registered or on hold stays."""
    from peft_registry.registry.use_cases.collect import collect

    collected = collect(home.registry, references or (), dry_run=dry_run)
    next_step = "registry admin gc" if dry_run and collected.removed else None
    return Outcome(collected.model_dump(mode="json"), _lines(collected, dry_run=dry_run), next_step)


def _lines(collected: "Collected", *, dry_run: bool) -> Iterator[Line]:
    from peft_registry.schemas.sizes import human_bytes

    state = "would be removed" if dry_run else "removed"
    size = human_bytes(collected.removed_bytes)
    yield Line(f"{'garbage':<9} {len(collected.removed)} objects, {size}, {state}", 10)
    for entry in collected.kept[:_SHOWN]:
        yield Line(f"{'kept':<9} {entry.digest.short}: {entry.because}", 10)
    if len(collected.kept) > _SHOWN:
        yield Line(f"{'':<9} and {len(collected.kept) - _SHOWN} more: --output json lists all", 10)
    for name in collected.unused:
        yield Line(
            f"{'unused':<9} {name} in the home: a copy in MLflow of an earlier release, which you may delete", 10
        )
