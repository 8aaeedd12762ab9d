"""What is printed of versions, as it was signed and logged and not as the rows say.

Whoever can write the database can change rows. Here they are held against the signed manifest and the log, and the first
contradiction ends it; `registry verify` names all of them and looks at the bytes too. Of aliases those count that the log gives.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalog.graph import versions_below, versions_of_sources
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.rare_collections import rare_collections
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.registry.records.lineage import lineage_of
from peft_registry.registry.records.lost_rows import require_edges, require_registrations, require_rows
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.records.views import VersionsDiffer, View, view_of
from peft_registry.registry.signing import dsse
from peft_registry.registry.transparency import snapshot
from peft_registry.registry.verification.recorded_rows import WeightsOf, row_contradictions, version_contradictions
from peft_registry.schemas.acts import AliasPredicate
from peft_registry.schemas.facets import Facet
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lineage import Lineage
from peft_registry.schemas.log import Event
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.version import Version

LINEAGE_EDGES = 100  # that are shown below something: a base may have gone into ten thousand versions
_PAGE = 1000  # versions of one reading
_ROWS_AS_SIGNED = "rows as signed"
_ROWS_AT_ONCE = 500  # of versions that are proven together, or among which those of a kind are looked for, at most


def signed_version(registry: Registry, version: Version) -> Version:
    """A version with the aliases that the log gives it.

    Raises:
        VersionsDiffer: a row of it is not what was signed or logged.
        SaidDiffers, PathRejected, LogForked, LogTruncated: the database is not what was logged.
        ObjectMissing, ObjectCorrupt: the store lost its manifest or changed it.
    """
    return signed_versions(registry, (version,))[0]


def signed_versions(registry: Registry, versions: Iterable[Version]) -> tuple[Version, ...]:
    """Each version with the aliases that the log gives it; of each name that occurs, none was removed.

    Raises:
        As `signed_version`.
    """
    versions = tuple(versions)
    with view_of(registry) as view:
        view.require_log()
        signed: list[Version] = []
        for start in range(0, len(versions), _ROWS_AT_ONCE):
            signed += _signed_together(view, versions[start : start + _ROWS_AT_ONCE])
            view.forget()
        return tuple(signed)


def _signed_together(view: View, versions: tuple[Version, ...]) -> list[Version]:
    """As `signed_versions`, of so many that what proves them fits in memory."""
    digests = tuple({version.manifest_digest for version in versions})
    heads = view.heads(digests)
    moves = _moves(view.tx, {head.digest for said in heads.values() for head in said if head.kind == "alias"})
    rows = _Rows(catalog.recorded_artifacts(view.tx, digests), heads, moves)
    _read_ahead(view, versions, moves.values())
    _require_all_numbers(view, {version.name for version in versions})
    return [_signed(view, version, rows=rows) for version in versions]


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the catalogue has of the artifacts of several versions: read at once, which is cheaper."""

    artifacts: Mapping[Digest, catalog.RecordedArtifact]
    statements: Mapping[Digest, tuple[catalog.StatementHead, ...]]
    moves: Mapping[Digest, AliasPredicate]  # by the digest of their statement


def _read_ahead(view: View, versions: tuple[Version, ...], moves: Iterable[AliasPredicate]) -> None:
    """Read what proves all of them at once: one after the other takes several times as long."""
    keys = [snapshot.version_key(version.name, version.number) for version in versions]
    keys += [snapshot.artifact_key(version.manifest_digest) for version in versions]
    keys += [snapshot.name_key(name) for name in {version.name for version in versions}]
    keys += [snapshot.alias_key(name, alias) for name, alias in {(move.name, move.alias) for move in moves}]
    view.read_ahead(keys=keys, entries=[version.log_index for version in versions])


