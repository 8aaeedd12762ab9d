"""The name of a project: what it may be, and how the records of a run, a merge and an import keep it."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from peft_registry.registry.records.provenance import (
    import_provenance,
    merge_provenance,
    project_of,
    provenance_predicate,
)
from peft_registry.registry.use_cases.import_plan import ImportRequest
from peft_registry.schemas.identity import MalformedProject, check_project
from peft_registry.trainer.merge.request import MergeRequest
from tests.builders.imports import an_import_record
from tests.builders.records import a_merge_record, a_run_record

BUILDERS: list[Callable[..., Any]] = [a_run_record, a_merge_record, an_import_record]
NO_PROJECT = ["", "Support", "support bot", "../support", "-a", "a-", "a/b", "süd", "a\n", "a" * 65]


@pytest.mark.parametrize("text", ["a", "support-bot", "2027.q1_pilot", "a" * 64])
def test_a_short_word_names_a_project(text: str) -> None:
    assert check_project(text) == text


@pytest.mark.parametrize("text", NO_PROJECT)
def test_anything_else_is_refused_wherever_it_is_typed(text: str) -> None:
    with pytest.raises(MalformedProject, match="lower-case letters"):
        check_project(text)
    with pytest.raises(MalformedProject):
        MergeRequest(references=("sums:1",), project=text)
    with pytest.raises(MalformedProject):
        ImportRequest(folders=(), project=text)


@pytest.mark.parametrize("build", BUILDERS)
def test_a_record_without_a_project_does_not_say_so(build: Callable[..., Any]) -> None:
    record = build()
    assert record.project is None
    assert "project" not in record.to_json(), "as those of earlier releases"


@pytest.mark.parametrize("build", BUILDERS)
def test_a_record_keeps_its_project(build: Callable[..., Any]) -> None:
    record = build(project="support-bot")
    assert record.to_json()["project"] == "support-bot"
    assert type(record).from_json(record.to_json()) == record


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("text", NO_PROJECT)
def test_a_record_with_what_cannot_name_a_project_is_malformed(build: Callable[..., Any], text: str) -> None:
    record = build()
    with pytest.raises(ValidationError, match="lower-case letters"):
        type(record).from_json(record.to_json() | {"project": text})


@pytest.mark.parametrize(
    ("build", "predicate"),
    [
        (a_run_record, provenance_predicate),
        (a_merge_record, merge_provenance),
        (an_import_record, import_provenance),
    ],
)
def test_provenance_says_the_project_of_what_was_made(
    build: Callable[..., Any], predicate: Callable[[Any], dict[str, Any]]
) -> None:
    assert project_of(predicate(build())) is None
    said = predicate(build(project="support-bot"))
    assert project_of(said) == "support-bot"
    (field,) = (value for value in said.values() if isinstance(value, dict) and "project" in value)
    for odd in ("../support", 7, None, {"project": "a"}):
        field["project"] = odd
        assert project_of(said) is None, odd


def test_provenance_of_another_tool_says_none() -> None:
    assert project_of({"buildDefinition": {"project": "support-bot"}}) is None
    assert project_of({"urn:peft-registry:run:v1": "support-bot"}) is None
