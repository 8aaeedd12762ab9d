"""A stop that somebody signed, and that no checkpoint covers yet, cannot be unsaid: who saw it once remembers it.

Two homes share a database, and a third person holds the log key. Whoever can write the database takes the stop out of it.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore, append_event
from peft_registry.registry.disk.files import DiskFull
from peft_registry.registry.homes.home import Registry, open_home, read_settings, write_settings
from peft_registry.registry.homes.remembered_stops import StopMemoryUnreadable
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from peft_registry.registry.records import checkpoints
from peft_registry.registry.records.bindings import AliasBound
from peft_registry.registry.records.checkpoints import LogNotSigned
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.holds import every_hold
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stops import VersionStopped, with_stops
from peft_registry.registry.records.subjects import DigestUnknown
from peft_registry.registry.records.views import view_of
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.use_cases import acts as acts_module
from peft_registry.registry.use_cases.accept_restore import accept_restore
from peft_registry.registry.use_cases.bind_alias import bind_alias, guarded_named
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.hold import hold, release
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.recall import NotStopped, recall
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.show_log import show_log
from peft_registry.registry.use_cases.sign_log import keep_signing, reject_entries, sign_log
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.acts import guarded_subject
from peft_registry.schemas.errors import IntegrityBroken, Taken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import event_about
from peft_registry.schemas.statement import PREDICATE_TYPES
from tests.builders.backends import MadeHome
from tests.builders.bound_aliases import APPROVER, OFFICER, STRANGER, WHY, Place, fill
from tests.builders.homes import NOW, a_home, add_a_base, an_artifact, reopened
from tests.builders.mirror import projection_of

STOPS: dict[str, Callable[[Place], object]] = {
    "recall": lambda place: recall(place.registry, "helper:1", APPROVER, reason=WHY),
    "hold": lambda place: hold(place.registry, "helper:1", APPROVER, reason=WHY),
    "gate": lambda place: bind_alias(
        place.registry,
        guarded_named(place.registry, "helper@champion"),
        place.policy("bank"),
        APPROVER,
        reason=WHY,
    ),
}


def is_stopped(kind: str, registry: Registry, folder: Path) -> bool:
    """Whether the door is shut that a stop of this kind is about."""
    version = version_named(registry, "helper:1")
    if kind == "hold":
        with view_of(registry) as view:
            return every_hold(view).keeping(view, version.manifest_digest) is not None
    try:
        if kind == "gate":
            set_alias(registry, version, "champion")
        else:
            pull_version(registry, version, folder / "pulled")
    except (AliasBound, VersionStopped):
        return True
    return False


@dataclass
class Homes:
    """The home that the database lies in, another that joined it, and the log key, which is in neither."""

    folder: Path
    first: MadeHome
    second: Path
    log_key: Path
    opened: list[Registry] = field(default_factory=list)

    def open(self, which: str) -> Registry:
        """The home of the `keeper` of the log key is the first, with the key, and a state folder of its own."""
        folder = self.second if which == "second" else self.first.folder
        if which == "keeper":
            shutil.copyfile(self.log_key, folder / "keys" / "log.key")
            (folder / "keys" / "log.key").chmod(0o600)
        registry = reopened(folder, now=NOW, state=self.state(which))
        self.opened.append(registry)
        return registry

    def state(self, which: str) -> Path:
        return self.folder / f"state-{which}"

    def memory(self, which: str) -> list[Path]:
        return [path for path in (self.state(which) / "stops").glob("*/*") if path.is_file()]

    def delete_the_last_entry(self) -> list[tuple[str, object]]:
        """What anybody does who can write the database; returns the rows of the entry and of its statement."""
        with self.first.rows() as rows:
            last = rows.run("SELECT max(seq) FROM log_events").scalar_one()
            kept: list[tuple[str, object]] = [
                (table, dict(rows.run(f"SELECT * FROM {table} WHERE {column} = :last", last=last).mappings().one()))
                for table, column in (("log_events", "seq"), ("statements", "log_index"))
            ]
            rows.run("DELETE FROM statements WHERE log_index = :last", last=last)
            rows.run('DELETE FROM log_nodes WHERE (("index" + 1) << level) > :last', last=last)
            rows.run("DELETE FROM log_events WHERE seq = :last", last=last)
        return kept


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home") as registry:
        fill(registry, folder)
    return MadeHome(folder / "home")


@pytest.fixture
def homes(made: MadeHome, tmp_path: Path) -> Iterator[Homes]:
    first = made.copy(tmp_path / "first")
    log_key = (first.folder / "keys" / "log.key").rename(tmp_path / "log.key")
    second = tmp_path / "second"
    shutil.copytree(first.folder, second)
    shared = {"database": f"sqlite:///{first.folder / 'database.sqlite'}", "store": str(first.folder)}
    write_settings(second, read_settings(second).model_copy(update=shared))
    homes = Homes(tmp_path, first, second, log_key)
    yield homes
    for registry in homes.opened:
        registry.close()


@pytest.mark.parametrize("kind", STOPS)
def test_a_pending_stop_that_is_deleted_stops_in_the_home_that_made_it_and_in_one_that_once_read_it(
    homes: Homes, kind: str
) -> None:
    maker, reader = homes.open("second"), homes.open("first")
    STOPS[kind](Place(homes.folder, homes.first, maker))
    assert is_stopped(kind, reader, homes.folder)
    assert [len(homes.memory(which)) for which in ("first", "second")] == [1, 1]
    homes.delete_the_last_entry()
    for which in ("first", "second"):
        registry = homes.open(which)
        report = check_log(registry)
        assert report.contradictions == ()  # nothing in the database shows that it was ever said
        assert [text.split()[0] for text in report.lost_stops] == [kind]
        assert is_stopped(kind, registry, homes.folder)
        if kind == "recall":
            version = version_named(registry, "helper:1")
            assert dict(projection_of(registry, version).version.tags)["registry.recall"] == "recalled"
            assert with_stops(registry, verify_version(registry, version)).recalls != ()
    # whoever writes next enters it again, and the holder of the log key, who never saw it, covers it
    set_alias(homes.open("first"), version_named(homes.open("first"), "helper:2"), "other")
    keeper = homes.open("keeper")
    assert sign_log(keeper).refused == () and is_stopped(kind, keeper, homes.folder)
    for which in ("first", "second"):
        assert is_stopped(kind, homes.open(which), homes.folder)
        assert homes.memory(which) == []
    assert check_log(keeper).contradictions == ()


@pytest.mark.parametrize("kind", STOPS)
def test_a_stop_that_is_put_back_in_another_place_counts_once(homes: Homes, kind: str) -> None:
    maker = homes.open("second")
    STOPS[kind](Place(homes.folder, homes.first, maker))
    homes.delete_the_last_entry()
    writer = homes.open("first")
    set_alias(writer, version_named(writer, "helper:2"), "other")  # it never saw the stop
    again = homes.open("second")
    set_alias(again, version_named(again, "helper:2"), "another")
    set_alias(again, version_named(again, "helper:2"), "third")
    assert is_stopped(kind, again, homes.folder)
    with again.database.read() as tx:
        assert SqlLogStore(tx).size() == check_log(again).covered + 4  # three moves, and the stop once


@pytest.mark.parametrize("kind", STOPS)
def test_a_stop_that_the_holder_of_the_log_key_rejects_stays_and_its_rejection_is_logged(
    homes: Homes, kind: str
) -> None:
    keeper = homes.open("keeper")
    STOPS[kind](Place(homes.folder, homes.first, homes.open("second")))
    entry = check_log(keeper).size - 1
    rejection = reject_entries(keeper, (entry,), reason="a nuisance")
    assert (rejection.rejected, rejection.moved) == ((), 0)
    assert [(stop.index, stop.kind, stop.person) for stop in rejection.staying] == [(entry, kind, "alex")]
    assert is_stopped(kind, keeper, homes.folder) and is_stopped(kind, homes.open("second"), homes.folder)
    assert sign_log(keeper).refused == ()
    logged = show_log(keeper, limit=3).entries
    assert [(shown.kind, shown.person, shown.subject) for shown in logged if shown.kind == "rejection"] == [
        ("rejection", "lab-1", rejection.staying[0].statement)
    ]
    assert is_stopped(kind, keeper, homes.folder)
    assert check_log(keeper).contradictions == ()


@pytest.mark.parametrize("kind", STOPS)
def test_of_two_homes_that_say_the_same_at_once_one_is_told_that_the_other_did(
    homes: Homes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = homes.open("first"), homes.open("second")
    before = check_log(first).size
    sign = acts_module.sign_statement

    def after_the_other(*said: Any) -> SignedStatement:
        monkeypatch.setattr(acts_module, "sign_statement", sign)
        STOPS[kind](Place(homes.folder, homes.first, first))
        return sign(*said)

    monkeypatch.setattr(acts_module, "sign_statement", after_the_other)
    with pytest.raises(Taken, match="already"):
        STOPS[kind](Place(homes.folder, homes.first, second))
    assert check_log(second).size == before + 1
    assert is_stopped(kind, second, homes.folder)


@pytest.mark.parametrize("kind", ["recall", "hold"])
def test_a_stop_of_what_is_registered_afterwards_stops_it(homes: Homes, kind: Literal["recall", "hold"]) -> None:
    keeper = homes.open("keeper")
    base = add_a_base(keeper, homes.folder / "base")
    artifact = an_artifact(homes.folder / "later", base, name="later", value=0.5)
    subject = artifact.manifest.canonical_digest()
    with keeper.database.write() as tx:
        record_statement(tx, subject, sign_statement(subject, kind, {"reason": WHY, "nonce": "00"}, APPROVER), at=NOW)
    with pytest.raises(DigestUnknown):  # no use case says anything about what is unknown here
        {"recall": recall, "hold": hold}[kind](keeper, f"{subject}", APPROVER, reason=WHY)
    later = register_version(keeper, artifact)
    if kind == "recall":
        with pytest.raises(VersionStopped, match="alex recalled it"):
            pull_version(keeper, later, homes.folder / "pulled")
    else:
        with view_of(keeper) as view:
            assert every_hold(view).keeping(view, later.manifest_digest) is not None


A_RECALL = {"reason": WHY, "undone": False, "nonce": "00"}
ANOTHER_ALIAS = {
    "name": None,
    "alias": "other",
    "policy": str(Digest.of(b"policy")),
    "policy_name": "bank",
    "reason": WHY,
    "nonce": "00",
}


@pytest.mark.parametrize(
    ("kind", "predicate", "signer"),
    [("recall", A_RECALL, OFFICER), ("gate", ANOTHER_ALIAS, APPROVER), ("gate", {"alias": "champion"}, APPROVER)],
    ids=["by an officer", "of another alias than it is about", "of no form"],
)
def test_a_stop_that_nobody_may_sign_over_is_taken_out_and_counts_nowhere(
    homes: Homes, kind: Literal["recall", "gate"], predicate: dict[str, Any], signer: PrivateKey
) -> None:
    keeper = homes.open("keeper")
    subject = version_named(keeper, "helper:1").manifest_digest
    if kind == "gate":
        subject = guarded_subject(None, "champion")
    signed = sign_statement(subject, kind, predicate, signer)
    with keeper.database.write() as tx:
        entry = record_statement(tx, subject, signed, at=NOW)
    rejection = reject_entries(keeper, (entry,), reason="nobody signs over it")
    assert (rejection.rejected, rejection.staying) == ((entry,), ())
    assert sign_log(keeper).refused == ()
    assert not is_stopped(kind, keeper, homes.folder) and homes.memory("keeper") == []


LIFTS: dict[str, Callable[[Place], object]] = {
    "recall": lambda place: recall(place.registry, "helper:1", APPROVER, reason="it was another", undo=True),
    "hold": lambda place: release(place.registry, "helper:1", APPROVER, reason="it was another"),
}


@pytest.mark.parametrize("how", ["row", "entry"])
@pytest.mark.parametrize("kind", LIFTS)
def test_what_lifted_an_earlier_stop_is_not_replayed_against_a_pending_one(homes: Homes, kind: str, how: str) -> None:
    """It was signed too: whoever writes the database puts it behind the stop that came later."""
    keeper, maker = homes.open("keeper"), homes.open("second")
    place = Place(homes.folder, homes.first, maker)
    STOPS[kind](place)
    sign_log(keeper)
    LIFTS[kind](place)
    sign_log(keeper)
    assert not is_stopped(kind, homes.open("first"), homes.folder)
    shutil.rmtree(homes.folder / "pulled", ignore_errors=True)
    STOPS[kind](place)
    subject = version_named(maker, "helper:1").manifest_digest
    with maker.database.read() as tx:
        *_, lifted, stop = (said for said in catalog.statements_of(tx, subject=subject) if said.kind == kind)
    assert stop.statement.is_stop and not lifted.statement.is_stop
    if how == "row":
        with homes.first.rows() as rows:
            rows.run("UPDATE statements SET log_index = -1 WHERE digest = :digest", digest=f"{stop.digest}")
            for digest, index in ((lifted.digest, stop.log_index), (stop.digest, lifted.log_index)):
                rows.run(
                    "UPDATE statements SET log_index = :index WHERE digest = :digest", index=index, digest=f"{digest}"
                )
        for which in ("first", "second"):
            with pytest.raises(IntegrityBroken):
                is_stopped(kind, homes.open(which), homes.folder)
        return
    leaf = event_about(subject, lifted.digest, predicate_type=PREDICATE_TYPES[kind], key=lifted.key_id, at=NOW)
    with maker.database.write() as tx:
        append_event(tx, leaf.to_canonical())
    for which in ("first", "second"):
        assert is_stopped(kind, homes.open(which), homes.folder)
    refused = sign_log(keeper).refused
    assert [entry.index for entry in refused] == [check_log(keeper).size - 1]
    assert is_stopped(kind, keeper, homes.folder)


def refuse_to_write(*_: object, **__: object) -> None:
    raise DiskFull("the disk")


@pytest.mark.parametrize("kind", STOPS)
def test_a_disk_that_fills_once_a_stop_is_recorded_denies_no_stop(
    homes: Homes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = homes.open("keeper")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_sign", refuse_to_write)
        with pytest.raises(LogNotSigned, match="is in the log, and pending"):
            STOPS[kind](Place(homes.folder, homes.first, keeper))
    assert is_stopped(kind, homes.open("first"), homes.folder)
    assert sign_log(keeper).refused == ()
    assert is_stopped(kind, homes.open("second"), homes.folder)


def test_a_stop_that_is_dated_ahead_stays_and_is_dated_now(homes: Homes) -> None:
    keeper = homes.open("keeper")
    subject = version_named(keeper, "helper:1").manifest_digest
    signed = sign_statement(subject, "recall", {"reason": WHY, "undone": False, "nonce": "00"}, APPROVER)
    with keeper.database.write() as tx:
        entry = record_statement(tx, subject, signed, at="2026-11-25T12:00:00Z")
    assert [refused.index for refused in sign_log(keeper).refused] == [entry]
    assert [stop.index for stop in reject_entries(keeper, (entry,), reason="its clock is wrong").staying] == [entry]
    assert sign_log(keeper).refused == () and is_stopped("recall", keeper, homes.folder)


def test_a_home_that_signs_again_and_again_covers_what_comes_and_names_what_is_refused_once(homes: Homes) -> None:
    keeper, maker = homes.open("keeper"), homes.open("second")
    waits: list[float] = []
    outcomes = keep_signing(keeper, every_seconds=5, wait=waits.append)
    assert next(outcomes).before == check_log(keeper).covered
    STOPS["recall"](Place(homes.folder, homes.first, maker))
    waiting = show_log(maker, limit=1)
    assert (waiting.waiting_since, waiting.size - waiting.covered) == (NOW, 1)
    signed = next(outcomes)
    assert signed.covered == signed.size and waits[0] == 5
    assert show_log(maker, limit=1).waiting_since is None


def test_a_restored_backup_names_the_stops_that_it_lacks_and_they_count(homes: Homes) -> None:
    database = homes.first.folder / "database.sqlite"
    backup = database.read_bytes()
    maker, keeper = homes.open("second"), homes.open("keeper")
    set_alias(keeper, version_named(keeper, "helper:2"), "other")
    STOPS["recall"](Place(homes.folder, homes.first, maker))
    for registry in homes.opened:
        registry.close()
    database.write_bytes(backup)
    seen = SeenCheckpoints(homes.state("second"), str)
    restored = open_home(homes.second, clock=lambda: NOW, check_log=False, seen=seen)
    homes.opened.append(restored)
    restore = accept_restore(restored, reason="the disk died", dry_run=True)
    manifest = restore.stops[0].split()[2]
    assert restore.stops == (f"recall of {manifest} by alex",)


def test_a_recall_that_is_taken_back_is_remembered_no_more(homes: Homes) -> None:
    maker = homes.open("second")
    STOPS["recall"](Place(homes.folder, homes.first, maker))
    keeper = homes.open("keeper")
    sign_log(keeper)
    recall(keeper, "helper:1", APPROVER, reason="it was another", undo=True)
    assert not is_stopped("recall", homes.open("second"), homes.folder)
    assert homes.memory("second") == []
    size = check_log(keeper).size
    with pytest.raises(NotStopped):  # undone twice
        recall(keeper, "helper:1", APPROVER, reason="it was another", undo=True)
    assert check_log(keeper).size == size


def test_a_stop_that_could_not_be_recorded_is_not_remembered(homes: Homes) -> None:
    maker = homes.open("second")
    with pytest.raises(NotStopped):
        recall(maker, "helper:1", APPROVER, reason=WHY, undo=True)
    with homes.first.rows() as rows:
        rows.run("CREATE TRIGGER full BEFORE INSERT ON statements BEGIN SELECT RAISE(ABORT, 'full'); END")
    with pytest.raises(Exception, match="full"):
        recall(maker, "helper:1", APPROVER, reason=WHY)
    assert homes.memory("second") == []


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def made_enormous(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(2**30)


def of_another_home(file: Path) -> None:
    signed = sign_statement(Digest.of(b"data"), "recall", {"reason": WHY, "undone": False, "nonce": "00"}, STRANGER)
    file.with_name(signed.digest.hex).write_bytes(signed.line)


def taken_for_another(file: Path) -> None:
    file.rename(file.with_name("0" * 64))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut_short, "is not a DSSE envelope|is not strict JSON|JSON"),
        (made_enormous, "1073741824 bytes"),
        (of_another_home, "it is of another registry"),
        (taken_for_another, "another statement than its name says"),
    ],
)
def test_a_memory_that_cannot_be_read_opens_no_door_and_says_so_in_a_sentence(
    homes: Homes, spoil: Callable[[Path], None], reason: str
) -> None:
    maker = homes.open("second")
    STOPS["recall"](Place(homes.folder, homes.first, maker))
    homes.delete_the_last_entry()
    spoil(homes.memory("second")[0])
    for kind in STOPS:
        with pytest.raises(StopMemoryUnreadable, match=reason) as refused:
            is_stopped(kind, homes.open("second"), homes.folder)
        assert refused.value.exit_code == 5 and str(homes.state("second")) in refused.value.why
