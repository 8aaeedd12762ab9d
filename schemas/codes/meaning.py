"""What a code means: its sentence, its parameters with their kinds, and where it is from."""

from collections.abc import Sequence
from string import Formatter
from typing import Any, Literal, NamedTuple

Kind = Literal["text", "number", "names", "reason", "reasons"]
"""Of a parameter: `names` is a list of texts, `reason` another code or a text, `reasons` a list of those."""


class Meaning(NamedTuple):
    """A sentence with `{name}` in the place of each parameter, as `str.format` reads it.

    `{count:# cluster}` counts a noun: `1 cluster`, `2 clusters`. A list has commas between its items, or what stands behind the
    colon: `{parts:; }`, `{terms: + }`; `{names:and}` is `a, b and c`. `source` is the clause, paper or document that the code
    follows; empty where it states only what this tool did.
    """

    sentence: str
    parameters: dict[str, Kind]
    source: str = ""

    @classmethod
    def of(cls, sentence: str, /, source: str = "", **parameters: Kind) -> "Meaning":
        """`Meaning.of("{effective:g} effective clusters, needs {needs}", effective="number", needs="number")`."""
        return cls(sentence, parameters, source)

    def rendered(self, parameters: dict[str, Any]) -> str:  # numbers, texts and lists of texts
        """The sentence with its parameters in their places."""
        return _SENTENCES.vformat(self.sentence, (), parameters)


class _Sentences(Formatter):
    """`str.format` with counted nouns and with lists."""

    def format_field(self, value: Any, format_spec: str) -> str:  # a number, a text, or a list of texts
        if isinstance(value, list):
            return listed_labels(value) if format_spec == "and" else (format_spec or ", ").join(value)
        if not format_spec.startswith("# "):
            text = str(super().format_field(value, format_spec))
            # a sentence with signs has the one that everything printed beside it has
            return text.replace("-", "−") if format_spec.startswith("+") else text
        count = str(value) if isinstance(value, int) else f"{value:g}"
        noun = format_spec.removeprefix("# ")
        return f"{count} {noun}" if value == 1 else f"{count} {noun}s"


_SENTENCES = _Sentences()


def listed_labels(labels: Sequence[str]) -> str:
    """`a:1, b:1 and c:1`."""
    return " and ".join(labels) if len(labels) < 3 else f"{', '.join(labels[:-1])} and {labels[-1]}"
