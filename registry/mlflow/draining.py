"""Draining a home's outbox into MLflow: reads the records, projects each version, remembers what MLflow called it.

The mirror is written after, never read from. Nothing is verified here: that is done where a person looks. A home has one
route: its own store, or the server named in `registry.json`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.description import FilledCount, neighbours_in
from peft_registry.registry.mlflow.mirror import MirrorState, SyncOutcome, sync
from peft_registry.registry.mlflow.projection import Content, Projection, project_version
from peft_registry.registry.mlflow.route import MirrorRoute, exclusively
from peft_registry.registry.records.evaluations import judged_now, standing_evaluations
from peft_registry.registry.records.references import versions_of_artifact
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.report import ReportInputs, render_report, report_inputs
from peft_registry.registry.verification.signed_versions import signed_lineage, signed_version
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.mirror import OutboxEntry
from peft_registry.schemas.progress import Observe, ignore

BATCH = 200


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a sync did, for people and programs."""

    outcome: SyncOutcome
    route: str

    @property
    def clean(self) -> bool:
        """Nothing failed and nothing drifted."""
        return not self.outcome.failed and not self.outcome.drift

    def lines(self) -> tuple[str, ...]:
        """What a person reads: how many were written and where, then each drift and each refusal."""
        done = self.outcome.done
        failed = Counter((refused.entry.name, refused.why) for refused in self.outcome.failed)
        lines = [f"mirror   {len(done)} written to {self.route}" if done else f"mirror   up to date ({self.route})"]
        lines += [f"drift    {drift.name}: {drift.why}" for drift in self.outcome.drift]
        lines += [
            f"waiting  {name}: {count} {'entry' if count == 1 else 'entries'} set aside: {why}"
            for (name, why), count in failed.items()
        ]
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "route": self.route,
            "done": [entry.label for entry in self.outcome.done],
            "failed": [{"version": refused.entry.label, "why": refused.why} for refused in self.outcome.failed],
            "drift": [{"name": drift.name, "why": drift.why} for drift in self.outcome.drift],
        }


@dataclass(frozen=True, slots=True)
class MirrorStanding:
    """How the mirror stands, as far as the home knows; `waiting` counts entries by name."""

    route: str
    versions: int
    waiting: dict[str, int]
    is_gone: bool

    def lines(self) -> tuple[str, ...]:
        """What a person reads."""
        lines = [f"mirror   {self.versions} versions in {self.route}"]
        if self.is_gone:
            lines.append("gone     the store is not there any more: run `registry mirror rebuild`")
        lines += [f"waiting  {name}: {count}" for name, count in self.waiting.items()]
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        return {"route": self.route, "versions": self.versions, "waiting": self.waiting, "gone": self.is_gone}


def mirror_route(registry: Registry) -> MirrorRoute:
    """The home's one route to MLflow."""
    settings = registry.settings
    if settings.mirror == "server" and settings.mirror_uri:
        return MirrorRoute.of_server(settings.mirror_uri)
    return MirrorRoute.of_home(registry.folder)


def sync_mirror(registry: Registry, *, observe: Observe = ignore) -> Mirrored:
    """Write everything that the outbox holds; an empty outbox imports no mlflow.

    Raises:
        HomeReadOnly: this home cannot be written.
        MirrorUnavailable, MirrorBusy, MlflowMissing: nothing more can be mirrored now.
        MirrorGone: what was mirrored before is not there any more.
    """
    registry.require_writable()
    route = mirror_route(registry)
    outcome = sync(
        _waiting(registry),
        route=route,
        state=_State(registry),
        load=lambda entry: projection_of(registry, entry),
        lock=registry.files.mlflow / "mirror.lock",
        observe=observe,
    )
    return Mirrored(outcome, route.described)


