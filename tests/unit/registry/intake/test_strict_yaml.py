"""The strict YAML reader. Expected values follow the core schema of YAML 1.2.2 §10.3, written out by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_registry.registry.intake.yaml import MAX_NODES, MalformedYaml, read_yaml

CORE_SCHEMA = {
    "1e-5": 1e-5, "2e-4": 2e-4, "1.": 1.0, ".5": 0.5, "-1.5E+3": -1500.0, "0": 0, "-7": -7, "+3": 3,
    "0x1F": 31, "0o17": 15, "true": True, "False": False, "null": None, "~": None, "": None,
    "no": "no", "yes": "yes", "on": "on", "off": "off", "n": "n", "1_000": "1_000", "1:30": "1:30",
    "2026-11-24": "2026-11-24", "0b11": "0b11", "'012'": "012", '"true"': "true", "nan": "nan", "1e": "1e", "=": "=",
    "'<<'": "<<",
}  # fmt: skip
REFUSED = {
    "a number eight-based to some": ("a: 012", 1, 4),
    "a repeated key": ("a: 1\nb: 2\na: 3", 3, 1),
    "a repeated key in a flow mapping": ("x: {a: 1, 'a': 2}", 1, 11),
    "a key that is a number": ("a: 1\n1: x", 2, 1),
    "a key that is null": ("~: x", 1, 1),
    "a key that is a list": ("? [a]\n: b", 1, 3),
    "a merge key": ("a: &x {b: 1}\nc:\n  <<: *x", 3, 3),
    "a tag that builds an object": ("a: !!python/object/apply:os.system [x]", 1, 4),
    "a tag of the core schema": ("a: !!str 1", 1, 4),
    "an alias to nothing": ("a: *b", 1, 4),
    "an alias to itself": ("a: &a [*a]", 1, 8),
    "two documents": ("a: 1\n---\nb: 2", 2, 1),
    "a directive": ("%YAML 1.1\n---\na: 1", 1, 1),
    "infinity": ("a: .inf", 1, 4),
    "not a number": ("a: .nan", 1, 4),
    "an overflow": ("a: 1e999", 1, 4),
    "an unclosed list": ("a: [1", 1, 6),
    "a tab as indentation": ("a:\n\tb: 1", 2, 1),
    "a control character": ("a: \x07", 1, 4),
    "a byte order mark": ("\ufeffa: 1", 1, 1),
}


@pytest.mark.parametrize(("text", "value"), CORE_SCHEMA.items())
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    found = read_yaml(f"a: {text}", what="x")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("text", "line", "column"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_tells_where(text: str, line: int, column: int) -> None:
    with pytest.raises(MalformedYaml) as caught:
        read_yaml(text, what="train.yml")
    assert (caught.value.line, caught.value.column, caught.value.exit_code) == (line, column, 2)
    assert "train.yml" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("a repeated key", "keep one of the two"),
        ("not a number", "write a finite number"),
        ("a control character", "take the character out"),
        ("an unclosed list", "correct that line"),
    ],
)
def test_a_refusal_says_what_to_write_instead(name: str, remedy: str) -> None:
    with pytest.raises(MalformedYaml) as caught:
        read_yaml(REFUSED[name][0], what="facts.yml")
    assert remedy in caught.value.fix


def test_bytes_that_are_not_utf8_tell_where() -> None:
    with pytest.raises(MalformedYaml, match=r"line 2, column 4"):
        read_yaml(b"a: 1\nb: \xff", what="x")


@pytest.mark.parametrize("text", ["", "   \n", "# nothing\n", "---\n...\n"])
def test_an_empty_document_is_null(text: str) -> None:
    assert read_yaml(text, what="x") is None


def test_an_alias_is_an_independent_copy() -> None:
    value = read_yaml("a: &x {b: [1]}\nc: *x", what="x")
    value["a"]["b"].append(2)
    assert value["c"] == {"b": [1]}


def test_a_small_file_that_expands_without_end_is_refused() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{row}: &a{row} [{', '.join([f'*a{row - 1}'] * 9)}]" for row in range(1, 10)]
    with pytest.raises(MalformedYaml, match=f"more than {MAX_NODES}"):
        read_yaml("\n".join(rows), what="x")


def test_a_long_text_repeated_by_aliases_is_refused() -> None:
    text = f"a: &a '{'x' * 1_000_000}'\nb: [{', '.join(['*a'] * 200)}]"
    with pytest.raises(MalformedYaml, match=f"more than {MAX_NODES}"):
        read_yaml(text, what="x")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused(opening: str) -> None:
    with pytest.raises(MalformedYaml, match="64 levels"):
        read_yaml(opening * 5000, what="x")


def test_depth_built_up_by_aliases_is_refused() -> None:
    rows = ["a0: &a0 [" + "[" * 29 + "]" * 30]
    rows += [f"a{row}: &a{row} {'[' * 30}*a{row - 1}{']' * 30}" for row in range(1, 40)]
    with pytest.raises(MalformedYaml, match="64 levels"):
        read_yaml("\n".join(rows), what="x")


def test_the_size_cap() -> None:
    with pytest.raises(MalformedYaml, match="more than the 3"):
        read_yaml("a: 1", what="x", max_bytes=3)


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"])),
        st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(st.characters(codec="ascii")),
        max_size=5,
    )
)
def test_json_is_read_as_yaml(value: dict[str, object]) -> None:
    assert read_yaml(json.dumps(value), what="x") == value


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        value = read_yaml(text, what="x")
    except MalformedYaml:
        return
    json.dumps(value, allow_nan=False)
