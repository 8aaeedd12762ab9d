"""One flipped bit anywhere in a registry is refused and named: in bytes, signatures, rows, the log's nodes or its checkpoints.

What is flipped, and by whom it must be refused (`_COMMAND`):

    weights      a byte of a safetensors file, in the store or in the folder of a base        verify --deep of any descendant
    files        of any other file of an artifact, of a card, `model.sig` or an item table    verify --deep of any descendant
    manifests    of a manifest                                                                verify --deep of any descendant
    statements   of a signed envelope                                                         verify --deep of any descendant
    artifacts    a value of a row that says what an artifact is and what it was made from     verify --deep of any descendant
    entries      a value of a row that repeats the log: statements, versions, moves, aliases  log check
    log          a leaf, its hash, a subtree, a node of the snapshot                          log check
    checkpoints  one kept in the database, or beside it                                       log check

What is drawn are values and never bytes of a database file, so that every flip changes something that the registry says: a free
page, the slack of a page and an index cannot be hit. Tables that say nothing about an artifact (outbox, mirror, leases) are not
drawn from, nor are numbers that a database gives for itself.
"""

import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.pool import NullPool

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import read_settings, utc_now
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.registry.storage.filesystem import FilesystemStore
from peft_registry.schemas.identity import Digest
from tests.builders.homes import a_home
from tests.builders.lineage import Graph, register_graph
from tests.servers.postgres import PostgresServer

What = Literal["weights", "files", "manifests", "statements", "artifacts", "entries", "log", "checkpoints"]
Command = Literal["verify --deep", "log check"]
_COMMAND: dict[What, Command] = {
    "weights": "verify --deep",
    "files": "verify --deep",
    "manifests": "verify --deep",
    "statements": "verify --deep",
    "artifacts": "verify --deep",
    "entries": "log check",
    "log": "log check",
    "checkpoints": "log check",
}
# table → its primary key, the columns drawn from, and the column that tells which artifact a row is about
_TABLES: dict[What, dict[str, tuple[tuple[str, ...], tuple[str, ...], str | None]]] = {
    "statements": {"statements": (("digest",), ("digest", "subject", "kind", "envelope"), "subject")},
    "artifacts": {
        "artifacts": (
            ("manifest_digest",),
            (
                "manifest_digest", "manifest_size", "kind", "layout", "method", "weights_digest", "base_manifest",
                "base_weights", "size_bytes", "signature_digest", "card_digest", "by_reference",
            ),
            "manifest_digest",
        ),
        "artifact_files": (
            ("manifest_digest", "path"), ("manifest_digest", "path", "sha256", "size", "stored"), "manifest_digest"
        ),
        "artifact_parents": (("child", "parent", "role"), ("child", "parent", "role"), "child"),
        "artifact_data": (("manifest_digest", "sha256"), ("manifest_digest", "sha256", "name"), "manifest_digest"),
        "versions": (
            ("name", "number"),
            (
                "name", "number", "manifest_digest", "kind", "method", "base_weights", "key_id", "registered_at",
                "log_index",
            ),
            "manifest_digest",
        ),
    },
    "entries": {
        "statements": (
            ("digest",),
            ("digest", "subject", "kind", "predicate_type", "key_id", "envelope", "log_index", "appended_at"),
            None,
        ),
        "versions": (("name", "number"), ("name", "number", "manifest_digest", "log_index"), None),
        "alias_events": (("id",), ("name", "alias", "number", "statement_digest", "at"), None),
        "aliases": (("name", "alias"), ("name", "alias", "number"), None),
    },
    "log": {
        "log_events": (("seq",), ("seq", "leaf", "leaf_hash"), None),
        "log_nodes": (("level", "index"), ("level", "index", "hash"), None),
        "snapshot_nodes": (("depth", "prefix"), ("depth", "prefix", "key", "value", "hash"), None),
    },
    "checkpoints": {"checkpoints": (("id",), ("size", "text"), None)},
}  # fmt: skip
_BOOLEANS = frozenset({"by_reference", "stored"})


