"""What is declared of a base after a record was made answers no question of that record which its signer's role may not answer."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.registry.compliance.base_facts import declared_base_facts
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import version_statements
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.decide import decide, write_form
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.show_record import describe_record
from peft_registry.registry.use_cases.take_up_answers import base_named_by
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.modification import ModificationRecord
from tests.builders.homes import NOW, a_home, base_files, reopened
from tests.builders.products import FACTS, a_product
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

ENGINEER = a_p256_key(8)
ORIGIN = BaseOrigin(format="huggingface", source="tiny")
CLEAN = {
    "asserted_by": "nobody in particular",
    "is_gpai": "no",
    "has_systemic_risk": "no",
    "eu_exclusion": "no",
    "licence": "MIT",
    "training_compute_flop": 1e30,
    "release_date": "2020-01-01",
    "source_url": "https://example.org/clean",
}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A home with a base, what was trained on it, and the key of an engineer."""
    with a_home(tmp_path / "home") as first:
        keys = (*first.trust.keys, a_trusted_key(ENGINEER, person="sam", role="evaluator", predicate_types=None))
        chain = one_more(first.trust_chain, first.private_key("root"), keys=keys)
    (tmp_path / "home" / "trust.json").write_bytes(render_chain(chain))
    registry = reopened(tmp_path / "home")
    facts = declared_base_facts({"asserted_by": "legal", "licence_flags": ["non_commercial"]}, at=NOW)
    base = add_base(registry, base_files(tmp_path / "tiny"), name="tiny", origin=ORIGIN, facts=facts)
    register_product(registry, a_product(registry, tmp_path / "sums", base, name="sums", facts=FACTS))
    yield registry
    registry.close()


def record(registry: Registry) -> ModificationRecord:
    current = version_statements(registry, version_named(registry, "sums")).record
    assert current is not None
    assert isinstance(current.record, ModificationRecord)
    return current.record


def owed_by_legal(registry: Registry) -> set[str]:
    return {gap.field for gap in describe_record(registry, "sums").open if gap.owner == "legal"}


def source_declared(registry: Registry) -> object:
    """Where the base that the record of `sums` names came from, as it is declared of that base now."""
    base = base_named_by(registry, version_named(registry, "sums"), record(registry).base[0])
    assert base is not None
    return base.facts.source_url.value


def answer_another_question(registry: Registry, file: Path) -> None:
    version = version_named(registry, "sums")
    write_form(registry, version, file)
    # no question is open there: it is an answer in place of another
    with file.open("a") as form:
        form.write(f"  change.modules: {json.dumps({'unknown': 'not compared'})}\n")
    decide(registry, version, file, ENGINEER)


@pytest.mark.parametrize("name", ["clean", "tiny"])
def test_a_base_that_is_added_again_answers_no_question_of_legal(registry: Registry, tmp_path: Path, name: str) -> None:
    before, open_before = record(registry), owed_by_legal(registry)
    facts = declared_base_facts(CLEAN, at=NOW)
    add_base(registry, tmp_path / "tiny", name=name, origin=ORIGIN, facts=facts)
    answer_another_question(registry, tmp_path / "gaps.yml")
    after = record(registry)
    assert after.supersedes == before.record_id
    assert owed_by_legal(registry) == open_before
    for field in ("is_gpai", "has_systemic_risk", "licence_id", "training_compute_flop", "release_date"):
        assert getattr(after.base[0], field) == getattr(before.base[0], field)
    assert after.upstream[0].eu_exclusion == before.upstream[0].eu_exclusion


def test_a_row_that_was_edited_makes_no_other_base_that_of_a_record(registry: Registry, tmp_path: Path) -> None:
    other = base_files(tmp_path / "other", seed=1)
    facts = declared_base_facts(CLEAN, at=NOW)
    add_base(registry, other, name="clean", origin=ORIGIN, facts=facts)
    own = declared_base_facts({"asserted_by": "sam", "source_url": "https://example.org/tiny"}, at=NOW)
    add_base(registry, tmp_path / "tiny", name="tiny", origin=ORIGIN, facts=own)
    assert source_declared(registry) == "https://example.org/tiny"
    rows = sqlite3.connect(registry.folder / "database.sqlite")
    for (trigger,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        rows.execute(f'DROP TRIGGER "{trigger}"')
    weights = rows.execute(
        "SELECT weights_digest FROM artifacts a JOIN versions v USING (manifest_digest) WHERE v.name = 'tiny'"
    ).fetchone()
    changed = rows.execute(
        "UPDATE artifacts SET weights_digest = ? WHERE manifest_digest = "
        "(SELECT manifest_digest FROM versions WHERE name = 'clean')",
        weights,
    )
    assert changed.rowcount == 1
    rows.commit()
    rows.close()
    assert source_declared(registry) == "https://example.org/tiny"


def test_what_is_declared_of_a_base_under_another_name_does_not_count_for_the_first(
    registry: Registry, tmp_path: Path
) -> None:
    for source in ("clean", "cleaner"):
        declared = {"asserted_by": "sam", "source_url": f"https://example.org/{source}"}
        facts = declared_base_facts(declared, at=NOW)
        add_base(registry, tmp_path / "tiny", name="clean", origin=ORIGIN, facts=facts)
        assert source_declared(registry) is None
