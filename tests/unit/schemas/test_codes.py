"""A code with its parameters in place of a sentence, and the sentence that a reader renders."""

import json

import pytest

from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.codes import CODES, Code, Meaning, code, code_in, in_turn, misfit, nested, says, together
from peft_registry.schemas.values import Value, unknown

_MEANINGS = {
    "test_counted": Meaning.of("{count:,} rows, of {of}", count="number", of="names"),
    "test_clusters": Meaning.of("{clusters:# cluster}, needs {needs}", clusters="number", needs="number"),
    "test_because": Meaning.of("not derived: {because}", because="reason"),
    "test_lists": Meaning.of("{by:and} had {of}: {counts:; }", by="names", of="names", counts="reasons"),
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
        ("test_lists", {"by": ["a"], "of": ["b"], "counts": [3]}, "the parameter counts is not a reasons"),
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
    example = {"text": "x", "number": 2.5, "names": ["a", "b"], "reason": "why", "reasons": ["why", "how"]}
    for name, meaning in CODES.items():
        rendered = meaning.rendered({key: example[kind] for key, kind in meaning.parameters.items()})
        assert rendered, name
        for key in meaning.parameters:
            assert "{" + key in meaning.sentence, f"{name} does not say {key}"


def test_lists_are_written_as_the_sentence_asks_for() -> None:
    counts = (code("test_counted", count=1, of=("a",)), "no meter")
    assert str(code("test_lists", by=("a", "b", "c"), of=("d", "e"), counts=counts)) == (
        "a, b and c had d, e: 1 rows, of a; no meter"
    )


@pytest.mark.parametrize("number", [3.0, 1e18, 2**60, 2.5])
def test_a_number_is_the_same_before_it_is_signed_and_after(number: float) -> None:
    said = code("test_counted", count=number, of=("a",))
    read = Value.from_json(json.loads(canonical_bytes(unknown(said).to_json())))
    assert read.reason == said
    assert str(read.reason) == str(said)
    assert canonical_bytes(read.to_json()) == canonical_bytes(unknown(said).to_json())


def test_several_codes_are_one_list_however_they_were_put_together() -> None:
    first, second, third = (code("test_counted", count=count, of=("a",)) for count in (1, 2, 3))
    assert together([first]) == first
    assert together([together([first, second]), "no meter", third, first]) == together(
        [first, second, "no meter", third]
    )
    assert str(together([first, "no meter"])) == "1 rows, of a; no meter"
    assert str(in_turn(in_turn("read", first), second)) == "read, 1 rows, of a, 2 rows, of a"
    assert in_turn(None, first) == first


def test_what_says_a_code_is_told_alone_and_among_others_and_as_the_text_of_before() -> None:
    asked = code("not_answered")
    assert says(asked, "not_measured", "not_answered")
    assert says(together(["no meter", in_turn("read", asked)]), "not_answered")
    assert says("nobody has answered it", "not_answered")
    assert not says("nobody has answered it of this result", "not_answered")
    assert not says(code("not_measured"), "not_answered")
    assert not says(code("test_because", because=asked), "not_answered"), (
        "why something else is open is not why this is"
    )
    assert not says(None, "not_answered")


def test_reasons_in_reasons_stay_readable_however_many_records_inherit_them() -> None:
    reason = code("not_answered")
    for _ in range(200):
        reason = code("test_because", because=nested(reason))
    assert "its own record says why" in str(reason)
    assert canonical_bytes(reason.to_json()).count(b"{") < 40


def test_a_value_that_holds_a_code_is_told_from_one_that_has_a_member_of_that_name() -> None:
    assert code_in(code("not_answered").to_json()) == code("not_answered")
    assert code_in({"code": "utf-8"}) is None
    assert code_in("not_answered") is None
