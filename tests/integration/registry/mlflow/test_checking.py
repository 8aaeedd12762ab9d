"""What somebody changes in MLflow by hand is found, written again where MLflow lets us, and named where it does not."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from peft_registry.registry.database.tables import mirrored
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.checking import check_mirror, repair_mirror
from peft_registry.registry.mlflow.draining import rebuild_mirror, sync_mirror
from peft_registry.registry.mlflow.home_route import mirror_route
from peft_registry.registry.mlflow.projection import CARD_PATH, REPORT_PATH
from peft_registry.registry.mlflow.route import MirrorNotChecked
from peft_registry.registry.mlflow.route_state import mirror_state, turn
from peft_registry.registry.mlflow.surface import open_surface
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run import Trial
from tests.builders.homes import a_home, add_a_base, reopened
from tests.builders.mirrored_homes import move_seals
from tests.builders.products import FACTS, a_product

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow's engines close when they are collected

NAME = "sums"


class Shown:
    """A mirrored home, and MLflow's own client to change what it shows."""

    def __init__(self, registry: Registry) -> None:
        from mlflow import MlflowClient

        self.registry = registry
        route = mirror_route(registry)
        self.client = MlflowClient(tracking_uri=route.uri, registry_uri=route.uri)
        state = mirror_state(registry)
        assert state is not None
        known = state.get("version", f"{NAME}:1")
        assert known is not None
        self.run_id: str = known["run_id"]
        self.model_id: str = known["model_id"]

    @property
    def page(self) -> Path:
        return self._file(self.client.get_run(self.run_id).info.artifact_uri, REPORT_PATH)

    @property
    def card(self) -> Path:
        return self._file(self.client.get_logged_model(self.model_id).artifact_location, CARD_PATH)

    def _file(self, location: str, path: str) -> Path:
        root = mirror_route(self.registry).artifact_root
        assert root is not None
        return root / location.split(":", 1)[1].lstrip("/") / path

    def side_run(self, name: str) -> str:
        """The id of a run that is no version's."""
        (run,) = self.client.search_runs(["1"], f"attributes.run_name = '{name}'")
        return str(run.info.run_id)

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.registry.files.mlflow / "mlflow.db")) as database:
            database.execute(statement)
            database.commit()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch, a_home(folder / "home") as registry:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))  # MLflow's defaults write into the current folder
        base = add_a_base(registry, folder / "base")
        version = register_product(registry, a_product(registry, folder / NAME, base, name=NAME, facts=FACTS)).version
        set_alias(registry, version, "champion")
        tried = (Trial(seed=7, score=1.5, chosen=False), Trial(seed=8, score=1.25, chosen=True))
        arm = a_product(
            registry, folder / "2", base, name=NAME, run_id="run-2", value=0.25, trials=tried, comparison="c0ffee"
        )
        register_product(registry, arm)
        assert sync_mirror(registry).clean
    with closing(reopened(folder / "home", state=folder / "state")) as registry:
        assert check_mirror(registry).exit_code == 0
    return folder / "home"


