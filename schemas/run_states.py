"""States of a training that were kept so that others can run stretches of it again: which they are, and what binds them. Pure.

The record of a run binds their list by the root of a Merkle tree over it. The states themselves lie in the home that trained; no
copy for others has them, because an optimizer's state tells of the rows.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest

LIST_NAME = "states.json"
STATES_FOLDER = "audited"  # beside the checkpoint of a run that is under way


def state_file(step: int) -> str:
    """The name of the file that holds the state after a step."""
    return f"step-{step:08}.pt"


class KeptState(Document):
    """The state after a step (0: before the first), as the file that holds it."""

    step: int = Field(ge=0)
    sha256: Digest
    bytes: int = Field(ge=0)

    @property
    def file(self) -> str:
        """The name of the file."""
        return state_file(self.step)


class RunStates(Document):
    """`states.json`: the states of one run, from before its first step to after its last."""

    form: Literal["1"] = "1"
    run_id: str
    states: tuple[KeptState, ...] = Field(min_length=2, max_length=10_001)

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        steps = [state.step for state in self.states]
        if steps[0] != 0 or steps != sorted(set(steps)):
            raise ValueError("the first is of step 0, and each is later than the one before")
        return self


class BoundStates(Document):
    """What the record of a run says of its states: how many stretches lie between them, their size, and what binds their list.

    `arithmetic` is what decided the last bits where it was trained: equal texts on another machine mean equal bits.
    """

    stretches: int = Field(ge=1)
    bytes: int = Field(ge=0)
    root: Digest  # of a Merkle tree (RFC 9162) whose leaves are the states, each as canonical JSON
    arithmetic: dict[str, str]
