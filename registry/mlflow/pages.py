"""Our own pages below `/registry/` on MLflow's server: what the registry itself says, read and checked anew for each request.

A page is answered from the home and never from MLflow. Nothing here writes to the registry, and no text of a request is shown.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.known_homes import state_folder
from peft_registry.registry.intake.where import QueryMalformed, read_query
from peft_registry.registry.mlflow.decision_standing import gate_text
from peft_registry.registry.mlflow.description import PAGES
from peft_registry.registry.mlflow.home_reader import open_registry
from peft_registry.registry.mlflow.listed_versions import listed_versions
from peft_registry.registry.mlflow.sharing import Permission, Visitor
from peft_registry.registry.records.references import version_named
from peft_registry.registry.reports.pages import (
    ListedVersion,
    Page,
    decision_page,
    lineage_page,
    list_page,
    problem_page,
    style_source,
    verification_page,
)
from peft_registry.registry.use_cases.find import CursorInvalid, FigureUnknown, SignerNotListed, find_versions
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show_decisions import decision_tables
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.registry.verification.signed_versions import signed_lineage
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, KnownError, NotChecked, NotFound
from peft_registry.schemas.identity import Reference
from peft_registry.schemas.version import Version

LISTED = 100  # versions on one page
Opened = Callable[[], AbstractContextManager[Registry]]


@dataclass(frozen=True, slots=True)
class PageResponse:
    """A status of HTTP and a page."""

    status: int
    html: str
    challenge: str | None = None  # how to log in
    has_search: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """Nothing may run or be fetched, be framed, sent or kept: the page has its own style and links, and is nobody's part."""
        forms = "'self'" if self.has_search else "'none'"  # the search of the list asks this server, and no other
        policy = (
            "default-src 'none'",
            f"style-src {style_source(self.html)}",
            "base-uri 'none'",
            f"form-action {forms}",
            "frame-ancestors 'none'",
            f"sandbox allow-top-navigation-by-user-activation{' allow-forms' if self.has_search else ''}",
        )
        login = {} if self.challenge is None else {"WWW-Authenticate": self.challenge}
        return login | {
            "Content-Security-Policy": "; ".join(policy),
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }


def this_home() -> AbstractContextManager[Registry]:
    """The registry of this process: REGISTRY_HOME, or the user's own `.registry` found upwards."""
    home = os.environ.get("REGISTRY_HOME")
    state: Path | None = state_folder(os.environ)
    return closing(open_registry(home, state=state))


def answer(
    path: str, opened: Opened = this_home, *, asked: Mapping[str, str] | None = None, visitor: Visitor | None = None
) -> PageResponse:
    """The page at a path below `/registry`: the list, or `NAME/NUMBER`, with nothing or the word for a view behind it.

    Args:
        path: what stands behind `/registry/`.
        opened: opens the registry.
        asked: what the list is asked for: `where` and `sort` as `registry list` takes them, and `cursor` of the page before.
        visitor: who asks, where there is a login; None shows everything.
    """
    parts = [part for part in path.split("/") if part]
    try:
        return _of_version(parts, opened, visitor) if parts else _list(opened, visitor, asked or {})
    except (QueryMalformed, CursorInvalid, FigureUnknown, SignerNotListed):
        return NO_SUCH_QUESTION
    except InputRefused:
        return NO_SUCH_PAGE
    except KnownError as error:
        return _shown(problem_page(error.what, error.why, error.fix), 404 if isinstance(error, NotFound) else 503)


def _of_version(parts: Sequence[str], opened: Opened, visitor: Visitor | None) -> PageResponse:
    name, number, *rest = parts if len(parts) > 1 else (*parts, "")
    view = _VIEWS.get("/".join(rest))
    label = f"{name}:{number}"
    if view is None or Reference.parse(label).number is None:
        return NO_SUCH_PAGE
    if visitor is not None and (permission := visitor.may_read(name)).status != 200:
        return _not_permitted(permission)
    with opened() as registry:
        return view(registry, version_named(registry, label))


