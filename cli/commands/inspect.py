"""list, show, lineage, report, promote: looking at what is registered."""

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
)

if TYPE_CHECKING:
    from peft_registry.schemas.version import Version

PAGE = 50


class Kind(StrEnum):
    """What a version can be."""

    base = "base"
    adapter = "adapter"
    model = "model"
    bundle = "bundle"


def add_to(app: typer.Typer) -> None:
    app.command("list")(list_command)
    for command in (show, lineage, report, promote):
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
    from peft_registry.registry.records.references import version_named
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
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.promote import set_alias

    with opened(home, passphrase_file) as registry:
        version = version_named(registry, reference)
        set_alias(registry, version, alias, reason=reason)
    console.out(f"alias    {version.name}@{alias} → {version.label}")
    console.next_step(f"registry pull {version.name}@{alias} FOLDER")


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
