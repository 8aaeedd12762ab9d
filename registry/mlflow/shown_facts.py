"""What is read of a version for MLflow to show, as values. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field

from peft_registry.schemas.identity import Digest


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that are made when they are written. `identity` is a digest of what they follow from: equal means equal bytes."""

    identity: Digest
    make: Callable[[], bytes] = field(compare=False)

    @classmethod
    def of(cls, data: bytes) -> "Content":
        """Bytes that are at hand."""
        return cls(Digest.of(data), lambda: data)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A registered version beside another in its lineage: `name:3`, and as what."""

    label: str
    relation: str

    @property
    def link(self) -> str:
        """The link to its page in MLflow."""
        name, _, number = self.label.rpartition(":")
        return f"[{self.label}](#/models/{name}/versions/{number})"


@dataclass(frozen=True, slots=True)
class FilledCount:
    """How many fields of the modification record are filled."""

    filled: int
    total: int

    @property
    def text(self) -> str:
        return f"{self.filled} of {self.total} fields filled, {self.total - self.filled} open"


@dataclass(frozen=True, slots=True)
class DecidedState:
    """How what people decide about a version stood when it was read."""

    # the status of model and system, with what persons decided; None where nothing was modified
    verdict: str | None = None  # by its codes, which are searched for
    verdict_words: str | None = None
    gates: tuple[str, ...] = ()  # of each alias its policy, and whether it is open by the records
    approvals: str | None = None  # how many count, and whose; None where nobody approved


NOTHING_SAID = DecidedState()
"""Nobody decided anything, and nothing was modified."""
