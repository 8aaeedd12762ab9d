"""lineage: what something came from and what came from it."""

from enum import StrEnum
from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.commands import impact
from peft_registry.cli.groups import CommandWithOthers
from peft_registry.cli.options import DepthOption, HomeOption, SubjectArgument

_EDGES = 100
_ALIASES = 20


class Drawing(StrEnum):
    """How a graph is written."""

    text = "text"
    json = "json"
    svg = "svg"
    mermaid = "mermaid"


DrawingOption = Annotated[
    Drawing,
    typer.Option(
        "--output",
        "-o",
        help="A tree for people, JSON for programs, or a drawing as SVG, or as Mermaid for a page of Markdown.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Enter `registry lineage`, and `registry lineage impact` below it."""
    group = typer.Typer(cls=CommandWithOthers, invoke_without_command=True)
    group.callback()(lineage)
    impact.add_to(group)
    app.add_typer(group, name="lineage")


def lineage(
    reference: SubjectArgument,
    depth: DepthOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10000, help="Maximum number of arrows below it.")] = _EDGES,
    home: HomeOption = None,
    output: DrawingOption = Drawing.text,
) -> None:
    """Show what something was made from and what was made from it. A version, or data by its digest."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.records.lineage import mermaid_lines, tree_lines
    from peft_registry.registry.records.subjects import subject_of_lineage
    from peft_registry.registry.reports.drawing import lineage_drawing
    from peft_registry.registry.use_cases.show_impact import aliases_reached
    from peft_registry.registry.verification.signed_versions import signed_lineage

    with opened(home) as registry:
        subject = subject_of_lineage(registry, reference)
        graph = signed_lineage(registry, subject.digest, depth=depth, limit=limit)
        aliases, count = aliases_reached(registry, subject, limit=_ALIASES)
    if output is Drawing.json:
        # `rest` is there where something was left out: programs that read a whole graph see what they always saw
        console.out_json(graph.model_dump(mode="json", exclude=None if graph.rest else {"rest"}))
        return
    if output is Drawing.svg:
        console.out(lineage_drawing(graph))
        return
    if output is Drawing.mermaid:
        for line in mermaid_lines(graph):
            console.out(line)
        return
    for line in tree_lines(graph):
        console.out(console.printable(line))
    if graph.rest:
        versions = "version" if graph.rest == 1 else "versions"
        console.out(f"and {graph.rest} more {versions} below: `registry lineage impact {subject.digest}` lists them")
    if aliases:
        more = f" and {count - len(aliases)} more" if count > len(aliases) else ""
        console.note(f"aliases that this reaches: {', '.join(aliases)}{more}")
    if subject.version is not None:
        console.next_step(f"registry show {subject.version.label}")
    else:
        console.next_step(f"registry lineage impact {subject.digest}")
