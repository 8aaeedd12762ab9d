"""list: the registered versions."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    HomeOption,
    Output,
    OutputOption,
)

if TYPE_CHECKING:
    from peft_registry.schemas.version import Version

PAGE = 50
HEADINGS = ("version", "kind", "method", "manifest", "registered", "aliases")


class Kind(StrEnum):
    """What a version can be."""

    base = "base"
    adapter = "adapter"
    model = "model"
    bundle = "bundle"


def add_to(app: typer.Typer) -> None:
    app.command("list")(list_command)


def list_command(
    home: HomeOption = None,
    output: OutputOption = Output.text,
    name: Annotated[str | None, typer.Option(help="Only names with this prefix.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10000, help="Maximum number of versions.")] = PAGE,
    after: Annotated[str | None, typer.Option(help="Continue after this version (name:3).")] = None,
) -> None:
    """List the registered versions, by name and number."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.database.catalog import VersionFilter, list_versions
    from peft_registry.schemas.identity import MalformedReference, Reference

    key = None
    if after is not None:
        start = Reference.parse(after)
        if start.name is None or start.number is None:
            raise MalformedReference(after, "--after needs a name with its number")
        key = (start.name, start.number)
    with opened(home) as registry, registry.database.read() as tx:
        page = list_versions(
            tx, where=VersionFilter(name_prefix=name, kind=kind and kind.value), after=key, limit=limit
        )
    if output is Output.json:
        console.out_json([version.model_dump(mode="json") for version in page.versions])
        return
    if not page.versions and (name or kind or after):
        console.note("no registered version matches")
        console.next_step("registry list")
        return
    if not page.versions:
        console.note("nothing is registered yet")
        console.next_step("registry base add embedded --name tiny")
        return
    console.table([HEADINGS, *(_row(version) for version in page.versions)])
    if page.next is not None:
        console.note(f"more than {limit}: continue with --after {page.next[0]}:{page.next[1]}")
    console.next_step(f"registry show {page.versions[0].label}")


def _row(version: "Version") -> list[Any]:
    return [
        version.label,
        version.kind,
        version.method or "",
        str(version.manifest_digest),
        version.registered_at,
        ", ".join(version.aliases),
    ]
