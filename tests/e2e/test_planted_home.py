"""A home that came in one archive with what is being verified: it vouches for nothing, and nobody whom it names is contacted."""

import contextlib
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import utc_now
from peft_registry.registry.homes.layout import FOLDER_NAME
from peft_registry.registry.use_cases.pull import pull_version
from tests.builders.homes import a_home, register_adapter
from tests.conftest import not_run
from tests.e2e.commands import UNPRIVILEGED, Done, registry
from tests.e2e.test_network import strace
from tests.processes.secrets import SECRETS

# words of a command that needs a home, and those of one that only looks at the folder
NEED_A_HOME = (
    ("verify", "helper:1"),
    ("show", "helper:1"),
    ("list",),
    ("report", "helper:1"),
    ("pull", "helper:1", "copy"),
)


# a client that is refused asks no second time
_REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Listener:
    """A server that a planted home names: it writes down who came and what they sent."""

    port: int
    heard: list[bytes] = field(default_factory=list)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = Listener(server.getsockname()[1])

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # the test is over
                    return
                with connection:
                    connection.settimeout(1)
                    with contextlib.suppress(OSError):
                        listener.heard.append(b"")
                        listener.heard[-1] = connection.recv(65536)
                        connection.sendall(_REFUSAL)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield listener
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stranger's registry and a model that it signed, as unpacked from an archive."""
    place = tmp_path_factory.mktemp("stranger")
    archive = place / "archive"
    with a_home(place / "theirs", now=utc_now()) as stranger:
        version = register_adapter(stranger, place)
        pull_version(stranger, version, archive / "model")
    shutil.copytree(place / "theirs", archive / FOLDER_NAME)
    return archive


