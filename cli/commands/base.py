"""base: bringing a base in."""

from pathlib import Path
from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.outcome import SIGNS, Home, Outcome, command


def add_to(app: typer.Typer) -> None:
    """Enter `registry base` and its commands, in the order of its help."""
    base = typer.Typer(help="Register a base model.", no_args_is_help=True)
    base.command("add")(base_add)
    app.add_typer(base, name="base")


@command(SIGNS)
def base_add(
    home: Home,
    source: Annotated[str, typer.Argument(help="A folder, a .gguf file, a Hub id (org/name), or `embedded`.")],
    name: Annotated[
        str | None, typer.Option(help="Name to register it under; default: derived from the source.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit on the Hub; the commit is recorded.")
    ] = None,
    store: Annotated[
        str, typer.Option(help="reference (leave the files in place), copy, or link (share them).")
    ] = "reference",
    facts: Annotated[
        Path | None, typer.Option(help="YAML file of declared facts: licence, provider, compute …")
    ] = None,
) -> Outcome:
    """Register a base model. It is identified by the digests of its weights, tokenizer, configuration and template."""
    from peft_registry.trainer.use_cases.add_base import intake_base

    home.registry.unlock()
    added = intake_base(
        home.registry, source, name=name, revision=revision, mode=store, facts_file=facts, observe=home.story
    )
    version, record = added.version, added.record
    config = console.path_from_here(home.registry.folder.parent / "example" / "train.yml")
    return Outcome(
        {"version": version.label, "manifest_digest": str(version.manifest_digest), **record.to_json()},
        [
            f"base     {version.label}  weights {record.identity.weights.short}  "
            f"{record.parameters_total / 1e6:.1f} M  {record.facts.licence.value or 'licence unknown'}"
        ],
        f"registry train {config if config.is_file() else 'CONFIG.yml'} base={version.name}",
    )
