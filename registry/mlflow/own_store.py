"""New versions written many at once into the tables of the home's own MLflow store, where nobody else makes runs of ours.

MLflow's client opens a transaction for each of the twenty calls that a version takes, and reads the run anew in most of them. Here
the rows that those calls leave are written together. What they are is MLflow's affair: a test holds them against what the
client writes, and the client writes where the installed MLflow has other columns than those known here, or a version is unusual.
"""

import json
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peft_registry.registry.mlflow.projection import Projection
from peft_registry.registry.mlflow.route import MirrorRoute
from peft_registry.registry.mlflow.side_runs import PARENT
from peft_registry.registry.mlflow.store_rows import digests_of_written
from peft_registry.schemas.identity import Digest

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

Row = dict[str, Any]  # a row of MLflow's by its columns
_VERSIONS_TAG = "mlflow.modelVersions"
_COLUMNS = {
    "runs": "run_uuid name source_type source_name entry_point_name user_id status start_time end_time deleted_time "
    "source_version lifecycle_stage artifact_uri experiment_id",
    "tags": "key value run_uuid",
    "params": "key value run_uuid",
    "metrics": "key value timestamp step is_nan run_uuid",
    "latest_metrics": "key value timestamp step is_nan run_uuid",
    "logged_models": "model_id experiment_id name artifact_location creation_timestamp_ms last_updated_timestamp_ms status "
    "lifecycle_stage model_type source_run_id status_message",
    "logged_model_tags": "model_id experiment_id tag_key tag_value",
    "logged_model_metrics": "model_id metric_name metric_timestamp_ms metric_step metric_value experiment_id run_id dataset_uuid "
    "dataset_name dataset_digest",
    "inputs": "input_uuid source_type source_id destination_type destination_id step",
    "input_tags": "input_uuid name value",
    "datasets": "dataset_uuid experiment_id name digest dataset_source_type dataset_source dataset_schema dataset_profile",
    "registered_models": "workspace name creation_time last_updated_time description",
    "registered_model_tags": "workspace name key value",
    "registered_model_aliases": "workspace name alias version",
    "model_versions": "workspace name version creation_time last_updated_time description user_id current_stage source "
    "storage_location run_id run_link status status_message",
    "model_version_tags": "workspace name version key value",
}
"""The columns of every table that is written, as MLflow 3.17 has them."""
_WORKSPACE = "default"
_BUSY_SECONDS = 20  # as long as MLflow waits for another writer
# what MLflow takes without another word; of anything else its client says what it does
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-. :/]{0,249}")
_ALIAS = re.compile(r"(?!latest$|[vV]\d+$)[A-Za-z0-9_\-]{1,200}")
_NAME = re.compile(r"[^/:]{1,250}")
_MODEL_NAME = re.compile(r"[A-Za-z0-9_\- ]{1,250}")
_LONGEST = {"param": 6_000, "tag": 8_000, "version tag": 5_000}  # characters of a value
_MOST_POINTS = 1_000  # of metrics in one call of the client
_LINK_ROOM = 400  # characters that links to the page of a run are longer than what stands for them


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that MLflow does not have, with the ids that its run and its logged model get.

    Attributes:
        digests: of the files of its run, by path.
        parent_models: the logged models that its run took.
        parent_run: the run that its own stands below.
    """

    projection: Projection
    experiment: str  # its id
    run_id: str
    model_id: str
    run_location: str
    model_location: str
    digests: Mapping[str, str]
    run_tags: Mapping[str, str]
    description: str
    parent_models: tuple[str, ...]
    parent_run: str | None


class OwnStore:
    """The database of the home's own store."""

    def __init__(self, route: MirrorRoute) -> None:
        self._engine = _engine(route.uri)
        self._tables = _tables()
        self._datasets: dict[tuple[str, str, str], Row] = {}  # by experiment, name and digest
        self._begun: frozenset[str] | None = None

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    def can_write(self, projection: Projection) -> bool:
        """Whether the rows of a version are known here, and nothing of it lies in MLflow already but was not finished."""
        if not self._is_known or not is_usual(projection):
            return False
        return f"{projection.version.name}:{projection.version.number}" not in self._unfinished

    @property
    def _is_known(self) -> bool:
        return all(
            name in self._tables and {column.name for column in self._tables[name].columns} == set(columns.split())
            for name, columns in _COLUMNS.items()
        )

    @property
    def _unfinished(self) -> frozenset[str]:
        """Labels of the runs behind which no version stands: a client that was stopped between its calls leaves them."""
        if self._begun is None:
            from sqlalchemy import select

            tags, versions = self._tables["tags"], self._tables["model_versions"]
            query = (
                select(tags.c.value)
                .outerjoin(versions, versions.c.run_id == tags.c.run_uuid)
                .where(tags.c.key == "registry.id", versions.c.run_id.is_(None))
            )
            with self._engine.connect() as connection:
                self._begun = frozenset(connection.execute(query).scalars())
        return self._begun

    def run_of(self, experiment: str, manifest: str) -> str | None:
        """The newest run that made an artifact, None where there is none."""
        from sqlalchemy import select

        tags, runs = self._tables["tags"], self._tables["runs"]
        query = (
            select(runs.c.run_uuid)
            .join(tags, tags.c.run_uuid == runs.c.run_uuid)
            .where(tags.c.key == "registry.manifest", tags.c.value == manifest)
            .where(runs.c.experiment_id == int(experiment), runs.c.lifecycle_stage == "active")
            .order_by(runs.c.start_time.desc(), runs.c.run_uuid)
            .limit(1)
        )
        with self._engine.connect() as connection:
            run: str | None = connection.execute(query).scalar_one_or_none()
            return run

    def write(self, versions: Sequence[NewVersion], now_ms: int) -> tuple[Digest | None, ...]:
        """Write the rows of each version whose number is the next of its name, all in one transaction.

        Returns a digest over the rows of each that was written (`StoreRows.of_version`); None for others: MLflow has more, or
        less, than was thought.
        """
        with self._engine.begin() as connection:
            rows = _Rows()
            numbers: dict[str, int | None] = {}
            written = []
            left_out: set[str | None] = set()
            for version in versions:
                name, number = version.projection.version.name, version.projection.version.number
                if name not in numbers:
                    numbers[name] = self._newest(connection, name)
                newest = numbers[name]
                is_next = newest == number - 1 if newest is not None else number == 1
                # a name without versions may be somebody's: the client looks at it
                is_free = newest is not None or not self._has_name(connection, name)
                # what refers to a version that is left out is left out with it, and so are later ones of its name
                refers_to = (name, *version.parent_models, version.parent_run)
                is_written = is_next and is_free and left_out.isdisjoint(refers_to)
                written.append(is_written)
                if is_written:
                    self._add(connection, rows, version, is_first=newest is None, now_ms=now_ms)
                    numbers[name] = number
                else:
                    left_out |= {name, version.run_id, version.model_id}
            for table, values in rows.by_table.items():
                if values:
                    connection.execute(self._tables[table].insert(), values)
            self._refresh_names(connection, versions, written, numbers, now_ms)
        return self._digests(rows, versions, written)

    def _digests(
        self, rows: "_Rows", versions: Sequence[NewVersion], written: Sequence[bool]
    ) -> tuple[Digest | None, ...]:
        """Over the rows of each version, as they were given to the database and not as they lie there now."""
        # a data set may have been written with an earlier version
        digests = digests_of_written({**rows.by_table, "datasets": tuple(self._datasets.values())})
        return tuple(
            digests.of(
                version.run_id,
                version.model_id,
                f"{version.projection.version.name}:{version.projection.version.number}",
            )
            if is_written
            else None
            for version, is_written in zip(versions, written, strict=True)
        )

    def _add(
        self, connection: "Connection", rows: "_Rows", version: NewVersion, *, is_first: bool, now_ms: int
    ) -> None:
        _add_run(rows, version)
        _add_model(rows, version, now_ms)
        self._add_inputs(connection, rows, version)
        _add_version(rows, version, is_first=is_first, now_ms=now_ms)

    def _add_inputs(self, connection: "Connection", rows: "_Rows", version: NewVersion) -> None:
        """The data sets and models that a run took, and the model that it made."""
        seen = set()
        for use in version.projection.run.datasets:
            if (use.name, use.digest) not in seen:
                seen.add((use.name, use.digest))
                source = self._dataset(connection, rows, version.experiment, use)
                edge = _edge(rows, ("DATASET", source), ("RUN", version.run_id))
                rows.add("input_tags", input_uuid=edge, name="mlflow.data.context", value=use.context)
        for model in dict.fromkeys(version.parent_models):
            _edge(rows, ("RUN_INPUT", version.run_id), ("MODEL_INPUT", model))
        last = max((point.step for point in version.projection.run.metrics), default=0)
        _edge(rows, ("RUN_OUTPUT", version.run_id), ("MODEL_OUTPUT", version.model_id), step=last)

    def _dataset(self, connection: "Connection", rows: "_Rows", experiment: str, use: Any) -> str:
        """The id of a data set, which is one for all runs of an experiment."""
        from sqlalchemy import select

        key = (experiment, use.name, use.digest)
        if key not in self._datasets:
            table = self._tables["datasets"]
            where = (table.c.experiment_id == int(experiment), table.c.name == use.name, table.c.digest == use.digest)
            known = connection.execute(select(table.c.dataset_uuid).where(*where)).scalar_one_or_none()
            self._datasets[key] = {
                "dataset_uuid": known or uuid.uuid4().hex,
                "experiment_id": int(experiment),
                "name": use.name,
                "digest": use.digest,
                "dataset_source_type": "registry",
                "dataset_source": use.source,
                "dataset_schema": None,
                "dataset_profile": use.profile,
            }
            if known is None:
                rows.add("datasets", **self._datasets[key])
        return str(self._datasets[key]["dataset_uuid"])

    def _refresh_names(
        self,
        connection: "Connection",
        versions: Sequence[NewVersion],
        written: Sequence[bool],
        numbers: Mapping[str, int | None],
        now_ms: int,
    ) -> None:
        """Write what the list of models shows of each name, and the aliases of each version."""
        from sqlalchemy import delete, update
        from sqlalchemy.dialects.sqlite import insert

        names, tags, aliases = (
            self._tables[name] for name in ("registered_models", "registered_model_tags", "registered_model_aliases")
        )
        done = [version.projection.version for version, is_written in zip(versions, written, strict=True) if is_written]
        for name in sorted({version.name for version in done}):
            connection.execute(update(names).where(names.c.name == name).values(last_updated_time=now_ms))
        for version in done:
            if version.name_tags and numbers[version.name] == version.number:
                wanted = dict(version.name_tags)
                # ours that an earlier version wrote and this one does not
                earlier = (tags.c.name == version.name, tags.c.key.like("registry.%"), tags.c.key.not_in(wanted))
                connection.execute(delete(tags).where(*earlier))
                values = [
                    {"workspace": _WORKSPACE, "name": version.name, "key": key, "value": value}
                    for key, value in wanted.items()
                ]
                upsert = insert(tags)
                connection.execute(
                    upsert.on_conflict_do_update(
                        index_elements=["workspace", "name", "key"], set_={"value": upsert.excluded.value}
                    ),
                    values,
                )
            for alias in version.aliases:
                upsert = insert(aliases).values(
                    workspace=_WORKSPACE, name=version.name, alias=alias, version=version.number
                )
                connection.execute(
                    upsert.on_conflict_do_update(
                        index_elements=["workspace", "name", "alias"], set_={"version": version.number}
                    )
                )

    def _newest(self, connection: "Connection", name: str) -> int | None:
        """The highest number that a name ever had; None for none."""
        from sqlalchemy import func, select

        table = self._tables["model_versions"]
        query = select(func.max(table.c.version)).where(table.c.workspace == _WORKSPACE, table.c.name == name)
        newest: int | None = connection.execute(query).scalar_one()
        return newest

    def _has_name(self, connection: "Connection", name: str) -> bool:
        from sqlalchemy import select

        table = self._tables["registered_models"]
        return connection.execute(select(table.c.name).where(table.c.name == name)).first() is not None


