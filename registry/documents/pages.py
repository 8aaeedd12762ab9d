"""The page of a document: one HTML file without script or network, which prints on A4. It shows every row and decides nothing.

That of the bill of materials is one for programs.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import quote

from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.form_cuts import label_of, notes_of
from peft_registry.registry.compliance.form_rows import FormRow, reason_in_words
from peft_registry.registry.compliance.verdicts.words import STATUSES, SYSTEM_STATUSES
from peft_registry.registry.documents.materials import bill_of_materials
from peft_registry.registry.documents.recipients import form_of, recipients
from peft_registry.registry.documents.view import (
    DocumentRow,
    DocumentStatus,
    DocumentValue,
    HandedAttachment,
    RecipientDocument,
)
from peft_registry.registry.reports.html import template
from peft_registry.registry.reports.text import plain
from peft_registry.registry.reports.vouchers import TYPED
from peft_registry.registry.verification.with_base import ARTIFACT_FOLDER
from peft_registry.schemas.codes import Said, code_in
from peft_registry.schemas.sizes import human_bytes
from peft_registry.schemas.values import Timestamp

_TABLES = {"gpai_modifier": ("Model", STATUSES), "high_risk": ("System", SYSTEM_STATUSES)}
_LONG = 3  # lines of a value that is shown once on a page
_TALL = 9  # lines of a row that may go on at the next sheet: one that may not leaves as much of this one empty
# what the cover, which is one sheet, says of each entry; the documents have the rest
_ON_THE_COVER = {"evaluation.bias": ("suite", "slice", "conclusion", "n")}
_NO_FORM = "Our own page. It follows the rows of the form, and is not the official form."


@dataclass(frozen=True, slots=True)
class ShownValue:
    """A value as lines, with where it comes from."""

    label: str
    lines: tuple[str, ...]
    source: str | None
    by: str


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file beside the page: its name, the address that opens it, and what the cover says of it."""

    name: str
    address: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row of the page.

    `is_tall` where it may be parted between two sheets; `state` is empty where it is filled; `note` says where an answer is longer
    or coarser than the form asks for; `files` are attached to what it speaks of.
    """

    row: str
    title: str
    content: str
    state: str
    values: tuple[ShownValue, ...]
    note: str
    files: tuple[AttachedFile, ...]
    is_tall: bool


@dataclass(frozen=True, slots=True)
class PageSection:
    """The rows under one heading, which may be empty."""

    title: str
    rows: tuple[ShownRow, ...]


@dataclass(frozen=True, slots=True)
class OtherPage:
    """Another document of the same recipient, as the cover names it."""

    title: str
    file: str
    counts: str


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """What the page of one document shows, from above to below."""

    is_cover: bool
    title: str
    recipient: str
    version: str
    manifest: str
    record: str
    as_of: Timestamp
    counts: str
    follows: str
    flags: tuple[str, ...]
    statuses: tuple[str, ...]
    others: tuple[OtherPage, ...]
    attached: tuple[AttachedFile, ...]
    sections: tuple[PageSection, ...]
    notice: str
    footer: str


def render_documents(
    documents: Iterable[RecipientDocument],
    *,
    as_of: Timestamp,
    release: str,
    stops: tuple[str, ...],
    files: dict[str, str],
) -> dict[str, bytes]:
    """The page of each document by its name, UTF-8. Same documents, same bytes.

    Args:
        documents: of one recipient, the cover first.
        as_of: when the newest statement about the version was made.
        release: of this program.
        stops: why it must not be used; whoever may not know persons is told that, and no more.
        files: of each document the file name, by which the cover links to it.
    """
    documents = tuple(documents)
    pages: dict[str, bytes] = {}
    for document in documents:
        rule = recipients().recipients[document.recipient]
        others = documents[1:] if document.document == "cover" else ()
        told = stops
        if stops and not rule.persons:
            told = ("Its use is stopped: ask the provider.",)  # who stopped it, and why, is not for them
        if document.document == "bom":
            pages["bom"] = bill_of_materials(
                document, as_of=as_of, release=release, artifact=ARTIFACT_FOLDER, stops=told
            )
            continue
        page = DocumentPage(
            is_cover=document.document == "cover",
            title=form_of(document.document).title,
            recipient=rule.title if rule.title.startswith("the ") else f"the {rule.title}",
            version=document.version,
            manifest=str(document.manifest),
            record=str(document.record),
            as_of=as_of,
            counts=counts_of(document),
            follows="" if document.document == "cover" else f"{_NO_FORM} {form_of(document.document).source}".strip(),
            flags=told,
            statuses=tuple(map(_status, document.statuses)),
            others=tuple(
                OtherPage(form_of(other.document).title, files[other.document], counts_of(other)) for other in others
            ),
            attached=tuple(map(_attached, document.attachments)),
            sections=tuple(_sections(document)),
            notice=field_rules().notice,
            footer=_footer(files[document.document].replace(".html", ".json"), release),
        )
        pages[document.document] = template("document.html.jinja").render(page=page).encode()
    return pages


def _attached(attachment: HandedAttachment) -> AttachedFile:
    rule = recipients().attachments[attachment.attached_as]
    detail = (
        f"{rule.title}, attached {attachment.attached_at[:10]}, {human_bytes(attachment.size)}, {attachment.sha256}"
    )
    return AttachedFile(attachment.name, quote(attachment.file), detail)


def _footer(data: str, release: str) -> str:
    rules = field_rules()
    return (
        f"In {data} each value is whole, with its digests and tables · peft-registry {release} · rules {rules.rule_set}, "
        f"law as of {rules.law_as_of}"
    )


def counts_of(document: RecipientDocument) -> str:
    """`23 rows: 7 filled, 16 open`, of the rows that are for the recipient."""
    states = Counter(row.state for row in document.rows if row.state != "not for this recipient")
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    rest = len(document.rows) - states.total()
    # what others are asked on a cover says nothing of a form
    others = f"; {rest} more for others" if rest and document.document != "cover" else ""
    return f"{states.total()} rows: {told}{others}"


def _status(status: DocumentStatus) -> str:
    name, words = _TABLES.get(status.table, (status.table, {}))
    row = f" ({status.row})" if status.row else ""
    return f"{name}: {words.get(status.status, status.status)}{row}. Indicative, not a legal conclusion."


def _sections(document: RecipientDocument) -> Iterable[PageSection]:
    form_rows = {row.row: row for row in form_of(document.document).rows}
    shown = [
        (form_rows.get(row.row), row)
        for row in document.rows
        # what is for others stands in the count alone: a page of empty rows would say nothing more
        if row.state != "not for this recipient"
    ]
    told: dict[str, str] | None = None if document.document == "cover" else {}
    for title, rows in groupby(shown, key=lambda pair: "" if pair[0] is None else pair[0].section):
        yield PageSection(title, tuple(_row(form_row, row, told) for form_row, row in rows))


def _row(form_row: FormRow | None, row: DocumentRow, told: dict[str, str] | None) -> ShownRow:
    """A row of the page; `told` has the row in which each long value stands already, and gets those of this one. None: a cover."""
    values = tuple(_value(value, row.row, told) for value in row.values)
    return ShownRow(
        row=row.row,
        title="" if form_row is None else form_row.title,
        content="" if form_row is None else form_row.content,
        state=_state(row),
        values=values,
        note="; ".join(notes_of(row.words, row.words_written, row.figures, row.figures_written)),
        files=tuple(AttachedFile(file.rpartition("/")[2], quote(file)) for file in row.attachments),
        is_tall=sum(len(value.lines) for value in values) > _TALL,
    )


def _state(row: DocumentRow) -> str:
    if row.state == "filled":
        return ""
    if row.state == "open":
        return f"open ({', '.join(row.owners)})"
    reason: Said | None = row.reason if isinstance(row.reason, str) else code_in(row.reason)
    return row.state if reason is None else f"{row.state}: {reason_in_words(reason)}"


def _value(value: DocumentValue, row: str, told: dict[str, str] | None) -> ShownValue:
    lines = tuple(_lines(value.value if told is not None else _for_the_cover(value.path, value.value)))
    if len(lines) > _LONG and told is None:
        lines = (*lines[:_LONG], f"and {len(lines) - _LONG} more in the documents")
    elif len(lines) > _LONG and told is not None:
        before = told.setdefault(value.path, row)
        lines = lines if before == row else (f"as in row {before}",)
    elif value.unit and len(lines) == 1:
        lines = (f"{lines[0]} {value.unit}",)
    return ShownValue(label_of(value.path), lines, value.source, _whose_word(value))


def _whose_word(value: DocumentValue) -> str:
    """Who stated a value and when. A name that was typed into a file is marked: it is not a signature."""
    who = f"as said by {value.asserted_by}" if value.typed and value.asserted_by else value.asserted_by
    said = " ".join(filter(None, (who, (value.asserted_at or "")[:10])))
    return "; ".join(filter(None, (said, TYPED if value.typed else "")))


def _for_the_cover(path: str, value: Any) -> Any:  # any JSON value
    members = _ON_THE_COVER.get(path)
    if members is None or not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        return value
    return [{member: entry[member] for member in members if entry.get(member) is not None} for entry in value]


def _lines(value: Any) -> Iterable[str]:  # any JSON value
    """A value in lines; each entry of a list has its own, and none is left out."""
    if isinstance(value, list) and value:
        for entry in value:
            yield from _lines(entry)
    elif isinstance(value, dict) and code_in(value) is None and value:
        yield _object(value)
    else:
        yield plain(value)


def _object(members: dict[str, Any]) -> str:
    """What somebody reads of an object: its plain members and what codes say; tables and digests inside it are in the data."""
    read = {
        key.replace("_", " "): plain(member)
        for key, member in members.items()
        if member is not None and (code_in(member) is not None or not isinstance(member, dict | list))
    }
    shown = [f"{key}: {text}" for key, text in read.items() if not text.startswith("sha256:") or len(read) == 1]
    return "; ".join(shown) if shown else plain(members)
