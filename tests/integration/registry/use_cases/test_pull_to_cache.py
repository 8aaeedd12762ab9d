"""A cache of verified versions: nothing is copied twice, nothing in it is believed."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.pull import PullUnverified
from peft_registry.registry.use_cases.pull_to_cache import CachedVersion, NotWhatIsListed, pull_to_cache
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.registry.verification.presented import BytesElsewhere
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version
from tests.builders.homes import NOW, a_home, base_files, register_adapter, reopened

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Version]]:
    folder = tmp_path_factory.mktemp("home")
    with a_home(folder / "home") as registry:
        yield registry, register_adapter(registry, folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def states(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_second_pull_copies_nothing(home, tmp_path: Path) -> None:
    registry, version = home
    first = pull_to_cache(registry, version, tmp_path / "cache")
    before = states(tmp_path / "cache")
    second = pull_to_cache(registry, version, tmp_path / "cache")
    assert first.copied_bytes == sum(map(len, contents(first.folder).values()))
    assert second == CachedVersion(first.folder, first.outcome, 0, ())
    assert states(tmp_path / "cache") == before
    assert verify_folder(first.folder, trust=registry.trust, now=NOW).verdict == "verified"
    assert all(path.stat().st_mode & 0o222 == 0 for path in first.folder.rglob("*") if path.is_file())


def test_what_is_said_later_makes_another_entry_on_the_same_weights(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        version = register_adapter(registry, tmp_path)
        first = pull_to_cache(registry, version, tmp_path / "cache")
        before = contents(first.folder)
        append_statement(
            registry,
            subject=version.manifest_digest,
            kind="test-result",
            predicate={"result": "PASSED", "configuration": []},
            signer=registry.trainer_key,
        )
        second = pull_to_cache(registry, version, tmp_path / "cache")
    assert second.folder != first.folder
    assert contents(first.folder) == before
    assert (first.folder / WEIGHTS).samefile(second.folder / WEIGHTS)
    changed = {path for path, data in contents(second.folder).items() if before.get(path) != data}
    assert all(path.startswith("evidence/") for path in changed)
    assert second.copied_bytes == sum(len((second.folder / path).read_bytes()) for path in changed)


def written_over(entry: Path) -> None:
    (entry / WEIGHTS).chmod(0o644)
    data = (entry / WEIGHTS).read_bytes()
    (entry / WEIGHTS).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # the object too: it has two names


def replaced(entry: Path) -> None:
    (entry / WEIGHTS).unlink()
    (entry / WEIGHTS).write_bytes(b"other")


def linked(entry: Path) -> None:
    (entry.parent / "elsewhere").write_bytes((entry / WEIGHTS).read_bytes())
    (entry / WEIGHTS).unlink()
    (entry / WEIGHTS).symlink_to(entry.parent / "elsewhere")


def led_elsewhere(entry: Path) -> None:
    """The files are right, in a folder where whoever made the link can change them afterwards."""
    entry.rename(entry.parents[1] / "elsewhere")
    entry.symlink_to(entry.parents[1] / "elsewhere")


def led_nowhere(entry: Path) -> None:
    led_elsewhere(entry)
    (entry.parents[1] / "elsewhere").rename(entry.parents[1] / "moved")


def removed(entry: Path) -> None:
    (entry / WEIGHTS).unlink()


def added(entry: Path) -> None:
    (entry / "modeling.py").write_text("print('loaded')")


def other_card(entry: Path) -> None:
    """What `registry verify` allows in a pulled folder: people may edit a card. Here nobody may."""
    (entry / "README.md").unlink()
    (entry / "README.md").write_text("# other")


@pytest.mark.parametrize(
    "change",
    [written_over, replaced, linked, led_elsewhere, led_nowhere, removed, added, other_card],
    ids=lambda change: change.__name__,
)
def test_a_changed_entry_is_noticed_and_made_anew(home, tmp_path: Path, change: Callable[[Path], None]) -> None:
    registry, version = home
    first = pull_to_cache(registry, version, tmp_path / "cache")
    whole = contents(first.folder)
    change(first.folder)
    second = pull_to_cache(registry, version, tmp_path / "cache")
    assert second.replaced
    assert contents(second.folder) == whole
    assert pull_to_cache(registry, version, tmp_path / "cache").replaced == ()


def test_a_changed_object_is_not_linked_into_a_new_entry(home, tmp_path: Path) -> None:
    registry, version = home
    first = pull_to_cache(registry, version, tmp_path / "cache")
    whole = contents(first.folder)
    written_over(first.folder)
    shutil.rmtree(first.folder)
    second = pull_to_cache(registry, version, tmp_path / "cache")
    assert second.replaced == (WEIGHTS,)
    assert contents(second.folder) == whole


def test_a_version_whose_bytes_changed_in_the_store_enters_no_cache(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        version = register_adapter(registry, tmp_path)
        weights = Digest.of((tmp_path / "adapter-helper-0.5" / WEIGHTS).read_bytes())
        stored = registry.store.local_path(weights)
        assert stored is not None
        stored.chmod(0o644)
        stored.write_bytes(b"other")
        with pytest.raises(NotWhatIsListed):
            pull_to_cache(registry, version, tmp_path / "cache")
    assert not list((tmp_path / "cache" / "versions").iterdir())


def test_a_key_that_is_no_longer_trusted_refuses_an_entry_that_is_there(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        version = register_adapter(registry, tmp_path)
        pull_to_cache(registry, version, tmp_path / "cache")
        nobody = registry.trust.revised(keys=tuple(key for key in registry.trust.keys if key.role != "trainer"))
        with pytest.raises(PullUnverified):
            pull_to_cache(registry, version, tmp_path / "cache", trust=nobody)


def test_objects_of_a_store_elsewhere_are_fetched_once(tmp_path: Path) -> None:
    with a_home(tmp_path / "home", store="memory://") as registry:
        version = register_adapter(registry, tmp_path)
        first = pull_to_cache(registry, version, tmp_path / "cache")
        assert first.copied_bytes == sum(map(len, contents(first.folder).values()))
        written_over(first.folder)
        second = pull_to_cache(registry, version, tmp_path / "cache")
        assert second.replaced == (WEIGHTS,)
        assert second.copied_bytes == (second.folder / WEIGHTS).stat().st_size
        assert pull_to_cache(registry, version, tmp_path / "cache").copied_bytes == 0


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_base_that_is_elsewhere_and_no_longer_what_it_was_enters_no_cache(tmp_path: Path, damage: str) -> None:
    from peft_registry.registry.records.references import version_named

    with a_home(tmp_path / "home") as registry:
        register_adapter(registry, tmp_path)
        if damage == "changed":
            base_files(tmp_path / "base", seed=9)
        else:
            shutil.rmtree(tmp_path / "base")
        with pytest.raises(NotWhatIsListed if damage == "changed" else BytesElsewhere):
            pull_to_cache(registry, version_named(registry, "tiny"), tmp_path / "cache")
    assert not list((tmp_path / "cache" / "versions").iterdir())


def test_processes_that_pull_at_once_end_with_one_entry(home, tmp_path: Path) -> None:
    registry, version = home
    folders: list[Path] = []

    def pull() -> None:
        own = reopened(registry.folder)
        try:
            folders.append(pull_to_cache(own, version, tmp_path / "cache").folder)
        finally:
            own.close()

    threads = [threading.Thread(target=pull) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 4
    assert len(set(folders)) == 1
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["objects", "versions"]
    assert verify_folder(folders[0], trust=registry.trust, now=NOW).verdict == "verified"
