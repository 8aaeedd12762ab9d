"""MLflow's client on a home, without a server and without a copy: what it shows, in which order, and that it changes nothing."""

import base64
import inspect
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.abstract_store import AbstractStore as AbstractModelStore
from mlflow.store.tracking.abstract_store import AbstractStore as AbstractTrackingStore

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.layout import HomeFiles
from peft_registry.registry.mlflow import model_registry_store, proven_versions, read_only, version_rows
from peft_registry.registry.mlflow.home_address import address_of, home_of
from peft_registry.registry.mlflow.identifiers import comparison_id, derived_run_id, experiment_id, trial_id
from peft_registry.registry.mlflow.listed_versions import listed_versions
from peft_registry.registry.mlflow.model_registry_store import RegistryModelStore
from peft_registry.registry.mlflow.projection import RECORD_TAGS
from peft_registry.registry.mlflow.tracking_store import RegistryTrackingStore
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.views import forget_what_was_read
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.run_log import RunEnded
from peft_registry.schemas.version import Version
from peft_registry.trainer.runs.folder import remove_run
from tests.builders.homes import add_a_base, reopened
from tests.builders.products import a_product
from tests.builders.run_logs import RUN, START, begun, point, write_log
from tests.builders.shown_homes import SHOWN, client_of, make_shown_home, run_id_of, runs_shown
from tests.builders.signing import a_p256_key, a_trusted_key, one_more


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It is read, and by no test written."""
    return make_shown_home(tmp_path_factory.mktemp("shown"))


@pytest.fixture
def own_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change, of a user who knows no other."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shutil.copytree(home, tmp_path / "home")
    return tmp_path / "home"


def _change_rows(home: Path, *changes: str) -> None:
    """Change the rows of a home as whoever can write its database can."""
    with closing(sqlite3.connect(HomeFiles(home).database)) as rows:
        for change in changes:
            rows.execute(change)
        rows.commit()


@pytest.fixture(scope="module")
def client(home: Path) -> Any:
    return client_of(home)


@pytest.fixture(scope="module")
def experiments(client: Any) -> list[str]:
    return [experiment.experiment_id for experiment in client.search_experiments()]


# --- what is shown ---


def test_each_project_is_an_experiment_with_its_runs_and_all_that_stands_beside_them(client: Any) -> None:
    assert runs_shown(client) == SHOWN
    experiment = client.get_experiment_by_name("registry/support-bot")
    assert experiment.experiment_id == experiment_id("support-bot")
    assert "the project support-bot" in experiment.tags["mlflow.note.content"]
    assert client.get_experiment(experiment.experiment_id).name == experiment.name
    assert client.get_experiment_by_name("registry/nothing") is None


def test_a_run_has_its_own_id_its_parameters_curve_data_sets_and_models(client: Any) -> None:
    run = client.get_run(run_id_of("sums"))
    assert (run.info.run_name, run.info.status, run.data.params["method"]) == ("train sums:1", "FINISHED", "lora")
    history = client.get_metric_history(run.info.run_id, "loss/train")
    assert [point.step for point in history] == sorted(point.step for point in history)
    assert run.data.metrics["loss/train"] == history[-1].value
    assert {(use.dataset.name, use.tags[0].value) for use in run.inputs.dataset_inputs} >= {
        ("sums.jsonl (train)", "training")
    }
    (made,) = run.outputs.model_outputs
    (base,) = run.inputs.model_inputs
    assert client.get_logged_model(made.model_id).tags["registry.id"] == "sums:1"
    assert client.get_logged_model(base.model_id).tags["registry.id"] == "tiny:1"
    assert "`registry verify sums:1`" in run.data.tags["mlflow.note.content"]


def test_seeds_and_arms_stand_below_the_run_that_they_belong_to(client: Any, experiments: list[str]) -> None:
    runs = {run.info.run_name: run for run in client.search_runs(experiments)}
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()}
    assert parents["third:1 trial, seed 7"] == runs["train third:1"].info.run_id
    assert parents["train fourth:1"] == runs["compare c0ffee"].info.run_id
    for name in ("compare c0ffee", "third:1 trial, seed 8"):
        assert client.get_run(runs[name].info.run_id).info.run_name == name


def test_a_name_shows_what_its_newest_version_says_and_its_aliases(client: Any) -> None:
    models = {model.name: model for model in client.search_registered_models()}
    assert list(models) == ["fourth", "other", "sums", "third", "tiny"]
    sums = models["sums"]
    assert (sums.aliases, sums.latest_versions[0].version) == ({"champion": 1}, 1) or sums.aliases == {"champion": "1"}
    assert set(sums.tags) == {"registry.bias", "registry.loss", "registry.signature"}
    assert client.get_registered_model("tiny").aliases == {}
    with pytest.raises(MlflowException, match="nothing") as refused:
        client.get_registered_model("nothing")
    assert refused.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_version_links_to_its_run_and_its_files_are_read_from_the_registry(client: Any, home: Path) -> None:
    version = client.get_model_version("sums", "1")
    with closing(reopened(home)) as registry:
        manifest = version_named(registry, "sums:1").manifest_digest
    assert version.source == f"registry://sha256/{manifest.hex}"
    assert client.get_model_version_download_uri("sums", "1") == version.source
    assert version.run_id == run_id_of("sums")
    assert f"#/experiments/{experiment_id('support-bot')}/runs/{version.run_id}" in version.description
    assert version.tags["registry.project"] == "support-bot"
    assert list(version.aliases) == ["champion"]


def test_the_report_and_the_tables_of_a_run_come_without_a_server(client: Any, tmp_path: Path) -> None:
    run_id = run_id_of("sums")
    assert {entry.path for entry in client.list_artifacts(run_id)} == {"report"}
    (listed,) = client.list_artifacts(run_id, "report")
    report = Path(client.download_artifacts(run_id, "report/audit.html", str(tmp_path)))
    assert (listed.path, listed.file_size) == ("report/audit.html", report.stat().st_size)
    assert b"sums:1" in report.read_bytes()
    with pytest.raises(MlflowException, match="cannot be written through MLflow"):
        client.log_artifact(run_id, str(report))


def test_a_move_of_an_alias_counts_at_once(own_home: Path) -> None:
    client = client_of(own_home)
    assert client.get_model_version_by_alias("sums", "champion").version in (1, "1")
    with closing(reopened(own_home)) as registry:
        base = add_a_base(registry, own_home.parent / "base")
        product = a_product(
            registry, own_home.parent / "better", base, name="sums", run_id=run_id_of("better"), value=0.9
        )
        set_alias(registry, register_product(registry, product).version, "champion")
    moved = client.get_model_version_by_alias("sums", "champion")
    assert (int(moved.version), moved.run_id) == (2, run_id_of("better"))
    assert client.get_registered_model("sums").aliases["champion"] in (2, "2")


def test_a_move_of_an_alias_counts_at_once_on_postgresql(tmp_path: Path, postgres: Any) -> None:
    home = make_shown_home(tmp_path, database=postgres.new_database("shown"))
    assert runs_shown(client_of(home)) == SHOWN
    test_a_move_of_an_alias_counts_at_once(home)


# --- which, in which order, and how many ---


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_of_runs_have_each_run_once(client: Any, experiments: list[str], limit: int) -> None:
    every = [run.info.run_id for run in client.search_runs(experiments)]
    assert len(every) == len(set(every)) == sum(map(len, SHOWN.values()))
    assert _in_pages(lambda token: client.search_runs(experiments, max_results=limit, page_token=token)) == [
        run.info.run_id for run in client.search_runs(experiments)
    ]


def _in_pages(page_behind: Any) -> list[str]:
    found: list[str] = []
    token = None
    while True:
        page = page_behind(token)
        found += [run.info.run_id for run in page]
        token = page.token
        if not token:
            return found


@pytest.mark.parametrize(
    ("filter_string", "expected"),
    [
        ("tags.`registry.method` = 'lora'", {"train sums:1", "train other:1", "train third:1", "train fourth:1"}),
        ("tags.`registry.kind` = 'base'", {"add tiny:1"}),
        ("tags.`registry.kind` = 'comparison'", {"compare c0ffee"}),
        ("tags.`registry.project` = 'billing'", {"train third:1"}),
        ("tags.`registry.id` = 'sums:1'", {"train sums:1"}),
        ("tags.`registry.id` = 'sums:9'", set()),
        ("tags.`registry.id` = 'no label'", set()),
        ("tags.`registry.comparison` = 'c0ffee'", {"compare c0ffee", "train fourth:1"}),
        (f"tags.`registry.run_id` = '{run_id_of('other')}'", {"train other:1"}),
        ("tags.`mlflow.source.git.commit` = 'nobody'", set()),
        (
            "tags.`registry.bias` LIKE '%recorded%'",
            {"train sums:1", "train other:1", "train third:1", "train fourth:1"},
        ),
        ("attributes.run_name LIKE '%seed%'", {"third:1 trial, seed 7", "third:1 trial, seed 8"}),
        ("metrics.`trial/score` < 1.3", {"third:1 trial, seed 8"}),
        ("params.method = 'ia3'", set()),
    ],
)
def test_runs_are_filtered_as_mlflow_filters(
    client: Any, experiments: list[str], filter_string: str, expected: set[str]
) -> None:
    assert {run.info.run_name for run in client.search_runs(experiments, filter_string)} == expected


def test_runs_are_found_by_their_ids(client: Any, experiments: list[str]) -> None:
    found = client.search_runs(experiments, f"attributes.run_id IN ('{run_id_of('sums')}', '{run_id_of('other')}')")
    assert {run.info.run_name for run in found} == {"train sums:1", "train other:1"}


def test_runs_are_ordered_by_a_metric_and_in_pages(client: Any, experiments: list[str]) -> None:
    ordered = client.search_runs(experiments, order_by=["metrics.`trial/score` ASC"])
    assert [run.data.metrics.get("trial/score") for run in ordered][:3] == [1.25, 1.5, None]
    in_pages = _in_pages(
        lambda token: client.search_runs(
            experiments, order_by=["metrics.`trial/score` ASC"], max_results=3, page_token=token
        )
    )
    assert in_pages == [run.info.run_id for run in ordered]


def test_an_order_and_an_id_prove_the_versions_that_they_show_and_no_others(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def listed(registry: Registry, rows: Sequence[Version]) -> Any:
        read.extend(version.label for version in rows)
        return listed_versions(registry, rows)

    monkeypatch.setattr(proven_versions, "listed_versions", listed)
    client = client_of(own_home)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (best,) = client.search_runs(experiments, order_by=["metrics.`trial/score` ASC"], max_results=1)
    assert best.info.run_name == "third:1 trial, seed 8"
    assert client.get_run(run_id_of("sums")).info.run_name == "train sums:1"
    assert len(client.search_runs(experiments, "tags.`registry.comparison` = 'c0ffee'")) == 2
    assert "third:1" in read
    assert "other:1" not in read


@pytest.mark.parametrize("said", [["2026-11-30T17:00:00Z", "sums", 1, 0], {"offset": -1}, {"offset": "1"}])
def test_a_token_of_another_list_is_refused_in_a_sentence(client: Any, experiments: list[str], said: Any) -> None:
    token = base64.b64encode(json.dumps(said).encode()).decode()
    with pytest.raises(MlflowException, match="is not where a page of this list ends"):
        client.search_runs(experiments, order_by=["metrics.`trial/score` ASC"], page_token=token)


def test_a_long_token_is_not_printed_whole(client: Any, experiments: list[str]) -> None:
    with pytest.raises(MlflowException, match="is not where a page of this list ends") as refused:
        client.search_runs(experiments, order_by=["metrics.x ASC"], page_token="a" * 200_000)
    assert len(refused.value.message) < 500


def test_a_page_of_no_size_is_refused_in_a_sentence(client: Any, experiments: list[str]) -> None:
    for ask in (
        lambda size: client.search_runs(experiments, max_results=size),
        lambda size: client.search_experiments(max_results=size),
        lambda size: client.search_registered_models(max_results=size),
        lambda size: client.search_model_versions(max_results=size),
        lambda size: client.search_logged_models(experiments, max_results=size),
    ):
        for size in (-1, 10**7):
            with pytest.raises(MlflowException, match=r"a page of this list has from 1 to [0-9]+ entries"):
                ask(size)


def test_what_was_read_for_some_runs_is_dropped_before_others_are_read(
    client: Any, experiments: list[str], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = []

    def forget(registry: Any) -> None:
        dropped.append(registry)
        forget_what_was_read(registry)

    monkeypatch.setattr(version_rows, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(proven_versions, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(proven_versions, "forget_what_was_read", forget)
    by_score = {"experiment_ids": experiments, "order_by": ["metrics.`trial/score` ASC"]}
    found = client_of(own_home).search_runs(**by_score)
    assert len(dropped) > 1
    assert [run.info.run_id for run in found] == [run.info.run_id for run in client.search_runs(**by_score)]


@pytest.mark.parametrize(
    ("filter_string", "expected"),
    [
        ("name = 'sums'", ["sums:1"]),
        (f"run_id = '{run_id_of('third')}'", ["third:1"]),
        ("tags.`registry.project` = 'billing'", ["third:1"]),
        ("tags.`registry.record` LIKE '%fields%' AND name = 'other'", ["other:1"]),
        ("tags.`registry.type` = 'lora-adapter' AND name = 'third'", ["third:1"]),
        ("tags.`registry.type` = 'base-model'", ["tiny:1"]),
        ("tags.`registry.type` = 'ia3-adapter'", []),
        ("tags.`registry.gate` = 'a tag that no version has'", []),
        ("name = 'nothing'", []),
    ],
)
def test_versions_are_filtered(client: Any, filter_string: str, expected: list[str]) -> None:
    assert [f"{version.name}:{version.version}" for version in client.search_model_versions(filter_string)] == expected


def test_of_a_long_list_the_first_versions_are_shown_in_full_and_the_others_without_their_records(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_full = client_of(own_home).search_model_versions(order_by=["name ASC"])
    monkeypatch.setattr(model_registry_store, "_SHOWN_IN_FULL", 2)
    shown = client_of(own_home).search_model_versions(order_by=["name ASC"])
    assert [version.name for version in shown] == [version.name for version in in_full]
    for count, (whole, listed) in enumerate(zip(in_full, shown, strict=True)):
        assert ("registry.statements" in listed.tags) == (count < 2)
        assert listed.tags == {key: whole.tags[key] for key in listed.tags}
        assert listed.source == whole.source and listed.run_id == whole.run_id


def test_a_recalled_version_is_called_so_in_lists_of_any_length(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approver = a_p256_key(7)
    with closing(reopened(own_home)) as registry:
        keys = (*registry.trust.keys, a_trusted_key(approver, person="alex", role="approver", predicate_types=None))
        chain = one_more(registry.trust_chain, registry.private_key("root"), keys=keys)
        (registry.folder / "trust.json").write_bytes(render_chain(chain))
    with closing(reopened(own_home)) as registry:
        recall(registry, "other:1", approver, reason="it holds names")
    monkeypatch.setattr(model_registry_store, "_SHOWN_IN_FULL", 1)
    shown = client_of(own_home).search_model_versions(order_by=["name ASC"])
    assert [version.name for version in shown if "registry.recall" in version.tags] == ["other"]
    assert shown[0].name != "other", "its record was not derived"


def test_the_tags_of_a_version_are_those_that_lists_have_and_those_of_its_record(client: Any) -> None:
    for version in client.search_model_versions():
        listed = {"registry.id", "registry.manifest", "registry.type", "registry.origin", "registry.project"}
        listed |= {"registry.bias", "registry.loss", "registry.tasks", "registry.signature"}
        assert set(version.tags) <= listed | RECORD_TAGS


def test_a_version_is_found_by_its_source_and_all_are_ordered(client: Any) -> None:
    source = client.get_model_version("sums", "1").source
    assert [version.name for version in client.search_model_versions(f"source_path = '{source}'")] == ["sums"]
    by_name = client.search_model_versions(order_by=["name DESC"])
    assert [version.name for version in by_name] == ["tiny", "third", "sums", "other", "fourth"]


def test_names_are_filtered_by_name_and_by_what_their_newest_version_says(client: Any) -> None:
    assert [model.name for model in client.search_registered_models("name LIKE '%th%'")] == ["fourth", "other", "third"]
    not_evaluated = client.search_registered_models("tags.`registry.bias` = 'not evaluated'")
    assert [model.name for model in not_evaluated] == ["tiny"]
    assert not client.search_registered_models("tags.`mlflow.prompt.is_prompt` = 'true'")


def test_logged_models_are_found_by_what_was_measured(client: Any, experiments: list[str]) -> None:
    models = client.search_logged_models(experiments)
    assert {model.name for model in models} == {"tiny-1", "sums-1", "other-1", "third-1", "fourth-1"}
    measured = {metric.key: metric.value for model in models for metric in model.metrics or ()}
    key, value = next(iter(measured.items()))
    found = client.search_logged_models(experiments, f"metrics.`{key}` <= {value}")
    assert {model.name for model in found} == {"sums-1", "other-1", "third-1", "fourth-1"}
    ordered = client.search_logged_models(experiments, order_by=[{"field_name": "name", "ascending": True}])
    assert [model.name for model in ordered] == sorted(model.name for model in models)


# --- what is not what was signed ---


def test_a_version_whose_row_was_changed_is_said_not_to_be_shown_and_the_others_are(own_home: Path) -> None:
    _change_rows(
        own_home,
        "UPDATE versions SET registered_at = '2020-01-01T00:00:00Z' WHERE name = 'sums'",
        "UPDATE facet_words SET registered_at = '2020-01-01T00:00:00Z' WHERE name = 'sums'",
    )
    client = client_of(own_home)
    shown = runs_shown(client)
    assert "sums:1 cannot be shown" in shown["registry/support-bot"]
    assert "train fourth:1" in shown["registry/support-bot"]
    version = client.get_model_version("sums", "1")
    assert (version.source, "2020" in version.description, set(version.tags)) == ("", True, {"registry.problem"})
    with pytest.raises(MlflowException, match="2020"):
        client.get_model_version_download_uri("sums", "1")


def test_a_run_that_was_put_in_order_is_proven_before_it_is_shown(own_home: Path) -> None:
    """Its statement is the one that was logged, and its row says that it was logged at another time."""
    of_sums = "subject = (SELECT manifest_digest FROM versions WHERE name = 'sums')"
    _change_rows(
        own_home, f"UPDATE statements SET appended_at = '2020-01-01T00:00:00Z' WHERE kind = 'provenance' AND {of_sums}"
    )
    client = client_of(own_home)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    by_loss = {"experiment_ids": experiments, "order_by": ["metrics.`loss/held_out` ASC"]}
    shown = [run.info.run_name for run in client.search_runs(**by_loss)]
    assert "sums:1 cannot be shown" in shown
    assert "train sums:1" not in shown
    having_one = client.search_runs(**by_loss, filter_string="metrics.`loss/held_out` > 0")
    assert {run.info.run_name for run in having_one} == {"train other:1", "train third:1", "train fourth:1"}


def test_a_row_alone_makes_no_experiment(own_home: Path) -> None:
    _change_rows(
        own_home, "UPDATE facet_words SET word = 'approved-by-the-board' WHERE facet = 'project' AND name = 'third'"
    )
    assert "registry/approved-by-the-board" not in runs_shown(client_of(own_home))


def test_an_alias_that_a_row_alone_moved_stays_where_its_signed_move_says(own_home: Path) -> None:
    _change_rows(own_home, "UPDATE aliases SET alias = 'prod' WHERE name = 'sums'")
    client = client_of(own_home)
    assert client.get_registered_model("sums").aliases == {"champion": "1"}
    assert client.get_model_version_by_alias("sums", "champion").run_id == run_id_of("sums")
    with pytest.raises(MlflowException, match="the log does not say so"):
        client.get_model_version_by_alias("sums", "prod")


def test_aliases_that_were_taken_out_of_the_rows_are_shown_as_they_are_signed(own_home: Path) -> None:
    _change_rows(own_home, "DELETE FROM aliases", "DELETE FROM alias_events")
    assert client_of(own_home).get_registered_model("sums").aliases == {"champion": "1"}


def test_versions_that_were_taken_out_of_the_rows_are_missing_from_no_list(own_home: Path) -> None:
    _change_rows(
        own_home,
        *(f"DELETE FROM {table} WHERE name = 'sums'" for table in ("aliases", "alias_events", "versions")),
    )
    client = client_of(own_home)
    for ask in (
        client.search_registered_models,
        client.search_model_versions,
        client.search_experiments,
        lambda: client.search_runs([experiment_id(None)]),
        lambda: client.get_run(run_id_of("sums")),
    ):
        with pytest.raises(MlflowException, match="the versions of sums in the database are not those"):
            ask()
    assert client.get_model_version("third", "1").aliases == ["champion"], "what is there is shown"


def test_the_id_of_a_run_that_another_copied_stays_that_of_the_first(own_home: Path) -> None:
    with closing(reopened(own_home)) as registry:
        base = add_a_base(registry, own_home.parent / "base")
        product = a_product(
            registry, own_home.parent / "copied", base, name="copied", run_id=run_id_of("sums"), value=0.95
        )
        register_product(registry, product)
    client = client_of(own_home)
    runs_shown(client)
    assert client.get_run(run_id_of("sums")).info.run_name == "train sums:1"
    assert client.get_model_version("copied", "1").run_id != run_id_of("sums")


# --- runs under way ---


def test_a_run_under_way_is_shown_as_not_signed_and_gives_its_place_to_the_registered_run(own_home: Path) -> None:
    runs = HomeFiles(own_home).runs
    points = [point(step, 1 / step, logged={"loss/train": 99.0}) for step in (1, 2, 3)]
    held_out = {"kind": "point", "step": 2, "at": START + 2, "values": {"held_out_loss": 0.75}}
    folder = write_log(runs, begun(project="fresh"), *points, held_out)
    killed = "4" * 32
    ended = RunEnded(state="KILLED", sentence="it was interrupted", at=START)
    write_log(runs, begun(run_id=killed, project="support-bot", name="stopped"), points[0], ended, run=killed)
    client = client_of(own_home)
    shown = runs_shown(client)
    assert shown == SHOWN | {
        "registry/fresh": ["train boxes"],
        "registry/support-bot": sorted([*SHOWN["registry/support-bot"], "train stopped"]),
    }
    said = {experiment.name: experiment.tags.get("registry.signed") for experiment in client.search_experiments()}
    assert said == {**dict.fromkeys(SHOWN), "registry/fresh": "not signed yet"}
    run = client.get_run(RUN)
    assert (run.info.status, run.info.end_time) == ("RUNNING", None)
    assert (run.data.tags["registry.signed"], run.data.params["lora.r"]) == ("not signed yet", "4")
    assert run.data.metrics["loss/train"] == pytest.approx(1 / 3), "not what a script calls so"
    assert run.data.metrics["logged/loss/train"] == 99.0
    history = client.get_metric_history(RUN, "loss/train")
    assert [(metric.step, metric.timestamp) for metric in history] == [
        (step, round(1000 * (START + step))) for step in (1, 2, 3)
    ]
    assert [metric.value for metric in client.get_metric_history(RUN, "loss/held_out")] == [0.75]
    stopped = client.get_run(killed)
    assert (stopped.info.status, stopped.info.end_time) == ("KILLED", round(1000 * (START + 1)))
    assert "it was interrupted" in stopped.data.tags["mlflow.note.content"]
    every = [experiment.experiment_id for experiment in client.search_experiments()]
    (best, *_) = client.search_runs(every, "metrics.`loss/train` > 0.3", order_by=["metrics.`loss/train` ASC"])
    assert best.info.run_id == RUN
    assert _pages(client, every, 2) == [run.info.run_id for run in client.search_runs(every)]
    assert client.list_artifacts(RUN) == []
    assert client.get_run(run_id_of("sums")).info.status == "FINISHED"

    with closing(reopened(own_home)) as registry:
        base = add_a_base(registry, own_home.parent / "base")
        product = a_product(registry, own_home.parent / "boxes", base, name="boxes", run_id=RUN, project="fresh")
        register_product(registry, product)
    assert folder.exists(), "as when the process was killed before it removed it"
    client = client_of(own_home)
    assert runs_shown(client)["registry/fresh"] == ["train boxes:1"]
    assert client.get_run(RUN).info.status == "FINISHED"
    remove_run(runs, killed)
    assert runs_shown(client)["registry/support-bot"] == SHOWN["registry/support-bot"]


def test_a_log_under_the_id_of_a_signed_run_or_of_one_beside_it_hides_nothing(own_home: Path) -> None:
    signed = [
        run_id_of("sums"),
        derived_run_id("tiny:1"),
        trial_id("third:1", 7),
        comparison_id("c0ffee", "support-bot"),
    ]
    for run_id in signed:
        write_log(HomeFiles(own_home).runs, begun(run_id=run_id), run=run_id)
    write_log(HomeFiles(own_home).runs, begun(started_at="2099-01-01T00:00:00Z"))
    client = client_of(own_home)
    assert {client.get_run(run_id).info.status for run_id in signed} == {"FINISHED"}
    assert client.get_metric_history(run_id_of("sums"), "loss/train")
    assert runs_shown(client) == SHOWN | {"registry": sorted([*SHOWN["registry"], "train boxes"])}
    assert client.get_run(RUN).info.start_time <= 1000 * time.time()


def _pages(client: Any, experiment_ids: list[str], size: int) -> list[str]:
    """The ids of all runs, read in pages of this size."""
    found: list[str] = []
    token = None
    while True:
        page = client.search_runs(experiment_ids, max_results=size, page_token=token)
        found += [run.info.run_id for run in page]
        token = page.token
        if not token:
            return found


# --- nothing is written ---


def _edits(client: MlflowClient, home: Path) -> Iterator[tuple[str, Any]]:
    """The edits by which a copy was changed unnoticed, as MLflow's client asks for them, and what makes new things."""
    run_id, name = run_id_of("sums"), "sums"
    file = str(home / "registry.json")
    yield "tag set", lambda: client.set_model_version_tag(name, "1", "registry.bias", "better")
    yield "tag deleted", lambda: client.delete_model_version_tag(name, "1", "registry.bias")
    yield "alias moved", lambda: client.set_registered_model_alias(name, "champion", "1")
    yield "alias deleted", lambda: client.delete_registered_model_alias(name, "champion")
    yield "description", lambda: client.update_model_version(name, "1", "All bias tests passed. Approved.")
    yield "renamed", lambda: client.rename_registered_model(name, "others")
    yield "version deleted", lambda: client.delete_model_version(name, "1")
    yield "parameter added", lambda: client.log_param(run_id, "seed2", "1")
    yield "later metric point", lambda: client.log_metric(run_id, "loss/held_out", 0.0, step=10**6)
    yield "run tag", lambda: client.set_tag(run_id, "registry.bias", "better")
    yield "artifact overwritten", lambda: client.log_artifact(run_id, file, "report")
    yield "artifact deleted", lambda: client._tracking_client._get_artifact_repo(run_id).delete_artifacts("report")
    yield "foreign version", lambda: client.create_model_version(name, "registry://sha256/" + "0" * 64, run_id)
    yield "report replaced", lambda: client.log_text(run_id, "approved", "report/audit.html")
    yield "run", lambda: client.create_run("1")
    yield "run deleted", lambda: client.delete_run(run_id)
    yield "experiment", lambda: client.create_experiment("mine")
    yield "model", lambda: client.create_registered_model("mine")
    yield (
        "logged model tag",
        lambda: client.set_logged_model_tags(client.search_logged_models(["1"])[0].model_id, {"a": "b"}),
    )


