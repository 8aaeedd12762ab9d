"""The home's own small files: what is missing or damaged is named as such, and a stale part of a killed write is no obstacle."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from peft_registry.registry.disk.files import write_atomically
from peft_registry.registry.homes.home import HomeDamaged, HomeSettings, read_own, write_settings


def test_settings_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    settings = HomeSettings(registry_id="0" * 32, created_at="2026-11-24T00:00:00Z")
    write_settings(tmp_path, settings)
    assert read_own(tmp_path / "registry.json", HomeSettings) == settings


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "No such file"), ("{}", "registry_id: Field required"), ('{"unknown": 1}', "Field required")],
)
def test_a_file_that_is_not_what_belongs_there_is_damage(tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "registry.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(HomeDamaged, match=why):
        read_own(path, HomeSettings)


def test_what_a_killed_process_of_the_same_number_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "latest"
    path.with_name(f".latest.{os.getpid()}.part").write_text("half a ch")
    write_atomically(path, b"whole")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"latest": b"whole"}


def test_threads_that_write_one_file_at_once_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "latest"
    contents = [bytes([number]) * 50_000 for number in range(32)]
    # each thread makes its own Path of it: one that threads share fills its parts in while they read it
    name = f"{path}"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda data: write_atomically(Path(name), data), contents))
    assert [file.name for file in tmp_path.iterdir()] == ["latest"]
    assert path.read_bytes() in contents
