"""A home that is mirrored to a server: its address, whose credentials it takes, and servers that answer nonsense or nothing."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow import own_names
from peft_registry.registry.mlflow.checking import check_mirror
from peft_registry.registry.mlflow.connecting import MirrorAddressRefused, connect_mirror, other_server
from peft_registry.registry.mlflow.draining import sync_mirror
from peft_registry.registry.mlflow.home_route import mirror_route
from peft_registry.registry.mlflow.mirror_status import mirror_standing
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.registry.mlflow.route import MirrorNotChecked, MirrorRoute, MirrorUnavailable
from peft_registry.registry.mlflow.server import _refuse_what_passes_for_ours
from peft_registry.registry.records.references import version_named
from tests.builders.homes import a_home, add_a_base, reopened

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow's engines close when they are collected
PASSWORD = "a-password-that-stands-nowhere"


class Answering(ThreadingHTTPServer):
    """A server that gives every request one answer, and keeps what it was told to let somebody in."""

    status, body, seconds = 200, b"", 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_GET(self) -> None:
        self.server.heard.append(self.headers["Authorization"])
        time.sleep(self.server.seconds)
        try:
            self.send_response(self.server.status)
            self.end_headers()
            self.wfile.write(self.server.body)
        except OSError:
            """The client did not wait."""

    do_POST = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def answering() -> Iterator[Answering]:
    with Answering() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with a_home(tmp_path / "home") as opened:
        add_a_base(opened, tmp_path / "base")
        yield opened


BAD_SERVERS = {
    "HTML": (200, b"<html>welcome to the portal</html>", 0.0),
    "401": (401, b"", 0.0),
    "403": (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', 0.0),
    "429": (429, b"slow down", 0.0),
    "500": (500, b"", 0.0),
    "slow": (200, b"{}", 3.0),
}


@pytest.mark.parametrize("kind", BAD_SERVERS)
def test_a_bad_server_loses_nothing_is_not_checked_and_gets_the_credentials_that_mlflow_keeps(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for name, value in (("MAX_RETRIES", "0"), ("TIMEOUT", "1")):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alex")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    with answering() as server:
        server.status, server.body, server.seconds = BAD_SERVERS[kind]
        connect_mirror(registry, server.url)
        with closing(reopened(registry.folder)) as home:
            with pytest.raises(MirrorUnavailable) as refused:
                sync_mirror(home)
            assert refused.value.exit_code == 8
            assert mirror_standing(home).waiting == {"tiny": 1}
            assert check_mirror(home).exit_code == 5
        assert set(server.heard) == {"Basic " + base64.b64encode(f"alex:{PASSWORD}".encode()).decode()}
    said = f"{refused.value.what} {refused.value.why} {refused.value.fix}"
    kept = b"".join(path.read_bytes() for path in registry.folder.rglob("*") if path.is_file())
    assert PASSWORD not in said
    assert PASSWORD.encode() not in kept


def test_a_server_that_went_away_after_everything_was_copied_is_not_checked(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    connect_mirror(registry, "http://127.0.0.1:9")
    with closing(reopened(registry.folder)) as home:
        with pytest.raises(MirrorUnavailable):
            sync_mirror(home)
        state = home.database
        with state.write() as tx:
            from peft_registry.registry.database import catalog

            route = catalog.route_at(tx, "http://127.0.0.1:9")
            assert route is not None
            catalog.put_mirrored(tx, route, "experiment", "registry", {"identity": "1 of 1", "turn": 1})
        with pytest.raises(MirrorNotChecked) as refused:
            check_mirror(home)
        assert refused.value.exit_code == 5


def test_an_alias_is_moved_although_the_server_that_the_home_names_is_away(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    connect_mirror(registry, "http://127.0.0.1:9")
    home = ["--home", str(registry.folder)]
    assert run(["promote", "tiny:1", "champion", "--policy", "none", *home]) == 0
    answer = capsys.readouterr()
    assert "tiny@champion → tiny:1" in answer.out
    assert "warning  MLflow at http://127.0.0.1:9 cannot be used" in answer.err
    assert "not pushed: see `registry mirror push`" in answer.err
    assert version_named(registry, "tiny@champion").number == 1
    assert run(["mirror", "push", *home]) == 8


def test_a_home_is_connected_by_one_command_and_goes_back_to_its_own_store(registry: Registry) -> None:
    assert connect_mirror(registry, "https://mlflow.example:8443/team/").described == "https://mlflow.example:8443/team"
    with closing(reopened(registry.folder)) as home:
        assert mirror_route(home) == MirrorRoute.of_server("https://mlflow.example:8443/team")
        connect_mirror(home, "store")
    with closing(reopened(registry.folder)) as home:
        assert mirror_route(home).kind == "store"


@pytest.mark.parametrize(
    "address",
    [
        f"https://alex:{PASSWORD}@mlflow.example",
        "https://alex@mlflow.example",
        "mlflow.example:5000",
        "ftp://mlflow.example",
        "http://",
        "http://mlflow.example:port",
        "https://mlflow.example/?token=1",
        "sqlite:///mlflow.db",
    ],
)
def test_an_address_that_holds_a_password_or_names_no_server_is_refused_and_not_repeated(
    registry: Registry, address: str
) -> None:
    before = registry.files.settings.read_bytes()
    with pytest.raises(MirrorAddressRefused) as refused:
        connect_mirror(registry, address)
    assert refused.value.exit_code == 2
    assert PASSWORD not in f"{refused.value}"
    assert registry.files.settings.read_bytes() == before


def test_a_server_that_the_environment_names_is_said_where_the_home_is_mirrored_elsewhere(tmp_path: Path) -> None:
    own, server = MirrorRoute.of_home(tmp_path), MirrorRoute.of_server("https://mlflow.example")
    assert other_server(own, f"https://alex:{PASSWORD}@mlflow.example") == "https://mlflow.example"
    assert other_server(server, "https://other.example") == "https://other.example"
    assert other_server(server, "https://mlflow.example/") is None
    assert other_server(own, None) is None
    assert other_server(own, "sqlite:///mlflow.db") is None


def test_names_without_our_versions_are_the_users_own_and_ours_are_refused_by_the_server(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask import Flask

    monkeypatch.setenv("REGISTRY_HOME", str(registry.folder))
    monkeypatch.setattr(own_names, "state_folder", lambda _: None)
    app = Flask(__name__)

    def answered(path: str, *, method: str = "POST", is_encoded_twice: bool = False, **sent: str) -> int:
        body = json.dumps(json.dumps(sent)) if is_encoded_twice else json.dumps(sent)
        with app.test_request_context(f"/api/2.0/mlflow/{path}", method=method, data=body):
            answer = _refuse_what_passes_for_ours()
        return 200 if answer is None else int(answer[1])

    def version(name: str, source: str, *, is_encoded_twice: bool = False) -> int:
        return answered("model-versions/create", is_encoded_twice=is_encoded_twice, name=name, source=source)

    source = f"{SOURCE_PREFIX}{version_named(registry, 'tiny').manifest_digest.hex}"
    assert version("my-own-model", "models:/m-1") == 200
    assert version("my-prompt", "prompt-template") == 200
    assert version("tiny", source) == 200
    assert version("tiny", "models:/m-1") == 403
    assert version("tiny", "models:/m-1", is_encoded_twice=True) == 403
    assert version("tiny", SOURCE_PREFIX + "0" * 64) == 403
    assert version("of-another-home", SOURCE_PREFIX + "0" * 64) == 200
    for disguised in (source, f"{source}/", f"{source}/model", SOURCE_PREFIX, SOURCE_PREFIX.upper(), f" {source}"):
        assert version("my-own-model", disguised) == 403, disguised
    for twin in ("Tiny", "t\u0456ny", "tiny\u200b", "\uff54iny"):
        assert answered("registered-models/create", name=twin) == 403, twin
        assert answered("registered-models/rename", name="my-own-model", new_name=twin) == 403, twin
    assert answered("registered-models/create", name="tiny") == 200  # as the mirror of another machine does
    assert answered("registered-models/rename", name="my-own-model", new_name="tiny") == 403
    assert answered("registered-models/rename", name="my-own-model", newName="tiny") == 403
    assert answered("registered-models/create", name="Tiny2") == 200
    assert answered("experiments/create", name="mine") == 200
    for place in ("/etc", "file:///etc", "mlflow-artifacts:/registry"):
        assert answered("experiments/create", name="mine", artifact_location=place) == 403
        assert answered("experiments/create", name="mine", artifactLocation=place, is_encoded_twice=True) == 403
    assert answered("model-versions/update", name="tiny", source="models:/m-1") == 200
