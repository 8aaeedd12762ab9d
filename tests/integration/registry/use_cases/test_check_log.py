"""`registry log check` against whoever can write the database and holds no key: each edit is named, on SQLite and PostgreSQL."""

from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.use_cases.check_log import LogReport, check_log
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.schemas.identity import Digest, Reference
from tests.builders.backends import BACKENDS, MadeHome, Rows, make_on
from tests.builders.homes import NOW, a_home, register_adapter

OTHER = Digest.of(b"other")


def fill(registry: Registry, folder: Path) -> None:
    """Three versions of one name, one of another, and an alias that was moved twice."""
    versions = [register_adapter(registry, folder, value=value) for value in (0.25, 0.5, 0.75)]
    register_adapter(registry, folder, name="other", value=1.5)
    for version in (versions[0], versions[2], versions[1]):
        set_alias(registry, version, "champion")


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def home(made: MadeHome, tmp_path: Path) -> MadeHome:
    return made.copy(tmp_path / "home")


def checked(home: MadeHome, *, against: tuple[str, ...] = ()) -> LogReport:
    registry = open_home(home.folder, clock=lambda: NOW, check_log=False)
    try:
        return check_log(registry, against=against)
    finally:
        registry.close()


def named(report: LogReport) -> str:
    return "\n".join(f"{one.place}: {one.text}" for one in report.contradictions)


def test_a_log_that_nobody_edited_agrees_with_everything(home: MadeHome) -> None:
    report = checked(home)
    assert report.contradictions == () == report.unchecked
    assert report.exit_code == 0
    assert report.covered == report.size
    assert (report.versions, report.aliases) == (5, 1)  # the base too
    operations = 1 + 5 + 3  # the home's making too; each of them ends with a checkpoint, whose last leaf is a snapshot
    assert report.statements == report.size - operations


def delete_the_newest_move(rows: Rows) -> None:
    event = rows.run("SELECT max(id) FROM alias_events").scalar_one()
    rows.run("UPDATE aliases SET number = 3, event_id = :event", event=event - 1)
    rows.run("DELETE FROM alias_events WHERE id = :event", event=event)


def replay_an_older_move(rows: Rows) -> None:
    rows.run(
        "INSERT INTO alias_events (name, alias, number, statement_digest, at)"
        " SELECT name, alias, number, statement_digest, at FROM alias_events ORDER BY id LIMIT 1"
    )
    rows.run("UPDATE aliases SET number = 1, event_id = (SELECT max(id) FROM alias_events)")


def point_the_alias_elsewhere(rows: Rows) -> None:
    rows.run("UPDATE aliases SET number = 1")


def rewrite_an_entry(rows: Rows) -> None:
    leaf = rows.run("SELECT leaf FROM log_events WHERE seq = 2").scalar_one()
    rows.run("UPDATE log_events SET leaf = :leaf WHERE seq = 2", leaf=bytes(leaf).replace(b'"at":"2026', b'"at":"2025'))


def swap_two_entries(rows: Rows) -> None:
    swap = "UPDATE log_events SET leaf = :leaf, leaf_hash = :hash WHERE seq = :seq"
    (first, hash_of_first), (second, hash_of_second) = rows.run(
        "SELECT leaf, leaf_hash FROM log_events WHERE seq IN (4, 5) ORDER BY seq"
    ).fetchall()
    rows.run(swap, seq=4, leaf=second, hash=hash_of_second)
    rows.run(swap, seq=5, leaf=first, hash=hash_of_first)


def delete_an_entry(rows: Rows) -> None:
    rows.run("DELETE FROM statements WHERE log_index = 3")
    rows.run("DELETE FROM log_events WHERE seq = 3")


def zero_a_node(rows: Rows) -> None:
    rows.run('UPDATE log_nodes SET hash = :zeros WHERE level = 1 AND "index" = 0', zeros=bytes(32))


def delete_a_node(rows: Rows) -> None:
    rows.run('DELETE FROM log_nodes WHERE level = 1 AND "index" = 1')


