"""list, show, lineage, verify, pull, report, promote: looking at what is registered."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    HomeOption,
    Output,
    OutputOption,
    PassphraseFileOption,
    ReferenceArgument,
    RootOption,
    TrustOption,
)

if TYPE_CHECKING:
    from peft_registry.schemas.version import VerifyOutcome, Version

PAGE = 50


class Kind(StrEnum):
    """What a version can be."""

    base = "base"
    adapter = "adapter"
    model = "model"
    bundle = "bundle"


def add_to(app: typer.Typer) -> None:
    app.command("list")(list_command)
    for command in (show, lineage, verify, pull, report, promote):
        app.command()(command)


def list_command(
    home: HomeOption = None,
    output: OutputOption = Output.text,
    name: Annotated[str | None, typer.Option(help="Only names that start so.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10000, help="At most so many.")] = PAGE,
    after: Annotated[str | None, typer.Option(help="Continue behind this version (name:3).")] = None,
) -> None:
    """List the registered versions, by name and number."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.database.catalog import VersionFilter, list_versions
    from peft_registry.schemas.identity import MalformedReference, Reference

    key = None
    if after is not None:
        start = Reference.parse(after)
        if start.name is None or start.number is None:
            raise MalformedReference(after, "--after continues behind a name with its number")
        key = (start.name, start.number)
    with opened(home) as registry, registry.database.read() as tx:
        page = list_versions(
            tx, where=VersionFilter(name_prefix=name, kind=kind and kind.value), after=key, limit=limit
        )
    if output is Output.json:
        console.out_json([version.model_dump(mode="json") for version in page.versions])
        return
    if not page.versions and (name or kind or after):
        console.note("nothing that is registered matches")
        console.next_step("registry list")
        return
    if not page.versions:
        console.note("nothing is registered yet")
        console.next_step("registry base add embedded --name tiny")
        return
    console.table(
        ["version", "kind", "method", "manifest", "registered", "aliases"], [_row(one) for one in page.versions]
    )
    if page.next is not None:
        console.note(f"more than {limit}: continue with --after {page.next[0]}:{page.next[1]}")
    console.next_step(f"registry show {page.versions[0].label}")


