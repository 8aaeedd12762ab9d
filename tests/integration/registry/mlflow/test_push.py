"""`registry mirror push` to a team's own MLflow server, which has a login and no peft-registry."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from peft_registry.cli.mirror import push_after
from peft_registry.registry.evaluation.staleness import composition_of
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow import projection
from peft_registry.registry.mlflow.connecting import MirrorAddressRefused, NoMirrorNamed, connect_mirror
from peft_registry.registry.mlflow.projection import REPORT_PATH, SOURCE_PREFIX
from peft_registry.registry.mlflow.push import push_everything
from peft_registry.registry.mlflow.team_server import MirrorUnavailable
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.schemas.evaluation import Arm, Responsible
from peft_registry.schemas.run import Trial
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.homes import a_home, add_a_base, reopened
from tests.builders.products import a_product
from tests.processes.interpreter import ROOT
from tests.servers.mlflow_server import RunningMlflow, a_team_server

pytestmark = pytest.mark.processes

ROBIN = ("robin", "a-password-of-robin")
COPY = "a copy, proves nothing"
TRIALS = (Trial(seed=1, score=0.5, chosen=True), Trial(seed=2, score=0.25, chosen=False))

# pushes a home in children, of which each is killed after one more request that writes than the one before; says how many were
KILLED_AND_AGAIN = """
import itertools, os, signal, sys
from pathlib import Path
import requests
from peft_registry.registry.homes.home import open_home
from peft_registry.registry.mlflow.push import push_everything
from peft_registry.registry.mlflow.team_server import open_server
open_server(sys.argv[2])  # imported once

def killed_after(writes, send=requests.Session.send):
    left = itertools.count(writes, -1)
    def sent(session, request, **options):
        answer = send(session, request, **options)
        if request.method != "GET" and not request.url.endswith("/search") and next(left) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
    requests.Session.send = sent

for writes in itertools.count(1):
    child = os.fork()
    if child == 0:
        killed_after(writes)
        push_everything(open_home(Path(sys.argv[1])), sys.argv[2], with_records=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        print(writes - 1)
        sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMlflow]:
    """A server with a user who may make experiments and models there, and sees nothing of others."""
    with a_team_server(tmp_path_factory.mktemp("team")) as running:
        running.add_user(*ROBIN)
        yield running


