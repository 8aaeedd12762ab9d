"""The log key's holder and the entries of others: each is checked before it is signed over, and a poisoned one does not end it.

Whoever may write the database can append an entry; only a checkpoint makes it count. On SQLite and PostgreSQL.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from peft_registry.cli.main import run
from peft_registry.registry.database import catalog
from peft_registry.registry.database.failures import PrivilegeMissing
from peft_registry.registry.database.log_store import SqlLogStore, append_event
from peft_registry.registry.database.roles import writer_role_sql
from peft_registry.registry.homes.home import Registry, read_settings, write_settings
from peft_registry.registry.records import checkpoints, new_entries
from peft_registry.registry.records.checkpoints import (
    covered_size,
    newest_entry_time,
    publish_checkpoint,
)
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.new_entries import PendingRejected
from peft_registry.registry.records.references import version_named
from peft_registry.registry.transparency import merkle
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.sign_log import (
    EntryCovered,
    EntryUnknown,
    LogKeyElsewhere,
    ReasonMissing,
    reject_entries,
    sign_log,
)
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.acts import AliasPredicate
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Leaf, LogEvent
from peft_registry.schemas.statement import RegistrationPredicate
from tests.builders.backends import BACKENDS, MadeHome, contents, counted_statements, make_on
from tests.builders.homes import NOW, register_adapter
from tests.builders.signing import a_p256_key

TOMORROW = "2026-11-25T12:00:00Z"


def fill(registry: Registry, folder: Path) -> None:
    version = register_adapter(registry, folder)
    set_alias(registry, version, "champion")


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def home(made: MadeHome, tmp_path: Path) -> MadeHome:
    return made.copy(tmp_path / "home")


@pytest.fixture
def keeper(home: MadeHome) -> Iterator[Registry]:
    """The home as the holder of the log key opens it."""
    registry = home.opened()
    yield registry
    registry.close()


def without_log_key(home: MadeHome, tmp_path: Path, *, now: str = NOW, value: float) -> str:
    """Register an adapter as somebody who does not hold the log key; returns the label of the pending version."""
    key = home.folder / "keys" / "log.key"
    hidden = key.rename(tmp_path / "log.key")
    registry = home.opened(now=now)
    try:
        return register_adapter(registry, tmp_path, value=value).label
    finally:
        registry.close()
        hidden.rename(key)


def champion(registry: Registry) -> Digest:
    return version_named(registry, "helper@champion").manifest_digest


# --- what may be poisoned; each returns the number of its entry ---


def an_unlisted_key_moves_an_alias(registry: Registry) -> int:
    subject = champion(registry)
    predicate = AliasPredicate(name="helper", alias="champion", reason=None, nonce="00").to_json()
    signed = sign_statement(subject, "alias", predicate, a_p256_key(seed=99))
    with registry.database.write() as tx:
        index = record_statement(tx, subject, signed, at=NOW)
        catalog.set_alias(tx, name="helper", alias="champion", number=1, statement_digest=signed.digest, at=NOW)
    return index


def a_statement_is_another_than_the_entry_says(registry: Registry) -> int:
    event = LogEvent(kind="recall", subject=champion(registry), statement=Digest.of(b"nothing"), key="0" * 64, at=NOW)
    with registry.database.write() as tx:
        return append_event(tx, event.to_canonical())


def an_entry_is_dated_in_the_future(registry: Registry) -> int:
    subject = champion(registry)
    signed = sign_statement(subject, "test-result", {"result": "PASSED", "configuration": []}, registry.trainer_key)
    with registry.database.write() as tx:
        return record_statement(tx, subject, signed, at=TOMORROW)


def an_entry_is_dated_before_the_last(registry: Registry) -> int:
    subject = champion(registry)
    signed = sign_statement(subject, "test-result", {"result": "PASSED", "configuration": []}, registry.trainer_key)
    with registry.database.write() as tx:
        return record_statement(tx, subject, signed, at="2026-01-01T00:00:00Z")


def bytes_that_are_no_entry(registry: Registry) -> int:
    with registry.database.write() as tx:
        return append_event(tx, b"\xff not an entry")


def an_artifact_is_registered_a_second_time(registry: Registry) -> int:
    subject = champion(registry)
    predicate = RegistrationPredicate(
        name="helper", source="train", accompanied_by=(), signature=Digest.of(b"x"), nonce="01"
    )
    signed = sign_statement(subject, "registration", predicate.to_json(), registry.trainer_key)
    with registry.database.write() as tx:
        return record_statement(tx, subject, signed, at=NOW)


def an_alias_of_a_name_that_has_no_such_version(registry: Registry) -> int:
    subject = champion(registry)
    predicate = AliasPredicate(name="another", alias="champion", reason=None, nonce="02").to_json()
    signed = sign_statement(subject, "alias", predicate, registry.trainer_key)
    with registry.database.write() as tx:
        return record_statement(tx, subject, signed, at=NOW)


def a_registration_without_a_name(registry: Registry) -> int:
    subject = champion(registry)
    signed = sign_statement(subject, "registration", {"source": "train"}, registry.trainer_key)
    with registry.database.write() as tx:
        return record_statement(tx, subject, signed, at=NOW)


def a_record_that_is_none(registry: Registry) -> int:
    subject = champion(registry)
    signed = sign_statement(subject, "modification", {"record_id": "r2"}, registry.trainer_key)
    with registry.database.write() as tx:
        return record_statement(tx, subject, signed, at=NOW)


def a_hash_of_other_bytes(registry: Registry) -> int:
    """What would be signed over is not what is shown: the entry that the hash is of never met a check."""
    subject = champion(registry)
    signed = sign_statement(subject, "test-result", {"result": "PASSED", "configuration": []}, registry.trainer_key)
    forged = LogEvent(kind="approval", subject=subject, statement=Digest.of(b"forged"), key="0" * 64, at=NOW)
    with registry.database.write() as tx:
        index = record_statement(tx, subject, signed, at=NOW)
        tx.execute(
            text("UPDATE log_events SET leaf_hash = :hash WHERE seq = :seq"),
            {"hash": merkle.leaf_hash(forged.to_canonical()), "seq": index},
        )
    return index


def an_envelope_that_is_cut_off(registry: Registry) -> int:
    signed = sign_statement(
        Digest.of(b"elsewhere"), "recall", {"reason": "it is", "undone": False}, registry.trainer_key
    )
    with registry.database.write() as tx:
        index = record_statement(tx, Digest.of(b"elsewhere"), signed, at=NOW)
        tx.execute(
            text("UPDATE statements SET envelope = substr(envelope, 1, 99) WHERE log_index = :index"), {"index": index}
        )
    return index


POISONS: dict[Callable[[Registry], int], str] = {
    an_unlisted_key_moves_an_alias: "unknown-key",
    a_statement_is_another_than_the_entry_says: "pending-entry-rejected",
    an_entry_is_dated_in_the_future: "pending-entry-rejected",
    an_entry_is_dated_before_the_last: "pending-entry-rejected",
    bytes_that_are_no_entry: "malformed-json",
    an_artifact_is_registered_a_second_time: "pending-entry-rejected",
    an_alias_of_a_name_that_has_no_such_version: "pending-entry-rejected",
    a_registration_without_a_name: "pending-entry-rejected",
    a_record_that_is_none: "pending-entry-rejected",
    a_hash_of_other_bytes: "pending-entry-rejected",
    an_envelope_that_is_cut_off: "row-damaged",
}


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.__name__)
def test_a_poisoned_entry_is_refused_named_and_taken_out_and_the_log_goes_on(
    poison: Callable[[Registry], int], home: MadeHome, tmp_path: Path
) -> None:
    registry = home.opened()
    target, covered = champion(registry), covered_size(registry)
    poisoned = poison(registry)
    registry.close()
    label = without_log_key(home, tmp_path, value=0.75)
    registry = home.opened()
    signed = sign_log(registry)
    assert poisoned in [entry.index for entry in signed.refused]
    assert {entry.error for entry in signed.refused if entry.index == poisoned} == {POISONS[poison]}
    assert signed.exit_code == (5 if POISONS[poison] == "unknown-key" else 6)
    assert covered_size(registry) == covered
    assert champion(registry) == target, "an entry that is pending decides nothing"

    rejection = reject_entries(registry, (poisoned,), reason="a test")
    assert (rejection.rejected, rejection.dependent) == ((poisoned,), ())
    (kept,) = rejection.kept_in
    assert json.loads(Path(kept).read_text())["reason"] == "a test"
    assert sign_log(registry).refused == ()
    registry.close()

    registry = home.opened()
    report = check_log(registry)
    assert (report.contradictions, report.unchecked, report.covered) == ((), (), report.size)
    assert champion(registry) == target
    assert verify_version(registry, version_named(registry, label)).verdict == "verified"
    registry.close()


@pytest.mark.parametrize("is_signed_over", [True, False], ids=["signed over", "pending"])
def test_what_was_rejected_is_not_put_back_by_whoever_can_write_the_database(
    home: MadeHome, tmp_path: Path, is_signed_over: bool
) -> None:
    label = without_log_key(home, tmp_path, value=0.75)
    registry = home.opened()
    sign_log(registry)
    subject = version_named(registry, label).manifest_digest
    predicate = AliasPredicate(name="helper", alias="champion", reason=None, nonce="03").to_json()
    signed = sign_statement(subject, "alias", predicate, registry.trainer_key)
    with registry.database.write() as tx:
        index = record_statement(tx, subject, signed, at=NOW)
    reject_entries(registry, (index,), reason="not this one")
    if is_signed_over:
        assert sign_log(registry).refused == ()
    before = covered_size(registry)
    with registry.database.write() as tx:
        again = record_statement(tx, subject, signed, at=NOW)
    (refused,) = sign_log(registry).refused
    assert (refused.index, refused.error, covered_size(registry)) == (again, "pending-entry-rejected", before)
    assert champion(registry) != subject
    reject_entries(registry, (again,), reason="nor now")
    assert sign_log(registry).refused == ()
    assert check_log(registry).contradictions == ()
    registry.close()


def test_publishing_stops_at_a_poisoned_entry_and_says_who_goes_on(keeper: Registry) -> None:
    a_statement_is_another_than_the_entry_says(keeper)
    with pytest.raises(PendingRejected) as refused:
        publish_checkpoint(keeper)
    assert "registry log sign" in refused.value.fix


def append_garbage(home: MadeHome, rows: int) -> None:
    """As whoever can write the database does: rows that are no entries."""
    with home.rows() as database:
        first = database.run("SELECT max(seq) + 1 FROM log_events").scalar_one()
        values = [{"seq": first + number, "leaf": b"\xff", "hash": b"\x00" * 32} for number in range(rows)]
        database.connection.execute(
            text("INSERT INTO log_events (seq, leaf, leaf_hash) VALUES (:seq, :leaf, :hash)"), values
        )


def test_to_date_an_entry_takes_as_much_work_behind_thousands_of_rows_of_garbage_as_behind_a_few(
    home: MadeHome, keeper: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = checkpoints.read_leaf
    leaves: list[bytes] = []

    def counted(data: bytes) -> Leaf:
        leaves.append(data)
        return read(data)

    for module in (checkpoints, new_entries):
        monkeypatch.setattr(module, "read_leaf", counted)
    work = []
    for rows in (100, 3_000):
        append_garbage(home, rows)
        leaves.clear()
        with keeper.database.read() as tx, counted_statements() as statements:
            assert newest_entry_time(tx) == NOW
        work.append((len(statements), len(leaves)))
    assert work[0] == work[1]
    assert work[0][1] <= 100, "of the first hundred rows not all are read"


def test_an_entry_behind_a_few_rows_of_garbage_is_dated_by_the_last_that_can_be_read(home: MadeHome) -> None:
    registry = home.opened()
    an_entry_is_dated_in_the_future(registry)
    append_garbage(home, 5)
    with registry.database.read() as tx:
        assert newest_entry_time(tx) == TOMORROW
    registry.close()


def test_entries_behind_one_that_was_dated_in_the_future_are_dated_anew(home: MadeHome, tmp_path: Path) -> None:
    without_log_key(home, tmp_path, value=0.25, now=TOMORROW)
    registry = home.opened()
    ahead = sign_log(registry)
    assert ahead.refused
    registry.close()
    label = without_log_key(home, tmp_path, value=0.75)  # stands behind them, and so is dated tomorrow as well
    registry = home.opened()
    rejection = reject_entries(registry, tuple(entry.index for entry in ahead.refused), reason="a clock ran ahead")
    assert rejection.moved > 0
    assert sign_log(registry).refused == ()
    assert label == "helper:3"
    moved_up = version_named(registry, "helper")
    assert (moved_up.label, moved_up.registered_at) == ("helper:2", NOW)
    assert check_log(registry).contradictions == ()
    registry.close()


def test_what_depends_on_a_rejected_entry_goes_with_it(home: MadeHome, tmp_path: Path) -> None:
    """A registration without its modification record, an alias without its version: neither could ever verify."""
    label = without_log_key(home, tmp_path, value=0.75)
    registry = home.opened()
    pending = version_named(registry, label)
    key = home.folder / "keys" / "log.key"
    hidden = key.rename(tmp_path / "log.key")
    other = home.opened()
    set_alias(other, pending, "champion")
    other.close()
    hidden.rename(key)
    with registry.database.read() as tx:
        said = {entry.kind: entry.log_index for entry in catalog.statements_of(tx, subject=pending.manifest_digest)}
    first = said["modification"]
    assert first is not None
    rejection = reject_entries(registry, (first,), reason="the record was another's")
    beside = ("provenance", "observations", "card", "registration", "alias")
    assert set(rejection.dependent) == {said[kind] for kind in beside}
    assert version_named(registry, "helper@champion").label == "helper:1"
    assert sign_log(registry).refused == ()
    assert check_log(registry).contradictions == ()
    assert register_adapter(registry, tmp_path, value=0.75).label == "helper:2", "it can be registered again"
    registry.close()


def test_what_a_checkpoint_covers_is_never_taken_out(keeper: Registry) -> None:
    before = contents(keeper)
    with keeper.database.read() as tx:
        size = SqlLogStore(tx).size()
    for index in (0, size - 1):
        with pytest.raises(EntryCovered):
            reject_entries(keeper, (index,), reason="a test")
    with pytest.raises(EntryUnknown):
        reject_entries(keeper, (size,), reason="a test")
    with pytest.raises(ReasonMissing):
        reject_entries(keeper, (size,), reason=" ")
    assert contents(keeper) == before


def test_a_checkpoint_that_was_deleted_from_the_database_still_covers(home: MadeHome) -> None:
    with home.rows() as rows:
        rows.run("DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)")
    registry = home.opened()
    with registry.database.read() as tx:
        last = SqlLogStore(tx).size() - 1
    with pytest.raises(EntryCovered):
        reject_entries(registry, (last,), reason="a test")
    registry.close()


def test_nobody_but_the_holder_of_the_log_key_signs_or_rejects(home: MadeHome, tmp_path: Path) -> None:
    (home.folder / "keys" / "log.key").rename(tmp_path / "log.key")
    registry = home.opened()
    poisoned = a_statement_is_another_than_the_entry_says(registry)
    before = contents(registry)
    with pytest.raises(LogKeyElsewhere) as refused:
        sign_log(registry)
    assert "lab-1" in refused.value.why
    with pytest.raises(LogKeyElsewhere):
        reject_entries(registry, (poisoned,), reason="a test")
    assert contents(registry) == before
    registry.close()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["prove", "-1"], "the log of size {size} has no proof for entry -1"),
        (["reject", "-2", "--reason", "x"], "the log has no entry -2"),
    ],
)
def test_a_number_below_zero_is_an_entry_that_is_not_there(
    keeper: Registry, words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["log", *words, "--home", str(keeper.folder)]) == 7
    said = capsys.readouterr().err
    assert f"error: {why.format(size=check_log(keeper).size)}" in said
    assert "why:" in said and "fix:" in said


def test_a_misspelt_option_is_none_beside_an_entry(keeper: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["log", "prove", "1", "--hom", str(keeper.folder)]) == 2
    assert "no such option: --hom" in capsys.readouterr().err


def test_a_rejection_that_cannot_keep_its_evidence_changes_nothing(keeper: Registry) -> None:
    poisoned = a_statement_is_another_than_the_entry_says(keeper)
    (keeper.folder / "rejected").write_text("not a folder")
    before = contents(keeper)
    with pytest.raises(Exception, match="rejected"):
        reject_entries(keeper, (poisoned,), reason="a test")
    assert contents(keeper) == before


# whoever can write the file of SQLite owns it
@pytest.mark.sql
@pytest.mark.parametrize("made", ["postgresql"], indirect=True)
def test_a_writer_that_does_not_own_the_tables_cannot_take_anything_out(home: MadeHome) -> None:
    assert home.server is not None
    settings = read_settings(home.folder)
    assert settings.database is not None
    database = settings.database.rpartition("/")[2].partition("?")[0]
    role = f"writer_{abs(hash(str(home.folder))):x}"[:40]
    home.server.run(f'CREATE ROLE "{role}" LOGIN')
    home.server.run(f'GRANT CONNECT ON DATABASE "{database}" TO "{role}"')
    with home.rows() as rows:
        for statement in writer_role_sql(role):
            rows.run(statement)
    address = settings.database.replace("//postgres:", f"//{role}:").replace("//postgres@", f"//{role}@")
    write_settings(home.folder, settings.model_copy(update={"database": address}))
    registry = home.opened()
    poisoned = a_statement_is_another_than_the_entry_says(registry)
    before = contents(registry)
    with pytest.raises(PrivilegeMissing):
        reject_entries(registry, (poisoned,), reason="a test")
    assert contents(registry) == before
    registry.close()
