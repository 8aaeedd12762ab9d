"""lineage: what a version came from and what came from it."""

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    HomeOption,
    Output,
    OutputOption,
    ReferenceArgument,
)


def add_to(app: typer.Typer) -> None:
    app.command()(lineage)


def lineage(reference: ReferenceArgument, home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Show what a version was made from and what was made from it."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.records.lineage import tree_lines
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.verification.signed_versions import signed_lineage

    with opened(home) as registry:
        version = version_named(registry, reference)
        graph = signed_lineage(registry, version.manifest_digest)
    if output is Output.json:
        console.out_json(graph.model_dump(mode="json"))
        return
    for line in tree_lines(graph):
        console.out(console.printable(line))
    console.next_step(f"registry show {version.label}")
