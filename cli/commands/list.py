"""list: the registered versions."""

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    CheckpointOption,
    HomeOption,
    Output,
    OutputOption,
)

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
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
    signed_by: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Every version of which this key signed anything (id, or its beginning), as the log says.",
        ),
    ] = None,
    checkpoint: CheckpointOption = None,
) -> None:
    """List the registered versions, by name and number."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.records.checkpoints import covered_size
    from peft_registry.registry.verification.signed_versions import signed_page

    key = None if after is None else _page_key(after)
    with opened(home, checkpoint=checkpoint) as registry:
        if signed_by is not None:
            _list_signed_by(registry, signed_by, output, name=name, kind=kind, after=key)
            return
        page = signed_page(registry, name_prefix=name, kind=kind and kind.value, after=key, limit=limit)
        versions = page.versions
        covered = covered_size(registry)
    if output is Output.json:
        console.out_json([version.model_dump(mode="json") | _if_pending(version, covered) for version in versions])
        return
    if not versions and (name or kind or after):
        console.note("no registered version matches")
        console.next_step("registry list")
        return
    if not versions:
        console.note("nothing is registered yet")
        console.next_step("registry base add embedded --name tiny")
        return
    console.table([HEADINGS, *(_row(version, covered) for version in versions)])
    if page.next is not None:
        console.note(f"more than {limit}: continue with --after {page.next[0]}:{page.next[1]}")
    console.next_step(f"registry show {versions[0].label}")


def _page_key(after: str) -> tuple[str, int]:
    from peft_registry.schemas.identity import MalformedReference, Reference

    start = Reference.parse(after)
    if start.name is None or start.number is None:
        raise MalformedReference(after, "--after needs a name with its number")
    return start.name, start.number


def _list_signed_by(
    registry: "Registry",
    key: str,
    output: Output,
    *,
    name: str | None,
    kind: Kind | None,
    after: tuple[str, int] | None,
) -> None:
    """All of them: whoever asks after a key wants no page of the answer."""
    from peft_registry.registry.records.checkpoints import covered_size
    from peft_registry.registry.records.signed_by import versions_signed_by
    from peft_registry.registry.verification.signed_versions import signed_versions

    covered = covered_size(registry)
    of_key = versions_signed_by(registry, key)
    # before any is left out: an edited row would hide its version from a list of its kind
    as_signed = signed_versions(registry, (entry.version for entry in of_key))
    touched = [
        entry
        for entry in (replace(entry, version=version) for entry, version in zip(of_key, as_signed, strict=True))
        if entry.version.name.startswith(name or "")
        and (kind is None or entry.version.kind == kind.value)
        and (after is None or (entry.version.name, entry.version.number) > after)
    ]
    if output is Output.json:
        console.out_json(
            [
                entry.version.model_dump(mode="json")
                | {"signed": entry.kinds, "pending": entry.version.log_index >= covered}
                for entry in touched
            ]
        )
        return
    if not touched:
        console.note("no registered version matches")
        console.next_step("registry list")
        return
    console.table(
        [(*HEADINGS, "signed"), *([*_row(entry.version, covered), ", ".join(entry.kinds)] for entry in touched)]
    )
    console.next_step(f"registry verify {touched[0].version.label}")


def _if_pending(version: "Version", covered: int) -> dict[str, Any]:
    """What JSON says more of a version that no checkpoint covers; of others, what it always said."""
    return {"pending": True} if version.log_index >= covered else {}


def _row(version: "Version", covered: int) -> list[Any]:
    return [
        version.label,
        version.kind if version.origin is None else f"{version.kind}, {version.origin}",
        version.method or "",
        str(version.manifest_digest),
        version.registered_at if version.log_index < covered else f"{version.registered_at} pending",
        ", ".join(version.aliases),
    ]
