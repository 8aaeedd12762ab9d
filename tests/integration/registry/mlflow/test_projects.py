"""Versions of several projects: an experiment of MLflow for each, in the home's own store and by MLflow's client alike."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow import mirror
from peft_registry.registry.mlflow.checking import check_mirror, repair_mirror
from peft_registry.registry.mlflow.draining import rebuild_mirror, sync_mirror
from peft_registry.registry.mlflow.home_route import mirror_route
from peft_registry.registry.mlflow.mirror import sync
from peft_registry.registry.mlflow.mirror_status import forget_mirror
from peft_registry.registry.mlflow.route import MirrorGone, MirrorRoute
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.run import Trial
from tests.builders.homes import a_home, add_a_base, reopened
from tests.builders.mirror import Memory, a_base, a_base_projection, a_projection, a_run, a_version, an_entry
from tests.builders.mirrored_homes import runs_in_mlflow
from tests.builders.products import a_product

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow's engines close when they are collected

PROJECTS = {"sums": "support-bot", "other": None, "third": "billing", "fourth": "support-bot"}
TRIED = (Trial(seed=7, score=1.5, chosen=False), Trial(seed=8, score=1.25, chosen=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with four trainings, mirrored by the client: `third` tried seeds, `fourth` is the arm of a comparison."""
    folder = tmp_path_factory.mktemp("projects")
    with pytest.MonkeyPatch.context() as patch, a_home(folder / "home") as registry:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))  # MLflow's defaults write into the current folder
        base = add_a_base(registry, folder / "base")
        beside: dict[str, dict[str, Any]] = {"third": {"trials": TRIED}, "fourth": {"comparison": "c0ffee"}}
        for number, (name, project) in enumerate(PROJECTS.items(), start=1):
            product = a_product(
                registry,
                folder / name,
                base,
                name=name,
                run_id=name,
                value=number / 8,
                project=project,
                **beside.get(name, {}),
            )
            set_alias(registry, register_product(registry, product).version, "champion")
        assert sync_mirror(registry).clean
    return folder / "home"


