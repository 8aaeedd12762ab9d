"""The bases of every schema: a value is made by construction, and a change of one is checked like any other."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as some
from pydantic import ValidationError

from peft_registry.schemas.canonical import NotCanonical, canonical_bytes, canonical_digest
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import Peft
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import statement_about
from peft_registry.schemas.values import measured, unknown
from tests.builders.records import a_manifest
from tests.builders.signing import a_p256_key, a_policy, a_trusted_key


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


_ANY_TEXT = some.text(some.characters(exclude_categories=()))
_ANY_JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | _ANY_TEXT,
    lambda members: some.lists(members) | some.dictionaries(_ANY_TEXT, members),
    max_leaves=20,
)
_NUMBERS = [
    sign * math.nextafter(value, toward)
    for value in (1e-7, 1e-6, 1e-4, 1.0, 2.0**53, 1e16, 1e21, 5e-324, 1.7e308)
    for toward in (0.0, value, math.inf)
    for sign in (1, -1)
]


@settings(max_examples=150, deadline=None)
@given(_ANY_JSON)
def test_canonical_bytes_are_those_of_the_library(value: object) -> None:
    assert _ours(value) == _the_librarys(value)


@pytest.mark.full
@settings(max_examples=5_000, deadline=None)
@given(_ANY_JSON)
def test_canonical_bytes_of_many_values_are_those_of_the_library(value: object) -> None:
    assert _ours(value) == _the_librarys(value)


def test_numbers_where_python_and_ecmascript_differ_are_those_of_the_library() -> None:
    for number in (*_NUMBERS, 0.0, -0.0, math.inf, -math.inf, math.nan):
        assert _ours(number) == _the_librarys(number)


def test_what_json_has_not_is_refused() -> None:
    for value in ({1: 2}, {None: 1}, {"a": {1, 2}}, b"bytes", [object()], "\ud800", {"\ud800": 1}):
        with pytest.raises(NotCanonical):
            canonical_bytes(value)


def _ours(value: object) -> bytes | None:
    try:
        return canonical_bytes(value)
    except NotCanonical:
        return None


def _the_librarys(value: object) -> bytes | None:
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # any JSON value, and what is none
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        return None


def _hostile_policies() -> Iterator[dict[str, Any]]:
    """A trust file, each time with one thing wrong that only a check of ours sees."""
    good = a_policy(a_trusted_key(a_p256_key(1)), roots=[a_p256_key(2)]).to_json()
    (listed, *_) = good["keys"]
    yield good | {"keys": [*good["keys"], listed]}
    yield good | {"keys": [listed | {"key_id": "0" * 64}]}
    yield good | {"keys": [listed | {"valid_until": listed["valid_from"]}]}
    yield good | {"expires_at": good["issued_at"]}
    yield good | {"threshold": 9}
    yield good | {"keys": "x"}
    yield {}


def test_no_words_of_the_library_that_validates_reach_a_reader() -> None:
    problems = []
    for policy in _hostile_policies():
        with pytest.raises(ValidationError) as caught:
            TrustPolicy.from_json(policy)
        problems.append(first_problem(caught.value))
    with pytest.raises(ValidationError) as caught:
        Manifest.from_json(a_manifest().to_json() | {"weights_digest": "sha256:zzz"})
    problems.append(first_problem(caught.value))
    said = "\n".join(problems)
    assert "Value error" not in said
    assert "pydantic" not in said
    assert "a key is listed twice" in said


def test_what_a_statement_says_is_read_once_and_anew_once_it_says_something_else() -> None:
    asked = []

    def words(predicate: dict[str, Any]) -> int:
        asked.append(predicate)
        return len(predicate)

    statement = statement_about(Digest.of(b"it"), "card", {"sha256": "ab" * 32})
    assert [statement.read_by(words), statement.read_by(words)] == [1, 1]
    assert len(asked) == 1
    digest = statement.said_digest
    other = statement.model_copy(update={"predicate": {"a": 1, "b": 2}})
    assert other.read_by(words) == 2
    assert other.said_digest != digest
    assert statement == statement_about(Digest.of(b"it"), "card", {"sha256": "ab" * 32}), (
        "what was read is no part of it"
    )
