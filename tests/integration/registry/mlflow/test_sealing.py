"""What was compared in full and found as it was written is not compared again; whoever can write the home gains nothing by that."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from peft_registry.registry.mlflow import mirror, sealing
from peft_registry.registry.mlflow.checking import check_mirror, repair_mirror
from peft_registry.registry.mlflow.draining import rebuild_mirror, sync_mirror
from peft_registry.registry.mlflow.projection import CARD_PATH
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.views import VersionsDiffer
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.transparency.log import LogTruncated
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.progress import Started
from peft_registry.schemas.run import BegunRun
from tests.builders.homes import a_home, add_a_base, base_files, reopened
from tests.builders.lineage import register_made_from
from tests.builders.mirrored_homes import kept_seals, move_seals
from tests.builders.products import FACTS, a_product
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow's engines close when they are collected
APPROVER = a_p256_key(7)
LATER = "2026-01-02T03:04:06Z"


@dataclass(frozen=True)
class Sealed:
    """A mirrored home that its user checked before: two bases, `first:1` and `first:2` on one, `second:1` on the other."""

    registry: Registry
    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def database(self) -> Path:
        return self.registry.files.mlflow / "mlflow.db"

    def sealed(self) -> int:
        """How many versions a check compares with their seals alone, where it finds nothing."""
        checked = check_mirror(self.registry)
        assert checked.exit_code == 0, checked.lines()
        return checked.sealed

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.database)) as database:
            for statement in statements:
                database.execute(statement)
            database.commit()

    def card(self) -> Path:
        return next(path for path in (self.registry.files.mlflow / "artifacts").rglob(CARD_PATH))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed")
    with pytest.MonkeyPatch.context() as patch, a_home(folder / "home") as registry:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))  # MLflow's defaults write into the current folder
        approver = a_trusted_key(APPROVER, person="alex", role="approver", predicate_types=None)
        chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, approver))
        (registry.folder / "trust.json").write_bytes(render_chain(chain))
    with pytest.MonkeyPatch.context() as patch, closing(reopened(folder / "home")) as registry:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        first = add_a_base(registry, folder / "base")
        origin = BaseOrigin(format="huggingface", source="base-2")
        files = base_files(folder / "base-2", seed=1)
        second = add_base(registry, files, name="base-2", origin=origin, facts=None, mode="reference")
        for number in (1, 2):
            product = a_product(
                registry,
                folder / f"{number}",
                first,
                name="first",
                run_id=f"run-{number}",
                value=number / 8,
                facts=FACTS,
            )
            register_product(registry, product)
        register_made_from(registry, folder / "other", second, [], name="second", value=0.5)
        set_alias(registry, version_named(registry, "first:1"), "champion")
        assert sync_mirror(registry).clean
    with closing(reopened(folder / "home", state=folder / "state")) as registry:
        assert check_mirror(registry).sealed == 0
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sealed]:
    shutil.copytree(made / "home", tmp_path / "home")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    move_seals(made / "home", made / "state", tmp_path / "home", tmp_path / "state")
    SeenCheckpoints(tmp_path / "state", str).remember(*_newest(tmp_path / "home"))
    with closing(reopened(tmp_path / "home", state=tmp_path / "state")) as registry:
        yield Sealed(registry, tmp_path)


def _newest(home: Path) -> tuple[str, str]:
    with closing(reopened(home)) as registry:
        text = registry.remembered_checkpoint()
        assert text is not None
        return registry.origin, text


ALL = 5


def test_what_was_compared_once_is_not_compared_again_unless_that_is_asked(place: Sealed) -> None:
    assert place.sealed() == ALL
    checked = check_mirror(place.registry, in_full=True)
    assert (checked.exit_code, checked.sealed) == (0, 0)
    assert "5 unchanged" in "\n".join(check_mirror(place.registry).lines())


def test_versions_that_are_written_together_are_sealed_a_few_at_a_time(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many are in memory as make a page: the third of two a page has one of its own, and counts with the others."""
    monkeypatch.setattr(mirror, "TOGETHER_FROM", 0)
    monkeypatch.setattr(sealing, "_PAGE", 2)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / "home", tmp_path / "home")
    with closing(reopened(tmp_path / "home", state=tmp_path / "state")) as registry:
        shutil.rmtree(registry.files.mlflow)
        assert rebuild_mirror(registry).clean
        book = kept_seals(registry.folder, tmp_path / "state").read()
        assert book is not None
        assert [line.count(b'"run_id"') for line in book.split(b"\n") if line] == [0, 2, 2, 1]
        checked = check_mirror(registry)
        assert (checked.exit_code, checked.sealed) == (0, ALL)


