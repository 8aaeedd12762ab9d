"""A home that sends a copy to a server: its address, whose credentials it takes, and servers that answer nonsense or nothing."""

import base64
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow.store.entities import PagedList

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.connecting import Mirror, MirrorAddressRefused, connect_mirror
from peft_registry.registry.mlflow.push import push_everything
from peft_registry.registry.mlflow.team_server import MirrorUnavailable, NotSent, entities_of
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.register_product import register_product
from tests.builders.homes import MadeFolder, a_home, add_a_base, reopened
from tests.builders.products import a_product

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow's engines close when they are collected
PASSWORD = "a-password-that-stands-nowhere"


class Answering(ThreadingHTTPServer):
    """A server that gives every request one answer, and keeps what it was told to let somebody in."""

    status, body, seconds = 200, b"", 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[str | None] = []

    def answer(self, path: str, sent: bytes) -> bytes:
        """The body of the answer to a request."""
        return self.body

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_GET(self) -> None:
        self.server.heard.append(self.headers["Authorization"])
        sent = self.rfile.read(int(self.headers["Content-Length"] or 0))
        time.sleep(self.server.seconds)
        try:
            self.send_response(self.server.status)
            self.end_headers()
            self.wfile.write(self.server.answer(self.path, sent))
        except OSError:
            """The client did not wait."""

    do_POST = do_PATCH = do_PUT = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


class Leading(Answering):
    """A server that names, of one thing that it keeps, a location of its choice for files."""

    def __init__(self, what: str, location: str) -> None:
        super().__init__()
        self._ids = {
            "run_id": f"run-{what}",
            "model_id": f"model-{what}",
        }  # MLflow's client remembers the location of an id
        self._locations = dict.fromkeys(("experiment", "run", "model"), "mlflow-artifacts:/7") | {what: location}

    def answer(self, path: str, sent: bytes) -> bytes:
        def entity(kind: str, **info: object) -> dict[str, object]:
            return {kind: {"info": {"experiment_id": "7", "artifact_uri": self._locations[kind], **info}}}

        call = path.partition("?")[0].partition("/mlflow/")[2]
        named = {"name": "registry", "artifact_location": self._locations["experiment"], "lifecycle_stage": "active"}
        answers: dict[str, object] = {
            "experiments/create": {"experiment_id": "7"},
            "experiments/get": {"experiment": {"experiment_id": "7", **named}},
            "runs/create": entity("run", run_id=self._ids["run_id"], status="RUNNING", lifecycle_stage="active"),
            "logged-models": entity("model", model_id=self._ids["model_id"], status="LOGGED_MODEL_READY"),
        }
        answers["model-versions/create"] = {"model_version": {"name": "any", "version": "1"}}
        answers["runs/get"] = answers["runs/create"]
        answers[f"logged-models/{self._ids['model_id']}"] = answers["logged-models"]
        return json.dumps(answers.get(call, {})).encode()


def a_page(experiments: list[dict[str, str]], token: str) -> bytes:
    return json.dumps({"experiments": experiments, "next_page_token": token}).encode()


@contextmanager
def answering(made: Callable[[], Answering] = Answering) -> Iterator[Answering]:
    with made() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def with_base(tmp_path_factory: pytest.TempPathFactory) -> MadeFolder:
    """A folder with a home in which a base is registered. Never write to it."""
    folder = tmp_path_factory.mktemp("with-base")
    with a_home(folder / "home") as opened:
        add_a_base(opened, folder / "base")
        return MadeFolder.of(opened, folder)


@pytest.fixture
def registry(with_base: MadeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with closing(with_base.copied(tmp_path)) as opened:
        yield opened


BAD_SERVERS = {
    "HTML": (200, b"<html>welcome to the portal</html>", 0.0),
    "401": (401, b"", 0.0),
    "403": (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', 0.0),
    "429": (429, b"slow down", 0.0),
    "500": (500, b"", 0.0),
    "slow": (200, b"{}", 3.0),
    "the same page again": (200, a_page([{"experiment_id": "7", "name": "registry"}], "again"), 0.0),
    "an empty page before the next": (200, a_page([], "next"), 0.0),
}


@pytest.mark.parametrize("kind", BAD_SERVERS)
def test_a_bad_server_is_named_and_gets_the_credentials_that_mlflow_keeps(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    # the client gives up soon only on the slow one: the others may answer late on a busy processor
    for name, value in (("MAX_RETRIES", "0"), ("TIMEOUT", "1" if kind == "slow" else "60")):
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


def test_a_list_that_does_not_end_is_left_after_so_many_pages() -> None:
    tokens = map(str, itertools.count())
    entities = entities_of(lambda _: PagedList(["one"], next(tokens)))
    with pytest.raises(NotSent, match="no end: more than 100 pages"):
        list(entities)
    assert next(tokens) == "100"


@pytest.mark.parametrize("what", ["experiment", "run", "model"])
def test_a_server_that_wants_files_put_elsewhere_gets_none_there(tmp_path: Path, what: str) -> None:
    chosen = tmp_path / "chosen by the server"
    with a_home(tmp_path / "home") as registry, answering(lambda: Leading(what, str(chosen))) as server:
        base = add_a_base(registry, tmp_path / "base")
        register_product(registry, a_product(registry, tmp_path / "polite", base, name="polite"))
        pushed = push_everything(registry, server.url, with_records=True)
    assert not chosen.exists()
    label, why = pushed.set_aside[-1]
    assert label == "polite:1"
    assert "chosen by the server" in why
    assert "start it with `--serve-artifacts`" in why


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
    assert connected == "https://mlflow.example:8443/team"
    with closing(reopened(registry.folder)) as home:
        assert home.settings.mirror_uri == "https://mlflow.example:8443/team"
        cut = home.settings.addresses
        connect_mirror(home, "https://mlflow.example:8443/team", with_records=True)
    with closing(reopened(registry.folder)) as home:
        assert home.settings.addresses != cut, "an edit that has records sent is asked about, as one of the address is"
        assert Mirror.of_uri(home.settings.mirror_uri or "") == Mirror(
            "https://mlflow.example:8443/team", with_records=True
        )
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
        "https://mlflow.example#with-records",
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
