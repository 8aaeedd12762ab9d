"""One training between its checked base and its registration, as a value: what each step in between takes. Decides nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.manifest import BaseReference
from peft_registry.schemas.run import KeptRun
from peft_registry.schemas.version import Version
from peft_registry.trainer.inputs.base import CheckedBase
from peft_registry.trainer.inputs.training_file import LoadedConfig
from peft_registry.trainer.use_cases.train_plan import TrainingPlan

if TYPE_CHECKING:
    from peft_registry.trainer.data.dataset import LoadedData
    from peft_registry.trainer.evaluation.tasks.asked import BenchmarkTask


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """A run that has its folder and its base.

    Attributes:
        plan: what is trained; nothing refuses it any more.
        data: its rows as tokens, read before the weights of the base.
        base: what it is trained on, each file of it compared with the registered one.
        kept: what the folder said of the run before it was started now.
        folder: of the run on disk.
        is_resumed: whether `kept` is of an earlier start, with the data that were read then.
        comparison: the id of the comparison that the run is an arm of; None where it is of none.
        command: the words of the command line; none where no command was typed.
        tasks: of lm-evaluation-harness, asked of base and result once it is trained.
    """

    plan: TrainingPlan
    data: "LoadedData"
    base: CheckedBase
    kept: KeptRun
    folder: Path
    is_resumed: bool = False
    comparison: str | None = None
    command: tuple[str, ...] = ()
    tasks: "tuple[BenchmarkTask, ...]" = ()

    @property
    def loaded(self) -> LoadedConfig:
        return self.plan.loaded

    @property
    def config(self) -> TrainingFile:
        return self.loaded.config

    @property
    def start(self) -> Version | None:
        """What training continues from; None where it starts from the base."""
        return self.plan.start

    @property
    def artifact(self) -> Path:
        """The folder that what was trained is written to."""
        return self.folder / "artifact"

    @property
    def base_reference(self) -> BaseReference:
        """The base as manifest and record name it."""
        return self.base.reference(self.config)
