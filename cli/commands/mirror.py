"""mirror: the one-way copy in MLflow."""

from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.mlflow.checking import MirrorCheck
    from peft_registry.registry.mlflow.draining import Mirrored


def add_to(app: typer.Typer) -> None:
    """Enter `registry mirror` and its commands, in the order of its help."""
    mirror = typer.Typer(help="Update, check and repair the one-way copy in MLflow.", no_args_is_help=True)
    mirror.command("sync")(mirror_sync)
    mirror.command("status")(mirror_status)
    mirror.command("check")(mirror_check)
    mirror.command("repair")(mirror_repair)
    mirror.command("rebuild")(mirror_rebuild)
    mirror.command("push")(mirror_push)
    mirror.command("connect")(mirror_connect)
    mirror.command("forget")(mirror_forget)
    app.add_typer(mirror, name="mirror")


def mirror_sync(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Write to MLflow what it does not show yet."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.draining import sync_mirror

    with opened(home) as registry:
        _say_where(registry)
        outcome = sync_mirror(registry, observe=Progress(story_on_stdout=output is Output.text))
    _tell(outcome, output)


def mirror_status(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Say what is mirrored, where, and what waits. MLflow is not asked."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.mirror_status import mirror_standing

    with opened(home) as registry:
        _say_where(registry)
        standing = mirror_standing(registry)
    if output is Output.json:
        console.out_json(standing.to_json())
    else:
        for line in standing.lines():
            console.out(line)
    if standing.is_gone:
        raise typer.Exit(8)
    console.next_step("registry mirror sync" if standing.waiting else "registry ui")


def mirror_rebuild(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Write everything to MLflow again, from the records."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.draining import rebuild_mirror

    with opened(home) as registry:
        outcome = rebuild_mirror(registry, observe=Progress(story_on_stdout=output is Output.text))
    _tell(outcome, output)


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
        typer.Argument(
            envvar="MLFLOW_TRACKING_URI", help="Of an MLflow server, https://HOST; or `store` for the home's own."
        ),
    ],
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Choose the MLflow that this home is copied to.

    It is kept in the home's settings. Credentials stay where MLflow looks for them; no server is asked.
    """
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.connecting import connect_mirror

    with opened(home) as registry:
        route = connect_mirror(registry, address)
    if output is Output.json:
        console.out_json({"route": route.described})
    else:
        console.out(f"mirror   {route.described}")
    console.next_step("registry mirror sync")


def mirror_forget(
    place: Annotated[
        str | None,
        typer.Argument(help="Of another home's MLflow, as `registry mirror status` names it; default: ours."),
    ] = None,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Forget what was copied to an MLflow.

    MLflow is left as it is, and the next sync begins with every version.
    """
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.mirror_status import forget_mirror

    with opened(home) as registry:
        forgotten = forget_mirror(registry, place)
    if output is Output.json:
        console.out_json({"forgotten": forgotten})
    else:
        console.out(f"mirror   forgotten: {forgotten}")
    console.next_step("registry mirror sync")


def mirror_check(
    full: Annotated[
        bool, typer.Option("--full", help="Compare also what is in MLflow as it was when it was compared last.")
    ] = False,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Read MLflow back, and name whatever is not as it was written (6).

    What changed here since it was copied is not compared (5): `registry mirror repair` copies it.
    """
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.checking import check_mirror

    with opened(home) as registry:
        checked = check_mirror(registry, in_full=full, observe=Progress(story_on_stdout=output is Output.text))
    _tell_check(checked, output, "registry mirror repair")


def mirror_repair(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Write again what is not as it was written; name what cannot be."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.mlflow.checking import repair_mirror

    with opened(home) as registry:
        left = repair_mirror(registry, observe=Progress(story_on_stdout=output is Output.text))
    # what MLflow lets nobody take back can only be written anew, into an empty store
    _tell_check(left, output, "registry mirror status")


def _say_where(registry: "Registry") -> None:
    """Say so where MLFLOW_TRACKING_URI names another server than the one that the home is mirrored to."""
    from peft_registry.cli.settings import tracking_uri
    from peft_registry.registry.mlflow.connecting import other_server
    from peft_registry.registry.mlflow.home_route import mirror_route

    route = mirror_route(registry)
    other = other_server(route, tracking_uri())
    if other is not None:
        console.note(
            f"note     mirrored to {route.described}; MLFLOW_TRACKING_URI names {other}, "
            "which `registry mirror connect` takes"
        )


def _tell_check(checked: "MirrorCheck", output: Output, remedy: str) -> None:
    if output is Output.json:
        console.out_json(checked.to_json())
    else:
        for line in checked.lines():
            console.out(line)
    follows = "registry mirror repair" if checked.waiting else "registry ui"
    if checked.is_gone:
        remedy = "registry mirror rebuild"
    elif checked.not_copied:
        follows = "registry mirror repair"
    console.next_step(remedy if checked.differences else follows)
    if checked.exit_code:
        raise typer.Exit(checked.exit_code)


def _tell(outcome: "Mirrored", output: Output) -> None:
    """What a sync did, and the exit code: 8 where something waits still."""
    if output is Output.json:
        console.out_json(outcome.to_json())
    else:
        for line in outcome.lines():
            console.out(line)
    if not outcome.clean:
        raise typer.Exit(8)
    console.next_step("registry ui")
