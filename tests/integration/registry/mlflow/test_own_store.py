"""Many versions written at once into the home's own store: the rows that the client would have written, and nothing doubled."""

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from peft_registry.registry.mlflow import mirror, own_store
from peft_registry.registry.mlflow.checking import check_mirror
from peft_registry.registry.mlflow.draining import rebuild_mirror, sync_mirror
from peft_registry.registry.mlflow.home_route import mirror_route
from peft_registry.registry.mlflow.planned_versions import PlannedVersions
from peft_registry.registry.mlflow.route_state import RouteState
from peft_registry.registry.mlflow.surface import open_surface
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.mirror import OutboxEntry
from tests.bench.load import fill
from tests.builders.homes import add_a_base
from tests.builders.mirrored_homes import labels_in_mlflow, runs_in_mlflow
from tests.builders.products import a_product

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow's engines close when they are collected
VERSIONS = 12
PROJECT = "billing"  # of one of them
_TABLES = tuple(own_store._COLUMNS)
_TIMES = re.compile(r"creation_time|last_updated|_timestamp_ms")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with trainings of several names, some continued and one of a project, that was never mirrored."""
    folder = tmp_path_factory.mktemp("filled")
    fill(folder / "home", versions=VERSIONS, stored=True, registrations=1)
    with closing(open_home(folder / "home")) as registry:
        base = add_a_base(registry, folder / "base")
        for number in (1, 2):
            version = register_product(
                registry,
                a_product(
                    registry,
                    folder / f"{number}",
                    base,
                    run_id=f"run-{number}",
                    value=number / 8,
                    project=PROJECT if number == 2 else None,
                ),
            ).version
        set_alias(registry, version, "champion")
    return folder / "home"


@pytest.fixture
def registry(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.chdir(tmp_path)  # MLflow's defaults write into the current folder
    with closing(copied(filled, tmp_path / "home")) as opened:
        yield opened


def copied(home: Path, target: Path, *, state: Path | None = None) -> Registry:
    shutil.copytree(home, target)
    return open_home(target, seen=SeenCheckpoints(state, str))


def written_by_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "TOGETHER_FROM", 10**9)


class Together:
    """How many versions were written with others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.versions = 0
        write = PlannedVersions.write

        def counting(planned: PlannedVersions, versions: Any) -> tuple[Digest | None, ...]:
            written = write(planned, versions)
            self.versions += sum(rows is not None for rows in written)
            return written

        monkeypatch.setattr(PlannedVersions, "write", counting)


def rows_of(registry: Registry) -> dict[str, list[tuple[str, ...]]]:
    """The rows of every table, with what MLflow chose at random under the label that it stands for, and without times of now."""
    with closing(sqlite3.connect(registry.files.mlflow / "mlflow.db")) as database:
        names = dict(database.execute("SELECT run_uuid, 'run ' || value FROM tags WHERE key = 'registry.id'"))
        names |= dict(
            database.execute(
                "SELECT model_id, 'model ' || tag_value FROM logged_model_tags WHERE tag_key = 'registry.id'"
            )
        )
        names |= dict(database.execute("SELECT dataset_uuid, 'data ' || name || digest FROM datasets"))
        names |= dict(
            database.execute(
                "SELECT input_uuid, 'edge ' || source_id || destination_id FROM inputs"  # named below, in turn
            )
        )
        random_id = re.compile("|".join(map(re.escape, names)))

        def named(value: object) -> str:
            text = str(value)
            while (shorter := random_id.sub(lambda found: str(names[found[0]]), text)) != text:
                text = shorter
            return text

        found = {}
        for table in _TABLES:
            cursor = database.execute(f"SELECT * FROM {table}")
            columns = [column[0] for column in cursor.description]
            kept = [number for number, column in enumerate(columns) if not _TIMES.search(column)]
            found[table] = sorted(tuple(named(row[number]) for number in kept) for row in cursor)
        return found