class _Rows:
    """Rows to come, by table, in the order in which MLflow's tables name each other."""

    def __init__(self) -> None:
        self.by_table: dict[str, list[Row]] = {name: [] for name in (*_FIRST, *(_COLUMNS.keys() - set(_FIRST)))}

    def add(self, table: str, **values: Any) -> None:  # the columns of a table of MLflow's
        self.by_table[table].append(values)


_FIRST = ("runs", "logged_models", "datasets", "registered_models", "model_versions", "inputs")


def new_ids() -> tuple[str, str]:
    """An id for a run and another for a logged model, as MLflow makes them."""
    return uuid.uuid4().hex, f"m-{uuid.uuid4().hex}"


def is_usual(projection: Projection) -> bool:
    """Whether MLflow takes everything of a version as it stands, by its names and lengths; a version with trials has more runs."""
    run, version = projection.run, projection.version
    keys = [
        *(key for key, _ in (*run.tags, *run.params, *version.tags, *version.name_tags)),
        *(point.key for point in run.metrics),
    ]
    fits: list[Callable[[], bool]] = [
        lambda: not run.trials,
        lambda: _NAME.fullmatch(version.name) is not None and _MODEL_NAME.fullmatch(version.model_name) is not None,
        lambda: all(_KEY.fullmatch(key) and not _has_odd_path(key) for key in keys),
        lambda: all(_ALIAS.fullmatch(alias) for alias in version.aliases),
        lambda: all(len(value) <= _LONGEST["param"] for _, value in run.params),
        lambda: all(len(value) + _LINK_ROOM <= _LONGEST["tag"] for _, value in run.tags),
        lambda: all(len(value) <= _LONGEST["version tag"] for _, value in (*version.tags, *version.name_tags)),
        lambda: len(run.metrics) <= _MOST_POINTS,
        lambda: len(run.name) <= 250 and len({key for key, _ in run.params}) == len(run.params),
        lambda: all(0 < len(use.name) <= 500 and 0 < len(use.digest) <= 36 for use in run.datasets),
    ]
    return all(fit() for fit in fits)


