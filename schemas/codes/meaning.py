"""What a code means: its sentence, its parameters with their kinds, and where it is from."""

from typing import Literal, NamedTuple

Kind = Literal["text", "number", "names", "reason"]
"""Of a parameter: `names` is a list of texts, `reason` another code or a text."""


class Meaning(NamedTuple):
    """A sentence with `{name}` in the place of each parameter, as `str.format` reads it.

    `source` is the clause, paper or document that the code follows; empty where it states only what this tool did.
    """

    sentence: str
    parameters: dict[str, Kind]
    source: str = ""

    @classmethod
    def of(cls, sentence: str, /, source: str = "", **parameters: Kind) -> "Meaning":
        """`Meaning.of("{effective:g} effective clusters, needs {needs}", effective="number", needs="number")`."""
        return cls(sentence, parameters, source)
