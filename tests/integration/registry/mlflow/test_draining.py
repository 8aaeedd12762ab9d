"""Draining a home's outbox: what it must not do, and what the copy in MLflow says about checks."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow import draining
from peft_registry.registry.mlflow.checking import check_mirror
from peft_registry.registry.mlflow.draining import rebuild_mirror, sync_mirror
from peft_registry.registry.mlflow.home_route import mirror_route
from peft_registry.registry.mlflow.mirror_status import mirror_standing
from peft_registry.registry.mlflow.projection import REPORT_PATH
from peft_registry.registry.mlflow.route import MirrorFull, MirrorGone
from peft_registry.registry.mlflow.route_state import mirror_state
from peft_registry.registry.use_cases import report, verify
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.schemas.version import Version
from tests.builders.homes import a_home, add_a_base, register_adapter, reopened
from tests.builders.products import FACTS, a_product
from tests.conftest import not_run
from tests.processes.interpreter import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow's engines close when they are collected


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # MLflow's defaults write into the current folder
    with a_home(tmp_path / "home") as opened:
        yield opened


class Counted:
    """How often a function of a module was called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.calls = 0
        original = getattr(module, name)

        def counting(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, counting)


def tags_in_mlflow(registry: Registry, version: Version) -> dict[str, str]:
    from mlflow import MlflowClient

    route = mirror_route(registry)
    client = MlflowClient(tracking_uri=route.uri, registry_uri=route.uri)
    return client.get_model_version(version.name, str(version.number)).tags


def page_in_mlflow(registry: Registry, version: Version) -> str:
    from mlflow import MlflowClient

    route = mirror_route(registry)
    assert route.artifact_root is not None
    client = MlflowClient(tracking_uri=route.uri, registry_uri=route.uri)
    run = client.get_run(client.get_model_version(version.name, str(version.number)).run_id)
    folder = route.artifact_root / run.info.artifact_uri.split(":", 1)[1].lstrip("/")
    return (folder / REPORT_PATH).read_text("utf-8")


def test_draining_verifies_nothing_and_renders_a_page_once_for_what_is_new_about_it(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = register_adapter(registry, tmp_path)
    for alias in ("candidate", "champion", "next"):
        set_alias(registry, version, alias)
    verified = Counted(monkeypatch, verify, "_checked")
    rendered = Counted(monkeypatch, report, "render_html")

    assert sync_mirror(registry).clean
    assert (verified.calls, rendered.calls) == (0, 1)

    # the page lists the signed statements: one more is one more page
    set_alias(registry, version, "retired")
    assert verified.calls == 1, "moving an alias verifies the version"
    verified.calls = 0  # copying what was moved does not
    assert sync_mirror(registry).clean
    assert (verified.calls, rendered.calls) == (0, 2)

    assert sync_mirror(registry).clean
    assert (verified.calls, rendered.calls) == (0, 2)


def test_the_page_in_mlflow_claims_no_check_and_our_own_page_makes_them(registry: Registry, tmp_path: Path) -> None:
    version = register_adapter(registry, tmp_path)
    assert sync_mirror(registry).clean
    page = page_in_mlflow(registry, version)
    assert "not checked for this report" in page
    assert "No check was made for this report." in page
    assert "✓" not in page
    assert "✓ verified" in make_report(registry, version).decode()


def test_equal_bytes_under_two_names_are_both_mirrored_and_either_may_change_later(
    registry: Registry, tmp_path: Path
) -> None:
    """The parameters of a run never change in MLflow: a version that showed the run of another would be refused for ever."""
    base = add_a_base(registry, tmp_path / "base")
    first = register_product(registry, a_product(registry, tmp_path / "1", base, facts=FACTS)).version
    assert sync_mirror(registry).clean
    page = page_in_mlflow(registry, first)
    second = register_product(
        registry, a_product(registry, tmp_path / "2", base, name="other", run_id="run-2", value=0.5)
    ).version
    assert second.manifest_digest == first.manifest_digest
    assert sync_mirror(registry).clean
    assert page_in_mlflow(registry, first) == page
    for version in (first, second):
        set_alias(registry, version, "champion")
    mirrored = sync_mirror(registry)
    assert mirrored.clean, mirrored.lines()
    assert "sums of two numbers" in page_in_mlflow(registry, first)
    assert "sums of two numbers" not in page_in_mlflow(registry, second)
    append_statement(
        registry,
        subject=second.manifest_digest,
        kind="test-result",
        predicate={"passed": True},
        signer=registry.trainer_key,
    )
    assert sync_mirror(registry).clean
    for version in (first, second):  # what is said of the bytes speaks of both
        assert "test-result" in tags_in_mlflow(registry, version)["registry.statements"]


def described(registry: Registry, name: str, number: int = 1) -> str:
    from mlflow import MlflowClient

    route = mirror_route(registry)
    client = MlflowClient(tracking_uri=route.uri, registry_uri=route.uri)
    return str(client.get_model_version(name, str(number)).description)


def test_a_base_links_to_what_was_made_on_it_and_back_also_where_the_base_was_copied_long_before(
    registry: Registry, tmp_path: Path
) -> None:
    base = add_a_base(registry, tmp_path / "base")
    assert sync_mirror(registry).clean
    for name in ("first", "second"):
        register_product(
            registry, a_product(registry, tmp_path / name, base, name=name, run_id=name, value=len(name) / 8)
        )
    assert sync_mirror(registry).clean
    label = base.version.label
    for name in ("first", "second"):
        assert f"[{name}:1](#/models/{name}/versions/1)" in described(registry, base.version.name)
        assert f"[{label}](#/models/{base.version.name}/versions/{base.version.number})" in described(registry, name)
    assert check_mirror(registry).exit_code == 0
    model = model_of(registry, "first")
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "first", "version": 1}]


