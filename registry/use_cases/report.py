"""The report use case: gather what is recorded about a version, verify it, and render one self-contained page.

The same records, `as_of`, rule set and tool version give the same bytes.
"""

import re
from importlib.metadata import version as package_version

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.evaluations import newest_of_each, stale_for
from peft_registry.registry.records.lineage import lineage_of
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.reports.evaluation_view import ShownEvaluation
from peft_registry.registry.reports.html import render_html
from peft_registry.registry.reports.view import build_report_view
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.errors import InputRefused, KnownError
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Reference
from peft_registry.schemas.values import RFC3339
from peft_registry.schemas.version import Version


class AsOfRefused(InputRefused):
    reference = "as-of-refused"
    what = "a report cannot speak of {text!q}"
    why = "that is no time such as {newest}, or lies before it, the newest record that the page shows"
    fix = "leave --as-of out, or write a time in UTC from {newest} on"

    text: str
    newest: str


def make_report(
    registry: Registry, version: Version, *, as_of: str | None = None, trust_problem: KnownError | None = None
) -> bytes:
    """The HTML page of one version, UTF-8.

    Args:
        registry: open.
        version: a registered version.
        as_of: the time that the report speaks of; default: when the last thing was said about the version.
        trust_problem: why the home's own trust file does not count for this user; the page then says unverified.

    Raises:
        AsOfRefused: no time, or one before the newest record.
        IntegrityBroken: what is recorded is not what was signed.
    """
    records = records_of(registry, version)
    with registry.database.read() as tx:
        lineage = lineage_of(tx, focus=version.manifest_digest)
        known = catalog.resolve(tx, reference_of(version))
    said = max(str(stored.appended_at) for stored in records.statements)
    if as_of is not None and (not re.fullmatch(RFC3339, as_of) or as_of < said):
        raise AsOfRefused(as_of, said)
    view = build_report_view(
        version=known,
        lineage=lineage,
        as_of=as_of or said,
        tool_version=package_version("peft-registry"),
        run=records.run,
        merge=records.merge,
        evaluation=records.evaluation,
        evaluations=_shown(registry, version, records.evaluations),
        record=records.modification,
        statements=records.statements,
        persons={key.key_id: key.person for key in registry.trust.keys},
        verification=verify_version(registry, version, trust_problem=trust_problem),
    )
    return render_html(view).encode()


def _shown(
    registry: Registry, version: Version, evaluations: tuple[EvaluationRecord, ...]
) -> tuple[ShownEvaluation, ...]:
    shown = []
    for record in newest_of_each(evaluations):
        stale = stale_for(registry, version, record)
        items = registry.store.read_bytes(record.items.sha256)
        shown.append(ShownEvaluation(record, items, None if stale is None else str(stale)))
    return tuple(shown)


def reference_of(version: Version) -> Reference:
    """The reference that means exactly this version."""
    return Reference(name=version.name, number=version.number)
