"""What the installed lm-evaluation-harness says of a task: its YAML with all it includes, its version, its code by digest.

Read without importing the harness, so that what cannot be asked here is refused in a moment. Functions stay names: no code of a
task runs here.
"""

import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

from peft_registry.registry.extras import ExtraMissing
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.trainer.data.dataset_rows import texts_in

EXTRA = "tasks"
_PACKAGE = "lm_eval"
_FUNCTION = "!function "  # how a value begins that names code, by its path below the folder of tasks
_NAMED = re.compile(r"^(task|group):[ \t]*[\"']?([^\s\"'#]+)", re.MULTILINE)
_ASKED = ("generate_until", "multiple_choice", "loglikelihood")
_MEMBERS = 4  # of a group, in one sentence


class UnknownTask(InputRefused):
    what = "lm-evaluation-harness {harness} has no task {name!q}"
    why = "its {known} tasks are known by the names in their files"
    fix = "{suggestion}"

    name: str
    harness: str
    known: int
    nearest: str | None

    @property
    def suggestion(self) -> str:
        return did_you_mean(self.nearest, "look for the name: lm-eval ls tasks")


class TaskIsGroup(InputRefused):
    what = "{name} is a group of tasks"
    why = "each of its tasks has rows and figures of its own: {members}"
    fix = "name the tasks one by one, each with --task"

    name: str
    members: str


class TaskRefused(InputRefused):
    """A task whose figures would not follow from rows that are here and what the model answers to them."""

    what = "the task {name} cannot be asked here"
    why = "it {reason}"
    fix = "choose a task that is measured by what a model answers to local rows alone, as gsm8k, arc_easy and boolq are"

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeclaredTask:
    """A task as its file states it.

    Attributes:
        version: from its metadata; `unversioned` where it states none.
        config: with what it includes; a function is its name behind `!function`.
        file: its YAML.
        digest: of the config and of the code that lies beside the functions that it names.
        harness: the version of lm-evaluation-harness.
    """

    name: str
    version: str
    config: Mapping[str, Any]  # any YAML values
    file: Path
    digest: Digest
    harness: str

    @property
    def examples(self) -> int:
        """How many solved examples stand before each question, unless somebody asks for another number."""
        return int(self.config.get("num_fewshot") or 0)

    @property
    def asked_split(self) -> str | None:
        """Whose rows are asked."""
        return self.config.get("test_split") or self.config.get("validation_split")

    @property
    def examples_split(self) -> str | None:
        """Whose rows the examples are taken from; None where the task states the examples itself."""
        own = self.config.get("fewshot_config")
        own = own if isinstance(own, Mapping) else {}
        stated = own.get("split") or self.config.get("fewshot_split")
        if stated or own.get("samples") is not None:
            return stated
        # the order of the harness
        return self.config.get("training_split") or self.config.get("validation_split") or self.asked_split


def declared_task(name: str) -> DeclaredTask:
    """A task of the installed harness.

    Raises:
        ExtraMissing: there is none.
        UnknownTask, TaskIsGroup: the name is of no single task.
    """
    folder = _tasks_folder()
    harness = importlib.metadata.version(_PACKAGE)
    kinds = _declared_in(folder)
    if name not in kinds:
        tasks = [known for known, (kind, _) in kinds.items() if kind == "task"]
        raise UnknownTask(name, harness, len(tasks), closest(name, tasks))
    kind, file = kinds[name]
    config = _config_of(file, folder)
    if kind == "group":
        members = config.get("task")
        raise TaskIsGroup(name, _few(members if isinstance(members, list) else [members]))
    metadata = config.get("metadata")
    version = metadata.get("version") if isinstance(metadata, Mapping) else None
    # as JSON, where each key is a text
    stated = json.loads(json.dumps({"config": config, "code": _code_of(config, folder)}, default=str))
    return DeclaredTask(
        name, "unversioned" if version is None else str(version), config, file, canonical_digest(stated), harness
    )


