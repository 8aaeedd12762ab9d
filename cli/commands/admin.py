"""admin: the upkeep of a home."""

import typer

from peft_registry.cli.commands import gc, rebuild, upgrade


def add_to(app: typer.Typer) -> None:
    """Enter `registry admin` and its commands, in the order of its help."""
    admin = typer.Typer(help="Keep a registry in order: upgrade it, rebuild it, remove garbage.", no_args_is_help=True)
    upgrade.add_to(admin)
    rebuild.add_to(admin)
    gc.add_to(admin)
    app.add_typer(admin, name="admin")