def test_versions_written_at_once_have_the_rows_that_the_client_writes(
    registry: Registry, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = Together(monkeypatch)
    assert sync_mirror(registry).clean
    assert together.versions == VERSIONS + 1 + 4  # the bases, too
    with monkeypatch.context() as patch, closing(copied(filled, tmp_path / "by-client")) as other:
        written_by_client(patch)
        assert sync_mirror(other).clean
        by_client = rows_of(other)
    at_once = rows_of(registry)
    assert together.versions == VERSIONS + 1 + 4
    assert all(by_client[table] for table in ("inputs", "input_tags", "logged_model_metrics", "params"))
    for table in _TABLES:
        assert at_once[table] == by_client[table], table
    assert check_mirror(registry).exit_code == 0
    assert rebuild_mirror(registry).clean
    assert rows_of(registry) == at_once


def test_versions_written_at_once_are_sealed_as_they_are_written(filled: Path, tmp_path: Path) -> None:
    with closing(copied(filled, tmp_path / "home", state=tmp_path / "state")) as registry:
        assert sync_mirror(registry).clean
        checked = check_mirror(registry)
        assert (checked.exit_code, checked.versions, checked.sealed) == (0, VERSIONS + 5, VERSIONS + 5)
        assert check_mirror(registry, in_full=True).exit_code == 0


def test_a_sync_that_is_killed_before_it_remembers_what_it_wrote_doubles_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(_state: RouteState, *_entries: OutboxEntry) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RouteState, "done", killed)
        patch.setattr(RouteState, "keep", lambda _: None)
        with pytest.raises(Killed):
            sync_mirror(registry)
    assert sync_mirror(registry).clean
    assert set(runs_in_mlflow(registry).values()) == {1}
    assert len(labels_in_mlflow(registry)) == VERSIONS + 5
    assert check_mirror(registry).exit_code == 0
    folders = [path for path in (registry.files.mlflow / "artifacts").glob("*/*") if path.name != "models"]
    assert len(folders) == VERSIONS + 3, "bases have no files, and there are no files of a run that is not there"


def test_a_foreign_model_stops_its_own_name_among_many(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    route = mirror_route(registry)
    open_surface(route)
    client = MlflowClient(tracking_uri=route.uri, registry_uri=route.uri)
    client.create_registered_model("sums")
    client.create_model_version("sums", f"registry://sha256/{'0' * 64}", await_creation_for=0)
    together = Together(monkeypatch)
    mirrored = sync_mirror(registry)
    assert [drift.name for drift in mirrored.outcome.drift] == ["sums"]
    assert {refused.entry.label for refused in mirrored.outcome.failed} == {"sums:1", "sums:2"}
    assert together.versions == sum(mirrored.outcome.done.values()) == VERSIONS + 3


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE artifacts SET size_bytes = size_bytes + 1 WHERE manifest_digest = ?",
        "UPDATE versions SET key_id = 'somebody' WHERE manifest_digest = ?",
        "DELETE FROM statements WHERE subject = ? AND kind = 'provenance'",
        "UPDATE statements SET envelope = x'7b7d' WHERE subject = ? AND kind = 'provenance'",
    ],
)
def test_rows_that_were_changed_stop_their_own_name_among_many_that_are_read_together(
    filled: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(copied(filled, tmp_path / "home")) as registry, registry.database.read() as tx:
        manifest = catalog.versions_of(tx, "sums")[0].manifest_digest
    with closing(sqlite3.connect(tmp_path / "home" / "database.sqlite")) as database, database:
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        assert database.execute(damage, (str(manifest),)).rowcount == 1
    with closing(open_home(tmp_path / "home")) as registry:
        mirrored = sync_mirror(registry)
    assert {refused.entry.label for refused in mirrored.outcome.failed} == {"sums:1", "sums:2"}
    assert sum(mirrored.outcome.done.values()) == VERSIONS + 3


def test_an_mlflow_with_other_columns_is_written_by_its_client(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = Together(monkeypatch)
    monkeypatch.setitem(own_store._COLUMNS, "runs", own_store._COLUMNS["runs"] + " mood")
    assert sync_mirror(registry).clean
    assert together.versions == 0
    assert len(labels_in_mlflow(registry)) == VERSIONS + 5


@contextmanager
def statements(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note each SQL statement of any database of this process, and each call of MLflow's client."""
    from mlflow import MlflowClient
    from sqlalchemy import Engine, event

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        calls.append(statement)

    with monkeypatch.context() as patch:
        for name in (
            "create_run",
            "get_run",
            "search_runs",
            "log_batch",
            "create_logged_model",
            "create_model_version",
        ):
            patch.setattr(MlflowClient, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))
        event.listen(Engine, "before_cursor_execute", note)
        try:
            yield
        finally:
            event.remove(Engine, "before_cursor_execute", note)


def test_the_statements_of_a_version_do_not_grow_with_how_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    counted = {}
    for versions in (16, 64):
        fill(tmp_path / f"{versions}", versions=versions, stored=True, registrations=0)
        with closing(open_home(tmp_path / f"{versions}")) as registry:
            open_surface(mirror_route(registry))
            calls: list[str] = []
            with statements(calls, monkeypatch):
                assert sync_mirror(registry).clean
            counted[versions] = len(calls) / versions
    assert counted[64] <= counted[16], counted
    assert counted[64] <= 25, "most of what a version needs is read with that of others"
