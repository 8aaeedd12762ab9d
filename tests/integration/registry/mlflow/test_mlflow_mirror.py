"""The mirror against MLflow itself, read back with MLflow's own client: first the home's store, then a server."""

import http.client
import json
import shutil
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.mlflow.checking import check_mirror
from peft_registry.registry.mlflow.comparing import differences_of_run
from peft_registry.registry.mlflow.draining import sync_mirror
from peft_registry.registry.mlflow.mirror import SyncOutcome, sync
from peft_registry.registry.mlflow.projection import Content, Projection
from peft_registry.registry.mlflow.route import MirrorRoute, MirrorUnavailable
from peft_registry.registry.mlflow.surface import open_surface
from peft_registry.registry.mlflow.written_tags import run_tags
from peft_registry.registry.use_cases.register import register_version
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.mirror import OutboxEntry
from peft_registry.schemas.run import Trial
from peft_registry.schemas.version import Version
from tests.builders.homes import add_a_base, an_artifact, reopened
from tests.builders.mirror import (
    Memory,
    a_base,
    a_base_projection,
    a_projection,
    a_report,
    a_run,
    a_version,
    an_entry,
    an_evaluation,
    digest,
)
from tests.builders.mirrored_homes import labels_in_mlflow, mirrored_to, runs_in_mlflow, two_machines
from tests.processes.secrets import SECRETS, secrets_seen_by
from tests.servers.postgres import PostgresServer
from tests.servers.ui import RunningUi, running_ui

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow's engines close when they are collected


class Mirror:
    """A home's mirror with what it remembers, and MLflow's client to look at it."""

    def __init__(self, home: Path, route: MirrorRoute | None = None) -> None:
        self.home = home
        self.route = route or MirrorRoute.of_home(home)
        self.state = Memory()

    def sync(self, *entries: OutboxEntry, load: Callable[[OutboxEntry], Projection]) -> SyncOutcome:
        return sync([entries], route=self.route, state=self.state, load=load)

    def show(self, *versions: Version, **changes: Any) -> SyncOutcome:
        """Mirror versions in order, the base first."""
        known = {version.label: a_projection(version, **changes) for version in versions}
        known[a_base().label] = a_base_projection()
        entries = [an_entry(version, id) for id, version in enumerate((a_base(), *versions), start=1)]
        return self.sync(*entries, load=lambda entry: known[entry.label])

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.route.uri, registry_uri=self.route.uri)

    def everything(self) -> dict[str, list[Any]]:
        """All runs, logged models and versions, with everything that a second sync could double."""
        client = self.client
        experiments = [found.experiment_id for found in client.search_experiments()]
        runs = client.search_runs(experiments)
        return {
            "experiments": sorted(experiments),
            "runs": sorted((run.info.run_id, sorted(run.data.params), sorted(run.data.tags)) for run in runs),
            "points": sorted((run.info.run_id, key, len(client.get_metric_history(run.info.run_id, key)))
                             for run in runs for key in run.data.metrics),
            "inputs": sorted((run.info.run_id, len(run.inputs.dataset_inputs), len(run.inputs.model_inputs)) for run in runs),
            "outputs": sorted((run.info.run_id, len(run.outputs.model_outputs)) for run in runs),
            "models": sorted(model.model_id for model in client.search_logged_models(experiments)),
            "versions": sorted((found.name, int(found.version), found.source) for found in client.search_model_versions()),
        }  # fmt: skip