@dataclass(frozen=True)
class Place:
    """Where a bit can be flipped: a file, or a value of a row. `about` is the artifact that it belongs to, by label."""

    what: What
    about: str | None
    file: Path | None = None
    table: str = ""
    row: tuple[tuple[str, Any], ...] = ()  # the values of the primary key
    column: str = ""

    def __str__(self) -> str:
        where = self.file or f"{self.table}.{self.column} of {dict(self.row)}"
        return f"{self.what} of {self.about}: {where}"


@dataclass
class Kept:
    """A registry with its lineage, and the database as whoever holds its file or its superuser has it."""

    home: Path
    graph: Graph
    engine: Engine
    manifests: dict[str, str] = field(default_factory=dict)  # label → digest

    def __post_init__(self) -> None:
        self.manifests = {label: str(version.manifest_digest) for label, version in self.graph.versions.items()}

    @property
    def labels(self) -> dict[str, str]:
        return {digest: label for label, digest in self.manifests.items()}

    @contextmanager
    def unguarded(self) -> Iterator[Any]:
        """A transaction without foreign keys."""
        with self.engine.begin() as connection:
            if self.engine.dialect.name == "postgresql":
                connection.execute(text("SET session_replication_role = replica"))
            yield connection

    def checkpoint_after_edit(self) -> None:
        """What was written lies in the file itself: a home is read as it would be after a while."""
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))

    # --- where bits lie ---

    def places(self) -> dict[What, list[Place]]:
        found: dict[What, list[Place]] = {what: [] for what in _COMMAND}
        for label in self.graph.versions:
            for place in self._files_of(label):
                found[place.what].append(place)
        for what, tables in _TABLES.items():
            for table, (key, columns, about) in tables.items():
                found[what] += self._values(what, table, key, columns, about)
        names = sorted((self.home / "checkpoints").iterdir())
        found["checkpoints"] += [Place("checkpoints", None, file=path) for path in names]
        return found

    def _files_of(self, label: str) -> Iterator[Place]:
        store = FilesystemStore(self.home)
        digest = Digest.parse(self.manifests[label])
        manifest_file = store.local_path(digest)
        assert manifest_file is not None
        yield Place("manifests", label, file=manifest_file)
        manifest = read_manifest(manifest_file.read_bytes())
        elsewhere = self.graph.bases.get(label)
        for entry in manifest.files:
            path = store.local_path(entry.sha256) if elsewhere is None else elsewhere / entry.path
            assert path is not None
            yield Place("weights" if entry.path.endswith(".safetensors") else "files", label, file=path)
        with self.engine.connect() as connection:
            row = connection.execute(
                text("SELECT signature_digest, card_digest FROM artifacts WHERE manifest_digest = :digest"),
                {"digest": str(digest)},
            ).one()
            evaluations = connection.execute(
                text("SELECT digest FROM kept_objects WHERE subject = :digest"), {"digest": str(digest)}
            ).all()
        for (other,) in ((row.signature_digest,), (row.card_digest,), *evaluations):
            path = store.local_path(Digest.parse(other))
            assert path is not None
            yield Place("files", label, file=path)

    def _values(
        self, what: What, table: str, key: tuple[str, ...], columns: tuple[str, ...], about: str | None
    ) -> Iterator[Place]:
        with self.engine.connect() as connection:
            rows = connection.execute(text(f'SELECT * FROM "{table}"')).mappings().all()
        for row in rows:
            identity = tuple((name, row[name]) for name in key)
            if about is not None and row[about] not in self.labels:
                continue  # the announcement of an edition, which is of no artifact: drawn among the entries
            label = None if about is None else self.labels[row[about]]
            for column in columns:
                if row[column] is not None:
                    yield Place(what, label, table=table, row=identity, column=column)

    # --- flipping ---

    @contextmanager
    def flipped(self, place: Place, random: Random) -> Iterator[tuple[object, object]]:
        """One bit of that place is another; afterwards it is as before. Yields the value before and now, of a file its byte."""
        if place.file is not None:
            kept = place.file.read_bytes()
            data = bytearray(kept)
            at, bit = random.randrange(len(data)), random.randrange(8)
            data[at] ^= 1 << bit
            _rewrite(place.file, bytes(data))
            try:
                yield (at, kept[at]), (at, data[at])
            finally:
                _rewrite(place.file, kept)
            return
        before = self._value(place)
        after = self._write_another(place, before, random)
        self.checkpoint_after_edit()
        try:
            yield before, after
        finally:
            moved = tuple((name, after if name == place.column else value) for name, value in place.row)
            with self.unguarded() as connection:
                _update(connection, place.table, moved, place.column, before)
            self.checkpoint_after_edit()

    def _value(self, place: Place) -> Any:
        where = " AND ".join(f'"{name}" = :{name}' for name, _ in place.row)
        with self.engine.connect() as connection:
            value = connection.execute(
                text(f'SELECT "{place.column}" FROM "{place.table}" WHERE {where}'), dict(place.row)
            ).scalar_one()
        return bytes(value) if isinstance(value, memoryview) else value

    def _write_another(self, place: Place, before: Any, random: Random) -> Any:
        while True:
            after = _with_another_bit(before, random, is_boolean=place.column in _BOOLEANS)
            try:
                with self.unguarded() as connection:
                    _update(connection, place.table, place.row, place.column, after)
            except (IntegrityError, DataError):  # another row has that key, or the column cannot hold it: draw again
                continue
            return after


