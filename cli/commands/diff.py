"""diff: what is different between two versions."""

from typing import Annotated

import typer

from peft_registry.cli.outcome import READS, Home, Line, Outcome, command


def add_to(app: typer.Typer) -> None:
    """Enter `registry diff`."""
    app.command()(diff)


@command(READS)
def diff(
    home: Home,
    first: Annotated[str, typer.Argument(help="Version: name, name:3, name@alias or sha256:…")],
    second: Annotated[str, typer.Argument(help="Version to compare with: name, name:3, name@alias or sha256:…")],
) -> Outcome:
    """Compare two versions. Configuration, data, evaluations, and the weights module by module."""
    from peft_registry.cli.progress import Progress
    from peft_registry.trainer.use_cases.diff import compare_versions

    comparison = compare_versions(home.registry, first, second, observe=Progress(story_on_stdout=False))
    lines = [Line(line, 15) for line in comparison.lines()]
    return Outcome(comparison.to_json(), lines, f"registry show {comparison.second}")
