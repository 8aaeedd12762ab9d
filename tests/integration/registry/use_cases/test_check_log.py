"""`registry log check` against whoever can write the database and holds no key: each edit is named."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import open_home
from peft_registry.registry.use_cases.check_log import LogReport, check_log
from peft_registry.registry.use_cases.promote import set_alias
from tests.builders.homes import NOW, a_home, register_adapter


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three versions of one name, one of another, and an alias that was moved twice."""
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home") as registry:
        versions = [register_adapter(registry, folder, value=value) for value in (0.25, 0.5, 0.75)]
        register_adapter(registry, folder, name="other", value=1.5)
        for version in (versions[0], versions[2], versions[1]):
            set_alias(registry, version, "champion")
    return folder / "home"


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home"))


def checked(home: Path, *, against: tuple[str, ...] = ()) -> LogReport:
    registry = open_home(home, clock=lambda: NOW, check_log=False)
    try:
        return check_log(registry, against=against)
    finally:
        registry.close()


@contextmanager
def without_guards(home: Path) -> Iterator[sqlite3.Connection]:
    """The database as somebody with the file has it: triggers that refuse a change are dropped, foreign keys off."""
    with closing(sqlite3.connect(home / "database.sqlite")) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        yield connection


def named(report: LogReport) -> str:
    return "\n".join(f"{one.place}: {one.text}" for one in report.contradictions)


def test_a_log_that_nobody_edited_agrees_with_everything(home: Path) -> None:
    report = checked(home)
    assert report.contradictions == () == report.unchecked
    assert report.exit_code == 0
    assert report.covered == report.size
    assert (report.versions, report.aliases) == (5, 1)  # the base too
    operations = 5 + 3  # each of them ends with a checkpoint, whose last leaf is a snapshot
    assert report.statements == report.size - operations


def delete_the_newest_move(db: sqlite3.Connection) -> None:
    (event,) = db.execute("SELECT max(id) FROM alias_events").fetchone()
    db.execute("UPDATE aliases SET number = 3, event_id = ?", (event - 1,))
    db.execute("DELETE FROM alias_events WHERE id = ?", (event,))


def replay_an_older_move(db: sqlite3.Connection) -> None:
    db.execute(
        "INSERT INTO alias_events (name, alias, number, statement_digest, at)"
        " SELECT name, alias, number, statement_digest, at FROM alias_events ORDER BY id LIMIT 1"
    )
    db.execute("UPDATE aliases SET number = 1, event_id = (SELECT max(id) FROM alias_events)")


def point_the_alias_elsewhere(db: sqlite3.Connection) -> None:
    db.execute("UPDATE aliases SET number = 1")


def rewrite_an_entry(db: sqlite3.Connection) -> None:
    db.execute("""UPDATE log_events SET leaf = replace(leaf, '"at":"2026', '"at":"2025') WHERE seq = 2""")


def swap_two_entries(db: sqlite3.Connection) -> None:
    leaves = dict(db.execute("SELECT seq, leaf FROM log_events WHERE seq IN (4, 5)").fetchall())
    hashes = dict(db.execute("SELECT seq, leaf_hash FROM log_events WHERE seq IN (4, 5)").fetchall())
    for seq, other in ((4, 5), (5, 4)):
        db.execute("UPDATE log_events SET leaf = ?, leaf_hash = ? WHERE seq = ?", (leaves[other], hashes[other], seq))


