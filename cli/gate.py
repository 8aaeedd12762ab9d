"""How a version stands before a policy; the exit code says whether it is let through."""

from typing import TYPE_CHECKING

from peft_registry.cli.outcome import Line, Outcome

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.gate import GateShown

_CLOSED = 3


def gate_outcome(shown: "GateShown", *, opens: str) -> Outcome:
    """With exit code 0 where the gate is open, with 3 where it is closed. `opens` is what may be typed then."""
    is_open = shown.decision.is_open
    return Outcome(
        shown.model_dump(mode="json"),
        [Line(f"{label:<9} {text}", 10) for label, text in shown.lines()],
        opens if is_open else None,
        exit_code=0 if is_open else _CLOSED,
    )
