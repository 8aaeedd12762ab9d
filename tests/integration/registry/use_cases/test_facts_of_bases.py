"""What is declared of a base after a record was made answers no question of that record which its signer's role may not answer."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peft_registry.registry.compliance.base_facts import declared_base_facts
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import bases_of_record, required_base
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import version_statements
from peft_registry.registry.records.stated_bases import StatedBase
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.announce_edition import announce_edition
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.decide import TakenAnswers, decide, write_form
from peft_registry.registry.use_cases.show_record import describe_record
from peft_registry.registry.use_cases.sign_log import sign_log
from peft_registry.registry.use_cases.statements import RecordNotAnswered, append_statement, sign_statement
from peft_registry.registry.use_cases.supersede import next_record
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.base_model import BaseOrigin, DeclaredFacts
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import NOT_FOUND_UPSTREAM, ModificationPredicate, ModificationRecord
from peft_registry.schemas.values import Value, imported
from peft_registry.schemas.version import Version
from tests.builders.homes import NOW, a_home_before_editions, base_files, reopened
from tests.builders.made import artifact_of_product
from tests.builders.products import FACTS, a_product, registered_before_editions, sign_unasked
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
    """A home that was upgraded, with a base, what was trained on it before, and the key of an engineer."""
    with a_home_before_editions(tmp_path / "home") as first:
        keys = (*first.trust.keys, a_trusted_key(ENGINEER, person="sam", role="evaluator", predicate_types=None))
        chain = one_more(first.trust_chain, first.private_key("root"), keys=keys)
    (tmp_path / "home" / "trust.json").write_bytes(render_chain(chain))
    registry = reopened(tmp_path / "home")
    facts = declared_base_facts({"asserted_by": "legal", "licence_flags": ["non_commercial"]}, at=NOW)
    base = add_base(registry, base_files(tmp_path / "tiny"), name="tiny", origin=ORIGIN, facts=facts)
    product = a_product(registry, tmp_path / "sums", base, name="sums", facts=FACTS)
    # open there, unlike in records of today, and an engineer owes it, so that a trainer may state it of the base later
    used = product.modification.base[0].revised(source_url=NOT_FOUND_UPSTREAM)
    older = product.modification.revised(schema_version="2", base=(used,))
    registered_before_editions(registry, artifact_of_product(product), older)
    assert announce_edition(registry, registry.private_key("root"))
    yield registry
    registry.close()


def record(registry: Registry) -> ModificationRecord:
    current = version_statements(registry, version_named(registry, "sums")).record
    assert current is not None
    assert isinstance(current.record, ModificationRecord)
    return current.record


def owed_by_legal(registry: Registry) -> set[str]:
    return {gap.field for gap in describe_record(registry, "sums").open if gap.owner == "legal"}


def base_now(registry: Registry) -> StatedBase:
    """What is recorded now of the base that the record of `sums` names."""
    ((_, _, stated),) = bases_of_record(registry, version_named(registry, "sums"), record(registry))
    return stated


def source_declared(registry: Registry) -> object:
    """Where the base that the record of `sums` names came from, as it is declared of that base now."""
    return base_now(registry).record.facts.source_url.value


def answer_another_question(registry: Registry, file: Path, why: str = "not compared") -> TakenAnswers:
    version = version_named(registry, "sums")
    write_form(registry, version, file)
    # no question is open there: it is an answer in place of another
    with file.open("a") as form:
        form.write(f"  change.modules: {json.dumps({'unknown': why})}\n")
    return decide(registry, version, file, ENGINEER)


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


def test_what_is_taken_over_of_a_base_names_the_statement_that_holds_it(registry: Registry, tmp_path: Path) -> None:
    state_source(registry, tmp_path)
    decided = answer_another_question(registry, tmp_path / "gaps.yml")
    taken_over = record(registry).base[0].source_url
    stated = base_now(registry)
    assert (taken_over.value, taken_over.evidence) == ("https://example.org/tiny", (stated.statement,))
    assert [taken.text for taken in decided.taken_over] == [
        f"base[0].source_url: https://example.org/tiny (stated by sam, statement {stated.statement} about the base)"
    ]
    assert verify_version(registry, version_named(registry, "sums")).exit_code == 0
    assert not check_log(registry).contradictions
    # the next record carries it on
    decided = answer_another_question(registry, tmp_path / "more.yml", "not compared either")
    assert not decided.taken_over
    assert record(registry).base[0].source_url == taken_over


def state_source(registry: Registry, folder: Path) -> None:
    declared = {"asserted_by": "sam", "source_url": "https://example.org/tiny", "is_gpai": "no"}
    facts = declared_base_facts(declared, at=NOW)
    add_base(registry, folder / "tiny", name="tiny", origin=ORIGIN, facts=facts)


Forge = Callable[[Registry, ModificationPredicate], ModificationPredicate]


def with_value(path: str, value: Callable[[Registry], Value]) -> Forge:
    """A record that says something else than its inputs give."""
    return lambda registry, stated: stated.revised(record=with_values(stated.record, {path: value(registry)}))


def naming_another(registry: Registry, stated: ModificationPredicate) -> ModificationPredicate:
    """The statement under another name in place of that of the base, and what it declares."""
    clean = required_base(registry, version_named(registry, "clean"))
    inputs = tuple(each.revised(digest=clean.statement) if each.kind == "base" else each for each in stated.inputs)
    record = with_values(stated.record, {"base[0].source_url": clean.facts.source_url})
    return stated.revised(inputs=inputs, record=record)


def without_the_base(registry: Registry, stated: ModificationPredicate) -> ModificationPredicate:
    """The base's statement is what the record follows from, and is not named."""
    return stated.revised(inputs=tuple(each for each in stated.inputs if each.kind != "base"))


