"""Logs that were set back or forked together with everything beside them: the user's own memory of the log shows it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import open_home, utc_now
from peft_registry.registry.homes.layout import FOLDER_NAME
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints, SeenCheckpointUnreadable
from peft_registry.registry.records.references import version_named
from peft_registry.registry.transparency.log import LogForked, LogTruncated
from peft_registry.registry.use_cases.promote import set_alias
from tests.builders.homes import a_home, register_adapter
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a base and an adapter, as it was yesterday."""
    place = tmp_path_factory.mktemp("seen")
    with a_home(place / "home", now=utc_now()) as registry:
        register_adapter(registry, place)
    return place / "home"


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home"))


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def seen(tmp_path: Path, heard: list[str]) -> SeenCheckpoints:
    """What one user has seen, in a state folder of this test."""
    return SeenCheckpoints(tmp_path / "state", heard.append)


def promote(home: Path, alias: str, seen: SeenCheckpoints | None) -> None:
    """One more entry, and the checkpoint over it."""
    registry = open_home(home, seen=seen)
    try:
        set_alias(registry, version_named(registry, "helper:1"), alias)
    finally:
        registry.close()


def replace(home: Path, other: Path) -> None:
    shutil.rmtree(home)
    shutil.copytree(other, home)


def test_an_older_home_restored_with_all_its_checkpoints_is_a_truncated_log(
    made: Path, home: Path, seen: SeenCheckpoints
) -> None:
    """The database, the checkpoints in it, `latest` and those beside it: everything that lies in the home."""
    promote(home, "champion", seen)
    replace(home, made)
    open_home(home).close()  # consistent in itself
    with pytest.raises(LogTruncated) as caught:
        open_home(home, seen=seen)
    assert caught.value.exit_code == 6
    with pytest.raises(LogTruncated):
        promote(home, "challenger", seen)  # nor is anything signed over it


def test_an_older_database_of_a_server_with_an_older_folder_is_a_truncated_log(
    tmp_path: Path,
    seen: SeenCheckpoints,
    postgres: PostgresServer,
) -> None:
    address = postgres.new_database("seen_today")
    with a_home(tmp_path / "home", database=address, now=utc_now()) as registry:
        register_adapter(registry, tmp_path)
    home, yesterday = tmp_path / "home", shutil.copytree(tmp_path / "home", tmp_path / "yesterday")
    postgres.run("CREATE DATABASE seen_yesterday TEMPLATE seen_today")
    promote(home, "champion", seen)
    replace(home, yesterday)
    settings = json.loads((home / "registry.json").read_text())
    settings["database"] = address.replace("seen_today", "seen_yesterday")
    (home / "registry.json").write_text(json.dumps(settings))
    open_home(home).close()  # consistent in itself
    with pytest.raises(LogTruncated):
        open_home(home, seen=seen)


def test_two_homes_that_went_on_from_one_are_a_fork_for_whoever_saw_both(
    made: Path, home: Path, tmp_path: Path, seen: SeenCheckpoints
) -> None:
    other = Path(shutil.copytree(made, tmp_path / "other"))
    promote(home, "champion", seen)
    promote(other, "challenger", None)
    with pytest.raises(LogForked) as caught:
        open_home(other, seen=seen)
    assert caught.value.exit_code == 6
    promote(other, "longer", None)  # a longer one hides it no better
    with pytest.raises(LogForked):
        open_home(other, seen=seen)
    open_home(home, seen=seen).close()


def test_the_first_sight_is_said_once_and_what_follows_is_not(
    home: Path, seen: SeenCheckpoints, heard: list[str]
) -> None:
    open_home(home, seen=seen).close()
    assert len(heard) == 1
    assert "seen here for the first time" in heard[0]
    open_home(home, seen=seen).close()
    promote(home, "champion", seen)
    open_home(home, seen=seen).close()
    assert len(heard) == 1


@pytest.mark.parametrize("state", [None, "a file"], ids=["no home folder", "a folder that cannot be made"])
def test_without_a_state_folder_everything_works_and_nothing_is_remembered(
    state: str | None, made: Path, home: Path, tmp_path: Path, heard: list[str]
) -> None:
    if state is not None:
        (tmp_path / "file").write_text("in the way")
    seen = SeenCheckpoints(None if state is None else tmp_path / "file" / "state", heard.append)
    promote(home, "champion", seen)
    replace(home, made)
    open_home(home, seen=seen).close()
    assert len(heard) == 2
    assert all("nothing is remembered" in line for line in heard)


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:60])


def made_enormous(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(2**30)


def of_another_log(file: Path) -> None:
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(["another/log\n", *lines[1:]]))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut_short, "it is not a text, an empty line, and signature lines"),
        (made_enormous, "1073741824 bytes"),
        (of_another_log, "another/log"),
    ],
)
def test_what_was_seen_is_not_read_from_something_else_in_its_place(
    home: Path, seen: SeenCheckpoints, spoil: Callable[[Path], None], reason: str
) -> None:
    open_home(home, seen=seen).close()
    assert seen.state is not None
    (path,) = (seen.state / "checkpoints").iterdir()
    spoil(path)
    with pytest.raises(SeenCheckpointUnreadable, match=reason) as caught:
        open_home(home, seen=seen)
    assert caught.value.exit_code == 5


