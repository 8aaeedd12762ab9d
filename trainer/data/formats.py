"""How the rows of one file are read: what its columns mean, and the text that a model reads of each row."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.config import RowFormat, TrainSource
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.row_formats import (
    CONVERSATIONS,
    FORMATS,
    Format,
    fill_template,
    optional_parts,
    placeholders,
)
from peft_registry.schemas.suggestions import closest
from peft_registry.trainer.data.containers import DataRow
from peft_registry.trainer.data.conversations import Turn, WrongColumnType, conversation, has_lone_surrogate, kind_of

# names that people give to the target of a classification, besides `label`, which is recognised
_LABEL_COLUMNS = frozenset(
    ("category", "class", "class_name", "intent", "label_name", "label_text", "labels", "sentiment", "target")
)


class AbsentColumn(InputRefused):
    what = "{name} has no column `{column}`"
    why = "its columns are {columns!l}"
    fix = "{suggestion}"

    name: str
    column: str
    columns: Sequence[str]
    meaning: str
    is_mapped: bool  # data.train.columns names this column; else it has the name of its meaning
    recognised: RowFormat | None = None  # the other format that these columns are of

    @property
    def suggestion(self) -> str:
        if self.recognised is not None:
            return f"set data.train.format: {self.recognised}, which these columns are of"
        # a column that has the meaning's own name is the likelier one
        nearest = self.meaning if self.meaning in self.columns else closest(self.column, self.columns)
        mapping = f"data.train.columns: {{{self.meaning}: {nearest or 'COLUMN'}}}"
        if nearest is not None:
            return f"did you mean `{nearest}`? Set {mapping}"
        if self.is_mapped:
            return f"correct `{self.column}` to one of them: {mapping}"
        return f"say which of them it is, with {mapping}, or correct data.train.format"


class AbsentValue(InputRefused):
    what = "line {line} of {name} has nothing in column `{column}`"
    why = "other rows have it, and the format needs it"
    fix = "complete or remove the line and run again"

    name: str
    line: int
    column: str


class UnknownMeaning(InputRefused):
    what = "data.train.columns maps `{meaning}`, which the format {row_format} does not have"
    why = "its meanings are {meanings!l}"
    fix = "write columns as meaning: column, for example {{prompt: question}}"

    meaning: str
    row_format: RowFormat
    meanings: Sequence[str]


class FormatNotRecognised(InputRefused):
    what = "the columns of {name} do not show its format"
    why = "the columns are {columns!l}"
    fix = "set data.train.format to one of {formats!l}, and data.train.columns if they are named otherwise"

    name: str
    columns: Sequence[str]

    formats = tuple(FORMATS)


class LabelColumnUnused(InputRefused):
    what = "{name} would be read as plain text, without its column `{column}`"
    why = "its columns are {columns!l}, and `{column}` looks like the label of a classification, which nothing would learn"
    fix = (
        "set data.train.format: classification and data.train.columns: {{label: {column}}} to train on it, "
        "or data.train.format: text to leave it out"
    )

    name: str
    column: str
    columns: Sequence[str]


class UnknownLabel(InputRefused):
    what = "line {line} of {name}: column `{column}` holds a label that is none of the {known} known ones"
    why = "the numbers of the classes go from 0 to one less than there are names"
    fix = "complete data.train.labels, or correct the line"

    name: str
    line: int
    column: str
    known: int


class LabelsWithoutClasses(InputRefused):
    what = "data.train.labels means nothing for the format {row_format}"
    why = "only rows of the format classification have a label"
    fix = "take labels out, or set format: classification"

    row_format: RowFormat


class TemplateRefused(InputRefused):
    what = "data.train.template cannot be used"
    why = "{reason}"
    fix = "write the prompt's placeholders and then the answer's, for example 'Q: {{prompt}}\\nA: {{completion}}'"

    reason: str


class NoChatTemplate(InputRefused):
    what = "the data holds conversations, and the base has no chat template"
    why = "without one nobody knows how this base marks who speaks"
    fix = "use an instruction-tuned base, or write the data as prompt and completion"


@dataclass(frozen=True, slots=True)
class RowReading:
    """How rows of one file are read: format, (meaning, column) pairs sorted by meaning, and the template's text."""

    name: str
    row_format: RowFormat
    columns: tuple[tuple[str, str], ...]
    template: str
    detected: bool
    shape: Format
    labels: tuple[str, ...] = ()
    is_conversation: bool = False  # rows hold turns, which the tokenizer's chat template renders

    @property
    def template_digest(self) -> Digest:
        """SHA-256 of the template's UTF-8 text."""
        return Digest.of(self.template.encode("utf-8"))

    @property
    def has_tasks(self) -> bool:
        """Whether a row is a prompt and an answer in words: not plain text, and not turns."""
        return not self.is_conversation and self.row_format != "text"

    def values(self, row: DataRow) -> dict[str, Any]:
        """The row's values by meaning; an optional one that is absent is left out.

        Raises:
            AbsentValue, WrongColumnType: with line and column, never the value.
        """
        found = {}
        for meaning, column in self.columns:
            value = row.values.get(column)
            if value is None:
                if meaning in self.shape.optional:
                    continue
                raise AbsentValue(self.name, row.line, column)
            found[meaning] = self._checked(row.line, column, meaning, value)
        return found

    def _checked(self, line: int, column: str, meaning: str, value: Any) -> Any:
        if self.is_conversation and meaning != "system":
            is_last = meaning == self.shape.answer
            return conversation(
                self.name, line, column, value, sharegpt=meaning == "conversations", ends_with_answer=is_last
            )
        if self.row_format == "classification" and meaning == "label":
            value = self._label(line, column, value)
            if isinstance(value, str) and not value.strip():  # CSV has no other way to leave a class out
                raise AbsentValue(self.name, line, column)
        elif self.row_format == "columns" and isinstance(value, bool | int | float):
            value = json.dumps(value)
        if not isinstance(value, str):
            raise WrongColumnType(self.name, line, column, found=kind_of(value), expected="text")
        if has_lone_surrogate(value):
            raise WrongColumnType(self.name, line, column, found="half a surrogate pair", expected="Unicode text")
        return value

    def _label(self, line: int, column: str, value: Any) -> Any:
        """The class's name: of its number where the names are known, else what stands there."""
        number = int(value) if isinstance(value, str) and self.labels and value.isdecimal() else value
        if isinstance(number, bool) or not isinstance(number, int):
            if self.labels and value not in self.labels:
                raise UnknownLabel(self.name, line, column, len(self.labels))
            return json.dumps(value) if isinstance(value, bool) else value
        if not self.labels:
            return str(number)
        if not 0 <= number < len(self.labels):
            raise UnknownLabel(self.name, line, column, len(self.labels))
        return self.labels[number]


