"""`rebuild`: every row that repeats the log, made again from the log, the signed statements and the manifests in the store.

    log, statements, checkpoints  stay, and are replayed first: a log that contradicts itself or a checkpoint makes no catalogue
    subtrees, snapshot            from the replay
    artifacts, files, edges       from the manifest of each registration
    versions, moves, aliases      in the order of their entries, which gives them their numbers
    what versions are found by    from the statements about them
    counts of rows                from the rows, at the end

Before all of them, every index from the rows of its table. All of it is one transaction: a kill leaves the rows as they were. It
needs the right to delete them, on a server that of the owner.
"""

import json
import re
from collections.abc import Iterator
from functools import cached_property

from pydantic import Field

from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalogue_rows import (
    REPEATING,
    count_rows,
    delete_repeating,
    state_of,
    write_nodes,
)
from peft_registry.registry.database.indexes import faults_of_file, make_indexes_again
from peft_registry.registry.database.snapshot_store import SqlSnapshot
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.rare_collections import rare_collections
from peft_registry.registry.records.entries import statement_of_entry
from peft_registry.registry.records.snapshots import read_leaf
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.records.stored_signatures import signed_payload
from peft_registry.registry.records.views import View
from peft_registry.registry.storage.interface import ObjectInfo
from peft_registry.registry.use_cases.check_log import replay_signed_log
from peft_registry.registry.use_cases.fill_facets import write_facets
from peft_registry.registry.verification.log_replay import LogReplay
from peft_registry.schemas.acts import AliasPredicate, GatePredicate
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.progress import Finished, Observe, Started, ignore
from peft_registry.schemas.statement import CardPredicate, Statement

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class RebuildRefused(IntegrityBroken):
    what = "the catalogue cannot be made again from this log"
    why = "{place}: {text}"
    fix = "nothing was changed; `registry log check` names all that is wrong: restore the home from a backup"

    place: str
    text: str


class RebuiltTable(Frozen):
    """A table that was made again: its rows before and after, and whether any of them is another now."""

    table: str
    before: int
    after: int
    changed: bool


class Rebuilt(Frozen):
    """What was made again. `indexes`: what was wrong in them before, the first of it."""

    tables: tuple[RebuiltTable, ...]
    indexes: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)

    @property
    def changed(self) -> tuple[RebuiltTable, ...]:
        """The tables of which any row was another, or gone."""
        return tuple(table for table in self.tables if table.changed)


def rebuild(registry: Registry, *, observe: Observe = ignore) -> Rebuilt:
    """Make every row that repeats the log again.

    Args:
        registry: opened with `check_log=False`: the rows that a log is opened by may be among those that are gone.
        observe: hears of progress.

    Raises:
        RebuildRefused: the log contradicts itself, its statements or a checkpoint that survives.
        NotChecked: no trust file says whose word counts.
        ObjectMissing, ObjectCorrupt: the manifest of a registered artifact is not in the store.
        PrivilegeMissing: this role does not own the tables.
        DatabaseCorrupt: rows that an index hid are there twice.
        HomeReadOnly, SchemaMismatch, DatabaseLocked, DiskFull: nothing can be written. In all these cases nothing was changed.
    """
    registry.require_writable()
    _ = registry.trust  # without it nothing says which statements and checkpoints count
    with rare_collections(), registry.database.write() as tx:
        # what is read next goes by indexes
        wrong = faults_of_file(tx).indexes
        make_indexes_again(tx, registry.database.where)
        replay = replay_signed_log(registry, tx, observe=observe)
        for contradiction in replay.findings.contradictions:
            raise RebuildRefused(contradiction.place, contradiction.text)
        before = {table.name: state_of(tx, table) for table in REPEATING}
        remaking = _Remaking(registry, tx, replay)
        observe(Started("catalogue", total=0, unit="rows"))
        remaking.run()
        observe(Finished("catalogue"))
        after = {table.name: state_of(tx, table) for table in REPEATING}
    return Rebuilt(
        tables=tuple(
            RebuiltTable(
                table=name, before=before[name].rows, after=state.rows, changed=before[name].digest != state.digest
            )
            for name, state in after.items()
        ),
        indexes=wrong,
    )


