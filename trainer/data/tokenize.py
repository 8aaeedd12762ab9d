"""From text to token ids and labels: only the completion, and the end-of-text token after it, carries loss.

Prompt and completion are tokenised apart and joined, so that the border between them is a border between tokens.
The prompt gets the special tokens that the tokenizer puts in front (BOS); an end-of-text token that it would put
behind the prompt is taken away.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import InputRefused
from trainer.data.formats import Reading, render

IGNORED = -100  # the label that cross-entropy leaves out (torch.nn.CrossEntropyLoss ignore_index)


class ChatTemplateRefused(InputRefused):
    reference = "chat-template-refused"

    def __init__(self, name: str, line: int, why: str) -> None:
        super().__init__(
            what=f"the base's chat template does not render line {line} of {name}",
            why=why,
            fix="check the roles and their order, or write the data as prompt and completion",
        )


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One sequence: token ids and labels, both int32 of shape (tokens,); labels are −100 where nothing is learnt."""

    ids: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]

    @property
    def supervised(self) -> int:
        """Tokens that carry loss; the first token of a sequence never does, nothing predicts it."""
        return int(np.count_nonzero(self.labels[1:] != IGNORED))


def tokenize_row(
    reading: Reading,
    values: dict[str, Any],
    *,
    line: int,
    tokenizer: Any,  # transformers' PreTrainedTokenizerBase, imported nowhere here
    max_length: int,
) -> Example:
    """The sequence of one row, cut on the right to `max_length` tokens.

    Raises:
        ChatTemplateRefused: the template fails on this conversation, or does not extend its own prompt.
    """
    if reading.row_format == "messages":
        prompt, completion = _conversation_ids(reading, values["messages"], line, tokenizer)
    else:
        prompt_text, completion_text = render(reading, values)
        prompt = _prompt_ids(prompt_text, tokenizer)
        completion = tokenizer(completion_text, add_special_tokens=False)["input_ids"]
    end = tokenizer.eos_token_id
    if end is not None and end not in completion[-2:]:
        completion = [*completion, end]
    ids = np.asarray([*prompt, *completion][:max_length], dtype=np.int32)
    labels = ids.copy()
    labels[: len(prompt)] = IGNORED
    return Example(ids, labels)


def _prompt_ids(text: str, tokenizer: Any) -> list[int]:
    ids: list[int] = tokenizer(text)["input_ids"]
    plain = tokenizer(text, add_special_tokens=False)["input_ids"]
    end = tokenizer.eos_token_id
    # a tokenizer that ends every text with EOS would teach that the answer follows the end
    return (
        ids[:-1]
        if ids and ids[-1] == end and (not plain or plain[-1] != end) and end != tokenizer.bos_token_id
        else ids
    )


def _conversation_ids(
    reading: Reading, turns: list[dict[str, str]], line: int, tokenizer: Any
) -> tuple[list[int], list[int]]:
    import jinja2

    try:
        prompt = tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        raise ChatTemplateRefused(reading.name, line, f"it stopped with {type(error).__name__}") from None
    if not whole.startswith(prompt):
        raise ChatTemplateRefused(
            reading.name, line, "the rendered conversation does not begin with its rendered prompt"
        )
    completion = whole[len(prompt) :].rstrip("\n")
    return (
        tokenizer(prompt, add_special_tokens=False)["input_ids"],
        tokenizer(completion, add_special_tokens=False)["input_ids"],
    )
