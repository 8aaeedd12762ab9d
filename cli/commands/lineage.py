"""lineage: what something came from and what came from it."""

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    HomeOption,
    Output,
    OutputOption,
    SubjectArgument,
)


def add_to(app: typer.Typer) -> None:
    app.command()(lineage)


def lineage(reference: SubjectArgument, home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Show what something was made from and what was made from it. A version, or data by its digest."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.records.lineage import tree_lines
    from peft_registry.registry.records.subjects import subject_of_lineage
    from peft_registry.registry.verification.signed_versions import signed_lineage

    with opened(home) as registry:
        subject = subject_of_lineage(registry, reference)
        graph = signed_lineage(registry, subject.digest)
    if output is Output.json:
        console.out_json(graph.model_dump(mode="json"))
        return
    for line in tree_lines(graph):
        console.out(console.printable(line))
    if subject.version is not None:
        console.next_step(f"registry show {subject.version.label}")
    else:
        console.next_step(f"registry impact {subject.digest}")
