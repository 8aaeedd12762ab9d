"""compare: which method does best on one's own data."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    FileHalfOption,
    GuardDigestOption,
    GuardTextOption,
    MirrorOption,
    OverridesArgument,
    PriceOption,
)
from peft_registry.cli.outcome import SIGNS, Home, Outcome, Part, Table, command

if TYPE_CHECKING:
    from peft_registry.schemas.comparison import MethodComparison


def add_to(app: typer.Typer) -> None:
    """Enter `registry compare`."""
    app.command()(compare)


@command(SIGNS)
def compare(
    home: Home,
    config: Annotated[Path, typer.Argument(help="The training file; `registry init` writes one.")],
    overrides: OverridesArgument = None,
    methods: Annotated[
        str, typer.Option(metavar="NAMES", help="Methods to compare, separated by commas, or all.")
    ] = "all",
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Training runs per method; the held-out rows stay the same.")
    ] = 1,
    learning_rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD=RATE",
            help="Learning rate of a method; default: the file's for its own method, measured rates for the others.",
        ),
    ] = None,
    price_per_hour: PriceOption = None,
    sweep: Annotated[
        str | None, typer.Option(metavar="KEY", help="Sweep learning_rate over five decades; register nothing.")
    ] = None,
    latency: Annotated[
        bool, typer.Option("--latency/--no-latency", help="Measure request latency, unmerged and merged.")
    ] = True,
    html: Annotated[Path | None, typer.Option(help="Also write the comparison as an HTML page.")] = None,
    half: FileHalfOption = None,
    guard_text: GuardTextOption = None,
    guard_sha256: GuardDigestOption = None,
    mirror: MirrorOption = True,
) -> Outcome:
    """Train several methods on the same data. One run for each method and seed, all registered."""
    from peft_registry.cli.mirror import push_after
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.scope import scope_overrides
    from peft_registry.cli.wiring import typed_command
    from peft_registry.trainer.use_cases.compare import Plan, chosen_methods, compare_methods, parse_rates
    from peft_registry.trainer.use_cases.sweep import parse_sweep, sweep_rates

    words = (*(overrides or ()), *scope_overrides(half, guard_text, guard_sha256))
    observe = Progress(story_on_stdout=False)
    plan = Plan(chosen_methods(methods), seeds, parse_rates(learning_rate or ()), price_per_hour, latency)
    command_line = typed_command()
    if sweep is not None:
        return Outcome(
            sweep_rates(
                home.registry, config, words, plan.methods, parse_sweep(sweep), command=command_line, observe=observe
            )
        )
    home.registry.unlock()
    comparison = compare_methods(home.registry, config, words, plan, command=command_line, observe=observe)
    versions = [arm.version for arm in comparison.arms if arm.version is not None]
    if mirror:
        push_after(home.registry, *versions)
    if html is not None:
        _write_page(html, comparison)
    return Outcome(comparison.to_json(), lines_of(comparison), f"registry show {versions[0]}")


def _write_page(path: Path, comparison: "MethodComparison") -> None:
    from peft_registry.registry.disk.files import unwritable, write_atomically
    from peft_registry.registry.reports.comparison import comparison_page

    try:
        write_atomically(path, comparison_page(comparison).encode())
    except OSError as error:
        raise unwritable(path, error) from error
    console.note(f"written  {path}")


def lines_of(comparison: "MethodComparison") -> Iterator[Part]:
    """What people read of a comparison."""
    from peft_registry.registry.reports.comparison import (
        ANSWER_HEADINGS,
        BIAS_HEADINGS,
        answer_rows,
        bias_rows,
        lost_lines,
        plan_line,
        two_tables,
    )

    yield f"base     {comparison.base} {comparison.base_weights.short}    {len(comparison.arms)} arms"
    planned = plan_line(comparison)
    if planned is not None:
        yield f"plan     {planned}"
    for headings, rows in two_tables(comparison):
        yield ""
        yield Table([headings, *rows])
    answered = answer_rows(comparison)
    if answered:
        yield ""
        yield Table([ANSWER_HEADINGS, *answered])
    moved = bias_rows(comparison)
    if moved:
        yield ""
        yield Table([BIAS_HEADINGS, *moved])
    yield from (f"lost     {line}" for line in lost_lines(comparison))
