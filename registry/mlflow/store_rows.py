"""The rows of MLflow's own tables in the home's store, read in bulk: a digest of all that belongs to a run, a model, a version.

Every column counts, also those that a later MLflow adds. No mlflow is imported, and nothing is written. What lies in the file was
perhaps edited with other tools than MLflow: a table that is none, and an index that leads elsewhere than its table, are refused,
because MLflow would then show other rows than are read here.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from peft_registry.registry.mlflow.projection import COMPARISON_TAG, TRIAL_TAG
from peft_registry.registry.mlflow.side_runs import PARENT
from peft_registry.schemas.identity import Digest

Row = tuple[
    Any, ...
]  # whose first value names whose row it is; the others are in the order of the names of their columns
_BUSY_SECONDS = 20
_EDGE_OWNER = "CASE WHEN i.source_type IN ('RUN_INPUT', 'RUN_OUTPUT') THEN i.source_id ELSE i.destination_id END"
_OF_VERSION = "t.name || ':' || t.version"
# table, whose row each is, and what has to be joined to tell that; in the order in which they are hashed
_TABLES = (
    ("runs", "t.run_uuid", ""),
    ("tags", "t.run_uuid", ""),
    ("params", "t.run_uuid", ""),
    ("metrics", "t.run_uuid", ""),
    ("latest_metrics", "t.run_uuid", ""),
    ("inputs", _EDGE_OWNER.replace("i.", "t."), ""),
    ("input_tags", _EDGE_OWNER, "JOIN inputs i ON i.input_uuid = t.input_uuid"),
    ("datasets", "i.destination_id", "JOIN inputs i ON i.source_id = t.dataset_uuid AND i.source_type = 'DATASET'"),
    ("logged_models", "t.model_id", ""),
    ("logged_model_tags", "t.model_id", ""),
    ("logged_model_params", "t.model_id", ""),
    ("logged_model_metrics", "t.model_id", ""),
    ("model_versions", _OF_VERSION, ""),
    ("model_version_tags", _OF_VERSION, ""),
)
_OTHER_TABLES = (
    "experiments",
    "experiment_tags",
    "registered_models",
    "registered_model_tags",
    "registered_model_aliases",
)
_FIGURES = frozenset(("value", "metric_value"))
"""Columns of figures, which SQLite gives back as floating-point numbers whatever was written."""
_OUR_PREFIX = "registry."
RUN_ID_TAG = "registry.run_id"
_ID_TAG = "registry.id"
_MANIFEST_TAG = "registry.manifest"


class RowsUnreadable(Exception):
    """The store cannot be read as tables of MLflow's; carries why."""


@dataclass(frozen=True, slots=True)
class ShownExperiment:
    """An experiment, by its number and when it was made, with its tags."""

    experiment_id: int
    created: int
    is_active: bool
    tags: Mapping[str, str]

    @property
    def identity(self) -> str:
        """As `MarkedExperiment` has it."""
        return f"{self.experiment_id} of {self.created}"


@dataclass(slots=True)
class RowDigests:
    """SHA-256 over the rows of each owner; a table is added whole, and all of them in one order."""

    _hashers: dict[str, "hashlib._Hash"] = field(default_factory=dict)

    def add(self, table: str, owner: str, rows: Iterable[Row]) -> None:
        """Add the rows of an owner in a table, in whatever order they come."""
        lines = sorted(map(repr, rows))
        if owner not in self._hashers:
            self._hashers[owner] = hashlib.sha256()
        text = "\n".join((f"{table} {len(lines)}", *lines, ""))
        self._hashers[owner].update(text.encode("utf-8", "surrogatepass"))

    def of(self, *owners: str) -> Digest | None:
        """One digest over the rows of these owners; None where one of them has none."""
        if any(owner not in self._hashers for owner in owners):
            return None
        return Digest.of(b"".join(self._hashers[owner].digest() for owner in owners))