@pytest.fixture(scope="module")
def with_base(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    """A home in which the base is mirrored. MLflow needs seconds to create its tables, so each test moves in with a copy."""
    made = Mirror(tmp_path_factory.mktemp("made"))
    made.show()
    return made


def moved(made: Mirror, home: Path) -> Mirror:
    shutil.copytree(made.home, home)
    copy = Mirror(home)
    copy.state.kept = dict(made.state.kept)
    return copy


@pytest.fixture
def mirror(with_base: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # MLflow's defaults write into the current folder
    return moved(with_base, tmp_path / "home")


@pytest.mark.parametrize(
    ("group", "kind", "name"), [("c0ffee", "comparison", "compare c0ffee"), ("tasks-c0ffee", "tasks", "tasks-c0ffee")]
)
def test_the_arms_of_a_comparison_and_the_tasks_of_a_file_stand_below_one_run(
    group: str, kind: str, name: str, mirror: Mirror
) -> None:
    arms = [a_version(number=number) for number in (1, 2)]
    run = a_run().model_copy(update={"comparison": group})
    mirror.show(*arms, run=run)
    mirror.show(*arms, run=run)
    runs = mirror.client.search_runs([one.experiment_id for one in mirror.client.search_experiments()])
    parents = [one for one in runs if one.data.tags.get("registry.kind") == kind]
    assert [(one.info.run_name, one.info.status) for one in parents] == [(name, "FINISHED")]
    children = [one for one in runs if one.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert {one.data.tags["registry.id"] for one in children} == {arm.label for arm in arms}


def test_a_continued_training_stands_below_the_run_that_it_continued_and_the_seeds_tried_below_their_own(
    mirror: Mirror,
) -> None:
    first, second = a_version(), a_version(name="further")
    trials = (Trial(seed=7, score=1.5, chosen=False), Trial(seed=8, score=1.25, chosen=True))
    known = {
        first.label: a_projection(first, run=a_run().revised(trials=trials)),
        second.label: a_projection(second, continues=first.manifest_digest),
    }
    entries = (an_entry(a_base(), 1), an_entry(first, 2), an_entry(second, 3))
    for _ in range(2):
        mirror.sync(*entries, load=lambda entry: known.get(entry.label, a_base_projection()))
        mirror.state.kept = {key: value for key, value in mirror.state.kept.items() if key[0] != "version"}
    runs = mirror.client.search_runs([one.experiment_id for one in mirror.client.search_experiments()])
    by_name = {run.info.run_name: run for run in runs}
    assert len(by_name) == len(runs) == 5
    above = by_name["train gsm8k-tutor:1"].info.run_id
    assert by_name["train further:1"].data.tags["mlflow.parentRunId"] == above
    tried = by_name["gsm8k-tutor:1 trial, seed 8"]
    assert tried.data.tags["mlflow.parentRunId"] == above
    assert (tried.data.metrics["trial/score"], tried.data.tags["registry.chosen"]) == (1.25, "yes")


def test_a_version_reads_back_with_run_metrics_data_tags_and_alias(mirror: Mirror) -> None:
    version = a_version(aliases=("champion",))
    outcome = mirror.show(version)
    assert outcome.done == {"smollm2": 1, "gsm8k-tutor": 1}
    assert mirror.state.finished == [1, 2]

    client = mirror.client
    shown = client.get_model_version_by_alias("gsm8k-tutor", "champion")
    assert int(shown.version) == 1
    assert shown.source == f"registry://sha256/{version.manifest_digest.hex}"
    assert shown.tags["registry.manifest"] == str(version.manifest_digest)
    assert shown.tags["registry.bias"] == "inconclusive: house.stereotype_rate"
    assert f"/runs/{shown.run_id}/artifacts/report/audit.html)" in shown.description

    run = client.get_run(shown.run_id)
    assert (run.info.run_name, run.info.status) == ("train gsm8k-tutor:1", "FINISHED")
    assert run.info.end_time - run.info.start_time == 281_000
    assert run.data.params["lora.r"] == "8"
    assert run.data.metrics["loss/held_out"] == 1.871
    assert [point.step for point in client.get_metric_history(shown.run_id, "loss/train")] == list(range(1, 46))
    used = {found.dataset.name: found.dataset for found in run.inputs.dataset_inputs}
    assert json.loads(used["gsm8k.jsonl (train)"].source)["file_sha256"] == str(digest("data"))
    assert used["house 1"].digest == digest("house").hex[:36]


def test_lineage_is_the_base_as_input_and_the_adapter_as_output_of_the_run(mirror: Mirror) -> None:
    mirror.show(a_version())
    client = mirror.client
    run = client.get_run(client.get_model_version("gsm8k-tutor", "1").run_id)
    (base,) = (client.get_logged_model(found.model_id) for found in run.inputs.model_inputs)
    (adapter,) = (client.get_logged_model(found.model_id) for found in run.outputs.model_outputs)
    assert (base.name, base.model_type) == ("smollm2-1", "base-model")
    assert (adapter.name, adapter.model_type, str(adapter.status)) == ("gsm8k-tutor-1", "lora-adapter", "READY")
    assert {metric.key: metric.value for metric in adapter.metrics}["bias/house.stereotype_rate"] == 0.61


def test_syncing_again_changes_nothing_also_when_the_memory_was_lost(mirror: Mirror) -> None:
    version = a_version(aliases=("champion",))
    mirror.show(version)
    before, remembered = mirror.everything(), dict(mirror.state.kept)
    mirror.show(version)
    assert mirror.everything() == before
    mirror.state = Memory()
    mirror.show(version)
    assert mirror.everything() == before
    remembered["experiment", "registry"]["turn"] = 1  # it is counted from the start
    assert mirror.state.kept == remembered


class Killed(BaseException):
    """A process that ends in the middle."""


def test_a_sync_that_is_killed_anywhere_is_completed_by_the_next(mirror: Mirror) -> None:
    class Dying(Memory):
        left = 0

        def put(self, entity: str, key: str, value: dict[str, Any]) -> None:
            Dying.left -= 1
            if Dying.left < 0:
                raise Killed
            super().put(entity, key, value)

    mirror.state = Dying()
    version = a_version(aliases=("champion",))
    for writes in range(1, 30):
        Dying.left = writes if writes < 12 else 1000
        try:
            outcome = mirror.show(version)
        except Killed:
            continue
        break
    assert not outcome.failed
    found = mirror.everything()
    assert len(found["models"]) == len(found["versions"]) == len(found["runs"]) == 2
    assert all(count == 1 for _, count in found["outputs"])


def test_a_later_statement_refreshes_tags_description_report_and_figures(mirror: Mirror) -> None:
    version = a_version()
    mirror.show(version)
    changed = a_projection(
        version,
        evaluations=(an_evaluation(after=0.52).model_copy(update={"created_at": "2026-11-25T10:00:00Z"}),),
        recalls=("the data rows.jsonl (sha256:…): alex recalled it",),
        report=Content.of(a_report("second")),
    )
    outcome = mirror.sync(an_entry(version, 3, "statement"), load=lambda entry: changed)
    assert outcome.done == {"gsm8k-tutor": 1}
    shown = mirror.client.get_model_version("gsm8k-tutor", "1")
    assert shown.tags["registry.recall"] == "recalled"
    assert shown.description.startswith("**Recalled.**")
    run = mirror.client.get_run(shown.run_id)
    assert run.data.metrics["bias/house.stereotype_rate"] == 0.52
    assert len(mirror.client.get_metric_history(shown.run_id, "loss/train")) == 45
    report = mirror.home / "mlflow/artifacts/registry" / shown.run_id / "artifacts/report/audit.html"
    assert report.read_bytes() == a_report("second")


def test_a_search_of_the_models_answers_which_pass(mirror: Mirror) -> None:
    passing, failing = a_version(1, name="passing"), a_version(1, name="failing")
    known = {
        passing.label: a_projection(passing, evaluations=(an_evaluation(after=0.52),)),
        failing.label: a_projection(failing, evaluations=(an_evaluation(after=0.66),)),
    }
    entries = (an_entry(a_base(), 1), an_entry(passing, 2), an_entry(failing, 3))
    mirror.sync(*entries, load=lambda entry: known.get(entry.label, a_base_projection()))
    house = {"dataset_name": "house 1", "dataset_digest": digest("house").hex[:36]}
    for where in ("metrics.`bias/house.stereotype_rate` < 0.6", "metrics.`bias/house.stereotype_rate` >= 0.6"):
        models = mirror.client.search_logged_models(
            [one.experiment_id for one in mirror.client.search_experiments()], filter_string=where, datasets=[house]
        )
        assert [model.name for model in models] == (["passing-1"] if "<" in where else ["failing-1"])


def test_an_alias_moves_and_goes_without_touching_the_one_that_has_it_now(mirror: Mirror) -> None:
    first, second = a_version(1, aliases=("champion",)), a_version(2)
    mirror.show(first, second)
    moved = {1: a_projection(a_version(1)), 2: a_projection(a_version(2, aliases=("champion",)))}
    mirror.sync(
        an_entry(second, 4, "alias", "champion"),
        an_entry(first, 5, "statement"),
        load=lambda entry: moved[entry.number],
    )
    assert int(mirror.client.get_model_version_by_alias("gsm8k-tutor", "champion").version) == 2
    mirror.sync(an_entry(second, 6, "alias", "champion"), load=lambda entry: a_projection(second))
    assert mirror.client.get_registered_model("gsm8k-tutor").aliases == {}


def test_a_foreign_version_under_our_number_stops_that_name_only(mirror: Mirror) -> None:
    mirror.show()
    client = mirror.client
    client.create_registered_model("gsm8k-tutor")
    client.create_model_version("gsm8k-tutor", "registry://sha256/" + "0" * 64)
    first, second, other = a_version(1), a_version(2), a_version(1, name="other")
    outcome = mirror.sync(
        *(an_entry(version, id) for id, version in enumerate((first, second, other), start=2)),
        load=lambda entry: a_projection({2: first, 3: second, 4: other}[entry.id]),
    )
    assert [found.name for found in outcome.drift] == ["gsm8k-tutor"]
    assert [one.entry.label for one in outcome.failed] == ["gsm8k-tutor:1", "gsm8k-tutor:2"]
    assert outcome.done == {"other": 1}
    assert len(client.search_model_versions("name = 'gsm8k-tutor'")) == 1


def test_another_number_than_ours_is_reported_and_marked(mirror: Mirror) -> None:
    mirror.show()
    client = mirror.client
    client.create_registered_model("gsm8k-tutor")
    client.create_model_version("gsm8k-tutor", "registry://sha256/" + "0" * 64)
    client.delete_model_version("gsm8k-tutor", "1")  # MLflow never gives a number twice
    version = a_version(1)
    for _ in range(2):
        outcome = mirror.sync(an_entry(version, 2), load=lambda entry: a_projection(version))
        assert "gsm8k-tutor" in outcome.drift[0].why
    (left,) = client.search_model_versions("name = 'gsm8k-tutor'")
    assert left.tags["registry.drift"] == "this is gsm8k-tutor:1; MLflow numbered it 2"


def test_a_version_that_is_gone_from_mlflow_is_drift(mirror: Mirror) -> None:
    version = a_version()
    mirror.show(version)
    mirror.client.delete_model_version("gsm8k-tutor", "1")
    changed = a_projection(version, report=Content.of(a_report("second")))
    outcome = mirror.sync(an_entry(version, 3, "statement"), load=lambda entry: changed)
    assert "is gone from MLflow" in outcome.drift[0].why


def test_a_version_waits_for_the_one_before_it(mirror: Mirror) -> None:
    second = a_version(2)
    outcome = mirror.show(second)
    assert outcome.failed[0].why == "gsm8k-tutor:1 comes first and is not mirrored"
    assert not mirror.client.search_registered_models("name = 'gsm8k-tutor'")


def test_neither_folder_nor_database_names_a_path_of_this_machine(mirror: Mirror, tmp_path: Path) -> None:
    mirror.show(a_version())
    assert str(tmp_path).encode() not in (mirror.home / "mlflow/mlflow.db").read_bytes()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_server_that_is_not_there_says_so_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gone = Mirror(tmp_path, MirrorRoute.of_server("http://127.0.0.1:9"))
    with pytest.raises(MirrorUnavailable):
        gone.show(a_version())
    assert gone.state.finished == []


def test_a_store_that_is_no_database_says_so_and_is_left_alone(tmp_path: Path) -> None:
    broken = tmp_path / "mlflow" / "mlflow.db"
    broken.parent.mkdir()
    broken.write_bytes(b"not a database, but somebody's bytes" * 100)
    mirror = Mirror(tmp_path)
    with pytest.raises(MirrorUnavailable):
        mirror.show(a_version())
    assert mirror.state.finished == []
    assert broken.read_bytes().startswith(b"not a database")


@pytest.fixture(scope="module")
def shown(with_base: Mirror, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mirror, RunningUi]]:
    """A mirror and the server on it, started while the port that it was asked for is taken."""
    home = moved(with_base, tmp_path_factory.mktemp("shown") / "home")
    home.show(a_version(aliases=("champion",)))
    with pytest.MonkeyPatch.context() as patch, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        with running_ui(home.home, taken.getsockname()[1]) as running:
            yield home, running


def test_the_server_shows_what_the_store_holds(shown: tuple[Mirror, RunningUi]) -> None:
    mirror, ui = shown
    assert ui.get("/health")[:2] == (200, b"OK")
    run_id = mirror.client.get_model_version("gsm8k-tutor", "1").run_id
    status, body, _ = ui.get(f"/get-artifact?path=report/audit.html&run_uuid={run_id}")
    assert (status, body) == (200, a_report("gsm8k-tutor:1"))


def test_the_server_has_our_policy_and_defaults_and_offers_nothing_that_acts(shown: tuple[Mirror, RunningUi]) -> None:
    _, ui = shown
    status, page, headers = ui.get("/")
    assert status == 200
    assert b'"machine_learning"' in page
    assert "default-src 'self'" in headers["content-security-policy"]
    for path in ("/ajax-api/3.0/mlflow/assistant/config", "/gateway/x", "/ajax-api/3.0/jobs/1", "/v1/traces"):
        assert ui.get(path)[0] == 404
    for version in ("api/2.0", "ajax-api/2.0", "api/3.0", "ajax-api//3.0"):
        for call in (
            "webhooks",
            "webhooks/1/test",
            "demo/generate",
            "jobs/1",
            "genai/evaluate/invoke",
            "scorer/invoke",
        ):
            status, body, _ = ui.get(f"/{version}/mlflow/{call}", sent={})
            assert (status, b"not offered here" in body) == (404, True), (version, call)
    assert ui.get("/api/2.0/mlflow/experiments/get?experiment_id=1", host="evil.example")[0] == 403


def request(ui: RunningUi, method: str, path: str, **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers (lower-case names) of one request, whose path is sent as it is."""
    connection = http.client.HTTPConnection(ui.url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def test_our_pages_are_only_read_from_this_host_and_under_a_policy_of_their_own(
    shown: tuple[Mirror, RunningUi],
) -> None:
    _, ui = shown
    for path in (
        "/registry",
        "/registry/",
        "/registry/gsm8k-tutor/1",
        "/registry/%2e%2e/%00",
        "/registry/a%2Fb/1",
        "/registry/%ff",
    ):
        status, headers = request(ui, "GET", path)
        assert status in (404, 503), path  # the home of this server holds no registry
        assert headers["content-type"].startswith("text/html")
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        status, headers = request(ui, method, "/registry/gsm8k-tutor/1")
        assert (status, headers.get("allow")) == (405, "GET, HEAD"), method
    assert request(ui, "GET", "/registry/", Host="evil.example")[0] == 403
    background = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "image"}
    assert request(ui, "GET", "/registry/gsm8k-tutor/1", **background)[0] == 403


def test_a_list_of_runs_is_told_that_there_are_no_gateways(shown: tuple[Mirror, RunningUi]) -> None:
    """MLflow's page shows an error otherwise."""
    status, body, _ = shown[1].get("/ajax-api/2.0/mlflow/gateway-proxy?gateway_path=api%2F2.0%2Fendpoints%2F")
    assert (status, json.loads(body)) == (200, {"endpoints": []})
    assert request(shown[1], "POST", "/ajax-api/2.0/mlflow/gateway-proxy")[0] == 404


def test_a_user_registers_models_and_prompts_of_their_own_on_the_server(shown: tuple[Mirror, RunningUi]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(shown[1].url, shown[1].url)
    client.create_registered_model("my-own-model")
    run = client.create_run(client.get_experiment_by_name("Default").experiment_id)
    source = f"{run.info.artifact_uri}/model"
    assert int(client.create_model_version("my-own-model", source, run.info.run_id).version) == 1
    assert client.register_prompt("my-prompt", "Answer {{question}}").version == 1


def test_no_process_of_the_server_gets_the_passphrase_or_a_token(shown: tuple[Mirror, RunningUi]) -> None:
    """The home's own database and store take no credentials; whoever starts the server has all of them."""
    _, ui = shown
    assert secrets_seen_by([ui.process.pid]) == {ui.process.pid: SECRETS.keys()}
    seen = secrets_seen_by(ui.server_pids)
    assert len(seen) >= 2
    assert set().union(*seen.values()) == set()


def test_a_server_is_mirrored_to_by_http_with_the_same_result(shown: tuple[Mirror, RunningUi], tmp_path: Path) -> None:
    _, ui = shown
    over_http = Mirror(tmp_path / "second", MirrorRoute.of_server(ui.url))
    version = a_version(1, name="over-http", aliases=("candidate",))
    for _ in range(2):  # the second time without memory
        assert not over_http.sync(an_entry(version, 1), load=lambda entry: a_projection(version)).failed
        over_http.state = Memory()
    client = over_http.client
    found = client.get_model_version_by_alias("over-http", "candidate")
    assert client.get_run(found.run_id).data.metrics["loss/train"] == pytest.approx(1.9)
    assert ui.get(f"/get-artifact?path=report/audit.html&run_uuid={found.run_id}")[1] == a_report("over-http:1")
    assert len(client.search_model_versions("name = 'over-http'")) == 1
    # what was written is read back over HTTP as it was written, files too
    surface = open_surface(over_http.route)
    run = surface.shown.run(found.run_id)
    assert run is not None
    assert run.files["report/audit.html"] == str(Digest.of(a_report("over-http:1")))
    projection = a_projection(version)
    experiment = surface.experiments.id_of(projection.experiment)
    tags = run_tags(projection, experiment=experiment, run_id=found.run_id)
    assert not list(differences_of_run(projection, run, tags=tags, files=run.files))


def test_two_machines_that_sync_at_once_to_one_server_copy_each_version_once(
    shown: tuple[Mirror, RunningUi], tmp_path: Path, postgres: PostgresServer
) -> None:
    address = postgres.new_database("at_once")
    _, ui = shown
    with two_machines(tmp_path / "first", tmp_path / "second", address) as (here, _):
        base = add_a_base(here, tmp_path / "base")
        for number in range(2):
            register_version(here, an_artifact(tmp_path / f"{number}", base, name="sums", value=number / 8))
    homes = [tmp_path / "first", tmp_path / "second"]
    for home in homes:
        mirrored_to(home, ui.url)
    with closing(reopened(homes[0])) as first, closing(reopened(homes[1])) as second:
        outcomes: list[Any] = []
        threads = [
            threading.Thread(target=lambda registry=registry: outcomes.append(sync_mirror(registry)))
            for registry in (first, second)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = sum((Counter(outcome.outcome.done) for outcome in outcomes), Counter())
        assert all(outcome.clean for outcome in outcomes)
        assert len(outcomes) == 2
        assert done == {"tiny": 1, "sums": 2}
        copied = ("tiny:1", "sums:1", "sums:2")
        assert {label: runs_in_mlflow(first)[label] for label in copied} == dict.fromkeys(copied, 1)
        assert labels_in_mlflow(first).count("sums:2") == 1
        assert check_mirror(second).exit_code == 0


def test_a_server_that_ends_in_mid_sync_loses_nothing_and_ctrl_c_leaves_no_process(
    shown: tuple[Mirror, RunningUi], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands last: it ends the server of the tests above."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    _, ui = shown
    assert len(ui.server_pids) >= 2
    over_http = Mirror(tmp_path / "second", MirrorRoute.of_server(ui.url))
    ended: list[int] = []

    def load(entry: OutboxEntry) -> Projection:
        if entry.number == 2:
            ended.append(ui.stop(signal.SIGINT))
        return a_projection(a_version(entry.number, name="cut-short"))

    with pytest.raises(MirrorUnavailable):
        over_http.sync(*(an_entry(a_version(number, name="cut-short"), number) for number in (1, 2)), load=load)
    assert over_http.state.finished == [1]
    assert ended == [0]
    assert ui.alive() == []


def test_a_report_is_made_only_when_what_it_follows_from_changed(mirror: Mirror) -> None:
    made: list[str] = []

    def page(inputs: str) -> Content:
        return Content(digest(inputs), lambda: (made.append(inputs), a_report(inputs))[1])

    version = a_version()
    mirror.show(version, report=page("first"))
    promoted = a_version(aliases=("champion",))
    mirror.sync(an_entry(promoted, 3, "alias", "champion"), load=lambda _: a_projection(promoted, report=page("first")))
    assert made == ["first"]
    mirror.sync(an_entry(promoted, 4, "statement"), load=lambda _: a_projection(promoted, report=page("second")))
    assert made == ["first", "second"]
