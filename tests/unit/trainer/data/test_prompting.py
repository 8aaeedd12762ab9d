"""A question reaches the model as the prompts of its training did; the oracle is how the training itself reads a row."""

import pytest
from transformers import AutoTokenizer

from peft_registry.schemas.config import TrainSource
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.trained_templates import NoTemplate, TrainedTemplate
from peft_registry.trainer.data.formats import choose_reading
from peft_registry.trainer.data.prompting import AS_TYPED, prompting_of
from peft_registry.trainer.data.tokenize import IGNORED, tokenize_row
from peft_registry.trainer.embedded import embedded_base
from tests.builders.training import a_tokenizer


@pytest.mark.parametrize(
    "template", ["{prompt}{completion}", "{prompt}\n\n### Label:\n{completion}", "Q {prompt}\nA: {completion}"]
)
@pytest.mark.parametrize("of", ["embedded", "characters"])
def test_the_tokens_of_a_question_are_those_before_the_answer_in_training(template: str, of: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_base()) if of == "embedded" else a_tokenizer()
    source = TrainSource(path="rows.jsonl", template=template)
    reading = choose_reading(source, name="rows", columns=("prompt", "completion"), chat_template=None)
    row = {"prompt": "The dog ran.", "completion": " away" if template == "{prompt}{completion}" else "away"}
    example = tokenize_row(reading, row, line=1, tokenizer=tokenizer, max_length=200)
    trained = TrainedTemplate("sorter:1", "prompt_completion", template, reading.template_digest)
    prompting = prompting_of(trained, tokenizer)
    assert prompting.ids(tokenizer, prompting.prompt(tokenizer, row["prompt"])) == [
        int(token) for token, label in zip(example.ids, example.labels, strict=True) if label == IGNORED
    ]


def test_without_a_recorded_template_the_chat_template_of_the_base_is_taken_and_said() -> None:
    tokenizer = a_tokenizer(chat_template="<{{ messages[0].content }}>")
    prompting = prompting_of(NoTemplate("dolly:1 was imported"), tokenizer)
    assert prompting.prompt(tokenizer, "a") == "<a>"
    assert prompting.line == "the base's chat template, because dolly:1 was imported"
    plain = prompting_of(NoTemplate("dolly:1 was imported"), a_tokenizer())
    assert plain.prompt(a_tokenizer(), "a") == AS_TYPED.prompt(a_tokenizer(), "a") == "a"
    assert plain.line == "none: dolly:1 was imported; asked as typed"


def test_conversations_of_another_chat_template_are_not_asked_in_that_of_the_base() -> None:
    own, other = (
        a_tokenizer(chat_template=text) for text in ("<{{ messages[0].content }}>", "{{ messages[0].content }}")
    )
    template = TrainedTemplate("talker:1", "messages", None, Digest.of(own.chat_template.encode()))
    assert prompting_of(template, own).prompt(own, "a") == "<a>"
    assert prompting_of(template, other).prompt(other, "a") == "a"
    assert "another chat template" in prompting_of(template, other).line
