"""ui: browsing the copy in MLflow."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption


def add_to(app: typer.Typer) -> None:
    app.command()(ui)


def ui(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port; if it is taken, the next free one.")] = 5000,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    mirror: Annotated[bool, typer.Option("--mirror/--no-mirror", help="Update MLflow first.")] = True,
) -> None:
    """Browse the registry in MLflow's pages. Ctrl-C stops it and leaves no process."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.draining import mirror_route, sync_mirror
    from peft_registry.registry.mlflow.server import serve

    with opened(home) as registry:
        if mirror and not registry.read_only and registry.database.is_current:
            for line in sync_mirror(registry).lines():
                console.note(line)
        route = mirror_route(registry)
        folder, needs = registry.folder, registry.settings.needs
    progress = Progress(story_on_stdout=True)
    raise typer.Exit(
        serve(route=route, home=folder, needs=needs, port=port, open_browser=open_browser, observe=progress)
    )
