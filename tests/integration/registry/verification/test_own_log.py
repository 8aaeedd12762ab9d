"""Whoever stole every key signs another history; where the log itself lies, a folder of that history does not verify."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.verify import verify_folder, verify_folder_lineage
from peft_registry.schemas.version import VerifyOutcome, Version
from tests.builders.homes import NOW, a_home, register_adapter, reopened

COMPLETE, PROOF = "evidence/complete.tlog-proof", "evidence/log.tlog-proof"


@dataclass(frozen=True)
class TwoHistories:
    """A home, a copy of it that went on with the same keys, and a folder pulled from each; `before` is from when they were one."""

    home: Path
    copy: Path
    before: Path
    true: Path
    forged: Path


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> TwoHistories:
    folder = tmp_path_factory.mktemp("histories")
    with a_home(folder / "home") as registry:
        version = register_adapter(registry, folder)
        pull_version(registry, version, folder / "before")
    shutil.copytree(folder / "home", folder / "copy")
    for place, words in (("home", "weak"), ("copy", "strong")):
        registry = reopened(folder / place)
        say(registry, version, words)
        pull_version(registry, version, folder / words)
        registry.close()
    return TwoHistories(folder / "home", folder / "copy", folder / "before", folder / "weak", folder / "strong")


def say(registry: Registry, version: Version, words: str) -> None:
    append_statement(
        registry,
        subject=version.manifest_digest,
        kind="test-result",
        predicate={"result": "PASSED", "configuration": [], "note": words},
        signer=registry.trainer_key,
    )


@pytest.fixture
def registry(histories: TwoHistories) -> Iterator[Registry]:
    opened = reopened(histories.home)
    yield opened
    opened.close()


def verified(folder: Path, registry: Registry) -> VerifyOutcome:
    return verify_folder(folder, trust=registry.trust, now=NOW, registry=registry)


def errors(outcome: VerifyOutcome) -> dict[str, str | None]:
    return {check.step: check.error for check in outcome.checks if check.status == "failed"}


def test_a_folder_of_another_history_is_broken_where_the_log_lies(histories: TwoHistories, registry: Registry) -> None:
    assert (
        verify_folder(histories.forged, trust=registry.trust, now=NOW).verdict == "verified"
    )  # nothing shows it elsewhere
    outcome = verified(histories.forged, registry)
    assert outcome.verdict == "broken"
    assert errors(outcome) == {"statements": "log-forked", "log": "log-forked"}
    deep = verify_folder_lineage(histories.forged, trust=registry.trust, now=NOW, registry=registry)
    assert deep.verdict == "broken"


@pytest.mark.parametrize("name", [COMPLETE, PROOF])
def test_one_proof_of_another_history_among_those_of_the_log_is_broken(
    histories: TwoHistories, registry: Registry, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(histories.true, tmp_path / "mixed"))
    shutil.copy(histories.forged / name, folder / name)
    assert verified(folder, registry).verdict == "broken"


def test_an_older_folder_and_one_from_a_newer_copy_of_the_log_are_accused_of_nothing(
    histories: TwoHistories, registry: Registry, tmp_path: Path
) -> None:
    assert verified(histories.true, registry).verdict == "verified"
    assert verified(histories.before, registry).verdict == "verified"
    shutil.copytree(histories.home, tmp_path / "older")
    say_more = reopened(histories.home)
    older = reopened(tmp_path / "older")
    version = register_adapter(say_more, tmp_path, name="later", value=2.5)
    pull_version(say_more, version, tmp_path / "newer")
    assert verified(tmp_path / "newer", older).verdict == "verified"
    say_more.close()
    older.close()


def test_a_folder_of_another_registry_that_is_trusted_is_not_held_against_this_one(
    registry: Registry, tmp_path: Path
) -> None:
    with a_home(tmp_path / "other") as other:
        pull_version(other, register_adapter(other, tmp_path), tmp_path / "pulled")
        outcome = verify_folder(tmp_path / "pulled", trust=other.trust, now=NOW, registry=registry)
    assert outcome.verdict == "verified", outcome
