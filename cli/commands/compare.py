"""compare: which method does best on one's own data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    FileHalfOption,
    GuardDigestOption,
    GuardTextOption,
    HomeOption,
    MirrorOption,
    Output,
    OutputOption,
    OverridesArgument,
    PassphraseFileOption,
    PriceOption,
)

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
    from peft_registry.schemas.comparison import MethodComparison
    from peft_registry.schemas.progress import Observe


def add_to(app: typer.Typer) -> None:
    """Enter `registry compare`."""
    app.command()(compare)


def compare(
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
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Train several methods on the same data. One run for each method and seed, all registered."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.scope import scope_overrides
    from peft_registry.cli.wiring import opened, typed_command
    from peft_registry.trainer.use_cases.compare import Plan, chosen_methods, compare_methods, parse_rates

    words = (*(overrides or ()), *scope_overrides(half, guard_text, guard_sha256))
    progress = Progress(story_on_stdout=False)
    plan = Plan(chosen_methods(methods), seeds, parse_rates(learning_rate or ()), price_per_hour, latency)
    with opened(home, passphrase_file) as registry:
        if sweep is not None:
            _sweep(registry, config, words, plan.methods, sweep, progress)
            return
        registry.unlock()
        comparison = compare_methods(registry, config, words, plan, command=typed_command(), observe=progress)
        if mirror:
            from peft_registry.cli.mirror import push_after

            push_after(registry, *(arm.version for arm in comparison.arms if arm.version is not None))
    if html is not None:
        _write_page(html, comparison)
    _show_comparison(comparison, output)
    console.next_step(f"registry show {next(arm.version for arm in comparison.arms if arm.version is not None)}")


def _sweep(
    registry: "Registry",
    config: Path,
    overrides: tuple[str, ...],
    methods: tuple[str, ...],
    key: str,
    observe: "Observe",
) -> None:
    from peft_registry.cli.wiring import typed_command
    from peft_registry.trainer.use_cases.sweep import parse_sweep, sweep_rates

    console.out_json(
        sweep_rates(registry, config, overrides, methods, parse_sweep(key), command=typed_command(), observe=observe)
    )


def _write_page(path: Path, comparison: "MethodComparison") -> None:
    from peft_registry.registry.disk.files import unwritable, write_atomically
    from peft_registry.registry.reports.comparison import comparison_page

    try:
        write_atomically(path, comparison_page(comparison).encode())
    except OSError as error:
        raise unwritable(path, error) from error
    console.note(f"written  {path}")


def _show_comparison(comparison: "MethodComparison", output: Output) -> None:
    from peft_registry.registry.reports.comparison import BIAS_HEADINGS, bias_rows, lost_lines, two_tables

    if output is Output.json:
        console.out_json(comparison.to_json())
        return
    console.line(f"base     {comparison.base} {comparison.base_weights.short}    {len(comparison.arms)} arms")
    for headings, rows in two_tables(comparison):
        console.out()
        console.table([headings, *rows])
    moved = bias_rows(comparison)
    if moved:
        console.out()
        console.table([BIAS_HEADINGS, *moved])
    for line in lost_lines(comparison):
        console.line(f"lost     {line}")