def test_the_list_of_models_shows_what_the_newest_version_says(registry: Registry, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    base = add_a_base(registry, tmp_path / "base")
    for number in (1, 2):
        product = a_product(registry, tmp_path / str(number), base, name="sums", run_id=f"r{number}", value=number / 8)
        newest = register_product(registry, product).version
        assert sync_mirror(registry).clean
    route = mirror_route(registry)
    client = MlflowClient(tracking_uri=route.uri, registry_uri=route.uri)
    tags = client.get_registered_model("sums").tags
    assert tags == {
        key: value
        for key, value in tags_in_mlflow(registry, newest).items()
        if key in ("registry.bias", "registry.loss", "registry.signature")
    }
    assert {"registry.bias", "registry.signature"} <= tags.keys()
    assert check_mirror(registry).exit_code == 0


def model_of(registry: Registry, name: str) -> Any:
    from mlflow import MlflowClient

    route = mirror_route(registry)
    client = MlflowClient(tracking_uri=route.uri, registry_uri=route.uri)
    run = client.get_run(client.get_model_version(name, "1").run_id)
    return client.get_logged_model(run.outputs.model_outputs[0].model_id)


def register_a_foreign_model(registry: Registry, name: str) -> None:
    """Somebody registers a model of their own under the name, so that MLflow's next number is not ours."""
    from mlflow import MlflowClient

    route = mirror_route(registry)
    client = MlflowClient(tracking_uri=route.uri, registry_uri=route.uri)
    client.create_registered_model(name)
    client.create_model_version(name, "registry://sha256/" + "0" * 64, await_creation_for=0)


def test_a_drifted_name_with_many_waiting_entries_stops_no_other_name(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More entries wait under the drifted name than one batch holds."""
    base = add_a_base(registry, tmp_path / "base")
    assert sync_mirror(registry).clean
    register_a_foreign_model(registry, "drifted")
    for number in range(3):
        product = a_product(
            registry, tmp_path / f"drifted-{number}", base, name="drifted", run_id=f"run-{number}", value=number / 8
        )
        register_product(registry, product)
    register_product(registry, a_product(registry, tmp_path / "other", base, name="other", run_id="other", value=0.7))
    monkeypatch.setattr(draining, "BATCH", 2)
    rendered = Counted(monkeypatch, report, "render_html")
    outcome = sync_mirror(registry)
    assert outcome.outcome.done == {"tiny": 1, "other": 1}
    assert [drift.name for drift in outcome.outcome.drift] == ["drifted"]
    assert sum(line.startswith("waiting  drifted: 3 entries") for line in outcome.lines()) == 1
    assert rendered.calls == 1, "nothing is rendered for what is set aside"
    assert mirror_standing(registry).waiting == {"drifted": 3}


def test_a_version_whose_records_were_damaged_stops_its_own_name_and_no_other(
    registry: Registry, tmp_path: Path
) -> None:
    base = add_a_base(registry, tmp_path / "base")
    damaged = register_product(
        registry, a_product(registry, tmp_path / "1", base, name="damaged", run_id="run-1", value=0.25)
    ).version
    register_product(registry, a_product(registry, tmp_path / "2", base, name="whole", run_id="run-2", value=0.5))
    (manifest,) = [
        path
        for path in registry.folder.rglob("*")
        if path.is_file() and damaged.manifest_digest.hex in str(path).replace("/", "")
    ]
    manifest.chmod(0o644)
    manifest.write_bytes(b"{}")
    mirrored = sync_mirror(registry)
    assert mirrored.outcome.done["whole"] == 1
    assert {refused.entry.label for refused in mirrored.outcome.failed} == {"damaged:1"}
    assert any(line.startswith("waiting  damaged: 1 entry set aside") for line in mirrored.lines())


@contextmanager
def moved(registry: Registry, folder: Path) -> Iterator[Registry]:
    """The same home at another place: this process keeps the files of the first place open."""
    shutil.copytree(registry.folder, folder)
    with closing(reopened(folder)) as there:
        yield there


def test_a_store_that_was_deleted_is_said_and_written_again_from_the_records(
    registry: Registry, tmp_path: Path
) -> None:
    version = register_adapter(registry, tmp_path)
    set_alias(registry, version, "champion")
    assert sync_mirror(registry).clean
    tags = tags_in_mlflow(registry, version)
    projection = mirrored_projection(registry, version)
    with moved(registry, tmp_path / "moved") as home:
        shutil.rmtree(home.files.mlflow)
        assert mirror_standing(home).is_gone
        with pytest.raises(MirrorGone) as gone:
            sync_mirror(home)
        assert gone.value.exit_code == 8
        assert "registry mirror rebuild" in gone.value.fix
        rebuilt = rebuild_mirror(home)
        assert rebuilt.clean, rebuilt.lines()
        assert tags_in_mlflow(home, version) == tags
        assert mirrored_projection(home, version) == projection
        assert not mirror_standing(home).is_gone
        assert sync_mirror(home).outcome.done == {}


def mirrored_projection(registry: Registry, version: Version) -> str:
    state = mirror_state(registry)
    assert state is not None
    kept = state.get("version", version.label)
    assert kept is not None
    return str(kept["projection"])


def test_another_store_in_the_place_of_the_first_is_not_filled_with_a_part(registry: Registry, tmp_path: Path) -> None:
    version = register_adapter(registry, tmp_path)
    assert sync_mirror(registry).clean
    with a_home(tmp_path / "second") as second:
        register_adapter(second, tmp_path / "elsewhere-2", value=0.25)
        assert sync_mirror(second).clean
    with moved(registry, tmp_path / "moved") as home:
        shutil.copy(second.files.mlflow / "mlflow.db", home.files.mlflow / "mlflow.db")
        set_alias(home, version, "champion")
        with pytest.raises(MirrorGone, match="no longer has what was mirrored"):
            sync_mirror(home)


def test_rebuilding_where_everything_is_there_doubles_nothing(registry: Registry, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    version = register_adapter(registry, tmp_path)
    assert sync_mirror(registry).clean
    route = mirror_route(registry)
    client = MlflowClient(tracking_uri=route.uri, registry_uri=route.uri)
    runs = [run.info.run_id for run in client.search_runs([e.experiment_id for e in client.search_experiments()])]
    projection = mirrored_projection(registry, version)
    assert rebuild_mirror(registry).clean
    assert mirrored_projection(registry, version) == projection
    again = [run.info.run_id for run in client.search_runs([e.experiment_id for e in client.search_experiments()])]
    assert sorted(again) == sorted(runs)
    assert len(client.search_model_versions(f"name = '{version.name}'")) == 1


ON_A_FULL_DISK = """
import json, sys
from contextlib import closing
from pathlib import Path
from peft_registry.registry.mlflow.checking import check_mirror
from peft_registry.registry.mlflow.draining import sync_mirror
from peft_registry.registry.mlflow.mirror_status import mirror_standing
from peft_registry.schemas.errors import KnownError
from tests.builders.homes import reopened
home, filler = Path(sys.argv[1]), Path(sys.argv[2])
with closing(reopened(home)) as registry:
    try:
        told = [0, *sync_mirror(registry).lines()]
    except KnownError as error:
        told = [error.exit_code, error.what, error.why, error.fix]
    waiting = mirror_standing(registry).waiting
filler.unlink()
with closing(reopened(home)) as registry:
    again = sync_mirror(registry)
    found = check_mirror(registry)
print(json.dumps([told, waiting, again.lines(), found.exit_code, found.versions]))
"""


@pytest.mark.parametrize("room", [40, pytest.param(400, marks=pytest.mark.full)])
def test_a_disk_that_fills_while_mlflow_is_written_costs_nothing_and_is_said_in_one_sentence(
    registry: Registry, tmp_path: Path, room: int
) -> None:
    """A file system of its own under HOME/mlflow, filled but for so many KiB: the database has no room, or a report."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0:
        not_run("mount namespaces are not allowed here")
    base = add_a_base(registry, tmp_path / "base")
    assert sync_mirror(registry).clean
    for number in range(3):
        product = a_product(registry, tmp_path / str(number), base, name="sums", run_id=f"r{number}", value=number / 8)
        register_product(registry, product)
    registry.close()
    (tmp_path / "fill.sh").write_text(
        'set -e; cp -a "$1" "$1.kept"; mount -t tmpfs -o size=8m tmpfs "$1"; cp -a "$1.kept/." "$1"\n'
        'dd if=/dev/zero of="$1/filler" bs=4k 2>/dev/null || true\n'
        f'truncate -s -{room}k "$1/filler"; shift; exec "$@"\n'
    )
    mlflow = registry.files.mlflow
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(registry.folder), str(mlflow / "filler")]
    done = subprocess.run(
        ["unshare", "-m", "sh", str(tmp_path / "fill.sh"), str(mlflow), *command],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (code, *told), waiting, again, exit_code, versions = json.loads(done.stdout)
    assert (code, told[:2]) == (8, [MirrorFull().what, MirrorFull().why])
    assert sum(waiting.values()) > 0
    assert len(again) == 1
    assert "written to" in again[0]
    assert (exit_code, versions) == (0, 4)
