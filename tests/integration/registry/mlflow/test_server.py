"""The server of `registry ui` on a home: it shows what is registered, offers nothing that acts, and ends whole."""

import http.client
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from peft_registry.registry.mlflow.home_address import address_of
from peft_registry.registry.mlflow.server import EntryPointMissing, UiNotStarted, require_entry_points
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register_product import register_product
from tests.builders.homes import add_a_base, reopened
from tests.builders.products import a_product
from tests.builders.shown_homes import make_shown_home, run_id_of
from tests.processes.secrets import SECRETS, secrets_seen_by
from tests.servers.clusters import free_port
from tests.servers.ui import RunningUi, running_ui

API = "/api/2.0/mlflow"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shown_home(tmp_path_factory.mktemp("shown"))


@pytest.fixture(scope="module")
def ui(home: Path) -> Iterator[RunningUi]:
    """A server that was started while the port that it was asked for is taken."""
    with pytest.MonkeyPatch.context() as patch, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        with running_ui(home, taken.getsockname()[1]) as running:
            yield running


def test_an_installation_that_is_older_than_its_code_is_told_so_before_a_server_is_started() -> None:
    older = entry_points(group="mlflow.artifact_repository")
    with pytest.raises(EntryPointMissing) as missing:
        require_entry_points(EntryPoints(older).select)
    assert "mlflow.app = registry" in missing.value.what


def test_what_the_server_wrote_is_read_line_by_line() -> None:
    assert UiNotStarted("first\nsecond").separate_reasons == ("first", "second")


def answered(ui: RunningUi, path: str, sent: object = None) -> dict[str, object]:
    status, body, _ = ui.get(path, sent=sent)
    assert status == 200, (path, body)
    value: dict[str, object] = json.loads(body)
    return value


def test_the_server_shows_what_is_registered(ui: RunningUi) -> None:
    assert ui.get("/health")[:2] == (200, b"OK")
    version = answered(ui, f"{API}/model-versions/get?name=sums&version=1")["model_version"]
    assert isinstance(version, dict)
    assert version["run_id"] == run_id_of("sums")
    alias = answered(ui, f"{API}/registered-models/alias?name=sums&alias=champion")["model_version"]
    assert isinstance(alias, dict)
    assert alias["version"] == "1"
    status, page, _ = ui.get(f"/get-artifact?path=report/audit.html&run_uuid={run_id_of('sums')}")
    assert (status, b"sums:1" in page) == (200, True)


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        (f"{API}/metrics/get-history-bulk?run_id={run_id_of('sums')}&metric_key=loss/train", None),
        (f"{API}/metrics/get-history-bulk-interval?run_ids={run_id_of('sums')}&metric_key=loss/train", None),
        (f"{API}/logged-models/search", {"experiment_ids": ["1"]}),
        (f"{API}/experiments/search-datasets", {"experiment_ids": ["1"]}),
        ("/ajax-api/3.0/mlflow/scorers/list?experiment_id=1", None),
        (f"{API}/artifacts/list?run_id={run_id_of('sums')}", None),
    ],
)
def test_what_the_pages_ask_for_is_answered(ui: RunningUi, path: str, sent: object) -> None:
    answered(ui, path.replace("/api/2.0", "/ajax-api/2.0"), sent)


