"""SQLite keeps whatever type somebody writes into a column; whoever can write the file ends no command in a traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.show_log import show_log
from peft_registry.registry.verification.signed_versions import signed_page
from peft_registry.schemas.errors import IntegrityBroken
from tests.builders.backends import MadeHome
from tests.builders.homes import NOW, a_home, register_adapter

EDITS = {
    "a checkpoint of bytes": "UPDATE checkpoints SET text = x'ff'",
    "a name of bytes": "UPDATE versions SET name = x'ff00' WHERE name = 'helper'",
    "an envelope of text": "UPDATE statements SET envelope = 'q'",
    "an envelope that is cut off": "UPDATE statements SET envelope = substr(envelope, 1, 99)",
    "a leaf of text": "UPDATE log_events SET leaf = 'q'",
    "an entry of text": "UPDATE versions SET log_index = 'q' WHERE name = 'helper'",
    "a number that no JSON has": "UPDATE versions SET number = 9223372036854775807 WHERE name = 'helper'",
    "an entry that no JSON has": "UPDATE versions SET log_index = 9223372036854775807 WHERE name = 'helper'",
    "a size that no JSON has": "UPDATE artifact_files SET size = 9223372036854775807",
    "a node of text": "UPDATE log_nodes SET hash = 'q'",
    "a snapshot of text": "UPDATE snapshot_nodes SET value = 'q' WHERE value IS NOT NULL",
    "a last entry far ahead": "INSERT INTO log_events (seq, leaf, leaf_hash) VALUES (9223372036854775807, x'00', x'00')",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home") as registry:
        set_alias(registry, register_adapter(registry, folder), "champion")
    return MadeHome(folder / "home")


def listed(registry: Registry) -> object:
    return signed_page(registry)


def listed_by_kind(registry: Registry) -> object:
    return signed_page(registry, kind="adapter")


def shown(registry: Registry) -> object:
    return describe_version(registry, "helper@champion")


def shown_log(registry: Registry) -> object:
    return show_log(registry, limit=100)


def promoted(registry: Registry) -> object:
    return set_alias(registry, version_named(registry, "helper:1"), "challenger")


@pytest.mark.parametrize("sql", EDITS.values(), ids=EDITS)
def test_a_column_of_another_type_is_named_by_the_check_and_ends_no_command_in_a_traceback(
    made: MadeHome, tmp_path: Path, sql: str
) -> None:
    home = made.copy(tmp_path / "home")
    with home.rows() as rows:
        rows.run(sql)
    registry = open_home(home.folder, clock=lambda: NOW, check_log=False)
    try:
        reads: tuple[Callable[[Registry], object], ...] = (listed, listed_by_kind, shown, shown_log, promoted)
        broken = [read.__name__ for read in reads if is_broken(read, registry)]
        assert broken, "something that the row says is read by one of them"
        assert check_log(registry).contradictions
    finally:
        registry.close()


def is_broken(read: Callable[[Registry], object], registry: Registry) -> bool:
    try:
        read(registry)
    except IntegrityBroken:
        return True
    return False
