"""The pages that stand beside MLflow's on one server: no script, nothing from elsewhere; every text is escaped.

The template prints what a page holds and decides nothing.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from peft_registry.registry.reports.drawing import lineage_drawing
from peft_registry.registry.reports.html import WORDED, template
from peft_registry.schemas.lineage import Lineage, LineageNode
from peft_registry.schemas.version import VerifyOutcome, Version

_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ListedArtifact:
    """A line of a list; `is_linked` where it has a page of its own."""

    label: str
    kind: str
    detail: str
    is_linked: bool


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A line of the list of versions; a cell may have several lines."""

    label: str
    kind: str
    loss: str
    tasks: tuple[str, ...]
    bias: tuple[str, ...]
    aliases: tuple[str, ...]  # each with its gate
    registered: str


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table under a heading; `empty` stands in its place where it has no row. A cell may have several lines."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], ...], ...]
    empty: str


@dataclass(frozen=True, slots=True)
class Page:
    """What a page shows, from above to below. `lines` may hold commands between backticks."""

    title: str
    kicker: str
    footer: str
    version: Version | None = None
    lines: tuple[str, ...] = ()
    outcome: VerifyOutcome | None = None
    drawing: str | None = None
    neighbours: tuple[ListedArtifact, ...] = ()
    tables: tuple[PageTable, ...] = ()
    is_list: bool = False
    versions: tuple[ListedVersion, ...] = ()
    following: str | None = None

    def html(self) -> str:
        """The page. Equal values give equal text."""
        return template("pages.html.jinja").render(page=self, worded=WORDED)


def list_page(versions: Iterable[ListedVersion], *, following: str | None) -> Page:
    """Versions with links, and a search; `following` is the address of the next page, if there is one."""
    return Page(
        title="Registered versions",
        kicker="Registry",
        footer="As it was signed and logged.",
        lines=("Each is verified anew when its page is opened. The search takes what `registry list --where` takes.",),
        is_list=True,
        versions=tuple(versions),
        following=following,
    )


def verification_page(version: Version, outcome: VerifyOutcome, *, checked_at: str) -> Page:
    """What each check found; `checked_at` is when they were made."""
    return Page(
        title=version.label,
        kicker=f"Verification · made {checked_at}",
        footer="Every byte, signature and log entry was read again for this page; nothing of it came from MLflow.",
        version=version,
        lines=(f"The same on a machine of your own: `registry verify {version.label}`.",),
        outcome=outcome,
    )


def lineage_page(version: Version, lineage: Lineage) -> Page:
    """The drawing, and below it every artifact of it with its pages."""
    return Page(
        title=version.label,
        kicker="Lineage",
        footer="As the signed manifests and the log say; “Verify now” checks the bytes.",
        version=version,
        lines=("Sources stand on the left. This version is framed twice; data has round corners.",),
        drawing=lineage_drawing(lineage),
        neighbours=tuple(_listed(node) for node in lineage.nodes),
    )


def decision_page(version: Version, tables: tuple[PageTable, ...], *, made_at: str) -> Page:
    """Who decided what about a version, and how that stands at `made_at`."""
    return Page(
        title=version.label,
        kicker=f"Decisions · as they stand {made_at}",
        footer="As it was signed and logged; nothing of it came from MLflow. Indicative, not legal advice.",
        version=version,
        lines=(
            f"The same on a machine of your own: `registry record verdict {version.label}` and "
            f"`registry gate status {version.name}@ALIAS`.",
        ),
        tables=tables,
    )


def problem_page(what: str, why: str, fix: str) -> Page:
    """Why there is no such page."""
    return Page(title=what, kicker="Registry", footer="", lines=tuple(filter(None, (why, fix))))


def style_source(html: str) -> str:
    """The source of a content security policy that allows the page's own style and no other."""
    style = _STYLE.search(html)
    if style is None:
        return "'none'"
    return f"'sha256-{base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()}'"


def _listed(node: LineageNode) -> ListedArtifact:
    return ListedArtifact(
        node.label, node.kind, node.detail, is_linked=node.registered and node.kind not in ("data", "unknown")
    )
