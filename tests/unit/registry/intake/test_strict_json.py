"""The strict JSON reader: one text has one meaning, or it is refused in the family that was asked for."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_registry.registry.intake.json import MAX_DEPTH, MalformedInput, MalformedJson, read_json
from peft_registry.schemas.errors import KnownError, NotChecked

TWO_READINGS = {
    "a repeated key": b'{"a": 1, "a": 2}',
    "a repeated key in a nested object": b'[{"b": {"a": 1, "\\u0061": 2}}]',
    "NaN": b"[NaN]",
    "infinity": b"[-Infinity]",
    "a number that overflows": b"[1e400]",
    "half a surrogate pair": b'["\\ud800"]',
    "half a surrogate pair as a key": b'{"\\udfff": 1}',
    "a byte order mark": b"\xef\xbb\xbf[]",
    "Latin-1": b'["\xe9"]',
    "UTF-16": "[]".encode("utf-16"),
    "a surrogate written as UTF-8": b'["\xed\xa0\x80"]',
    "an integer of 65 digits": b"9" * 65,
    "an integer of 5000 digits": b"9" * 5000,
    "two values": b"1 2",
    "nothing": b"",
    "a raw control character": b'["\x01"]',
}
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize("data", TWO_READINGS.values(), ids=TWO_READINGS.keys())
def test_a_text_with_two_readings_is_refused_in_both_families(data: bytes) -> None:
    with pytest.raises(MalformedJson) as presented:
        read_json(data, what="manifest.json")
    with pytest.raises(MalformedInput) as offered:
        read_json(data, what="manifest.json", family="intake")
    assert (presented.value.exit_code, offered.value.exit_code) == (6, 2)
    assert "manifest.json" in str(presented.value)


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 100_000])
@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(levels: int, pair: tuple[str, str]) -> None:
    text = pair[0] * levels + "1" + pair[1] * levels
    with pytest.raises(MalformedJson, match="levels"):
        read_json(text.encode(), what="x")


def test_the_deepest_allowed_text_is_read() -> None:
    text = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert read_json(text, what="x") == json.loads(text)


def test_the_size_cap_comes_before_everything_else() -> None:
    with pytest.raises(MalformedJson, match="4 bytes, more than the 3"):
        read_json(b"\xff\xff\xff\xff", what="x", max_bytes=3)


def test_an_error_class_of_the_caller_takes_precedence() -> None:
    class Mine(NotChecked):
        what = "{subject}"
        why = "{reason}"
        fix = "none"

        subject: str
        reason: str

    with pytest.raises(Mine, match="x: NaN is not JSON"):
        read_json(b"NaN", what="x", family="intake", error=Mine)


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert read_json(b'"\\ud83d\\ude00"', what="x") == "\U0001f600"


@given(JSON_VALUES)
def test_what_python_writes_is_read_back_the_same(value: object) -> None:
    assert read_json(json.dumps(value, ensure_ascii=False).encode(), what="x") == value


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = read_json(data, what="x")
    except KnownError:
        return
    assert value == json.loads(data)


def test_the_json_test_suite(test_data: Path) -> None:
    lines = (test_data / "vectors" / "json" / "parsing.jsonl").read_text("utf-8").splitlines()
    wrong = []
    for case in map(json.loads, lines):
        # the suite lets repeated keys pass; we promise not to
        expect = "reject" if "duplicated_key" in case["name"] else case["expect"]
        try:
            read_json(base64.b64decode(case["b64"]), what=case["name"])
            outcome = "accept"
        except MalformedJson:
            outcome = "reject"
        if expect not in (outcome, "either"):
            wrong.append((case["name"], outcome))
    assert len(lines) > 100
    assert wrong == []
