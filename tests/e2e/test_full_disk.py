"""Reading needs no write: a home whose disk is full, or that nobody may write, is listed, verified, reported and pulled from."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import utc_now
from peft_registry.registry.use_cases.exchange_trust import export_trust
from peft_registry.registry.use_cases.pull import pull_version
from tests.builders.files import contents
from tests.builders.homes import a_home, register_adapter
from tests.conftest import not_run
from tests.e2e.commands import environment

# what reads; a copy and a report go to another disk
READS = (
    "list",
    "show helper:1",
    "verify helper:1",
    "verify helper:1 --require log-proof",
    "lineage helper:1",
    "log show",
    "log check",
    "log checkpoint",
    "trust show",
    "report helper:1 --out {elsewhere}/report.html",
    "pull helper:1 {elsewhere}/pulled",
)
WRITES = ("promote helper:1 champion --policy none", "log checkpoint --out {elsewhere}/../full/checkpoint")
# one process for all of them, in each place: what each answers, and what it says beside the data
_SCRIPT = """
import contextlib, io, json, os, resource, sys
from peft_registry.cli.main import run
everywhere = []
for place in json.loads(sys.argv[1]):
    os.environ.update(place["variables"])
    limit = resource.RLIM_INFINITY if place["limit"] is None else place["limit"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    answers = {}
    for line in sys.argv[2:]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(line.format(elsewhere=place["elsewhere"]).split())
        answers[line] = (code, out.getvalue(), err.getvalue())
    everywhere.append(answers)
print(json.dumps(everywhere))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a base and an adapter."""
    place = tmp_path_factory.mktemp("readable")
    with a_home(place / "home", now=utc_now()) as registry:
        register_adapter(registry, place)
    return place / "home"


def leave_a_wal(home: Path) -> None:
    """The last entry only in the WAL, without `-shm`, as a power cut leaves it."""
    database = home / "database.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE beside (x)")
        connection.commit()
        for name in ("database.sqlite", "database.sqlite-wal"):
            shutil.copy(home / name, home / f"{name}.kept")
    for name in ("database.sqlite", "database.sqlite-wal"):
        (home / f"{name}.kept").replace(home / name)
    (home / "database.sqlite-shm").unlink(missing_ok=True)
    assert (home / "database.sqlite-wal").stat().st_size > 0


Answers = Mapping[str, tuple[int, str, str]]
"""Of each command: exit code, data, and what it says beside them."""


@dataclass(frozen=True)
class Place:
    """Where commands are run: in this environment, with other files in another folder, where no file may pass a size."""

    elsewhere: Path
    limit: int | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


def answers(*before: str, lines: tuple[str, ...], elsewhere: Path, cwd: Path, **variables: str) -> Answers:
    (found,) = answers_in([Place(elsewhere)], *before, lines=lines, cwd=cwd, **variables)
    return found


def answers_in(
    places: Sequence[Place], *before: str, lines: tuple[str, ...], cwd: Path, **variables: str
) -> list[Answers]:
    """What the commands answer in one place after the other."""
    asked = [
        {"elsewhere": str(place.elsewhere), "limit": place.limit, "variables": place.variables} for place in places
    ]
    command = [*before, sys.executable, "-c", _SCRIPT, json.dumps(asked), *lines]
    done = subprocess.run(
        command, cwd=cwd, env=environment(cwd, **variables), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[Answers] = json.loads(done.stdout)
    return found


def assert_all_read(found: Answers) -> None:
    assert {line: err for line, (code, _, err) in found.items() if code} == {}


@pytest.mark.parametrize("wal", [False, True], ids=["no wal", "a wal"])
def test_a_home_on_a_full_disk_is_read_verified_and_pulled_from_and_says_so_when_it_is_written(
    wal: bool, home: Path, tmp_path: Path
) -> None:
    """A file system of 3 MB in a mount namespace of its own; the state folder lies on it too."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0:
        not_run("mount namespaces are not allowed here")
    full, elsewhere, copy = tmp_path / "full", tmp_path / "elsewhere", tmp_path / "copy"
    for folder in (full, elsewhere):
        folder.mkdir()
    shutil.copytree(home, copy)
    (copy / "trust-accepted").unlink()
    if wal:
        leave_a_wal(copy)
    (tmp_path / "fill.sh").write_text(
        'set -e; mount -t tmpfs -o size=3m tmpfs "$1"; cp -a "$2" "$1/home"; shift 2\n'
        'dd if=/dev/zero of="$FULL/filler" bs=4k 2>/dev/null || true\n'
        'test "$(stat -f -c %a "$FULL")" = 0; exec "$@"\n'
    )
    variables = {"FULL": str(full), "REGISTRY_HOME": str(full / "home"), "XDG_STATE_HOME": str(full / "state")}
    shell = ("unshare", "-m", "sh", str(tmp_path / "fill.sh"), str(full), str(copy))
    lines = (*READS, *WRITES)
    found = answers(*shell, lines=lines, elsewhere=elsewhere, cwd=tmp_path, **variables)
    for line in WRITES:
        code, _, err = found[line]
        assert (code, "Traceback" in err) == (8, False), err
    assert_all_read({line: found[line] for line in READS})
    assert found["verify helper:1"][1].endswith("verified\n")
    assert (elsewhere / "pulled" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("wal", [False, True], ids=["no wal", "a wal"])
def test_a_read_only_home_is_read_and_stays_byte_for_byte_what_it_was(wal: bool, home: Path, tmp_path: Path) -> None:
    copy, elsewhere = tmp_path / "copy", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(home, copy)
    if wal:
        leave_a_wal(copy)
    paths = [copy, *copy.rglob("*")]
    before = contents(copy)
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    rights = ("--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all", "--no-new-privs")
    before_words = ("setpriv", *rights) if os.getuid() == 0 else ()
    found = answers(*before_words, lines=READS, elsewhere=elsewhere, cwd=tmp_path, REGISTRY_HOME=str(copy))
    for path in paths:
        path.chmod(path.stat().st_mode | 0o200)
    assert_all_read(found)
    assert contents(copy) == before


def test_wherever_writing_fails_what_only_prints_succeeds_and_nothing_ends_in_a_traceback(
    home: Path, tmp_path: Path
) -> None:
    """A limit on the size of every file, also of temporary ones and of those in the state folder: each write fails in turn."""
    places = []
    for limit in (0, 100, 10_000, 40_000):
        own = tmp_path / f"{limit}"
        shutil.copytree(home, own / "copy")
        variables = {"REGISTRY_HOME": str(own / "copy"), "XDG_STATE_HOME": str(own / "state")}
        places.append(Place(own, limit, variables))
    prints = [line for line in READS if line.split()[0] not in ("verify", "report", "pull")]
    for found in answers_in(places, lines=(*READS, *WRITES), cwd=tmp_path):
        assert_all_read({line: found[line] for line in prints})
        # verifying a version, copying it and making its report need room somewhere, and say so
        others = {line: (code, err) for line, (code, _, err) in found.items() if line not in prints}
        failed = {line: shown for line, shown in others.items() if shown[0] not in (0, 8) or "Traceback" in shown[1]}
        assert failed == {}
        assert others[WRITES[0]][0] == 8


@pytest.fixture
def handed_over(home: Path, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A pulled folder and a trust file, for somebody without a home."""
    with a_home(tmp_path / "theirs", now=utc_now()) as registry:
        version = register_adapter(registry, tmp_path)
        pull_version(registry, version, tmp_path / "model")
        export_trust(registry, tmp_path / "trust")
    yield tmp_path / "model", tmp_path / "trust" / "trust.json"


def test_a_folder_is_verified_by_another_user_without_home_from_read_only_media(
    handed_over: tuple[Path, Path], tmp_path: Path
) -> None:
    """As user `nobody`, who has no home folder and whose state cannot be kept; nothing below the media changes."""
    if os.getuid() != 0:
        not_run("only root can become another user")
    folder, trust = handed_over
    before = contents(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in (tmp_path, *tmp_path.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--no-new-privs")
    lines = (f"verify {folder} --trust {trust}",)
    found = answers(*user, lines=lines, elsewhere=tmp_path, cwd=folder, HOME="/nonexistent", XDG_STATE_HOME="")
    assert_all_read(found)
    assert contents(folder) == before
