"""How a version stands before a policy, as lines or JSON; the exit code says whether it is let through."""

from typing import TYPE_CHECKING, NoReturn

import typer

from peft_registry.cli import console
from peft_registry.cli.options import Output

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.gate import GateShown

_CLOSED = 3


def show_gate(shown: "GateShown", output: Output, *, opens: str) -> NoReturn:
    """Print it and end: with 0 where the gate is open, with 3 where it is closed. `opens` is what may be typed then."""
    if output is Output.json:
        console.out_json(shown.model_dump(mode="json"))
    else:
        for label, text in shown.lines():
            console.line(f"{label:<9} {console.printable(text)}", indent=10)
        if shown.decision.is_open:
            console.next_step(opens)
    raise typer.Exit(0 if shown.decision.is_open else _CLOSED)
