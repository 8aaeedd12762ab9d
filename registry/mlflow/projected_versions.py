"""Versions as MLflow should show them now, read from the signed records, many together.

No file of a version is read here: whoever verifies it does. What many versions need of others is read once for each batch.
"""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Protocol

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.verdicts.decision import NOBODY
from peft_registry.registry.database import catalog
from peft_registry.registry.exports.hub import PUBLISHED
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.decision_standing import standing_of
from peft_registry.registry.mlflow.description import neighbours_in
from peft_registry.registry.mlflow.projection import Projection, project_version
from peft_registry.registry.mlflow.shown_facts import Content, FilledCount, Neighbour, ShownFacts
from peft_registry.registry.records.evaluations import judged_now, standing_evaluations
from peft_registry.registry.records.record_inputs import Elsewhere
from peft_registry.registry.records.references import version_named, versions_of_artifact
from peft_registry.registry.records.signed_records import elsewhere, read_statements_ahead, records_of
from peft_registry.registry.records.standing_acts import person_of
from peft_registry.registry.records.stops import use_stops
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.use_cases.report import ReportInputs, render_report, report_inputs
from peft_registry.registry.verification.signed_versions import (
    prove_artifacts,
    signed_lineage,
    signed_version,
    signed_versions,
)
from peft_registry.schemas.acts import USE_STOPS, ShownStop
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.run_points import RunPoint, RunPoints
from peft_registry.schemas.system_metrics import SystemMetrics
from peft_registry.schemas.version import Version


