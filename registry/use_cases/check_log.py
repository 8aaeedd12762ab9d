"""`registry log check`: the whole log replayed from its bytes, and everything in the database held against it.

Nothing that the database says is believed: not the stored leaf hashes, not the nodes, not the projection. What remains is

    entries      gapless, each a canonical log event; leaf hashes and nodes are those of the bytes
    statements   one an entry, of the digest, kind and subject that the leaf names, signed by a key whose role may say it
    snapshots    each has the root of everything that the entries before it say; the stored tree is that of the last one
    gates        a move passed the policy that its alias was bound to by the entries before it
    projection   versions, numbers and aliases are those that the entries give, no more and no fewer
    indexes      each of a SQLite file has an entry for each row of its table, and no other
    artifacts    every row that describes one, its edges in the lineage graph too, is what its signed manifest says
    checkpoints  each one kept in the database or beside it is signed by a log key and is a prefix of this log, or an accepted loss
    epochs       each accepted loss has its first leaf, behind exactly the entries that were kept

Every contradiction is named, not only the first. Reads the whole log and the manifest of every artifact: minutes at millions of
entries. What is read at every command is `records/references.py`.
"""

from collections.abc import Iterable

from pydantic import Field

from peft_registry.registry.database import catalog
from peft_registry.registry.database.indexes import faults_of_file
from peft_registry.registry.database.tables import SOURCES_SINCE
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.rare_collections import rare_collections
from peft_registry.registry.homes.remembered_stops import StopMemoryUnreadable
from peft_registry.registry.records.lost_rows import lost_rows
from peft_registry.registry.records.snapshots import CheckpointsRemoved
from peft_registry.registry.records.standing_acts import lost_stops
from peft_registry.registry.records.views import View
from peft_registry.registry.transparency import note
from peft_registry.registry.transparency.epochs import (
    EpochNotOpened,
    LossNotAccepted,
    require_signed_losses,
)
from peft_registry.registry.use_cases.fill_facets import facet_contradictions
from peft_registry.registry.verification.log_replay import Contradiction, LogReplay
from peft_registry.registry.verification.replayed_rows import (
    compare_artifacts,
    compare_nodes,
    compare_projection,
    compare_snapshot,
    compare_sources,
)
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.progress import Observe, ignore


class LogReport(Frozen):
    """What a whole check found. `covered` entries stand under a signed checkpoint; those behind are pending."""

    origin: str
    size: int
    covered: int
    root: str
    versions: int
    aliases: int
    statements: int
    checkpoints: int
    contradictions: tuple[Contradiction, ...]
    unchecked: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()  # checkpoints whose loss a root accepted: nothing is compared with them
    # to its schema by others, and never run
    added: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    lost_stops: tuple[
        str, ...
    ] = ()  # that this user remembers, and the database has lost before a checkpoint covered them

    @property
    def exit_code(self) -> int:
        """0, 5 where something could not be checked, 6 where something contradicts."""
        if self.contradictions:
            return IntegrityBroken.exit_code
        return NotChecked.exit_code if self.unchecked else 0


def check_log(registry: Registry, *, against: Iterable[str] = (), observe: Observe = ignore) -> LogReport:
    """Replay the log of an open registry.

    Args:
        registry: opened with `check_log=False`, so that a log that does not continue its checkpoint can be looked at.
        against: texts of checkpoints that were kept elsewhere; each must be a prefix of this log.
        observe: hears of progress.
    """
    with rare_collections(), registry.database.read() as tx:
        kept = _kept_checkpoints(registry, tx, against)
        replay = LogReplay(registry, sizes=_wanted_sizes(registry, kept))
        # first: of an index that lies much of what is found after it comes
        faults = faults_of_file(tx)
        for wrong in faults.indexes:
            replay.findings.contradict("the database, indexes", f"{wrong}; `registry admin rebuild` makes them again")
        for wrong in faults.pages:
            replay.findings.contradict("the database, pages", f"{wrong}; restore the home from a backup")
        replay.read_entries(tx, observe)
        compare_nodes(replay, tx)
        compare_snapshot(replay, tx)
        compare_projection(replay, tx)
        compare_artifacts(replay, tx, observe)
        if registry.database.is_since(SOURCES_SINCE):
            compare_sources(replay, tx)
        view = View(registry, tx)
        for place, wrong in facet_contradictions(view):
            replay.findings.contradict(place, wrong)
        for missing in lost_rows(view):
            replay.findings.contradict("the database, counts", missing)
        _compare_sizes(replay, catalog.every_checkpoint(tx))
        _compare_epochs(replay)
        lost: tuple[str, ...] = ()
        try:
            lost = lost_stops(registry, tx)
        except StopMemoryUnreadable as error:
            replay.findings.leave_unchecked("your state folder", error)
    covered = _compare_checkpoints(replay, kept)
    return LogReport(
        origin=registry.origin,
        size=replay.size,
        covered=covered,
        root=replay.root.hex(),
        versions=sum(len(numbered) for numbered in replay.projection.versions.values()),
        aliases=len(replay.projection.aliases),
        statements=replay.statements,
        checkpoints=len(kept),
        contradictions=tuple(replay.findings.contradictions),
        unchecked=tuple(dict.fromkeys(replay.findings.unchecked)),
        accepted=tuple(dict.fromkeys(replay.findings.accepted)),
        added=registry.database.added_to_schema,
        lost_stops=lost,
    )