def _rewrite(path: Path, data: bytes) -> None:
    """Other bytes under the same name; an object of the store is read-only."""
    path.unlink()
    path.write_bytes(data)


def _update(connection: Any, table: str, row: tuple[tuple[str, Any], ...], column: str, value: Any) -> None:
    where = " AND ".join(f'"{name}" = :key_{name}' for name, _ in row)
    values = {f"key_{name}": key for name, key in row} | {"value": value}
    done = connection.execute(text(f'UPDATE "{table}" SET "{column}" = :value WHERE {where}'), values)
    assert done.rowcount == 1


def _with_another_bit(value: Any, random: Random, *, is_boolean: bool) -> Any:
    if is_boolean:
        return type(value)(not value)
    if isinstance(value, int):
        return value ^ (1 << random.randrange(12))
    if isinstance(value, bytes):
        data = bytearray(value)
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        return bytes(data)
    at = random.choice([place for place, character in enumerate(value) if character.isascii()])
    other = ord(value[at]) ^ 1 << random.randrange(7)
    # no text of PostgreSQL holds a zero
    return value[:at] + chr(other) + value[at + 1 :] if other else _with_another_bit(value, random, is_boolean=False)


# --- what the commands say ---


def ask(*arguments: str) -> tuple[int, str]:
    """How a command ends, and its data; what it says on stderr where it gives none."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(list(arguments))
    return code, out.getvalue() or err.getvalue()


def refusal(kept: Kept, place: Place, after: object, random: Random) -> str:
    """Why the flip that was just made was missed; empty if it was refused, and named."""
    command = _COMMAND[place.what]
    if command == "log check":
        code, said = ask("log", "check", "--home", str(kept.home), "-o", "json")
        if code != 6:
            return f"log check ended with {code}: {said}"
        document = json.loads(said)
        if "contradictions" not in document:  # a row that cannot be read at all: the one error quotes what it holds
            return "" if repr(after)[1:-1] in document["why"] else said
        wrong = str(document["contradictions"])
        return "" if any(name in wrong for name in _names_of(place)) else f"log check names only {wrong}"
    assert place.about is not None
    descendants = kept.graph.descendants(place.about)
    focus = random.choice(descendants)
    code, said = ask("verify", focus, "--deep", "--home", str(kept.home), "-o", "json")
    if code not in (5, 6):
        return f"verify --deep of {focus} ended with {code}"
    digest = kept.manifests[place.about]
    if not said.startswith("{\n"):  # the version that was asked for could not be looked up: one error
        why = json.loads(said)["why"]
        is_named = place.about.partition(":")[0] in why or digest in why or repr(after)[1:-1] in why
        return "" if is_named else f"verify --deep of {focus} says only {said}"
    nodes = {node["digest"]: node for node in json.loads(said)["nodes"]}
    shared = {node["digest"] for node in nodes.values() if node["verdict"] in ("broken", "unverified")}
    if digest not in shared:
        return f"verify --deep of {focus} ended with {code} and names only {sorted(shared)}"
    return "" if nodes[digest]["checks"] else "the artifact is named, and not what is wrong with it"


def _names_of(place: Place) -> tuple[str, ...]:
    """What a report may call the place: by its own name, or by the entry that it belongs to."""
    row = dict(place.row)
    if place.file is not None:
        return (f"checkpoints/{place.file.name}",)
    return {
        "statements": (f"{row.get('digest')}"[:19], "is not in the database", "entry "),
        "versions": (f"{row.get('name')}:{row.get('number')}",),
        "alias_events": ("@",),
        "aliases": (f"{row.get('name')}@{row.get('alias')}",),
        "log_events": (f"entry {row.get('seq')}",),
        "log_nodes": (f"subtree {row.get('index')} of level {row.get('level')}",),
        "snapshot_nodes": (f"snapshot node {row.get('prefix') or 0:>}", "snapshot node", "snapshot key"),
        "checkpoints": ("the database",),
    }[place.table]


# --- the registries ---


@contextmanager
def a_registry(folder: Path, *, nodes: int, database: str | None = None) -> Iterator[Kept]:
    with a_home(folder / "home", now=utc_now(), database=database) as registry:
        graph = register_graph(registry, folder / "made", nodes=nodes, seed=nodes)
    settings = read_settings(folder / "home")
    uri = settings.database or f"sqlite:///{folder / 'home' / 'database.sqlite'}"
    address = make_url(uri)
    if address.get_backend_name() == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    engine = create_engine(address, poolclass=NullPool)
    yield Kept(folder / "home", graph, engine)
    engine.dispose()


def drawn(places: dict[What, list[Place]], count: int, random: Random) -> list[Place]:
    """As many places, the kinds in turn, so that a small kind is not drowned by the rows of a large one."""
    kinds = [what for what in places if places[what]]
    return [random.choice(places[kinds[number % len(kinds)]]) for number in range(count)]


def missed_flips(kept: Kept, count: int, *, seed: int) -> list[str]:
    random = Random(seed)
    missed = []
    tried: Counter[What] = Counter()
    for place in drawn(kept.places(), count, random):
        with kept.flipped(place, random) as (before, after):
            why = refusal(kept, place, after, random)
        tried[place.what] += 1
        if why:
            missed.append(f"{place}: {before!r} became {after!r}: {why}")
    assert set(tried) == set(_COMMAND), "every kind was tried"
    return missed


def false_alarms(kept: Kept, runs: int, *, seed: int) -> list[str]:
    """What was refused though nothing is wrong: `verify --deep` of as many versions, and the log."""
    labels = list(kept.graph.versions)
    Random(seed).shuffle(labels)
    alarms = []
    for number in range(runs):
        label = labels[number % len(labels)]
        code, said = ask("verify", label, "--deep", "--home", str(kept.home))
        if code:
            alarms.append(f"{label}: {said}")
    code, said = ask("log", "check", "--home", str(kept.home))
    return alarms + ([said] if code else [])


@pytest.mark.timeout(300)
def test_a_sample_of_flips_is_refused_and_named_and_what_is_put_back_verifies(tmp_path: Path) -> None:
    with a_registry(tmp_path, nodes=12) as kept:
        assert missed_flips(kept, 2 * len(_COMMAND), seed=1) == []
        assert false_alarms(kept, 3, seed=2) == []


@pytest.mark.sql
@pytest.mark.timeout(300)
def test_a_sample_of_flips_in_postgresql_is_refused_and_named(
    tmp_path: Path,
    postgres: PostgresServer,
) -> None:
    with a_registry(tmp_path, nodes=8, database=postgres.new_database("some_flips")) as kept:
        assert missed_flips(kept, len(_COMMAND), seed=3) == []
        assert false_alarms(kept, 2, seed=4) == []


@pytest.mark.full
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_thousand_flips_in_a_graph_of_fifty_are_refused_from_any_descendant_and_fifty_clean_runs_verify(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database = None
    if backend == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        database = server.new_database("many_flips")
    with a_registry(tmp_path, nodes=50, database=database) as kept:
        assert false_alarms(kept, 50, seed=5) == []
        assert missed_flips(kept, 1_000, seed=6) == []
        assert false_alarms(kept, 2, seed=7) == []