@dataclass(frozen=True, slots=True)
class StoreRows:
    """What the home's own store holds, at one moment.

    Attributes:
        digests: by run, logged model and `name:number`.
        locations: where the files of a run or a logged model are, by its id.
        aliases: by `name:number`.
        name_tags: those of ours, of every registered model by its name.
        numbers: of the versions of each name.
        tags: by key, those by which runs find each other: pairs of run and value.
        experiments: by name.
        runs: the experiment of each run that is not in the bin.
    """

    digests: RowDigests
    locations: Mapping[str, str]
    aliases: Mapping[str, frozenset[str]]
    name_tags: Mapping[str, Mapping[str, str]]
    numbers: Mapping[str, Sequence[int]]
    tags: Mapping[str, Mapping[str, str]]
    experiments: Mapping[str, ShownExperiment]
    runs: Mapping[str, int]
    _trials: Mapping[str, Sequence[str]]
    _comparisons: Mapping[str, Sequence[str]]
    _made: Mapping[str, Sequence[str]]

    def of_version(self, label: str, run_id: str, model_id: str, comparison: str | None) -> Digest | None:
        """One digest over the rows of a version, of its run and model, of its seeds' runs and of that over its comparison."""
        beside = (*self._trials.get(run_id, ()), *(self._comparisons.get(comparison, ()) if comparison else ()))
        return self.digests.of(run_id, model_id, label, *beside)

    def runs_that_made(self, manifest: str, *, beside: str) -> tuple[str, ...]:
        """The runs that made an artifact, of those in the experiment of another run and not in the bin."""
        experiment = self.runs.get(beside)
        return tuple(run for run in self._made.get(manifest, ()) if self.runs.get(run, -1) == experiment)

    def parent_of(self, run_id: str) -> str | None:
        """The run that a run stands below."""
        return self.tags[PARENT].get(run_id)


def read_rows(database: Path) -> StoreRows:
    """All of a store, in one transaction.

    Raises:
        RowsUnreadable: it cannot be read, or is not one of MLflow's.
    """
    address = f"file:{quote(str(database))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            return _read(connection)
    except (sqlite3.Error, UnicodeError, TypeError, ValueError) as error:
        raise RowsUnreadable(str(error)) from error


def copy_database(database: Path, copy: Path) -> None:
    """Write all of a store, as it is at one moment, to another file.

    Raises:
        RowsUnreadable: it cannot be read, or the copy not be written.
    """
    address = f"file:{quote(str(database))}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise RowsUnreadable(str(error)) from error


