"""What the database holds beside the log (nodes, snapshot, versions, aliases, artifacts), held against what the entries give.

Every row is looked at, in both directions: what the entries give and no row has is named as well. The replay is complete before.
"""

from typing import TYPE_CHECKING

from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalog.sources import wrong_sources
from peft_registry.registry.database.snapshot_store import SqlSnapshot
from peft_registry.registry.records.entries import misplaced
from peft_registry.registry.signing.oms import parse_bundle
from peft_registry.registry.verification.log_replay import LogReplay
from peft_registry.registry.verification.recorded_rows import version_contradictions
from peft_registry.registry.verification.signed_versions import held_against_manifest
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started

if TYPE_CHECKING:
    from peft_registry.registry.database.catalog import NumberedVersion

_REPORT_EVERY = 5_000  # artifacts between two lines of progress


def compare_snapshot(replay: LogReplay, tx: catalog.Transaction) -> None:
    """The stored tree is that of the last snapshot."""
    if replay.newest_snapshot is None:
        return  # of an earlier release; its database may have no such table
    missing = dict(replay.snapshot_nodes)
    for row in SqlSnapshot(tx).rows():
        place = f"snapshot node {row.prefix} at depth {row.depth}"
        try:
            expected = missing.pop(row.position, None)
            stored = row.node  # a pair has the hash of its value: an edited value is another node
        except IntegrityBroken as error:
            replay.findings.contradict(place, error)
            continue
        if stored != expected:
            replay.findings.contradict(place, "it is not that of the last snapshot")
    for depth, prefix in missing:
        replay.findings.contradict(f"snapshot node {prefix:x} at depth {depth}", "it is not stored")


def compare_nodes(replay: LogReplay, tx: catalog.Transaction) -> None:
    """The stored subtrees are those of the entries, each once."""
    if replay.has_gaps:
        return  # every later subtree is another then, which says no more than the gap does
    missing = dict(replay.nodes)
    for level, index, node in catalog.every_node(tx):
        place = f"subtree {index} of level {level}"
        expected = missing.pop((level, index), None)
        if expected is None:
            replay.findings.contradict(place, "it is stored, and the entries give no such subtree")
        elif expected != node:
            replay.findings.contradict(place, "its stored hash is not that of its entries")
    for level, index in missing:
        replay.findings.contradict(f"subtree {index} of level {level}", "it is not stored")


def compare_projection(replay: LogReplay, tx: catalog.Transaction) -> None:
    """Versions, numbers and aliases are those that the entries give."""
    logged = {
        (version.name, version.number): version
        for numbered in replay.projection.versions.values()
        for version in numbered
    }
    for row in catalog.every_version(tx):
        version = logged.pop((row.name, row.number), None)
        place = f"{row.name}:{row.number}"
        if version is None:
            replay.findings.contradict(place, "it is in the catalogue, and no entry registers it")
        elif (version.manifest, version.index) != (row.manifest, row.log_index):
            replay.findings.contradict(
                place, f"entry {version.index} registers {version.manifest}, recorded is {row.manifest}"
            )
        elif (version.key, version.registered_at) != (row.key_id, row.registered_at):
            replay.findings.contradict(
                place,
                f"entry {version.index} is of {version.registered_at} by key {version.key:.12}…, "
                f"recorded is {row.registered_at} by key {row.key_id:.12}…",
            )
    for name, number in logged:
        replay.findings.contradict(f"{name}:{number}", "an entry registers it, and the catalogue does not have it")
    _compare_moves(replay, tx)


def _compare_moves(replay: LogReplay, tx: catalog.Transaction) -> None:
    logged = {move.statement: move for move in replay.projection.moves}
    newest = -1
    for row in catalog.every_move(tx):
        place = f"{row.name}@{row.alias}"
        move = logged.pop(row.statement_digest, None)
        if move is None:
            replay.findings.contradict(place, f"a move to {row.number} is recorded, and no entry says so")
            continue
        number = None if move.manifest is None else replay.projection.number_of(move.name, move.manifest)
        if (move.name, move.alias, number) != (row.name, row.alias, row.number):
            replay.findings.contradict(place, f"entry {move.index} moves {move.name}@{move.alias} to {number}")
        if move.moved_at != row.at:
            replay.findings.contradict(place, f"entry {move.index} moves it at {move.moved_at}, recorded is {row.at}")
        if move.index < newest:
            replay.findings.contradict(place, f"entry {move.index} moves it, recorded is a later move before")
        newest = max(newest, move.index)
    for move in logged.values():
        replay.findings.contradict(
            f"{move.name}@{move.alias}", f"entry {move.index} moves it, and no such move is recorded"
        )
    numbers = {
        key: replay.projection.number_of(move.name, move.manifest)
        for key, move in replay.projection.aliases.items()
        if move.manifest is not None
    }
    for name, alias, number in catalog.every_alias(tx):
        logged_number = numbers.pop((name, alias), None)
        if logged_number != number:
            replay.findings.contradict(
                f"{name}@{alias}", f"it points to {number}, the log says {logged_number or 'nothing'}"
            )
    for (name, alias), number in numbers.items():
        replay.findings.contradict(f"{name}@{alias}", f"the log points it to {number}, the catalogue has no such alias")


