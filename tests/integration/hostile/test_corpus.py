"""Everything in the hostile corpus ends with its code and a sentence, quickly, and leaves the store as it was."""

import hashlib
import os
import resource
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from tests.builders.hostile import corpus
from tests.builders.hostile.place import Case, Place, Workplace, make_workplace

CPU_SECONDS = 2.0
CORPUS = corpus()
KINDS = {
    "trust",
    "proof",
    "checkpoint",
    "envelope",
    "statement",
    "bundle",
    "manifest",
    "weights",
    "json",
    "name",
    "file",
    "key",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("workplace"))


@pytest.fixture(scope="module")
def untouched(workplace: Workplace) -> dict[str, str]:
    """What the home of all cases holds, before the first of them and after each."""
    return state_of(workplace.home)


def test_the_corpus_is_as_large_as_it_is_said_to_be_and_no_name_stands_twice() -> None:
    counted = Counter(case.kind for case in CORPUS)
    assert counted.keys() == KINDS
    assert min(counted.values()) >= 12
    assert len(CORPUS) >= 150
    assert len({case.id for case in CORPUS}) == len(CORPUS)


def test_what_is_valid_passes_every_command_of_the_corpus(workplace: Workplace, tmp_path: Path) -> None:
    """Otherwise a refusal would show nothing."""
    place = Place(workplace, tmp_path)
    against = place.in_home("log", "check", "--against", str(place.home / "checkpoints" / "latest"))
    named = place.in_home("verify", "helper:1")
    shown = place.in_home("show", "helper:1")
    commands = (place.verify(), place.verify_foreign(), against, named, shown, place.add_base())
    assert [
        run(command) for command in (*commands, place.in_home("promote", "helper:1", "candidate", "--policy", "none"))
    ] == [0] * 7


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.id)
def test_a_hostile_input_is_refused_quickly_and_changes_nothing(
    case: Case,
    workplace: Workplace,
    untouched: dict[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    # each copy of the home goes on for itself, which whoever saw two of them would take for a fork
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    place = Place(workplace, tmp_path)
    command = case.make(place)
    before = state_of(tmp_path / "home")
    capfd.readouterr()
    began = cpu_seconds()
    code = run(command)
    spent = cpu_seconds() - began
    shown = capfd.readouterr()
    assert code == case.code, shown
    assert "Traceback" not in shown.err
    assert "\x1b" not in shown.out + shown.err.replace("\x1b[", "")
    assert state_of(tmp_path / "home") == before
    assert state_of(workplace.home) == untouched
    assert spent <= CPU_SECONDS


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def state_of(home: Path) -> dict[str, str]:
    """What a home holds: the bytes of its files, and the rows of its database; empty where there is none.

    The cache of digests is none of it, and neither is a lock.
    """
    if not home.exists():
        return {}
    state = {}
    for folder, _, names in os.walk(home):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and not name.startswith("database.sqlite"):
                state[str(path.relative_to(home))] = hashlib.sha256(path.read_bytes()).hexdigest()
    with closing(sqlite3.connect(home / "database.sqlite")) as database:
        tables = database.execute(
            "SELECT name, sql FROM sqlite_master WHERE name <> 'leases' ORDER BY name, sql"
        ).fetchall()
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [database.execute(f'SELECT * FROM "{name}"').fetchall() for name in sorted(names) if name != "leases"]
    return state | {"database": hashlib.sha256(repr((tables, rows)).encode()).hexdigest()}
