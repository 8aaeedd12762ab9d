"""A clock that jumps, and many writers at once: entries keep their order, none is lost, and nothing gets stuck."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry, utc_now
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.snapshots import read_leaf
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.values import timestamp
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.homes import NOW, add_a_base, an_artifact, register_adapter

DAY_LATER = "2026-11-25T12:00:00Z"
WRITERS = 20


def fill(registry: Registry, folder: Path) -> None:
    register_adapter(registry, folder)


@pytest.fixture(params=BACKENDS)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> MadeHome:
    return make_on(request, tmp_path, fill)


def say(registry: Registry, word: str) -> None:
    append_statement(
        registry,
        subject=version_named(registry, "helper:1").manifest_digest,
        kind="test-result",
        predicate={"result": "PASSED", "configuration": [], "note": word},
        signer=registry.trainer_key,
    )


def times(registry: Registry) -> list[str]:
    with registry.database.read() as tx:
        store = SqlLogStore(tx)
        return [read_leaf(store.get_leaf(index)).at for index in range(store.size())]


def test_a_clock_set_ahead_and_back_between_entries_leaves_them_in_order_and_covered(home: MadeHome) -> None:
    for number, now in enumerate((NOW, DAY_LATER, NOW, DAY_LATER)):
        registry = home.opened(now=now)
        say(registry, f"{number}")
        assert times(registry) == sorted(times(registry))
        report = check_log(registry)
        assert report.exit_code == 0
        assert report.covered == report.size, "a checkpoint covers what was said at any time of the clock"
        assert verify_version(registry, version_named(registry, "helper:1")).verdict == "verified"
        registry.close()


def test_a_clock_behind_the_log_is_warned_of_by_every_command_and_one_that_is_right_is_not(
    home: MadeHome, capsys: pytest.CaptureFixture[str]
) -> None:
    """Minutes are not warned of: the clocks of the machines that write one log may differ."""
    now = datetime.fromisoformat(utc_now())
    for ahead, is_warned in ((timedelta(minutes=4), False), (timedelta(minutes=30), True)):
        registry = home.opened(now=timestamp(now + ahead))
        say(registry, f"{ahead}")
        registry.close()
        for words in (["list"], ["show", "helper:1"], ["promote", "helper:1", "champion", "--policy", "none"]):
            capsys.readouterr()
            assert run([*words, "--home", str(home.folder)]) == 0
            assert ("warning  this machine's clock says" in capsys.readouterr().err) == is_warned, (ahead, words)
    registry = home.opened(now=timestamp(now + timedelta(hours=1)))
    assert times(registry) == sorted(times(registry)), (
        "what was signed with the clock behind stands in order all the same"
    )
    assert check_log(registry).exit_code == 0
    registry.close()


def test_twenty_writers_at_once_each_get_their_entry_and_leave_no_gap(home: MadeHome, tmp_path: Path) -> None:
    """Ten register, half of them under one name; ten say something."""
    registry = home.opened()
    base = add_a_base(registry, tmp_path / "base")
    before = len(times(registry))
    names = ["crowd"] * 5 + [f"own-{number}" for number in range(5)]
    artifacts = [
        an_artifact(tmp_path / f"new-{at}", base, name=name, value=(at + 1) / 32) for at, name in enumerate(names)
    ]
    registry.close()
    folder = f"{home.folder}"  # each thread makes its own Path of it: one that threads share fills its parts in while they read it

    def write(at: int) -> str:
        own = MadeHome(Path(folder)).opened()
        try:
            if at < len(artifacts):
                return register_version(own, artifacts[at]).label
            say(own, f"{at}")
            return "said"
        finally:
            own.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        outcomes = list(pool.map(write, range(WRITERS)))
    registry = home.opened()
    assert sorted(outcomes) == sorted(
        ["said"] * 10 + [f"crowd:{number}" for number in range(1, 6)] + [f"own-{number}:1" for number in range(5)]
    )
    report = check_log(registry)
    assert report.exit_code == 0
    assert report.covered == report.size == len(times(registry)) > before + WRITERS
    with registry.database.read() as tx:
        assert [version.number for version in catalog.versions_of(tx, "crowd")] == [1, 2, 3, 4, 5]
    registry.close()
