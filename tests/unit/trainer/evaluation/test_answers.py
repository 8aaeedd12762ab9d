"""Rows that are answered in words, and a metric of the user's: every bad one is refused by name, none ends the command."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from peft_registry.schemas.identity import Digest
from peft_registry.schemas.trained_templates import TrainedTemplate
from peft_registry.trainer.data.prompting import prompting_of
from peft_registry.trainer.embedded import embedded_base
from peft_registry.trainer.evaluation.quality import (
    MAX_OWN,
    AnswerRow,
    CodeNotAllowed,
    MetricFailed,
    MetricSource,
    MetricUnusable,
    OwnMetric,
    PromptTooLong,
    generate,
    generate_steps,
    load_metric,
    measure_rows,
    own_value,
    prompted,
    read_answers,
)
from peft_registry.trainer.evaluation.questions import Request
from peft_registry.trainer.evaluation.suites.files import MalformedSuite


def rows(tmp_path: Path, *values: dict[str, Any]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")
    return path


def test_a_line_separator_inside_a_text_ends_no_row(tmp_path: Path) -> None:
    found = read_answers(rows(tmp_path, {"prompt": "a\u2028b\x85c", "answers": "d"}), name="own")
    assert [row.prompt for row in found.rows] == ["a\u2028b\x85c"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "", "answers": "a"},
        {"prompt": "a", "answers": []},
        {"prompt": "a", "answers": "b", "id": {"x": 1}},
        {"prompt": "a", "answers": "b", "category": ["x"]},
    ],
    ids=str,
)
def test_a_row_that_cannot_be_asked_is_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(MalformedSuite):
        read_answers(rows(tmp_path, row), name="own")


def test_code_runs_only_where_it_is_allowed(tmp_path: Path) -> None:
    metric = tmp_path / "metric.py"
    metric.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\ndef ok(answer, references): return 1\n")
    with pytest.raises(CodeNotAllowed):
        load_metric(MetricSource.parse(f"{metric}:ok"), allow_code=False)
    assert not (tmp_path / "ran").exists()
    assert load_metric(MetricSource.parse(f"{metric}:ok"), allow_code=True).name == "ok"


@pytest.mark.parametrize("source", ["raise SystemExit(0)", "def (", "1/0", ""])
def test_a_metric_that_cannot_be_loaded_is_refused(tmp_path: Path, source: str) -> None:
    (tmp_path / "metric.py").write_text(source)
    with pytest.raises(MetricUnusable):
        load_metric(MetricSource.parse(f"{tmp_path / 'metric.py'}:f"), allow_code=True)


def leaves(answer: str, references: Sequence[str]) -> float:
    raise SystemExit(0)


METRICS: dict[str, Any] = {
    "text": lambda *_: "x",
    "no number": lambda *_: float("nan"),
    "more than a table holds": lambda *_: 2 * MAX_OWN,
    "leaves": leaves,
}


@pytest.mark.parametrize("kind", METRICS)
def test_a_metric_that_gives_no_usable_number_fails_by_its_name(kind: str) -> None:
    metric = OwnMetric("mine", METRICS[kind], Digest.of(b""))
    with pytest.raises(MetricFailed, match="mine"):
        own_value(metric, "an answer", AnswerRow("r1", "a", ("b",)))


def test_a_prompt_without_room_for_its_answer_is_refused(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(embedded_base()).eval()
    tokenizer = AutoTokenizer.from_pretrained(embedded_base())
    answers = read_answers(rows(tmp_path, {"id": "long", "prompt": "hello " * 600, "answers": "a"}), name="own")
    with pytest.raises(PromptTooLong, match="long"):
        measure_rows(model, tokenizer, answers, arm="base")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "answers": "b", "choices": ["b"]},
        {"prompt": "a", "answers": "b", "choices": ["c", "d"]},
        {"prompt": "a", "answers": "b", "choices": ["b", "b"]},
        {"prompt": "a", "answers": ["b", "c"], "choices": ["b", "c"]},
        {"prompt": "a", "answers": "b", "choices": ["b", 1]},
        {"prompt": "a", "answers": "b", "choices": "bc"},
    ],
    ids=str,
)
def test_choices_that_cannot_be_scored_are_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(MalformedSuite):
        read_answers(rows(tmp_path, row), name="own")


def test_a_file_has_choices_in_every_row_or_in_none_and_no_metric_beside_them(tmp_path: Path) -> None:
    with_choices, without = {"prompt": "a", "answers": "b", "choices": ["b", "c"]}, {"prompt": "a", "answers": "b"}
    with pytest.raises(MalformedSuite, match="some rows"):
        read_answers(rows(tmp_path, with_choices, without), name="own")
    own = OwnMetric("mine", lambda *_: 1.0, Digest.of(b""))
    with pytest.raises(MalformedSuite, match="metric"):
        read_answers(rows(tmp_path, with_choices), name="own", own=own)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "answers": "7", "extract": "words"},
        {"prompt": "a", "answers": "seven", "extract": "number"},
        {"prompt": "a", "answers": "7", "choices": ["7", "8"], "extract": "number"},
    ],
    ids=str,
)
def test_a_number_that_cannot_be_read_is_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(MalformedSuite, match="extract"):
        read_answers(rows(tmp_path, row), name="own")
    with pytest.raises(MalformedSuite, match="some rows"):
        read_answers(
            rows(tmp_path, {"prompt": "a", "answers": "7"}, {"prompt": "a", "answers": "7", "extract": "number"}),
            name="own",
        )


def test_steps_to_a_number_are_written_as_a_model_without_a_cache_would(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(embedded_base()).eval()
    model.generation_config.repetition_penalty = 5.0  # for people who chat with it
    tokenizer = AutoTokenizer.from_pretrained(embedded_base())
    ids = tokenizer.encode("Once upon a time", add_special_tokens=False)
    written = generate_steps(model, tokenizer, ids, max_new_tokens=12)
    assert written.split("\n")[0] == generate(model, tokenizer, ids, max_new_tokens=12)
    said = rows(tmp_path, {"prompt": "Once upon a time", "answers": f"{written} #### 7", "extract": "number"})
    (reading,) = measure_rows(model, tokenizer, read_answers(said, name="own"), arm="base")
    assert (reading.labels, reading.values) == (("number_match",), (0,))


def test_a_choice_follows_the_template_as_answers_did_in_training(tmp_path: Path) -> None:
    text = "{text}\n### Label:{label}"
    template = TrainedTemplate("sorter:1", "classification", text, Digest.of(text.encode()))
    tokenizer = AutoTokenizer.from_pretrained(embedded_base())
    answers = read_answers(rows(tmp_path, {"prompt": "a", "answers": "b", "choices": ["b", "c"]}), name="own")
    asked = prompted(answers, prompting_of(template, tokenizer), tokenizer)
    assert asked.rows[0].requests == (Request("a\n### Label:", "b"), Request("a\n### Label:", "c"))
    assert answers.rows[0].requests == (Request("a", " b"), Request("a", " c"))


def test_the_likeliest_choice_is_the_answer_by_an_independent_sum_of_log_probabilities(tmp_path: Path) -> None:
    """Each choice alone through the model in one pass, without a shared prefix and without a batch."""
    model = AutoModelForCausalLM.from_pretrained(embedded_base()).float().eval()
    tokenizer = AutoTokenizer.from_pretrained(embedded_base())
    choices = ["a doctor", "the nurse of the ward", "it"]
    prompts = ["The man was", "She said that", "Once upon a time", "The answer:\n", "My mother is"]

    def likelihood(prompt: str, choice: str) -> float:
        text = prompt.rstrip(" ") + ("" if prompt[-1].isspace() else " ") + choice
        before, ids = (
            len(tokenizer.encode(prompt, add_special_tokens=False)),
            tokenizer.encode(text, add_special_tokens=False),
        )
        with torch.inference_mode():
            logs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        return sum(float(logs[place - 1, ids[place]]) for place in range(before, len(ids)))

    likeliest = [max(choices, key=lambda one: likelihood(prompt, one)) for prompt in prompts]
    right = [
        {"prompt": prompt, "answers": one, "choices": choices} for prompt, one in zip(prompts, likeliest, strict=True)
    ]
    wrong = [row | {"answers": next(one for one in choices if one != row["answers"])} for row in right]
    for given, value in ((right, 1_000_000), (wrong, 0)):
        found = measure_rows(model, tokenizer, read_answers(rows(tmp_path, *given), name="own"), arm="base")
        assert [(row.labels, row.values) for row in found] == [(("accuracy", "macro_f1"), (value, value))] * len(
            prompts
        )
