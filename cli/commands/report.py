"""report: an HTML page about a version."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption, ReferenceArgument


def add_to(app: typer.Typer) -> None:
    app.command()(report)


def report(
    reference: ReferenceArgument,
    home: HomeOption = None,
    out: Annotated[
        str | None, typer.Option(help="File to write; - for stdout. Default: NAME-NUMBER-report.html.")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Report the state at this time (UTC); default: that of the newest record."),
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Write an HTML page about a version. What changed, how it was measured, what is open; self-contained."""
    if out == "-" and output is Output.json:
        raise typer.BadParameter("stdout is taken by the JSON: name a file", param_hint="--out")
    from peft_registry.cli.pages import write_page
    from peft_registry.cli.wiring import chosen_trust, opened
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.decide import count_questions
    from peft_registry.registry.use_cases.report import make_report
    from peft_registry.schemas.identity import Digest

    with opened(home) as registry:
        version = version_named(registry, reference)
        _, problem = chosen_trust(registry, None, None)
        page = make_report(registry, version, as_of=as_of, trust_problem=problem)
        questions = 0 if out == "-" else count_questions(registry, version)
    if out == "-":
        sys.stdout.buffer.write(page)
        return
    path = Path(out or f"{version.name}-{version.number}-report.html")
    write_page(path, page)
    if output is Output.json:
        value = {"report": str(path), "sha256": str(Digest.of(page)), "version": version.label}
        console.out_json(value | {"manifest_digest": str(version.manifest_digest)})
        return
    console.line(f"report   {path}")
    if questions:
        console.next_step(f"registry decide {version.label} --form gaps.yml")
        return
    console.next_step(f"registry promote {version.label} champion")