def _has_odd_path(key: str) -> bool:
    """MLflow takes keys as paths, and none that could be written otherwise."""
    return any(part in ("", ".", "..") for part in key.split("/"))


def _add_run(rows: _Rows, version: NewVersion) -> None:
    run = version.projection.run
    rows.add(
        "runs",
        run_uuid=version.run_id,
        name=run.name,
        source_type="UNKNOWN",
        source_name="",
        entry_point_name="",
        user_id="unknown",
        status="FINISHED",
        start_time=run.start_ms,
        end_time=run.end_ms,
        deleted_time=None,
        source_version="",
        lifecycle_stage="active",
        artifact_uri=version.run_location,
        experiment_id=int(version.experiment),
    )
    tags = {"mlflow.runName": run.name, **version.run_tags}
    if version.parent_run is not None:
        tags[PARENT] = version.parent_run
    for key, value in tags.items():
        rows.add("tags", key=key, value=value, run_uuid=version.run_id)
    for key, value in run.params:
        rows.add("params", key=key, value=value, run_uuid=version.run_id)
    latest: dict[str, tuple[int, int, float, bool]] = {}
    points = dict.fromkeys((point.key, *_stored(point.value), point.at_ms, point.step) for point in run.metrics)
    for metric, figure, is_nan, at_ms, step in points:
        rows.add(
            "metrics", key=metric, value=figure, timestamp=at_ms, step=step, is_nan=is_nan, run_uuid=version.run_id
        )
        shown = (step, at_ms, figure, is_nan)
        if metric not in latest or shown[:3] > latest[metric][:3]:
            latest[metric] = shown
    for metric, (step, at_ms, figure, is_nan) in latest.items():
        rows.add(
            "latest_metrics",
            key=metric,
            value=figure,
            timestamp=at_ms,
            step=step,
            is_nan=is_nan,
            run_uuid=version.run_id,
        )


