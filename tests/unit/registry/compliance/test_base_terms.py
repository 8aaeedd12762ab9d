"""What follows from a base's record for its terms: an exclusion of the Union is not lost, a licence file is bound by its digest."""

import pytest

from peft_registry.registry.compliance.base_terms import (
    eu_exclusion_of,
    gpai_indication,
    licence_flags_of,
    licence_text_digest,
)
from peft_registry.schemas.manifest import FileEntry
from peft_registry.schemas.values import declared, imported, unknown
from tests.builders.records import (
    NOW,
    a_base_input,
    a_base_record,
    a_digest,
    a_modification_record,
    some_base_facts,
)


def stated(value):
    return declared(value, by="a lawyer", at=NOW)


def a_file(path):
    return FileEntry(path=path, size=1, sha256=a_digest(path))


def test_an_exclusion_of_the_union_stands_among_the_flags():
    facts = some_base_facts(licence_flags=stated(["user_threshold"]), eu_exclusion=stated(True))
    assert licence_flags_of(facts).value == ["eu_exclusion", "user_threshold"]
    base = a_base_input(record=a_base_record(facts=facts))
    assert a_modification_record(bases=(base,)).base[0].licence_flags.value == ["eu_exclusion", "user_threshold"]


@pytest.mark.parametrize("exclusion", [stated(False), unknown("nobody has read the licence for it")])
def test_no_exclusion_adds_no_flag(exclusion):
    facts = some_base_facts(licence_flags=stated([]), eu_exclusion=exclusion)
    assert licence_flags_of(facts).value == []


def test_an_exclusion_alone_does_not_make_the_other_flags_known():
    facts = some_base_facts(eu_exclusion=stated("yes"))
    assert not licence_flags_of(facts).known
    assert eu_exclusion_of(facts).value == "yes"


@pytest.mark.parametrize(
    ("facts", "answer"),
    [
        ({"eu_exclusion": stated(False)}, "no"),
        ({"licence_flags": stated(["eu_exclusion"])}, "yes"),
        ({"licence_flags": stated([])}, "no"),
        ({}, None),
        ({"eu_exclusion": stated("see the licence")}, None),
    ],
    ids=["stated", "a flag", "read for flags", "nobody has read it", "neither yes nor no"],
)
def test_absence_of_a_statement_on_the_union_is_not_a_no(facts, answer):
    assert eu_exclusion_of(some_base_facts(**facts)).value == answer


@pytest.mark.parametrize("name", ["LICENSE", "LICENCE.md", "License.txt", "COPYING", "LICENSE-APACHE"])
def test_the_licence_file_of_the_base_is_bound_by_its_digest(name):
    found = licence_text_digest((a_file("config.json"), a_file(name)))
    assert (found.value, found.source) == (str(a_digest(name)), "measured")
    assert name in str(found.method)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ((), "not recorded"),
        (("config.json", "docs/LICENSE", "LICENSES"), "no licence file"),
        (("LICENSE", "LICENSE-MIT"), "LICENSE, LICENSE-MIT"),
    ],
    ids=["no files", "none at the top", "two"],
)
def test_a_licence_text_that_cannot_be_told_is_unknown_with_the_reason(names, why):
    found = licence_text_digest(tuple(map(a_file, names)))
    assert not found.known
    assert why in str(found.reason)


@pytest.mark.parametrize(
    ("facts", "side"),
    [
        ({"training_compute_flop": imported(1.1e23, "FLOP", method="card")}, "above"),
        ({"training_compute_flop": imported(1e23, "FLOP", method="card")}, "below"),  # greater than, J17
        ({"training_tokens": imported(36e12, "tokens", method="card")}, "below"),
        ({}, None),
    ],
)
def test_the_indication_of_a_general_purpose_model_has_its_basis_and_answers_nothing(facts, side):
    record = a_base_record(facts=some_base_facts(**facts))
    found = gpai_indication(record)
    assert found.value == side
    assert found.known is (side is not None)
    assert side is None or ("indicative" in str(found.method) and "FLOP" in str(found.method))
    assert not a_modification_record(bases=(a_base_input(record=record),)).base[0].is_gpai.known


def test_a_model_that_is_not_known_to_generate_has_no_indication():
    record = a_base_record(architecture="BertModel", facts=some_base_facts(training_compute_flop=stated(1e24)))
    assert "BertModel" in str(gpai_indication(record).reason)
