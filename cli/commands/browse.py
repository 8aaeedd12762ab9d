"""mirror, ui: the one-way copy in MLflow, and browsing it."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption


def add_to(app: typer.Typer) -> None:
    mirror = typer.Typer(help="Bring the one-way copy in MLflow up to date.", no_args_is_help=True)
    mirror.command("sync")(mirror_sync)
    app.add_typer(mirror, name="mirror")
    app.command()(ui)


def mirror_sync(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Write what MLflow does not show yet."""
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


def ui(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Taken already: the next free one.")] = 5000,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    mirror: Annotated[bool, typer.Option("--mirror/--no-mirror", help="Bring MLflow up to date first.")] = True,
) -> None:
    """Browse in MLflow's own pages. Ctrl-C ends it and leaves no process."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.draining import mirror_route, sync_mirror
    from peft_registry.registry.mlflow.server import serve

    with opened(home) as registry:
        if mirror and not registry.read_only:
            for line in sync_mirror(registry).lines():
                console.note(line)
        route = mirror_route(registry)
        folder = registry.folder
    progress = Progress(story_on_stdout=True)
    raise typer.Exit(serve(route=route, home=folder, port=port, open_browser=open_browser, observe=progress))
