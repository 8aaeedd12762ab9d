"""`registry admin upgrade` of the home that 0.1.0 made: a backup, the new schema, the first snapshot; what was said stays."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalog.graph import versions_below, versions_of_sources
from peft_registry.registry.database.failures import DatabaseLocked, SchemaMismatch
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import SCHEMA_REVISION
from peft_registry.registry.homes.home import open_home
from peft_registry.registry.intake.where import read_query
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.snapshots import newest_snapshot
from peft_registry.registry.signing.keys import PassphraseNeeded, PrivateKey
from peft_registry.registry.signing.trust_chain import parse_chain
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.find import find_versions, known_figures
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.upgrade import Upgraded, needed_upgrade, upgrade_home
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.registry.verification.signed_versions import all_signed_versions
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from tests.compat.kept_home import KEPT, THEN, VERSIONS, stopped_clock
from tests.processes.killed import dies_at


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(KEPT / "home", tmp_path / "home"))
    for key in (folder / "keys").glob("*.key"):
        key.chmod(0o600)
    return folder


def revision_of(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_an_older_home_is_read_as_it_is_and_written_only_after_an_upgrade(home: Path) -> None:
    assert needed_upgrade(home) == ("0001", SCHEMA_REVISION)
    registry = open_home(home, clock=lambda: THEN)
    version = version_named(registry, "polite-replies@champion")
    assert verify_version(registry, version).verdict == "verified"
    with pytest.raises(SchemaMismatch, match="another schema") as refused:
        set_alias(registry, version, "fallback")
    assert "registry admin upgrade" in refused.value.fix
    with pytest.raises(SchemaMismatch):  # every command that will register something begins with it
        registry.unlock()
    registry.close()
    assert revision_of(home / "database.sqlite") == "0001"


@pytest.mark.parametrize(
    ("before", "after"), [('"at":"2026-', '"at":"2025-'), ('"kind":"alias"', '"kind":"card"')], ids=["time", "kind"]
)
def test_the_entry_of_an_alias_in_an_older_log_is_held_against_its_checkpoint(
    home: Path, before: str, after: str
) -> None:
    with closing(sqlite3.connect(home / "database.sqlite")) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        newest = "(SELECT max(log_index) FROM statements WHERE kind = 'alias')"  # it moves replies@champion
        edit = f"UPDATE log_events SET leaf = CAST(replace(CAST(leaf AS TEXT), ?, ?) AS BLOB) WHERE seq = {newest}"
        assert connection.execute(edit, (before, after)).rowcount == 1
    registry = open_home(home, clock=lambda: THEN)
    assert version_named(registry, "polite-replies@champion").number == 2
    with pytest.raises(IntegrityBroken):
        version_named(registry, "replies@champion")
    registry.close()


def test_the_log_of_an_older_home_is_checked_as_it_is(home: Path) -> None:
    registry = open_home(home, clock=lambda: THEN, check_log=False)
    report = check_log(registry)
    registry.close()
    assert (report.contradictions, report.exit_code) == ((), 0)


def test_an_upgraded_home_says_the_same_and_its_log_agrees(home: Path) -> None:
    with stopped_clock(THEN):
        done = upgrade_home(home)
    assert done.changed
    assert done.backup is not None
    assert revision_of(done.backup) == "0001"
    registry = open_home(home, clock=lambda: THEN)
    report = check_log(registry)
    assert (report.contradictions, report.unchecked) == ((), ())
    assert report.covered == report.size
    with closing(sqlite3.connect(done.backup)) as backup:
        signed = dict(backup.execute("SELECT log_index, envelope FROM statements"))
    with registry.database.read() as tx:
        said = {entry.index: entry.statement.envelope for entry in catalog.every_entry(tx) if entry.statement}
        assert {index: said[index] for index in signed} == signed != {}
        stored = tx.exec_driver_sql("SELECT sum(length(envelope)) FROM statements").scalar_one()
        assert stored < sum(map(len, said.values())) / 5
        assert newest_snapshot(registry, tx) is not None
        walked = {digest: versions_below(tx, [digest], limit=99) for digest in registered_digests(tx)}
        assert max(below.count for below in walked.values()) > 1, "something was made from something"
        assert {digest: versions_of_sources(tx, [digest], limit=99) for digest in walked} == walked
    for label in VERSIONS:
        assert verify_version(registry, version_named(registry, label)).verdict == "verified"
    assert version_named(registry, "polite-replies@champion").label == "polite-replies:2"
    set_alias(registry, version_named(registry, "polite-replies:1"), "champion")
    assert version_named(registry, "polite-replies@champion").label == "polite-replies:1"
    registry.close()


def registered_digests(tx: Transaction) -> tuple[Digest, ...]:
    return tuple(Digest.parse(text) for text in catalog.every_artifact(tx))


def test_versions_of_an_older_home_are_asked_for_after_an_upgrade(home: Path) -> None:
    asked = read_query("kind=adapter rank>0 origin=made registered<2026-12-31", "-registered")
    registry = open_home(home, clock=lambda: THEN)
    with pytest.raises(SchemaMismatch, match="another schema") as refused:
        find_versions(registry, asked)
    assert "registry admin upgrade" in refused.value.fix
    registry.close()
    with stopped_clock(THEN):
        upgrade_home(home)
    registry = open_home(home, clock=lambda: THEN)
    found = [version.label for version in find_versions(registry, asked).versions]
    adapters = [version for version in all_signed_versions(registry, kind="adapter") if version.method != "ia3"]
    assert sorted(found) == sorted(version.label for version in adapters) != []
    assert known_figures(registry) != ()
    registry.close()


def test_an_upgrade_twice_is_an_upgrade_once(home: Path) -> None:
    with stopped_clock(THEN):
        first = upgrade_home(home)
        again = upgrade_home(home)
    assert first.changed
    assert not again.changed
    assert again.backup is None
    assert again.covered == first.covered


def test_a_passphrase_that_nobody_gives_is_missed_before_anything_is_done(home: Path) -> None:
    key = home / "keys" / "log.key"
    private = PrivateKey.load(key, None)
    key.unlink()
    private.save(key, b"a passphrase")
    with pytest.raises(PassphraseNeeded):
        upgrade_home(home)
    assert revision_of(home / "database.sqlite") == "0001"
    assert not (home / "backups").exists()


def test_another_writer_is_waited_for_and_then_refused_with_nothing_changed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peft_registry.registry.database.session.WAIT_SECONDS", 0.2)
    with closing(sqlite3.connect(home / "database.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseLocked):
            upgrade_home(home)
        other.execute("ROLLBACK")
    assert revision_of(home / "database.sqlite") == "0001"


@pytest.mark.parametrize(
    "point",
    [
        "peft_registry.registry.database.migrations.upgrade",
        "peft_registry.registry.database.session.Database._upgrade",
        "peft_registry.registry.use_cases.upgrade.publish_checkpoint",
    ],
)
def test_a_kill_leaves_the_old_home_or_the_new_one(home: Path, point: str) -> None:
    assert dies_at(point, lambda: upgrade_home(home))
    assert revision_of(home / "database.sqlite") in ("0001", SCHEMA_REVISION)
    registry = open_home(home, clock=lambda: THEN)
    assert verify_version(registry, version_named(registry, "polite-replies@champion")).verdict == "verified"
    registry.close()
    with stopped_clock(THEN):
        upgrade_home(home)
    registry = open_home(home, clock=lambda: THEN)
    assert check_log(registry).contradictions == ()
    registry.close()


def test_an_upgrade_makes_a_chain_of_the_trust_file_where_its_root_key_is(home: Path, tmp_path: Path) -> None:
    kept = parse_chain((home / "trust.json").read_bytes())
    assert upgraded_at(home).trust == "upgraded"
    chain = parse_chain((home / "trust.json").read_bytes())
    assert chain.first == kept.newest and chain.newest.policy.schema_version == "2"
    assert [key.person for key in chain.newest.policy.keys] == [key.person for key in kept.newest.policy.keys]
    assert upgraded_at(home).trust == "current"
    registry = open_home(home, clock=lambda: THEN)
    try:
        assert all(verify_version(registry, version_named(registry, label)).exit_code == 0 for label in VERSIONS)
    finally:
        registry.close()
    without = Path(shutil.copytree(KEPT / "home", tmp_path / "without"))
    for key in (without / "keys").glob("*.key"):
        key.chmod(0o600)
    (without / "keys" / "root.key").unlink()
    assert upgraded_at(without).trust == "no-root-key"
    assert parse_chain((without / "trust.json").read_bytes()) == kept


def upgraded_at(home: Path) -> Upgraded:
    with stopped_clock(THEN):
        return upgrade_home(home)