def _add_model(rows: _Rows, version: NewVersion, now_ms: int) -> None:
    from mlflow.entities import LoggedModelStatus

    shown, experiment = version.projection.version, int(version.experiment)
    rows.add(
        "logged_models",
        model_id=version.model_id,
        experiment_id=experiment,
        name=shown.model_name,
        artifact_location=version.model_location,
        creation_timestamp_ms=now_ms,
        last_updated_timestamp_ms=now_ms,
        status=LoggedModelStatus.READY.to_int(),
        lifecycle_stage="active",
        model_type=shown.model_type,
        source_run_id=version.run_id,
        status_message=None,
    )
    tags = {
        "registry.id": f"{shown.name}:{shown.number}",
        "registry.manifest": str(version.projection.manifest),
        "mlflow.model.isExternal": "true",
        _VERSIONS_TAG: json.dumps([{"name": shown.name, "version": shown.number}]),
    }
    for key, value in tags.items():
        rows.add("logged_model_tags", model_id=version.model_id, experiment_id=experiment, tag_key=key, tag_value=value)
    final = (
        (point.key, _stored(point.value)[0], point.at_ms, point.step, point.dataset)
        for point in version.projection.run.metrics
        if point.final
    )
    for metric, figure, at_ms, step, dataset in dict.fromkeys(final):
        name, digest = dataset or (None, None)
        rows.add(
            "logged_model_metrics",
            model_id=version.model_id,
            metric_name=metric,
            metric_timestamp_ms=at_ms,
            metric_step=step,
            metric_value=figure,
            experiment_id=experiment,
            run_id=version.run_id,
            dataset_uuid=None,
            dataset_name=name,
            dataset_digest=digest,
        )


