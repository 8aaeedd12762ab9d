"""What the columns of a row mean, and the text that a model reads: format, columns, template.

A template is text with placeholders `{meaning}`. What stands before the answer's placeholder is the prompt; the
answer and what follows it are the completion. A part in `[[…]]` is left out when a placeholder in it is empty.
Values are put in as they are: braces and brackets inside them mean nothing.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.canonical import canonical_bytes
from schemas.config import RowFormat, TrainSource
from schemas.errors import InputRefused
from schemas.identity import Digest
from trainer.data.containers import Row

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_OPTIONAL = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Format:
    """A shape of rows: the meanings it needs, those it can do without, the one that is learnt, and its template."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    answer: str
    template: str


FORMATS: dict[RowFormat, Format] = {
    "prompt_completion": Format(("prompt", "completion"), (), "completion", "{prompt}\n{completion}"),
    "alpaca": Format(
        ("instruction", "output"),
        ("input", "system"),
        "output",
        "[[{system}\n\n]]### Instruction:\n{instruction}\n\n[[### Input:\n{input}\n\n]]### Response:\n{output}",
    ),
    "text": Format(("text",), (), "text", "{text}"),
    # rendered with the tokenizer's own chat template, which is then what is digested
    "messages": Format(("messages",), (), "messages", ""),
}


class AbsentColumn(InputRefused):
    reference = "absent-column"

    def __init__(self, name: str, column: str, columns: Sequence[str]) -> None:
        close = difflib.get_close_matches(column, columns, n=1)
        super().__init__(
            what=f"{name} has no column `{column}`",
            why=f"its columns are {', '.join(columns)}",
            fix=f"did you mean `{close[0]}`? Set data.train.columns"
            if close
            else "name the column in data.train.columns",
        )


class AbsentValue(InputRefused):
    reference = "absent-value"

    def __init__(self, name: str, line: int, column: str) -> None:
        super().__init__(
            what=f"line {line} of {name} has nothing in column `{column}`",
            why="other rows have it, and the format needs it",
            fix="complete or remove the line and run again",
        )


class WrongColumnType(InputRefused):
    reference = "wrong-column-type"

    def __init__(self, name: str, line: int, column: str, *, found: str, expected: str) -> None:
        super().__init__(
            what=f"line {line} of {name}: column `{column}` holds {found}",
            why=f"{expected} is expected there",
            fix="name another column in data.train.columns, or convert the file",
        )


class UnknownMeaning(InputRefused):
    reference = "unknown-meaning"

    def __init__(self, meaning: str, row_format: RowFormat, meanings: Sequence[str]) -> None:
        super().__init__(
            what=f"data.train.columns maps `{meaning}`, which the format {row_format} does not have",
            why=f"its meanings are {', '.join(meanings)}",
            fix="write columns as meaning: column, for example {prompt: question}",
        )


class FormatNotRecognised(InputRefused):
    reference = "format-not-recognised"

    def __init__(self, name: str, columns: Sequence[str]) -> None:
        super().__init__(
            what=f"the format of {name} cannot be told from its columns",
            why=f"the columns are {', '.join(columns)}",
            fix=f"set data.train.format to one of {', '.join(FORMATS)}, and data.train.columns if they are named otherwise",
        )