@pytest.fixture
def registry(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    shutil.copytree(made, tmp_path / "home")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with closing(reopened(tmp_path / "home")) as opened:
        yield opened


def client_of(registry: Registry) -> Any:
    from mlflow import MlflowClient

    uri = mirror_route(registry).uri
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def shown(client: Any) -> dict[str, list[str]]:
    """The names of the runs of each experiment of ours."""
    return {
        experiment.name: sorted(run.info.run_name for run in client.search_runs([experiment.experiment_id]))
        for experiment in client.search_experiments()
        if experiment.name != "Default"
    }


EXPECTED = {
    "registry": ["add tiny:1", "train other:1"],
    "registry/billing": ["third:1 trial, seed 7", "third:1 trial, seed 8", "train third:1"],
    "registry/support-bot": ["compare c0ffee", "train fourth:1", "train sums:1"],
}


def test_the_runs_of_a_project_and_all_that_stands_below_them_are_in_an_experiment_of_its_name(
    registry: Registry,
) -> None:
    client = client_of(registry)
    assert shown(client) == EXPECTED
    experiment = client.get_experiment_by_name("registry/support-bot")
    assert "the project support-bot" in experiment.tags["mlflow.note.content"]
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    models = client.search_logged_models([experiment.experiment_id])
    assert {model.tags["registry.id"] for model in models} == {"sums:1", "fourth:1"}
    version = client.get_model_version("sums", "1")
    assert version.tags["registry.project"] == client.get_run(version.run_id).data.tags["registry.project"]
    assert "| support-bot |" in version.description
    assert f"#/experiments/{experiment.experiment_id}/runs/{version.run_id}" in version.description
    assert "registry.project" not in client.get_model_version("other", "1").tags
    assert check_mirror(registry).exit_code == 0


def test_many_versions_of_several_projects_are_written_at_once_as_the_client_writes_them(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(registry.files.mlflow)
    monkeypatch.setattr(mirror, "TOGETHER_FROM", 0)
    assert rebuild_mirror(registry).clean
    assert shown(client_of(registry)) == EXPECTED
    assert check_mirror(registry).exit_code == 0


def test_what_is_forgotten_and_written_again_doubles_nothing_in_any_experiment(registry: Registry) -> None:
    forget_mirror(registry)
    assert sync_mirror(registry).clean
    assert shown(client_of(registry)) == EXPECTED
    assert set(runs_in_mlflow(registry).values()) == {1, 3}, "three have no version: two seeds, and a comparison"
    assert check_mirror(registry).exit_code == 0


def test_what_was_changed_in_the_experiment_of_a_project_is_found_and_written_again(registry: Registry) -> None:
    client = client_of(registry)
    run_id = client.get_model_version("third", "1").run_id
    client.set_tag(run_id, "registry.project", "support-bot")
    client.set_model_version_tag("third", "1", "registry.project", "support-bot")
    assert {difference.key for _, difference in check_mirror(registry).differences} == {"registry.project"}
    assert repair_mirror(registry).exit_code == 0
    assert client.get_run(run_id).data.tags["registry.project"] == "billing"


def test_a_run_that_was_moved_to_another_project_is_found(registry: Registry) -> None:
    client = client_of(registry)
    run_id = client.get_model_version("sums", "1").run_id
    other = client.get_experiment_by_name("registry/billing").experiment_id
    with closing(sqlite3.connect(registry.files.mlflow / "mlflow.db")) as database:
        database.execute("UPDATE runs SET experiment_id = ? WHERE run_uuid = ?", (int(other), run_id))
        database.commit()
    checked = check_mirror(registry)
    assert checked.exit_code == 6
    assert ("sums:1", "experiment of the run") in {(label, found.kind) for label, found in checked.differences}


@pytest.mark.parametrize("at_once", [False, True], ids=["by the client", "at once"])
def test_a_store_that_was_emptied_gets_no_new_project(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """Nothing is remembered of a new experiment; those that are remembered show that this is another store."""
    if at_once:
        monkeypatch.setattr(mirror, "TOGETHER_FROM", 0)
    shutil.copytree(registry.folder, tmp_path / "moved", ignore=shutil.ignore_patterns("mlflow"))
    with a_home(tmp_path / "new") as new:
        add_a_base(new, tmp_path / "another")
        assert sync_mirror(new).clean
    shutil.copytree(tmp_path / "new" / "mlflow", tmp_path / "moved" / "mlflow")
    with closing(reopened(tmp_path / "moved")) as moved:
        base = add_a_base(moved, tmp_path / "base")
        register_product(
            moved, a_product(moved, tmp_path / "late", base, name="late", run_id="late", value=0.9, project="late")
        )
        with pytest.raises(MirrorGone):
            sync_mirror(moved)
        assert "registry/late" not in shown(client_of(moved))


@pytest.mark.parametrize("together_from", [10**9, 0], ids=["by the client", "at once"])
@pytest.mark.parametrize(
    ("of_start", "of_result", "is_below"), [("a", "a", True), (None, None, True), ("a", "b", False), ("a", None, False)]
)
def test_a_training_stands_below_the_one_that_it_continued_where_both_are_of_one_project(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    together_from: int,
    of_start: str | None,
    of_result: str | None,
    is_below: bool,
) -> None:
    """MLflow nests runs of one experiment; that of another is linked as an input and in the description."""
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mirror, "TOGETHER_FROM", together_from)
    first, second = a_version(), a_version(name="further")
    known = {
        a_base().label: a_base_projection(),
        first.label: a_projection(first, run=a_run(), project=of_start),
        second.label: a_projection(
            second, project=of_result, continues=first.manifest_digest, parents=(first.manifest_digest,)
        ),
    }
    entries = [an_entry(version, id) for id, version in enumerate((a_base(), first, second), start=1)]
    route = MirrorRoute.of_home(tmp_path / "home")
    outcome = sync([entries], route=route, state=Memory(), load=lambda entry: known[entry.label])
    assert len(outcome.done) == 3
    client = MlflowClient(tracking_uri=route.uri, registry_uri=route.uri)
    runs = [client.get_run(client.get_model_version(version.name, "1").run_id) for version in (first, second)]
    expected = runs[0].info.run_id if is_below else None
    assert runs[1].data.tags.get("mlflow.parentRunId") == expected
    (taken,) = runs[1].inputs.model_inputs
    assert taken.model_id == runs[0].outputs.model_outputs[0].model_id