def all_signed_versions(
    registry: Registry, *, name_prefix: str | None = None, kind: str | None = None
) -> Iterator[Version]:
    """Every version, by name and number, as its signed manifest says; read in pages.

    Raises:
        As `signed_page`.
    """
    after: catalog.PageKey | None = None
    while True:
        with rare_collections():
            page = signed_page(registry, name_prefix=name_prefix, kind=kind, after=after, limit=_PAGE)
        yield from page.versions
        after = page.next
        if after is None:
            return


def signed_page(
    registry: Registry,
    *,
    name_prefix: str | None = None,
    kind: str | None = None,
    after: catalog.PageKey | None = None,
    limit: int = 100,
) -> catalog.VersionPage:
    """At most `limit` versions behind `after`, as `signed_versions`; of a kind, if one is asked for.

    What decides which versions are of a kind are their signed manifests: every version that is passed over is held against its
    own, so that looking for a rare kind reads as many manifests as there are versions.

    Raises:
        VersionsDiffer: the log registers a version that has no row.
        KnownError: as `signed_version`, for a version that is left out too.
    """
    where = catalog.VersionFilter(name_prefix=name_prefix)
    if kind is None:
        with view_of(registry) as view:
            if after is None:
                require_registrations(view)
            page = catalog.list_versions(view.tx, where=where, after=after, limit=limit)
        return catalog.VersionPage(signed_versions(registry, page.versions), page.next)
    matches: list[Version] = []
    rows = limit + 1  # most registries are of one kind: reading more would hash manifests for nothing
    with view_of(registry) as view:
        view.require_log()
        if after is None:
            require_registrations(view)
        while len(matches) <= limit:
            page = catalog.list_versions(view.tx, where=where, after=after, limit=min(rows, _ROWS_AT_ONCE))
            rows *= 2
            _require_all_numbers(view, {version.name for version in page.versions})
            matches += [version for version in page.versions if _logged_manifest(view, version).kind == kind]
            view.forget()
            after = page.next
            if after is None:
                break
    listed = signed_versions(registry, matches[:limit])
    last = listed[-1] if len(matches) > limit else None
    return catalog.VersionPage(listed, None if last is None else (last.name, last.number))


def require_found_as_signed(registry: Registry, versions: Sequence[Version]) -> None:
    """Raise unless each of these versions is found as what its manifest and its registration say; its rows are read at once.

    A word that somebody exchanged hides a version from whoever asks for it by that. Where it is shown, it can be told.

    Raises:
        VersionsDiffer: rows say something else, or lack a word.
    """
    if not registry.database.is_current:  # an earlier release kept no such rows, or other ones
        return
    keys = [(version.name, version.number) for version in versions]
    with view_of(registry) as view:
        rows = catalog.facets_of_versions(view.tx, keys, sorted(catalog.FROM_MANIFEST))
    for version in versions:
        recorded = rows.get((version.name, version.number), {})
        found = {Facet(name, value) for name, values in recorded.items() for value in values}
        said = set(catalog.facets_of_manifest(signed_manifest(registry, version), version.key_id))
        # that none is left is counted by whoever asks by them
        for facet in sorted(found ^ said if found else (), key=lambda facet: (facet.name, str(facet.value))):
            where = "in the catalogue, and nothing says it" if facet in found else "signed, and no row has it"
            raise VersionsDiffer(version.name, f"{version.label}, {facet.name}: {facet.value} is {where}")


def signed_lineage(
    registry: Registry, focus: Digest, *, depth: int | None = None, limit: int | None = LINEAGE_EDGES
) -> Lineage:
    """The lineage of an artifact or a data file, each of its artifacts as its manifest and the log say.

    `depth` and `limit` are those of `lineage_of`; what the limit leaves out is counted.

    Raises:
        RowsMissing: edges, or rows of what came of it, are gone.
        KnownError: as `signed_version`.
    """
    with view_of(registry) as view:
        view.require_log()
        require_edges(view)
        lineage = lineage_of(view.tx, focus=focus, depth=depth, limit=limit)
        if depth is not None or (limit is not None and len(lineage.edges) >= limit):
            lineage = lineage.revised(rest=_versions_beyond(view, lineage))
        made = {edge.target for edge in lineage.edges}
        for node in lineage.nodes:
            if node.kind == "unknown" and node.digest in made:
                raise VersionsDiffer(
                    node.label, f"the catalogue says what {node.digest} was made from, and has no such artifact"
                )
        artifacts = {node.digest: node.label for node in lineage.nodes if node.kind not in ("data", "unknown")}
        _require_artifacts(view, artifacts)
    return lineage


