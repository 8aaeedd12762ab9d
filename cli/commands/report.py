"""report: an HTML page about a version."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.completion import offer_versions
from peft_registry.cli.dossier import (
    DossierRequest,
    FolderArgument,
    RecipientOption,
    SignedByOption,
    WithBaseOption,
    write_dossier,
)
from peft_registry.cli.options import (
    HomeOption,
    KeyPassphraseOption,
    Output,
    OutputOption,
    RootOption,
    TrustOption,
)

if TYPE_CHECKING:
    from peft_registry.cli.verifying import VerifyRequest


def add_to(app: typer.Typer) -> None:
    """Enter `registry report`."""
    app.command()(report)


def report(
    reference: Annotated[
        str | None,
        typer.Argument(
            help="Version: name, name:3, name@alias or sha256:…; or a pulled folder",
            show_default=False,
            autocompletion=offer_versions,
        ),
    ] = None,
    folder: FolderArgument = None,
    everything: Annotated[
        bool, typer.Option("--all", help="The whole registry: what is in use, undecided, open, and falls due.")
    ] = False,
    within: Annotated[
        int | None,
        typer.Option(metavar="DAYS", help="With --all: how far ahead what falls due is listed. Default: 90."),
    ] = None,
    home: HomeOption = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="File to write; - for stdout. Default: NAME-NUMBER-report.html; with --all no page is written."
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Report the state at this time (UTC); default: that of the newest record."),
    ] = None,
    to: RecipientOption = None,
    with_base: WithBaseOption = False,
    key: SignedByOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
    trust: TrustOption = None,
    root: RootOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Write an HTML page about a version. What changed, how it was measured, what is open; self-contained."""
    if everything:
        if reference is not None or as_of is not None:
            raise typer.BadParameter(
                "--all is about every version, as of now: name none, and no time", param_hint="--all"
            )
        _report_all(home, out, 90 if within is None else within, output)
        return
    if reference is None:
        raise typer.BadParameter("name a version, or write --all", param_hint="REFERENCE")
    if within is not None:
        raise typer.BadParameter("what falls due is listed with --all", param_hint="--within")
    if out == "-" and output is Output.json:
        raise typer.BadParameter("stdout is taken by the JSON: name a file", param_hint="--out")
    from peft_registry.cli.pages import write_page
    from peft_registry.cli.verifying import VerifyRequest, is_artifact_folder, require_absent
    from peft_registry.cli.wiring import chosen_trust, opened
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.decide import count_questions
    from peft_registry.registry.use_cases.report import make_report
    from peft_registry.schemas.identity import Digest

    dossier_only = {"FOLDER": folder, "--with-base": with_base, "--key": key}
    if to is not None:
        require_absent(
            {"--out": out, "--as-of": as_of, "--trust": trust, "--root": root}, beside="--to, which writes a folder"
        )
        if folder is None:
            raise typer.BadParameter("--to writes a dossier: name a new folder behind the version", param_hint="FOLDER")
        if is_artifact_folder(reference):
            raise typer.BadParameter("a dossier is written where the version is registered", param_hint="REFERENCE")
        write_dossier(DossierRequest(reference, folder, to, key, key_passphrase_file, with_base, home), output)
        return
    require_absent(dossier_only, beside="a single page: name a recipient with --to")
    request = VerifyRequest(target=reference, home=home, trust=trust, root=root)
    if is_artifact_folder(reference):
        _report_folder(request, out, as_of, output)
        return
    require_absent({"--trust": trust, "--root": root}, beside="a version of the registry")
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


def _report_folder(request: "VerifyRequest", out: str | None, as_of: str | None, output: Output) -> None:
    """The page of a version that a folder shows; ends with 5 where the folder could not be verified."""
    from peft_registry.cli.pages import write_page
    from peft_registry.cli.verifying import read_presented
    from peft_registry.registry.use_cases.report import make_report_in
    from peft_registry.schemas.identity import Digest

    read = read_presented(request)
    version = read.shown.version
    page = make_report_in(read.shown, read.outcome, as_of=as_of)
    if out == "-":
        sys.stdout.buffer.write(page)
    else:
        path = Path(out or f"{version.name}-{version.number}-report.html")
        write_page(path, page)
        if output is Output.json:
            value = {"report": str(path), "sha256": str(Digest.of(page)), "version": version.label}
            value |= {"manifest_digest": str(version.manifest_digest)}
            console.out_json(value | {"folder": {"path": request.target, "verdict": read.outcome.verdict}})
        else:
            console.line(f"report   {path}")
            console.next_step(f"registry verify {request.target}")
    if read.outcome.exit_code:
        raise typer.Exit(read.outcome.exit_code)


def _report_all(home: Path | None, out: str | None, within: int, output: Output) -> None:
    if out == "-" and output is Output.json:
        raise typer.BadParameter("stdout is taken by the JSON: name a file", param_hint="--out")
    from peft_registry.cli.pages import write_page
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.report_all import report_all

    with opened(home) as registry:
        whole = report_all(registry, within_days=within)
    if out == "-":
        sys.stdout.buffer.write(whole.html().encode())
        return
    if out is not None:
        write_page(Path(out), whole.html().encode())
    if output is Output.json:
        console.out_json(whole.model_dump(mode="json") | {"report": out})
        return
    for label, text in whole.lines():
        console.line(f"{label:<10} {console.printable(text)}", indent=11)
    if out is not None:
        console.line(f"{'report':<10} {out}")
        console.next_step("registry gate status NAME@ALIAS")
        return
    console.next_step("registry report --all --out registry.html")