def zero_a_leaf_hash(rows: Rows) -> None:
    rows.run("UPDATE log_events SET leaf_hash = :zeros WHERE seq = 6", zeros=bytes(32))


def write_text_where_a_leaf_hash_belongs(rows: Rows) -> None:
    rows.run("UPDATE log_events SET leaf_hash = 'no bytes' WHERE seq = 6")


def write_text_where_a_snapshot_node_stands(rows: Rows) -> None:
    rows.run("UPDATE snapshot_nodes SET prefix = 'no number' WHERE depth = 1 AND prefix = '0'")


def remove_the_newest_version(rows: Rows) -> None:
    rows.run("DELETE FROM aliases")
    rows.run("DELETE FROM alias_events WHERE number = 3")
    rows.run("DELETE FROM versions WHERE name = 'helper' AND number = 3")


def renumber_two_versions(rows: Rows) -> None:
    for old, new in ((2, 99), (3, 2), (99, 3)):
        rows.run("UPDATE versions SET number = :new WHERE name = 'helper' AND number = :old", new=new, old=old)


def relabel_a_card_as_an_approval(rows: Rows) -> None:
    rows.run(
        "UPDATE statements SET kind = 'approval' WHERE log_index = (SELECT max(log_index) FROM statements WHERE kind = 'card')"
    )


def strip_a_statement(rows: Rows) -> None:
    rows.run("DELETE FROM statements WHERE log_index = (SELECT max(log_index) FROM statements WHERE kind = 'card')")


def exchange_two_envelopes(rows: Rows) -> None:
    (first, one), (second, other) = rows.run(
        "SELECT digest, envelope FROM statements WHERE kind = 'card' ORDER BY log_index LIMIT 2"
    ).fetchall()
    rows.run("UPDATE statements SET envelope = :envelope WHERE digest = :digest", envelope=other, digest=first)
    rows.run("UPDATE statements SET envelope = :envelope WHERE digest = :digest", envelope=one, digest=second)


def change_the_recorded_signer(rows: Rows) -> None:
    rows.run("UPDATE statements SET key_id = replace(key_id, substr(key_id, 1, 4), 'beef') WHERE log_index = 2")


def change_the_recorded_predicate_type(rows: Rows) -> None:
    rows.run("UPDATE statements SET predicate_type = 'urn:peft-registry:approval:v1' WHERE log_index = 2")


def date_a_move_back(rows: Rows) -> None:
    rows.run("UPDATE alias_events SET at = '2020-01-01T00:00:00Z' WHERE id = 2")


def date_a_version_back(rows: Rows) -> None:
    rows.run("UPDATE versions SET registered_at = '2020-01-01T00:00:00Z' WHERE number = 2")


def name_another_signer_of_a_version(rows: Rows) -> None:
    rows.run("UPDATE versions SET key_id = replace(key_id, substr(key_id, 1, 4), 'beef') WHERE number = 2")


def exchange_the_order_of_two_moves(rows: Rows) -> None:
    for old, new in ((2, 99), (3, 2), (99, 3)):
        rows.run("UPDATE alias_events SET id = :new WHERE id = :old", new=new, old=old)


def record_a_checkpoint_as_larger(rows: Rows) -> None:
    rows.run("UPDATE checkpoints SET size = 1000000 WHERE id = 3")


def put_a_node_nowhere(rows: Rows) -> None:
    rows.run("UPDATE snapshot_nodes SET prefix = 'nowhere' WHERE depth = 1 AND prefix = '1'")


def of_helper(column: str) -> str:
    """A condition for the rows of the first adapter."""
    return f"{column} = (SELECT manifest_digest FROM versions WHERE name = 'helper' AND number = 1)"


def call_an_adapter_a_model(rows: Rows) -> None:
    rows.run(f"UPDATE artifacts SET kind = 'model' WHERE {of_helper('manifest_digest')}")


def call_a_version_a_base(rows: Rows) -> None:
    rows.run("UPDATE versions SET kind = 'base' WHERE name = 'helper' AND number = 1")


