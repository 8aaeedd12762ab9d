"""`registry ui --shared`: a login before every page, ours included."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.mlflow import server
from peft_registry.registry.mlflow.server import LoginNotAsked, serve
from peft_registry.registry.mlflow.sharing import (
    LoginNotConfigured,
    NotAName,
    NotShared,
    shared,
)
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.register_product import register_product
from tests.builders.homes import a_home, add_a_base, reopened
from tests.builders.products import a_product
from tests.processes.interpreter import ROOT
from tests.servers.ui import RunningUi, shared_ui

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow's engines close when they are collected

PORT = 5391
ADMIN = ("admin", "a-password-of-the-admin")
READER = ("robin", "a-password-of-a-reader")
NOBODY_ELSES = {"MLFLOW_TRACKING_PASSWORD": "tracking", "REGISTRY_PASSPHRASE": "passphrase", "HF_TOKEN": "token"}
INI = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = {database}
admin_username = admin
auth_cache_ttl_seconds = 60
"""


def an_ini(folder: Path, *lines: str, database: str = "sqlite:///users.db") -> Path:
    path = folder / "basic_auth.ini"
    path.write_text(INI.format(database=database) + "".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, RunningUi]]:
    """A home with two names, shown to others on every address of this machine, and a reader who may see one of them.

    The folder holds the home and MLflow's users.
    """
    folder = tmp_path_factory.mktemp("team")
    with a_home(folder / "home") as registry, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        base = add_a_base(registry, folder / "base")
        for number, name in enumerate(("sums", "secret"), start=1):
            product = a_product(registry, folder / name, base, name=name, run_id=name, value=number / 4)
            register_product(registry, product)
    ini = an_ini(folder, database=f"sqlite:///{folder / 'users.db'}")
    settings = {"MLFLOW_AUTH_CONFIG_PATH": str(ini), "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1]} | NOBODY_ELSES
    with shared_ui(folder / "home", PORT, settings | {"PYTHONPATH": f"{ROOT / 'src'}"}) as ui:
        user, password = READER
        created = ui.get("/api/2.0/mlflow/users/create", login=ADMIN, sent={"username": user, "password": password})
        assert created[0] == 200, created
        sums = {"resource_type": "registered_model", "resource_id": "sums", "permission": "READ"}
        granted = ui.get("/api/3.0/mlflow/users/permissions/grant", login=ADMIN, sent=sums | {"username": user})
        assert granted[0] == 200, granted
        yield folder, ui
    assert ui.alive() == []


EVERYTHING = (
    "/",
    "/api/2.0/mlflow/registered-models/search?max_results=10",
    "/api/2.0/mlflow-artifacts/artifacts",
    "/graphql",
    "/registry",
    "/registry/",
    "/registry/sums/1",
    "/registry/sums/1/lineage",
    "/registry/sums/1/report",
)


@pytest.mark.processes
@pytest.mark.parametrize("path", EVERYTHING)
@pytest.mark.parametrize("login", [None, ("admin", "guessed"), ("nobody", ADMIN[1])], ids=["none", "password", "user"])
def test_whoever_has_not_logged_in_gets_no_page_of_mlflow_and_none_of_ours(
    team: tuple[Path, RunningUi], path: str, login: tuple[str, str] | None
) -> None:
    status, body, headers = team[1].get(path, login=login)
    assert status == 401
    assert headers["www-authenticate"] == 'Basic realm="mlflow"'
    assert b"sums" not in body


@pytest.mark.processes
def test_a_reader_sees_ours_and_changes_nothing(team: tuple[Path, RunningUi]) -> None:
    _, ui = team
    for path in ("/", "/registry/", "/registry/sums/1", "/registry/sums/1/report"):
        assert ui.get(path, login=READER)[0] == 200, path
    assert "✓ verified" in ui.get("/registry/sums/1", login=READER)[1].decode()
    tag = {"name": "sums", "version": "1", "key": "registry.bias", "value": "approved"}
    assert ui.get("/api/2.0/mlflow/model-versions/set-tag", login=READER, sent=tag)[0] == 403


@pytest.mark.processes
def test_a_model_that_mlflow_hides_from_a_reader_has_no_page_and_stands_in_no_list_of_theirs(
    team: tuple[Path, RunningUi],
) -> None:
    _, ui = team
    for path in ("/registry/secret/1", "/registry/secret/1/lineage", "/registry/secret/1/report", "/registry/secret/7"):
        assert ui.get(path, login=READER)[0] == 403, path
        assert ui.get(path, login=ADMIN)[0] == (404 if path.endswith("7") else 200), path
    assert b"/registry/secret/1" not in ui.get("/registry/", login=READER)[1]
    assert b"/registry/secret/1" in ui.get("/registry/", login=ADMIN)[1]


@pytest.mark.processes
def test_a_reader_makes_nothing_by_which_they_would_read_what_is_hidden(team: tuple[Path, RunningUi]) -> None:
    """They know its digest from the page of something that they may read."""
    folder, ui = team
    api = "/api/2.0/mlflow"
    with closing(reopened(folder / "home")) as registry:
        secret = version_named(registry, "secret")
    source = f"registry://sha256/{secret.manifest_digest.hex}"
    for login in (READER, ADMIN):
        assert ui.get(f"{api}/registered-models/create", login=login, sent={"name": "mine"})[0] == 403
        made = ui.get(f"{api}/model-versions/create", login=login, sent={"name": "sums", "source": source})
        assert made[0] == 403, made
        assert ui.get(f"{api}/experiments/create", login=login, sent={"name": "mine"})[0] == 403
    assert ui.get("/model-versions/get-artifact?name=mine&version=1&path=README.md", login=READER)[0] >= 400
    assert ui.get(f"{api}/model-versions/get?name=secret&version=1", login=READER)[0] == 403
    found = ui.get(f"{api}/registered-models/search?max_results=10", login=READER)[1]
    assert [model["name"] for model in json.loads(found)["registered_models"]] == ["sums"]


@pytest.mark.processes
def test_it_answers_under_the_names_of_this_machine_and_no_other(team: tuple[Path, RunningUi]) -> None:
    _, ui = team
    port = ui.url.rpartition(":")[2]
    assert ui.get("/", host=f"localhost:{port}", login=ADMIN)[0] == 200
    for host in ("evil.example", f"10.evil.example:{port}"):
        assert ui.get("/registry/", host=host, login=ADMIN)[0] == 403, host


@pytest.mark.processes
def test_no_password_is_kept_in_the_home_and_the_child_has_no_secret_but_its_own(team: tuple[Path, RunningUi]) -> None:
    folder, ui = team
    kept = b"".join(path.read_bytes() for path in (folder / "home").rglob("*") if path.is_file())
    assert not [secret for secret in (ADMIN[1], READER[1]) if secret.encode() in kept]
    environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in ui.alive()]
    assert environments
    for environment in environments:
        assert not [name for name in NOBODY_ELSES if f"{name}=".encode() in environment]


