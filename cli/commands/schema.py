"""schema: the JSON Schema of each document."""

from typing import Annotated

import typer

from peft_registry.cli.outcome import ANSWERS, Line, Outcome, command


def add_to(app: typer.Typer) -> None:
    """Enter `registry schema`."""
    app.command()(schema)


@command(ANSWERS)
def schema(
    name: Annotated[str | None, typer.Argument(help="Document; without a name all are listed.")] = None,
) -> Outcome:
    """Print the JSON Schema of a document, for editors and programs."""
    from peft_registry.schemas.catalog import DOCUMENTS, json_schema

    if name is not None:
        return Outcome(json_schema(name))
    about = {known: (document.__doc__ or "").strip().splitlines()[0] for known, document in sorted(DOCUMENTS.items())}
    return Outcome(
        [{"name": known, "about": text} for known, text in about.items()],
        [Line(f"{known:<20} {text}", 21) for known, text in about.items()],
        f"registry schema {next(iter(about))}",
    )