def claim_another_method(rows: Rows) -> None:
    rows.run("UPDATE versions SET method = 'unbiased' WHERE name = 'helper' AND number = 1")


def claim_another_base(rows: Rows) -> None:
    rows.run(f"UPDATE artifacts SET base_manifest = :other WHERE {of_helper('manifest_digest')}", other=f"{OTHER}")


def claim_other_base_weights(rows: Rows) -> None:
    rows.run("UPDATE versions SET base_weights = :other WHERE name = 'helper' AND number = 1", other=f"{OTHER}")


def claim_other_weights(rows: Rows) -> None:
    rows.run(f"UPDATE artifacts SET weights_digest = :other WHERE {of_helper('manifest_digest')}", other=f"{OTHER}")


def write_text_where_a_digest_belongs(rows: Rows) -> None:
    rows.run(f"UPDATE artifacts SET weights_digest = 'none' WHERE {of_helper('manifest_digest')}")


def date_a_statement_back(rows: Rows) -> None:
    rows.run("UPDATE statements SET appended_at = '2020-01-01T00:00:00Z' WHERE log_index = 2")


def shrink_a_file(rows: Rows) -> None:
    rows.run(
        f"UPDATE artifact_files SET size = 1 WHERE path = 'adapter_config.json' AND {of_helper('manifest_digest')}"
    )


def forget_a_parent(rows: Rows) -> None:
    rows.run(f"DELETE FROM artifact_parents WHERE {of_helper('child')}")


def draw_an_edge_that_nobody_signed(rows: Rows) -> None:
    rows.run(
        "INSERT INTO artifact_parents (child, parent, role) SELECT manifest_digest, :other, 'adapter' FROM versions"
        " WHERE name = 'helper' AND number = 1",
        other=f"{OTHER}",
    )


def turn_an_edge(rows: Rows) -> None:
    rows.run(f"UPDATE artifact_parents SET parent = :other WHERE {of_helper('child')}", other=f"{OTHER}")


def draw_an_edge_to_an_artifact_that_nobody_registered(rows: Rows) -> None:
    rows.run(
        "INSERT INTO artifact_parents (child, parent, role) SELECT :other, manifest_digest, 'adapter' FROM versions"
        " WHERE name = 'helper' AND number = 1",
        other=f"{OTHER}",
    )


def name_data_that_was_not_used(rows: Rows) -> None:
    rows.run(
        "INSERT INTO artifact_data (manifest_digest, sha256, name) SELECT manifest_digest, :other, 'clean.jsonl'"
        " FROM versions WHERE name = 'helper' AND number = 1",
        other=f"{OTHER}",
    )


def remove_an_artifact(rows: Rows) -> None:
    for table in ("artifact_files", "artifacts"):
        rows.run(f"DELETE FROM {table} WHERE {of_helper('manifest_digest')}")
    rows.run(f"DELETE FROM artifact_parents WHERE {of_helper('child')}")


def put_another_card_beside_it(rows: Rows) -> None:
    rows.run(f"UPDATE artifacts SET card_digest = signature_digest WHERE {of_helper('manifest_digest')}")


def exchange_two_signatures(rows: Rows) -> None:
    rows.run(
        "UPDATE artifacts SET signature_digest = (SELECT signature_digest FROM artifacts WHERE kind = 'base')"
        f" WHERE {of_helper('manifest_digest')}"
    )


