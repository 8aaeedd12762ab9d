"""promote: moving an alias."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption, PassphraseFileOption, ReferenceArgument


def add_to(app: typer.Typer) -> None:
    app.command()(promote)


def promote(
    reference: ReferenceArgument,
    alias: Annotated[str, typer.Argument(help="Alias, for example champion.")],
    reason: Annotated[str | None, typer.Option(help="Reason, kept in the signed record.")] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Point an alias at a version that verifies. The move is signed and logged."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.promote import set_alias

    with opened(home, passphrase_file) as registry:
        version = version_named(registry, reference)
        registry.unlock()
        set_alias(registry, version, alias, reason=reason)
    if output is Output.json:
        value = {"name": version.name, "alias": alias, "version": version.label}
        console.out_json(value | {"manifest_digest": str(version.manifest_digest)})
        return
    console.line(f"alias    {version.name}@{alias} → {version.label}")
    console.next_step(f"registry pull {version.name}@{alias} FOLDER")
