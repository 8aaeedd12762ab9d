"""verdict: the indicative status of a modification, for the model and for the system."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    CheckpointOption,
    HomeOption,
    OptionNeeded,
    OptionsExclusive,
    Output,
    OutputOption,
)

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.show_verdict import Replay


def add_to(app: typer.Typer) -> None:
    """Enter `registry record verdict`."""
    app.command()(verdict)


def verdict(
    reference: Annotated[str | None, typer.Argument(help="name:3, name@alias or sha256:…", metavar="REFERENCE")] = None,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rules in place of the shipped ones; nothing is recorded by them."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="What the rules of --rules would change, of every version.")
    ] = False,
    print_rules: Annotated[
        bool, typer.Option("--print-rules", help="Print the shipped rules as JSON, to change them.")
    ] = False,
    home: HomeOption = None,
    checkpoint: CheckpointOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show the indicative verdicts about a version. For the model, and for the system."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.compliance.verdicts.rules import shipped_rules
    from peft_registry.registry.use_cases.show_verdict import describe_verdict, read_verdict_rules, replay

    if print_rules:
        console.out_json(shipped_rules().model_dump(mode="json"))
        return
    if every and reference is not None:
        raise OptionsExclusive("--all", reference, "one is about every version, the other about this one")
    other = None if rules is None else read_verdict_rules(rules)
    if every and other is None:
        raise OptionNeeded(
            "--rules FILE",
            "`--all` says what other rules would change; `registry record verdict --print-rules >FILE` writes the shipped ones, to "
            "be changed, and `registry list --columns version,verdict` shows what these say",
        )
    if not every and reference is None:
        raise OptionNeeded("a REFERENCE or --all", "a verdict is about a version")
    with opened(home, checkpoint=checkpoint) as registry:
        if reference is None:
            assert other is not None, "`--all` has rules"
            _show_replay(replay(registry, other), output)
            return
        shown = describe_verdict(registry, reference, other)
    if output is Output.json:
        described = shown.model_dump(mode="json")
        for verdict in shown.verdicts.both:
            described["verdicts"][verdict.table]["open"] = list(verdict.open_questions)
        console.out_json(described)
        return
    for label, text in shown.lines():
        console.line(f"{label:<9} {console.printable(text)}", indent=10)
    if any(verdict.missing for verdict in shown.verdicts.both):
        console.next_step(f"registry decide {shown.version} --form gaps.yml")
    else:
        console.next_step(f"registry report {shown.version}")


def _show_replay(replayed: "Replay", output: Output) -> None:
    if output is Output.json:
        console.out_json(replayed.model_dump(mode="json"))
        return
    if replayed.changes:
        rows = [(change.version, change.table, change.now, change.under) for change in replayed.changes]
        console.table([("version", "verdict", "now", f"under {replayed.rules}"), *rows])
    without = f", {replayed.without_record} of them without a record" if replayed.without_record else ""
    console.line(f"changed  {len(replayed.changes)} verdicts of {replayed.versions} versions{without}")
    console.line(f"notice   {replayed.notice}", indent=9)
    if replayed.changes:
        console.next_step(f"registry record verdict {replayed.changes[0].version}")