def test_every_edit_is_refused_with_what_to_type_and_changes_nothing(client: Any, home: Path) -> None:
    before = _everything(client)
    for what, edit in _edits(client, home):
        with pytest.raises(MlflowException, match="`registry") as refused:
            edit()
        assert refused.value.error_code == "PERMISSION_DENIED", what
        assert refused.value.get_http_status_code() == 403, what
    assert _everything(client) == before


def _everything(client: Any) -> list[Any]:
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return [
        [run.to_dictionary() for run in client.search_runs(ids)],
        [dict(version) for version in client.search_model_versions()],
        [dict(model) | {"latest_versions": None} for model in client.search_registered_models()],
    ]


@pytest.mark.parametrize(
    ("store", "base"),
    [(RegistryTrackingStore, AbstractTrackingStore), (RegistryModelStore, AbstractModelStore)],
    ids=["tracking", "models"],
)
def test_every_public_method_reads_or_refuses(store: type, base: type, home: Path) -> None:
    """Held by the MLflow that is installed: a method that a later release adds refuses, too."""
    made = store(address_of(home))
    public = [name for name in dir(base) if not name.startswith("_")]
    assert len(public) > 40
    for name in public:
        method = inspect.getattr_static(store, name)
        if isinstance(method, property) or hasattr(method, "__wrapped__"):
            continue  # it reads: the tests above call it
        with pytest.raises(MlflowException, match=r"is only read: .*`registry") as refused:
            getattr(made, name)()
        assert refused.value.get_http_status_code() == 403, name
    assert not [
        name
        for name in public
        if inspect.getattr_static(store, name, None) is inspect.getattr_static(base, name)
        and callable(getattr(base, name))
        and not isinstance(inspect.getattr_static(base, name), property)
    ]


