"""methods: the adaptation methods, and which of them fit a goal."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli.outcome import ANSWERS, Outcome, Table, command

if TYPE_CHECKING:
    from peft_registry.schemas.methods.declaration import TrainableMethod

FITS = {True: "fits", None: "not known", False: "no"}


def add_to(app: typer.Typer) -> None:
    """Enter `registry methods`."""
    app.command()(methods)


@command(ANSWERS)
def methods(
    goals: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="GOALS", help="Goals, separated by commas: latency, bias_mitigation, many_tasks."
        ),
    ] = None,
) -> Outcome:
    """List the fine-tuning methods, and which of them fit a goal. Whether they can be merged, and what they cost."""
    from peft_registry.trainer.methods import advise, method_to_try, parse_goals

    wanted_goals = parse_goals(goals or "")
    advised = advise(wanted_goals)
    value = [_to_json(row) for row, _ in advised]
    if not wanted_goals:
        shown = [[row.name, "yes" if row.folds else "no", row.summary] for row, _ in advised]
        table = Table([["method", "merge folds it", "what it does"], *shown], prose=2)
        return Outcome(value, [table], "registry methods --for latency")
    rows = [
        [row.name, *(FITS[answer.fits] for answer in advice), "; ".join(answer.why for answer in advice)]
        for row, advice in advised
    ]
    table = Table([["method", *wanted_goals, "why"], *rows], prose=len(wanted_goals) + 1)
    chosen = method_to_try(wanted_goals)
    next_step = "registry compare CONFIG.yml" if chosen is None else f"registry train CONFIG.yml method={chosen}"
    return Outcome(value, [table], next_step)


def _to_json(method: "TrainableMethod") -> dict[str, Any]:
    from peft_registry.trainer.methods import advice_of

    return {
        "name": method.name,
        "summary": method.summary,
        "mergeable": method.folds,
        "layout": method.layout,
        "trains_base_weights": method.trains_base_weights,
        "quantizable": method.quantizable,
        "packs": method.packs,
        "checkpoints": method.checkpoints,
        "memory": method.memory,
        "defaults": [asdict(default) for default in method.defaults],
        "advice": [asdict(advice) for advice in advice_of(method)],
    }
