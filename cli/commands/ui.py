"""ui: browsing the registry in MLflow."""

import os
from pathlib import Path
from typing import Annotated

import typer

from peft_registry.cli.options import HomeOption


def add_to(app: typer.Typer) -> None:
    """Enter `registry ui`."""
    app.command()(ui)


def ui(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port; if it is taken, the next free one.")] = 5000,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    share: Annotated[
        bool, typer.Option("--shared", help="Show it to others, who log in with a user of MLflow.")
    ] = False,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on: 127.0.0.1, with --shared every one of this machine.")
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--name", help="With --shared: a name under which others reach it; repeatable.")
    ] = None,
) -> None:
    """Browse the registry in MLflow's pages. Ctrl-C stops it and leaves no process.

    With --shared others can, too, after MLflow's own login: MLFLOW_AUTH_CONFIG_PATH names its basic_auth.ini.
    """
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.server import DEFAULT_HOST, serve
    from peft_registry.registry.mlflow.sharing import EVERY_ADDRESS, require_loopback, shared

    address = host or (EVERY_ADDRESS if share else DEFAULT_HOST)
    if not share:
        for reached in (address, *(names or ())):
            require_loopback(reached)
    sharing = None
    if share:
        sharing = shared(host=address, names=tuple(names or ()), environment=os.environ, folder=Path.cwd())
    with opened(home) as registry:
        registry.database.require_current()
        folder = registry.folder
        needs = registry.settings.needs
    progress = Progress(story_on_stdout=True)
    raise typer.Exit(
        serve(
            folder,
            needs=needs,
            host=address,
            port=port,
            open_browser=open_browser,
            sharing=sharing,
            observe=progress,
        )
    )
