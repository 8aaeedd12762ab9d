"""`registry import` by several processes at once, and killed: one version that is whole, or none."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders.imports import lora_tensors, peft_folder
from tests.e2e.commands import WarmCommand, command_line, environment, wait_until

KILLED = -9
MOMENTS = (
    "peft_registry.registry.use_cases.import_folder.scans_of",
    "peft_registry.registry.use_cases.register._store_files",
    "peft_registry.registry.use_cases.register._write_rows",
)


@pytest.fixture
def offered(workplace: Path) -> Path:
    """An adapter for the base of the workplace, whose down projections are 128 × 256."""
    tensors = lora_tensors(inner=256, outer=128)
    return peft_folder(workplace / "helper", tensors, base_model_name_or_path="tiny")


@pytest.mark.processes
def test_processes_that_import_one_folder_at_once_end_with_one_version(
    warm: WarmCommand, workplace: Path, offered: Path, listed: Callable[[Path], list[str]]
) -> None:
    command = command_line("import", "helper", "--no-mirror")
    running = [
        subprocess.Popen(command, cwd=workplace, env=environment(workplace), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in running:
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said
    assert listed(workplace) == ["helper:1", "tiny:1"]
    assert warm("verify", "helper:1", cwd=workplace).code == 0
    assert warm("log", "check", cwd=workplace).code == 0


@pytest.mark.processes
def test_an_import_killed_at_any_moment_registers_nothing_and_the_same_command_completes_it(
    warm: WarmCommand, workplace: Path, offered: Path, listed: Callable[[Path], list[str]]
) -> None:
    files = {path.name: path.read_bytes() for path in offered.iterdir()}
    for moment in MOMENTS:
        running = warm.start("import", "helper", "--no-mirror", cwd=workplace, pause=moment)
        try:
            wait_until(lambda running=running: "paused" in running.out)
        finally:
            running.kill()
        assert running.wait().code == KILLED
        assert listed(workplace) == ["tiny:1"]
    assert "registered helper:1 " in warm("import", "helper", "--no-mirror", cwd=workplace).ok().out
    assert listed(workplace) == ["helper:1", "tiny:1"]
    assert warm("verify", "helper:1", cwd=workplace).code == 0
    assert {path.name: path.read_bytes() for path in offered.iterdir()} == files
