"""What a training must not leave behind: a sentence of its data anywhere, a path of this machine in what others may see."""

import base64
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import open_home
from peft_registry.registry.verification.signed_versions import all_signed_versions
from peft_registry.trainer.embedded import embedded_base
from tests.builders.mirror import projection_of
from tests.e2e.commands import WarmCommand
from tests.e2e.conftest import PLANTED, Story

# HOME/bases.json exists to say where bases lie on this machine; it is local and never part of a record
HOLDS_PATHS = {"bases.json"}


def spellings(text: str) -> tuple[bytes, ...]:
    """The text as it may be stored: plain, and in base64 (statements are) at each of the three positions."""
    data = text.encode()
    encoded = (base64.b64encode(b"\0" * shift + data)[4 if shift else 0 : -4] for shift in range(3))
    return (data, data.lower(), *encoded, data.decode().encode("utf-16-le"))


def files_with(folder: Path, text: str) -> set[str]:
    """The files below `folder` in which the text stands, as bytes or in a cell of a database."""
    wanted = spellings(text)
    return {
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(one in content for content in contents(path) for one in wanted)
    }


def contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file; of an SQLite file also each cell, because a page may end in the middle of one."""
    data = path.read_bytes()
    yield data
    if data.startswith(b"SQLite format 3\0"):
        yield from cells(path)


def cells(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                yield from (cell if isinstance(cell, bytes) else str(cell).encode() for cell in row if cell is not None)


@pytest.fixture(scope="module")
def handed_out(warm: WarmCommand, story: Story, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What leaves the machine: the pulled folder, the report, and what MLflow shows."""
    folder = tmp_path_factory.mktemp("out")
    warm("pull", "polite-replies", folder / "pulled", cwd=story.folder).ok()
    warm("report", "polite-replies", "--out", folder / "report.html", cwd=story.folder).ok()
    shown_in_mlflow(story.home, folder)
    return folder


def shown_in_mlflow(home: Path, folder: Path) -> None:
    """Write into a folder what MLflow shows of each version, with its pages and tables."""
    with closing(open_home(home)) as registry:
        for version in all_signed_versions(registry):
            shown = projection_of(registry, version)
            (folder / f"{version.name}.mlflow").write_text(repr(shown), "utf-8")
            for number, file in enumerate((*shown.run.artifacts, *shown.version.artifacts)):
                (folder / f"{version.name}.{number}").write_bytes(file.content.make())


@pytest.mark.parametrize("form", range(3))
def test_the_search_finds_what_is_planted(form: int, tmp_path: Path) -> None:
    """The searching itself: plain, in base64 behind one to three bytes, and in a cell that pages cut apart."""
    (tmp_path / "plain.txt").write_bytes(b"x" * form + PLANTED.encode() + b"y")
    (tmp_path / "encoded.jsonl").write_bytes(base64.b64encode(b"x" * form + PLANTED.encode() + b"yyyy"))
    with closing(sqlite3.connect(tmp_path / "some.db")) as database, database:
        database.execute("CREATE TABLE some (value TEXT)")
        for length in range(3000, 6000, 50):
            database.execute("INSERT INTO some VALUES (?)", ("x" * length + PLANTED,))
    assert files_with(tmp_path, PLANTED) == {"plain.txt", "encoded.jsonl", "some.db"}
    assert files_with(tmp_path, "a sentence that nobody wrote") == set()


def test_a_sentence_of_the_training_data_is_found_nowhere(story: Story, handed_out: Path) -> None:
    assert PLANTED in (story.folder / "example" / "example.jsonl").read_text()
    for text in (PLANTED, "violet herons", "half past never"):
        assert files_with(story.home, text) == set()
        assert files_with(handed_out, text) == set()
        assert text not in story.train.out + story.train.err


def test_bad_data_is_named_by_line_and_column_and_never_quoted(warm: WarmCommand, workplace: Path) -> None:
    data = workplace / "example" / "example.jsonl"
    good = data.read_text()
    for broken in (
        f'{{"prompt": "{PLANTED}", "completion": \n',
        f'{{"prompt": "{PLANTED}"}}\n',
        f'{{"prompt": ["{PLANTED}"], "completion": "x"}}\n',
        f'{{"prompt": "{PLANTED}", "prompt": "x", "completion": "x"}}\n',
    ):
        data.write_text(good + broken)
        done = warm("train", "example/train.yml", "--no-mirror", cwd=workplace)
        assert done.code == 2
        assert "line 61" in done.err
        assert PLANTED not in done.out + done.err


def test_no_path_of_this_machine_leaves_it(warm: WarmCommand, tmp_path: Path) -> None:
    """Everything is given by its absolute path; only the list of where bases lie may keep one."""
    home, base, config = tmp_path / "home", tmp_path / "some-base", tmp_path / "example" / "train.yml"
    shutil.copytree(embedded_base(), base)
    warm("init", "--unencrypted", "--home", home, cwd=tmp_path).ok()
    warm("base", "add", base, "--name", "tiny", "--home", home, cwd=tmp_path).ok()
    warm("train", config, "training.num_train_epochs=1", "evaluation.bias=[]", "--home", home, cwd=tmp_path).ok()
    for name in ("polite-replies", "tiny"):
        warm("pull", name, tmp_path / "out" / name, "--home", home, cwd=tmp_path).ok()
        warm("report", name, "--out", tmp_path / "out" / f"{name}.html", "--home", home, cwd=tmp_path).ok()
    shown_in_mlflow(home, tmp_path / "out")
    assert files_with(home, str(tmp_path)) == HOLDS_PATHS
    assert files_with(tmp_path / "out", str(tmp_path)) == set()
