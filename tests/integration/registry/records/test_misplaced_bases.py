"""A statement that calls a result a base: refused at every door, broken where it is presented, and it hides no ancestor."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.ancestry import ancestry_of
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.sign_log import sign_log
from peft_registry.registry.use_cases.statements import (
    Saying,
    StatementContent,
    StatementMisplaced,
    append_statement,
    append_together,
    sign_statement,
)
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.version import Version
from tests.builders.backends import MadeHome
from tests.builders.homes import NOW, a_home, add_a_base, an_artifact
from tests.builders.made import registered_base
from tests.builders.products import a_product, log_unasked


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home") as registry:
        base = add_a_base(registry, folder / "base", mode="copy")
        register_product(registry, a_product(registry, folder / "a", base, name="a"))
    return folder


@pytest.fixture
def registry(made: Path, tmp_path: Path) -> Iterator[Registry]:
    registry = MadeHome(made / "home").copy(tmp_path / "home").opened()
    yield registry
    registry.close()


def result(registry: Registry) -> Version:
    return version_named(registry, "a")


def of_the_base(registry: Registry) -> BaseRecord:
    recorded = records_of(registry, version_named(registry, "tiny")).base
    assert recorded is not None
    return recorded


def test_nobody_calls_a_result_a_base(registry: Registry) -> None:
    said = of_the_base(registry).to_json()
    subject = result(registry).manifest_digest
    with pytest.raises(StatementMisplaced, match="registered as adapter"):
        append_statement(registry, subject=subject, kind="base", predicate=said, signer=registry.trainer_key)
    with pytest.raises(StatementMisplaced, match="registered as adapter"):
        append_together(
            registry, subject=subject, sayings=[lambda _signed, _at: Saying("base", said, registry.trainer_key)]
        )
    assert sign_log(registry).refused == ()


def test_a_result_does_not_enter_with_a_statement_that_calls_it_a_base(registry: Registry, tmp_path: Path) -> None:
    base = registered_base(registry, "tiny", tmp_path)
    artifact = an_artifact(tmp_path / "helper", base)
    statements = (*artifact.statements, StatementContent("base", base.record.to_json()))
    with pytest.raises(StatementMisplaced, match="registered as adapter"):
        register_version(registry, replace(artifact, statements=statements))


def test_the_log_key_signs_over_no_statement_that_calls_a_result_a_base(registry: Registry) -> None:
    subject = result(registry).manifest_digest
    signed = sign_statement(subject, "base", of_the_base(registry).to_json(), registry.trainer_key)
    with registry.database.write() as tx:
        index = record_statement(tx, subject, signed, at=NOW)
    (refused,) = sign_log(registry).refused
    assert (refused.index, refused.is_wrong) == (index, True)
    assert "it calls a base what is registered as adapter" in refused.why


def test_a_logged_statement_that_calls_a_result_a_base_is_broken_and_hides_no_ancestor(
    registry: Registry, tmp_path: Path
) -> None:
    version = result(registry)
    before = ancestry_of(registry, [version])
    log_unasked(
        registry,
        version.manifest_digest,
        "base",
        of_the_base(registry).to_json(),
        signer=registry.trainer_key,
        at=NOW,
    )
    assert [ancestor.label for ancestor in ancestry_of(registry, [version])] == [one.label for one in before] == ["a:1"]
    assert records_of(registry, version).base is None
    outcome = verify_version(registry, version)
    assert outcome.exit_code == 6
    (statements,) = [check for check in outcome.checks if check.step == "statements"]
    assert statements.error == "statement-misplaced"
    assert any("it calls a base what is registered as" in wrong.text for wrong in check_log(registry).contradictions)


def test_a_base_gets_another_statement_of_what_it_is(registry: Registry) -> None:
    base = version_named(registry, "tiny")
    record = of_the_base(registry).revised(context_length=32)
    append_statement(
        registry,
        subject=base.manifest_digest,
        kind="base",
        predicate=record.to_json(),
        signer=registry.trainer_key,
    )
    assert verify_version(registry, base).verdict == "verified"
    assert check_log(registry).contradictions == ()
