"""Strict YAML for configuration: plain JSON types, or a refusal with line and column.

Scalars follow the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema), not PyYAML's 1.1: `1e-5` is a
float; `no`, `yes`, `on`, `off`, `1:30`, `1_000` and `2026-11-24` are text. `012` is refused, because 1.1 reads ten and
1.2 reads twelve. Repeated keys, keys that are not text, merge keys, explicit tags, directives and several documents are
refused.
An alias is expanded into a copy; expansion is counted, so a small file cannot become a large one.

Values are built from PyYAML's events: its constructors never run.
"""

import copy
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.schemas.errors import InputRefused

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 100_000  # after expansion of aliases
MAX_DEPTH = 64
_A_NUMBER = "write a finite number, or take the line out where there is none"
_FLAT = "write it flatter"
_UTF8 = "save the file as UTF-8, without a byte order mark"
_CHARACTERS_A_NODE = 256
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {
    text: value for value, word in ((True, "true"), (False, "false")) for text in (word, word.title(), word.upper())
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,64}\Z")
_AMBIGUOUS = re.compile(r"[-+]?0[0-9]+\Z")
_OCTAL = re.compile(r"0o[0-7]{1,64}\Z")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,64}\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")


class MalformedYaml(InputRefused):
    """Line and column are counted from 1."""

    what = "{subject} is not acceptable YAML"
    why = "{reason}{place}"
    fix = "{remedy}"

    subject: str
    reason: str
    line: int | None = None
    column: int | None = None
    remedy: str = "correct that line; text that holds a colon, a # or a quotation mark stands in quotes"

    @property
    def place(self) -> str:
        return "" if self.line is None else f" (line {self.line}, column {self.column})"


def read_yaml(text: str | bytes, *, what: str, max_bytes: int = MAX_BYTES) -> Any:  # any JSON value
    """The value of one YAML document in plain JSON types (dict, list, str, int, float, bool, None); empty is None.

    Args:
        text: the document; bytes are UTF-8 without byte order mark.
        what: names it in an error, for example the file name.
        max_bytes: longer documents are refused before they are looked at.

    Raises:
        MalformedYaml: as the module says; `line` and `column` tell where, counted from 1.
        SecretRefused: a text in it looks like a secret.
    """
    return read_yaml_with_lines(text, what=what, max_bytes=max_bytes)[0]


Place = tuple[str | int, ...]
"""The keys and positions that lead to a value."""


def read_yaml_with_lines(
    text: str | bytes, *, what: str, max_bytes: int = MAX_BYTES
) -> tuple[Any, dict[Place, int]]:  # any JSON value
    """As `read_yaml`, with the line of each key of a mapping and each entry of a list, counted from 1.

    What an alias stands for has the line of the alias, and nothing inside it has one.
    """
    source = _decoded(text, what, max_bytes)
    builder = _Builder(what, iter(_events(source, what)))
    value = builder.document()
    # before anything looks at it: an error about a wrong value would print the secret, and a run would record it
    require_no_secrets(value, what=what)
    return value, builder.lines


def _decoded(text: str | bytes, what: str, max_bytes: int) -> str:
    if len(text) > max_bytes:
        raise MalformedYaml(
            what, f"it has {len(text)} bytes, more than the {max_bytes} allowed", remedy="shorten the file"
        )
    if isinstance(text, bytes):
        text = _utf8(text, what)
    if text.startswith("\ufeff"):
        raise MalformedYaml(what, "it starts with a byte order mark", line=1, column=1, remedy=_UTF8)
    return text