@pytest.fixture
def client(server: RunningMlflow, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """MLflow's own client, as robin; whoever pushes in this test is robin too."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ROBIN[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ROBIN[1])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return MlflowClient(server.url, server.url)


@contextmanager
def a_home_with(folder: Path, name: str, *, versions: int = 2) -> Iterator[Registry]:
    """A home with a base, and versions of an adapter with an evaluation, two seeds and a comparison; its names begin so."""
    with a_home(folder / name) as registry:
        base = add_a_base(registry, folder / "base", name=f"{name}-base")
        for number in range(1, versions + 1):
            run = {"run_id": f"r{number}", "trials": TRIALS, "comparison": f"{name}-{number}"}
            product = a_product(registry, folder / f"{name}{number}", base, name=name, value=number / 4, **run)
            register_product(registry, product)
        yield registry


def rows_of(server: RunningMlflow) -> list[str]:
    """Everything that the server keeps."""
    with closing(sqlite3.connect(server.database)) as database:
        return sorted(line for line in database.iterdump() if line.startswith("INSERT"))


def runs_of(client: MlflowClient, name: str) -> list[str]:
    """The names of the runs of versions under a name, of their seeds and of their comparisons."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1_000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    return sorted(str(run.info.run_name) for run in runs if name in str(run.info.run_name))


def test_a_second_push_sends_nothing_and_everything_says_that_it_is_a_copy(
    server: RunningMlflow, client: MlflowClient, tmp_path: Path
) -> None:
    with a_home_with(tmp_path, "twice") as registry:
        set_alias(registry, version_named(registry, "twice:1"), "champion")
        first = push_everything(registry, server.url, with_records=True)
        assert (first.sent, first.unchanged, first.set_aside) == (("twice-base:1", "twice:1", "twice:2"), 0, ())
        rows = rows_of(server)
        second = push_everything(registry, server.url, with_records=True)
        assert (second.sent, second.unchanged, second.aliases, second.set_aside) == ((), 3, (), ())
        assert rows_of(server) == rows
        source = f"{SOURCE_PREFIX}{version_named(registry, 'twice:2').manifest_digest.hex}"
    shown = client.get_model_version("twice", "2")
    assert shown.source == source
    assert int(client.get_model_version_by_alias("twice", "champion").version) == 1
    run = client.get_run(shown.run_id)
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    name = client.get_registered_model("twice")
    experiment = client.get_experiment(run.info.experiment_id)
    over = client.get_run(run.data.tags["mlflow.parentRunId"])
    seeds = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    assert len(seeds) == len(TRIALS)
    runs = [run.data.tags, over.data.tags, seeds[0].data.tags]
    everything = [shown.tags, name.tags, model.tags, experiment.tags, *runs]
    assert {tags["registry.copy"] for tags in everything} == {COPY}
    notes = [tags["mlflow.note.content"] for tags in (model.tags, experiment.tags, *runs)]
    notes += [shown.description, name.description]
    assert [note for note in notes if "A copy: it proves nothing" not in note] == []
    report = client.download_artifacts(run.info.run_id, REPORT_PATH, str(tmp_path))
    assert "twice:2" in Path(report).read_text()


def test_a_run_that_an_earlier_release_wrote_in_another_form_is_written_again_in_its_place(
    server: RunningMlflow, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_home_with(tmp_path, "older", versions=1) as registry:
        with monkeypatch.context() as earlier:
            earlier.setattr(projection, "FORM", projection.FORM - 1)
            assert push_everything(registry, server.url).sent == ("older-base:1", "older:1")
        before = client.get_run(client.get_model_version("older", "1").run_id)
        assert push_everything(registry, server.url).sent == ("older-base:1", "older:1")
        after = client.get_run(client.get_model_version("older", "1").run_id)
        assert push_everything(registry, server.url).unchanged == 2
    assert after.info.run_id == before.info.run_id
    assert after.data.metrics == before.data.metrics
    changed = dict(after.data.tags.items() - before.data.tags.items())
    assert changed["registry.form"] == str(projection.FORM)


def test_a_server_gets_what_everybody_may_read_and_more_only_where_that_is_said(
    server: RunningMlflow, client: MlflowClient, tmp_path: Path
) -> None:
    with a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base", name="cut-base")
        product = a_product(registry, tmp_path / "cut", base, name="cut", project="secret-project")
        version = register_product(registry, product).version
        record, items = a_recorded_evaluation()
        made_of = composition_of(stored_manifest(registry, version.manifest_digest), base.record.identity)
        own = record.revised(
            arms=tuple(
                Arm(name=arm.name, composition=made_of, composition_digest=made_of.canonical_digest())
                if arm.name == "adapted"
                else arm
                for arm in record.arms
            ),
            responsible=Responsible(name=registry.trainer_key.public.key_id, role="trainer"),
        )
        append_statement(
            registry,
            subject=version.manifest_digest,
            kind="bias-evaluation",
            predicate=own.to_json(),
            signer=registry.trainer_key,
            evidence=(items,),
        )
        person = str(registry.trust.person_of(registry.trainer_key.public.key_id))
        assert push_everything(registry, server.url).sent == ("cut-base:1", "cut:1")
        rows = rows_of(server)
        assert push_everything(registry, server.url).sent == ()
        assert rows_of(server) == rows
        shown = client.get_model_version("cut", "1")
        run = client.get_run(shown.run_id)
        assert run.data.params == {} and "loss/train" not in run.data.metrics
        assert any(key.startswith("measured bias/") for key in run.data.metrics), (
            "figures of evaluations are for everybody"
        )
        there = {file.path for file in client.list_artifacts(shown.run_id, "evaluation")}
        assert there == {"evaluation/results.json", "evaluation/outcomes.json"}
        assert client.list_artifacts(shown.run_id, "report") == []
        ours = "\n".join(line for line in rows if "cut" in line)
        assert person not in ours and "secret-project" not in ours
        # asked for, everything goes, to the run that is there
        assert push_everything(registry, server.url, with_records=True).sent == ("cut-base:1", "cut:1")
    whole = client.get_run(shown.run_id)
    assert "loss/train" in whole.data.metrics and whole.data.params["method"] == "lora"
    assert person in str(whole.data.tags)
    assert "evaluation/items.json" in {file.path for file in client.list_artifacts(shown.run_id, "evaluation")}


def test_pushes_that_are_killed_after_every_write_end_complete_and_without_doubles(
    server: RunningMlflow, client: MlflowClient, tmp_path: Path
) -> None:
    with a_home_with(tmp_path, "killed", versions=1) as registry:
        environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}"}
        command = [sys.executable, "-c", KILLED_AND_AGAIN, str(registry.folder), server.url]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) > 5
        again = push_everything(registry, server.url, with_records=True)
        assert (again.sent, again.unchanged, again.set_aside) == ((), 2, ())
    assert runs_of(client, "killed") == [
        "add killed-base:1",
        "compare killed-1",
        "killed:1 trial, seed 1",
        "killed:1 trial, seed 2",
        "train killed:1",
    ]


