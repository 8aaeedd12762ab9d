"""A base used by reference: only the registered files are seen by a loader, and what is loaded is what was compared."""

import json
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.registry.disk.hashing import DigestCache, StatKey
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from peft_registry.registry.identity.base import identify_base
from peft_registry.registry.identity.weights import _CACHE_KIND, hash_tensors
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.pull_base import BaseChanged, CheckedFolder, WrongBase, checked_folder
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.schemas.version import Version
from tests.builders.homes import NOW, a_home, add_a_base, base_files
from tests.builders.made import registered_base

PLANTED = {
    "additional_chat_templates/default.jinja": "{{ 'planted' }}",
    "chat_template.jinja": "{{ 'planted' }}",
    "adapter_config.json": '{"base_model_name_or_path": "/elsewhere"}',
    "model.safetensors.index.json": "{}",
    "pytorch_model.bin": "planted",
    "modeling.py": "planted",
    "tekken.json": "{}",
    "config.4.0.0.json": "{}",
    "special_tokens_map.json": "{}",
}


@pytest.fixture
def tmp_path(on_disk: Path) -> Path:
    """Every folder of these tests: what is remembered of files is their subject."""
    return on_disk


@pytest.fixture
def base(registry: Registry, version: Version, tmp_path: Path) -> AddedBase:
    """That of the adapter that is registered there; its files lie beside the home."""
    return registered_base(registry, "tiny", tmp_path / "base")


