"""Reading a training file from disk, with overrides from a command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import OfferedFileRefused, read_offered
from peft_registry.registry.intake.yaml import read_yaml
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.tasks import ORDER, TASK, TaskOrder, order_of, parse_task, tasks_of

MAX_BYTES = 1024 * 1024
MAX_KEY_PARTS = 16  # of an override; no key of the file has more than four


class MalformedOverride(InputRefused):
    what = "{text!q} overrides nothing"
    why = "an override is a dotted key, an equals sign and a value"
    fix = "write it like training.seed=8"

    text: str


class NotATrainingFile(InputRefused):
    what = "{path} is not a training file"
    why = "{reason}"
    fix = "name the YAML file itself; `registry init` writes a working one"

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A validated training file, the notes of its reading, and the folder that its relative paths start from."""

    config: TrainingFile
    notes: tuple[str, ...]
    folder: Path

    def resolve(self, path: str) -> Path:
        """A path of the file as a path of this machine; `~` is not expanded."""
        return self.folder / path


def load_training_file(path: Path, overrides: Sequence[str] = ()) -> LoadedConfig:
    """The training file at `path`, with overrides such as `training.seed=8` (the value is strict YAML).

    Raises:
        FileMissing, FileUnreadable: as `peft_registry.registry.disk.files.read_offered`.
        NotATrainingFile: a folder, a device, or far too large.
        MalformedYaml: the file or an override's value is not strict YAML.
        MalformedOverride: no key or no equals sign.
        UnknownSetting, WrongValue, MissingKey, KeyTwice, MalformedReference: as `parse_training_file`.
        SeveralTasks, NoSuchTask, DataAndTasks, TaskTwice: as `parse_task`.
    """
    config, notes = parse_task(_read(path, overrides), [parse_override(text) for text in overrides])
    return LoadedConfig(config, notes, path.resolve().parent)


def load_tasks(path: Path, overrides: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the tasks of the training file at `path`; none where it has none, or an override picks one of them.

    Raises:
        InputRefused, NotFound: as `load_training_file`.
    """
    return () if any(parse_override(text)[0] == TASK for text in overrides) else tasks_of(_read(path, overrides))


def load_task_order(path: Path, overrides: Sequence[str] = ()) -> TaskOrder:
    """How the tasks of the training file at `path` follow each other; an override such as `task_order=sequential` decides.

    Raises:
        InputRefused, NotFound: as `load_training_file`.
    """
    return order_of(_read(path, overrides))


def _read(path: Path, overrides: Sequence[str]) -> Any:  # any JSON value; the schema validates it
    try:
        text = read_offered(path, max_bytes=MAX_BYTES)
    except OfferedFileRefused as error:
        raise NotATrainingFile(path, error.why) from error
    raw = read_yaml(text, what=path.name)
    orders = {
        key: value for key, value in map(parse_override, overrides) if key == ORDER
    }  # of the file, of no one task
    return raw | orders if isinstance(raw, dict) else raw


def parse_override(text: str) -> tuple[str, Any]:  # any JSON value; the schema validates it
    """The dotted key and the value of `training.seed=8`.

    Raises:
        MalformedOverride, MalformedYaml: as `load_training_file`.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts) or len(parts) > MAX_KEY_PARTS:
        raise MalformedOverride(text)
    return key.strip(), read_yaml(value, what=f"the override of `{key.strip()}`")