def require_askable(task: DeclaredTask) -> None:
    """Raise unless the rows, the answers and the measures of a task are had without code of a model, a judge or a download.

    Raises:
        TaskRefused: with the reason.
    """
    reason = next(_objections(task.config), None)
    if reason is not None:
        raise TaskRefused(task.name, reason)


def _objections(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("unsafe_code"):
        yield "executes code that the model writes"
    if "class" in config:
        yield "is a program of its own and no description: what it reads and measures is not stated"
    if config.get("custom_dataset") is not None:
        yield "makes its rows by code, so that no file of yours can take their place"
    if config.get("doc_to_image") is not None or config.get("doc_to_audio") is not None:
        yield "asks about pictures or sounds"
    output = config.get("output_type", "generate_until")
    if output not in _ASKED:
        yield f"asks for {output}, which is not an answer to a row"
    if not (config.get("test_split") or config.get("validation_split")):
        yield "names no rows that are asked"
    generation = config.get("generation_kwargs") or {}
    if config.get("repeats", 1) != 1 or generation.get("do_sample") or float(generation.get("temperature") or 0) > 0:
        yield "draws its answers at random, and before and after would differ by chance"
    for metric in config.get("metric_list") or ():
        if metric.get("hf_evaluate"):
            yield f"is measured by {metric.get('metric')}, whose code is downloaded"


def _tasks_folder() -> Path:
    package = importlib.util.find_spec(_PACKAGE)  # finds a top-level package without running it
    if package is None or not package.submodule_search_locations:
        raise ExtraMissing(EXTRA, "a task of lm-evaluation-harness")
    return Path(next(iter(package.submodule_search_locations))) / "tasks"


@cache
def _declared_in(folder: Path) -> Mapping[str, tuple[str, Path]]:
    """Kind and file of all that is declared, by name: what a file is of stands at the beginning of a line. Some 14,000 files."""
    kinds: dict[str, tuple[str, Path]] = {}
    for file in sorted(folder.rglob("*.yaml")):
        for found in _NAMED.finditer(file.read_text(encoding="utf-8", errors="replace")):
            kinds.setdefault(found[2], (found[1], file))
    return kinds


def _config_of(file: Path, folder: Path) -> dict[str, Any]:
    """What a file states, over what the files state that it includes."""

    class Loader(yaml.SafeLoader):
        """Plain values, and functions by name."""

    Loader.add_constructor("!function", partial(_function_name, place=file.parent, folder=folder))
    value = yaml.load(file.read_bytes(), Loader=Loader)  # noqa: S506  a safe loader, which makes plain values
    stated = dict(value) if isinstance(value, dict) else {}
    included = stated.pop("include", [])
    config: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        config |= _config_of((file.parent / name).resolve(), folder)
    return config | stated


def _function_name(loader: yaml.SafeLoader, node: yaml.Node, *, place: Path, folder: Path) -> str:
    assert isinstance(node, yaml.ScalarNode), node
    name = str(loader.construct_scalar(node))
    module = name.rpartition(".")[0].replace(".", "/")
    beside = place / f"{module}.py"
    if beside.is_file():
        return f"{_FUNCTION}{beside.resolve().relative_to(folder.resolve()).as_posix()}:{name.rpartition('.')[2]}"
    return f"{_FUNCTION}{name}"  # of an installed module


def _code_of(config: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The digests of the Python files that lie where the functions of a task do: what they import is there too."""
    places = {
        (folder / text.removeprefix(_FUNCTION).partition(":")[0]).parent
        for text in texts_in(config)
        if text.startswith(_FUNCTION) and ":" in text
    }
    files = sorted(file for place in places for file in place.glob("*.py"))
    return {file.relative_to(folder).as_posix(): str(Digest.of(file.read_bytes())) for file in files}


def _few(members: list[Any]) -> str:
    names = [
        str(member.get("task", member.get("group"))) if isinstance(member, dict) else str(member) for member in members
    ]
    rest = len(names) - _MEMBERS
    return ", ".join(names[:_MEMBERS]) + (f" and {rest} more" if rest > 0 else "")