@pytest.mark.parametrize(
    ("method", "command"),
    [
        ("set_registered_model_alias", "registry promote"),
        ("create_model_version", "registry train"),
        ("delete_run", "registry runs remove"),
        ("log_batch", "registry train"),
        ("something_of_a_later_release", "registry"),
    ],
)
def test_a_refusal_names_the_command_that_does_it(method: str, command: str) -> None:
    assert f"`{command}" in read_only.refusal_of(method)


# --- addresses ---


def test_an_address_names_a_home_with_and_without_slashes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.parent)
    assert home_of(address_of(home)) == str(home)
    assert runs_shown(MlflowClient("registry:home", "registry:home")) == SHOWN
    monkeypatch.setenv("REGISTRY_HOME", str(home))
    assert runs_shown(MlflowClient("registry:", "registry:")) == SHOWN


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("registry://host/home", "names no home of a registry"),
        ("registry:nowhere", "no registry|nowhere"),
        ("registry:home?x=1", "names no home of a registry"),
        ("registry:~nobody-has-this-name/home", "names no home of a registry"),
        ("registry:/home%00", "names no home of a registry"),
        pytest.param(f"registry:/{'a' * 100_000}", "names no home of a registry", id="long"),
    ],
)
def test_an_address_of_no_home_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MlflowException, match=said):
        MlflowClient(address, address).search_experiments()


def test_the_entry_points_import_nothing_of_mlflow(tmp_path: Path) -> None:
    """MLflow loads them while it is itself being imported."""
    lines = (
        "import sys, peft_registry.registry.mlflow.stores",
        "assert not [name for name in sys.modules if name == 'mlflow' or name.startswith('mlflow.')]",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=tmp_path)
