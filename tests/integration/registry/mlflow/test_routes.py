"""What is remembered is of one MLflow: several homes on one database, and stores that were copied, put back or forgotten."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.mlflow import route_state
from peft_registry.registry.mlflow.checking import check_mirror
from peft_registry.registry.mlflow.draining import rebuild_mirror, sync_mirror
from peft_registry.registry.mlflow.mirror_status import forget_mirror, mirror_standing
from peft_registry.registry.mlflow.route import MirrorBusy, MirrorGone, RouteUnknown, TurnLost
from peft_registry.registry.mlflow.route_state import RouteState, mirror_state, turn
from peft_registry.registry.use_cases.promote import set_alias
from tests.builders.homes import a_home, register_adapter, reopened
from tests.builders.mirrored_homes import labels_in_mlflow, runs_in_mlflow, two_machines
from tests.processes.interpreter import ROOT
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow's engines close when they are collected


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # MLflow's defaults write into the current folder


def test_a_second_machine_with_an_empty_store_of_its_own_gets_everything(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    address = postgres.new_database("second_machine")
    with two_machines(tmp_path / "first", tmp_path / "second", address) as (here, there):
        version = register_adapter(here, tmp_path)
        set_alias(here, version, "champion")
        assert sync_mirror(here).clean
        assert mirror_standing(there).waiting, "nothing is in the MLflow of the second"
        assert sync_mirror(there).clean
        assert labels_in_mlflow(there) == labels_in_mlflow(here) != []
        for registry in (here, there):
            assert (check_mirror(registry).exit_code, mirror_standing(registry).waiting) == (0, {})
        # what happens later reaches both
        set_alias(there, version, "candidate")
        for registry in (here, there):
            assert mirror_standing(registry).waiting == {version.name: 1}
            assert sum(sync_mirror(registry).outcome.done.values()) == 1
            assert check_mirror(registry).exit_code == 0
        (other,) = mirror_standing(here).others
        assert forget_mirror(here, other.place) == other.place
        assert mirror_standing(there).versions == 0
        with pytest.raises(RouteUnknown):
            forget_mirror(here, other.place)


def test_a_turn_of_a_machine_that_was_killed_ends_by_itself_and_of_a_process_of_this_home_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route_state, "LOCK_SECONDS", 0.5)
    with a_home(tmp_path / "home") as registry:
        register_adapter(registry, tmp_path)
        with turn(registry) as state:
            route = state.route
        with registry.database.write() as tx:
            assert catalog.take_turn(tx, route, "a machine that was killed", seconds=3600) is None
        with pytest.raises(MirrorBusy), turn(registry):
            pass
        with registry.database.write() as tx:
            assert catalog.keep_turn(tx, route, "a machine that was killed", seconds=-1)
        with turn(registry) as state:
            holder = state.holder
        # killed between: the file of the home still names the holder, and the database has not heard that it ended
        with registry.database.write() as tx:
            assert catalog.take_turn(tx, route, str(holder), seconds=3600) is None
        with turn(registry):
            pass


def test_who_stood_still_for_longer_than_its_turn_writes_nothing_more(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        register_adapter(registry, tmp_path)
        with turn(registry) as state:
            with registry.database.write() as tx:
                assert catalog.keep_turn(tx, state.route, str(state.holder), seconds=-1)
                assert catalog.take_turn(tx, state.route, "another machine", seconds=60) is None
            state.put("run", "x:1", {"run_id": "1"})
            with pytest.raises(TurnLost):
                state.keep()
        assert RouteState(registry, state.route, None).get("run", "x:1") is None


KILLED = """
import os, sys
from pathlib import Path
from peft_registry.registry.mlflow.draining import sync_mirror
from peft_registry.registry.mlflow.model_versions import ModelVersions
from tests.builders.homes import reopened
original = ModelVersions.ensure
def ensure(self, projection, **options):
    original(self, projection, **options)
    if projection.version.name == "helper":
        os.kill(os.getpid(), 9)
ModelVersions.ensure = ensure
sync_mirror(reopened(Path(sys.argv[1])))
"""


def test_a_process_that_is_killed_with_a_version_half_copied_keeps_nobody_waiting_and_nothing_is_doubled(
    tmp_path: Path,
) -> None:
    with a_home(tmp_path / "home") as registry:
        register_adapter(registry, tmp_path)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "home")]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    killed = subprocess.run(command, env=environment, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    with closing(reopened(tmp_path / "home")) as registry:
        started = time.monotonic()
        assert sync_mirror(registry).clean
        assert time.monotonic() - started < route_state.TURN_SECONDS
        assert set(runs_in_mlflow(registry).values()) == {1}
        assert labels_in_mlflow(registry) == ["helper:1", "tiny:1"]
        assert check_mirror(registry).exit_code == 0


def test_of_two_copies_of_one_store_the_older_is_named_and_not_written_to(tmp_path: Path) -> None:
    """A backup of HOME/mlflow that is put back, or a home that was copied whole."""
    with a_home(tmp_path / "home") as registry:
        version = register_adapter(registry, tmp_path)
        assert sync_mirror(registry).clean
        shutil.copytree(registry.files.mlflow, tmp_path / "backup")
        set_alias(registry, version, "champion")
        assert sync_mirror(registry).clean
    # at another place: this process keeps the files of the first open
    shutil.copytree(tmp_path / "home", tmp_path / "moved", ignore=shutil.ignore_patterns("mlflow"))
    shutil.copytree(tmp_path / "backup", tmp_path / "moved" / "mlflow")
    with closing(reopened(tmp_path / "moved")) as registry:
        checked = check_mirror(registry)
        assert checked.exit_code == 6
        assert "older copy" in checked.route
        set_alias(registry, version, "candidate")
        with pytest.raises(MirrorGone, match="older copy") as gone:
            sync_mirror(registry)
        assert "registry mirror rebuild" in gone.value.fix
        assert rebuild_mirror(registry).clean
        assert check_mirror(registry).exit_code == 0
        assert set(runs_in_mlflow(registry).values()) == {1}


def test_what_is_forgotten_is_copied_again_and_not_doubled(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        version = register_adapter(registry, tmp_path)
        assert sync_mirror(registry).clean
        forget_mirror(registry)
        assert mirror_state(registry) is None
        assert mirror_standing(registry).waiting == {"tiny": 1, version.name: 1}
        assert sync_mirror(registry).clean
        assert set(runs_in_mlflow(registry).values()) == {1}
        assert check_mirror(registry).exit_code == 0
