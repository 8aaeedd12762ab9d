"""`evidence/DECISIONS.md` beside a copy that is handed out: what people decided, as it stood when the copy was written. Pure.

The card is signed when a version is registered, and says nothing of what is decided afterwards. This file is signed by nobody:
every copy says so, with the time and the checkpoint that it speaks of.
"""

import re
from collections.abc import Iterator, Sequence

from peft_registry.registry.reports.pages import Table

_MARKUP = re.compile(r"([\\`*_{}\[\]|#~!])")


def decision_text(
    label: str, tables: Sequence[Table], *, as_of: str, origin: str, size: int, root: str | None
) -> bytes:
    """The file, Markdown in UTF-8. Equal values give equal bytes.

    Args:
        label: of the version.
        tables: as `decision_tables` gives them.
        as_of: when they were gathered, RFC 3339.
        origin: of the log.
        size: how many of its entries a checkpoint covers.
        root: of the tree under that checkpoint, hexadecimal; None where there is none.
    """
    return "\n".join(_lines(label, tables, as_of=as_of, origin=origin, size=size, root=root)).encode() + b"\n"


def _lines(
    label: str, tables: Sequence[Table], *, as_of: str, origin: str, size: int, root: str | None
) -> Iterator[str]:
    covered = f"{size} entries" + ("" if root is None else f", root `{root}`")
    yield f"# Decisions about {plain(label)}, as of {as_of}"
    yield ""
    yield f"Gathered from the log {plain(origin)} ({covered}) when this copy was written."
    yield "**Nobody signed this file.** What it repeats is signed in `statements.intoto.jsonl` beside it, and"
    yield "`registry verify FOLDER` checks that. What holds today say `registry record verdict` and `registry gate status`"
    yield "where it was registered. Indicative, not legal advice."
    for table in tables:
        yield ""
        yield f"## {plain(table.title)}"
        yield ""
        if not table.rows:
            yield plain(table.empty)
            continue
        yield _row(table.head)
        yield _row("---" for _ in table.head)
        yield from (_row("; ".join(map(plain, cell)) for cell in row) for row in table.rows)


def _row(cells: Sequence[str] | Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    escaped = _MARKUP.sub(r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
