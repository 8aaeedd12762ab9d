"""impact: what something went into."""

from typing import Annotated

import typer

from peft_registry.cli.options import DepthOption, SubjectArgument
from peft_registry.cli.outcome import READS, Home, Line, Outcome, command

_LISTED = 20


def add_to(app: typer.Typer) -> None:
    """Enter `registry lineage impact`."""
    app.command()(impact)


@command(READS)
def impact(
    home: Home,
    reference: SubjectArgument,
    depth: DepthOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10000, help="Maximum number of versions.")] = _LISTED,
) -> Outcome:
    """Show what was made from something, however far down. Versions, and the aliases that point at them."""
    from peft_registry.registry.use_cases.show_impact import describe_impact

    described = describe_impact(home.registry, reference, limit=limit, depth=depth)
    next_step = None
    if described.recall is None:
        next_step = f"registry recall {described.subject} --reason TEXT --key FILE"
    elif described.versions:
        next_step = f"registry show {described.versions[0].version}"
    return Outcome(
        described.model_dump(mode="json", exclude={"relation"}) | {"rest": described.rest},
        [Line(f"{label:<9} {text}", 10) for label, text in described.lines()],
        next_step,
    )
