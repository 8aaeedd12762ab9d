"""estimate: what a run needs, before it is started."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli.options import OverridesArgument, PriceOption
from peft_registry.cli.outcome import READS, Home, Outcome, Part, Table, command
from peft_registry.schemas.errors import InputRefused

if TYPE_CHECKING:
    from peft_registry.schemas.values import Value
    from peft_registry.trainer.costs.fit import Estimate, Fit


class DevicesWithoutSize(InputRefused):
    what = "--devices {count} says nothing without their memory"
    why = "processes on a processor share one memory, and spread nothing"
    fix = "say how much each GPU has: --vram 24GiB"

    count: int


def add_to(app: typer.Typer) -> None:
    """Enter `registry estimate`."""
    app.command()(estimate)


@command(READS)
def estimate(
    home: Home,
    config: Annotated[Path, typer.Argument(help="The training file; `registry init` writes one.")],
    overrides: OverridesArgument = None,
    model_config: Annotated[
        Path | None, typer.Option(help="A config.json to use instead of the registered base; nothing else is read.")
    ] = None,
    vram: Annotated[str | None, typer.Option(metavar="SIZE", help="GPU memory, such as 12GiB.")] = None,
    devices: Annotated[int, typer.Option(min=1, max=1024, help="How many GPUs there are, each with --vram.")] = 1,
    ram: Annotated[str | None, typer.Option(metavar="SIZE", help="Main memory; default: this machine's.")] = None,
    claim: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory that somebody claims is enough; judged against the minimum."),
    ] = None,
    price_per_hour: PriceOption = None,
    tokens_per_second: Annotated[
        float | None,
        typer.Option(
            min=1e-9, max=1e12, help="Training speed; default: that of a registered run of this method on this base."
        ),
    ] = None,
) -> Outcome:
    """Estimate memory, time and cost of a run. Reads the base's configuration, no weights."""
    from peft_registry.cli.progress import Progress
    from peft_registry.schemas.tasks import TASK
    from peft_registry.trainer.costs.fit import FitQuestion, parse_size
    from peft_registry.trainer.inputs.training_file import load_tasks
    from peft_registry.trainer.use_cases.estimate import estimate_run

    if devices > 1 and vram is None:
        raise DevicesWithoutSize(devices)
    question = FitQuestion(
        vram=None if vram is None else parse_size(vram),
        devices=devices,
        ram=_main_memory(ram, vram),
        claim=None if claim is None else parse_size(claim),
        price=price_per_hour,
        tokens_per_second=tokens_per_second,
    )
    changes = tuple(overrides or ())
    tasks = load_tasks(config, changes)
    changes_of = {name: (*changes, f"{TASK}={name}") for name in tasks} if tasks else {"": changes}
    tell = Progress(story_on_stdout=False)
    registry = home.registry if model_config is None else None
    estimates = {
        name: estimate_run(registry, config, words, model_config=model_config, question=question, observe=tell)
        for name, words in changes_of.items()
    }
    fits = all(result.fit is None or result.fit.verdict == "fits" for result in estimates.values())
    next_step = shlex.join(["registry", "train", str(config), *changes]) if model_config is None and fits else None
    if tasks:
        value = {"tasks": [{"task": name, **result.to_json()} for name, result in estimates.items()]}
        lines = (line for name, result in estimates.items() for line in ("", f"task     {name}", *_lines(result)))
        return Outcome(value, lines, next_step)
    return Outcome(estimates[""].to_json(), _lines(estimates[""]), next_step)


def _main_memory(ram: str | None, vram: str | None) -> int | None:
    """The main memory that a run may take: as typed; where only the GPU's is typed, unknown; otherwise this machine's."""
    from peft_registry.trainer.costs.fit import parse_size
    from peft_registry.trainer.machine.environment import memory_of_this_machine

    if ram is not None:
        return parse_size(ram)
    return memory_of_this_machine() if vram is None else None


def _lines(result: "Estimate") -> Iterator[Part]:
    """The moments side by side, the verdicts, time and cost."""
    from peft_registry.registry.reports.text import plain_size
    from peft_registry.schemas.run import coverage_sentence
    from peft_registry.trainer.costs.fit import count_text
    from peft_registry.trainer.use_cases.train_costs import written_text

    shape = result.shape
    trace = result.trace
    share = trace.trainable / trace.total
    yield f"needs    {_summary(result)}"
    yield (f"run      {result.method}, {trace.trainable / 1e6:.2f} M trained, {share:.2%} of {count_text(trace.total)}")
    if trace.coverage:
        yield f"adapts   {coverage_sentence(trace.coverage)}"
    yield f"batch    {shape.rows} × {shape.tokens} tokens, {shape.supervised} carry loss; {result.shape_source}"
    count = result.question.devices
    yield f"device   {result.device} {result.dtype}" + (f", each of {count}" if count > 1 else "")
    yield ""
    names = list(result.columns[0].parts)
    headings = ["bytes", *(column.name for column in result.columns)]
    rows = [[name, *(plain_size(column.parts[name]) for column in result.columns)] for name in names]
    yield Table([headings, *rows, ["total", *(plain_size(column.total) for column in result.columns)]])
    yield ""
    yield (
        f"peak     {plain_size(result.peak.total)} while it runs `{result.peak.name}`, most of it {result.peak.largest}"
    )
    yield (
        f"floor    {plain_size(trace.floor)}: {count_text(trace.parameters)} weights at {trace.floor_bits} bits, nothing else"
    )
    for label, fit in (("fit", result.fit), ("claim", result.claim)):
        if fit is not None:
            yield f"{label:<8} {_verdict(fit)}"
    yield f"tokens   {_text(result.tokens)}"
    yield f"time     {_text(result.hours)}"
    yield f"scoring  {_text(result.scoring_hours)}"
    if result.written.number:
        yield f"{'':<8} {written_text(round(result.written.number))}"
    for label, hours in (("screen", result.screen_hours), ("full", result.full_hours)):
        if hours != result.scoring_hours:  # else it is the one that will be asked, or no suite is
            yield f"{label:<8} {_text(hours)}"
    if result.question.price is not None:
        yield f"cost     {_text(result.cost)}"


def _summary(result: "Estimate") -> str:
    """How long, how much memory, and whether that is there."""
    from peft_registry.registry.reports.text import plain_size
    from peft_registry.trainer.use_cases.train_costs import clock_text

    training, scoring = result.hours, result.scoring_hours
    memory = plain_size(result.peak.total)
    if result.fit is not None:
        memory += f": {result.fit.verdict}"
    if not (training.known and scoring.known):
        return f"{memory}; time unknown"
    return f"about {clock_text((training.value + scoring.value) * 3600)}, {memory}"


def _verdict(fit: "Fit") -> str:
    return f"{fit.verdict}: {fit.why}" + ("" if fit.verdict == "fits" else f"; largest part: {fit.binding}")


def _text(value: "Value") -> str:
    from peft_registry.trainer.use_cases.train_costs import clock_text

    if not value.known:
        return f"unknown: {value.reason}"
    figure = clock_text(value.value * 3600) if value.unit == "h" else f"{value.value:,} {value.unit}"
    return f"{figure} ({value.source}: {value.method})"