def test_what_others_made_under_our_names_is_said_and_left_as_it_is(
    server: RunningMlflow, client: MlflowClient, tmp_path: Path
) -> None:
    client.create_registered_model("taken", {"owner": "robin"}, "mine")
    client.create_model_version("taken", "s3://bucket/theirs", description="mine too")
    client.set_registered_model_alias("taken", "champion", "1")
    with a_home_with(tmp_path, "taken") as registry:
        base = push_everything(registry, server.url, with_records=True)
        assert base.sent == ("taken-base:1",)
        assert base.set_aside == (
            (
                "taken:1",
                "its number is that of another version there, from 's3://bucket/theirs', which is left as it is",
            ),
            ("taken:2", "taken:1 comes first, and is another version there"),
        )
        client.create_model_version("taken-base", "s3://bucket/theirs-too")
        again = push_everything(registry, server.url, with_records=True)
        assert (again.sent, again.others) == ((), ("taken-base:2, from 's3://bucket/theirs-too'",))
    shown, name = client.get_model_version("taken", "1"), client.get_registered_model("taken")
    assert (shown.source, shown.tags, shown.description) == ("s3://bucket/theirs", {}, "mine too")
    assert (name.tags, name.description, name.aliases) == ({"owner": "robin"}, "mine", {"champion": "1"})
    assert runs_of(client, "train taken") == []


def test_a_version_that_was_deleted_there_gets_no_other_number(
    server: RunningMlflow, client: MlflowClient, tmp_path: Path
) -> None:
    with a_home_with(tmp_path, "gone", versions=2) as registry:
        push_everything(registry, server.url, with_records=True)
        client.delete_model_version("gone", "1")
        assert push_everything(registry, server.url, with_records=True).set_aside == (
            ("gone:1", "it is not there, MLflow is at gone:2, and it gives no number twice"),
        )
        client.delete_model_version("gone", "2")
        why = dict(push_everything(registry, server.url, with_records=True).set_aside)
    assert why["gone:1"] == "MLflow gave it the number 3, and it was taken back"
    assert client.search_model_versions("name = 'gone'") == []


def test_what_a_person_changed_or_deleted_there_is_sent_again_and_what_they_added_stays(
    server: RunningMlflow, client: MlflowClient, tmp_path: Path
) -> None:
    with a_home_with(tmp_path, "changed", versions=1) as registry:
        push_everything(registry, server.url, with_records=True)
        before = client.get_model_version("changed", "1")
        client.set_model_version_tag("changed", "1", "registry.bias", "none")
        client.set_model_version_tag("changed", "1", "team", "ours")
        client.update_model_version("changed", "1", "the best")
        client.delete_run(before.run_id)
        assert push_everything(registry, server.url, with_records=True).sent == ("changed:1",)
    after = client.get_model_version("changed", "1")
    assert (after.tags, after.description) == (before.tags | {"team": "ours"}, before.description)
    assert client.get_run(before.run_id).info.lifecycle_stage == "active"


def test_an_alias_follows_each_move_that_was_signed(
    server: RunningMlflow, client: MlflowClient, tmp_path: Path
) -> None:
    with a_home_with(tmp_path, "moved") as registry:
        connect_mirror(registry, server.url)
        folder = registry.folder
    with closing(reopened(folder)) as registry:
        push_everything(registry)
        for number in (1, 2):
            set_alias(registry, version_named(registry, f"moved:{number}"), "champion")
            assert push_after(registry, f"moved:{number}") == "pushed"
            assert int(client.get_model_version_by_alias("moved", "champion").version) == number


def test_whoever_is_not_let_in_is_told_so_without_the_password(
    server: RunningMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ROBIN[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a-guessed-password")
    with a_home(tmp_path / "home") as registry:
        with pytest.raises(MirrorUnavailable) as refused:
            push_everything(registry, server.url, with_records=True)
        with pytest.raises(MirrorAddressRefused):
            push_everything(registry, f"http://robin:a-guessed-password@{server.url.removeprefix('http://')}")
        with pytest.raises(NoMirrorNamed):
            push_everything(registry)
    assert "401" in refused.value.why
    assert "a-guessed-password" not in f"{refused.value.what} {refused.value.why}"