class Numbered(Protocol):
    """Which version is meant; nothing else of it is believed."""

    @property
    def name(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def label(self) -> str: ...


@dataclass
class VersionLoader:
    """Reads versions to be shown, some together.

    What many of them need of others is read once for each batch.

    Attributes:
        registry: where they are registered.
        pages: whether our own pages stand beside them.
        records: whether whoever is shown them may read the records; else they are cut to what everybody may read.
    """

    registry: Registry
    pages: bool = True
    records: bool = True
    read: "dict[str, Projection | KnownError]" = field(default_factory=dict)  # ahead, by label

    def read_ahead(self, versions: Sequence[Numbered]) -> None:
        """Read these versions together, in one transaction; `load` gives each of them once."""
        self.read.clear()
        if not versions:
            return
        with self.registry.database.reading():
            rows = _rows_of(self.registry, versions)
            shared = _Shared.of(self.registry, pages=self.pages, records=self.records)
            for version in versions:
                try:
                    self.read[version.label] = _projected(self.registry, rows.get(version.label), version, shared)
                except KnownError as error:  # of this version, and said when it is loaded
                    self.read[version.label] = error

    def load(self, version: Numbered) -> Projection:
        """The projection of a version.

        Raises:
            KnownError: it cannot be read, or is not what was signed.
        """
        if version.label not in self.read:
            self.read_ahead((version,))
        loaded = self.read.pop(version.label)
        if isinstance(loaded, KnownError):
            raise loaded
        return loaded


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is recorded of other artifacts, read once for several versions: of bases the versions that they are registered as."""

    around: Elsewhere
    versions_of: Callable[[Digest], tuple[Version, ...]]
    pages: bool
    records: bool

    @classmethod
    def of(cls, registry: Registry, *, pages: bool, records: bool) -> "_Shared":
        return cls(elsewhere(registry), cache(partial(versions_of_artifact, registry)), pages, records)


@dataclass(frozen=True, slots=True)
class _Row:
    """A version as it was signed and logged, and whether it is the newest of its name."""

    version: Version
    is_newest: bool


def _rows_of(registry: Registry, named: Sequence[Numbered]) -> dict[str, _Row]:
    """These versions by label, proven together; none where any of them is not as it was signed.

    What their statements and their lineage rest on is read, and proven, with them.
    """
    try:
        with registry.database.read() as tx:
            recorded = catalog.versions_named(tx, [(version.name, version.number) for version in named])
            newest = catalog.newest_numbers(tx, sorted({version.name for version in named}))
        versions = signed_versions(registry, recorded)
        prove_artifacts(registry, versions)
        read_statements_ahead(registry, {version.manifest_digest for version in versions})
    except KnownError:  # of which of them, each says when it is read by itself
        return {}
    return {version.label: _Row(version, newest[version.name] == version.number) for version in versions}


def _projected(registry: Registry, row: _Row | None, named: Numbered, shared: _Shared) -> Projection:
    """The projection of a version; `row` is what was proven with others, None where it is read by itself."""
    if row is None:
        recorded = version_named(registry, named.label)
        with registry.database.read() as tx:
            newest = catalog.resolve(tx, Reference(name=named.name))
        row = _Row(signed_version(registry, recorded), newest.number == named.number)
    if not shared.records:
        return _projected_for_everybody(registry, row, shared)
    version = row.version
    bases = shared.versions_of(version.base_manifest) if version.base_manifest else ()
    records = records_of(registry, version, shared.around)
    filled = None
    if records.modification is not None:
        counted = completeness(records.modification)
        filled = FilledCount(filled=counted.filled, total=counted.total)
    parents: tuple[Digest, ...] = tuple(parent.manifest for parent in records.manifest.parents)
    neighbours: tuple[Neighbour, ...] = ()
    unreadable = report = None
    decided = NOBODY
    if version.kind == "base":
        try:
            neighbours = neighbours_in(signed_lineage(registry, version.manifest_digest))
        except (IntegrityBroken, NotChecked) as error:  # one damaged descendant does not take its base out of the copy
            unreadable = error.what
    else:
        inputs = report_inputs(registry, version, records=records, current=version)
        report = _report(registry, inputs)
        neighbours = neighbours_in(inputs.lineage)
        decided = inputs.decided
    shown = ShownFacts(
        version=version,
        made=records.run or records.merge,
        evaluations=judged_now(registry, version, standing_evaluations(registry, version, records.evaluations)),
        evaluated=len(records.evaluations),
        report=report,
        card=records.card,
        statements=records.statements,
        completeness=filled,
        base=bases[0] if bases else None,
        parents=parents,
        continues=next((parent.manifest for parent in records.manifest.parents if parent.role == "start"), None),
        signer=person_of(registry, version.key_id),
        items=lambda record: registry.store.read_bytes(record.items.sha256),
        neighbours=neighbours,
        unreadable=unreadable,
        has_pages=shared.pages,
        stops=stops_shown_of(registry, version),
        is_newest=row.is_newest,
        project=records.project,
        system=system_metrics_of(registry, records.run),
        points=points_of(registry, records.run),
        standing=standing_of(registry, version, records, decided),
    )
    return project_version(shown)


def _projected_for_everybody(registry: Registry, row: _Row, shared: _Shared) -> Projection:
    """As `_projected`, of what everybody may read alone: what a public copy of the version holds.

    What is not named here is not sent, whatever a later projection can show.
    """
    version = row.version
    bases = shared.versions_of(version.base_manifest) if version.base_manifest else ()
    records = records_of(registry, version, shared.around)
    judged = judged_now(registry, version, standing_evaluations(registry, version, records.evaluations))
    neighbours: tuple[Neighbour, ...] = ()
    unreadable = None
    try:
        neighbours = neighbours_in(signed_lineage(registry, version.manifest_digest))
    except (IntegrityBroken, NotChecked) as error:  # as above
        unreadable = error.what
    parents = records.manifest.parents
    shown = ShownFacts(
        version=version,
        evaluations=[evaluation for evaluation in judged if not evaluation.names_a_person],
        evaluated=len(records.evaluations),
        card=records.card,
        statements=[statement for statement in records.statements if statement.kind in PUBLISHED],
        base=bases[0] if bases else None,
        parents=tuple(parent.manifest for parent in parents),
        continues=next((parent.manifest for parent in parents if parent.role == "start"), None),
        neighbours=neighbours,
        unreadable=unreadable,
        has_pages=shared.pages,
        stops=stops_shown_of(registry, version),
        is_newest=row.is_newest,
    )
    return project_version(shown)


def system_metrics_of(registry: Registry, run: RunRecord | None) -> SystemMetrics | None:
    """What was sampled while a run trained; None where nothing was, or the object that holds it is lost or of another form."""
    if run is None or run.system is None:
        return None
    # a curve of the machine is no reason to show nothing of a version: whoever verifies it says what is lost
    with contextlib.suppress(KnownError, ValueError):
        return SystemMetrics.from_json(json.loads(registry.store.read_bytes(run.system.sha256)))
    return None


def points_of(registry: Registry, run: RunRecord | None) -> tuple[RunPoint, ...]:
    """What was measured step by step while a run trained; none where nothing was kept, or as with the system metrics."""
    if run is None or run.points is None:
        return ()
    with contextlib.suppress(KnownError, ValueError):
        return RunPoints.from_json(json.loads(registry.store.read_bytes(run.points.sha256))).points
    return ()


def stops_shown_of(registry: Registry, version: Version) -> tuple[ShownStop, ...]:
    """What stops a use of a version; where nobody ever stopped one of anything, nobody walks up."""
    with view_of(registry) as view:
        is_any = view.once("whether a use was ever stopped", lambda: _was_any_stopped(view))
    return use_stops(registry, version.manifest_digest, label=version.label) if is_any else ()


def _was_any_stopped(view: View) -> bool:
    """By a row, or by what this user remembers and the database has lost."""
    kinds = {act.kind for act in USE_STOPS}
    is_remembered = any(stop.kind in kinds for stop in view.remembered)
    return is_remembered or any(catalog.any_statement(view.tx, kind) for kind in kinds)


def _report(registry: Registry, inputs: ReportInputs) -> Content:
    """The page of a version without checks, which would read its files; it is rendered when somebody asks for it."""
    return Content(inputs.digest, lambda: render_report(registry, inputs))
