"""How a question is put to a model: in the template that it was trained with, else in its base's chat template, else as it is."""

from dataclasses import dataclass
from typing import Any

from peft_registry.schemas.identity import Digest
from peft_registry.schemas.trained_templates import Template, TrainedTemplate
from peft_registry.trainer.data.chat_template import ChatTemplateRefused, render_chat
from peft_registry.trainer.data.tokenize import plain_ids, prompt_ids

_RAW = "add --raw, which sends the prompt as it is"


@dataclass(frozen=True, slots=True)
class Prompting:
    """What is done to a question.

    `line` tells people which template it is put into. `chat` is the text of a chat template, `trained` the template of a training
    that was no conversation; with neither the question is the prompt.
    """

    line: str
    trained: TrainedTemplate | None = None
    chat: str | None = None

    @property
    def template(self) -> str:
        """The template's text, for a record; that of a chat template is a program, and its digest says which."""
        if self.trained is not None:
            return self.trained.text or ""
        return "{prompt}" if self.chat is None else f"chat template {Digest.of(self.chat.encode('utf-8'))}"

    @property
    def joins_directly(self) -> bool:
        """Whether the template says what stands between the question and its answer."""
        before = "" if self.trained is None else self.trained.before_answer
        return bool(before) and not before.endswith("}")

    def prompt(self, tokenizer: Any, question: str) -> str:
        """The text that a model is asked with.

        Raises:
            ChatTemplateRefused: the chat template does not render the question.
            TemplateOfSeveralColumns: the template takes more than a question.
        """
        if self.trained is not None:
            return self.trained.prompt(question)
        if self.chat is None:
            return question
        turns = [{"role": "user", "content": question}]
        text = render_chat(tokenizer, turns, announce=True, subject="a question", remedy=_RAW)
        if not text:
            raise ChatTemplateRefused("a question", "it leaves nothing of it", _RAW)
        return text

    def ids(self, tokenizer: Any, prompt: str) -> list[int]:
        """The tokens of a prompt; in a template of a training as they were read there."""
        return plain_ids(prompt, tokenizer) if self.trained is None else prompt_ids(prompt, tokenizer)


AS_TYPED = Prompting("none: asked as typed")


def prompting_of(template: Template, tokenizer: Any) -> Prompting:
    """How whatever has this template is asked with this tokenizer."""
    own = tokenizer.chat_template
    chat = own if isinstance(own, str) else None
    if isinstance(template, TrainedTemplate):
        if template.text is not None:
            return Prompting(template.line, trained=template)
        if chat is not None and Digest.of(chat.encode("utf-8")) == template.sha256:
            return Prompting(template.line, chat=chat)
        return Prompting(f"none: {template.of} was trained on conversations by another chat template than its base has")
    if chat is not None:
        return Prompting(f"the base's chat template, because {template.why}", chat=chat)
    return Prompting(f"{template.line}; asked as typed")
