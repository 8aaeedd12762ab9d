"""verdict: the indicative status of a modification, for the model and for the system."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli.options import OptionNeeded, OptionsExclusive, RootOption, TrustOption
from peft_registry.cli.outcome import READS_AT, Home, Line, Outcome, Part, Table, command, of_folder

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.show_verdict import Replay, VerdictShown


def add_to(app: typer.Typer) -> None:
    """Enter `registry record verdict`."""
    app.command()(verdict)


@command(READS_AT)
def verdict(
    home: Home,
    reference: Annotated[
        str | None, typer.Argument(help="name:3, name@alias, sha256:… or a pulled folder", metavar="REFERENCE")
    ] = None,
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
    trust: TrustOption = None,
    root: RootOption = None,
) -> Outcome:
    """Show the indicative verdicts about a version. For the model, and for the system."""
    from peft_registry.registry.compliance.verdicts.rules import shipped_rules
    from peft_registry.registry.use_cases.show_verdict import (
        describe_verdict,
        describe_verdict_in,
        read_verdict_rules,
        replay,
    )

    if print_rules:
        return Outcome(shipped_rules().model_dump(mode="json"))
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
    if reference is None:
        assert other is not None, "`--all` has rules"
        return _replayed(replay(home.registry, other))
    read = home.read_folder(reference, trust, root)
    if read is None:
        return _shown(describe_verdict(home.registry, reference, other))
    return of_folder(_shown(describe_verdict_in(read.shown, other)), reference, read)


def _shown(shown: "VerdictShown") -> Outcome:
    described = shown.model_dump(mode="json")
    for verdict in shown.verdicts.both:
        described["verdicts"][verdict.table]["open"] = list(verdict.open_questions)
    is_open = any(verdict.missing for verdict in shown.verdicts.both)
    return Outcome(
        described,
        [Line(f"{label:<9} {text}", 10) for label, text in shown.lines()],
        f"registry decide {shown.version} --form gaps.yml" if is_open else f"registry report {shown.version}",
    )


def _replayed(replayed: "Replay") -> Outcome:
    next_step = f"registry record verdict {replayed.changes[0].version}" if replayed.changes else None
    return Outcome(replayed.model_dump(mode="json"), _lines(replayed), next_step)


def _lines(replayed: "Replay") -> Iterator[Part]:
    if replayed.changes:
        rows = [(change.version, change.table, change.now, change.under) for change in replayed.changes]
        yield Table([("version", "verdict", "now", f"under {replayed.rules}"), *rows])
    without = f", {replayed.without_record} of them without a record" if replayed.without_record else ""
    yield f"changed  {len(replayed.changes)} verdicts of {replayed.versions} versions{without}"
    yield f"notice   {replayed.notice}"
