"""What a new record takes over of its base is what was declared under the name that it was trained on, by whoever may."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance.base_facts import FactOfAnother, declared_base_facts
from peft_registry.registry.compliance.stated import WHY_NOT_APPLICABLE
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import base_record, required_base
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.statements import append_statement, sign_statement
from peft_registry.schemas.base_model import BaseOrigin, BaseRecord, DeclaredFacts
from peft_registry.schemas.values import declared, not_applicable
from tests.builders.homes import NOW, a_home, base_files, reopened
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

ORIGIN = BaseOrigin(format="huggingface", source="tiny")
BY_LEGAL = {"asserted_by": "legal", "licence_flags": ["non_commercial"], "licence": "CC-BY-NC-4.0"}
LATER_THAT_DAY = "2026-11-24T12:00:05Z"
BY_NOBODY = {
    "asserted_by": "nobody in particular",
    "is_gpai": "no",
    "eu_exclusion": "no",
    "training_compute_flop": 1e30,
}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A home with the base `tiny`, of which legal declared its terms."""
    with a_home(tmp_path / "home") as registry:
        base_files(tmp_path / "tiny")
        add(registry, tmp_path, "tiny", BY_LEGAL)
        yield registry


def add(registry: Registry, folder: Path, name: str, facts: dict[str, Any]) -> AddedBase:
    declared = declared_base_facts(facts, at=NOW)
    return add_base(registry, folder / "tiny", name=name, origin=ORIGIN, facts=declared)


def facts_of(registry: Registry, name: str = "tiny") -> DeclaredFacts:
    version = version_named(registry, name)
    record = base_record(registry, version)
    assert records_of(registry, version).base == record, "every reader has the same"
    return record.facts


def test_a_base_added_again_under_another_name_changes_nothing_for_who_trains_on_the_first(
    registry: Registry, tmp_path: Path
) -> None:
    before = facts_of(registry)
    add(registry, tmp_path, "clean", BY_NOBODY)
    assert facts_of(registry) == before
    assert facts_of(registry, "clean").is_gpai.value == "no"
    # a base has what its first name has of people, so that another name loses no term
    assert facts_of(registry, "clean").licence_flags == before.licence_flags


@pytest.mark.parametrize("name", ["tiny", "clean"])
def test_nobody_adds_a_base_again_with_other_terms_than_legal_declared(
    registry: Registry, tmp_path: Path, name: str
) -> None:
    before = facts_of(registry)
    with pytest.raises(FactOfAnother) as refused:
        add(registry, tmp_path, name, {"asserted_by": "nobody in particular", "licence_flags": []})
    assert refused.value.author == "legal"
    assert facts_of(registry) == before


def test_a_statement_that_drops_or_changes_what_legal_declared_is_not_what_is_recorded_of_a_base(
    registry: Registry,
) -> None:
    version = version_named(registry, "tiny")
    recorded = base_record(registry, version)
    changed = declared_base_facts(BY_NOBODY | {"licence": "MIT", "licence_flags": []}, at=NOW)
    for facts in (changed, DeclaredFacts()):
        forged = recorded.revised(facts=facts)
        append(registry, forged)
    assert facts_of(registry) == recorded.facts


def append(registry: Registry, record: BaseRecord) -> None:
    subject = version_named(registry, "tiny").manifest_digest
    append_statement(registry, subject=subject, kind="base", predicate=record.to_json(), signer=registry.trainer_key)


def test_whoever_declared_a_fact_corrects_it_and_the_record_names_the_newer_statement(
    registry: Registry, tmp_path: Path
) -> None:
    version = version_named(registry, "tiny")
    first = required_base(registry, version)
    # the name of a second version takes nothing from the first, not even that it can be corrected
    add(registry, tmp_path, "clean", BY_NOBODY)
    add(registry, tmp_path, "tiny", BY_LEGAL | {"licence_flags": ["non_commercial", "share_alike"]})
    corrected = required_base(registry, version)
    assert corrected.record.facts.licence_flags.value == ["non_commercial", "share_alike"]
    assert corrected.record.facts.licence == first.record.facts.licence
    assert corrected.statement != first.statement
    assert facts_of(registry, "clean").licence_flags.value == ["non_commercial"]


def test_a_question_that_nobody_answered_of_a_base_is_answered_under_its_own_name(
    registry: Registry, tmp_path: Path
) -> None:
    add(registry, tmp_path, "tiny", BY_NOBODY)
    assert facts_of(registry).is_gpai.asserted_by == "nobody in particular"
    assert facts_of(registry).licence.value == "CC-BY-NC-4.0"


def test_nobody_corrects_what_legal_declared_by_writing_the_name_of_legal(registry: Registry) -> None:
    """The key says who speaks; the name is a line that anybody writes."""
    other = a_p256_key(9)
    listed = a_trusted_key(other, person="sam", predicate_types=None)
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, listed))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))
    with closing(reopened(registry.folder)) as home:
        recorded = base_record(home, version_named(home, "tiny"))
        relaxed = recorded.revised(
            facts=declared_base_facts(BY_LEGAL | {"licence_flags": ["non_commercial", "share_alike"]}, at=NOW)
        )
        subject = version_named(home, "tiny").manifest_digest
        append_statement(home, subject=subject, kind="base", predicate=relaxed.to_json(), signer=other)
        assert facts_of(home) == recorded.facts
        # an equal statement would be the one that is logged already
        later = declared_base_facts(BY_LEGAL | {"licence_flags": ["non_commercial", "share_alike"]}, at=LATER_THAT_DAY)
        append(home, recorded.revised(facts=later))  # by the key of whoever declared it
        assert facts_of(home).licence_flags.value == ["non_commercial", "share_alike"]


def test_nobody_answers_what_legal_said_to_have_no_answer_by_writing_the_name_of_legal(registry: Registry) -> None:
    other = a_p256_key(9)
    listed = a_trusted_key(other, person="sam", predicate_types=None)
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, listed))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))
    with closing(reopened(registry.folder)) as home:
        version = version_named(home, "tiny")
        recorded = base_record(home, version)
        never = not_applicable(WHY_NOT_APPLICABLE["never_released"], by="legal", at=NOW)
        append(home, recorded.revised(facts=recorded.facts.revised(release_date=never)))
        dated = recorded.facts.revised(release_date=declared("2025-01-30", by="legal", at=NOW))
        predicate = recorded.revised(facts=dated).to_json()
        append_statement(home, subject=version.manifest_digest, kind="base", predicate=predicate, signer=other)
        assert facts_of(home).release_date == never


def test_what_no_checkpoint_covers_is_not_recorded_of_a_base_yet(registry: Registry) -> None:
    version = version_named(registry, "tiny")
    recorded = base_record(registry, version)
    added = recorded.revised(facts=recorded.facts.revised(provider=declared("Example Labs", by="legal", at=NOW)))
    signed = sign_statement(version.manifest_digest, "base", added.to_json(), registry.trainer_key)
    with registry.database.write() as tx:
        record_statement(tx, version.manifest_digest, signed, at=NOW)
    assert facts_of(registry) == recorded.facts
    publish_checkpoint(registry)
    assert facts_of(registry) == added.facts