def compare_artifacts(replay: LogReplay, tx: catalog.Transaction, observe: Observe) -> None:
    """Every row that describes an artifact, and what the rows of its versions repeat, is what its signed manifest says."""
    versions: dict[Digest, list[NumberedVersion]] = {}
    for row in catalog.every_version(tx):
        versions.setdefault(row.manifest, []).append(row)
    recorded = catalog.every_artifact(tx)
    described = set(recorded)
    for logged in (version for numbered in replay.projection.versions.values() for version in numbered):
        if f"{logged.manifest}" not in described:
            replay.findings.contradict(
                f"{logged.name}:{logged.number}",
                "an entry registers it, and the catalogue describes no such artifact",
            )
    observe(Started("artifacts", total=len(recorded), unit="artifacts"))
    for done, text in enumerate(recorded, start=1):
        try:
            digest = Digest.parse(text)
        except MalformedDigest as error:
            replay.findings.contradict(f"artifact {text}", error)
            continue
        _compare_artifact(replay, tx, digest, versions.get(digest, []))
        if done % _REPORT_EVERY == 0:
            observe(Advanced("artifacts", done))
    observe(Finished("artifacts"))


def compare_sources(replay: LogReplay, tx: catalog.Transaction) -> None:
    """What each version was made from is what the edges say, which `compare_artifacts` holds against the manifests."""
    for wrong in wrong_sources(tx):
        is_said = "and no row says so" if wrong.is_missing else "a row says, and no edge does"
        replay.findings.contradict(f"{wrong.name}:{wrong.number}", f"it was made from {wrong.source}: {is_said}")


def _compare_artifact(
    replay: LogReplay, tx: catalog.Transaction, digest: Digest, versions: "list[NumberedVersion]"
) -> None:
    labels = [f"{row.name}:{row.number}" for row in versions]
    place = labels[0] if labels else f"artifact {digest.short}"
    try:
        recorded = catalog.recorded_artifact(tx, manifest_digest=digest)
        manifest, contradictions = held_against_manifest(replay.registry, recorded, digest)
        for contradiction in contradictions:
            replay.findings.contradict(place, contradiction)
    except (IntegrityBroken, catalog.ArtifactUnknown) as error:
        replay.findings.contradict(place, error)
        return
    except NotChecked as error:  # the store lost its manifest, which accuses nobody
        replay.findings.leave_unchecked(place, error)
        return
    reason = misplaced("base", manifest)
    for entry in replay.bases.get(digest, ()) if reason else ():
        replay.findings.contradict(entry, reason)
    for text in replay.records.first_records(digest, manifest):
        replay.findings.contradict(place, text)
    for statement, why in replay.records.unchecked(digest):
        replay.findings.unchecked.append(f"{place}: modification {statement.short}, {why}")
    for label, row in zip(labels, versions, strict=True):
        for contradiction in version_contradictions(row, manifest):
            replay.findings.contradict(label, contradiction)
    if digest in replay.listings:  # of a registration that was taken out of the log only the rows are left
        _compare_files(replay, place, digest, recorded)


def _compare_files(replay: LogReplay, place: str, digest: Digest, recorded: catalog.RecordedArtifact) -> None:
    """The card and the signature that a row points to are those that were signed."""
    card, signature = recorded.columns["card_digest"], recorded.columns["signature_digest"]
    cards = replay.cards.get(digest, set())
    if (card is not None or cards) and card not in cards:
        replay.findings.contradict(place, f"card: {card} in the catalogue, and nobody signed it")
    if signature is None:
        replay.findings.contradict(place, "signature: none in the catalogue, and one was registered")
        return
    try:
        assert isinstance(signature, Digest), "the column holds digests"
        listing = parse_bundle(replay.registry.store.read_bytes(signature)).payload_digest
    except IntegrityBroken as error:
        replay.findings.contradict(place, error)
    except NotChecked as error:
        replay.findings.leave_unchecked(place, error)
    else:
        if listing not in replay.listings[digest]:
            replay.findings.contradict(
                place, f"signature: {signature} in the catalogue is not the one that was registered"
            )
