"""A home that sends a copy to a server: its address, whose credentials it takes, and servers that answer nonsense or nothing."""

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.connecting import MirrorAddressRefused, connect_mirror
from peft_registry.registry.mlflow.push import push_everything
from peft_registry.registry.mlflow.route import MirrorUnavailable
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
def test_a_bad_server_is_named_and_gets_the_credentials_that_mlflow_keeps(
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
                push_everything(home)
            assert refused.value.exit_code == 8
        assert set(server.heard) == {"Basic " + base64.b64encode(f"alex:{PASSWORD}".encode()).decode()}
    said = f"{refused.value.what} {refused.value.why} {refused.value.fix}"
    kept = b"".join(path.read_bytes() for path in registry.folder.rglob("*") if path.is_file())
    assert PASSWORD not in said
    assert PASSWORD.encode() not in kept


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


def test_a_home_is_connected_by_one_command_and_to_none_by_another(registry: Registry) -> None:
    connected = connect_mirror(registry, "https://mlflow.example:8443/team/")
    assert connected is not None
    assert connected.described == "https://mlflow.example:8443/team"
    with closing(reopened(registry.folder)) as home:
        assert home.settings.mirror_uri == "https://mlflow.example:8443/team"
        connect_mirror(home, "none")
    with closing(reopened(registry.folder)) as home:
        assert (home.settings.mirror, home.settings.mirror_uri) == (None, None)


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
