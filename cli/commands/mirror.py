"""mirror: copies on MLflow servers of others."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption


def add_to(app: typer.Typer) -> None:
    """Enter `registry mirror` and its commands, in the order of its help."""
    mirror = typer.Typer(help="Send a copy to a team's own MLflow server.", no_args_is_help=True)
    mirror.command("push")(mirror_push)
    mirror.command("connect")(mirror_connect)
    app.add_typer(mirror, name="mirror")


def mirror_push(
    address: Annotated[
        str | None,
        typer.Argument(metavar="URI", help="Of an MLflow server, https://HOST; default: the one that this home names."),
    ] = None,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Send a copy of what a team's own MLflow server does not show yet.

    Everything there is compared. What others made under a name of ours is named, and left as it is (8).
    """
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.push import push_everything

    with opened(home) as registry:
        outcome = push_everything(registry, address, observe=Progress(story_on_stdout=output is Output.text))
    if output is Output.json:
        console.out_json(outcome.to_json())
    else:
        for line in outcome.lines():
            console.out(line)
    if not outcome.is_whole:
        raise typer.Exit(8)
    console.next_step("registry list")


def mirror_connect(
    address: Annotated[
        str,
        typer.Argument(envvar="MLFLOW_TRACKING_URI", help="Of an MLflow server, https://HOST; or `none`."),
    ],
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Choose the MLflow server that gets a copy of this home.

    It is kept in the home's settings. Credentials stay where MLflow looks for them; no server is asked.
    """
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.connecting import connect_mirror

    with opened(home) as registry:
        server = connect_mirror(registry, address)
    if output is Output.json:
        console.out_json({"route": server})
    else:
        console.out(f"mirror   {server or 'none'}")
    console.next_step("registry ui" if server is None else "registry mirror push")
