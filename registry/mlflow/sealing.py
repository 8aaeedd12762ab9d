"""Seals of what lies in the home's own MLflow store: which of those that were kept are true now, and new ones.

What decides is not in the home: the seals and the newest checkpoint that was seen lie in the user's state folder, the entries of
the log since are proven to that checkpoint, and manifests are read by their digest. Where anything of it cannot be had, everything
is compared in full, which takes longer and is all that whoever spoils it gains.
"""

import hashlib
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import peft_registry.schemas
from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.kept_seals import KeptSeals
from peft_registry.registry.mlflow.own_store import NewVersion
from peft_registry.registry.mlflow.projection import COMPARISON_TAG, Projection
from peft_registry.registry.mlflow.route import ARTIFACT_SCHEME, MirrorRoute
from peft_registry.registry.mlflow.seals import (
    EVERYTHING,
    NAMING,
    ChangedSubjects,
    Relations,
    Seal,
    SealBook,
    SealCover,
    SealHead,
    SealPage,
    book_text,
    changes_with_time,
    files_digest,
    line_of,
    read_book,
    runs_judged_anew,
    subjects_of,
)
from peft_registry.registry.mlflow.side_runs import differences_of_place
from peft_registry.registry.mlflow.store_rows import RUN_ID_TAG, StoreRows
from peft_registry.registry.records.snapshots import Snapshot
from peft_registry.registry.records.stored_manifests import manifest_in
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.signing import dsse
from peft_registry.registry.transparency import merkle, note, snapshot
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Leaf, LogEpoch, LogSnapshot
from peft_registry.schemas.manifest import Manifest

_PROGRAMS = ("mlflow", "mlflow-skinny", "pydantic")
_MANIFEST_TAG = "registry.manifest"
_PAGE = 256  # versions that are kept at once while they are written


