"""The lines of a run log: what a run under way says of itself in its folder, one JSON object a line. Pure.

Nothing in it is signed, and nothing that is signed rests on it but the points, which the run's record binds by digest once they
are kept. A run that is resumed begins anew in the same log.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import ProjectName
from peft_registry.schemas.run_points import Moment, RunMetricName, Step
from peft_registry.schemas.values import Timestamp

RunState = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
EndState = Literal["FINISHED", "FAILED", "KILLED"]


class ProcessIdentity(Frozen):
    """A process, told apart from another one that has its number later.

    Attributes:
        pid: its number.
        started: clock ticks from the machine's start to its own; None where the system does not tell.
        boot: the random id of this start of the machine; None likewise.
        namespace: in which its number means it, as of a container; None likewise.
        host: the machine's name.
    """

    pid: int
    started: int | None = None
    boot: str | None = None
    namespace: str | None = None
    host: str


class RunBegun(Frozen):
    """A run begins, or a run that was stopped continues. `settings` is what its record will call `config`.

    `config` and `overrides` say how it was started, where that was by a training file.
    """

    kind: Literal["begun"] = "begun"
    run_id: str
    name: str
    project: ProjectName | None = None
    method: str
    base: str
    settings: dict[str, Any]
    comparison: str | None = None
    config: str | None = None
    overrides: tuple[str, ...] = ()
    started_at: Timestamp  # of the first beginning
    at: Moment
    process: ProcessIdentity


class RunStage(Frozen):
    """A stage began, such as `train` or the scoring of a suite; `total` units are expected, None when nobody can say."""

    kind: Literal["stage"] = "stage"
    stage: str
    total: Step | None = None
    unit: str = "it"
    at: Moment


class RunMeasured(Frozen):
    """What was measured at a step; `seed` where several trials of one run have steps of their own."""

    kind: Literal["point"] = "point"
    step: Step
    at: Moment
    values: dict[RunMetricName, float]
    logged: dict[str, float] = Field(default_factory=dict)
    seed: int | None = None


class RunEnded(Frozen):
    """The run ended: `sentence` says what became of it, `version` what it registered."""

    kind: Literal["ended"] = "ended"
    state: EndState
    sentence: str
    version: str | None = None
    at: Moment


RunLine = Annotated[RunBegun | RunStage | RunMeasured | RunEnded, Field(discriminator="kind")]
RUN_LINE: TypeAdapter[RunBegun | RunStage | RunMeasured | RunEnded] = TypeAdapter(RunLine)