def _utf8(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise MalformedYaml(what, "a byte is not UTF-8", line=line, column=column, remedy=_UTF8) from error


def _events(source: str, what: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(source, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = " ".join(filter(None, (error.problem, error.context)))
        line, column = (None, None) if mark is None else (mark.line + 1, mark.column + 1)
        raise MalformedYaml(what, why, line=line, column=column) from error
    except yaml.reader.ReaderError as error:
        line = source.count("\n", 0, error.position) + 1
        column = error.position - source.rfind("\n", 0, error.position)
        why = f"the character U+{ord(source[error.position]):04X} is not allowed"
        remedy = "take the character out: it is not seen, so type the text around it anew"
        raise MalformedYaml(what, why, line=line, column=column, remedy=remedy) from error


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any  # any JSON value
    nodes: int
    height: int


@dataclass
class _Builder:
    """One document under construction; counts nodes as it goes."""

    what: str
    events: Iterator[yaml.Event]
    anchors: dict[str, _Anchored] = field(default_factory=dict)
    nodes: int = 0
    lines: dict[Place, int] = field(default_factory=dict)
    place: list[str | int] = field(default_factory=list)  # of the value that is being read

    def document(self) -> Any:  # any JSON value
        next(self.events)  # stream start
        first = next(self.events)
        if isinstance(first, yaml.StreamEndEvent):
            return None
        if isinstance(first, yaml.DocumentStartEvent) and (first.version or first.tags):
            raise self._refusal(first, "directives are not allowed", "take that line out")
        value = self._value(next(self.events), depth=1)
        next(self.events)  # document end
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._refusal(
                after, "it holds more than one document", "keep one document, and take out what follows `---`"
            )
        return value

    def _value(self, event: yaml.Event, *, depth: int) -> Any:  # any JSON value
        if depth > MAX_DEPTH:
            raise self._refusal(event, f"it nests deeper than {MAX_DEPTH} levels", _FLAT)
        if isinstance(event, yaml.AliasEvent):
            return self._expanded(event, depth)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.tag is not None:
            raise self._refusal(event, f"the tag {event.tag} is not allowed", "write the value itself, without a tag")
        before = self.nodes
        self._count(event, 1)
        if isinstance(event, yaml.MappingStartEvent):
            value: Any = self._mapping(depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(depth)
        else:
            assert isinstance(event, yaml.ScalarEvent)
            # A long text counts as several values, or aliases to it would still grow without limit.
            self._count(event, len(event.value) // _CHARACTERS_A_NODE)
            value = self._scalar(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(value, self.nodes - before, _height(value))
        return value

    def _mapping(self, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._value(event, depth=depth + 1)
            if not isinstance(key, str):
                raise self._refusal(event, f"the key {key!r:.80} is not text", "put it in quotes")
            if key == "<<" and getattr(event, "style", None) is None:
                raise self._refusal(event, "merge keys (<<) are not part of YAML 1.2", "write the keys out")
            if key in mapping:
                raise self._refusal(
                    event, f"the key {key[:80]!r} occurs twice", "keep one of the two, and take the other out"
                )
            mapping[key] = self._value_at(key, event, next(self.events), depth=depth + 1)
        return mapping

    def _sequence(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._value_at(len(items), event, event, depth=depth + 1))
        return items

    def _value_at(self, step: str | int, first: yaml.Event, event: yaml.Event, *, depth: int) -> Any:  # any JSON value
        """The value that begins with `event`; its line is that of its `first` event, a key or itself."""
        mark = first.start_mark
        assert mark is not None, "events of a parser carry marks"
        self.place.append(step)
        self.lines[tuple(self.place)] = mark.line + 1
        value = self._value(event, depth=depth)
        self.place.pop()
        return value

    def _expanded(self, event: yaml.AliasEvent, depth: int) -> Any:  # any JSON value
        if event.anchor not in self.anchors:
            raise self._refusal(
                event, f"the alias *{event.anchor} names nothing above it", "write the value out, or put it in quotes"
            )
        anchored = self.anchors[event.anchor]
        self._count(event, anchored.nodes)
        if depth + anchored.height > MAX_DEPTH:
            raise self._refusal(event, f"it nests deeper than {MAX_DEPTH} levels", _FLAT)
        return copy.deepcopy(anchored.value)

    def _count(self, event: yaml.Event, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise self._refusal(event, f"it expands to more than {MAX_NODES} values", "shorten the file")

    def _scalar(self, event: yaml.ScalarEvent) -> str | int | float | bool | None:
        text: str = event.value
        if event.style is not None:  # quoted, literal or folded: always text
            return text
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        return self._number(event, text)

    def _number(self, event: yaml.ScalarEvent, text: str) -> str | int | float:
        if _AMBIGUOUS.match(text):
            plain = text.lstrip("+-0") or "0"
            raise self._refusal(
                event, f"{text[:40]} is eight-based to some readers", f"write {plain[:40]}, or put it in quotes"
            )
        if _INTEGER.match(text):
            return int(text)
        if _OCTAL.match(text):
            return int(text[2:], 8)
        if _HEXADECIMAL.match(text):
            return int(text[2:], 16)
        if _NOT_FINITE.match(text):
            raise self._refusal(event, f"{text} is not a finite number", _A_NUMBER)
        if not _FLOAT.match(text):
            return text
        value = float(text)
        if not math.isfinite(value):
            raise self._refusal(event, f"the number {text[:40]} is out of range", _A_NUMBER)
        return value

    def _refusal(self, event: yaml.Event, why: str, remedy: str) -> MalformedYaml:
        mark = event.start_mark
        assert mark is not None, "events of a parser carry marks"
        return MalformedYaml(self.what, why, line=mark.line + 1, column=mark.column + 1, remedy=remedy)


def _height(value: Any) -> int:  # any JSON value
    """The number of containers on the longest way down from `value`."""
    height = 0
    level = [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        height += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return height
