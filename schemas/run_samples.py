"""A few held-out rows with what was written before and after a training. Pure.

The record of a run binds them by their digest. They are rows of the user's data, which a training file has to ask for: they are
kept in the store, and `registry report` shows them; no copy for others has them.
"""

from typing import Literal

from peft_registry.schemas.document import Document, Frozen
from peft_registry.schemas.identity import Digest


class Sample(Frozen):
    """A row as text: what the model reads, the answer that the row has, and what was written before and after."""

    prompt: str
    answer: str
    before: str
    after: str


class RunSamples(Document):
    """The samples of one run, in the order of the rows."""

    form: Literal["1"] = "1"
    samples: tuple[Sample, ...]


class KeptSamples(Document):
    """The object that holds the samples of a run."""

    sha256: Digest
    bytes: int
    samples: int

    @classmethod
    def of(cls, samples: RunSamples) -> "KeptSamples":
        """Which object holds these."""
        data = samples.to_canonical()
        return cls(sha256=Digest.of(data), bytes=len(data), samples=len(samples.samples))
