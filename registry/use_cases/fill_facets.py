"""What versions are found by, read again from what was signed: after a statement about them, for all of them by an upgrade, and by
whoever checks the log, because a row that was changed hides a version from every list that it belongs in."""

from collections.abc import Iterator

from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalog.row_counts import recount
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import FACETS_SINCE
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.facets import FACETS_FORM, RECALLED, facets_form, facets_said
from peft_registry.registry.records.signed_records import signed_statements
from peft_registry.registry.records.stops import EVER_RECALLED, ever_recalled
from peft_registry.registry.records.stored_manifests import manifest_in
from peft_registry.registry.records.views import View
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.facets import Facet
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.version import Version

_VERSIONS_AT_ONCE = 1000


def renew_facets(view: View, subject: Digest) -> None:
    """Let every version of an artifact be found by what stands about it in the transaction of a view, which writes."""
    versions = catalog.version_by_digest(view.tx, subject)
    if versions:
        statements = recorded_statements(view.tx, subject)
        for version in versions:
            _replace(view, version, statements)


def fill_facets(registry: Registry) -> int:
    """Write what every version is found by, in one transaction, unless it is as this release reads it; returns of how many.

    A version whose manifest or statements are not what was signed is found by what its rows say: `registry verify` names it.
    """
    with registry.database.read() as tx:
        if registry.read_only or catalog.meta(tx, FACETS_FORM) == facets_form():
            return 0
    filled = 0
    with registry.database.write() as tx:
        if catalog.any_statement(tx, "recall"):
            catalog.set_meta(tx, EVER_RECALLED, "yes")
        after: catalog.PageKey | None = None
        while True:
            page = catalog.list_versions(tx, after=after, limit=_VERSIONS_AT_ONCE)
            for version in page.versions:
                _replace(View(registry, tx), version, _signed(registry, version.manifest_digest))
            filled += len(page.versions)
            after = page.next
            if after is None:
                break
        recount(tx, ["facet"])  # of rows that were gone before, too
        catalog.set_meta(tx, FACETS_FORM, facets_form())
    return filled


def write_facets(view: View) -> None:
    """Write what every version is found by, from what stands in the transaction of a view, which was held against the log."""
    tx = view.tx
    if catalog.any_statement(tx, "recall"):
        catalog.set_meta(tx, EVER_RECALLED, "yes")
    after: catalog.PageKey | None = None
    while True:
        page = catalog.list_versions(tx, after=after, limit=_VERSIONS_AT_ONCE)
        for version in page.versions:
            _replace(view, version, recorded_statements(tx, version.manifest_digest))
        after = page.next
        if after is None:
            break
    catalog.set_meta(tx, FACETS_FORM, facets_form())


def facet_contradictions(view: View) -> Iterator[tuple[str, str]]:
    """The versions whose rows are not what was signed about them, each with the first thing that is wrong.

    Nothing is said of rows of an earlier release, by which nothing is found before an upgrade, nor of a version whose manifest or
    statements cannot be read, which whoever reads them says.
    """
    tx = view.tx
    if not view.registry.database.is_since(FACETS_SINCE) or catalog.meta(tx, FACETS_FORM) not in (None, facets_form()):
        return
    if catalog.any_statement(tx, "recall") and catalog.meta(tx, EVER_RECALLED) is None:
        yield "recalls", "one is recorded, and the row that says that there was any is not"
    versions = list(catalog.every_version(tx))
    for start in range(0, len(versions), _VERSIONS_AT_ONCE):
        some = versions[start : start + _VERSIONS_AT_ONCE]
        rows = catalog.facet_rows_of(tx, [(version.name, version.number) for version in some])
        for version in some:
            facets = _facets_of(view, version)
            if facets is None:
                continue
            signed = set(facets)
            recorded = rows[version.name, version.number]
            # the row of a recall that was taken back, or never covered, stays: it only says of which versions to look
            difference = sorted((signed ^ recorded) - ({RECALLED} - signed), key=str)
            if difference:
                facet = difference[0]
                holds = "is said of it, and no row has it" if facet in signed else "is in a row, and nothing says it"
                yield f"{version.name}:{version.number}", f"found by {facet.name}={facet.value}: this {holds}"


def _facets_of(view: View, version: catalog.NumberedVersion) -> tuple[Facet, ...] | None:
    """What a version is found by; None where its manifest or what was said about it cannot be read."""
    manifest = manifest_in(view.registry, version.manifest)
    if manifest is None:
        return None
    try:
        return facets_said(
            manifest,
            name=version.name,
            key_id=version.key_id,
            statements=catalog.statements_of(view.tx, subject=version.manifest),
            ever_recalled=ever_recalled(view, version.manifest),
        )
    except KnownError:  # not what was signed, which whoever follows the entries says
        return None


def _replace(view: View, version: Version, statements: tuple[StoredStatement, ...]) -> None:
    manifest = manifest_in(view.registry, version.manifest_digest)
    if manifest is None:
        return
    facets = facets_said(
        manifest,
        name=version.name,
        key_id=version.key_id,
        statements=statements,
        ever_recalled=ever_recalled(view, version.manifest_digest),
    )
    catalog.replace_facets(view.tx, (version.name, version.number), registered_at=version.registered_at, facets=facets)


def recorded_statements(tx: Transaction, subject: Digest) -> tuple[StoredStatement, ...]:
    """What was said about an artifact, for what its versions are found by; nothing where a row of it cannot be read."""
    try:
        return catalog.statements_of(tx, subject=subject)
    except KnownError:  # a row is not what was written, which whoever reads the version says
        return ()


def _signed(registry: Registry, subject: Digest) -> tuple[StoredStatement, ...]:
    try:
        return signed_statements(registry, subject)
    except KnownError:  # the same
        return ()