class TemplateRefused(InputRefused):
    reference = "template-refused"

    def __init__(self, why: str) -> None:
        super().__init__(
            what="data.train.template cannot be used",
            why=why,
            fix="write the prompt's placeholders and then the answer's, for example 'Q: {prompt}\\nA: {completion}'",
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """How rows of one file are read: format, (meaning, column) pairs sorted by meaning, and the template's text."""

    name: str
    row_format: RowFormat
    columns: tuple[tuple[str, str], ...]
    template: str
    detected: bool

    @property
    def template_digest(self) -> Digest:
        """SHA-256 of the template's UTF-8 text."""
        return Digest.of(self.template.encode("utf-8"))

    def values(self, row: Row) -> dict[str, Any]:
        """The row's values by meaning; an optional one that is absent is left out.

        Raises:
            AbsentValue, WrongColumnType: with line and column, never the value.
        """
        shape = FORMATS[self.row_format]
        found = {}
        for meaning, column in self.columns:
            value = row.values.get(column)
            if value is None:
                if meaning in shape.optional:
                    continue
                raise AbsentValue(self.name, row.line, column)
            found[meaning] = self._checked(row.line, column, meaning, value)
        return found

    def _checked(self, line: int, column: str, meaning: str, value: Any) -> Any:
        if meaning == "messages":
            return _conversation(self.name, line, column, value)
        if not isinstance(value, str):
            raise WrongColumnType(self.name, line, column, found=_kind(value), expected="text")
        if _has_lone_surrogate(value):
            raise WrongColumnType(self.name, line, column, found="half a surrogate pair", expected="Unicode text")
        return value


def choose_reading(source: TrainSource, *, name: str, columns: Sequence[str], chat_template: str | None) -> Reading:
    """How to read a file with these columns: what the training file says, else what the columns say.

    Args:
        source: of the training file.
        name: the file's base name, for errors.
        columns: of its first row.
        chat_template: the text that renders messages, None when the tokenizer has none.

    Raises:
        FormatNotRecognised, AbsentColumn, UnknownMeaning, TemplateRefused.
    """
    row_format = source.format or _detect(name, columns, source.columns)
    shape = FORMATS[row_format]
    meanings = (*shape.required, *shape.optional)
    for meaning in source.columns:
        if meaning not in meanings:
            raise UnknownMeaning(meaning, row_format, meanings)
    chosen = {meaning: source.columns.get(meaning, meaning) for meaning in meanings}
    for meaning, column in list(chosen.items()):
        if column in columns:
            continue
        if meaning in shape.required or meaning in source.columns:
            raise AbsentColumn(name, column, columns)
        del chosen[meaning]
    template = _template(source, row_format, chat_template)
    return Reading(name, row_format, tuple(sorted(chosen.items())), template, detected=source.format is None)


def render(reading: Reading, values: dict[str, Any]) -> tuple[str, str]:
    """The prompt and the completion of one row of a text format.

    Raises:
        AssertionError: the row is a conversation; those need a tokenizer.
    """
    assert reading.row_format != "messages", "conversations are rendered by the tokenizer"
    texts: dict[str, str] = values
    answer = "{" + FORMATS[reading.row_format].answer + "}"
    before, _, after = reading.template.partition(answer)
    completion = texts[FORMATS[reading.row_format].answer] + _filled(after, texts)
    return _filled(before, texts), completion


def row_line(values: dict[str, Any]) -> bytes:
    """The canonical JSON of a row's values by meaning, and a line feed: what `rows_sha256` covers.

    By meaning, so that the same rows have the same digest in every container and under every column name.
    """
    return canonical_bytes(values) + b"\n"


def _detect(name: str, columns: Sequence[str], mapped: dict[str, str]) -> RowFormat:
    for row_format, shape in FORMATS.items():
        if all(mapped.get(meaning, meaning) in columns for meaning in shape.required):
            return row_format
    by_mapping = [key for key, shape in FORMATS.items() if mapped and set(mapped) >= set(shape.required)]
    if by_mapping:  # the columns that are named do not exist: say so rather than "not recognised"
        return by_mapping[0]
    raise FormatNotRecognised(name, columns)


def _template(source: TrainSource, row_format: RowFormat, chat_template: str | None) -> str:
    if row_format == "messages":
        if source.template is not None:
            raise TemplateRefused("conversations are rendered with the tokenizer's chat template")
        if chat_template is None:
            raise NoChatTemplate()
        return chat_template
    if source.template is None:
        return FORMATS[row_format].template
    shape = FORMATS[row_format]
    used = _PLACEHOLDER.findall(source.template)
    unknown = [word for word in used if word not in (*shape.required, *shape.optional)]
    if unknown:
        raise TemplateRefused(f"the format {row_format} has no {{{unknown[0]}}}")
    if used.count(shape.answer) != 1 or used[-1] != shape.answer:
        raise TemplateRefused(f"{{{shape.answer}}} must stand in it once, and last of the placeholders")
    if any("{" + shape.answer + "}" in part for part in _OPTIONAL.findall(source.template)):
        raise TemplateRefused("the answer cannot be optional")
    return source.template


class NoChatTemplate(InputRefused):
    reference = "no-chat-template"

    def __init__(self) -> None:
        super().__init__(
            what="the data holds conversations, and the base has no chat template",
            why="without one nobody knows how this base marks who speaks",
            fix="use an instruction-tuned base, or write the data as prompt and completion",
        )


def _filled(text: str, values: dict[str, str]) -> str:
    def part(match: re.Match[str]) -> str:
        inner = match.group(1)
        return inner if all(values.get(word) for word in _PLACEHOLDER.findall(inner)) else ""

    return _PLACEHOLDER.sub(lambda match: values.get(match.group(1), ""), _OPTIONAL.sub(part, text))


def _conversation(name: str, line: int, column: str, value: Any) -> list[dict[str, str]]:
    expected = "a list of {role, content} objects that ends with the assistant's words"
    if not isinstance(value, list) or not value:
        raise WrongColumnType(name, line, column, found=_kind(value), expected=expected)
    for turn in value:
        if not isinstance(turn, dict) or not all(isinstance(turn.get(key), str) for key in ("role", "content")):
            raise WrongColumnType(name, line, column, found="a turn without role and content", expected=expected)
        if _has_lone_surrogate(turn["content"]):
            raise WrongColumnType(name, line, column, found="half a surrogate pair", expected="Unicode text")
    if value[-1]["role"] != "assistant":
        raise WrongColumnType(name, line, column, found="a conversation without a final answer", expected=expected)
    return [{"role": turn["role"], "content": turn["content"]} for turn in value]


def _has_lone_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    names: Iterable[tuple[type, str]] = ((int, "a number"), (float, "a number"), (str, "text"), (list, "a list"))
    return next((word for kind, word in names if isinstance(value, kind)), "an object")