@pytest.fixture
def planted(archive: Path, tmp_path: Path) -> Path:
    """A copy of the archive, unpacked where the user works."""
    return Path(shutil.copytree(archive, tmp_path / "archive"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder of this test alone."""
    return tmp_path / "state"


@pytest.fixture
def here(state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run a command in this process, in a folder; a cold one takes a second more."""
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    def type_in(*words: str, cwd: Path) -> Done:
        monkeypatch.chdir(cwd)
        code = run(list(words))
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return type_in


def point_at(home: Path, backend: str, port: int) -> None:
    """Let the home's `registry.json` name a database or a store on this port."""
    path = home / "registry.json"
    settings = json.loads(path.read_text())
    if backend == "database":
        settings["database"] = f"postgresql://reader@127.0.0.1:{port}/catalog"
    else:
        settings["store"] = f"s3://bucket/prefix?endpoint_url=http://127.0.0.1:{port}&region=us-east-1"
    path.write_text(json.dumps(settings))


def assert_not_named(done: Done) -> None:
    assert done.code == 5, done.out + done.err
    assert "never named it" in done.err
    assert "--home" in done.err


@pytest.mark.parametrize("backend", ["database", "store"])
def test_a_registry_planted_above_a_folder_dials_no_database_and_sends_no_aws_key_to_its_store(
    backend: str, planted: Path, listener: Listener, here: Callable[..., Done]
) -> None:
    point_at(planted / FOLDER_NAME, backend, listener.port)
    verified = here("verify", "./model", cwd=planted)
    assert_not_named(verified)
    assert "unverified" in verified.out
    for words in NEED_A_HOME:
        assert_not_named(here(*words, cwd=planted / "model"))
    assert listener.heard == []
    assert not (planted / "copy").exists()


def test_what_a_planted_home_names_would_be_heard(planted: Path, listener: Listener, here: Callable[..., Done]) -> None:
    """The listening itself: named by the user, the same home may contact its store, with the user's key."""
    point_at(planted / FOLDER_NAME, "store", listener.port)
    here("verify", "helper:1", "--home", FOLDER_NAME, cwd=planted)
    assert any(b"AKIATHEIDOFTHEUSER" in request for request in listener.heard)


def test_the_users_trust_file_verifies_a_folder_below_a_planted_home(planted: Path, here: Callable[..., Done]) -> None:
    trust = shutil.copy(planted / FOLDER_NAME / "trust.json", planted / "trust-of-the-keeper.json")
    done = here("verify", "./model", "--trust", trust, cwd=planted)
    assert done.code == 0, done.out + done.err
    assert "never named it" in done.err


def test_a_planted_copy_of_the_users_own_trust_file_makes_no_home_of_theirs(
    planted: Path, tmp_path: Path, listener: Listener, here: Callable[..., Done]
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    here("init", "--unencrypted", cwd=own).ok()
    here("list", cwd=own).ok()
    for name in ("trust.json", "registry.json"):
        shutil.copy(own / FOLDER_NAME / name, planted / FOLDER_NAME / name)
    point_at(planted / FOLDER_NAME, "store", listener.port)
    assert_not_named(here("verify", "./model", cwd=planted))
    assert_not_named(here("list", cwd=planted))
    assert listener.heard == []


@pytest.fixture
def own(tmp_path: Path, here: Callable[..., Done]) -> Path:
    """A folder with a registry that the user made, and whose settings somebody else can write."""
    own = tmp_path / "own"
    own.mkdir()
    here("init", "--unencrypted", cwd=own).ok()
    return own


def assert_not_dialled(done: Done) -> None:
    assert done.code == 5, done.out + done.err
    assert "than when you accepted it" in done.err


@pytest.mark.parametrize("backend", ["database", "store"])
def test_what_an_edited_registry_json_names_is_asked_nothing_before_its_user_accepts_it(
    backend: str, own: Path, planted: Path, listener: Listener, here: Callable[..., Done]
) -> None:
    point_at(own / FOLDER_NAME, backend, listener.port)
    for words in (
        *NEED_A_HOME,
        ("log", "check"),
        ("admin", "upgrade", "--dry-run"),
        ("admin", "upgrade"),
        ("trust", "show"),
    ):
        assert_not_dialled(here(*words, cwd=own))
    assert_not_dialled(here("list", "--home", f"{own / FOLDER_NAME}", cwd=planted))
    trust = shutil.copy(planted / FOLDER_NAME / "trust.json", own / "trust-of-the-keeper.json")
    here("verify", f"{planted / 'model'}", "--trust", trust, cwd=own).ok()
    shown = here("trust", "pin", cwd=own)
    assert_not_dialled(shown)
    assert f"127.0.0.1:{listener.port}" in shown.out
    assert listener.heard == []
    root = next(word for word in shown.out.split() if word.startswith("sha256:") and f"root     {word}" in shown.out)
    here("trust", "pin", "--accept", root, cwd=own).ok()
    here("base", "add", "embedded", "--name", "tiny", cwd=own)
    assert listener.heard != [], "accepted by its root, it is contacted"


def test_another_registry_in_the_place_of_the_users_own_is_looked_at_before_its_server_is_asked(
    own: Path, planted: Path, listener: Listener, here: Callable[..., Done]
) -> None:
    shutil.rmtree(own / FOLDER_NAME)
    shutil.copytree(planted / FOLDER_NAME, own / FOLDER_NAME)
    point_at(own / FOLDER_NAME, "database", listener.port)
    assert_not_dialled(here("list", "--home", FOLDER_NAME, cwd=own))
    assert listener.heard == []


def test_a_link_to_another_place_accepts_no_other_addresses(
    own: Path, tmp_path: Path, listener: Listener, here: Callable[..., Done]
) -> None:
    moved = shutil.move(own / FOLDER_NAME, tmp_path / "moved")
    (own / FOLDER_NAME).symlink_to(moved)
    point_at(Path(moved), "database", listener.port)
    assert_not_dialled(here("list", "--home", FOLDER_NAME, cwd=own))
    assert listener.heard == []


def test_the_addresses_of_a_home_that_an_earlier_release_remembered_are_believed_once(
    own: Path, state: Path, listener: Listener, here: Callable[..., Done]
) -> None:
    homes = state / "peft-registry" / "homes"
    lines = homes.read_text().splitlines()
    homes.write_text("".join(f"{line}\n" for line in lines if " addresses " not in line))
    here("list", cwd=own).ok()
    assert " addresses " in homes.read_text()
    point_at(own / FOLDER_NAME, "database", listener.port)
    assert_not_dialled(here("list", cwd=own))


@pytest.mark.strace
@pytest.mark.timeout(120)
def test_no_file_of_a_planted_home_is_opened_and_no_socket(planted: Path, tmp_path: Path, state: Path) -> None:
    trace = tmp_path / "calls.strace"
    calls = (*strace(trace)[:-3], "trace=openat,open,socket,connect,sendto", "-o", str(trace))
    done = registry("verify", "./model", cwd=planted, before=calls, XDG_STATE_HOME=str(state))
    assert_not_named(done)
    written = trace.read_text("utf-8", "replace")
    assert "manifest.json" in written, "the folder itself is read"
    assert re.findall(rf"open(?:at)?\([^)]*{re.escape(FOLDER_NAME)}/[^)]*\)", written) == []
    assert re.findall(r"(?:socket|connect|sendto)\([^)]*AF_INET6?[^)]*\)", written) == []


def test_naming_a_home_once_makes_it_ones_own(planted: Path, state: Path, here: Callable[..., Done]) -> None:
    assert here("verify", "./model", "--home", FOLDER_NAME, cwd=planted).code == 0
    assert here("verify", "./model", cwd=planted).code == 0
    assert (state / "peft-registry").stat().st_mode & 0o077 == 0
    assert (state / "peft-registry" / "homes").stat().st_mode & 0o077 == 0


def test_the_variable_names_a_home_too(
    planted: Path, here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_HOME", str(planted / FOLDER_NAME))
    assert here("list", cwd=planted).code == 0
    monkeypatch.delenv("REGISTRY_HOME")
    assert here("list", cwd=planted / "model").code == 0


def test_a_home_that_was_moved_is_named_again_and_works_as_before(tmp_path: Path, here: Callable[..., Done]) -> None:
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    here("init", "--unencrypted", cwd=tmp_path / "before").ok()
    (tmp_path / "before" / FOLDER_NAME).rename(tmp_path / "after" / FOLDER_NAME)
    assert_not_named(here("list", cwd=tmp_path / "after"))
    here("list", "--home", FOLDER_NAME, cwd=tmp_path / "after").ok()
    here("list", cwd=tmp_path / "after").ok()


def test_another_registry_where_a_known_one_lay_is_not_known(
    planted: Path, tmp_path: Path, here: Callable[..., Done]
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    here("init", "--unencrypted", cwd=work).ok()
    shutil.rmtree(work / FOLDER_NAME)
    shutil.copytree(planted / FOLDER_NAME, work / FOLDER_NAME)
    assert_not_named(here("list", cwd=work))


def test_a_home_is_found_through_a_link_to_the_folder_that_holds_it(tmp_path: Path, here: Callable[..., Done]) -> None:
    (tmp_path / "work").mkdir()
    here("init", "--unencrypted", cwd=tmp_path / "work").ok()
    (tmp_path / "link").symlink_to("work")
    here("list", cwd=tmp_path / "link").ok()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FOLDER_NAME).symlink_to(tmp_path / "work" / FOLDER_NAME)
    here("list", cwd=tmp_path / "other").ok()


def test_a_user_whose_state_folder_cannot_be_written_names_the_home_each_time(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o500)
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    made = registry("init", "--unencrypted", cwd=tmp_path, before=UNPRIVILEGED, **state).ok()
    assert "each time" in made.err
    assert "--home" in made.err.splitlines()[-1], "the next command names it"
    assert_not_named(registry("list", cwd=tmp_path, before=UNPRIVILEGED, **state))
    registry("list", "--home", FOLDER_NAME, cwd=tmp_path, before=UNPRIVILEGED, **state).ok()


@pytest.mark.parametrize("closed", ["state/peft-registry", "state"])
def test_a_state_folder_that_is_closed_to_its_user_is_named(tmp_path: Path, closed: str) -> None:
    """As one that root made, or a volume that two users share: what is remembered there cannot be told, so nothing is believed."""
    (tmp_path / "state" / "peft-registry").mkdir(parents=True)
    (tmp_path / closed).chmod(0)
    state = str(tmp_path / "state")
    refused = registry("verify", ".", "--trust", "trust.json", cwd=tmp_path, before=UNPRIVILEGED, XDG_STATE_HOME=state)
    (tmp_path / closed).chmod(0o700)
    assert refused.code == 5, refused.err
    assert refused.err.startswith(f"error: your state folder {state}/peft-registry cannot be read")


def test_a_home_of_another_user_in_a_shared_folder_is_refused_and_a_folder_below_it_is_verified_without_it(
    planted: Path, here: Callable[..., Done]
) -> None:
    """As /tmp/.registry, which anybody can make: everybody works below it."""
    if os.getuid() != 0:
        not_run("only root can give files to another user")
    planted.chmod(0o1777)
    here("list", "--home", FOLDER_NAME, cwd=planted).ok()  # known, and yet somebody else's afterwards
    os.chown(planted / FOLDER_NAME, 65534, 65534)
    refused = here("list", cwd=planted)
    assert refused.code == 3
    assert "belongs to another user" in refused.err
    verified = here("verify", "./model", cwd=planted)
    assert verified.code == 5
    assert "belongs to another user" in verified.err