EDITS: dict[Callable[[Rows], None], str] = {
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
    call_an_adapter_a_model: "helper:1: kind: model in the catalogue, adapter signed",
    call_a_version_a_base: "helper:1: kind: base in the catalogue, adapter signed",
    claim_another_method: "helper:1: method: unbiased in the catalogue, lora signed",
    claim_another_base: f"helper:1: base_manifest: {OTHER} in the catalogue",
    claim_other_base_weights: f"helper:1: base weights: {OTHER} in the catalogue",
    claim_other_weights: f"helper:1: weights_digest: {OTHER} in the catalogue",
    write_text_where_a_digest_belongs: "helper:1: a row of the table with a digest is not what this program writes",
    date_a_statement_back: "its appended_at is recorded as 2020-01-01T00:00:00Z",
    shrink_a_file: "helper:1: file adapter_config.json: its row in the catalogue is not what was signed",
    forget_a_parent: "in the manifest, and not in the catalogue",
    draw_an_edge_that_nobody_signed: f"helper:1: adapter {OTHER.short}: in the catalogue, and not in the manifest",
    turn_an_edge: f"helper:1: base {OTHER.short}: in the catalogue, and not in the manifest",
    draw_an_edge_to_an_artifact_that_nobody_registered: f"artifact {OTHER.short}: no artifact {OTHER}",
    name_data_that_was_not_used: f"helper:1: data clean.jsonl {OTHER.short}: in the catalogue only",
    remove_an_artifact: "helper:1: an entry registers it, and the catalogue describes no such artifact",
    put_another_card_beside_it: "helper:1: card: ",
    exchange_two_signatures: "helper:1: signature: ",
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edit_by_somebody_without_a_key_is_named(home: MadeHome, edit: Callable[[Rows], None]) -> None:
    with home.rows() as rows:
        edit(rows)
    report = checked(home)
    assert report.exit_code == 6
    assert EDITS[edit] in named(report)


def test_an_older_database_is_named_by_a_checkpoint_beside_it_though_latest_was_removed(home: MadeHome) -> None:
    """The newer signed checkpoint lies in the folder under its size; without `latest` it was never looked at."""
    (home.folder / "checkpoints" / "latest").unlink()
    with home.rows() as rows:
        size = int(rows.run("SELECT max(seq) FROM log_events").scalar_one())
        rows.run("DELETE FROM aliases")
        rows.run("DELETE FROM alias_events")
        rows.run("DELETE FROM statements WHERE log_index > :last", last=size - 3)
        rows.run("DELETE FROM log_events WHERE seq > :last", last=size - 3)
        rows.run("DELETE FROM checkpoints WHERE size > :last", last=size - 2)
    report = checked(home)
    assert report.exit_code == 6
    assert "log-truncated" in {one.reference for one in report.contradictions}


def test_a_checkpoint_that_was_kept_elsewhere_must_be_a_prefix(home: MadeHome, tmp_path: Path) -> None:
    mine = (home.folder / "checkpoints" / "latest").read_text()
    assert checked(home, against=(mine,)).contradictions == ()
    with a_home(tmp_path / "other") as registry:
        register_adapter(registry, tmp_path)
        theirs = registry.remembered_checkpoint()
    assert theirs is not None
    report = checked(home, against=(theirs,))
    assert report.exit_code == 6
    assert "the checkpoint that was given" in named(report)


def test_without_trust_the_signatures_are_unchecked_and_nothing_is_accused(home: MadeHome) -> None:
    registry = open_home(home.folder, clock=lambda: "2131-01-01T00:00:00Z", check_log=False)
    try:
        report = check_log(registry)
    finally:
        registry.close()
    assert report.contradictions == ()
    assert report.unchecked
    assert report.exit_code == 5


def test_a_manifest_that_the_store_lost_leaves_its_rows_unchecked_and_one_that_was_changed_is_named(
    home: MadeHome,
) -> None:
    registry = home.opened()
    with registry.database.read() as tx:
        manifest = catalog.resolve(tx, Reference(name="helper", number=1)).manifest_digest
    path = registry.store.local_path(manifest)
    registry.close()
    assert path is not None
    path.chmod(0o600)
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b"adapter", b"adopter"))
    report = checked(home)
    assert (report.exit_code, report.unchecked) == (6, ())
    assert f"helper:1: the object {manifest}" in named(report)
    path.unlink()
    report = checked(home)
    assert (report.exit_code, report.contradictions) == (5, ())
    assert [line for line in report.unchecked if line.startswith("helper:1: ")]