def of_the_base(registry: Registry) -> DeclaredFacts:
    return base_now(registry).facts


SOURCE = "base[0].source_url"
FORGED: dict[str, Forge] = {
    "another value than the statement has": with_value(
        SOURCE, lambda registry: of_the_base(registry).source_url.revised(value="https://example.org/clean")
    ),
    "a statement that nobody made": with_value(
        SOURCE, lambda registry: of_the_base(registry).source_url.revised(evidence=(Digest.of(b"none"),))
    ),
    "another author": with_value(
        SOURCE, lambda registry: of_the_base(registry).source_url.revised(asserted_by="legal")
    ),
    "imported from nowhere": with_value(
        SOURCE, lambda _: imported("https://example.org/clean", method="its model card")
    ),
    "what a trainer declared and legal owes": with_value(
        "base[0].is_gpai", lambda registry: of_the_base(registry).is_gpai
    ),
    "a statement under another name": naming_another,
    "no statement at all": without_the_base,
}


def is_refused(registry: Registry, version: Version, stated: ModificationPredicate) -> bool:
    try:
        append_statement(
            registry,
            subject=version.manifest_digest,
            kind="modification",
            predicate=stated.to_json(),
            signer=registry.trainer_key,
        )
    except RecordNotAnswered:
        return True
    return False


def test_a_value_that_no_statement_about_the_base_gives_is_refused_at_every_door(
    registry: Registry, tmp_path: Path
) -> None:
    version = version_named(registry, "sums")
    subject, key = version.manifest_digest, registry.trainer_key
    before = record(registry)
    state_source(registry, tmp_path)
    clean = declared_base_facts({"asserted_by": "sam", "source_url": "https://example.org/clean"}, at=NOW)
    add_base(registry, tmp_path / "tiny", name="clean", origin=ORIGIN, facts=clean)
    assert not before.base[0].source_url.known
    following = next_record(registry, version, at=NOW)
    assert following is not None
    assert following.record.base[0].source_url.value == "https://example.org/tiny"
    signed = []
    for attack, forge in FORGED.items():
        forged = forge(registry, following.stated)
        forged = forged.revised(record=forged.record.revised(record_id=attack))
        assert is_refused(registry, version, forged), attack
        signed.append(sign_statement(subject, "modification", forged.to_json(), key))
    with registry.database.write() as tx:
        for statement in signed:
            record_statement(tx, subject, statement, at=NOW)
    assert [entry.is_wrong for entry in sign_log(registry).refused] == [True] * len(signed)
    sign_unasked(registry)
    assert record(registry) == before, "no reader takes any of them up"
    contradicted = "\n".join(wrong.text for wrong in check_log(registry).contradictions)
    outcome = verify_version(registry, version)
    assert outcome.exit_code == 6
    shown = "\n".join(line for check in outcome.checks for line in check.detail)
    for statement in signed:
        assert statement.digest.short in shown
    # of those that name a statement, and of the others
    assert (
        f"{SOURCE}: its inputs give https://example.org/tiny, and the record says https://example.org/clean"
        in contradicted
    )
    assert f"{SOURCE}: its inputs give nothing, and the record says https://example.org/tiny" in contradicted
    assert "base[0].is_gpai: its inputs give nothing, and the record says no" in contradicted