def replay_signed_log(registry: Registry, tx: catalog.Transaction, *, observe: Observe = ignore) -> LogReplay:
    """The log replayed in a transaction and held against every checkpoint that survives, with the values of its last snapshot.

    What else the database holds is not looked at: its catalogue may be gone.
    """
    kept = _kept_checkpoints(registry, tx, ())
    replay = LogReplay(registry, sizes=_wanted_sizes(registry, kept), snapshot_values={})
    replay.read_entries(tx, observe)
    _compare_epochs(replay)
    _compare_checkpoints(replay, kept)
    return replay


def _kept_checkpoints(registry: Registry, tx: catalog.Transaction, given: Iterable[str]) -> list[tuple[str, str]]:
    """(place, text) of every checkpoint that survives, and of those that were given."""
    kept = [("the database", text) for _, text in catalog.every_checkpoint(tx)]
    kept += registry.remembered_checkpoints()
    return kept + [("the checkpoint that was given", text) for text in given]


def _wanted_sizes(registry: Registry, kept: Iterable[tuple[str, str]]) -> frozenset[int]:
    """The sizes at which a checkpoint or an epoch names a root."""
    return _sizes_of(text for _, text in kept) | {stated.epoch.kept_size for stated in registry.epochs.stated}


def _sizes_of(checkpoints: Iterable[str]) -> frozenset[int]:
    """The sizes at which a root is wanted, as far as the texts can be read."""
    sizes = set()
    for text in checkpoints:
        try:
            sizes.add(note.read_unverified(text)[1])
        except IntegrityBroken:
            continue  # reported when the checkpoint itself is compared
    return frozenset(sizes)


def _compare_sizes(replay: LogReplay, recorded: Iterable[tuple[int, str]]) -> None:
    """Each checkpoint in the database is recorded under its own size: by that the newest is found."""
    for size, text in recorded:
        try:
            signed = note.read_unverified(text)[1]
        except IntegrityBroken:
            continue  # reported when the checkpoint itself is compared
        if size != signed:
            replay.findings.contradict(
                "the database, checkpoints", f"one of size {signed} is recorded as of size {size}"
            )


def _compare_epochs(replay: LogReplay) -> None:
    """Each accepted loss that the log had since begins an epoch, behind the entries that were kept."""
    try:
        require_signed_losses(replay.registry.epochs, replay.registry.log_keys)
    except NotChecked:
        return  # said of the checkpoints
    except KnownError as error:
        replay.findings.contradict("the trust file", error)
    for stated in replay.registry.epochs.standing_in_log:
        epoch = stated.epoch
        place = f"epoch {epoch.number}"
        if epoch.number not in replay.begun:
            missing = EpochNotOpened(epoch.number, f"entry {epoch.kept_size} is not the leaf that begins it")
            replay.findings.contradict(place, missing)
        root = replay.roots.get(epoch.kept_size)
        if root is None or root.hex() != epoch.kept_root:
            other = EpochNotOpened(epoch.number, f"its first {epoch.kept_size} entries are not those that were kept")
            replay.findings.contradict(place, other)


def _compare_checkpoints(replay: LogReplay, kept: Iterable[tuple[str, str]]) -> int:
    """Every checkpoint is a signed prefix of this log; returns how many entries the largest one covers."""
    covered = 0
    try:
        keys = replay.registry.log_keys
    except NotChecked as error:
        replay.findings.unchecked.append(f"checkpoints: {error.what}: {error.why}")
        return covered
    epochs = replay.registry.epochs
    for where, text in kept:
        try:
            origin = epochs.origins[epochs.number_of(text)]
            checkpoint = note.verify_checkpoint(text, origin=origin, keys=keys)
        except KnownError as error:
            replay.findings.contradict(where, error)
            continue
        place = f"{where}, size {checkpoint.size}"
        match epochs.standing_of(text, size=replay.size, root_at=replay.roots.get):
            case "accepted":
                _accept(replay, place, text)
            case "shorter":
                replay.findings.contradict(
                    place, f"it covers {checkpoint.size} entries, the log holds {replay.size}", "log-truncated"
                )
            case "beyond":
                lost = "it is of an earlier epoch, and nobody accepted the loss of what it covers"
                replay.findings.contradict(place, lost, LossNotAccepted.reference)
            case "forked":
                replay.findings.contradict(place, "its root is not that of the first entries", "log-forked")
            case "continued":
                covered = max(covered, checkpoint.size)
    if replay.newest_snapshot is not None and replay.newest_snapshot >= covered:
        replay.findings.contradict(
            f"entry {replay.newest_snapshot}", CheckpointsRemoved(replay.newest_snapshot, covered)
        )
    return covered


def _accept(replay: LogReplay, place: str, text: str) -> None:
    stated = replay.registry.epochs.accepted_loss(text)
    assert stated is not None, "the standing of this checkpoint"
    epoch = stated.epoch
    replay.findings.accepted.append(
        f"{place}: accepted loss in epoch {epoch.number}, by {epoch.accepted_by} at {epoch.accepted_at}: {epoch.reason}"
    )
