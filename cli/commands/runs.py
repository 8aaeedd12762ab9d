"""runs: what trains on this machine now, and what was stopped before it was registered."""

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption
from peft_registry.cli.outcome import READS, Home, Note, Outcome, Table, command

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from peft_registry.registry.homes.run_logs import RunUnderWay
    from peft_registry.schemas.run_log import RunMeasured
    from peft_registry.schemas.run_points import RunMetricName, RunPoint

_SHOWN = 20  # points of a run; JSON has more
_LOOK_SECONDS = 1.0
_SHORT_ID = 12
_COLUMNS: "dict[RunMetricName, tuple[str, str]]" = {  # heading and format of a figure
    "loss": ("loss", ".4g"),
    "held_out_loss": ("held-out", ".4g"),
    "held_out_accuracy": ("accuracy", ".3f"),
    "held_out_macro_f1": ("macro F1", ".3f"),
    "held_out_exact_match": ("exact match", ".3f"),
    "held_out_f1": ("F1", ".3f"),
    "held_out_number_match": ("number", ".3f"),
    "validation_loss": ("validation", ".4g"),
    "validation_accuracy": ("accuracy", ".3f"),
    "validation_macro_f1": ("macro F1", ".3f"),
    "validation_exact_match": ("exact match", ".3f"),
    "validation_f1": ("F1", ".3f"),
    "validation_number_match": ("number", ".3f"),
    "learning_rate": ("rate", ".3g"),
    "gradient_norm": ("gradient", ".3g"),
    "tokens_per_second": ("tok/s", ".0f"),
    "peak_memory_bytes": ("memory", ""),
}
_WIDTH = 12  # of a column that is printed before it is known what comes below

RunArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of a run, or its first characters.")]


def add_to(app: typer.Typer) -> None:
    """Enter `registry runs` and its commands, in the order of its help."""
    runs = typer.Typer(help="List, follow and remove runs that are not registered yet.", no_args_is_help=True)
    runs.command("list")(runs_list)
    runs.command("show")(runs_show)
    runs.command("remove")(runs_remove)
    app.add_typer(runs, name="runs")


@command(READS)
def runs_list(home: Home) -> Outcome:
    """List what trains here now, and what stopped or failed. Runs of this machine alone."""
    from peft_registry.registry.homes.run_logs import runs_under_way
    from peft_registry.trainer.runs.folder import has_checkpoint

    runs = home.registry.files.runs
    found = runs_under_way(runs)
    value = [_json(run, with_points=False) for run in found]
    if not found:
        nothing = Note("no run is under way here, and none was stopped; a run that was registered is a version")
        return Outcome(value, [nothing], "registry list")
    newest = found[0]
    if newest.state == "KILLED":
        next_step = _after_a_stop(newest, can_resume=has_checkpoint(runs / newest.run_id))
    else:  # of a failure it says why
        next_step = f"registry runs show {newest.run_id[:_SHORT_ID]}"
    headings = ["run", "name", "method", "state", "step", "loss", "held-out", "begun"]
    return Outcome(value, [Table([headings, *(_row(run) for run in found)])], next_step)


def runs_show(
    run_id: RunArgument,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print new points as they come, until the run ends.")
    ] = False,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show how far a run is, step by step. Loss, figures of held-out rows, learning rate, gradient norm, speed, memory."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.homes.run_logs import run_named
    from peft_registry.schemas.run_points import MOST_POINTS
    from peft_registry.trainer.runs.folder import has_checkpoint

    with opened(home) as registry:
        runs = registry.files.runs
        run = run_named(runs, run_id, points=_SHOWN if output is Output.text else MOST_POINTS)
    if follow:
        _follow(runs, run, output)
    elif output is Output.json:
        console.out_json(_json(run))
    else:
        _show(run, can_resume=has_checkpoint(runs / run.run_id))


@command(READS)
def runs_remove(home: Home, run_id: RunArgument) -> Outcome:
    """Remove what a stopped run left. Its log, and the state that --resume would continue from."""
    from peft_registry.registry.disk.files import unwritable
    from peft_registry.registry.homes.run_logs import run_named
    from peft_registry.trainer.runs.folder import StillRunning, has_checkpoint, remove_run

    runs = home.registry.files.runs
    run = run_named(runs, run_id, points=1)
    if run.state == "RUNNING":
        raise StillRunning(run.run_id)
    could_resume = has_checkpoint(runs / run.run_id)
    try:
        remove_run(runs, run.run_id)
    except OSError as error:
        raise unwritable(runs / run.run_id, error) from error
    state = ", and the state that it could be resumed from" if could_resume else ""
    return Outcome(
        {"removed": run.run_id, "could_be_resumed": could_resume},
        [f"removed  {run.run_id[:_SHORT_ID]}  {run.name}{state}"],
    )


def _show(run: "RunUnderWay", *, can_resume: bool) -> None:
    console.line(f"run      {run.run_id}  {run.name}  {run.method} on {run.base}")
    console.line(f"begun    {run.started_at}")
    console.line(f"state    {_state(run)}")
    if run.is_cut:
        console.note("the log is larger than any run writes: its beginning and its end are shown")
    if run.points:
        used = _used(run.points)
        console.out()
        rows = [[str(point.step), *_cells(point.values, used)] for point in run.points]
        console.table([["step", *(_COLUMNS[name][0] for name in used)], *rows])
    if run.state == "RUNNING":
        console.next_step(f"registry runs show {run.run_id[:_SHORT_ID]} --follow")
    else:
        console.next_step(_after_a_stop(run, can_resume=can_resume))


