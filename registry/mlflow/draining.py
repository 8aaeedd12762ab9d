"""Draining a home's outbox into MLflow: reads the records, projects each version, remembers what MLflow called it.

The mirror is written after, never read from. Nothing is verified here: that is done where a person looks. Where MLflow is, is the
home's own affair: its own store, or the server named in `registry.json`. Of several homes on one database each may have its own,
and those that share a server take turns.
"""

import contextlib
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.first_record import Elsewhere
from peft_registry.registry.compliance.record_verdicts import verdicts_of
from peft_registry.registry.compliance.superseding import in_second_form
from peft_registry.registry.compliance.verdicts.decision import NOBODY, Decided
from peft_registry.registry.database import catalog
from peft_registry.registry.disk.files import write_new
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.description import FilledCount, Neighbour, Standing, neighbours_in
from peft_registry.registry.mlflow.mirror import TOGETHER, OtherRoute, SyncOutcome, require_store, sync
from peft_registry.registry.mlflow.projection import Content, Projection, project_version
from peft_registry.registry.mlflow.route import (
    LOCK_SECONDS,
    MirrorBusy,
    MirrorRoute,
    RouteUnknown,
    TurnLost,
    exclusively,
)
from peft_registry.registry.mlflow.sealing import open_sealing
from peft_registry.registry.records.decisions import bound_evaluations, bound_record
from peft_registry.registry.records.evaluations import judged_now, standing_evaluations
from peft_registry.registry.records.recalls import recall_texts
from peft_registry.registry.records.references import versions_of_artifact
from peft_registry.registry.records.signed_records import Records, elsewhere, read_statements_ahead, records_of
from peft_registry.registry.use_cases.gate import gate_by_records
from peft_registry.registry.use_cases.gate_facts import votes_on
from peft_registry.registry.use_cases.report import ReportInputs, render_report, report_inputs
from peft_registry.registry.verification.signed_versions import (
    prove_artifacts,
    signed_lineage,
    signed_version,
    signed_versions,
)
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.mirror import OutboxEntry
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.system_metrics import SystemMetrics
from peft_registry.schemas.version import Version

BATCH = 6 * TOGETHER
TURN_SECONDS = 60
"""How long a machine that was killed keeps others waiting."""
_PLACE_OF_OWN_STORE = "store"
_POLL_SECONDS = 0.1


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
        done = sum(self.outcome.done.values())
        failed = Counter((refused.entry.name, refused.why) for refused in self.outcome.failed)
        lines = [f"mirror   {done} written to {self.route}" if done else f"mirror   up to date ({self.route})"]
        lines += [f"drift    {drift.name}: {drift.why}" for drift in self.outcome.drift]
        lines += [
            f"waiting  {name}: {count} {'entry' if count == 1 else 'entries'} set aside: {why}"
            for (name, why), count in failed.items()
        ]
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "route": self.route,
            "done": dict(sorted(self.outcome.done.items())),
            "failed": [{"version": refused.entry.label, "why": refused.why} for refused in self.outcome.failed],
            "drift": [{"name": drift.name, "why": drift.why} for drift in self.outcome.drift],
        }


