"""gc: what nothing recorded points to is removed from the store."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption

_SHOWN = 20  # objects; JSON has all


def add_to(app: typer.Typer) -> None:
    """Enter `registry admin gc`."""
    app.command()(gc)


def gc(
    references: Annotated[
        list[str] | None, typer.Argument(metavar="DIGEST", help="Garbage to remove; default: all of it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed; remove nothing.")] = False,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Remove what nothing recorded points to from the store. What is registered or on hold stays."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.collect import collect
    from peft_registry.schemas.sizes import human_bytes

    with opened(home) as registry:
        collected = collect(registry, references or (), dry_run=dry_run)
    if output is Output.json:
        console.out_json(collected.model_dump(mode="json"))
        return
    state = "would be removed" if dry_run else "removed"
    console.line(f"{'garbage':<9} {len(collected.removed)} objects, {human_bytes(collected.removed_bytes)}, {state}")
    for entry in collected.kept[:_SHOWN]:
        console.line(f"{'kept':<9} {entry.digest.short}: {console.printable(entry.because)}", indent=10)
    if len(collected.kept) > _SHOWN:
        console.line(f"{'':<9} and {len(collected.kept) - _SHOWN} more: --output json lists all", indent=10)
    for name in collected.unused:
        console.line(f"{'unused':<9} {name} in the home: a copy in MLflow of an earlier release, which you may delete")
    if dry_run and collected.removed:
        console.next_step("registry admin gc")