def delete_an_entry(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM statements WHERE log_index = 3")
    db.execute("DELETE FROM log_events WHERE seq = 3")


def zero_a_node(db: sqlite3.Connection) -> None:
    db.execute('UPDATE log_nodes SET hash = zeroblob(32) WHERE level = 1 AND "index" = 0')


def delete_a_node(db: sqlite3.Connection) -> None:
    db.execute('DELETE FROM log_nodes WHERE level = 1 AND "index" = 1')


def zero_a_leaf_hash(db: sqlite3.Connection) -> None:
    db.execute("UPDATE log_events SET leaf_hash = zeroblob(32) WHERE seq = 6")


def write_text_where_a_leaf_hash_belongs(db: sqlite3.Connection) -> None:
    db.execute("UPDATE log_events SET leaf_hash = 'no bytes' WHERE seq = 6")


def write_text_where_a_snapshot_node_stands(db: sqlite3.Connection) -> None:
    db.execute("UPDATE snapshot_nodes SET prefix = 'no number' WHERE depth = 1 AND prefix = '0'")


def remove_the_newest_version(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM aliases")
    db.execute("DELETE FROM alias_events WHERE number = 3")
    db.execute("DELETE FROM versions WHERE name = 'helper' AND number = 3")


def renumber_two_versions(db: sqlite3.Connection) -> None:
    for old, new in ((2, 99), (3, 2), (99, 3)):
        db.execute("UPDATE versions SET number = ? WHERE name = 'helper' AND number = ?", (new, old))


def relabel_a_card_as_an_approval(db: sqlite3.Connection) -> None:
    db.execute(
        "UPDATE statements SET kind = 'approval' WHERE log_index = (SELECT max(log_index) FROM statements WHERE kind = 'card')"
    )


def strip_a_statement(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM statements WHERE log_index = (SELECT max(log_index) FROM statements WHERE kind = 'card')")


def exchange_two_envelopes(db: sqlite3.Connection) -> None:
    (first, one), (second, other) = db.execute(
        "SELECT digest, envelope FROM statements WHERE kind = 'card' ORDER BY log_index LIMIT 2"
    ).fetchall()
    db.execute("UPDATE statements SET envelope = ? WHERE digest = ?", (other, first))
    db.execute("UPDATE statements SET envelope = ? WHERE digest = ?", (one, second))


def change_the_recorded_signer(db: sqlite3.Connection) -> None:
    db.execute("UPDATE statements SET key_id = replace(key_id, substr(key_id, 1, 4), 'beef') WHERE log_index = 1")


def change_the_recorded_predicate_type(db: sqlite3.Connection) -> None:
    db.execute("UPDATE statements SET predicate_type = 'urn:peft-registry:approval:v1' WHERE log_index = 1")


def date_a_move_back(db: sqlite3.Connection) -> None:
    db.execute("UPDATE alias_events SET at = '2020-01-01T00:00:00Z' WHERE id = 2")


def date_a_version_back(db: sqlite3.Connection) -> None:
    db.execute("UPDATE versions SET registered_at = '2020-01-01T00:00:00Z' WHERE number = 2")


def name_another_signer_of_a_version(db: sqlite3.Connection) -> None:
    db.execute("UPDATE versions SET key_id = replace(key_id, substr(key_id, 1, 4), 'beef') WHERE number = 2")


def exchange_the_order_of_two_moves(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA foreign_keys = OFF")
    for old, new in ((2, 99), (3, 2), (99, 3)):
        db.execute("UPDATE alias_events SET id = ? WHERE id = ?", (new, old))


def record_a_checkpoint_as_larger(db: sqlite3.Connection) -> None:
    db.execute("UPDATE checkpoints SET size = 1000000 WHERE id = 3")


def put_a_node_nowhere(db: sqlite3.Connection) -> None:
    db.execute("UPDATE snapshot_nodes SET prefix = 'nowhere' WHERE depth = 1 AND prefix = '1'")


EDITS: dict[Callable[[sqlite3.Connection], None], str] = {
    delete_the_newest_move: "no such move is recorded",
    replay_an_older_move: "helper@champion",
    point_the_alias_elsewhere: "helper@champion: it points to 1, the log says 2",
    rewrite_an_entry: "entry 2: its stored hash is not that of its bytes",
    swap_two_entries: "entry 4",
    delete_an_entry: "entry 3: missing",
    zero_a_node: "subtree 0 of level 1: its stored hash is not that of its entries",
    delete_a_node: "subtree 1 of level 1: it is not stored",
    zero_a_leaf_hash: "entry 6: its stored hash is not that of its bytes",
    write_text_where_a_leaf_hash_belongs: "entry 6: its stored hash is not that of its bytes",
    write_text_where_a_snapshot_node_stands: "snapshot_nodes",
    remove_the_newest_version: "helper:3: an entry registers it, and the catalogue does not have it",
    renumber_two_versions: "helper:2",
    relabel_a_card_as_an_approval: "its kind is recorded as approval, logged is card",
    strip_a_statement: "is not in the database",
    exchange_two_envelopes: "stored is another",
    change_the_recorded_signer: "its key_id is recorded as beef",
    change_the_recorded_predicate_type: "its predicate_type is recorded as urn:peft-registry:approval:v1",
    date_a_move_back: "recorded is 2020-01-01T00:00:00Z",
    date_a_version_back: "recorded is 2020-01-01T00:00:00Z by key",
    name_another_signer_of_a_version: "by key beef",
    exchange_the_order_of_two_moves: "recorded is a later move before",
    record_a_checkpoint_as_larger: "is recorded as of size 1000000",
    put_a_node_nowhere: "snapshot node nowhere at depth 1: ",
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edit_by_somebody_without_a_key_is_named(home: Path, edit: Callable[[sqlite3.Connection], None]) -> None:
    with without_guards(home) as database:
        edit(database)
    report = checked(home)
    assert report.exit_code == 6
    assert EDITS[edit] in named(report)


def test_an_older_database_is_named_by_a_checkpoint_beside_it_though_latest_was_removed(
    made: Path, home: Path, tmp_path: Path
) -> None:
    """The newer signed checkpoint lies in the folder under its size; without `latest` it was never looked at."""
    with a_home(tmp_path / "older" / "home") as registry:
        register_adapter(registry, tmp_path / "older")
    for name in ("latest",):
        (home / "checkpoints" / name).unlink()
    with without_guards(home) as database:
        size = int(database.execute("SELECT max(seq) FROM log_events").fetchone()[0])
        database.execute("DELETE FROM aliases")
        database.execute("DELETE FROM alias_events")
        database.execute("DELETE FROM statements WHERE log_index > ?", (size - 3,))
        database.execute("DELETE FROM log_events WHERE seq > ?", (size - 3,))
        database.execute("DELETE FROM checkpoints WHERE size > ?", (size - 2,))
    report = checked(home)
    assert report.exit_code == 6
    assert "log-truncated" in {one.reference for one in report.contradictions}


def test_a_checkpoint_that_was_kept_elsewhere_must_be_a_prefix(made: Path, home: Path, tmp_path: Path) -> None:
    mine = (home / "checkpoints" / "latest").read_text()
    assert checked(home, against=(mine,)).contradictions == ()
    with a_home(tmp_path / "other") as registry:
        register_adapter(registry, tmp_path)
        theirs = registry.remembered_checkpoint()
    assert theirs is not None
    report = checked(home, against=(theirs,))
    assert report.exit_code == 6
    assert "the checkpoint that was given" in named(report)


def test_without_trust_the_signatures_are_unchecked_and_nothing_is_accused(home: Path) -> None:
    registry = open_home(home, clock=lambda: "2031-01-01T00:00:00Z", check_log=False)
    try:
        report = check_log(registry)
    finally:
        registry.close()
    assert report.contradictions == ()
    assert report.unchecked
    assert report.exit_code == 5