def choose_reading(
    source: TrainSource,
    *,
    name: str,
    columns: Sequence[str],
    chat_template: str | None,
    classes: Sequence[tuple[str, tuple[str, ...]]] = (),
    lists: Sequence[str] = (),
) -> RowReading:
    """How to read a file with these columns: what the training file says, else what the columns say.

    Args:
        source: of the training file.
        name: the file's base name, for errors.
        columns: of its first row.
        chat_template: the text that renders messages, None when the tokenizer has none.
        classes: (column, names) that the file states itself.
        lists: columns that hold a list in its first row: prompts and completions are then turns of a conversation.

    Raises:
        FormatNotRecognised, LabelColumnUnused, AbsentColumn, UnknownMeaning, TemplateRefused, NoChatTemplate.
    """
    row_format = source.format or _detect(name, columns, source.columns)
    if source.format is None and row_format == "text":
        _require_no_label(name, columns, source)
    shape = _shape_of_template(source) if row_format == "columns" else FORMATS[row_format]
    meanings = (*shape.required, *shape.optional)
    if source.labels and row_format != "classification":
        raise LabelsWithoutClasses(row_format)
    for meaning in source.columns:
        if meaning not in meanings:
            raise UnknownMeaning(meaning, row_format, meanings)
    chosen = {meaning: source.columns.get(meaning, meaning) for meaning in meanings}
    for meaning, column in list(chosen.items()):
        if column in columns:
            continue
        if meaning in shape.required or meaning in source.columns:
            is_mapped = meaning in source.columns
            other = None if source.columns else _recognised(columns, {})
            recognised = None if other in (row_format, "text") else other
            raise AbsentColumn(name, column, columns, meaning, is_mapped=is_mapped, recognised=recognised)
        del chosen[meaning]
    is_conversation = row_format in CONVERSATIONS or (
        row_format == "prompt_completion" and chosen["completion"] in lists
    )
    template = _template(source, row_format, shape, chat_template, is_conversation=is_conversation)
    labels = source.labels or dict(classes).get(chosen.get("label", ""), ())
    return RowReading(
        name,
        row_format,
        tuple(sorted(chosen.items())),
        template,
        detected=source.format is None,
        shape=shape,
        labels=labels if row_format == "classification" else (),
        is_conversation=is_conversation,
    )


