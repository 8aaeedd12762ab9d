"""schema: the JSON Schema of each document."""

from typing import Annotated

import typer

from peft_registry.cli import console


def add_to(app: typer.Typer) -> None:
    app.command()(schema)


def schema(
    name: Annotated[str | None, typer.Argument(help="Which document; without a name they are listed.")] = None,
) -> None:
    """Print the JSON Schema of a document, for editors and programs."""
    from peft_registry.schemas.catalog import DOCUMENTS, json_schema

    if name is None:
        for known, document in sorted(DOCUMENTS.items()):
            console.out(f"{known:<20} {(document.__doc__ or '').strip().splitlines()[0]}")
        return
    console.out_json(json_schema(name))