def test_nothing_listens_beyond_this_machine_without_a_login(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "models.example"):
        with pytest.raises(NotShared) as refused:
            serve(tmp_path, host=host, open_browser=False)
        assert refused.value.exit_code == 2
        assert "--shared" in refused.value.fix
    assert list(tmp_path.iterdir()) == []


def ask_to_share(folder: Path, environment: dict[str, str], **changes: Any) -> Any:
    values: dict[str, Any] = {"host": "0.0.0.0", "names": ()}
    return shared(**values | changes, environment=environment, folder=folder)


WITHOUT_LOGIN = {
    "no file is named": ({}, (), "names no file"),
    "it is not there": ({"MLFLOW_AUTH_CONFIG_PATH": "gone.ini"}, (), "cannot be read"),
    "nobody could log in": ({"MLFLOW_AUTH_CONFIG_PATH": "basic_auth.ini"}, (), "no users yet"),
    "the shipped password": (
        {"MLFLOW_AUTH_CONFIG_PATH": "basic_auth.ini"},
        ("admin_password = password1234",),
        "once shipped",
    ),
    "the shipped password, outside": (
        {"MLFLOW_AUTH_CONFIG_PATH": "basic_auth.ini", "MLFLOW_AUTH_ADMIN_PASSWORD": "password1234"},
        (),
        "once shipped",
    ),
    "no ini at all": ({"MLFLOW_AUTH_CONFIG_PATH": "other.ini"}, (), "no [mlflow]"),
}


@pytest.mark.parametrize("case", WITHOUT_LOGIN)
def test_what_is_shared_has_users_or_is_refused_with_how_to_go_on(tmp_path: Path, case: str) -> None:
    environment, lines, why = WITHOUT_LOGIN[case]
    an_ini(tmp_path, *lines)
    (tmp_path / "other.ini").write_text("[other]\n")
    with pytest.raises(LoginNotConfigured, match=why.replace("[", r"\[")) as refused:
        ask_to_share(tmp_path, environment)
    assert refused.value.exit_code == 2
    assert "MLFLOW_AUTH_CONFIG_PATH" in refused.value.fix


def test_what_is_shared_is_handed_the_settings_of_the_login_and_no_other(tmp_path: Path) -> None:
    an_ini(tmp_path)
    login = {"MLFLOW_AUTH_CONFIG_PATH": "basic_auth.ini", "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1]}
    sharing = ask_to_share(tmp_path, login | NOBODY_ELSES, host="192.0.2.7", names=("models.example.org",))
    assert set(sharing.settings) == {
        "MLFLOW_AUTH_CONFIG_PATH",
        "MLFLOW_AUTH_ADMIN_PASSWORD",
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
        "REGISTRY_MLFLOW_SHARED",
    }
    assert sharing.settings["MLFLOW_AUTH_CONFIG_PATH"] == str(tmp_path / "basic_auth.ini")
    assert sharing.hosts(5000) == ("models.example.org", "models.example.org:5000", "192.0.2.7", "192.0.2.7:5000")
    assert "https://models.example.org" in sharing.origins(5000)
    assert "http://models.example.org" not in sharing.origins(5000), "whatever else answers there"


@pytest.mark.parametrize(
    "name", ["*", "*.example.org", "a,b", "https://models.example.org", "models.example.org/x", ""]
)
def test_a_name_that_would_let_every_host_in_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotAName):
        ask_to_share(tmp_path, {}, names=(name,))


@pytest.mark.processes
def test_a_server_that_lets_somebody_in_without_a_login_is_not_shown(
    team: tuple[Path, RunningUi], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(team[1].url.rpartition(":")[2])
    server._require_login("127.0.0.1", port)
    monkeypatch.setattr(server, "_status_of", lambda *_, **__: 200)
    with pytest.raises(LoginNotAsked):
        server._require_login("127.0.0.1", port)
