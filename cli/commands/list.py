"""list: the registered versions."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli import console
from peft_registry.cli.options import CheckpointOption, HomeOption, OptionNeeded, OptionsExclusive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.use_cases.summaries import VersionSummary
    from peft_registry.schemas.facets import VersionQuery
    from peft_registry.schemas.version import Version

PAGE = 50
_EVERY_VERSION_HAS = ("name", "registered", "size")  # of what a list may be sorted by
_OF_A_KEY = "a list of what a key signed is read from the whole log, in one order"
HEADINGS = ("version", "kind", "method", "aliases", "registered")
FIGURES = ("base", "rank", "loss", "metric", "gate")


class ListOutput(StrEnum):
    """Text for people, JSON for programs, CSV for tables."""

    text = "text"
    json = "json"
    csv = "csv"


class Kind(StrEnum):
    """What a version can be."""

    base = "base"
    adapter = "adapter"
    model = "model"
    bundle = "bundle"


def add_to(app: typer.Typer) -> None:
    """Enter `registry list`."""
    app.command("list")(list_command)


def list_command(
    home: HomeOption = None,
    output: Annotated[
        ListOutput, typer.Option("--output", "-o", help="Text for people, JSON or CSV on stdout for programs.")
    ] = ListOutput.text,
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
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITIONS", help="Only versions that meet all of them, such as: method=ia3 rank<=8 base=smollm2."
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(metavar="FACET", help="By name, registered or a facet that is a number; -FACET the other way."),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Columns with commas between them: facets, version, manifest …")
    ] = None,
    cursor: Annotated[str | None, typer.Option(help="Continue where the page ended that named this cursor.")] = None,
    figures: Annotated[
        bool,
        typer.Option(
            "--figures",
            help="Also show base, rank, held-out loss, the task's metric and gate, checked against what was signed.",
        ),
    ] = False,
    facets: Annotated[bool, typer.Option("--facets", help="Show what can be asked for, with operators.")] = False,
    checkpoint: CheckpointOption = None,
) -> None:
    """List the registered versions, or those that meet conditions.

    Facets: name, kind, project, method, origin, base, data, rank, parameters, size, metric[…], licence, verdict, limits, quality,
    signer, alias, gate, recalled, registered. `--facets` shows their types, operators and examples.
    """
    from peft_registry.cli.wiring import opened

    key = None if after is None else _page_key(after)
    is_question = any(option is not None for option in (where, sort, columns, cursor)) or output is ListOutput.csv
    asked = _Question(where or "", sort, columns, cursor, name, kind, key, limit)
    with opened(home, checkpoint=checkpoint) as registry:
        if facets:
            _show_facets(registry, output)
        elif signed_by is not None and is_question:
            raise OptionsExclusive("--signed-by", "--where, --sort, --columns, --cursor or CSV", _OF_A_KEY)
        elif is_question:
            _list_found(registry, asked, output)
        elif signed_by is not None:
            _list_signed_by(registry, signed_by, asked, output)
        else:
            _list_page(registry, asked, output, figures=figures)


def _list_page(registry: "Registry", asked: "_Question", output: ListOutput, *, figures: bool) -> None:
    """A page of the versions, by name and number."""
    from peft_registry.registry.records.checkpoints import covered_size
    from peft_registry.registry.verification.signed_versions import require_found_as_signed, signed_page

    kind = None if asked.kind is None else asked.kind.value
    page = signed_page(registry, name_prefix=asked.name, kind=kind, after=asked.after, limit=asked.limit)
    versions = page.versions
    require_found_as_signed(registry, versions)
    covered = covered_size(registry)
    lost = _with_lost_quality(registry, versions)
    if output is ListOutput.json:
        console.out_json(
            [
                version.model_dump(mode="json")
                | _if_pending(version, covered)
                | ({"quality": "lost"} if version in lost else {})
                for version in versions
            ]
        )
        return
    if not versions and (asked.name or kind or asked.after):
        console.note("no registered version matches")
        console.next_step("registry list")
        return
    if not versions:
        console.note("nothing is registered yet")
        console.next_step("registry base add embedded --name tiny")
        return
    rows = _rows(versions, covered)
    if figures:
        _table_with_figures(registry, versions, rows)
    else:
        console.table([HEADINGS, *rows])
    if lost:
        labels = ", ".join(version.label for version in lost)
        console.line(f"quality lost: {labels} (`registry list --where quality=lost` holds that against what is signed)")
    if page.next is not None:
        console.note(f"more than {asked.limit}: continue with --after {page.next[0]}:{page.next[1]}")
    console.next_step(f"registry show {versions[0].label}")


def _with_lost_quality(registry: "Registry", versions: "Sequence[Version]") -> "list[Version]":
    """Those of a page whose rows say so: one look into the catalogue, which a list can afford."""
    from peft_registry.registry.database.catalog.facet_rows import facets_of_versions

    if not registry.database.is_current:  # an earlier release kept no such rows
        return []
    with registry.database.read() as tx:
        rows = facets_of_versions(tx, [(version.name, version.number) for version in versions], ["quality"])
    return [
        version for version in versions if "lost" in rows.get((version.name, version.number), {}).get("quality", ())
    ]


@dataclass(frozen=True, slots=True)
class _Question:
    """What was asked for by options."""

    where: str
    sort: str | None
    columns: str | None
    cursor: str | None
    name: str | None
    kind: Kind | None
    after: tuple[str, int] | None
    limit: int

    def query(self) -> "VersionQuery":
        """The conditions, with the prefix and the kind that have options of their own."""
        from peft_registry.registry.intake.where import read_query, with_prefix
        from peft_registry.schemas.facets import Words

        query = with_prefix(read_query(self.where, self.sort), self.name)
        kind = () if self.kind is None else (Words("kind", (self.kind.value,)),)
        return replace(query, conditions=(*query.conditions, *kind))


def _list_found(registry: "Registry", question: _Question, output: ListOutput) -> None:
    """A page of the versions that meet the conditions."""
    from peft_registry.cli.version_columns import csv_text, facet_columns, read_columns, text_of, values_of
    from peft_registry.registry.records.checkpoints import covered_size
    from peft_registry.registry.use_cases.find import cursor_after, find_versions

    query = question.query()
    names = read_columns(question.columns)
    if question.columns is None and query.order.facet not in (*names, "name"):
        names = (*names, query.order.facet)
    if question.after is not None and question.cursor is not None:
        raise OptionsExclusive("--after", "--cursor", "both say where the page begins")
    cursor = question.cursor if question.after is None else cursor_after(query, *question.after)
    page = find_versions(registry, query, columns=facet_columns(names), cursor=cursor, limit=question.limit)
    for slip in page.slips:
        console.note(slip.text)
    covered = covered_size(registry)
    found = list(zip(page.versions, page.facets, strict=True))
    if output is ListOutput.json:
        versions = [
            version.model_dump(mode="json")
            | _if_pending(version, covered)
            | {"facets": {name: list(values) for name, values in sorted(facets.items())}}
            for version, facets in found
        ]
        console.out_json({"versions": versions, "next": page.next})
        return
    rows = [values_of(version, facets, names) for version, facets in found]
    if output is ListOutput.csv:
        console.out(csv_text(names, rows).removesuffix("\r\n"))
    elif rows:
        console.table([names, *([text_of(value) for value in row] for row in rows)])
    else:
        console.note("no registered version matches")
    if query.order.facet not in _EVERY_VERSION_HAS:
        # who sorts asks for an order, and not for fewer versions
        console.note(f"versions without {query.order.facet} have no place in this order and are left out")
    for sentence in page.seen_before:
        console.note(sentence)
    if page.next is not None:
        console.note(f"more than {question.limit}: continue with --cursor {page.next}")
    if output is ListOutput.text:
        console.next_step(f"registry show {page.versions[0].label}" if page.versions else "registry list --facets")


def _show_facets(registry: "Registry", output: ListOutput) -> None:
    from peft_registry.cli.version_columns import csv_text, facet_rows
    from peft_registry.registry.use_cases.find import known_figures

    headings, *rows = facet_rows(known_figures(registry))
    if output is ListOutput.json:
        console.out_json([dict(zip(headings, row, strict=True)) for row in rows])
    elif output is ListOutput.csv:
        console.out(csv_text(headings, rows).removesuffix("\r\n"))
    else:
        console.table([headings, *rows], prose=4)
        console.next_step("registry list --where kind=adapter")


def _page_key(after: str) -> tuple[str, int]:
    from peft_registry.schemas.identity import Reference

    start = Reference.parse(after)
    if start.name is None or start.number is None:
        raise OptionNeeded("--after NAME:NUMBER", f"a page begins after one version, and {after} has no number")
    return start.name, start.number


def _list_signed_by(registry: "Registry", key: str, asked: _Question, output: ListOutput) -> None:
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
        if entry.version.name.startswith(asked.name or "")
        and (asked.kind is None or entry.version.kind == asked.kind.value)
        and (asked.after is None or (entry.version.name, entry.version.number) > asked.after)
    ]
    if output is ListOutput.json:
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
    listed = _rows([entry.version for entry in touched], covered)
    rows = [[*row, ", ".join(entry.kinds)] for entry, row in zip(touched, listed, strict=True)]
    console.table([(*HEADINGS, "signed"), *rows])
    console.next_step(f"registry verify {touched[0].version.label}")


def _if_pending(version: "Version", covered: int) -> dict[str, Any]:
    """What JSON says more of a version that no checkpoint covers; of others, what it always said."""
    return {"pending": True} if version.log_index >= covered else {}


def _rows(versions: "Sequence[Version]", covered: int) -> list[list[str]]:
    """A row for each version."""
    return [
        [
            version.label,
            version.kind if version.origin is None else f"{version.kind}, {version.origin}",
            version.method or "",
            ", ".join(version.aliases),
            version.registered_at if version.log_index < covered else f"{version.registered_at} pending",
        ]
        for version in versions
    ]


def _table_with_figures(registry: "Registry", versions: "Sequence[Version]", rows: list[list[str]]) -> None:
    """The rows with their figures, which are read only where they are asked for, because they are derived again."""
    from peft_registry.registry.use_cases.find import seen_before_text
    from peft_registry.registry.use_cases.summaries import summaries_of

    summaries = summaries_of(registry, versions)
    with_figures = ([*row, *_figures(summary)] for row, summary in zip(rows, summaries, strict=True))
    console.table([(*HEADINGS, *FIGURES), *with_figures])
    for version, summary in zip(versions, summaries, strict=True):
        for dataset in summary.seen_before:
            console.note(seen_before_text(version, dataset))


def _figures(summary: "VersionSummary") -> list[str]:
    return [
        summary.base or "",
        "" if summary.rank is None else str(summary.rank),
        "" if summary.loss is None else f"{summary.loss:.3f}",
        summary.metric_text,
        summary.gate_text,
    ]
