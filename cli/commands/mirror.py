"""mirror: the one-way copy in MLflow."""

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption


def add_to(app: typer.Typer) -> None:
    mirror = typer.Typer(help="Update the one-way copy in MLflow.", no_args_is_help=True)
    mirror.command("sync")(mirror_sync)
    app.add_typer(mirror, name="mirror")


def mirror_sync(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Write to MLflow what it does not show yet."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.draining import sync_mirror

    with opened(home) as registry:
        outcome = sync_mirror(registry)
    if output is Output.json:
        console.out_json(outcome.to_json())
    else:
        for line in outcome.lines():
            console.out(line)
    if outcome.clean:
        console.next_step("registry ui")
        return
    raise typer.Exit(8)
