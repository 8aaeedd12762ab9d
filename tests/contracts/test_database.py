"""What a database promises, whichever it is: numbers without gaps, a past that stays, all or nothing."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from peft_registry.registry.database import catalog, session
from peft_registry.registry.database.failures import (
    AlreadyRecorded,
    DatabaseAddressInvalid,
    DatabaseLocked,
    DatabaseReadOnly,
    DatabaseUnreachable,
    PrivilegeMissing,
    SchemaMismatch,
)
from peft_registry.registry.database.log_store import SqlLogStore, append_event
from peft_registry.registry.database.roles import RoleNameInvalid, writer_role_sql
from peft_registry.registry.database.session import Database
from peft_registry.registry.database.snapshot_store import LEVELS_AT_ONCE, SqlSnapshot
from peft_registry.registry.database.tables import (
    GROWING,
    METADATA,
    SCHEMA_REVISION,
    log_nodes,
)
from peft_registry.registry.transparency import merkle, prefix_tree
from tests.builders.backends import counted_statements
from tests.builders.registered import (
    NOW,
    a_manifest,
    digest,
    envelope_about,
    put_statement,
    put_version,
    registered,
)
from tests.contracts.databases import address, database
from tests.servers.postgres import PostgresServer

__all__ = ["address", "database"]  # fixtures

THREADS = 8
EACH = 6


def counts(database: Database) -> dict[str, int]:
    with database.read() as tx:
        return {
            name: tx.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in METADATA.tables.items()
        }


def fill(database: Database) -> None:
    """At least one row in most tables."""
    with database.write() as tx:
        first = put_version(tx, "model", a_manifest("one"))
        said = put_statement(tx, first.manifest_digest, "said")
        catalog.set_alias(tx, name="model", alias="champion", number=1, statement_digest=said, at=NOW)


def test_numbers_and_log_have_no_gaps_when_eight_threads_register(database: Database) -> None:
    start = Barrier(THREADS)

    def register_some(thread: int) -> None:
        start.wait()
        for each in range(EACH):
            registered(database, "model", a_manifest(f"{thread} {each}"))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(register_some, range(THREADS)))

    with database.read() as tx:
        found = catalog.versions_of(tx, "model")
        assert SqlLogStore(tx).size() == THREADS * EACH
    assert [one.number for one in found] == list(range(1, THREADS * EACH + 1))
    assert [one.log_index for one in found] == list(range(THREADS * EACH))


def test_the_same_artifact_under_one_name_is_taken_by_the_first_of_two_writers(database: Database) -> None:
    manifest = a_manifest("one")
    registered(database, "model", manifest)
    with pytest.raises(AlreadyRecorded), database.write() as tx:
        put_version(tx, "model", manifest)
    with database.read() as tx:
        found = catalog.idempotent_version(tx, name="model", manifest_digest=manifest.canonical_digest())
        assert found is not None
        assert found.label == "model:1"
        assert SqlLogStore(tx).size() == 1


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    fill(database)
    before = counts(database)
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        version = put_version(tx, "model", a_manifest("two"))
        said = put_statement(tx, version.manifest_digest, "two")
        catalog.set_alias(tx, name="model", alias="champion", number=2, statement_digest=said, at=NOW)
        catalog.take_lease(tx, digests=[digest("x")], holder="me", until=NOW)
        _ = 1 // 0
    assert counts(database) == before
    assert registered(database, "model", a_manifest("three")).number == 2


def test_a_reader_sees_one_moment(database: Database) -> None:
    registered(database, "model", a_manifest("one"))
    with database.read() as tx:
        before = catalog.list_versions(tx)
        registered(database, "model", a_manifest("two"))
        assert catalog.list_versions(tx) == before
    with database.read() as tx:
        assert len(catalog.list_versions(tx).versions) == 2


def test_a_read_transaction_cannot_write(address: str) -> None:
    Database.create(address).close()
    reader = Database.open(address, read_only=True)
    try:
        with pytest.raises(DatabaseReadOnly), reader.write():
            pass
        with pytest.raises(DatabaseReadOnly), reader.read() as tx:
            catalog.set_meta(tx, "key", "value")
    finally:
        reader.close()


def test_who_reads_cannot_write_whatever_the_connection_did_before(database: Database) -> None:
    for number in range(3):
        with database.write() as tx:
            catalog.set_meta(tx, "key", f"{number}")
        with pytest.raises(DatabaseReadOnly), database.read() as tx:
            catalog.set_meta(tx, "key", "by a reader")
    with database.read() as tx:
        assert catalog.meta(tx, "key") == "2"


# ---- the log, against the recursive definitions of RFC 9162 §2.1


def naive_root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = naive_split(len(leaves))
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = naive_split(len(leaves))
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = naive_split(len(leaves))
    if m <= k:
        return [*naive_subproof(m, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], False), naive_root(leaves[:k])]


def naive_split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def test_the_stored_log_gives_the_roots_and_proofs_of_the_definition(database: Database) -> None:
    leaves = [f"leaf {index}".encode() * (index + 1) for index in range(21)]
    for some in (leaves[:1], leaves[1:10], leaves[10:]):
        with database.write() as tx:
            assert [append_event(tx, leaf) for leaf in some] == [leaves.index(leaf) for leaf in some]
    with database.read() as tx:
        store = SqlLogStore(tx)
        assert store.size() == len(leaves)
        assert [store.get_leaf(index) for index in range(len(leaves))] == leaves
        for size in range(len(leaves) + 1):
            assert merkle.root_from_nodes(size, store.get_node) == naive_root(leaves[:size])
        for size in (1, 2, 7, 8, 20, 21):
            for index in range(size):
                proof = merkle.inclusion_proof(index, size, store.get_node)
                assert list(proof) == naive_path(index, leaves[:size])
            for old in range(1, size):
                assert list(merkle.consistency_proof(old, size, store.get_node)) == naive_subproof(
                    old, leaves[:size], True
                )
        rows = tx.execute(select(func.count()).select_from(log_nodes)).scalar_one()
    # one node for each complete subtree above the leaves: the sum of n div 2^level
    assert rows == 10 + 5 + 2 + 1


def test_what_proves_many_entries_is_read_at_once(database: Database) -> None:
    leaves = [f"leaf {index}".encode() for index in range(21)]
    with database.write() as tx:
        for leaf in leaves:
            append_event(tx, leaf)
    with database.read() as tx:
        store = SqlLogStore(tx)
        with counted_statements() as reading:
            store.read(node for index in range(21) for node in merkle.path_nodes(index, 21))
        assert len(reading) == 1, "leaves, and the subtrees above them"
        with counted_statements() as proving:
            proofs = [list(merkle.inclusion_proof(index, 21, store.get_node)) for index in range(21)]
        assert proving == []
        assert proofs == [naive_path(index, leaves) for index in range(21)]


def test_what_proves_many_keys_is_read_at_once_and_is_what_a_path_by_itself_gives(database: Database) -> None:
    values = {hashlib.sha256(f"key {number}".encode()).digest(): f"value {number}".encode() for number in range(40)}
    absent = hashlib.sha256(b"nobody put it there").digest()
    with database.write() as tx:
        tree = SqlSnapshot(tx)
        empty = prefix_tree.root_hash(tree.get_node)
        tree.write(prefix_tree.changed_nodes(values.items(), tree.get_node, root=empty), values)
        root = prefix_tree.root_hash(tree.get_node)
    with database.read() as tx:
        together = SqlSnapshot(tx)
        with counted_statements() as reading:
            asked = prefix_tree.ProvenTree(root, {})
            together.read(position for key in (*values, absent) for position in asked.unproven(key, LEVELS_AT_ONCE))
        assert len(reading) == 1
        with counted_statements() as proving:
            for key in (*values, absent):
                path = prefix_tree.path_to(key, together.get_node)
                prefix_tree.check_path(key, values.get(key), path, root)
        assert proving == []
        for key in (*values, absent):
            alone = SqlSnapshot(tx)
            alone.read_paths(key)
            assert prefix_tree.path_to(key, alone.get_node) == prefix_tree.path_to(key, together.get_node)


# ---- schema


def test_the_revision_and_the_tables_say_the_same(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from peft_registry.registry.database.migrations import alembic_config

    with database.write() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        assert ScriptDirectory.from_config(alembic_config(tx)).get_heads() == [SCHEMA_REVISION]


def test_statements_of_an_earlier_release_are_stored_compressed_by_an_upgrade_and_read_as_they_were(
    address: str,
) -> None:
    from alembic import command

    from peft_registry.registry.database.migrations import alembic_config

    envelopes = [envelope_about(digest("it"), f"{number} " * 99)[0] for number in range(250)]
    rows = [{"at": at, "digest": f"{digest(f'{at}')}", "envelope": said} for at, said in enumerate(envelopes)]
    before = Database._connect(address, read_only=False, create=True)
    with before._engine.connect() as connection:
        connection.execution_options(registry_writes=True)
        with connection.begin():
            command.upgrade(alembic_config(connection), "0005")
            connection.execute(
                text("INSERT INTO log_events (seq, leaf, leaf_hash) VALUES (:at, :envelope, :envelope)"), rows
            )
            connection.execute(
                text(
                    "INSERT INTO statements (digest, subject, predicate_type, key_id, envelope, log_index, appended_at) "
                    "VALUES (:digest, :digest, 'type', 'key', :envelope, :at, 'then')"
                ),
                rows,
            )
    before.close()

    def read(database: Database) -> tuple[list[bytes], int]:
        with closing(database), database.read() as tx:
            said = [entry.statement.envelope for entry in catalog.every_entry(tx) if entry.statement]
            return said, tx.execute(text("SELECT sum(length(envelope)) FROM statements")).scalar_one()

    size = sum(map(len, envelopes))
    assert read(Database.open(address)) == (envelopes, size)
    said, stored = read(Database.create(address))
    assert said == envelopes
    assert stored < size / 2


def test_creating_again_keeps_what_is_there(address: str) -> None:
    first = Database.create(address)
    fill(first)
    before = counts(first)
    first.close()
    again = Database.create(address)
    assert counts(again) == before
    again.close()


def test_two_who_create_at_once_make_one_schema(address: str) -> None:
    start = Barrier(4)

    def create(_: int) -> None:
        start.wait()
        Database.create(address).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(4)))
    database = Database.open(address)
    assert registered(database, "model", a_manifest("one")).number == 1
    database.close()


@pytest.mark.parametrize(("revision", "advice"), [("0000", "made this home"), ("9999", "newer version")])
def test_another_schema_is_refused_with_the_way_on(address: str, revision: str, advice: str) -> None:
    database = Database.create(address)
    with database.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    database.close()
    with pytest.raises(SchemaMismatch) as refused:
        Database.open(address)
    assert advice in refused.value.fix
    assert revision in refused.value.why
    if revision == "9999":
        with pytest.raises(SchemaMismatch):
            Database.create(address)


def test_a_writer_who_waits_too_long_is_told_that_it_is_locked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "WAIT_SECONDS", 1)
    database = Database.create(address)
    with database.write() as tx:
        append_event(tx, b"one")
        with pytest.raises(DatabaseLocked) as locked, database.write():
            pass
    assert locked.value.exit_code == 8
    with database.read() as tx:
        assert SqlLogStore(tx).size() == 1
    database.close()


def test_an_error_nobody_foresaw_is_not_dressed_up(database: Database) -> None:
    with pytest.raises(DBAPIError), database.read() as tx:
        tx.execute(text("SELECT nonsense FROM nowhere"))


@pytest.mark.parametrize("uri", ["mysql://host/name", "sqlite:///", "sqlite://", "no address at all", ""])
def test_what_is_no_address_is_refused(uri: str) -> None:
    with pytest.raises(DatabaseAddressInvalid) as refused:
        Database.open(uri)
    assert refused.value.exit_code == 2


# ---- PostgreSQL only


def test_a_server_that_is_down_is_unreachable_and_no_password_is_shown() -> None:
    with pytest.raises(DatabaseUnreachable) as down:
        Database.open("postgresql://me:hunter2@127.0.0.1:1/registry")
    assert "hunter2" not in f"{down.value} {down.value.fix}"


def test_a_database_that_the_server_does_not_have_is_unreachable(postgres: PostgresServer) -> None:
    with pytest.raises(DatabaseUnreachable):
        Database.open(postgres.uri.replace("/postgres?", "/nowhere?"))


def test_the_writer_role_can_register_and_cannot_rewrite(postgres: PostgresServer) -> None:
    uri = postgres.new_database("roles")
    postgres.run('CREATE ROLE "lab-writer" LOGIN')
    owner = Database.create(uri)
    with owner.write() as tx:
        for statement in writer_role_sql("lab-writer"):
            tx.execute(text(statement))
    owner.close()
    writer = Database.open(uri.replace("postgres:@", "lab-writer:@"))
    fill(writer)
    with writer.write() as tx:
        catalog.put_checkpoint(tx, 1, "text")
    may_delete = {"aliases", "facet_words", "facet_numbers", "leases"}  # of which rows go when they hold no longer
    for table in METADATA.tables:
        column = next(iter(METADATA.tables[table].primary_key)).name
        changes = [f"TRUNCATE {table} CASCADE"]
        changes += [f"DELETE FROM {table}"] if table not in may_delete else []
        changes += [f'UPDATE {table} SET "{column}" = "{column}"'] if table in GROWING else []
        for change in changes:
            with pytest.raises(PrivilegeMissing), writer.write() as tx:
                tx.execute(text(change))
    with pytest.raises(PrivilegeMissing), writer.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9'"))
    writer.close()


def test_a_role_that_would_need_quoting_is_refused() -> None:
    with pytest.raises(RoleNameInvalid):
        writer_role_sql('x"; DROP TABLE versions; --')
