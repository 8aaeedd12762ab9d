"""methods: the adaptation methods, and which of them fit a goal."""

from dataclasses import asdict
from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import Output, OutputOption


def add_to(app: typer.Typer) -> None:
    app.command()(methods)


def methods(
    goals: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="GOALS", help="Goals, separated by commas: latency, bias_mitigation, many_tasks."
        ),
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """List the fine-tuning methods, and which of them fit a goal. Whether they can be merged, and what they cost."""
    from peft_registry.trainer.methods import advise, parse_goals

    wanted_goals = parse_goals(goals or "")
    advised = advise(wanted_goals)
    if output is Output.json:
        console.out_json([asdict(row) | {"available": row.available} for row, _ in advised])
        return
    if not wanted_goals:
        shown = [
            [row.name, "yes" if row.mergeable else "no", "yes" if row.available else "not yet", row.summary]
            for row, _ in advised
        ]
        console.table([["method", "mergeable", "available", "what it does"], *shown], prose=3)
        console.next_step("registry methods --for latency")
        return
    rows = [
        [row.name, *("fits" if answer.fits else "no" for answer in advice), "; ".join(answer.why for answer in advice)]
        for row, advice in advised
    ]
    console.table([["method", *wanted_goals, "why"], *rows], prose=len(wanted_goals) + 1)
    console.next_step(f"registry train CONFIG.yml method={advised[0][0].name}")
