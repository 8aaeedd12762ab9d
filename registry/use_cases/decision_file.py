"""What people decided about a version, gathered for a copy of it that is handed out."""

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.signed_records import signed_statements
from peft_registry.registry.records.views import view_of
from peft_registry.registry.reports.decision_file import decision_text
from peft_registry.registry.reports.pages import Table
from peft_registry.registry.transparency import note
from peft_registry.registry.use_cases.show_decisions import decision_tables
from peft_registry.registry.verification.signed_versions import signed_version
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.version import Version

_ACTS = frozenset({"alias", "approval", "waiver", "decision", "hold"})


def decision_file(registry: Registry, version: Version) -> bytes | None:
    """The text of `evidence/DECISIONS.md` as everything stands now; None where nobody decided anything about a version.

    No file of the version is read. What cannot be gathered is said in the file: whoever pulls a version gets it all the same.

    Raises:
        StatementAltered, SaidDiffers: a statement about it is not what was signed.
    """
    if not any(entry.kind in _ACTS for entry in signed_statements(registry, version.manifest_digest)):
        return None
    try:
        tables = decision_tables(registry, signed_version(registry, version), None)
    except KnownError as error:
        tables = (Table(title="Not gathered", head=(), rows=(), empty=f"{error.what}: {error.why}."),)
    with view_of(registry) as view:
        newest = view.newest
    root = None if newest is None else note.read_unverified(newest.checkpoint)[2].hex()
    return decision_text(
        version.label,
        tables,
        as_of=registry.clock(),
        origin=registry.origin,
        size=covered_size(registry),
        root=root,
    )
