"""Which template a run was trained with, what it makes of a question, and what is said where there is none."""

from dataclasses import replace

import pytest

from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.trained_templates import (
    NoTemplate,
    SeveralTemplates,
    TemplateOfSeveralColumns,
    TrainedTemplate,
    require_for_questions,
    template_of_parts,
    template_of_run,
)
from tests.builders.records import a_data_identity, a_run_record

LABELS = "{text}\n\n### Label:\n{label}"


def a_run(row_format: str, digested: str, own: str | None = None) -> RunRecord:
    source = {"path": "rows.jsonl", **({} if own is None else {"template": own})}
    data = a_data_identity(format=f"jsonl/{row_format}", template_sha256=Digest.of(digested.encode()))
    return a_run_record(config={"data": {"train": source}}, data=(data,))


def trained(row_format: str, text: str, own: str | None = None) -> TrainedTemplate:
    template = template_of_run("sorter:1", a_run(row_format, text, own))
    assert isinstance(template, TrainedTemplate)
    return template


@pytest.mark.parametrize(
    ("row_format", "text", "own", "prompt"),
    [
        ("classification", "{text}\n\n[[{text_pair}\n\n]]### Label:\n{label}", None, "Is it {late}?\n\n### Label:\n"),
        ("prompt_completion", "{prompt}{completion}", None, "Is it {late}?"),
        (
            "prompt_completion",
            "Q: {prompt}\nA: {completion}!",
            "Q: {prompt}\nA: {completion}!",
            "Q: Is it {late}?\nA: ",
        ),
        ("columns", "{question} ->{answer}", "{question} ->{answer}", "Is it {late}? ->"),
        (
            "alpaca",
            "[[{system}\n\n]]### Instruction:\n{instruction}\n\n[[### Input:\n{input}\n\n]]### Response:\n{output}",
            None,
            "### Instruction:\nIs it {late}?\n\n### Response:\n",
        ),
        ("text", "{text}", None, "Is it {late}?"),
    ],
)
def test_a_question_is_put_where_the_rows_had_theirs(row_format: str, text: str, own: str | None, prompt: str) -> None:
    assert trained(row_format, text, own).prompt("Is it {late}?") == prompt


def test_conversations_have_the_chat_template_that_the_run_digested() -> None:
    template = trained("messages", "{{ messages }}")
    assert (template.text, template.sha256) == (None, Digest.of(b"{{ messages }}"))


def test_a_template_that_a_question_alone_does_not_fill_is_refused_with_its_columns() -> None:
    text = "{context}\n{question}\n{answer}"
    with pytest.raises(TemplateOfSeveralColumns, match="context, question"):
        require_for_questions(trained("columns", text, text))


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (a_run("alpaca", "### {instruction}{output}"), "another text"),
        (a_run("verses", "{verse}"), "verses"),
        (a_run_record(data=(a_data_identity(template_sha256=None),)), "another program"),
        (a_run_record(data=()), "another program"),
    ],
)
def test_without_a_template_that_has_the_recorded_digest_there_is_none_and_why(run: RunRecord, why: str) -> None:
    template = template_of_run("sorter:1", run)
    assert isinstance(template, NoTemplate)
    assert why in template.line and template.line.startswith("none: ")


def test_a_merge_has_the_template_of_its_parts_where_they_agree_and_two_are_refused() -> None:
    first, second = (replace(trained("classification", LABELS, LABELS), of=label) for label in ("a:1", "b:1"))
    unknown = NoTemplate("c:1 was imported")
    assert template_of_parts("merged:1", (unknown, first, second)) == replace(first, of="a:1, b:1")
    assert template_of_parts("merged:1", (unknown,)) == unknown
    other = template_of_run("d:1", a_run("prompt_completion", "{prompt}{completion}"))
    with pytest.raises(SeveralTemplates, match="merged:1") as refused:
        template_of_parts("merged:1", (first, other))
    assert "a:1" in refused.value.why and "d:1" in refused.value.why and "--raw" in refused.value.fix
