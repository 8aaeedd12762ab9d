"""`tasks:` in a training file: each task is a file of its own, and what cannot be one is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from peft_registry.schemas.config import TrainingFile, config_identity
from peft_registry.schemas.config_aliases import MissingKey, UnknownSetting, WrongValue, parse_training_file
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import MalformedName
from peft_registry.schemas.tasks import DataAndTasks, NoSuchTask, SeveralTasks, TaskTwice, parse_task, tasks_of
from peft_registry.trainer.inputs.training_file import load_task_order, load_training_file

ROWS = {"train": {"path": "rows.jsonl"}}


def a_file(**changes: Any) -> dict[str, Any]:
    tasks = [{"name": "sums", "data": ROWS}, {"name": "names", "data": {"train": {"path": "other.jsonl", "rows": 9}}}]
    return {"name": "tutor", "base": "tiny", "method": "ia3", "tasks": tasks} | changes


def test_a_picked_task_is_the_file_with_its_data_alone() -> None:
    found, notes = parse_task(a_file(), [("task", "names"), ("training.seed", 3)])
    alone = {
        "name": "tutor-names",
        "base": "tiny",
        "method": "ia3",
        "data": {"train": {"path": "other.jsonl", "rows": 9}},
    }
    expected, _ = parse_training_file(alone, [("training.seed", 3)])
    assert found == expected
    assert config_identity(found) == config_identity(expected)
    assert notes == ()


def test_an_override_of_the_data_reaches_the_picked_task() -> None:
    assert parse_task(a_file(), [("task", "names"), ("data.train.rows", 4)])[0].data.train.rows == 4


def test_the_file_is_not_changed() -> None:
    raw = a_file()
    parse_task(raw, [("task", "sums"), ("data.train.rows", 4)])
    assert raw == a_file()


def test_tasks_are_listed_in_the_order_of_the_file() -> None:
    assert tasks_of(a_file()) == ("sums", "names")
    assert tasks_of({"name": "tutor", "data": ROWS}) == ()


REFUSED: dict[str, tuple[dict[str, Any], type[KnownError], str]] = {
    "no list": ({"tasks": {"name": "sums"}}, WrongValue, "`tasks`"),
    "empty": ({"tasks": []}, WrongValue, "`tasks`"),
    "nothing": ({"tasks": None}, WrongValue, "`tasks`"),
    "a text": ({"tasks": ["sums"]}, WrongValue, "`tasks.0`"),
    "twice": ({"tasks": [{"name": "sums", "data": ROWS}] * 2}, TaskTwice, "sums"),
    "no name": ({"tasks": [{"data": ROWS}]}, MissingKey, "`tasks.0.name`"),
    "no data": ({"tasks": [{"name": "sums"}]}, MissingKey, "`tasks.0.data`"),
    "a number": ({"tasks": [{"name": 3, "data": ROWS}]}, WrongValue, "`tasks.0.name`"),
    "no name of a version": ({"tasks": [{"name": "../up", "data": ROWS}]}, MalformedName, "../up"),
    "spelling": ({"tasks": [{"name": "sums", "dat": ROWS}]}, UnknownSetting, "`tasks.0.dat`"),
    "data besides": ({"data": ROWS}, DataAndTasks, "`data`"),
    "data of another tool besides": ({"val_set_size": 0.1}, DataAndTasks, "`val_set_size`"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_list_of_tasks_is_refused_by_name(case: str) -> None:
    changes, error, named = REFUSED[case]
    with pytest.raises(error) as refused:
        tasks_of(a_file(**changes))
    assert named in refused.value.what
    assert refused.value.exit_code == 2


def test_a_command_that_takes_one_run_says_which_tasks_there_are() -> None:
    with pytest.raises(SeveralTasks) as refused:
        parse_task(a_file())
    assert refused.value.fix == "pick one: task=sums"


@pytest.mark.parametrize("raw", [a_file(), {"name": "t", "base": "tiny", "method": "ia3", "data": ROWS}])
def test_a_task_that_is_not_there_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(NoSuchTask):
        parse_task(raw, [("task", "nams")])


def a_sequence(**changes: Any) -> dict[str, Any]:
    return a_file(task_order="sequential", **changes)


def test_a_task_of_a_sequence_asks_for_the_loss_on_the_rows_that_each_task_holds_out() -> None:
    held_out = {"path": "names-held-out.jsonl"}
    tasks = [{"name": "sums", "data": ROWS | {"validation": {"fraction": 0.2}}}]
    tasks += [{"name": "names", "data": ROWS | {"validation": held_out}}]
    found, _ = parse_task(a_sequence(tasks=tasks), [("task", "names"), ("training.seed", 3)])
    sums, names = found.evaluation.retention
    assert (sums.label, sums.path, sums.fraction, sums.seed) == ("sums", "rows.jsonl", 0.2, 3)
    assert (names.label, names.path, names.fraction) == ("names", "names-held-out.jsonl", None)
    assert {sums.max_length, names.max_length} == {found.training.max_length}, "cut as the rows that are trained on"
    alone, _ = parse_task(a_file(tasks=tasks), [("task", "names"), ("training.seed", 3)])
    assert found.model_copy(update={"evaluation": alone.evaluation}) == alone


def test_a_text_to_retain_and_a_task_of_a_sequence_have_names_of_their_own() -> None:
    asked = {"retention": [{"path": "other.jsonl", "name": "sums"}]}
    with pytest.raises(WrongValue, match="sums"):
        parse_task(a_sequence(evaluation=asked), [("task", "names")])
    assert len(parse_task(a_file(evaluation=asked), [("task", "names")])[0].evaluation.retention) == 1


def test_an_order_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(WrongValue, match="one of independent, sequential"):
        tasks_of(a_file(task_order="backwards"))


def test_an_order_without_tasks_is_refused_by_name() -> None:
    raw = {"name": "t", "base": "tiny", "method": "ia3", "data": ROWS, "task_order": "sequential"}
    with pytest.raises(WrongValue, match="task_order"):
        parse_task(raw)


def test_the_order_is_taken_from_the_command_line_too(tmp_path: Path) -> None:
    (tmp_path / "tasks.yml").write_text(json.dumps(a_file()))
    words = ("task_order=sequential", "task=names")
    assert load_task_order(tmp_path / "tasks.yml", words) == "sequential"
    assert load_task_order(tmp_path / "tasks.yml") == "independent"
    assert len(load_training_file(tmp_path / "tasks.yml", words).config.evaluation.retention) == 2
    assert load_training_file(tmp_path / "tasks.yml", words[1:]).config.evaluation.retention == ()


def test_a_split_is_told_by_fraction_and_seed_together() -> None:
    with pytest.raises(WrongValue, match="belong together"):
        parse_task(a_file(evaluation={"retention": [{"path": "a.jsonl", "fraction": 0.1}]}), [("task", "sums")])


def test_bad_data_of_a_task_name_their_key() -> None:
    with pytest.raises(UnknownSetting, match=r"data\.train\.rowz"):
        parse_task(a_file(tasks=[{"name": "sums", "data": {"train": {"path": "a", "rowz": 1}}}]), [("task", "sums")])


def test_a_task_of_a_sequence_reaches_other_processes_as_json() -> None:
    rows = {"train": {"path": "rows.jsonl", "format": "classification", "labels": ["no", "yes"]}}
    tasks = [{"name": "sums", "data": rows}, {"name": "names", "data": ROWS}]
    found, _ = parse_task(a_sequence(tasks=tasks), [("task", "sums")])
    assert TrainingFile.model_validate_json(found.model_dump_json()) == found