def render(reading: RowReading, values: dict[str, Any]) -> tuple[str, str]:
    """The prompt and the completion of one row of a text format.

    Raises:
        AssertionError: the row is a conversation; those need a tokenizer.
    """
    assert not reading.is_conversation, "conversations are rendered by the tokenizer"
    texts: dict[str, str] = values
    before, _, after = reading.template.partition("{" + reading.shape.answer + "}")
    completion = texts[reading.shape.answer] + fill_template(after, texts)
    return fill_template(before, texts), completion


def turns_of(reading: RowReading, values: dict[str, Any]) -> list[Turn]:
    """The turns of one row of a conversation, a prompt's before those of its completion."""
    turns: list[Turn] = values[reading.shape.answer]
    if reading.row_format == "prompt_completion":
        return [*values["prompt"], *turns]
    system: list[Turn] = [{"role": "system", "content": values["system"]}] if values.get("system") else []
    return [*system, *turns]


def has_empty_answer(reading: RowReading, values: dict[str, Any]) -> bool:
    """Whether a row has nothing, or white space, where its last answer stands."""
    if reading.row_format == "text":  # such a row asks nothing, so it has no answer
        return False
    answer = values[reading.shape.answer]
    text: str = answer[-1]["content"] if reading.is_conversation else answer
    return not text.strip()


def row_line(values: dict[str, Any]) -> bytes:
    """The canonical JSON of a row's values by meaning, and a line feed: what `rows_sha256` covers.

    By meaning, so that the same rows have the same digest in every container and under every column name.
    """
    return canonical_bytes(values) + b"\n"


def _detect(name: str, columns: Sequence[str], mapped: dict[str, str]) -> RowFormat:
    recognised = _recognised(columns, mapped)
    if recognised is not None:
        return recognised
    known = {row_format: shape for row_format, shape in FORMATS.items() if shape.required}
    by_mapping = [key for key, shape in known.items() if mapped and set(mapped) >= set(shape.required)]
    if by_mapping:  # the columns that are named do not exist: say so rather than "not recognised"
        return by_mapping[0]
    raise FormatNotRecognised(name, columns)


def _recognised(columns: Sequence[str], mapped: dict[str, str]) -> RowFormat | None:
    """The first format whose required columns are there; None where there is none."""
    for row_format, shape in FORMATS.items():
        if shape.required and all(mapped.get(meaning, meaning) in columns for meaning in shape.required):
            return row_format
    return None


def _require_no_label(name: str, columns: Sequence[str], source: TrainSource) -> None:
    """Raise LabelColumnUnused where rows that are recognised as text have a column that is named like a label."""
    used = source.columns.get("text", "text")
    for column in columns:
        if column.lower() in _LABEL_COLUMNS and column != used:
            raise LabelColumnUnused(name, column, columns)


def _shape_of_template(source: TrainSource) -> Format:
    """The columns that a template names; the last of them is the answer."""
    used = tuple(dict.fromkeys(placeholders(source.template or "")))
    if not used:
        raise TemplateRefused("the format columns needs a template that names columns of the file")
    in_parts = {word for part in optional_parts(source.template or "") for word in placeholders(part)}
    optional = tuple(word for word in used[:-1] if word in in_parts)
    return Format(tuple(word for word in used if word not in optional), optional, used[-1], source.template or "")


def _template(
    source: TrainSource, row_format: RowFormat, shape: Format, chat_template: str | None, *, is_conversation: bool
) -> str:
    if is_conversation:
        if source.template is not None:
            raise TemplateRefused("conversations are rendered with the tokenizer's chat template")
        if chat_template is None:
            raise NoChatTemplate()
        return chat_template
    if source.template is None:
        return FORMATS[row_format].template
    used = placeholders(source.template)
    unknown = [word for word in used if word not in (*shape.required, *shape.optional)]
    if unknown:
        raise TemplateRefused(f"the format {row_format} has no {{{unknown[0]}}}")
    if used.count(shape.answer) != 1 or used[-1] != shape.answer:
        raise TemplateRefused(f"{{{shape.answer}}} must stand in it once, and last of the placeholders")
    if any("{" + shape.answer + "}" in part for part in optional_parts(source.template)):
        raise TemplateRefused("the answer cannot be optional")
    return source.template
