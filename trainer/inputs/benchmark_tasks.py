"""The tasks of lm-evaluation-harness that a training file asks of its result.

Names, rows and what a task says of itself are looked at while the training is planned, without the harness. What only the harness
knows is asked of it once the tokenizer is here, before a weight of the base is read.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.schemas.config import TaskSource
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.evaluation import TASK_PREFIX
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.inputs.training_file import LoadedConfig

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.tasks.asked import BenchmarkTask, TaskRows, TaskSettings


class TaskDataAbsent(NotFound):
    what = "{place} is not there"
    why = (
        "the training file names it under `evaluation.tasks` as the rows of {name}; its paths start from its own folder"
    )
    fix = "correct `data` of that task, or put the rows there"

    name: str
    place: Path


def require_task(loaded: LoadedConfig, source: TaskSource) -> "TaskRows":
    """What a task says of itself, and its rows.

    Raises:
        TaskDataAbsent: its rows are not where the file says.
        KnownError: as `rows_of_task`.
    """
    from peft_registry.trainer.evaluation.tasks.asked import rows_of_task

    place = loaded.resolve(source.data)
    if not place.exists():
        raise TaskDataAbsent(source.name, place)
    return rows_of_task(source.name, place, _settings(source))


def load_file_tasks(
    loaded: LoadedConfig,
    tokenizer: Any,  # of transformers
    context_length: int | None,
) -> "tuple[BenchmarkTask, ...]":
    """The tasks as the harness makes them of the user's rows; nothing is asked yet.

    Args:
        loaded: the training file.
        tokenizer: of the base.
        context_length: positions that the base reads; None where it does not say.

    Raises:
        KnownError: as `load_task`.
        TaskTooLong: a row and its answer have no room behind the virtual tokens of the method.
    """
    from peft_registry.trainer.evaluation.tasks.asked import load_task

    config = loaded.config
    tasks = tuple(load_task(task.name, loaded.resolve(task.data), _settings(task)) for task in config.evaluation.tasks)
    if context_length is not None:
        for task in tasks:
            task.require_room(tokenizer, context_length - config.virtual_tokens)
    return tasks


def rows_of_file_tasks(loaded: LoadedConfig) -> dict[str, Digest]:
    """The digest of the rows of each task, by the name of its figures.

    Raises:
        KnownError: as `require_task`.
    """
    return {
        f"{TASK_PREFIX}{source.name}": require_task(loaded, source).asked.sha256
        for source in loaded.config.evaluation.tasks
    }


def _settings(source: TaskSource) -> "TaskSettings":
    from peft_registry.trainer.evaluation.tasks.asked import TaskSettings

    return TaskSettings(source.fewshot, source.max_new_tokens, source.limit, source.seed)