@dataclass(frozen=True, slots=True)
class MirrorStanding:
    """How the mirror stands, as far as the home knows; `waiting` counts entries by name, and `others` are routes of other homes."""

    route: str
    versions: int
    waiting: dict[str, int]
    is_gone: bool
    others: tuple[catalog.RouteStanding, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """What a person reads."""
        lines = [f"mirror   {self.versions} versions in {self.route}"]
        if self.is_gone:
            lines.append("gone     the store is not there any more: run `registry mirror rebuild`")
        lines += [f"waiting  {name}: {count}" for name, count in self.waiting.items()]
        lines += [
            f"another  {other.versions} versions in {other.place}"
            + (f", {other.waiting} waiting" * bool(other.waiting))
            for other in self.others
        ]
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        others = [{"place": other.place, "versions": other.versions, "waiting": other.waiting} for other in self.others]
        return {
            "route": self.route,
            "versions": self.versions,
            "waiting": self.waiting,
            "gone": self.is_gone,
            "others": others,
        }


def mirror_route(registry: Registry) -> MirrorRoute:
    """The home's one route to MLflow."""
    settings = registry.settings
    if settings.mirror == "server" and settings.mirror_uri:
        return MirrorRoute.of_server(settings.mirror_uri)
    return MirrorRoute.of_home(registry.folder)


def sync_mirror(registry: Registry, *, observe: Observe = ignore) -> Mirrored:
    """Write everything that waits for this home's MLflow; where nothing does, no mlflow is imported.

    Raises:
        HomeReadOnly: this home cannot be written.
        SchemaMismatch: it is of an earlier release.
        MirrorUnavailable, MirrorBusy, TurnLost, MlflowMissing: nothing more can be mirrored now.
        MirrorGone: what was mirrored before is not there any more.
    """
    registry.require_writable()
    return _synced(registry, anew=False, observe=observe)


def rebuild_mirror(registry: Registry, *, observe: Observe = ignore) -> Mirrored:
    """Forget what this home's MLflow called everything, and write all of it again from the records.

    What MLflow has of ours is found by its tags and not doubled; where it has nothing, everything is made anew.

    Raises:
        HomeReadOnly: this home cannot be written.
        MirrorUnavailable, MirrorBusy, TurnLost, MlflowMissing: nothing more can be mirrored now; the next sync goes on.
    """
    registry.require_writable()
    with turn(registry) as state, registry.database.write() as tx:
        catalog.forget_mirrored(tx, state.route)
    return _synced(registry, anew=True, observe=observe)


def forget_mirror(registry: Registry, place: str | None = None) -> str:
    """Forget what an MLflow called everything, and that anything is to be copied to it; MLflow is left as it is.

    Returns where it is.

    Args:
        registry: the home.
        place: of another home's MLflow, as `mirror_standing` names it; None for this home's own.

    Raises:
        HomeReadOnly: this home cannot be written.
        RouteUnknown: nothing was copied there.
    """
    registry.require_writable()
    with registry.database.write() as tx:
        route = catalog.route_at(tx, place or _place(registry))
        if route is None:
            raise RouteUnknown(place or mirror_route(registry).described)
        catalog.forget_route(tx, route)
    return place or mirror_route(registry).described


def mirror_standing(registry: Registry) -> MirrorStanding:
    """What is mirrored, where, and what waits; MLflow is not asked.

    Raises:
        SchemaMismatch: the home is of an earlier release.
    """
    registry.database.require_current()
    destination = mirror_route(registry)
    with registry.database.read() as tx:
        route = catalog.route_at(tx, _place(registry))
        if route is None:
            waiting = catalog.versions_by_name(tx)
            return MirrorStanding(destination.described, 0, waiting, is_gone=False, others=catalog.routes(tx))
        waiting = catalog.waiting_by_name(tx, route)
        versions = catalog.count_mirrored(tx, route, "version")
        others = tuple(other for other in catalog.routes(tx) if other.route != route)
        is_gone = destination.missing_file is not None and RouteState(registry, route, None).wrote
    return MirrorStanding(destination.described, versions, waiting, is_gone=is_gone, others=others)


@contextmanager
def turn(registry: Registry) -> Iterator["RouteState"]:
    """This home alone writes to its MLflow until the block ends; what is remembered of it, which others cannot change meanwhile.

    Raises:
        MirrorBusy: another process did not finish within 60 seconds.
        TurnLost: at the next writing, where this process stood still so long that another machine began.
    """
    holder = secrets.token_hex(16)
    with exclusively(registry.files.mlflow / "mirror.lock") as lock:
        with registry.database.write() as tx:
            route = catalog.open_route(tx, _place(registry))
        _wait_for_turn(registry, route, holder, ended=lock.last_holder)
        lock.keep(holder)
        state = RouteState(registry, route, holder)
        try:
            with _kept(state):
                yield state
        finally:
            with registry.database.write() as tx:
                catalog.end_turn(tx, state.route, holder)


def mirror_state(registry: Registry) -> "RouteState | None":
    """What is remembered of this home's MLflow, to be read; None where nothing was copied to it.

    Raises:
        SchemaMismatch: the home is of an earlier release.
    """
    registry.database.require_current()
    with registry.database.read() as tx:
        route = catalog.route_at(tx, _place(registry))
    return None if route is None else RouteState(registry, route, None)


def _synced(registry: Registry, *, anew: bool, observe: Observe) -> Mirrored:
    destination = mirror_route(registry)
    known = mirror_state(registry)
    if known is not None:
        require_store(destination, known)
    if not _is_waiting(registry, known):
        return Mirrored(SyncOutcome(), destination.described)
    try:
        outcome = _drained(registry, anew=anew, observe=observe)
    except OtherRoute as other:
        # it was reached by another name, or from another place, before: what is remembered of it counts
        with registry.database.write() as tx:
            catalog.move_route(tx, str(other), _place(registry))
        outcome = _drained(registry, anew=anew, observe=observe)
    return Mirrored(outcome, destination.described)


def _drained(registry: Registry, *, anew: bool, observe: Observe) -> SyncOutcome:
    loader = Loader(registry)
    route = mirror_route(registry)
    # before anything is read: an entry that comes later may be in what is written, and is looked at when that is checked
    sealing = open_sealing(registry, route)
    with turn(registry) as state:
        outcome = sync(
            _waiting(registry, state.route),
            route=route,
            state=state,
            load=loader.load,
            read_ahead=loader.read_ahead,
            newest=state.newest_entry,
            anew=anew,
            seal=None if sealing is None else sealing.seal_written,
            observe=observe,
        )
    if sealing is not None:
        sealing.keep_added()
    return outcome


def _is_waiting(registry: Registry, known: "RouteState | None") -> bool:
    """Whether anything is to be copied; a home that was never mirrored waits for every version."""
    with registry.database.read() as tx:
        if known is None:
            return bool(catalog.newest_versions(tx, limit=1))
        return bool(catalog.pending_outbox(tx, known.route, 1))


def _waiting(registry: Registry, route: str) -> Iterator[tuple[OutboxEntry, ...]]:
    """The outbox, a batch at a time: entries that were set aside before are passed."""
    after = 0
    while True:
        with registry.database.read() as tx:
            page = catalog.pending_outbox(tx, route, BATCH, after=after)
        if not page:
            return
        yield page
        after = page[-1].id


def _place(registry: Registry) -> str:
    """Where this home's MLflow is, among all that the database knows: its own store has a name if others share the database."""
    destination = mirror_route(registry)
    if destination.kind == "server":
        return destination.described
    if registry.settings.database is None:
        return _PLACE_OF_OWN_STORE
    return f"{_PLACE_OF_OWN_STORE} of {_name_of_store(registry)}"


def _name_of_store(registry: Registry) -> str:
    """A name that this home's store was given when it was first asked for."""
    path = registry.files.mirror
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        name = secrets.token_hex(4)
        if not registry.read_only:
            write_new(path, name.encode("ascii"), mode=0o644)
        return name


def _wait_for_turn(registry: Registry, route: str, holder: str, *, ended: str | None) -> None:
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        with registry.database.write() as tx:
            other = catalog.take_turn(tx, route, holder, seconds=TURN_SECONDS, after=ended)
        if other is None:
            return
        if time.monotonic() > give_up:
            raise MirrorBusy("another machine")
        time.sleep(_POLL_SECONDS)


@contextmanager
def _kept(state: "RouteState") -> Iterator[None]:
    """Prolong the turn while the block runs: a call to a slow server may take longer than the turn."""
    ended = threading.Event()

    def prolong() -> None:
        while not ended.wait(TURN_SECONDS / 4):
            # what fails here is noticed at the next writing
            with contextlib.suppress(KnownError):
                state.prolong()

    thread = threading.Thread(target=prolong, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass
class Loader:
    """Reads versions to be copied, or held against their copies, some together.

    What many of them need of others is read once for each batch.
    """

    registry: Registry
    read: "dict[str, Projection | KnownError]" = field(default_factory=dict)  # ahead, by label

    def read_ahead(self, entries: Sequence[OutboxEntry]) -> None:
        """Read the versions of these entries together, in one transaction; `load` gives each of them once."""
        self.read.clear()
        if not entries:
            return
        with self.registry.database.reading():
            rows = _rows_of(self.registry, entries)
            shared = _Shared.of(self.registry)
            for entry in entries:
                try:
                    self.read[entry.label] = _projected(self.registry, rows.get(entry.label), entry, shared)
                except KnownError as error:  # of this version, and said when it is loaded
                    self.read[entry.label] = error

    def load(self, entry: OutboxEntry) -> Projection:
        """The projection of an entry's version.

        Raises:
            KnownError: it cannot be read, or is not what was signed.
        """
        if entry.label not in self.read:
            self.read_ahead((entry,))
        loaded = self.read.pop(entry.label)
        if isinstance(loaded, KnownError):
            raise loaded
        return loaded


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is recorded of other artifacts, read once for several versions: of bases the versions that they are registered as."""

    around: Elsewhere
    versions_of: Callable[[Digest], tuple[Version, ...]]

    @classmethod
    def of(cls, registry: Registry) -> "_Shared":
        return cls(elsewhere(registry), cache(partial(versions_of_artifact, registry)))


@dataclass(frozen=True, slots=True)
class _Row:
    """A version as it was signed and logged, and whether it is the newest of its name."""

    version: Version
    is_newest: bool


def _rows_of(registry: Registry, entries: Sequence[OutboxEntry]) -> dict[str, _Row]:
    """The versions of these entries by label, proven together; none where any of them is not as it was signed.

    What their statements and their lineage rest on is read, and proven, with them.
    """
    try:
        with registry.database.read() as tx:
            recorded = catalog.versions_named(tx, [(entry.name, entry.number) for entry in entries])
            newest = catalog.newest_numbers(tx, sorted({entry.name for entry in entries}))
        versions = signed_versions(registry, recorded)
        prove_artifacts(registry, versions)
        read_statements_ahead(registry, {version.manifest_digest for version in versions})
    except KnownError:  # of which of them, each says when it is read by itself
        return {}
    return {version.label: _Row(version, newest[version.name] == version.number) for version in versions}


def projection_of(registry: Registry, entry: OutboxEntry) -> Projection:
    """What MLflow should show for an entry's version as it is now."""
    return Loader(registry).load(entry)


def _projected(registry: Registry, row: _Row | None, entry: OutboxEntry, shared: _Shared) -> Projection:
    """The projection of an entry's version; `row` is what was proven with others, None where it is read by itself."""
    if row is None:
        with registry.database.read() as tx:
            recorded = catalog.resolve(tx, Reference(name=entry.name, number=entry.number))
            newest = catalog.resolve(tx, Reference(name=entry.name))
        row = _Row(signed_version(registry, recorded), newest.number == entry.number)
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
        continues=next((parent.manifest for parent in records.manifest.parents if parent.role == "start"), None),
        signer=_person(registry, version.key_id),
        items=lambda record: registry.store.read_bytes(record.items.sha256),
        neighbours=neighbours,
        unreadable=unreadable,
        pages=mirror_route(registry).kind == "store",
        recalls=_recalls(registry, version),
        is_newest=row.is_newest,
        project=records.project,
        system=_system_metrics(registry, records.run),
        standing=_standing(registry, version, records, decided),
    )


def _standing(registry: Registry, version: Version, records: Records, decided: Decided) -> Standing:
    """How what people decided about a version stands now, by its records: no file of it is read."""
    verdict = None
    if records.modification is not None:
        model, system = verdicts_of(in_second_form(records.modification), decided=decided).both
        verdict = f"model: {model.status}; system: {system.status}"
    return Standing(
        verdict=verdict,
        gates=tuple(f"{alias}: {_gate(registry, version, alias)}" for alias in sorted(version.aliases)),
        approvals=_approvals(registry, version, records),
    )


def _gate(registry: Registry, version: Version, alias: str) -> str:
    try:
        shown = gate_by_records(registry, version, alias)
    except (IntegrityBroken, NotChecked) as error:
        # whoever reads the alias is told; its version is copied all the same
        return f"not checked, {error.what}"
    if shown is None:
        return "no policy"
    state = "open" if shown.decision.is_open else f"closed by {len(shown.decision.reasons)}"
    return f"{shown.policy}, {state}"


def _approvals(registry: Registry, version: Version, records: Records) -> str | None:
    """The persons whose newest approval counts under the policy that it names; None where nobody approved."""
    if not any(entry.kind == "approval" for entry in records.statements):
        return None
    evaluations = bound_evaluations(registry, version, records)
    votes = votes_on(registry, records.statements, bound_record(records), evaluations)
    newest = {vote.person: vote for vote in votes}
    counting = [person for person, vote in newest.items() if not vote.objection]
    return f"{len(counting)} of {len(newest)} count" + (f": {', '.join(counting)}" if counting else "")


def _system_metrics(registry: Registry, run: RunRecord | None) -> SystemMetrics | None:
    """What was sampled while a run trained; None where nothing was, or the object that holds it is lost or of another form."""
    if run is None or run.system is None:
        return None
    # a curve of the machine is no reason to show nothing of a version: whoever verifies it says what is lost
    with contextlib.suppress(KnownError, ValueError):
        return SystemMetrics.from_json(json.loads(registry.store.read_bytes(run.system.sha256)))
    return None


def _recalls(registry: Registry, version: Version) -> tuple[str, ...]:
    """The recalls that stand of a version or of what it was made from; where nothing ever was recalled, nobody walks up."""
    with registry.database.read() as tx:
        is_any = registry.database.once_while_reading(tx, "recalls", lambda: catalog.any_statement(tx, "recall"))
    if not is_any:
        return ()
    return recall_texts(registry, version.manifest_digest, label=version.label)


def _report(registry: Registry, inputs: ReportInputs) -> Content:
    """The page of a version without checks: draining reads no artifact. Rendered when it is written, and not otherwise."""
    return Content(inputs.digest, lambda: render_report(registry, inputs))


def _person(registry: Registry, key_id: str) -> str | None:
    """Whom the home's trust file names for a key; None where it names nobody, or can decide nothing now."""
    try:
        return registry.trust.person_of(key_id)
    except (IntegrityBroken, NotChecked):
        return None


@dataclass
class RouteState:
    """What is remembered of one MLflow. What was put is written with the entry that it belongs to, in one transaction."""

    registry: Registry
    route: str
    holder: str | None  # None: to be read only
    put_since: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    # since it was last read ahead, what was read and put: nobody else writes during the turn
    ahead: dict[tuple[str, str], dict[str, Any] | None] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        return f"registry.mark.{self.registry.settings.registry_id}"

    @property
    def wrote(self) -> bool:
        with self.registry.database.read() as tx:
            return catalog.count_mirrored(tx, self.route, "experiment") > 0

    def get(self, entity: str, key: str) -> dict[str, Any] | None:
        if (entity, key) in self.put_since:
            return self.put_since[entity, key]
        if (entity, key) in self.ahead:
            return self.ahead[entity, key]
        with self.registry.database.read() as tx:
            value = catalog.get_mirrored(tx, self.route, entity, key)
        if self.holder is not None:
            self.ahead[entity, key] = value
        return value

    def every(self, entity: str) -> dict[str, dict[str, Any]]:
        with self.registry.database.read() as tx:
            kept = dict(catalog.every_mirrored(tx, self.route, entity))
        return kept | {key: value for (kind, key), value in self.put_since.items() if kind == entity}

    def put(self, entity: str, key: str, value: dict[str, Any]) -> None:
        self.put_since[entity, key] = value
        self.ahead[entity, key] = value

    def read_ahead(self, things: Collection[tuple[str, str]]) -> None:
        with self.registry.database.read() as tx:
            self.ahead = catalog.get_all_mirrored(tx, self.route, things)

    def done(self, *entries: OutboxEntry) -> None:
        with self._writing() as tx:
            catalog.mark_done(tx, *(entry.id for entry in entries))

    def keep(self) -> None:
        if self.put_since:
            with self._writing():
                pass

    def again(self, entry: OutboxEntry) -> None:
        """Have a version copied once more."""
        with self._writing() as tx:
            catalog.enqueue_for(tx, self.route, subject=entry.manifest, version_label=entry.label)

    def awaits(self, label: str) -> bool:
        """Whether a version waits to be copied."""
        with self.registry.database.read() as tx:
            return catalog.awaits(tx, self.route, label)

    def is_route(self, route: str) -> bool:
        with self.registry.database.read() as tx:
            return catalog.is_route(tx, route)

    def newest_entry(self) -> int:
        with self.registry.database.read() as tx:
            return catalog.newest_entry(tx, self.route)

    def prolong(self) -> None:
        with self.registry.database.write() as tx:
            self._require_turn(tx)

    @contextmanager
    def _writing(self) -> Iterator[catalog.Transaction]:
        with self.registry.database.write() as tx:
            self._require_turn(tx)
            catalog.put_all_mirrored(tx, self.route, self.put_since)
            yield tx
        self.put_since.clear()

    def _require_turn(self, tx: catalog.Transaction) -> None:
        if self.holder is None or not catalog.keep_turn(tx, self.route, self.holder, seconds=TURN_SECONDS):
            raise TurnLost(mirror_route(self.registry).described)
