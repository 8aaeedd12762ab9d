"""The bases of every schema: a value is made by construction, and a change of one is checked like any other."""

import json

import pytest
from pydantic import ValidationError

from peft_registry.schemas.canonical import NotCanonical, canonical_bytes, canonical_digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import Peft
from peft_registry.schemas.values import measured, unknown
from tests.builders.records import a_manifest


def test_a_revised_document_has_the_changes_and_nothing_else() -> None:
    manifest = a_manifest()
    revised = manifest.revised(method="ia3")
    assert revised.to_json() == manifest.to_json() | {"method": "ia3"}
    assert manifest.method != "ia3"


def test_a_revised_document_keeps_the_fields_that_this_release_does_not_know() -> None:
    manifest = Manifest.from_json(a_manifest().to_json() | {"from_the_future": [1]})
    assert manifest.revised(method="ia3").to_json()["from_the_future"] == [1]


@pytest.mark.parametrize("name", ["alhpa", "schema"])
def test_a_misspelt_field_is_refused_before_it_can_be_signed(name: str) -> None:
    with pytest.raises(TypeError, match=f"has no field {name}"):
        Peft().revised(**{name: unknown("misspelt")})
    with pytest.raises(TypeError, match=f"has no field {name}"):
        Peft.of_known(**{name: unknown("misspelt")})


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(ValidationError):
        Peft().revised(rank=8)
    with pytest.raises(ValidationError):
        Peft.of_known(rank=8)


def test_rules_between_fields_hold_for_a_revised_value_too() -> None:
    manifest = a_manifest()
    with pytest.raises(ValidationError, match="sorted by path"):
        manifest.revised(files=tuple(reversed(manifest.files)))


def test_what_is_not_known_is_left_to_its_default() -> None:
    section = Peft.of_known(rank=measured(8), alpha=None)
    assert (section.rank, section.alpha) == (measured(8), Peft().alpha)


def test_a_number_has_one_digest_however_it_was_written() -> None:
    digests = set()
    for text in ("8", "8.0", "8e0", "80e-1"):
        value = measured(1, "s").to_json() | {"value": json.loads(text)}
        digests.add(canonical_digest(value))
        again = json.loads(canonical_bytes(value))
        assert canonical_digest(again) == canonical_digest(value)
    assert len(digests) == 1


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**30])
def test_a_whole_number_that_readers_would_round_is_not_signed(number: int) -> None:
    assert canonical_bytes(2**53 - 1) == b"9007199254740991"
    with pytest.raises(NotCanonical):
        canonical_bytes({"value": number})