def _after_a_stop(run: "RunUnderWay", *, can_resume: bool) -> str:
    """A run that trains no more goes on where it kept its state; else only its log is left."""
    if can_resume:
        return f"registry train --resume {run.run_id[:_SHORT_ID]}"
    return f"registry runs remove {run.run_id[:_SHORT_ID]}"


def _follow(runs: "Path", run: "RunUnderWay", output: Output) -> None:
    """Print the newest point of each second, and every one of held-out rows; as JSON, every point."""
    from peft_registry.registry.homes.run_logs import ENDED_WITHOUT_A_WORD, followed
    from peft_registry.schemas.run_log import RunEnded, RunMeasured

    columns: tuple[RunMetricName, ...] = ()
    if output is Output.text:
        console.line(f"run      {run.run_id}  {run.name}  {run.method} on {run.base}")
    waiting: list[RunMeasured] = []
    ended: RunEnded | None = None

    def print_waiting() -> None:
        nonlocal columns
        if output is Output.json:
            for point in waiting:
                console.out(point.model_dump_json())
        elif waiting:
            shown = _of_a_look(waiting)
            columns = _print_below(columns, shown)
        waiting.clear()

    def wait() -> None:
        print_waiting()
        time.sleep(_LOOK_SECONDS)

    for line in followed(runs, run, wait=wait):
        if isinstance(line, RunMeasured):
            waiting.append(line)
        ended = line if isinstance(line, RunEnded) else None
    print_waiting()
    state = "KILLED" if ended is None else ended.state
    sentence = ENDED_WITHOUT_A_WORD if ended is None else ended.sentence
    if output is Output.json:
        version = None if ended is None else ended.version
        console.out(json.dumps({"kind": "ended", "state": state, "sentence": sentence, "version": version}))
        return
    console.line(f"state    {state}: {sentence}")


def _of_a_look(points: "list[RunMeasured]") -> "list[RunMeasured]":
    """The newest point, and before it each of held-out rows: a training of many steps a second fills no terminal."""
    from peft_registry.schemas.run_points import LOOKED_AT

    return [point for point in points[:-1] if not LOOKED_AT.keys().isdisjoint(point.values)] + points[-1:]


def _print_below(columns: "tuple[RunMetricName, ...]", points: "list[RunMeasured]") -> "tuple[RunMetricName, ...]":
    """Print points below the columns that stand; new ones get new headings. The columns that stand then."""
    there = {name for point in points for name in point.values} | set(columns)
    wanted = tuple(name for name in _COLUMNS if name in there)
    if wanted != columns:
        headings = ("step", *(_COLUMNS[name][0] for name in wanted))
        console.out("".join(f"{heading:>{_WIDTH}}" for heading in headings))
    for point in points:
        cells = [str(point.step), *_cells(point.values, wanted)]
        console.out("".join(f"{cell:>{_WIDTH}}" for cell in cells))
    return wanted


def _row(run: "RunUnderWay") -> list[str]:
    # where the run reports on other rows, those that it looks at are of its validation part
    held_out: RunMetricName = "validation_loss" if run.latest("held_out_loss") is None else "held_out_loss"
    figures = [_cell(name, run.latest(name)) for name in ("loss", held_out)]
    return [run.run_id[:_SHORT_ID], run.name, run.method, run.state, _step(run, "/"), *figures, run.started_at]


def _state(run: "RunUnderWay") -> str:
    text: str = run.state
    if run.sentence:
        text += f": {run.sentence}"
    elif run.stage:
        text += f"  {run.stage}"
    step = _step(run, " of ")
    return f"{text}  step {step}" if step else text


def _step(run: "RunUnderWay", of: str) -> str:
    """How far the training is: the newest step, and behind `of` how many there are; empty before the first."""
    if run.step is None:
        return ""
    return f"{run.step}{of}{run.steps}" if run.steps else str(run.step)


def _used(points: "Iterable[RunPoint]") -> "tuple[RunMetricName, ...]":
    there = {name for point in points for name in point.values}
    return tuple(name for name in _COLUMNS if name in there)


def _cells(values: "Mapping[RunMetricName, float]", names: "Iterable[RunMetricName]") -> list[str]:
    return [_cell(name, values.get(name)) for name in names]


def _cell(name: "RunMetricName", value: float | None) -> str:
    from peft_registry.schemas.sizes import human_bytes

    if value is None:
        return "–"
    return human_bytes(round(value)) if name == "peak_memory_bytes" else format(value, _COLUMNS[name][1])


def _json(run: "RunUnderWay", *, with_points: bool = True) -> dict[str, Any]:
    value = asdict(run)
    points = value.pop("points")
    if run.ended_at is not None:
        value["ended_at"] = datetime.fromtimestamp(run.ended_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if with_points:
        value["points"] = [point.model_dump(mode="json") for point in points]
    return value
