"""methods: the adaptation methods, and which of them fit a goal."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli import console
from peft_registry.cli.options import Output, OutputOption

if TYPE_CHECKING:
    from peft_registry.schemas.methods.declaration import TrainableMethod
    from peft_registry.trainer.methods.mitigation import MitigationFigures, Part

MITIGATION = "bias_mitigation"
FITS = {True: "fits", None: "not known", False: "no"}


def add_to(app: typer.Typer) -> None:
    """Enter `registry methods`."""
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
    from peft_registry.trainer.methods import advise, method_to_try, parse_goals
    from peft_registry.trainer.methods.mitigation import NOT_SHOWN, measured_mitigation

    wanted_goals = parse_goals(goals or "")
    advised = advise(wanted_goals)
    if output is Output.json:
        measured = {method.method: asdict(method) for method in measured_mitigation().methods}
        shown_measured = {
            name: {"measured": figures} for name, figures in measured.items() if MITIGATION in wanted_goals
        }
        console.out_json([_to_json(row) | shown_measured.get(row.name, {}) for row, _ in advised])
        return
    if not wanted_goals:
        shown = [[row.name, "yes" if row.folds else "no", row.summary] for row, _ in advised]
        console.table([["method", "merge folds it", "what it does"], *shown], prose=2)
        console.next_step("registry methods --for latency")
        return
    rows = [
        [row.name, *(FITS[answer.fits] for answer in advice), "; ".join(answer.why for answer in advice)]
        for row, advice in advised
    ]
    console.table([["method", *wanted_goals, "why"], *rows], prose=len(wanted_goals) + 1)
    if MITIGATION in wanted_goals:
        found = measured_mitigation()
        figures = [
            [
                method.method,
                str(method.seeds),
                *map(str, _parts(method)),
                f"{method.neutral_loss_change:+.3f}",
            ]
            for method in found.methods
        ]
        console.out()
        console.line(
            f"measured   {found.base}, {found.task}: {found.methods[0].pairs} pairs of {found.suite}, "
            f"{found.methods[0].flagged} flagged before",
            indent=11,
        )
        console.table([["method", "seeds", "to neutral", "over-corrected", "introduced", "neutral loss"], *figures])
        console.line(f"not shown  {NOT_SHOWN}", indent=11)
    console.next_step(f"registry train CONFIG.yml method={method_to_try(wanted_goals)}")


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


def _parts(figures: "MitigationFigures") -> tuple["Part", ...]:
    return figures.to_neutral, figures.overcorrected, figures.introduced