def _add_version(rows: _Rows, version: NewVersion, *, is_first: bool, now_ms: int) -> None:
    shown = version.projection.version
    if is_first:
        rows.add(
            "registered_models",
            workspace=_WORKSPACE,
            name=shown.name,
            creation_time=now_ms,
            last_updated_time=now_ms,
            description=None,
        )
    rows.add(
        "model_versions",
        workspace=_WORKSPACE,
        name=shown.name,
        version=shown.number,
        creation_time=now_ms,
        last_updated_time=now_ms,
        description=version.description,
        user_id=None,
        current_stage="None",
        source=shown.source,
        storage_location=shown.source,
        run_id=version.run_id,
        run_link=None,
        status="READY",
        status_message=None,
    )
    for key, value in dict(shown.tags).items():
        rows.add(
            "model_version_tags",
            workspace=_WORKSPACE,
            name=shown.name,
            version=shown.number,
            key=key,
            value=value,
        )


def _edge(rows: _Rows, source: tuple[str, str], destination: tuple[str, str], *, step: int = 0) -> str:
    edge = uuid.uuid4().hex
    (source_type, source_id), (destination_type, destination_id) = source, destination
    rows.add(
        "inputs",
        input_uuid=edge,
        source_type=source_type,
        source_id=source_id,
        destination_type=destination_type,
        destination_id=destination_id,
        step=step,
    )
    return edge


def _stored(value: float) -> tuple[float, bool]:
    """A figure as MLflow keeps it, and whether it is not a number: SQL has neither infinity nor that."""
    if math.isnan(value):
        return 0.0, True
    if math.isinf(value):
        return math.copysign(1.7976931348623157e308, value), False
    return value, False


def _tables() -> "Mapping[str, Table]":
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.model_registry.dbmodels import models as registered
    from mlflow.store.tracking.dbmodels import models as tracked

    assert registered and tracked, "imported for the tables that they declare"
    tables: Mapping[str, Table] = Base.metadata.tables
    return tables


def _engine(uri: str) -> "Engine":
    """A connection of its own, on which a transaction that writes waits for others from its beginning."""
    from sqlalchemy import create_engine, event

    engine = create_engine(uri, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:  # of sqlite3 and SQLAlchemy, which name no types here
        connection.isolation_level = None  # else sqlite3 begins transactions where it pleases
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: "Connection") -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
