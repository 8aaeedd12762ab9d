"""Options that several commands share, spelled once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    """Text for people, JSON for programs."""

    text = "text"
    json = "json"


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", envvar="REGISTRY_HOME", help="The registry's home; else .registry here or in a folder above."
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text, or json on stdout for programs.")]
TrustOption = Annotated[
    Path | None,
    typer.Option("--trust", help="A trust file that you got from its keeper; decides instead of the home's own."),
]
RootOption = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        metavar="DIGEST",
        help="sha256:… of a root key that you know; a trust file signed by it counts (with --trust).",
    ),
]
PassphraseFileOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="Read the keys' passphrase from this file (or set REGISTRY_PASSPHRASE)."),
]
ReferenceArgument = Annotated[str, typer.Argument(help="name, name:3, name@alias or sha256:…", show_default=False)]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="For example training.seed=8", show_default=False)
]
