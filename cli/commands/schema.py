"""schema: the JSON Schema of each document."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import Output, OutputOption


def add_to(app: typer.Typer) -> None:
    """Enter `registry schema`."""
    app.command()(schema)


def schema(
    name: Annotated[str | None, typer.Argument(help="Document; without a name all are listed.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Print the JSON Schema of a document, for editors and programs."""
    from peft_registry.schemas.catalog import DOCUMENTS, json_schema

    if name is not None:
        console.out_json(json_schema(name))
        return
    about = {known: (document.__doc__ or "").strip().splitlines()[0] for known, document in sorted(DOCUMENTS.items())}
    if output is Output.json:
        console.out_json([{"name": known, "about": text} for known, text in about.items()])
        return
    for known, text in about.items():
        console.line(f"{known:<20} {text}", indent=21)
    console.next_step(f"registry schema {next(iter(about))}")