@dataclass
class Sealing:
    """The seals of one home while something is compared with them, or written.

    Attributes:
        registry: whose they are.
        kept: where they are kept.
        made_with: a digest of all but the log that what the records give follows from.
        head: where the log ended when this began; what was read afterwards may be of later entries.
        made: those that were made since, by `name:number`.
    """

    registry: Registry
    kept: KeptSeals
    made_with: Digest
    head: SealHead
    made: dict[str, Seal] = field(default_factory=dict)

    def standing(self, rows: StoreRows, registered: Mapping[str, int]) -> dict[str, Seal]:
        """The seals that are true at this head; none where the catalogue has lost a version of a name that is sealed or logged.

        Args:
            rows: of MLflow's store.
            registered: how many versions each name has.
        """
        book = read_book(self.kept.read(), made_with=self.made_with)
        if not book.pages or any(_is_lost(label, registered) for label in book.labels):
            return {}
        try:
            with self.registry.database.reading(), view_of(self.registry) as view:
                if view.newest is None or not _has_all_versions(view, registered):
                    return {}
                heads = dict.fromkeys(page.head for page in book.pages)
                touched = {head: self._touched_since(view, view.newest, head, book, rows) for head in heads}
        except KnownError:  # what is wrong with the log or the store is said where everything is compared
            return {}
        standing: dict[str, Seal] = {}
        for page in book.pages:
            for label, seal in page.seals.items():
                if touched[page.head].touches(label, seal.manifest):
                    standing.pop(label, None)  # of one version the last seal counts
                else:
                    standing[label] = seal
        return standing

    def holds(self, seal: Seal, label: str, known: Mapping[str, Any], rows: StoreRows, root: Path) -> bool:
        """Whether a version lies in MLflow's store as it was sealed.

        Args:
            seal: of the version.
            label: `name:number`.
            known: what the home's database remembers of it.
            rows: of MLflow's store.
            root: the folder of MLflow's artifacts.
        """
        remembered = (known.get("projection"), known.get("run_id"), known.get("model_id"))
        if remembered != (seal.projection, seal.run_id, seal.model_id):
            return False
        if rows.of_version(label, seal.run_id, seal.model_id, seal.comparison) != seal.rows:
            return False
        if rows.aliases.get(label, frozenset()) != set(seal.aliases):
            return False
        name_tags = rows.name_tags.get(label.rpartition(":")[0])
        if name_tags is None or (seal.name_tags and name_tags != seal.name_tags):
            return False
        if seal.comparison is None:
            # an adapter whose training was continued may have got another run, or lost it
            earlier = () if seal.continues is None else rows.runs_that_made(seal.continues, beside=seal.run_id)
            if any(differences_of_place(None, (), earlier=earlier, parent=rows.parent_of(seal.run_id))):
                return False
        of_run, of_model = (_files_at(rows.locations[owner], root) for owner in (seal.run_id, seal.model_id))
        return of_run is not None and of_model is not None and files_digest(of_run, of_model) == seal.files

    def seal(
        self,
        projection: Projection,
        *,
        ids: tuple[str, str],
        rows: Digest | None,
        files: tuple[Mapping[str, str], Mapping[str, str]],
    ) -> None:
        """Seal a version that is in MLflow's store as its records give it.

        Args:
            projection: what they give.
            ids: of its run and its logged model.
            rows: over its rows; None where there are none that could be sealed.
            files: the digests of what the files of its run and its model have to be, by path.
        """
        version = projection.version
        if rows is None or changes_with_time(dict(version.tags)):
            return
        continues = projection.continues
        self.made[f"{version.name}:{version.number}"] = Seal(
            manifest=projection.manifest,
            projection=str(projection.digest),
            run_id=ids[0],
            model_id=ids[1],
            rows=rows,
            files=files_digest(*files),
            aliases=tuple(version.aliases),
            name_tags=dict(version.name_tags),
            comparison=dict(projection.run.tags).get(COMPARISON_TAG),
            continues=None if continues is None else str(continues),
        )

    def seal_written(self, version: NewVersion, rows: Digest) -> None:
        """Seal a version that was written; `rows` is over those that were, and not what was read afterwards."""
        projection = version.projection
        if COMPARISON_TAG in dict(projection.run.tags):  # the run over the arms was written before
            return
        of_model = {file.path: str(Digest.of(file.content.make())) for file in projection.version.artifacts}
        self.seal(projection, ids=(version.run_id, version.model_id), rows=rows, files=(version.digests, of_model))
        if len(self.made) >= _PAGE:  # whoever copies ten thousand has no more of them in memory
            self.keep_added()

    def keep_added(self) -> bool:
        """Keep what was sealed beside what was kept before; False where it cannot be written."""
        page = SealPage(head=self.head, seals=self._untouched())
        self.made.clear()
        if not page.seals:
            return True
        if self.kept.begins_with(line_of(SealCover(made_with=self.made_with))):
            return self.kept.add(line_of(page))
        return self.kept.write(book_text(SealBook(self.made_with, (page,))))

    def keep(self, standing: Mapping[str, Seal]) -> bool:
        """Keep what was true at this head, and what was sealed, in the place of all that was kept before; False where it cannot be
        written."""
        page = SealPage(head=self.head, seals={**standing, **self._untouched()})
        return self.kept.write(book_text(SealBook(self.made_with, (page,))))

    def _untouched(self) -> dict[str, Seal]:
        """What was sealed, but for what an entry behind the head could have changed: it may be of a time before it or after."""
        if not self.made:
            return {}
        try:
            with self.registry.database.reading(), view_of(self.registry) as view:
                if view.newest is None:
                    return {}
                leaves = tuple(_leaves_from(view, self.head.size))
                touched = self._touched_by(view.tx, leaves, [seal.manifest for seal in self.made.values()])
        except KnownError:
            return {}
        return {label: seal for label, seal in self.made.items() if not touched.touches(label, seal.manifest)}

    def _touched_since(
        self, view: View, newest: Snapshot, head: SealHead, book: SealBook, rows: StoreRows
    ) -> ChangedSubjects:
        """What the entries of the log, and the runs that were begun, change of what was sealed under a head.

        Raises:
            ProofRejected, LogDamaged: the log does not continue that head.
        """
        _, size, root = note.read_unverified(newest.checkpoint)  # `newest_snapshot` verified it
        store = SqlLogStore(view.tx)
        if head.size > size:
            return EVERYTHING
        proof = merkle.consistency_proof(head.size, size, store.get_node)
        merkle.check_consistency(head.size, size, proof, bytes.fromhex(head.root), root)
        manifests = book.manifests
        touched = self._touched_by(view.tx, tuple(_leaves_from(view, head.size)), manifests)
        return touched if touched.everything else self._with_judged(touched, head, manifests, rows)

    def _touched_by(
        self, tx: catalog.Transaction, leaves: Sequence[Leaf], manifests: Iterable[Digest]
    ) -> ChangedSubjects:
        subjects = subjects_of(leaves)
        if subjects is None:
            return EVERYTHING
        if not subjects:
            return ChangedSubjects()
        names = set()
        for leaf in leaves:
            if not isinstance(leaf, LogSnapshot | LogEpoch) and leaf.says in NAMING:
                name = _name_in(tx, leaf.statement)
                if name is None:
                    return EVERYTHING
                names.add(name)
        relations = self._relations((*manifests, *subjects))
        if any(subject not in relations.sources for subject in subjects):
            return EVERYTHING
        artifacts = frozenset[Digest]().union(*(relations.relatives(subject) for subject in subjects))
        return ChangedSubjects(artifacts, frozenset(names))

    def _with_judged(
        self, touched: ChangedSubjects, head: SealHead, manifests: Sequence[Digest], rows: StoreRows
    ) -> ChangedSubjects:
        """With what is judged among runs that were begun since."""
        if (head.begun_bytes, head.begun) == (self.head.begun_bytes, self.head.begun):
            return touched
        data = _begun(self.registry)
        before, added = data[: head.begun_bytes], data[head.begun_bytes :]
        runs = runs_judged_anew(before, added) if Digest.of(before) == head.begun else None
        if runs is None:
            return EVERYTHING
        made = [run for run, run_id in rows.tags[RUN_ID_TAG].items() if run_id in runs]
        judged = [Digest.parse(rows.tags[_MANIFEST_TAG][run]) for run in made if run in rows.tags[_MANIFEST_TAG]]
        reached = self._relations(manifests).made_from(judged)
        return ChangedSubjects(touched.artifacts | reached, touched.names)

    def _relations(self, manifests: Iterable[Digest]) -> Relations:
        """What these artifacts were made from, up to what nobody registered here."""
        sources: dict[Digest, frozenset[Digest]] = {}
        bases: dict[Digest, set[Digest]] = {}  # by their weights
        by_weights: dict[Digest, Digest] = {}  # of an artifact that names its base by them alone
        waiting = list(manifests)
        while waiting:
            digest = waiting.pop()
            contents = None if digest in sources else manifest_in(self.registry, digest)
            if contents is None:
                continue
            sources[digest] = _sources_of(contents)
            waiting += sources[digest]
            if contents.kind == "base":
                bases.setdefault(contents.weights_digest, set()).add(digest)
            elif contents.base is not None and contents.base.manifest is None:
                by_weights[digest] = contents.base.identity.weights
        for artifact, weights in by_weights.items():
            sources[artifact] |= bases.get(weights, set())
        return Relations(sources)