def digests_of_written(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> RowDigests:
    """What `read_rows` gives for the runs, models and versions of these rows, by table and column, once they are written."""
    edges = {row["input_uuid"]: _edge_owner(row) for row in tables["inputs"]}
    users: dict[str, list[str]] = {}  # of a data set, the runs
    for row in tables["inputs"]:
        if row["source_type"] == "DATASET":
            users.setdefault(row["source_id"], []).append(row["destination_id"])
    digests = RowDigests()
    for table, _, _ in _TABLES:
        rows: dict[str, list[Row]] = {}
        for row in tables.get(table, ()):
            values = tuple(_as_kept(column, row[column]) for column in sorted(row))
            owners: Sequence[str]
            if table == "input_tags":
                owners = (edges[row["input_uuid"]],)
            elif table == "inputs":
                owners = (_edge_owner(row),)
            elif table == "datasets":
                owners = users.get(row["dataset_uuid"], ())
            elif table in ("model_versions", "model_version_tags"):
                owners = (f"{row['name']}:{row['version']}",)
            else:
                owners = (row["run_uuid"] if "run_uuid" in row else row["model_id"],)
            for owner in owners:
                rows.setdefault(owner, []).append((owner, *values))
        for owner, own in rows.items():
            digests.add(table, owner, own)
    return digests


def _edge_owner(row: Mapping[str, Any]) -> str:
    of_run = row["source_type"] in ("RUN_INPUT", "RUN_OUTPUT")
    return str(row["source_id"] if of_run else row["destination_id"])


def _as_kept(column: str, value: Any) -> Any:  # a value of a row
    if column in _FIGURES and isinstance(value, int | float):
        return float(value)
    return int(value) if isinstance(value, bool) else value


def _read(connection: sqlite3.Connection) -> StoreRows:
    names = (*(table for table, _, _ in _TABLES), *_OTHER_TABLES)
    _require_tables(connection, names)
    digests = RowDigests()
    for table, owner, joined in _TABLES:
        columns = ", ".join(f't."{name}"' for name in _columns(connection, table))
        query = f"SELECT {owner}, {columns} FROM {table} t {joined} ORDER BY 1"  # noqa: S608  names of tables are our own
        for whose, rows in groupby(connection.execute(query), key=itemgetter(0)):
            digests.add(table, whose, rows)
    tags = {
        key: _tags(connection, key) for key in (PARENT, TRIAL_TAG, COMPARISON_TAG, _MANIFEST_TAG, _ID_TAG, RUN_ID_TAG)
    }
    active = connection.execute("SELECT run_uuid, experiment_id FROM runs WHERE lifecycle_stage = 'active'")
    trials = ((parent, run) for run, parent in tags[PARENT].items() if run in tags[TRIAL_TAG])
    comparisons = ((value, run) for run, value in tags[COMPARISON_TAG].items() if run not in tags[_ID_TAG])
    aliases = connection.execute(f"SELECT {_OF_VERSION}, t.alias FROM registered_model_aliases t")  # noqa: S608  our own text
    return StoreRows(
        digests=digests,
        locations=dict(
            connection.execute(
                "SELECT run_uuid, artifact_uri FROM runs UNION ALL SELECT model_id, artifact_location FROM logged_models"
            )
        ),
        aliases={label: frozenset(of_version) for label, of_version in _grouped(aliases).items()},
        name_tags=_name_tags(connection),
        numbers=_grouped(connection.execute("SELECT name, version FROM model_versions")),
        tags=tags,
        experiments=_experiments(connection),
        runs=dict(active),
        _trials=_grouped(trials),
        _comparisons=_grouped(comparisons),
        _made=_grouped((manifest, run) for run, manifest in tags[_MANIFEST_TAG].items()),
    )


def _require_tables(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    kinds = dict(connection.execute("SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')"))
    virtual = {
        name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'")
    }
    for name in names:
        if kinds.get(name) != "table" or name in virtual:
            raise RowsUnreadable(f"{name} is not a table")
        # MLflow finds rows by indexes, and here they are read as they lie in their table
        found = [text for (text,) in connection.execute(f"PRAGMA integrity_check({name})")]
        if found != ["ok"]:
            raise RowsUnreadable(f"{name}: {found[0]}")


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """The names of all columns in their order, also of those that `*` leaves out."""
    return sorted(row[1] for row in connection.execute(f"PRAGMA table_xinfo({table})"))


def _tags(connection: sqlite3.Connection, key: str) -> dict[str, str]:
    return dict(connection.execute("SELECT run_uuid, value FROM tags WHERE key = ? ORDER BY run_uuid", (key,)))


def _name_tags(connection: sqlite3.Connection) -> dict[str, dict[str, str]]:
    tags: dict[str, dict[str, str]] = {name: {} for (name,) in connection.execute("SELECT name FROM registered_models")}
    for name, key, value in connection.execute("SELECT name, key, value FROM registered_model_tags"):
        if name in tags and key.startswith(_OUR_PREFIX):
            tags[name][key] = value
    return tags


def _experiments(connection: sqlite3.Connection) -> dict[str, ShownExperiment]:
    tags: dict[int, dict[str, str]] = {}
    for experiment, key, value in connection.execute("SELECT experiment_id, key, value FROM experiment_tags"):
        tags.setdefault(experiment, {})[key] = value
    rows = connection.execute("SELECT experiment_id, name, creation_time, lifecycle_stage FROM experiments")
    return {
        name: ShownExperiment(number, created, stage == "active", tags.get(number, {}))
        for number, name, created, stage in rows
    }


def _grouped(pairs: Iterable[tuple[str, Any]] | Iterator[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