def _list(opened: Opened, visitor: Visitor | None, asked: Mapping[str, str]) -> PageResponse:
    permission = None if visitor is None else visitor.may_list()
    if permission is not None and permission.status != 200:
        return _not_permitted(permission)
    where, sort, cursor = (asked.get(name) or None for name in ("where", "sort", "cursor"))
    query = read_query(where or "", sort)
    with opened() as registry:
        found = find_versions(registry, query, cursor=cursor, limit=LISTED)
        listed = [version for version in found.versions if permission is None or version.name in permission.names]
        rows = tuple(_rows(registry, listed))
    following = {"where": where, "sort": sort, "cursor": found.next}
    address = f"{PAGES}/?{urlencode({name: value for name, value in following.items() if value})}"
    page = list_page(rows, following=address if found.next else None)
    return PageResponse(200, page.html(), has_search=True)


def _rows(registry: Registry, versions: Sequence[Version]) -> Iterator[ListedVersion]:
    for version, listed in zip(versions, listed_versions(registry, versions), strict=True):
        kind = f"{version.method} {version.kind}" if version.method else version.kind
        registered = version.registered_at[:10]
        if isinstance(listed, KnownError):
            yield ListedVersion(version.label, kind, "", (), (f"cannot be shown: {listed.what}",), (), registered)
            continue
        tags = dict(listed.name_tags)
        aliases = tuple(f"@{alias}: {gate_text(registry, version, alias)}" for alias in version.aliases)
        tasks, bias = (tuple(tags.get(f"registry.{name}", "").split("; ")) for name in ("tasks", "bias"))
        yield ListedVersion(version.label, kind, tags.get("registry.loss", ""), tasks, bias, aliases, registered)


def _not_permitted(permission: Permission) -> PageResponse:
    if permission.status == 401:
        page = problem_page("Log in first", "This server asks for a user and a password of MLflow.", "")
        return PageResponse(401, page.html(), permission.challenge)
    if permission.status == 403:
        return _shown(problem_page("Not for you", "MLflow does not let you read this model.", ""), 403)
    why = f"MLflow answered {permission.status} when it was asked what you may read."
    return _shown(problem_page("It is not known what you may read", why, ""), 503)


def _verification(registry: Registry, version: Version) -> PageResponse:
    outcome = verify_version(registry, version, trust_problem=_trust_problem(registry))
    return _shown(verification_page(version, outcome, checked_at=registry.clock()))


def _lineage(registry: Registry, version: Version) -> PageResponse:
    return _shown(lineage_page(version, signed_lineage(registry, version.manifest_digest)))


def _report(registry: Registry, version: Version) -> PageResponse:
    return PageResponse(200, make_report(registry, version, trust_problem=_trust_problem(registry)).decode())


def _decisions(registry: Registry, version: Version) -> PageResponse:
    outcome = verify_version(registry, version, trust_problem=_trust_problem(registry))
    return _shown(decision_page(version, decision_tables(registry, version, outcome), made_at=registry.clock()))


_VIEWS: dict[str, Callable[[Registry, Version], PageResponse]] = {
    "": _verification,
    "lineage": _lineage,
    "report": _report,
    "decisions": _decisions,
}


def _trust_problem(registry: Registry) -> KnownError | None:
    """Why the home's own trust file does not count now; None where it does."""
    try:
        _ = registry.trust
    except (NotChecked, IntegrityBroken) as error:
        return error
    return None


def _shown(page: Page, status: int = 200) -> PageResponse:
    return PageResponse(status, page.html())


NO_SUCH_PAGE = _shown(problem_page("There is no such page", "The list names every version.", ""), 404)
NO_SUCH_QUESTION = _shown(
    problem_page(
        "This search cannot be read",
        "It takes what `registry list --where` takes, for example `kind=adapter alias=champion`.",
        "`registry list --help` names the page with all of it.",
    ),
    400,
)
FROM_ELSEWHERE = _shown(
    problem_page("Not for another site", "A page of another site asked for this one in the background.", ""), 403
)