def prove_artifacts(registry: Registry, versions: Iterable[Version]) -> None:
    """In a block of `reading`, hold the artifacts of these versions against what was signed and logged, for `signed_lineage`.

    Raises:
        As `signed_version`, if any of them is not so.
    """
    labels = {version.manifest_digest: version.label for version in versions}
    with view_of(registry) as view:
        view.require_log()
        _require_artifacts(view, labels)


def signed_manifest(registry: Registry, version: Version) -> Manifest:
    """The manifest of a version of `signed_versions`; in a block of `reading` it is not read again.

    Raises:
        ObjectMissing, ObjectCorrupt, MalformedJson, ManifestMalformed: as `stored_manifest`.
    """
    with view_of(registry) as view:
        known = view.once(_ROWS_AS_SIGNED, dict[Digest, Manifest])
    return known.get(version.manifest_digest) or stored_manifest(registry, version.manifest_digest)


def _require_artifacts(view: View, labels: Mapping[Digest, str]) -> None:
    """Raise unless the rows of these artifacts and of their versions say what was signed and logged; all are read at once.

    In a block of `reading` each is held against that once: many have the same base above them.
    """
    proven = view.once("artifacts as signed", set[Digest])
    digests = tuple(digest for digest in labels if digest not in proven)
    if not digests:
        return
    versions = catalog.versions_of_artifacts(view.tx, digests)
    recorded = catalog.recorded_artifacts(view.tx, digests)
    keys = [snapshot.version_key(version.name, version.number) for version in versions]
    view.read_ahead(keys=keys, entries=[version.log_index for version in versions])
    for version in versions:
        _require_as_logged(view, version)
    for digest in digests:
        if digest not in recorded:
            raise catalog.ArtifactUnknown(digest)
        _require_rows(view, recorded[digest], digest, labels[digest])
    proven.update(digests)


def _versions_beyond(view: View, lineage: Lineage) -> int:
    """How many versions came of the focus, at whatever distance, that the graph does not have."""
    starts = [lineage.focus]
    if view.registry.database.is_current:
        require_rows(view, "source", [str(lineage.focus)])
        came = versions_of_sources(view.tx, starts, limit=0).count
    else:
        came = versions_below(view.tx, starts, limit=0).count
    after = {lineage.focus}
    for edge in lineage.edges:  # sources first
        if edge.source in after:
            after.add(edge.target)
    return came - sum(len(catalog.version_by_digest(view.tx, manifest_digest=digest)) for digest in sorted(after))


def _signed(view: View, version: Version, *, rows: _Rows) -> Version:
    _require_as_logged(view, version)
    recorded = rows.artifacts.get(version.manifest_digest)
    if recorded is None:
        raise catalog.ArtifactUnknown(version.manifest_digest)
    manifest = _require_rows(view, recorded, version.manifest_digest, version.label)
    _require_version_row(version, manifest)
    # a log of an earlier release: an alias counts with its signed move, which reading one checks
    if view.newest is None:
        return version.revised(origin=manifest.origin)
    return version.revised(aliases=tuple(_aliases(view, version, rows=rows)), origin=manifest.origin)


def _logged_manifest(view: View, version: Version) -> Manifest:
    """The manifest of a version that was logged so, if its row repeats what that says."""
    _require_as_logged(view, version)
    manifest = stored_manifest(view.registry, version.manifest_digest)
    _require_version_row(version, manifest)
    return manifest


def _require_version_row(version: Version, manifest: Manifest) -> None:
    """Raise VersionsDiffer unless the row of a version repeats what its manifest says."""
    for contradiction in version_contradictions(version, manifest):
        raise VersionsDiffer(version.name, f"{version.label}, {contradiction}")


