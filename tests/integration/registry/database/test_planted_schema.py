"""A schema that somebody changed: every command ends at once, with one sentence and exit 6, before anything of it is run."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import utc_now
from tests.builders.files import contents
from tests.builders.homes import a_home, register_adapter

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n"
PLANTED = {
    "a view": ["ALTER TABLE versions RENAME TO before", f"CREATE VIEW versions AS {ENDLESS}"],
    "a trigger": [
        f"CREATE TRIGGER t AFTER INSERT ON statements BEGIN INSERT INTO statements SELECT * FROM ({ENDLESS}); END"
    ],
    "an earlier revision": ["UPDATE alembic_version SET version_num = '0001'"],
    "no snapshot": ["DROP TABLE snapshot_nodes"],
}
COMMANDS = (
    "list",
    "list --where rank>1",
    "show helper:1",
    "verify helper:1",
    "pull helper:1 {folder}/pulled",
    "report helper:1 --out {folder}/report.html",
    "lineage helper:1",
    "lineage impact helper:1",
    "promote helper:1 champion --policy none",
    "gate status helper@champion",
    "log show",
    "log check",
    "log sign",
    "log prove 1",
    "admin upgrade",
    "admin rebuild",
    "admin gc",
    "mirror push",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home", now=utc_now()) as registry:
        register_adapter(registry, folder)
    return folder / "home"


@pytest.mark.parametrize("planted", PLANTED)
def test_no_command_reads_or_writes_past_it(
    home: Path, tmp_path: Path, planted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(home, tmp_path / "home"))
    with closing(sqlite3.connect(folder / "database.sqlite")) as connection:
        for statement in PLANTED[planted]:
            connection.execute(statement)
        connection.commit()
    before = contents(folder)
    for line in COMMANDS:
        capsys.readouterr()
        code = run([*line.format(folder=tmp_path).split(), "--home", str(folder)])
        what, why, fix = capsys.readouterr().err.splitlines()[-3:]
        assert (code, what.startswith("error: the schema of the database ")) == (6, True), (line, what, why)
        assert why.startswith("  why: ") and fix.startswith("  fix: ")
    assert contents(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]