def open_sealing(registry: Registry, route: MirrorRoute) -> Sealing | None:
    """The seals of a home's own MLflow; None where there can be none.

    There are none of a server, whose database only it reads; for a user without a state folder; and where the log or the trust
    file decides nothing now.
    """
    state = None if registry.seen is None else registry.seen.state
    if route.kind != "store" or state is None:
        return None
    try:
        made_with = _made_with(registry)
        with view_of(registry) as view:
            newest = view.newest
    except KnownError:
        return None
    if newest is None:
        return None
    _, size, root = note.read_unverified(newest.checkpoint)
    data = _begun(registry)
    head = SealHead(size=size, root=root.hex(), begun_bytes=len(data), begun=Digest.of(data))
    return Sealing(registry, KeptSeals.of(state, registry.settings.registry_id, registry.folder), made_with, head)


def _made_with(registry: Registry) -> Digest:
    """A digest over the programs and the trust file.

    Raises:
        NotChecked, IntegrityBroken: the trust file decides nothing now.
    """
    policy = registry.trust  # raises where it expired
    return canonical_digest(
        {
            "registry": registry.settings.registry_id,
            "origin": registry.origin,
            "trust": [policy.version, str(registry.trust_chain.newest.digest)],
            "programs": [[name, _version_of(name)] for name in _PROGRAMS],
            "python": platform.python_version(),
            "code": str(_code()),
        }
    )


