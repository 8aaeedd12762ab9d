"""Reading an alias, the newest version, and what was said, against whoever can write the database and holds no key.

Each attack was tried on a release whose reads believed the rows: it served an older version as verified, hid a later evaluation,
or listed an approval that nobody gave.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry, utc_now
from peft_registry.registry.records.references import AliasUnsigned, version_named
from peft_registry.registry.records.signed_records import signed_statements
from peft_registry.registry.records.snapshots import CheckpointsRemoved
from peft_registry.registry.records.views import VersionsDiffer
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.show_log import prove_entry, show_log
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.errors import IntegrityBroken, NotFound
from peft_registry.schemas.identity import Reference
from tests.builders.backends import BACKENDS, MadeHome, Rows, make_on
from tests.builders.homes import a_home, register_adapter
from tests.integration.registry.use_cases.test_check_log import (
    checked,
    delete_the_newest_move,
    point_the_alias_elsewhere,
    relabel_a_card_as_an_approval,
    remove_the_newest_version,
    renumber_two_versions,
    replay_an_older_move,
    strip_a_statement,
)


def fill(registry: Registry, folder: Path) -> None:
    versions = [register_adapter(registry, folder, value=value) for value in (0.25, 0.5, 0.75)]
    for version in (versions[0], versions[2], versions[1]):
        set_alias(registry, version, "champion")


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def home(made: MadeHome, tmp_path: Path) -> MadeHome:
    return made.copy(tmp_path / "home")


def edited(home: MadeHome, edit: Callable[[Rows], object]) -> Registry:
    with home.rows() as rows:
        edit(rows)
    return home.opened()


def test_what_nobody_edited_is_read_as_it_was_registered(home: MadeHome) -> None:
    registry = home.opened()
    assert version_named(registry, "helper@champion").label == "helper:2"
    assert version_named(registry, "helper").label == "helper:3"
    assert version_named(registry, "helper:1").number == 1
    with pytest.raises(NotFound):
        version_named(registry, "helper:4")
    with pytest.raises(NotFound):
        version_named(registry, "helper@challenger")
    registry.close()


@pytest.mark.parametrize("edit", [delete_the_newest_move, replay_an_older_move, point_the_alias_elsewhere])
def test_an_alias_follows_the_log_and_not_the_rows(home: MadeHome, edit: Callable[[Rows], None]) -> None:
    registry = edited(home, edit)
    assert version_named(registry, "helper@champion").label == "helper:2"
    registry.close()


@pytest.mark.parametrize(
    ("before", "after"),
    [(b'"at":"2026-', b'"at":"2025-'), (b'"kind":"alias"', b'"kind":"decision"'), (b'"key":"', b'"key":"0')],
    ids=["time", "kind", "signer"],
)
def test_an_entry_that_moves_an_alias_is_held_against_the_checkpoint_before_its_time_and_signer_count(
    home: MadeHome, before: bytes, after: bytes
) -> None:
    """By its time a key counts that was revoked since: an earlier one would bring back what somebody signed who stole it."""

    def edit(rows: Rows) -> None:
        entry = rows.run("SELECT max(log_index) FROM statements WHERE kind = 'alias'").scalar_one()
        leaf = bytes(rows.run("SELECT leaf FROM log_events WHERE seq = :entry", entry=entry).scalar_one())
        assert before in leaf
        rows.run("UPDATE log_events SET leaf = :leaf WHERE seq = :entry", leaf=leaf.replace(before, after), entry=entry)

    registry = edited(home, edit)
    with pytest.raises(IntegrityBroken):
        version_named(registry, "helper@champion")
    registry.close()


def test_an_entry_is_shown_and_proven_only_as_it_was_signed_over(home: MadeHome) -> None:
    def edit(rows: Rows) -> None:
        leaf = bytes(rows.run("SELECT leaf FROM log_events WHERE seq = 1").scalar_one())
        rows.run("UPDATE log_events SET leaf = :leaf WHERE seq = 1", leaf=leaf.replace(b'"at":"2026-', b'"at":"2025-'))

    registry = edited(home, edit)
    with pytest.raises(IntegrityBroken):
        show_log(registry, limit=100)
    with pytest.raises(IntegrityBroken):
        prove_entry(registry, 1)
    assert show_log(registry, limit=1).entries[0].kind == "snapshot"
    assert prove_entry(registry, 2)
    registry.close()


@pytest.mark.parametrize(
    "edit",
    [
        "DELETE FROM checkpoints WHERE size > (SELECT min(size) FROM checkpoints) + 10",
        "UPDATE checkpoints SET size = 1000000 WHERE id = (SELECT max(id) - 2 FROM checkpoints)",
    ],
    ids=["removed", "recorded as larger"],
)
def test_an_alias_does_not_go_back_to_an_older_checkpoint_that_the_database_makes_the_newest(
    home: MadeHome, edit: str
) -> None:
    registry = edited(home, lambda rows: rows.run(edit))
    assert version_named(registry, "helper@champion").label == "helper:2"
    assert version_named(registry, "helper").label == "helper:3"
    registry.close()


@pytest.mark.parametrize("kept", [0, 1])
def test_checkpoints_that_were_removed_everywhere_make_nothing_pending(home: MadeHome, kept: int) -> None:
    """Without them the entries they cover would decide nothing, or the rows everything, as in a log of an earlier release."""

    def remove(rows: Rows) -> None:
        sizes = sorted(int(path.name) for path in (home.folder / "checkpoints").iterdir() if path.name.isdigit())
        (home.folder / "checkpoints" / "latest").unlink()
        for size in sizes[kept:]:
            (home.folder / "checkpoints" / f"{size}").unlink()
        rows.run("DELETE FROM checkpoints WHERE size > :size", size=sizes[0] if kept else 0)

    registry = edited(home, remove)
    for reference in ("helper", "helper:1", "helper@champion"):
        with pytest.raises(CheckpointsRemoved):
            version_named(registry, reference)
    with registry.database.read() as tx:
        version = catalog.resolve(tx, Reference(name="helper", number=1))
    outcome = verify_version(registry, version)
    assert (outcome.exit_code, outcome.checks[0].error) == (6, "checkpoints-removed")
    registry.close()
    assert "checkpoints-removed" in {one.reference for one in checked(home).contradictions}


@pytest.mark.parametrize("entry", [1_000_000, "(SELECT max(seq) FROM log_events)"])
def test_a_version_whose_entry_is_said_to_be_behind_the_checkpoint_is_not_taken_for_pending(
    home: MadeHome, entry: object
) -> None:
    def edit(rows: Rows) -> None:
        rows.run(f"UPDATE versions SET number = 9, log_index = {entry} WHERE name = 'helper' AND number = 1")

    registry = edited(home, edit)
    with pytest.raises(VersionsDiffer):
        version_named(registry, "helper:9")
    registry.close()


def test_an_alias_that_nobody_logged_does_not_exist(home: MadeHome) -> None:
    def plant(rows: Rows) -> None:
        rows.run("INSERT INTO aliases (name, alias, number, event_id) VALUES ('helper', 'approved', 1, 1)")

    registry = edited(home, plant)
    with pytest.raises(AliasUnsigned, match="the log does not say so"):
        version_named(registry, "helper@approved")
    registry.close()


@pytest.mark.parametrize(
    ("edit", "reference"),
    [
        (remove_the_newest_version, "helper"),
        (remove_the_newest_version, "helper:3"),
        (renumber_two_versions, "helper"),
        (renumber_two_versions, "helper:2"),
        (renumber_two_versions, "helper@champion"),
    ],
)
def test_a_version_that_was_removed_or_renumbered_is_broken(
    home: MadeHome, edit: Callable[[Rows], None], reference: str
) -> None:
    registry = edited(home, edit)
    with pytest.raises(IntegrityBroken, match="helper"):
        version_named(registry, reference)
    registry.close()


@pytest.mark.parametrize("edit", [strip_a_statement, relabel_a_card_as_an_approval])
def test_a_statement_that_was_removed_or_relabelled_is_broken_for_every_reader(
    home: MadeHome, edit: Callable[[Rows], None]
) -> None:
    registry = edited(home, edit)
    version = version_named(registry, "helper:3")
    for read in (describe_version, signed_statements):
        with pytest.raises(IntegrityBroken):
            read(registry, "helper:3" if read is describe_version else version.manifest_digest)  # type: ignore[operator]
    assert verify_version(registry, version).verdict == "broken"
    registry.close()


def test_a_snapshot_node_that_was_edited_is_broken_and_the_others_still_read(home: MadeHome) -> None:
    def edit(rows: Rows) -> None:
        key = rows.run("SELECT key FROM snapshot_nodes WHERE key IS NOT NULL ORDER BY key LIMIT 1").scalar_one()
        rows.run("UPDATE snapshot_nodes SET value = :value WHERE key = :key", value=b"{}", key=key)

    registry = edited(home, edit)
    outcomes = []
    for reference in ("helper", "helper:1", "helper:2", "helper:3", "helper@champion", "tiny", "tiny:1"):
        try:
            version = version_named(registry, reference)
            outcomes.append(verify_version(registry, version).verdict)
        except IntegrityBroken:
            outcomes.append("broken")
    assert "broken" in outcomes
    registry.close()


def test_the_next_entry_is_not_signed_over_a_database_that_was_edited(home: MadeHome) -> None:
    registry = edited(home, strip_a_statement)
    version = version_named(registry, "helper:3")
    with pytest.raises(IntegrityBroken):
        set_alias(registry, version, "challenger")
    registry.close()


def test_entries_behind_the_newest_checkpoint_decide_nothing(home: MadeHome, tmp_path: Path) -> None:
    """Somebody else holds the log key: a move is pending until they publish."""
    key = home.folder / "keys" / "log.key"
    kept = key.read_bytes()
    key.unlink()
    registry = home.opened()
    set_alias(registry, version_named(registry, "helper:3"), "champion")
    newest = register_adapter(registry, tmp_path, value=2.5)
    assert newest.label == "helper:4"
    assert version_named(registry, "helper@champion").label == "helper:2"
    assert version_named(registry, "helper").label == "helper:3"
    assert version_named(registry, "helper:4").manifest_digest == newest.manifest_digest
    registry.close()
    key.write_bytes(kept)
    key.chmod(0o600)
    registry = home.opened()
    from peft_registry.registry.records.checkpoints import publish_checkpoint

    publish_checkpoint(registry)
    assert version_named(registry, "helper@champion").label == "helper:3"
    assert version_named(registry, "helper").label == "helper:4"
    with registry.database.read() as tx:
        assert catalog.latest_checkpoint(tx) == registry.remembered_checkpoint()
    registry.close()


def test_the_command_that_draws_lineage_follows_the_log_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with a_home(tmp_path / "home", now=utc_now()) as registry:
        versions = [register_adapter(registry, tmp_path, value=value) for value in (0.25, 0.5)]
        set_alias(registry, versions[0], "champion")
    with MadeHome(tmp_path / "home").rows() as rows:
        rows.run("UPDATE aliases SET number = 2")
    assert run(["lineage", "helper@champion", "--home", str(tmp_path / "home"), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["focus"] == str(versions[0].manifest_digest)