def rebuild_mirror(registry: Registry, *, observe: Observe = ignore) -> Mirrored:
    """Forget what MLflow called everything, and write all of it again from the records.

    What MLflow has of ours is found by its tags and not doubled; where it has nothing, everything is made anew.

    Raises:
        HomeReadOnly: this home cannot be written.
        MirrorUnavailable, MirrorBusy, MlflowMissing: nothing more can be mirrored now; the next sync goes on.
    """
    registry.require_writable()
    with exclusively(registry.files.mlflow / "mirror.lock"), registry.database.write() as tx:
        catalog.forget_mirrored(tx, registry.clock())
    return sync_mirror(registry, observe=observe)


def mirror_standing(registry: Registry) -> MirrorStanding:
    """What is mirrored, where, and what waits; MLflow is not asked."""
    route = mirror_route(registry)
    with registry.database.read() as tx:
        recorded = catalog.get_mirrored(tx, "route", "mirror")
        waiting = catalog.waiting_by_name(tx)
        versions = catalog.count_mirrored(tx, "version")
    is_gone = recorded is not None and recorded["kind"] == route.kind and route.missing_file is not None
    return MirrorStanding(route.described, versions, waiting, is_gone=is_gone)


def _waiting(registry: Registry) -> Iterator[tuple[OutboxEntry, ...]]:
    """The outbox, a batch at a time: entries that were set aside before are passed."""
    after = 0
    while True:
        with registry.database.read() as tx:
            page = catalog.pending_outbox(tx, BATCH, after=after)
        if not page:
            return
        yield page
        after = page[-1].id


def mirror_state(registry: Registry) -> MirrorState:
    """What the mirror of a home remembers."""
    return _State(registry)


def projection_of(registry: Registry, entry: OutboxEntry) -> Projection:
    """What MLflow should show for an entry's version as it is now."""
    with registry.database.read() as tx:
        recorded = catalog.resolve(tx, Reference(name=entry.name, number=entry.number))
    version = signed_version(registry, recorded)
    bases = versions_of_artifact(registry, version.base_manifest) if version.base_manifest else ()
    records = records_of(registry, version)
    filled = None
    if records.modification is not None:
        counted = completeness(records.modification)
        filled = FilledCount(filled=counted.filled, total=counted.total)
    parents: tuple[Digest, ...] = tuple(parent.manifest for parent in records.manifest.parents)
    if version.kind == "base":
        report, lineage = None, signed_lineage(registry, version.manifest_digest)
    else:
        inputs = report_inputs(registry, version, records=records)
        report, lineage = _report(registry, inputs), inputs.lineage
    return project_version(
        version=version,
        run=records.run,
        merge=records.merge,
        evaluations=judged_now(registry, version, standing_evaluations(registry, version, records.evaluations)),
        evaluated=len(records.evaluations),
        report=report,
        card=records.card,
        statements=records.statements,
        completeness=filled,
        base=bases[0] if bases else None,
        parents=parents,
        signer=_person(registry, version.key_id),
        items=lambda record: registry.store.read_bytes(record.items.sha256),
        neighbours=neighbours_in(lineage),
        pages=mirror_route(registry).kind == "store",
    )


def _report(registry: Registry, inputs: ReportInputs) -> Content:
    """The page of a version without checks: draining reads no artifact. Rendered when it is written, and not otherwise."""
    return Content(inputs.digest, lambda: render_report(registry, inputs))


def _person(registry: Registry, key_id: str) -> str | None:
    """Whom the home's trust file names for a key; None where it names nobody, or can decide nothing now."""
    try:
        return registry.trust.person_of(key_id)
    except (IntegrityBroken, NotChecked):
        return None


@dataclass(frozen=True)
class _State:
    registry: Registry

    def get(self, entity: str, key: str) -> dict[str, Any] | None:
        with self.registry.database.read() as tx:
            return catalog.get_mirrored(tx, entity, key)

    def put(self, entity: str, key: str, value: dict[str, Any]) -> None:
        with self.registry.database.write() as tx:
            catalog.put_mirrored(tx, entity, key, value)

    def done(self, entry: OutboxEntry) -> None:
        with self.registry.database.write() as tx:
            catalog.mark_done(tx, entry.id, self.registry.clock())