def test_files_are_not_written_through_the_server(ui: RunningUi) -> None:
    run = answered(ui, f"{API}/runs/get?run_id={run_id_of('sums')}")["run"]
    assert isinstance(run, dict)
    place = run["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    for method in ("PUT", "DELETE"):
        status, _ = request(ui, method, f"/api/2.0/mlflow-artifacts/artifacts/{place}/report/audit.html")
        assert status in (403, 405), method


def test_the_server_has_our_policy_and_defaults_and_offers_nothing_that_acts(ui: RunningUi) -> None:
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
    assert ui.get(f"{API}/experiments/get?experiment_id=1", host="evil.example")[0] == 403


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


def test_our_pages_are_only_read_from_this_host_and_under_a_policy_of_their_own(ui: RunningUi) -> None:
    for path, expected in (
        ("/registry", 200),
        ("/registry/?where=kind%3Dbase", 200),
        ("/registry/?where=%3Cscript%3E", 400),
        ("/registry/sums/1", 200),
        ("/registry/%2e%2e/%00", 404),
        ("/registry/a%2Fb/1", 404),
        ("/registry/%ff", 404),
    ):
        status, headers = request(ui, "GET", path)
        assert status == expected, path
        assert headers["content-type"].startswith("text/html")
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        status, headers = request(ui, method, "/registry/sums/1")
        assert (status, headers.get("allow")) == (405, "GET, HEAD"), method
    assert request(ui, "GET", "/registry/", Host="evil.example")[0] == 403
    background = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "image"}
    assert request(ui, "GET", "/registry/sums/1", **background)[0] == 403


def test_a_list_of_runs_is_told_that_there_are_no_gateways(ui: RunningUi) -> None:
    """MLflow's page shows an error otherwise."""
    assert answered(ui, "/ajax-api/2.0/mlflow/gateway-proxy?gateway_path=api%2F2.0%2Fendpoints%2F") == {"endpoints": []}
    assert request(ui, "POST", "/ajax-api/2.0/mlflow/gateway-proxy")[0] == 404


def test_no_process_of_the_server_gets_the_passphrase_or_a_token(ui: RunningUi) -> None:
    """The home's own database and store take no credentials; whoever starts the server has all of them."""
    assert secrets_seen_by([ui.process.pid]) == {ui.process.pid: SECRETS.keys()}
    seen = secrets_seen_by(ui.server_pids)
    assert seen
    assert set().union(*seen.values()) == set()


def test_no_answer_of_the_server_names_a_path_of_this_machine(ui: RunningUi, home: Path) -> None:
    for path in (
        "experiments/search?max_results=9",
        f"runs/get?run_id={run_id_of('sums')}",
        "registered-models/search",
    ):
        status, body, _ = ui.get(f"{API}/{path}")
        assert (status, str(home.parent).encode() in body) == (200, False), path


def source_of(address: str) -> str:
    """Where `models:/sums@champion` is read from by an MLflow that is set to this address."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    try:
        source: str = get_artifact_repository("models:/sums@champion").repo.artifact_uri
        return source
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])


def require_followed(home: Path, ui: RunningUi) -> None:
    """A script on the home, and one that asks the server, read a new champion as soon as it is one."""
    old = source_of(ui.url)
    assert source_of(address_of(home)) == old
    with closing(reopened(home)) as registry:
        base = add_a_base(registry, home.parent / "base")
        product = a_product(registry, home.parent / "better", base, name="sums", run_id=run_id_of("better"), value=0.9)
        version = register_product(registry, product).version
        assert source_of(ui.url) == old, "it is registered and not promoted"
        set_alias(registry, version, "champion")
    assert (source_of(ui.url), source_of(address_of(home))) == (f"registry://sha256/{version.manifest_digest.hex}",) * 2


def test_a_promotion_is_followed_by_the_server_and_by_scripts_with_no_further_command(
    ui: RunningUi, home: Path
) -> None:
    require_followed(home, ui)


@pytest.mark.full
def test_a_promotion_is_followed_on_postgresql(tmp_path: Path, postgres: Any) -> None:
    home = make_shown_home(tmp_path, database=postgres.new_database("served"))
    with running_ui(home, free_port()) as ui:
        require_followed(home, ui)


def test_ctrl_c_leaves_no_process(ui: RunningUi) -> None:
    """Stands last: it ends the server of the tests above. Below us is one process: what waits for it would hold MLflow again."""
    assert len(ui.server_pids) == 1
    assert ui.stop(signal.SIGINT) == 0
    assert ui.alive() == []
