"""A line of a facts file that an old record holds as an approval or a verdict is neither, for any reader."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records import signed_records
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of, version_statements
from peft_registry.registry.use_cases import report
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show_record import describe_record
from peft_registry.registry.use_cases.supersede import supersede
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.modification import ModificationRecord, ModificationRecordV1
from peft_registry.schemas.values import declared
from peft_registry.schemas.version import Version
from tests.builders.homes import NOW, a_home, add_a_base
from tests.builders.made import artifact_of_product
from tests.builders.products import a_product, registered_before_editions

FORGED = "approved-by-a-line-of-yaml"
ACTS = {
    "approvals": [{"person": FORGED, "at": NOW}],
    "high_risk.substantial": "no",
    "high_risk.article25_case": "none",
    "high_risk.art5_screen": FORGED,
    "retention.legal_hold": FORGED,
    "gpai.verdict": "not_gpai",
}


@dataclass
class Place:
    registry: Registry
    version: Version


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A version with a record of the first form, whose facts state what only a person's signature does."""
    folder = tmp_path_factory.mktemp("old")
    with a_home(folder / "home") as registry:
        product = a_product(registry, folder / "sums", add_a_base(registry, folder / "base"))
        written = product.modification.to_json()
        of_the_first = {name: written[name] for name in ModificationRecordV1.model_fields.keys() & written.keys()}
        document = ModificationRecordV1.from_json(of_the_first | {"schema_version": "1"}).to_json()
        for path, value in ACTS.items():
            *sections, key = path.split(".")
            section = document
            for name in sections:
                section = section[name]
            section[key] = declared(value, by="sam", at=NOW).to_json()
        record = ModificationRecordV1.from_json(document)
        registered_before_editions(registry, artifact_of_product(product), record)
        yield Place(registry, version_named(registry, "sums"))


def test_an_approval_in_the_facts_of_an_old_record_is_shown_as_what_it_is(place: Place) -> None:
    record = records_of(place.registry, place.version).modification
    assert isinstance(record, ModificationRecordV1)
    stated = {leaf.path: leaf.value for leaf in leaves(record)}
    for path in ACTS:
        assert not stated[path].known
        assert str(stated[path].reason).startswith(
            "stated in the facts of an old record by sam, and not signed by a person: "
        )
    shown = describe_record(place.registry, "sums")
    assert not dict(shown.values)["approvals"].known
    assert shown.record["approvals"]["source"] == "unknown"
    assert "gpai.verdict" in completeness(record).undecided
    assert verify_version(place.registry, place.version).exit_code == 0


def test_the_report_of_an_old_record_counts_no_approval_that_nobody_signed(place: Place) -> None:
    page = make_report(place.registry, place.version).decode()
    assert "not signed by a person: not_gpai" in page
    assert "For the model: not a general-purpose model" not in page
    assert FORGED not in page
    with pytest.MonkeyPatch.context() as patch:  # so that what was looked for stands where the record is believed
        patch.setattr(signed_records, "as_read", lambda record: record)
        patch.setattr(report, "without_proposals", lambda record: record)
        believed = make_report(place.registry, place.version).decode()
    # a status on the page is decided anew from what is answered, so that a stated one stands nowhere even then
    assert "For the model: not a general-purpose model" not in believed
    assert FORGED in believed


def test_a_record_that_supersedes_an_old_one_carries_no_approval_that_nobody_signed(place: Place) -> None:
    signed = version_statements(place.registry, place.version).record
    assert signed is not None
    facts = {"asserted_by": "sam", "use": {"intended": "sums of two numbers"}}
    assert supersede(place.registry, place.version, facts=facts) is not None
    current = records_of(place.registry, place.version).modification
    assert isinstance(current, ModificationRecord)
    assert current.correction.supersedes_digest == signed.digest
    assert current.use.intended.value == "sums of two numbers"
    assert not {"approvals", "high_risk.substantial"} & {leaf.path for leaf in leaves(current)}
    assert verify_version(place.registry, place.version).exit_code == 0
