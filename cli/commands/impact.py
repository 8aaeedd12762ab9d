"""impact: what something went into."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import DepthOption, HomeOption, Output, OutputOption, SubjectArgument

_LISTED = 20


def add_to(app: typer.Typer) -> None:
    """Enter `registry lineage impact`."""
    app.command()(impact)


def impact(
    reference: SubjectArgument,
    depth: DepthOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10000, help="Maximum number of versions.")] = _LISTED,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show what was made from something, however far down. Versions, and the aliases that point at them."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.show_impact import describe_impact

    with opened(home) as registry:
        described = describe_impact(registry, reference, limit=limit, depth=depth)
    if output is Output.json:
        console.out_json(described.model_dump(mode="json", exclude={"relation"}) | {"rest": described.rest})
        return
    for label, text in described.lines():
        console.line(f"{label:<9} {console.printable(text)}", indent=10)
    if described.recall is None:
        console.next_step(f"registry recall {described.subject} --reason TEXT --key FILE")
    elif described.versions:
        console.next_step(f"registry show {described.versions[0].version}")
