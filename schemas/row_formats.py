"""The formats that rows of data have, and the template by which the values of a row become the text that a model reads.

A template is text with placeholders `{meaning}`. What stands before the answer's placeholder is the prompt; the
answer and what follows it are the completion. A part in `[[…]]` is left out when a placeholder in it is empty.
Values are put in as they are: braces and brackets inside them mean nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from peft_registry.schemas.config import RowFormat

_PLACEHOLDER = re.compile(r"\{([^{}\n]+)\}")
_OPTIONAL = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Format:
    """A shape of rows: the meanings it needs, those it can do without, the one that is learnt, and its template."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    answer: str
    template: str


# in the order in which they are recognised
FORMATS: dict[RowFormat, Format] = {
    # nothing stands between them, as in TRL: who wants a separator writes a template, and the record has it
    "prompt_completion": Format(("prompt", "completion"), (), "completion", "{prompt}{completion}"),
    "alpaca": Format(
        ("instruction", "output"),
        ("input", "system"),
        "output",
        "[[{system}\n\n]]### Instruction:\n{instruction}\n\n[[### Input:\n{input}\n\n]]### Response:\n{output}",
    ),
    # the next two are rendered with the tokenizer's own chat template, which is then what is digested
    "messages": Format(("messages",), (), "messages", ""),
    "sharegpt": Format(("conversations",), ("system",), "conversations", ""),
    # the label's name is the completion, so that every method and every measure of text works on it
    "classification": Format(
        ("text", "label"), ("text_pair",), "label", "{text}\n\n[[{text_pair}\n\n]]### Label:\n{label}"
    ),
    "text": Format(("text",), (), "text", "{text}"),
    # what its template names, by the file's own column names: never recognised, always asked for
    "columns": Format((), (), "", ""),
}
CONVERSATIONS: tuple[RowFormat, ...] = ("messages", "sharegpt")


def placeholders(text: str) -> list[str]:
    """The meanings that a template names, in its order, each as often as it stands there."""
    return _PLACEHOLDER.findall(text)


def optional_parts(text: str) -> list[str]:
    """What stands between `[[` and `]]`."""
    return _OPTIONAL.findall(text)


def fill_template(text: str, values: Mapping[str, str]) -> str:
    """The text with the values in their places; a part in which one is empty or absent is left out."""

    def part(match: re.Match[str]) -> str:
        inner = match.group(1)
        return inner if all(values.get(word) for word in _PLACEHOLDER.findall(inner)) else ""

    return _PLACEHOLDER.sub(lambda match: values.get(match.group(1), ""), _OPTIONAL.sub(part, text))