def show(reference: ReferenceArgument, home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Show one version. What it is, what it was made from, and everything said about it."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.show import describe_version

    with opened(home) as registry:
        described = describe_version(registry, reference)
    if output is Output.json:
        console.out_json(described.to_json())
        return
    for label, text in described.lines():
        console.out(f"{label:<12} {console.printable(text)}")
    console.next_step(f"registry verify {described.version.label}")


def lineage(reference: ReferenceArgument, home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Draw what a version came from and what came from it."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.database import catalog
    from peft_registry.registry.records.lineage import lineage_of, tree_lines
    from peft_registry.schemas.identity import Reference

    with opened(home) as registry, registry.database.read() as tx:
        version = catalog.resolve(tx, Reference.parse(reference))
        graph = lineage_of(tx, focus=version.manifest_digest)
    if output is Output.json:
        console.out_json(graph.model_dump(mode="json"))
        return
    for line in tree_lines(graph):
        console.out(line)
    console.next_step(f"registry show {version.label}")


def verify(
    target: Annotated[str, typer.Argument(help="A version (name:3, name@alias, sha256:…) or a pulled folder.")],
    home: HomeOption = None,
    trust: TrustOption = None,
    root: RootOption = None,
    base: Annotated[Path | None, typer.Option(help="Where the base lies, to check its bytes too.")] = None,
    require: Annotated[
        list[str] | None, typer.Option(metavar="WHAT", help="Also demand: base-bytes, log-proof.")
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Check that an artifact is what was registered and signed. Ten numbered checks."""
    outcome = _verified(target, home, trust, root, base, require or [])
    if output is Output.json:
        console.out_json(outcome.model_dump(mode="json"))
    else:
        _print_checks(outcome)
        _say_how_to_go_on(outcome, target, trusted=trust is not None)
    raise typer.Exit(outcome.exit_code)


def pull(
    reference: ReferenceArgument,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    home: HomeOption = None,
    trust: TrustOption = None,
    root: RootOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Write a verified copy of a version to a new folder. Plain layout: other tools load it as it is."""
    from peft_registry.cli.wiring import chosen_trust, opened
    from peft_registry.registry.use_cases.pull import pull_version, version_named

    with opened(home) as registry:
        policy, problem = chosen_trust(registry, trust, root, home=home)
        if problem is not None:
            raise problem
        version = version_named(registry, reference, trust=policy)
        outcome = pull_version(registry, version, folder, trust=policy)
    if output is Output.json:
        console.out_json({"folder": str(folder), "version": version.label, **outcome.model_dump(mode="json")})
        return
    console.out(f"pulled   {version.label} → {folder}  {outcome.verdict}")
    console.next_step(f"registry verify {folder}")


def report(
    reference: ReferenceArgument,
    home: HomeOption = None,
    out: Annotated[str | None, typer.Option(help="Where to write it; - for stdout.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The time the report speaks of (UTC); default: the newest record."),
    ] = None,
) -> None:
    """Write an HTML page about a version. What changed, how it was measured, what is open; self-contained."""
    from peft_registry.cli.wiring import chosen_trust, opened
    from peft_registry.registry.use_cases.pull import version_named
    from peft_registry.registry.use_cases.report import make_report

    with opened(home) as registry:
        version = version_named(registry, reference)
        _, problem = chosen_trust(registry, None, None, home=home)
        page = make_report(registry, version, as_of=as_of, trust_problem=problem)
    if out == "-":
        sys.stdout.buffer.write(page)
        return
    path = Path(out or f"{version.name}-{version.number}-report.html")
    _write_page(path, page)
    console.out(f"report   {path}")
    console.next_step(f"registry promote {version.label} champion")


def promote(
    reference: ReferenceArgument,
    alias: Annotated[str, typer.Argument(help="For example champion.")],
    reason: Annotated[str | None, typer.Option(help="Why; enters the signed record.")] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Point an alias at a version. The move is signed and logged."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.promote import set_alias
    from peft_registry.registry.use_cases.pull import version_named

    with opened(home, passphrase_file) as registry:
        version = version_named(registry, reference)
        set_alias(registry, version, alias, reason=reason)
    console.out(f"alias    {version.name}@{alias} → {version.label}")
    console.next_step(f"registry pull {version.name}@{alias} FOLDER")


def _verified(
    target: str, home: Path | None, trust: Path | None, root: list[str] | None, base: Path | None, require: list[str]
) -> "VerifyOutcome":
    from peft_registry.cli.wiring import chosen_trust, home_if_any
    from peft_registry.registry.homes.home import FOLDER_NAME, HomeNotFound
    from peft_registry.registry.use_cases.pull import version_named
    from peft_registry.registry.use_cases.verify import Requirements, verify_folder, verify_version
    from peft_registry.schemas.errors import InputRefused

    unknown = sorted(set(require) - {"base-bytes", "log-proof"})
    if unknown:
        raise InputRefused(
            what=f"--require {unknown[0]} is not known", why="there is base-bytes and log-proof", fix="use one of them"
        )
    wanted = Requirements(log_proof="log-proof" in require, base_bytes="base-bytes" in require)
    registry = home_if_any(home)
    try:
        policy, problem = chosen_trust(registry, trust, root, home=home)
        if registry is None and not _is_folder(target):
            raise HomeNotFound(f"a folder {target}, and for {FOLDER_NAME} in {Path.cwd()} and every folder above")
        if registry is None or _is_folder(target):
            from peft_registry.registry.homes.home import utc_now

            return verify_folder(
                Path(target),
                trust=policy,
                trust_problem=problem,
                now=utc_now(),
                base=base,
                registry=registry,
                require=wanted,
            )
        version = version_named(registry, target, trust=policy)
        return verify_version(registry, version, trust=policy, trust_problem=problem, base=base, require=wanted)
    finally:
        if registry is not None:
            registry.close()


def _is_folder(target: str) -> bool:
    """A folder is written as one: with a separator, or as the name of a folder that is there."""
    return "/" in target or target in (".", "..") or Path(target).is_dir()


def _print_checks(outcome: "VerifyOutcome") -> None:
    texts = [console.printable(check.text) for check in outcome.checks]
    width = max(len(text) for text in texts)
    for number, (check, text) in enumerate(zip(outcome.checks, texts, strict=True), start=1):
        console.out(f"{number:>2} {check.step:<11} {text:<{width}}  {console.painted(check.status, check.status)}")
        for line in check.detail:
            console.out(f"{'':<14} {console.printable(line)}")
    said = {"verified": "ok", "unverified": "unchecked", "broken": "failed"}[outcome.verdict]
    console.out(console.painted(outcome.verdict, said))


def _say_how_to_go_on(outcome: "VerifyOutcome", target: str, *, trusted: bool) -> None:
    if outcome.verdict == "broken":
        console.note(
            "fix: do not load it; take it again from where it was registered: registry pull NAME:NUMBER FOLDER"
        )
    elif outcome.verdict == "verified" and not _is_folder(target):
        console.next_step(f"registry report {target}")
    elif outcome.verdict == "unverified" and not trusted and _step(outcome, "trust") == "unchecked":
        console.note(f"fix: get the trust file from its keeper, then: registry verify {target} --trust FILE")
    elif outcome.verdict == "unverified":
        console.note("fix: bring what the line above could not check (--trust, --base), or ask for less (--require)")


def _step(outcome: "VerifyOutcome", step: str) -> str:
    return next(check.status for check in outcome.checks if check.step == step)


def _row(version: "Version") -> list[Any]:
    return [
        version.label,
        version.kind,
        version.method or "",
        version.manifest_digest.short,
        version.registered_at,
        ", ".join(version.aliases),
    ]


def _write_page(path: Path, page: bytes) -> None:
    from peft_registry.registry.disk.files import unwritable, write_atomically

    if path.is_file() or not path.exists():
        write_atomically(path, page)
        return
    try:
        path.write_bytes(page)  # a pipe or a device, which must not be replaced by a file
    except OSError as error:
        raise unwritable(path, error) from error