def checked(registry: Registry, base: AddedBase, scratch: Path) -> CheckedFolder:
    return checked_folder(registry, base.version, scratch)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def plant(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(PLANTED[name])


@pytest.mark.parametrize("name", PLANTED)
def test_a_file_added_to_a_base_used_by_reference_is_seen_by_no_loader(
    registry: Registry, base: AddedBase, tmp_path: Path, name: str
) -> None:
    listed = names(base.folder)
    plant(base.folder, name)
    folder = checked(registry, base, tmp_path / "scratch").folder
    assert names(folder) == listed
    assert name not in names(folder)


@pytest.mark.parametrize("name", PLANTED)
def test_an_adapter_does_not_verify_on_a_base_to_which_a_file_was_added(
    registry: Registry, pulled: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "base"

    def exit_code() -> int:
        return verify_folder(pulled, trust=registry.trust, now=NOW, base=folder).exit_code

    assert exit_code() == 0
    plant(folder, name)
    # no loader opens it, for no configuration names it
    is_inert = name == "config.4.0.0.json"
    # a whole file of weights is loaded before any index is asked for
    is_unused = name == "model.safetensors.index.json"
    assert exit_code() == (0 if is_inert or is_unused else 6)


def test_the_folder_is_private_and_its_small_files_are_copies(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir(mode=0o755)
    folder = checked(registry, base, tmp_path / "scratch").folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name for path in folder.iterdir() if path.is_symlink()} == {"model.safetensors"}
    assert (folder / "model.safetensors").resolve() == (base.folder / "model.safetensors").resolve()
    before = (folder / "config.json").read_bytes()
    (base.folder / "config.json").write_text("{}")
    assert (folder / "config.json").read_bytes() == before, "what was compared is what is loaded"


def test_every_listed_file_with_other_bytes_is_refused(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    for place, name in enumerate(sorted(names(base.folder))):
        path = base.folder / name
        good = path.read_bytes()
        for bad in (good[:-1] + bytes([good[-1] ^ 1]), good + b" ", good[:-1], b"", None):
            if bad is None:
                path.unlink()
            else:
                path.write_bytes(bad)
            with pytest.raises(WrongBase, match=name) as caught:
                checked(registry, base, tmp_path / f"scratch-{place}")
            assert caught.value.exit_code == 6
            path.write_bytes(good)
        checked(registry, base, tmp_path / f"scratch-{place}").require_unchanged()


def test_the_tensor_that_differs_is_named(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    path = base.folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(WrongBase, match="first tensor that differs: tensor 'model"):
        checked(registry, base, tmp_path / "scratch")


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_listed_file_that_is_a_link_or_no_file_is_refused_and_never_waited_for(
    registry: Registry, base: AddedBase, tmp_path: Path, kind: str, name: str
) -> None:
    path = base.folder / name
    path.rename(tmp_path / "moved")
    if kind == "link":
        path.symlink_to(tmp_path / "moved")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(WrongBase, match=name):
        checked(registry, base, tmp_path / "scratch")


def touched(path: Path) -> None:
    os.utime(path)


def rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def replaced(path: Path) -> None:
    shutil.copy2(path, path.with_name("new"))
    path.with_name("new").rename(path)


def removed(path: Path) -> None:
    path.unlink()


def swapped_and_put_back(path: Path) -> None:
    aside = path.with_name("aside")
    path.rename(aside)
    path.write_bytes(b"other weights, loaded meanwhile")
    aside.rename(path)


def edited_with_its_old_times(path: Path) -> None:
    before = path.stat()
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def turned_into_a_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("moved"))


def under_another_folder(path: Path) -> None:
    folder = path.parent
    folder.rename(folder.with_name("aside"))
    shutil.copytree(folder.with_name("aside"), folder)


@pytest.mark.parametrize(
    "change",
    [
        touched,
        rewritten,
        replaced,
        removed,
        swapped_and_put_back,
        edited_with_its_old_times,
        turned_into_a_link,
        under_another_folder,
    ],
)
def test_weights_exchanged_between_their_check_and_their_loading_are_noticed(
    registry: Registry, base: AddedBase, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = checked(registry, base, tmp_path / "scratch")
    folder.require_unchanged()
    change(base.folder / "model.safetensors")
    with pytest.raises(BaseChanged, match=r"model\.safetensors"):
        folder.require_unchanged()


def test_a_base_in_the_store_is_a_copy_of_its_registered_files(registry: Registry, tmp_path: Path) -> None:
    base = add_a_base(registry, tmp_path / "base", mode="copy")
    shutil.rmtree(tmp_path / "base")
    folder = checked(registry, base, tmp_path / "scratch")
    folder.require_unchanged()
    assert folder.linked == {}
    assert not any(path.is_symlink() for path in folder.folder.rglob("*"))
    assert identify_base(folder.folder).identity == base.record.identity


def test_only_what_is_wanted_is_compared_and_copied(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    (base.folder / "model.safetensors").unlink()
    folder = checked_folder(registry, base.version, tmp_path, only=lambda entry: entry.path == "config.json").folder
    assert names(folder) == {"config.json"}


def test_a_rarer_file_of_the_model_is_part_of_the_base_and_seen_by_loaders(registry: Registry, tmp_path: Path) -> None:
    plain = identify_base(base_files(tmp_path / "base")).identity
    (tmp_path / "base" / "tekken.json").write_text(json.dumps({"v": 1}))
    base = add_a_base(registry, tmp_path / "base")
    assert base.record.identity.tokenizer != plain.tokenizer
    assert "tekken.json" in names(checked(registry, base, tmp_path / "scratch").folder)


def test_digests_planted_in_the_home_do_not_make_another_base_the_registered_one(tmp_path: Path) -> None:
    """Whoever can write the home and the base's folder writes the old digests for the new files into every cache there."""
    with a_home(tmp_path / "home") as registry:
        base = add_a_base(registry, tmp_path / "base")
        opened = open_as_a_command(registry.folder, tmp_path / "state")
        checked(opened, base, tmp_path / "before")
        opened.close()
    weights = tmp_path / "base" / "model.safetensors"
    planted = DigestCache(registry.folder / "cache.sqlite", now_ns=lambda: time.time_ns() + 10**12)
    hash_tensors(weights, with_file_digest=True, cache=planted)
    known = planted.get_text(StatKey.of_path(weights), _CACHE_KIND)
    assert known is not None
    base_files(tmp_path / "base", seed=9)
    planted.put_text(StatKey.of_path(weights), known, _CACHE_KIND)
    planted.close()
    opened = open_as_a_command(registry.folder, tmp_path / "state")
    with pytest.raises(WrongBase) as caught:
        checked(opened, base, tmp_path / "scratch")
    assert caught.value.exit_code == 6
    opened.close()


def open_as_a_command(home: Path, state: Path) -> Registry:
    return open_home(home, clock=lambda: NOW, seen=SeenCheckpoints(state, lambda _: None))
