"""What versions are found by, read again from what was signed: after a statement about them, and for all of them by an upgrade."""

from peft_registry.registry.database import catalog
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.facets import FACETS_FORM, facets_form, facets_said
from peft_registry.registry.records.recalls import EVER_RECALLED, ever_recalled
from peft_registry.registry.records.signed_records import signed_statements
from peft_registry.registry.records.stored_manifests import manifest_in
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.version import Version

_VERSIONS_AT_ONCE = 1000


def renew_facets(registry: Registry, tx: Transaction, subject: Digest) -> None:
    """Let every version of an artifact be found by what stands about it in this transaction."""
    versions = catalog.version_by_digest(tx, subject)
    if versions:
        statements = recorded_statements(tx, subject)
        for version in versions:
            _replace(registry, tx, version, statements)


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
                _replace(registry, tx, version, _signed(registry, version.manifest_digest))
            filled += len(page.versions)
            after = page.next
            if after is None:
                break
        catalog.set_meta(tx, FACETS_FORM, facets_form())
    return filled


def _replace(registry: Registry, tx: Transaction, version: Version, statements: tuple[StoredStatement, ...]) -> None:
    manifest = manifest_in(registry, version.manifest_digest)
    if manifest is None:
        return
    facets = facets_said(
        manifest,
        name=version.name,
        key_id=version.key_id,
        statements=statements,
        ever_recalled=ever_recalled(registry, tx, version.manifest_digest),
    )
    catalog.replace_facets(tx, (version.name, version.number), registered_at=version.registered_at, facets=facets)


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