def _version_of(name: str) -> str | None:
    try:
        return package_version(name)
    except PackageNotFoundError:
        return None


@cache
def _code() -> Digest:
    """A digest over our own files: a version that was installed from a work tree has the number of the one before."""
    digest = hashlib.sha256(package_version("peft-registry").encode())
    for folder in (Path(__file__).parents[1], Path(str(peft_registry.schemas.__file__)).parent):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"\n{path.relative_to(folder)} {Digest.of(path.read_bytes())}".encode())
    return Digest(digest.hexdigest())


def _begun(registry: Registry) -> bytes:
    """The list of the runs that were begun in the home."""
    try:
        return registry.files.begun.read_bytes()
    except FileNotFoundError:
        return b""


def _is_lost(label: str, registered: Mapping[str, int]) -> bool:
    name, _, number = label.rpartition(":")
    return int(number) > registered.get(name, 0)


def _has_all_versions(view: View, registered: Mapping[str, int]) -> bool:
    """Whether the catalogue has every version that the log gives the names in it."""
    view.read_ahead(keys=[snapshot.name_key(name) for name in registered])
    return all((view.newest_number(name) or 0) <= count for name, count in registered.items())


def _leaves_from(view: View, first: int) -> Iterator[Leaf]:
    """The entries of the log from one on: proven, but for those that no checkpoint covers yet."""
    indexes = range(first, view.nodes.log.size())
    view.read_ahead(entries=indexes)
    for index in indexes:
        yield view.leaf(index)


def _name_in(tx: catalog.Transaction, statement: Digest) -> str | None:
    """The name in the text of a statement that was logged; None where that is not here, or has none."""
    stored = catalog.statement(tx, statement)
    if stored is None:
        return None
    text = dsse.Envelope.parse(stored.envelope, what=f"statement {statement.short}").payload
    name = stored.statement.predicate.get("name")
    return name if Digest.of(text) == statement and isinstance(name, str) else None


def _sources_of(manifest: Manifest) -> frozenset[Digest]:
    """What an artifact was made from, as its manifest says."""
    sources = {parent.manifest for parent in manifest.parents} | {data.sha256 for data in manifest.data}
    if manifest.base is not None and manifest.base.manifest is not None:
        sources.add(manifest.base.manifest)
    return frozenset(sources)


def _files_at(location: str, root: Path) -> dict[str, str] | None:
    """SHA-256 of every file at a place of MLflow's, by path; None where something there is neither file nor folder."""
    parts = urlsplit(location)
    if parts.scheme != ARTIFACT_SCHEME:
        return None
    files: dict[str, str] = {}
    waiting = [(f"{root / parts.path.lstrip('/')}", "")]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:  # a base has no files
            entries = []
        except OSError:
            return None
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append((entry.path, f"{prefix}{entry.name}/"))
            elif entry.is_file(follow_symlinks=False):
                with open(entry.path, "rb") as file:  # noqa: PTH123  for each of thousands of small files
                    files[prefix + entry.name] = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            else:
                return None
    return files
