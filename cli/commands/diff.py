"""diff: what is different between two versions."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption


def add_to(app: typer.Typer) -> None:
    """Enter `registry diff`."""
    app.command()(diff)


def diff(
    first: Annotated[str, typer.Argument(help="Version: name, name:3, name@alias or sha256:…")],
    second: Annotated[str, typer.Argument(help="Version to compare with: name, name:3, name@alias or sha256:…")],
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Compare two versions. Configuration, data, evaluations, and the weights module by module."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.trainer.use_cases.diff import compare_versions

    with opened(home) as registry:
        comparison = compare_versions(registry, first, second, observe=Progress(story_on_stdout=False))
    if output is Output.json:
        console.out_json(comparison.to_json())
        return
    for line in comparison.lines():
        console.line(console.printable(line), indent=15)
    console.next_step(f"registry show {comparison.second}")
