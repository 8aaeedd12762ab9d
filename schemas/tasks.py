"""Several tasks on one base, in one training file: `tasks: [{name, data}]` in place of `data`.

Each task is a training file of its own once it is picked: the same keys, that task's data, and a name that ends in the
task's. So a task gives the very version that its data alone would give. With `task_order: sequential` each training goes on
from the adapter of the task before, and every one is measured on the held-out rows of all tasks: what was forgotten shows.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from peft_registry.schemas.config import AUTO_VALIDATION_FRACTION, RetentionSource, TrainingFile
from peft_registry.schemas.config_aliases import MissingKey, UnknownSetting, WrongValue, parse_training_file
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import check_name
from peft_registry.schemas.suggestions import closest, did_you_mean

TASK = "task"  # the override that picks one: `task=summaries`
ORDER = "task_order"
TaskOrder = Literal["independent", "sequential"]
_ORDERS: tuple[TaskOrder, ...] = get_args(TaskOrder)
_KEYS = ("name", "data")
_ALONE = (
    "the tasks follow each other, and picked alone {task} begins at the base; `continue_from=` the version of {before} "
    "begins where the sequence does"
)


class DataAndTasks(InputRefused):
    what = "`{key}` and `tasks` are both given"
    why = "each task has data of its own, and those of the file would train nothing"
    fix = "move `{key}` into a task, or remove `tasks`"

    key: str


class TaskTwice(InputRefused):
    what = "two tasks are called {name}"
    why = "a task's name is the end of its version's name, and its figures are found by it"
    fix = "give each task a name of its own"

    name: str


class NoSuchTask(InputRefused):
    what = "the training file has no task {shown}"
    why = "{known_tasks}"
    fix = "{suggestion}"

    task: object
    names: Sequence[str]

    @property
    def shown(self) -> str:
        return repr(self.task)[:60]

    @property
    def known_tasks(self) -> str:
        return f"its tasks are {', '.join(self.names)}" if self.names else "it has `data`, and no `tasks`"

    @property
    def suggestion(self) -> str:
        nearest = closest(str(self.task), self.names)
        return did_you_mean(nearest and f"{TASK}={nearest}", f"name one of its tasks, or leave {TASK}= out")


class SeveralTasks(InputRefused):
    what = "the training file has {count} tasks, and this command takes one"
    why = "its tasks are {names!l}; only `registry train` and `registry estimate` take all of them"
    fix = f"pick one: {TASK}={{names[0]}}"

    names: Sequence[str]

    @property
    def count(self) -> int:
        return len(self.names)


def tasks_of(raw: Any) -> tuple[str, ...]:
    """The names of the tasks that the value of a YAML document holds, in its order; none where it has `data`.

    Raises:
        MissingKey, UnknownSetting, WrongValue: a task is not as it should be, with its dotted key.
        MalformedName: its name cannot be part of a version's name.
        DataAndTasks: the file has data besides.
        TaskTwice: two tasks have one name.
    """
    if not isinstance(raw, dict) or not raw.keys() & {"tasks", ORDER}:
        return ()
    order_of(raw)
    if "tasks" not in raw:
        raise WrongValue(ORDER, raw[ORDER], expected="`tasks` beside it, which follow each other like that")
    for key in ("data", "datasets", "val_set_size"):
        if key in raw:
            raise DataAndTasks(key)
    tasks = raw["tasks"]
    if not isinstance(tasks, list) or not tasks:
        raise WrongValue("tasks", tasks, expected="a list of one task or more, each with a name and data")
    names = tuple(_name_of(at, task) for at, task in enumerate(tasks))
    for at, name in enumerate(names):
        if name in names[:at]:
            raise TaskTwice(name)
    return names


def order_of(raw: dict[str, Any]) -> TaskOrder:
    """How the tasks of a YAML document follow each other.

    Raises:
        WrongValue: in none of the ways that there are.
    """
    asked: TaskOrder = raw.get(ORDER, "independent")
    if asked not in _ORDERS:
        raise WrongValue(ORDER, asked, expected=f"one of {', '.join(_ORDERS)}")
    return asked


def parse_task(raw: Any, overrides: Sequence[tuple[str, Any]] = ()) -> tuple[TrainingFile, tuple[str, ...]]:
    """As `parse_training_file`, of a file with `data`, or of the one task that the override `task` picks.

    Raises:
        SeveralTasks: the file has tasks, and none is picked.
        NoSuchTask: one is picked that is not there.
        InputRefused: as `tasks_of` and `parse_training_file`.
    """
    names = tasks_of(raw)
    picked = [value for key, value in overrides if key == TASK]
    if not picked:
        if names:
            raise SeveralTasks(names)
        return parse_training_file(raw, overrides)
    if picked[-1] not in names:
        raise NoSuchTask(picked[-1], names)
    others = [(key, value) for key, value in overrides if key not in (TASK, ORDER)]
    config, notes = parse_training_file(_alone(raw, names.index(picked[-1])), others)
    if order_of(raw) == "sequential":
        files = [parse_training_file(_alone(raw, at), others)[0] for at in range(len(names))]
        config = _measured_on(config, dict(zip(names, files, strict=True)))
        if names.index(picked[-1]) and config.continue_from is None:
            notes = (*notes, _ALONE.format(task=picked[-1], before=names[names.index(picked[-1]) - 1]))
    return config, notes


def _alone(raw: dict[str, Any], at: int) -> dict[str, Any]:
    """The document of one task, as if it were a file of its own."""
    task = raw["tasks"][at]
    document = {key: copy.deepcopy(value) for key, value in raw.items() if key not in ("tasks", ORDER)}
    document["data"] = copy.deepcopy(task["data"])
    if isinstance(document.get("name"), str):
        document["name"] = f"{document['name']}-{task['name']}"
    return document


def _measured_on(config: TrainingFile, tasks: Mapping[str, TrainingFile]) -> TrainingFile:
    """The file, asking besides for the loss on the held-out rows of every task.

    Raises:
        WrongValue: the file asks for a text of that name already.
    """
    asked = config.evaluation.retention
    for name in tasks:
        if any(source.label == name for source in asked):
            raise WrongValue("evaluation.retention", name, expected="other names than those of the tasks")
    rows = tuple(_held_out_of(name, task) for name, task in tasks.items())
    evaluation = config.evaluation.revised(retention=(*asked, *rows))
    return config.revised(evaluation=evaluation)


def _held_out_of(name: str, config: TrainingFile) -> RetentionSource:
    validation = config.data.validation
    cut = config.training.max_length
    if validation.path is not None:
        return RetentionSource(name=name, max_length=cut, **dict(validation.as_source()))
    seed = config.training.seed if validation.seed is None else validation.seed
    part = validation.fraction or AUTO_VALIDATION_FRACTION
    return RetentionSource(name=name, max_length=cut, fraction=part, seed=seed, **dict(config.data.train))


def _name_of(at: int, task: Any) -> str:
    where = f"tasks.{at}"
    if not isinstance(task, dict):
        raise WrongValue(where, task, expected="a block with `name` and `data`")
    for key in task:
        if key not in _KEYS:
            raise UnknownSetting(f"{where}.{key}", nearest=closest(str(key), _KEYS), known=_KEYS)
    for key in _KEYS:
        if key not in task:
            raise MissingKey(f"{where}.{key}")
    name = task["name"]
    if not isinstance(name, str):
        raise WrongValue(f"{where}.name", name, expected="a text")
    check_name(name)
    return name