@pytest.fixture
def shown(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    """Of a user who checked it before and found it as it was written."""
    shutil.copytree(made, tmp_path / "home")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    move_seals(made, made.parent / "state", tmp_path / "home", tmp_path / "state")
    with closing(reopened(tmp_path / "home", state=tmp_path / "state")) as registry:
        yield Shown(registry)


@pytest.fixture
def unsealed(shown: Shown) -> Iterator[Shown]:
    """Of a user who remembers nothing."""
    with closing(reopened(shown.registry.folder)) as registry:
        yield Shown(registry)


def set_a_tag(shown: Shown) -> None:
    shown.client.set_model_version_tag(NAME, "1", "registry.bias", "all tests passed")


def delete_a_tag(shown: Shown) -> None:
    shown.client.delete_model_version_tag(NAME, "1", "registry.manifest")


def add_a_tag(shown: Shown) -> None:
    shown.client.set_model_version_tag(NAME, "1", "registry.approval", "approved")


def add_a_tag_with_a_space(shown: Shown) -> None:
    shown.client.set_model_version_tag(NAME, "1", "registry.approval of all", "approved")


def add_an_alias(shown: Shown) -> None:
    shown.client.set_registered_model_alias(NAME, "production", "1")


def delete_the_alias(shown: Shown) -> None:
    shown.client.delete_registered_model_alias(NAME, "champion")


def describe(shown: Shown) -> None:
    shown.client.update_model_version(NAME, "1", "All bias tests passed. Approved.")


def tag_the_run(shown: Shown) -> None:
    shown.client.set_tag(shown.run_id, "registry.approval", "approved")


def tag_the_name(shown: Shown) -> None:
    shown.client.set_registered_model_tag(NAME, "registry.bias", "better: everything")


def add_a_tag_to_the_name(shown: Shown) -> None:
    shown.client.set_registered_model_tag(NAME, "registry.approval", "approved")


def overwrite_the_report(shown: Shown) -> None:
    shown.page.write_text("<h1>approved</h1>")


def delete_the_report(shown: Shown) -> None:
    shown.page.unlink()


def overwrite_the_card(shown: Shown) -> None:
    shown.card.write_text("# Approved")


def delete_the_card(shown: Shown) -> None:
    shown.card.unlink()


def tag_the_model(shown: Shown) -> None:
    shown.client.set_logged_model_tags(shown.model_id, {"registry.approval": "approved"})


def change_a_tag_of_the_model(shown: Shown) -> None:
    shown.client.set_logged_model_tags(shown.model_id, {"registry.manifest": "sha256:" + "0" * 64})


def rename_the_run(shown: Shown) -> None:
    shown.client.update_run(shown.run_id, name="approved")


def fail_the_run(shown: Shown) -> None:
    shown.client.update_run(shown.run_id, status="FAILED")


def put_the_run_below_another(shown: Shown) -> None:
    other = shown.client.create_run("1", run_name="approved experiments")
    shown.client.set_tag(shown.run_id, "mlflow.parentRunId", other.info.run_id)


TRIAL, OVER_THE_ARMS = f"{NAME}:2 trial, seed 7", "compare c0ffee"


def delete_a_trial(shown: Shown) -> None:
    shown.client.delete_run(shown.side_run(TRIAL))


def better_the_score_of_a_trial(shown: Shown) -> None:
    shown.client.log_metric(shown.side_run(TRIAL), "trial/score", 0.5, step=1)


def choose_another_trial(shown: Shown) -> None:
    shown.client.set_tag(shown.side_run(TRIAL), "registry.chosen", "yes")


def add_a_trial(shown: Shown) -> None:
    run_id = shown.client.get_run(shown.side_run(TRIAL)).data.tags["mlflow.parentRunId"]
    tags = {"mlflow.parentRunId": run_id, "registry.trial": "9", "registry.chosen": "no"}
    shown.client.create_run("1", run_name=f"{NAME}:2 trial, seed 9", tags=tags)


def delete_the_run_over_the_arms(shown: Shown) -> None:
    shown.client.delete_run(shown.side_run(OVER_THE_ARMS))


def rename_the_run_over_the_arms(shown: Shown) -> None:
    shown.client.update_run(shown.side_run(OVER_THE_ARMS), name="approved")


def tag_the_run_over_the_arms(shown: Shown) -> None:
    shown.client.set_tag(shown.side_run(OVER_THE_ARMS), "registry.approval", "approved")


REPAIRED: dict[str, tuple[Callable[[Shown], None], str]] = {
    "a tag is set": (set_a_tag, "tag registry.bias"),
    "a tag is deleted": (delete_a_tag, "tag registry.manifest"),
    "a tag is added": (add_a_tag, "tag registry.approval"),
    "a tag with a space is added": (add_a_tag_with_a_space, "tag registry.approval of all"),
    "an alias is added": (add_an_alias, "alias production"),
    "the alias is deleted": (delete_the_alias, "alias champion"),
    "the description": (describe, "description"),
    "a tag of the run": (tag_the_run, "run tag registry.approval"),
    "a tag of the name": (tag_the_name, "tag of the name registry.bias"),
    "a tag is added to the name": (add_a_tag_to_the_name, "tag of the name registry.approval"),
    "the report is overwritten": (overwrite_the_report, f"file {REPORT_PATH}"),
    "the report is deleted": (delete_the_report, f"file {REPORT_PATH}"),
    "the card is overwritten": (overwrite_the_card, f"model file {CARD_PATH}"),
    "the card is deleted": (delete_the_card, f"model file {CARD_PATH}"),
    "a tag of the logged model is added": (tag_the_model, "model tag registry.approval"),
    "the name of the run": (rename_the_run, "run name"),
    "the status of the run": (fail_the_run, "run status"),
    "where the run stands": (put_the_run_below_another, "parent of the run"),
    "the run of a seed is deleted": (delete_a_trial, "trial 7"),
    "a better score of a seed": (better_the_score_of_a_trial, "trial 7"),
    "another seed is called chosen": (choose_another_trial, "trial 7"),
    "a run of a seed is added": (add_a_trial, "trial 9"),
    "the run over the arms is deleted": (delete_the_run_over_the_arms, "comparison c0ffee"),
    "the run over the arms is renamed": (rename_the_run_over_the_arms, "comparison c0ffee"),
    "the run over the arms is tagged": (tag_the_run_over_the_arms, "comparison c0ffee"),
    "a tag of the logged model": (change_a_tag_of_the_model, "model tag registry.manifest"),
}


def places(checked: Any) -> list[str]:
    return [difference.place for _, difference in checked.differences]


def test_what_was_written_is_found_as_it_was_written(shown: Shown, unsealed: Shown) -> None:
    for home, sealed in ((shown, 3), (unsealed, 0)):
        checked = check_mirror(home.registry)
        assert (checked.differences, checked.versions, checked.exit_code) == ((), 3, 0)
        assert checked.sealed == sealed


@pytest.mark.parametrize("edit", REPAIRED)
def test_an_edit_by_hand_is_found_with_both_values_and_written_again(shown: Shown, edit: str) -> None:
    change, place = REPAIRED[edit]
    change(shown)
    assert sync_mirror(shown.registry).outcome.done == {}, "a sync reads nothing back"
    checked = check_mirror(shown.registry)
    assert places(checked) == [place]
    assert checked.sealed < checked.versions
    ((_, difference),) = checked.differences
    assert difference.written != difference.shown
    assert difference.text in "\n".join(checked.lines())
    assert checked.exit_code == 6
    assert repair_mirror(shown.registry).differences == ()
    assert check_mirror(shown.registry).exit_code == 0


def test_a_version_that_the_database_calls_changed_is_not_called_as_written(shown: Shown) -> None:
    """Whoever writes the database hides no edit by it."""
    describe(shown)
    with turn(shown.registry) as state:
        known = state.get("version", f"{NAME}:1")
        assert known is not None
        state.put("version", f"{NAME}:1", known | {"projection": "sha256:" + "0" * 64})
        state.keep()
    checked = check_mirror(shown.registry)
    assert (checked.waiting, checked.exit_code) == ((f"{NAME}:1",), 5)
    assert any("not compared" in line for line in checked.lines())
    assert repair_mirror(shown.registry).exit_code == 0


def test_an_alias_that_was_moved_is_found_at_both_versions_and_moved_back(shown: Shown) -> None:
    shown.client.set_registered_model_alias(NAME, "champion", "2")
    checked = check_mirror(shown.registry)
    assert [(label, found.written, found.shown) for label, found in checked.differences] == [
        (f"{NAME}:1", f"{NAME}:1", None),
        (f"{NAME}:2", None, f"{NAME}:2"),
    ]
    assert repair_mirror(shown.registry).exit_code == 0
    assert int(shown.client.get_model_version_by_alias(NAME, "champion").version) == 1


def edit_the_report_and_what_is_remembered_of_it(shown: Shown) -> None:
    overwrite_the_report(shown)
    with turn(shown.registry) as state:
        run = state.get("run", f"{NAME}:1")
        assert run is not None
        forged = str(Digest.of(shown.page.read_bytes()))
        state.put("run", f"{NAME}:1", run | {"digests": run["digests"] | {REPORT_PATH: forged}})
        state.keep()


def delete_the_version_and_what_is_remembered_of_it(shown: Shown) -> None:
    delete_the_version(shown)
    forget_the_version(shown)


def describe_and_forget(shown: Shown) -> None:
    describe(shown)
    forget_the_version(shown)


def describe_and_forget_the_experiment(shown: Shown) -> None:
    describe(shown)
    with shown.registry.database.write() as tx:
        tx.execute(delete(mirrored).where(mirrored.c.entity == "experiment"))


def forget_the_version(shown: Shown) -> None:
    with shown.registry.database.write() as tx:
        tx.execute(delete(mirrored).where(mirrored.c.key == f"{NAME}:1"))


@pytest.mark.parametrize(
    ("edit", "exit_code"),
    [
        (edit_the_report_and_what_is_remembered_of_it, 6),
        (delete_the_version_and_what_is_remembered_of_it, 5),
        (describe_and_forget, 5),
        (describe_and_forget_the_experiment, 5),
    ],
)
def test_whoever_edits_mlflow_and_the_database_alike_is_found(
    shown: Shown, edit: Callable[[Shown], None], exit_code: int
) -> None:
    edit(shown)
    checked = check_mirror(shown.registry)
    assert checked.exit_code == exit_code
    assert exit_code == 6 or f"{NAME}:1" in checked.not_copied
    assert any(f"{NAME}" in line for line in checked.lines()[1:])


def test_what_was_forgotten_by_hand_is_written_again_by_repair(shown: Shown) -> None:
    describe_and_forget(shown)
    assert repair_mirror(shown.registry).exit_code == 0
    assert "Approved" not in shown.client.get_model_version(NAME, "1").description


def test_a_store_that_was_emptied_is_found(shown: Shown, tmp_path: Path) -> None:
    # at another place: this process keeps the files of the first open
    shutil.copytree(shown.registry.folder, tmp_path / "moved", ignore=shutil.ignore_patterns("mlflow"))
    with closing(reopened(tmp_path / "moved")) as registry:
        for _ in range(2):
            checked = check_mirror(registry)
            assert (places(checked), checked.exit_code) == (["store"], 6)
            open_surface(mirror_route(registry))  # and again with a new, empty store in its place
        assert repair_mirror(registry).exit_code == 6
        assert rebuild_mirror(registry).clean
        assert check_mirror(registry).exit_code == 0


def test_a_registry_that_was_never_copied_is_not_called_as_written(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        assert check_mirror(registry).exit_code == 0
        add_a_base(registry, tmp_path / "base")
        assert check_mirror(registry).exit_code == 5


def test_an_mlflow_that_cannot_be_read_is_not_checked(shown: Shown, tmp_path: Path) -> None:
    shutil.copytree(shown.registry.folder, tmp_path / "moved")
    (tmp_path / "moved" / "mlflow" / "mlflow.db").write_bytes(b"not a database, but somebody's bytes" * 100)
    with closing(reopened(tmp_path / "moved")) as registry, pytest.raises(MirrorNotChecked) as refused:
        check_mirror(registry)
    assert refused.value.exit_code == 5


def add_a_parameter(shown: Shown) -> None:
    shown.client.log_param(shown.run_id, "approved_by", "everybody")


def add_a_point(shown: Shown) -> None:
    key = sorted(shown.client.get_run(shown.run_id).data.metrics)[0]
    shown.client.log_metric(shown.run_id, key, 0.0, step=10_000)


def delete_the_version(shown: Shown) -> None:
    shown.client.delete_model_version(NAME, "1")


def rename(shown: Shown) -> None:
    shown.client.rename_registered_model(NAME, "sums-approved")


def another_source(shown: Shown) -> None:
    shown.sql(f"UPDATE model_versions SET source = 'registry://sha256/{'0' * 64}' WHERE name = '{NAME}'")


def another_place_to_load_from(shown: Shown) -> None:
    shown.sql(
        f"UPDATE model_versions SET storage_location = 'file:///tmp/elsewhere' WHERE name = '{NAME}' AND version = 1"
    )


def add_a_data_set(shown: Shown) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    used = Dataset("a clean data set", "0" * 36, source_type="registry", source="{}")
    shown.client.log_inputs(shown.run_id, [DatasetInput(used, [InputTag("mlflow.data.context", "training")])])


def add_a_figure_from_another_run(shown: Shown) -> None:
    other = shown.client.create_run("1")
    shown.client.log_metric(other.info.run_id, "bias/house.rate", 0.0, model_id=shown.model_id)


def add_a_model_to_the_run(shown: Shown) -> None:
    from mlflow.entities import LoggedModelOutput

    other = shown.client.create_logged_model("1", name="approved")
    shown.client.log_outputs(shown.run_id, [LoggedModelOutput(other.model_id, 0)])


def add_a_parameter_to_the_run_over_the_arms(shown: Shown) -> None:
    shown.client.log_param(shown.side_run(OVER_THE_ARMS), "approved_by", "everybody")


def a_foreign_version(shown: Shown) -> None:
    shown.client.create_model_version(NAME, f"registry://sha256/{'0' * 64}", await_creation_for=0)


def edit_a_parameter_by_sql(shown: Shown) -> None:
    shown.sql(f"UPDATE params SET value = 'nobody' WHERE run_uuid = '{shown.run_id}'")


BEYOND: dict[str, tuple[Callable[[Shown], None], str]] = {
    "a parameter is added": (add_a_parameter, "parameter approved_by"),
    "a later point of a metric": (add_a_point, "metric "),
    "the version is deleted": (delete_the_version, "version"),
    "the name is another": (rename, "version"),
    "another source, by SQL": (another_source, "source"),
    "another place to load from, by SQL": (another_place_to_load_from, "loaded from"),
    "a data set is added": (add_a_data_set, "data set a clean data set"),
    "a figure of the model, by another run": (add_a_figure_from_another_run, "model metric bias/house.rate"),
    "a model is added to the run": (add_a_model_to_the_run, "other model of the run"),
    "a parameter of the run over the arms": (add_a_parameter_to_the_run_over_the_arms, "comparison c0ffee"),
    "a version of somebody else": (a_foreign_version, "version 3"),
    "parameters, by SQL": (edit_a_parameter_by_sql, "parameter "),
}


@pytest.mark.parametrize("edit", BEYOND)
def test_an_edit_that_mlflow_lets_nobody_take_back_is_named_before_and_after(shown: Shown, edit: str) -> None:
    change, place = BEYOND[edit]
    change(shown)
    for checked in (check_mirror(shown.registry), repair_mirror(shown.registry)):
        assert checked.exit_code == 6
        assert any(found.startswith(place) for found in places(checked)), places(checked)


def test_what_an_earlier_release_wrote_under_other_names_is_said_and_written_again(shown: Shown) -> None:
    shown.client.delete_tag(shown.run_id, "registry.form")
    shown.client.set_tag(shown.run_id, "registry.bias_status", "house.margin: inconclusive")
    shown.client.set_model_version_tag(NAME, "1", "registry.bias_status", "house.margin: inconclusive")
    model_id = shown.client.get_run(shown.run_id).outputs.model_outputs[0].model_id
    for step, value in ((0, 0.5), (36, 0.4)):
        shown.client.log_metric(shown.run_id, "bias/house.rate/age", value, step=step, model_id=model_id)
    with turn(shown.registry) as state:
        known = state.get("version", f"{NAME}:1")
        assert known is not None
        state.put("version", f"{NAME}:1", known | {"projection": "sha256:" + "0" * 64})
        state.keep()
    assert check_mirror(shown.registry).exit_code == 5
    assert repair_mirror(shown.registry).lines()[1:] == ()
    assert check_mirror(shown.registry).exit_code == 0
    run = shown.client.get_run(shown.run_id)
    assert "bias/house.rate/age" not in run.data.metrics
    assert "registry.bias_status" not in run.data.tags
    assert shown.client.get_metric_history(shown.run_id, "bias/house.rate/age") == []
    metrics = shown.client.get_logged_model(model_id).metrics or []
    assert "bias/house.rate/age" not in {metric.key for metric in metrics}