class _Remaking:
    """The rows of one log, written in the caller's transaction."""

    def __init__(self, registry: Registry, tx: catalog.Transaction, replay: LogReplay) -> None:
        self._registry = registry
        self._tx = tx
        self._replay = replay
        self._signed_before = catalog.recorded_signatures(tx)
        self._manifests: dict[Digest, Manifest] = {}

    def run(self) -> None:
        tx, projection = self._tx, self._replay.projection
        versions = sorted(
            (version for numbered in projection.versions.values() for version in numbered),
            key=lambda version: version.index,
        )
        for version in versions:
            if version.manifest not in self._manifests:
                self._manifests[version.manifest] = stored_manifest(self._registry, version.manifest)
        delete_repeating(tx)
        write_nodes(tx, self._replay.nodes)
        SqlSnapshot(tx).write(self._replay.snapshot_nodes, self._replay.snapshot_values or {})
        described: set[Digest] = set()
        for version in versions:
            if version.manifest not in described:
                described.add(version.manifest)
                self._insert_artifact(version.manifest)
            catalog.add_version(
                tx,
                name=version.name,
                manifest_digest=version.manifest,
                key_id=version.key,
                registered_at=version.registered_at,
                log_index=version.index,
            )
        for move in projection.moves:
            number = None if move.manifest is None else projection.number_of(move.name, move.manifest)
            catalog.set_alias(
                tx, name=move.name, alias=move.alias, number=number, statement_digest=move.statement, at=move.moved_at
            )
        self._keep_objects()
        write_facets(View(self._registry, tx))
        count_rows(tx)

    def _insert_artifact(self, digest: Digest) -> None:
        manifest = self._manifests[digest]
        has_all = all(entry.sha256 in self._stored for entry in manifest.files)
        catalog.insert_artifact(
            self._tx,
            manifest=manifest,
            manifest_digest=digest,
            manifest_size=len(manifest.to_canonical()),
            size_bytes=sum(entry.size for entry in manifest.files),
            signature_digest=self._signature_of(digest),
            card_digest=self._first_card(digest),
            by_reference=manifest.kind == "base" and not has_all,
        )

    @cached_property
    def _stored(self) -> dict[Digest, ObjectInfo]:
        return {info.digest: info for info in self._registry.store.list()}

    @cached_property
    def _signatures(self) -> dict[Digest, list[ObjectInfo]]:
        """The signatures in the store by what they sign, the oldest first: of an artifact with two names the row has the first."""
        found: dict[Digest, list[ObjectInfo]] = {}
        for info in sorted(self._stored.values(), key=lambda info: (info.modified_at, info.digest)):
            payload = signed_payload(self._registry, info)
            if payload is not None:
                found.setdefault(payload, []).append(info)
        return found

    def _signature_of(self, digest: Digest) -> Digest | None:
        """The signature that the artifact was registered with: the one of its row, if it is one; else one from the store."""
        listings = self._replay.listings.get(digest, set())
        recorded = self._signed_before.get(digest)
        info = None if recorded is None else self._stored.get(recorded)
        if info is not None and signed_payload(self._registry, info) in listings:
            return info.digest
        for listing in sorted(listings):
            for info in self._signatures.get(listing, ()):
                return info.digest
        return None

    def _first_card(self, digest: Digest) -> Digest | None:
        for said in catalog.statements_of(self._tx, subject=digest):
            if said.kind == "card":
                return CardPredicate.from_json(said.statement.predicate).sha256
        return None

    def _keep_objects(self) -> None:
        """Record which objects belong to what was said: policies, cards, and what statements name beside the files of artifacts."""
        files = {entry.sha256 for manifest in self._manifests.values() for entry in manifest.files}
        of_artifacts = {*files, *self._manifests}
        for subject, statement in self._said():
            for digest, role in _objects_of(statement):
                is_kept = role != "evidence" or (digest in self._stored and digest not in of_artifacts)
                if is_kept and (role == "policy" or subject in self._manifests):
                    catalog.keep_object(self._tx, digest=digest, subject=subject, role=role)

    def _said(self) -> Iterator[tuple[Digest, Statement]]:
        for row in catalog.every_entry(self._tx):
            leaf = read_leaf(row.leaf)
            if isinstance(leaf, Event):
                yield leaf.subject, statement_of_entry(self._tx, row.index, leaf).statement


def _objects_of(statement: Statement) -> Iterator[tuple[Digest, str]]:
    """The objects that a statement may name, and in which role they are kept for its subject."""
    match statement.kind:
        case "gate":
            policy = GatePredicate.from_json(statement.predicate).policy
            if policy is not None:
                yield policy, "policy"
        case "alias":
            gate = AliasPredicate.from_json(statement.predicate).gate
            if gate is not None:
                yield gate.policy, "policy"
        case "card":
            yield CardPredicate.from_json(statement.predicate).sha256, "card"
        case "registration":
            return
        case _:
            for digest in dict.fromkeys(_DIGEST.findall(json.dumps(statement.predicate))):
                yield Digest.parse(digest), "evidence"