def _require_as_logged(view: View, version: Version) -> None:
    """Raise VersionsDiffer unless the entry of a version registers it, with the key and at the time that its row says."""
    view.require_logged(version)
    leaf = view.leaf(version.log_index)
    if not isinstance(leaf, Event) or (leaf.kind, leaf.subject) != ("registration", version.manifest_digest):
        raise VersionsDiffer(version.name, f"entry {version.log_index} does not register {version.label}")
    for what, row, logged in (("key", version.key_id, leaf.key), ("time", version.registered_at, leaf.at)):
        if row != logged:
            raise VersionsDiffer(version.name, f"{version.label}, {what}: {row} in the catalogue, {logged} logged")


def _require_rows(view: View, recorded: catalog.RecordedArtifact, digest: Digest, label: str) -> Manifest:
    """The signed manifest, if the rows of the artifact, read in this transaction, say what it says."""
    known = view.once(_ROWS_AS_SIGNED, dict[Digest, Manifest])
    if digest not in known:
        manifest, contradictions = held_against_manifest(view.registry, recorded, digest)
        first = next(contradictions, None)
        if first is not None:
            raise VersionsDiffer(label.partition(":")[0], f"{label}, {first}")
        known[digest] = manifest
    return known[digest]


def held_against_manifest(
    registry: Registry, recorded: catalog.RecordedArtifact, digest: Digest
) -> tuple[Manifest, Iterator[str]]:
    """The signed manifest of an artifact, and a line for each of its rows that says something else.

    Raises:
        ObjectMissing, ObjectCorrupt, ObjectTooLarge: the store lost the manifest or changed it.
        ManifestMalformed, MalformedJson: what was stored is not a manifest.
    """
    data = registry.store.read_bytes(digest)
    manifest = read_manifest(data)
    return manifest, row_contradictions(
        recorded, manifest, digest=digest, size=len(data), weights_of=_weights_of(registry)
    )


def _weights_of(registry: Registry) -> WeightsOf:
    def weights(manifest: Digest) -> Digest | None:
        return stored_manifest(registry, manifest).weights_digest if registry.store.has(manifest) else None

    return weights


def _aliases(view: View, version: Version, *, rows: _Rows) -> Iterator[str]:
    """The aliases of its name that point to it by their last logged move, in the order of their names."""
    heads = rows.statements[version.manifest_digest]
    view.require_all_heads(version.manifest_digest, heads)
    moves = [rows.moves[head.digest] for head in heads if head.kind == "alias"]
    moved = {move.alias for move in moves if move.name == version.name}
    for alias in sorted(moved, key=str.encode):
        target = view.alias_target(version.name, alias)
        if target is not None and target.manifest == version.manifest_digest:
            yield alias


def _moves(tx: catalog.Transaction, digests: Collection[Digest]) -> dict[Digest, AliasPredicate]:
    """The moves of aliases that these statements hold, each if its text is the one that was logged."""
    moves = {}
    for digest, stored in catalog.statements_with(tx, digests).items():
        text = dsse.Envelope.parse(stored.envelope, what=f"statement {digest.short}").payload
        if Digest.of(text) != digest:
            move = AliasPredicate.from_json(stored.statement.predicate)
            raise VersionsDiffer(move.name, f"the text of statement {digest.short} is not what was logged")
        moves[digest] = AliasPredicate.from_json(stored.statement.predicate)
    return moves


def _require_all_numbers(view: View, names: Collection[str]) -> None:
    """Raise VersionsDiffer unless the catalogue has as many versions of each name as the log, or more that are pending."""
    if view.newest is None:
        return
    recorded = catalog.count_versions_of_each(view.tx, names)
    for name in sorted(names):
        logged = view.newest_number(name)
        if logged is not None and recorded[name] < logged:
            raise VersionsDiffer(name, f"the log has {logged} of them, the catalogue {recorded[name]}")