def test_a_file_that_was_edited_is_found_though_size_and_time_are_as_they_were(place: Sealed) -> None:
    card = place.card()
    before = card.stat()
    text = card.read_bytes()
    card.write_bytes(text.replace(b"a", b"e", 1))
    os.utime(card, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert card.stat().st_size == before.st_size
    assert card.read_bytes() != text
    checked = check_mirror(place.registry)
    assert [difference.place for _, difference in checked.differences] == [f"model file {CARD_PATH}"]
    assert repair_mirror(place.registry).exit_code == 0


def delete_seals(place: Sealed) -> None:
    kept_seals(place.registry.folder, place.state).path.unlink()


def garble_seals(place: Sealed) -> None:
    kept_seals(place.registry.folder, place.state).path.write_text('{"seals": [')


def make_seals_of_another_program(place: Sealed) -> None:
    kept = kept_seals(place.registry.folder, place.state)
    data = kept.read()
    assert data is not None
    start = data.index(b'"made_with":"sha256:') + 20
    kept.write(data[:start] + b"0" * 64 + data[start + 64 :])


def make_seals_of_another_log(place: Sealed) -> None:
    kept = kept_seals(place.registry.folder, place.state)
    data = kept.read()
    assert data is not None
    start = data.index(b'"root":"') + 8
    kept.write(data[:start] + b"0" * 64 + data[start + 64 :])


def add_a_column(place: Sealed) -> None:
    place.sql("ALTER TABLE tags ADD COLUMN shown_as TEXT")


def show_another_table(place: Sealed) -> None:
    place.sql("ALTER TABLE tags RENAME TO written_tags", "CREATE VIEW tags AS SELECT * FROM written_tags")


def exchange_an_index(place: Sealed) -> None:
    """MLflow would find tags by an index that leaves some out."""
    place.sql(
        "CREATE INDEX of_run ON tags (run_uuid) WHERE key <> 'registry.bias'",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE INDEX of_run ON tags (run_uuid)' WHERE name = 'of_run'",
    )


def link_the_card(place: Sealed) -> None:
    card = place.card()
    card.rename(place.folder / "card")
    card.symlink_to(place.folder / "card")


@pytest.mark.parametrize(
    "spoil",
    [
        delete_seals,
        garble_seals,
        make_seals_of_another_program,
        make_seals_of_another_log,
        add_a_column,
        show_another_table,
        exchange_an_index,
    ],
)
def test_where_a_seal_cannot_be_believed_everything_is_compared(place: Sealed, spoil: Callable[[Sealed], None]) -> None:
    spoil(place)
    place.sql("UPDATE params SET value = 'nobody'")
    checked = check_mirror(place.registry)
    assert (checked.sealed, checked.exit_code) == (0, 6), checked.lines()


def test_what_is_edited_while_it_is_compared_is_found_by_the_next_check(place: Sealed) -> None:
    def edit(event: object) -> None:
        if isinstance(event, Started):
            place.sql("UPDATE params SET value = 'nobody'")

    delete_seals(place)
    check_mirror(place.registry, observe=edit)
    assert check_mirror(place.registry).exit_code == 6


def test_what_an_entry_without_a_checkpoint_touches_is_compared_each_time(place: Sealed) -> None:
    place.registry.files.key("log").private.rename(place.folder / "log.key")
    with closing(reopened(place.registry.folder, state=place.state)) as registry:
        set_alias(registry, version_named(registry, "first:2"), "champion")
        for _ in range(2):
            assert check_mirror(registry).sealed == 2, "the other base, and what was made on it"


def test_a_link_in_the_place_of_a_file_is_compared(place: Sealed) -> None:
    link_the_card(place)
    assert place.sealed() == ALL - 1


def test_what_another_store_holds_is_compared(place: Sealed, made: Path, tmp_path: Path) -> None:
    """Another registry's store, with its own seals in another place, in the place of this one's."""
    shutil.copytree(made / "home" / "mlflow", tmp_path / "other")
    with closing(sqlite3.connect(tmp_path / "other" / "mlflow.db")) as database:
        database.execute("UPDATE experiments SET creation_time = creation_time + 1")
        database.commit()
    shutil.rmtree(place.registry.files.mlflow)
    (tmp_path / "other").rename(place.registry.files.mlflow)
    checked = check_mirror(place.registry)
    assert [difference.kind for _, difference in checked.differences] == ["store"]


def test_an_older_store_with_an_older_database_is_not_opened(place: Sealed, tmp_path: Path) -> None:
    shutil.copytree(place.registry.folder, tmp_path / "older")
    set_alias(place.registry, version_named(place.registry, "first:2"), "champion")
    assert sync_mirror(place.registry).clean
    place.registry.close()
    shutil.rmtree(place.registry.folder)
    (tmp_path / "older").rename(place.registry.folder)
    with pytest.raises(LogTruncated):
        reopened(place.registry.folder, state=place.state)


def test_an_older_store_under_a_newer_log_is_found(place: Sealed, tmp_path: Path) -> None:
    """With the seals that it had: they are of a log in which the alias had not moved."""
    shutil.copy(place.database, tmp_path / "older.db")
    seals = kept_seals(place.registry.folder, place.state)
    older = seals.read()
    assert older is not None
    set_alias(place.registry, version_named(place.registry, "first:2"), "champion")
    assert repair_mirror(place.registry).exit_code == 0
    with closing(sqlite3.connect(tmp_path / "older.db")) as before, closing(sqlite3.connect(place.database)) as now:
        mark = now.execute("SELECT * FROM experiment_tags").fetchall()
        before.backup(now)
        now.execute("DELETE FROM experiment_tags")
        now.executemany("INSERT INTO experiment_tags VALUES (?, ?, ?)", mark)
        now.commit()
    assert seals.write(older)
    checked = check_mirror(place.registry)
    assert checked.exit_code == 6
    assert {label for label, difference in checked.differences if difference.kind == "alias"} == {"first:1", "first:2"}


def test_an_older_seal_does_not_hide_that_a_version_changed_here(place: Sealed) -> None:
    set_alias(place.registry, version_named(place.registry, "first:2"), "champion")
    checked = check_mirror(place.registry)
    assert {"first:1", "first:2"} <= set(checked.waiting)
    assert checked.exit_code == 5
    assert checked.sealed == 2, "the other base, and what was made on it"


@pytest.mark.parametrize("other", ["copied", "another user's"])
def test_a_copy_elsewhere_and_another_user_have_no_seals(place: Sealed, other: str, tmp_path: Path) -> None:
    home, state = place.registry.folder, place.state
    if other == "copied":
        home = shutil.copytree(place.registry.folder, tmp_path / "copied")
    else:
        state = tmp_path / "another"
    with closing(reopened(home, state=state)) as registry:
        assert check_mirror(registry).sealed == 0
        assert check_mirror(registry).sealed == ALL


def test_a_new_version_has_only_its_relatives_compared(place: Sealed) -> None:
    origin = BaseOrigin(format="huggingface", source="base-2")
    files = base_files(place.folder / "base-2", seed=1)
    base = add_base(place.registry, files, name="base-2", origin=origin, facts=None, mode="reference")
    register_made_from(place.registry, place.folder / "new", base, [], name="third", value=0.75)
    assert sync_mirror(place.registry).clean
    assert place.sealed() == ALL - 1, "all but the base that it was made on"
    assert place.sealed() == ALL + 1


def test_a_recall_has_everything_compared(place: Sealed) -> None:
    recall(place.registry, "second:1", APPROVER, reason="rows of the test")
    assert sync_mirror(place.registry).clean
    checked = check_mirror(place.registry)
    assert checked.sealed == 0


def test_another_trust_file_has_everything_compared(place: Sealed) -> None:
    chain = one_more(place.registry.trust_chain, place.registry.private_key("root"), keys=place.registry.trust.keys)
    (place.registry.folder / "trust.json").write_bytes(render_chain(chain))
    with closing(reopened(place.registry.folder, state=place.state)) as registry:
        assert check_mirror(registry).sealed == 0


def test_a_run_that_was_begun_has_what_is_judged_beside_it_compared(place: Sealed) -> None:
    def begun(run_id: str, plan: str) -> str:
        run = BegunRun.model_validate({"run_id": run_id, "plan": plan, "seed": 1, "started_at": LATER})
        return run.model_dump_json() + "\n"

    list_of_runs = place.registry.files.begun
    list_of_runs.write_text(begun("run-1", "sha256:" + "1" * 64) + begun("run-2", "sha256:" + "2" * 64))
    assert place.sealed() < ALL
    assert place.sealed() == ALL
    with list_of_runs.open("a") as file:
        file.write(begun("run-4", "sha256:" + "2" * 64))
    assert place.sealed() == ALL - 1, "first:2 is judged among two runs"
    list_of_runs.write_text(begun("run-1", "sha256:" + "1" * 64))
    assert place.sealed() == 0, "what was in the list is not there any more"


def test_versions_that_were_taken_out_of_the_database_are_not_passed_over(place: Sealed) -> None:
    with closing(sqlite3.connect(place.registry.files.database)) as database:
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{trigger}"')
        database.execute("DELETE FROM versions WHERE name = 'first' AND number = 2")
        database.execute("DELETE FROM mirrored WHERE key = 'first:2'")
        database.commit()
    place.sql("UPDATE model_versions SET description = 'approved' WHERE name = 'first' AND version = 2")
    with pytest.raises(VersionsDiffer):
        check_mirror(place.registry)
