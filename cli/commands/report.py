"""report: an HTML page about a version."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli.completion import offer_versions
from peft_registry.cli.dossier import (
    DossierRecipient,
    DossierRequest,
    FolderArgument,
    RecipientOption,
    SignedByOption,
    WithBaseOption,
    signer_of_dossier,
    write_dossier,
)
from peft_registry.cli.many import BegunWork, Work, over_many
from peft_registry.cli.options import KeyPassphraseOption, RootOption, TrustOption
from peft_registry.cli.outcome import OVER_MANY, READS, FileOnStdout, Home, Line, Outcome, Part, command, of_folder

if TYPE_CHECKING:
    from peft_registry.cli.verifying import VerifyRequest
    from peft_registry.registry.bulk.lists import ListItem
    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.reports.whole_registry import WholeRegistry
    from peft_registry.schemas.version import Version


def add_to(app: typer.Typer) -> None:
    """Enter `registry report`."""
    app.command()(report)


@command((*READS, *OVER_MANY))
def report(
    home: Home,
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
    out: Annotated[
        str | None,
        typer.Option(
            help="File to write (of a list the folder); - for stdout. Default: NAME-NUMBER-report.html, with --all none."
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
) -> Outcome:
    """Write an HTML page about a version. What changed, how it was measured, what is open; self-contained."""
    if everything:
        if reference is not None or as_of is not None:
            raise typer.BadParameter(
                "--all is about every version, as of now: name none, and no time", param_hint="--all"
            )
        _require_one_thing_on_stdout(home, out)
        return _report_all(home, out, 90 if within is None else within)
    if home.is_for_many:
        of_one = {"REFERENCE": reference, "FOLDER": folder, "--within": within, "--trust": trust, "--root": root}
        of_one["--out -"] = out == "-"
        if to is not None:
            passphrase_file = None if key_passphrase_file is None else str(key_passphrase_file.absolute())
            dossiers = DossierWork(Path(out or "."), to, key, passphrase_file, with_base)
            return over_many(home, dossiers, of_one | {"--as-of": as_of})
        of_one |= {"--key without --to": key, "--with-base without --to": with_base}
        return over_many(home, ReportWork(Path(out or "."), as_of), of_one)
    if reference is None:
        raise typer.BadParameter(
            "name a version, or a list with --where or --list, or write --all", param_hint="REFERENCE"
        )
    if within is not None:
        raise typer.BadParameter("what falls due is listed with --all", param_hint="--within")
    _require_one_thing_on_stdout(home, out)
    from peft_registry.cli.verifying import VerifyRequest, is_artifact_folder, require_absent
    from peft_registry.registry.records.references import version_named

    if to is not None:
        require_absent(
            {"--out": out, "--as-of": as_of, "--trust": trust, "--root": root}, beside="--to, which writes a folder"
        )
        if folder is None:
            raise typer.BadParameter("--to writes a dossier: name a new folder behind the version", param_hint="FOLDER")
        if is_artifact_folder(reference):
            raise typer.BadParameter("a dossier is written where the version is registered", param_hint="REFERENCE")
        signer = signer_of_dossier(key, key_passphrase_file)
        request = DossierRequest(folder, to, with_base)
        return write_dossier(home.registry, version_named(home.registry, reference), request, signer)
    if folder is not None:
        raise typer.BadParameter(
            f"a page is written to a file: --out {folder}; a folder is for a dossier, with --to", param_hint="FOLDER"
        )
    dossier_only = {"--with-base": with_base, "--key": key}
    require_absent(dossier_only, beside="a single page: name a recipient with --to")
    if is_artifact_folder(reference):
        return _report_folder(VerifyRequest(target=reference, home=home.folder, trust=trust, root=root), out, as_of)
    require_absent({"--trust": trust, "--root": root}, beside="a version of the registry")
    return _report_version(home.registry, version_named(home.registry, reference), out, as_of)


@dataclass(frozen=True)
class ReportWork(Work):
    """`registry report` of registered versions, a page each in one folder."""

    verb = "report"

    out: Path
    as_of: str | None

    def begin(self, registry: "Registry", closing: ExitStack) -> BegunWork:  # noqa: ARG002  nothing is kept open
        """Write the page of each item into a folder, which is made where it is missing."""
        from peft_registry.registry.disk.files import unwritable
        from peft_registry.registry.records.references import version_named
        from peft_registry.registry.use_cases.report import require_time

        require_time(self.as_of)

        def run_item(item: "ListItem") -> Outcome:
            version = version_named(registry, item.parts[0])
            try:
                self.out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(self.out, error) from error
            return _report_version(registry, version, str(self.out / _file_of(version)), self.as_of)

        return BegunWork(run_item)

    def summary(self, values: Sequence[Any]) -> str:  # noqa: ARG002  all lie in one folder
        """Where the pages lie."""
        return f"pages    written into {self.out}"


@dataclass(frozen=True)
class DossierWork(Work):
    """`registry report --to` of registered versions, a folder each in one folder."""

    verb = "report"

    out: Path
    recipient: DossierRecipient
    key: Path | None
    # text and not a Path: the plan holds the digest of a named file, by which a passphrase could be guessed
    key_passphrase_file: str | None
    with_base: bool

    def begin(self, registry: "Registry", closing: ExitStack) -> BegunWork:  # noqa: ARG002  nothing is kept open
        """Write the dossier of each item, with a key that is unlocked once."""
        from peft_registry.registry.records.references import version_named

        passphrase_file = None if self.key_passphrase_file is None else Path(self.key_passphrase_file)
        signer = signer_of_dossier(self.key, passphrase_file)

        def run_item(item: "ListItem") -> Outcome:
            version = version_named(registry, item.parts[0])
            folder = self.out / f"{version.name}-{version.number}"
            return write_dossier(registry, version, DossierRequest(folder, self.recipient, self.with_base), signer)

        return BegunWork(run_item)

    def summary(self, values: Sequence[Any]) -> str:  # noqa: ARG002  all lie in one folder
        """Where the dossiers lie."""
        return f"dossiers written into {self.out}"


def _file_of(version: "Version") -> str:
    return f"{version.name}-{version.number}-report.html"


def _require_one_thing_on_stdout(home: Home, out: str | None) -> None:
    if out == "-" and home.prints_json:
        raise typer.BadParameter("stdout is taken by the JSON: name a file", param_hint="--out")


def _report_version(registry: "Registry", version: "Version", out: str | None, as_of: str | None) -> Outcome:
    from peft_registry.cli.wiring import chosen_trust
    from peft_registry.registry.use_cases.decide import count_deciding
    from peft_registry.registry.use_cases.gate import read_gate_policy
    from peft_registry.registry.use_cases.report import make_report

    _, problem = chosen_trust(registry, None, None)
    page = make_report(registry, version, as_of=as_of, trust_problem=problem)
    if out == "-":
        return Outcome(None, [FileOnStdout(page)])
    next_step = f"registry promote {version.label} champion"
    if count_deciding(registry, version, read_gate_policy("regulated")):
        next_step = f"registry decide {version.label} --form gaps.yml"
    return _written(version, page, out, next_step)


def _written(version: "Version", page: bytes, out: str | None, next_step: str) -> Outcome:
    """What came of a page that is written to a file."""
    from peft_registry.cli.pages import write_page
    from peft_registry.schemas.identity import Digest

    path = Path(out or _file_of(version))
    write_page(path, page)
    value = {"report": str(path), "sha256": str(Digest.of(page)), "version": version.label}
    return Outcome(value | {"manifest_digest": str(version.manifest_digest)}, [f"report   {path}"], next_step)


def _report_folder(request: "VerifyRequest", out: str | None, as_of: str | None) -> Outcome:
    """The page of a version that a folder shows; ends with 5 where the folder could not be verified."""
    from peft_registry.cli.verifying import read_presented
    from peft_registry.registry.use_cases.report import make_report_in

    read = read_presented(request)
    page = make_report_in(read, as_of=as_of)
    if out == "-":
        return Outcome(None, [FileOnStdout(page)], exit_code=read.outcome.exit_code)
    written = _written(read.shown.version, page, out, f"registry report {request.target}")
    return of_folder(written, request.target, read, follow="verify")


def _report_all(home: Home, out: str | None, within: int) -> Outcome:
    from peft_registry.cli.pages import write_page
    from peft_registry.registry.use_cases.report_all import report_all

    whole = report_all(home.registry, within_days=within)
    if out == "-":
        return Outcome(None, [FileOnStdout(whole.html().encode())])
    next_step = "registry report --all --out registry.html"
    if out is not None:
        write_page(Path(out), whole.html().encode())
        next_step = "registry gate status NAME@ALIAS"
    return Outcome(whole.model_dump(mode="json") | {"report": out}, _lines_of_all(whole, out), next_step)


def _lines_of_all(whole: "WholeRegistry", out: str | None) -> Iterator[Part]:
    for label, text in whole.lines():
        yield Line(f"{label:<10} {text}", indent=11)
    if out is not None:
        yield f"{'report':<10} {out}"
