"""From text to token ids and labels: only the completion, and the end-of-text token after it, carries loss.

Prompt and completion are tokenised apart and joined, so that the border between them is a border between tokens.
The prompt gets the special tokens that the tokenizer puts in front (BOS); an end-of-text token that it would put
behind the prompt is taken away.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from peft_registry.trainer.data.chat_template import ChatTemplateRefused, render_chat
from peft_registry.trainer.data.conversations import Turn, is_learnt
from peft_registry.trainer.data.formats import CONVERSATIONS, RowReading, render

IGNORED = -100  # the label that cross-entropy leaves out (torch.nn.CrossEntropyLoss ignore_index)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One sequence: token ids and labels, both int32 of shape (tokens,); labels are −100 where nothing is learnt.

    `untaught`: answers of a conversation that could not be told apart from what stands around them, and carry no loss.
    """

    ids: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]
    untaught: int = 0

    @property
    def supervised(self) -> int:
        """Tokens that carry loss; the first token of a sequence never does, nothing predicts it."""
        return int(np.count_nonzero(self.labels[1:] != IGNORED))


def tokenize_row(
    reading: RowReading,
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
    if reading.row_format in CONVERSATIONS:
        turns = values[reading.shape.answer]
        system = [{"role": "system", "content": values["system"]}] if values.get("system") else []
        pieces, untaught = _conversation(reading, [*system, *turns], line, tokenizer)
    else:
        prompt, completion = render(reading, values)
        pieces, untaught = [(_prompt_ids(prompt, tokenizer), False), (_plain_ids(completion, tokenizer), True)], 0
    end, (last, learnt) = tokenizer.eos_token_id, pieces[-1]
    if end is not None and end not in last[-2:]:
        pieces[-1] = ([*last, end], learnt)
    ids = np.asarray([token for piece, _ in pieces for token in piece][:max_length], dtype=np.int32)
    carries = np.asarray([learnt for piece, learnt in pieces for _ in piece][:max_length], dtype=bool)
    return Example(ids, np.where(carries, ids, np.int32(IGNORED)), untaught)


def _plain_ids(text: str, tokenizer: Any) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


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


def _conversation(
    reading: RowReading, turns: list[Turn], line: int, tokenizer: Any
) -> tuple[list[tuple[list[int], bool]], int]:
    """The tokens of a conversation in pieces, each with whether it is learnt, and the number of answers that are not
    although they should be.

    An answer is what the rendered conversation up to it has more than the same with only its beginning announced. Some
    templates render an earlier answer otherwise once the conversation goes on: such a one carries no loss.
    """

    subject = f"line {line} of {reading.name}"

    def rendered(upto: int, *, announce: bool = False) -> str:
        return render_chat(tokenizer, turns[:upto], announce=announce, subject=subject)

    whole = rendered(len(turns)).rstrip("\n")
    spans: list[tuple[int, int]] = []
    untaught = 0
    for at, turn in enumerate(turns):
        if not is_learnt(turn):
            continue
        before, upto = rendered(at, announce=True), rendered(at + 1).rstrip("\n")
        if upto.startswith(before) and whole.startswith(upto):
            spans.append((len(before), len(upto)))
        elif at == len(turns) - 1:
            raise ChatTemplateRefused(subject, "the rendered conversation does not begin with its rendered prompt")
        else:
            untaught += 1
    pieces, done = [], 0
    for start, stop in spans:
        pieces += [(_plain_ids(whole[done:start], tokenizer), False), (_plain_ids(whole[start:stop], tokenizer), True)]
        done = stop
    if done < len(whole) or not pieces:  # the last answer has the weight 0
        pieces.append((_plain_ids(whole[done:], tokenizer), False))
    return pieces, untaught
