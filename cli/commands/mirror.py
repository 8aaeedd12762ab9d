"""mirror: copies on MLflow servers of others."""

from typing import Annotated

import typer

from peft_registry.cli.outcome import READS, Home, Outcome, Verbatim, command
from peft_registry.schemas.errors import Unavailable

WithRecordsOption = Annotated[
    bool,
    typer.Option(
        "--with-records",
        help="Send runs, reports, persons and scores of single rows too, to a server whose readers may see them.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Enter `registry mirror` and its commands, in the order of its help."""
    mirror = typer.Typer(help="Send a copy to a team's own MLflow server.", no_args_is_help=True)
    mirror.command("push")(mirror_push)
    mirror.command("connect")(mirror_connect)
    app.add_typer(mirror, name="mirror")


@command(READS)
def mirror_push(
    home: Home,
    address: Annotated[
        str | None,
        typer.Argument(metavar="URI", help="Of an MLflow server, https://HOST; default: the one that this home names."),
    ] = None,
    with_records: WithRecordsOption = False,
) -> Outcome:
    """Send a copy of what a team's own MLflow server does not show yet.

    It is what everybody may read, unless records are sent too. Everything there is compared.
    What others made under a name of ours is named, and left as it is (8).
    """
    from peft_registry.registry.mlflow.push import push_everything

    outcome = push_everything(home.registry, address, with_records=with_records, observe=home.story)
    return Outcome(
        outcome.to_json(),
        map(Verbatim, outcome.lines()),
        "registry list" if outcome.is_whole else None,
        exit_code=0 if outcome.is_whole else Unavailable.exit_code,
    )


@command(READS)
def mirror_connect(
    home: Home,
    address: Annotated[
        str,
        typer.Argument(envvar="MLFLOW_TRACKING_URI", help="Of an MLflow server, https://HOST; or `none`."),
    ],
    with_records: WithRecordsOption = False,
) -> Outcome:
    """Choose the MLflow server that gets a copy of this home.

    It is kept in the home's settings. Credentials stay where MLflow looks for them; no server is asked.
    """
    from peft_registry.registry.mlflow.connecting import connect_mirror

    server = connect_mirror(home.registry, address, with_records=with_records)
    next_step = "registry ui" if server is None else "registry mirror push"
    sent = " with its records" if server is not None and with_records else ""
    return Outcome(
        {"route": server, "records": bool(sent)}, [Verbatim(f"mirror   {server or 'none'}{sent}")], next_step
    )
