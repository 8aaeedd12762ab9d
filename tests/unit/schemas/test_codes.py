"""A code with its parameters in place of a sentence, and the sentence that a reader renders."""

import json

import pytest

from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.codes import CODES, Code, Meaning, code, misfit
from peft_registry.schemas.values import Value, unknown

_MEANINGS = {
    "test_counted": Meaning.of("{count:,} rows, of {of}", count="number", of="names"),
    "test_clusters": Meaning.of("{clusters:# cluster}, needs {needs}", clusters="number", needs="number"),
    "test_because": Meaning.of("not derived: {because}", because="reason"),
}


@pytest.fixture(autouse=True)
def _own_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peft_registry.schemas.codes.CODES", {**CODES, **_MEANINGS})


def test_a_code_is_rendered_with_its_parameters() -> None:
    assert str(code("test_counted", count=12_000, of=("a:1", "b:2"))) == "12,000 rows, of a:1, b:2"


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 clusters"), (1, "1 cluster"), (1.0, "1 cluster"), (2.5, "2.5 clusters"), (1234567, "1234567 clusters")],
)
def test_a_counted_noun_has_its_number(count: float, said: str) -> None:
    assert str(code("test_clusters", clusters=count, needs=10)) == f"{said}, needs 10"


def test_a_reason_may_hold_another_code_or_the_text_of_a_person() -> None:
    inner = code("test_counted", count=1, of=("a",))
    assert str(code("test_because", because=inner)) == "not derived: 1 rows, of a"
    assert str(code("test_because", because="no meter")) == "not derived: no meter"


def test_a_code_reads_back_equal_from_its_canonical_bytes() -> None:
    said = code("test_because", because=code("test_counted", count=2, of=("a",)))
    value = unknown(said)
    assert Value.from_json(json.loads(canonical_bytes(value.to_json()))) == value


def test_text_of_before_there_were_codes_is_kept_as_it_is() -> None:
    document = {"source": "unknown", "reason": "nobody has answered it"}
    assert Value.from_json(document).reason == "nobody has answered it"


@pytest.mark.parametrize(
    ("name", "parameters", "why"),
    [
        ("test_nowhere", {}, "there is no such code"),
        ("test_counted", {"count": 1}, "the parameter of is missing"),
        ("test_counted", {"count": 1, "of": ["a"], "more": 1}, "it has no parameter more"),
        ("test_counted", {"count": "many", "of": ["a"]}, "the parameter count is not a number"),
        ("test_counted", {"count": True, "of": ["a"]}, "the parameter count is not a number"),
        ("test_counted", {"count": 1, "of": "a"}, "the parameter of is not a names"),
        ("test_because", {"because": 3}, "the parameter because is not a reason"),
    ],
)
def test_a_code_with_wrong_parameters_is_not_written(name: str, parameters: dict[str, object], why: str) -> None:
    with pytest.raises(TypeError, match=why):
        code(name, **parameters)
    assert misfit(Code.from_json({"code": name, **parameters})) == why


def test_a_code_that_is_not_known_here_is_shown_by_its_name() -> None:
    assert str(Code.from_json({"code": "of_a_later_release", "limit": 3, "named": ["x", "y"]})) == (
        "of a later release (limit 3, named x, y)"
    )


def test_every_sentence_renders_with_every_parameter_and_no_other() -> None:
    example = {"text": "x", "number": 2.5, "names": ["a", "b"], "reason": "why"}
    for name, meaning in CODES.items():
        rendered = meaning.rendered({key: example[kind] for key, kind in meaning.parameters.items()})
        assert rendered, name
        for key in meaning.parameters:
            assert "{" + key in meaning.sentence, f"{name} does not say {key}"