# --- by the command ---

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run a command on the home, as a user with a state folder of this test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))

    def type_in(*words: str) -> tuple[int, str, str]:
        code = run([*words, "--home", str(tmp_path / "home")])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return type_in


READS = (("verify", "helper:1"), ("show", "helper:1"), ("list",), ("pull", "helper:1"))


def test_no_command_reads_or_signs_an_older_home_that_was_restored_whole(
    made: Path, home: Path, tmp_path: Path, typed: Typed
) -> None:
    assert typed("promote", "helper:1", "champion", "--policy", "none")[0] == 0
    replace(home, made)
    before = {path: path.read_bytes() for path in (home / "checkpoints").iterdir()}
    for words in (
        *READS,
        ("promote", "helper:1", "other", "--policy", "none"),
        ("log", "checkpoint"),
        ("admin", "upgrade"),
    ):
        more = (str(tmp_path / "copy"),) if words[0] == "pull" else ()
        code, _, err = typed(*words, *more)
        assert code == 6, (words, err)
        assert "entries are missing from the log" in err
    assert {path: path.read_bytes() for path in (home / "checkpoints").iterdir()} == before
    code, out, _ = typed("log", "check")
    assert code == 6
    assert "your state folder" in out


@pytest.mark.parametrize("words", READS, ids=[words[0] for words in READS])
def test_a_log_is_held_against_a_checkpoint_that_was_kept_elsewhere(
    words: tuple[str, ...], made: Path, home: Path, tmp_path: Path, typed: Typed
) -> None:
    """In a container or a job, where no state folder survives."""
    kept = tmp_path / "kept"
    more = (str(tmp_path / "copy"),) if words[0] == "pull" else ()
    assert typed("promote", "helper:1", "champion", "--policy", "none")[0] == 0
    assert typed("log", "checkpoint", "--out", str(kept))[0] == 0
    assert typed(*words, *more, "--checkpoint", str(kept))[0] == 0
    shutil.rmtree(tmp_path / "xdg")
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    replace(home, made)
    code, _, err = typed(*words, *more, "--checkpoint", str(kept))
    assert code == 6
    assert "entries are missing from the log" in err
    shutil.rmtree(tmp_path / "xdg", ignore_errors=True)
    code, _, err = typed(*words, *more)
    assert code == 0
    assert "seen here for the first time" in err


def test_a_checkpoint_of_another_log_or_a_file_that_is_none_compares_nothing(
    home: Path, tmp_path: Path, typed: Typed
) -> None:
    with a_home(tmp_path / "another", now=utc_now()) as another:
        register_adapter(another, tmp_path)
        of_another = another.remembered_checkpoint()
    assert of_another is not None
    (tmp_path / "theirs").write_text(of_another)
    (tmp_path / "none").write_text("no checkpoint\n")
    with (tmp_path / "enormous").open("wb") as file:
        file.truncate(2**30)
    assert typed("list", "--checkpoint", str(tmp_path / "theirs"))[0] == 6
    assert typed("list", "--checkpoint", str(tmp_path / "none"))[0] == 6
    assert typed("list", "--checkpoint", str(tmp_path / "nowhere"))[0] == 7
    for words in (("list", "--checkpoint"), ("log", "check", "--against")):
        code, _, err = typed(*words, str(tmp_path / "enormous"))
        assert code == 2 and "enormous was not read" in err and "1073741824 bytes" in err


def test_a_folder_without_a_registry_has_no_log_to_compare(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not (tmp_path / FOLDER_NAME).exists()
    assert run(["verify", "./model", "--checkpoint", str(made / "checkpoints" / "latest")]) == 2
    assert "--checkpoint cannot be combined" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["²", "٣", "007", "1e9", "9" * 200 + "x"])
def test_a_file_among_the_checkpoints_whose_name_is_no_size_stops_nothing(
    home: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "checkpoints" / name).write_text("planted")
    for command in (["verify", "helper:1"], ["list"], ["log", "check"]):
        assert run([*command, "--home", str(home)]) == 0, capsys.readouterr()


@pytest.mark.parametrize("name", ["trust.json", "trust-accepted", "checkpoints/latest", "registry.json"])
def test_a_small_file_of_a_home_that_was_made_enormous_is_not_read(home: Path, name: str) -> None:
    with (home / name).open("r+b") as file:
        file.truncate(8 << 40)
    assert run(["list", "--home", str(home)]) == 6


def test_a_version_number_of_thousands_of_digits_is_damage(home: Path) -> None:
    (home / "trust-accepted").write_text("9" * 5000)
    assert run(["list", "--home", str(home)]) == 6
