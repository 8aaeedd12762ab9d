"""From text to token ids and labels: only the completion, and the end-of-text token after it, carries loss.

Prompt and completion are read as one text, as TRL does; what is learnt begins where its tokens leave those of the prompt
alone. The special tokens that the tokenizer puts in front (BOS) stand in front of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.data.chat_template import ChatTemplateRefused, render_chat
from peft_registry.trainer.data.conversations import Turn, is_learnt
from peft_registry.trainer.data.formats import RowReading, render, turns_of

IGNORED = -100  # the label that cross-entropy leaves out (torch.nn.CrossEntropyLoss ignore_index)


class TokenWithoutEmbedding(InputRefused):
    what = "{subject} has the token {token!q}, and the base has no embedding for it"
    why = "the tokenizer gives it the number {number}, and the embeddings have {rows} rows: they were not resized to the tokenizer"
    fix = "leave the token out of the text, or resize the embeddings (`resize_token_embeddings`) and add that model as a base"

    subject: str
    token: str
    number: int
    rows: int


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
    if reading.row_format == "prompt_completion" and reading.is_conversation:
        return _example(*_prompt_and_answer(reading, values, line, tokenizer), max_length)
    if not reading.is_conversation:
        return _example(*_joined(*render(reading, values), tokenizer), max_length)
    pieces, untaught = _conversation(reading, turns_of(reading, values), line, tokenizer)
    end, (last, learnt) = tokenizer.eos_token_id, pieces[-1]
    if end is not None and end not in last[-2:]:
        pieces[-1] = ([*last, end], learnt)
    ids = [token for piece, _ in pieces for token in piece]
    return _example(ids, [learnt for piece, learnt in pieces for _ in piece], max_length, untaught)


def require_embedding(number: int, *, rows: int, subject: str, tokenizer: Any) -> None:
    """Raise unless the embeddings of the base, of so many rows, have one for a token, the highest of a text.

    Raises:
        TokenWithoutEmbedding: they lack it; `subject` is what has it.
    """
    if number >= rows:
        raise TokenWithoutEmbedding(subject, str(tokenizer.convert_ids_to_tokens(number)), number, rows)


def plain_ids(text: str, tokenizer: Any) -> list[int]:
    """The tokens of a text with nothing in front."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def prompt_ids(prompt: str, tokenizer: Any) -> list[int]:
    """The tokens that stand before the answer where a prompt is read as in a training: with what the tokenizer puts in front.

    A space at its end that the first token of an answer takes in is not among them: the model learnt to write it.
    """
    if not prompt:
        return _in_front(tokenizer)
    alone: list[int] = tokenizer(prompt, verbose=False)["input_ids"]
    if alone and alone[-1] == tokenizer.eos_token_id:  # some tokenizers end every text
        alone = alone[:-1]
    if not prompt[-1].isspace():
        return alone
    with_a_letter: list[int] = tokenizer(prompt + "a", verbose=False)["input_ids"]
    return alone[: _common(alone, with_a_letter)]


def _example(ids: Sequence[int], carries: Sequence[bool], max_length: int, untaught: int = 0) -> Example:
    cut = np.asarray(ids[:max_length], dtype=np.int32)
    mask = np.asarray(carries[:max_length], dtype=bool)
    return Example(cut, np.where(mask, cut, np.int32(IGNORED)), untaught)


def _joined(prompt: str, completion: str, tokenizer: Any) -> tuple[list[int], list[bool]]:
    """The tokens of a prompt with its completion behind it, and which of them are learnt.

    They are read as one text: what a tokenizer puts in front of a text, or does to its first word, must not stand between
    them. The completion begins where the tokens leave those of the prompt alone; where a token lies across the border, that is
    before the prompt's end.
    """
    alone: list[int] = tokenizer(prompt)["input_ids"] if prompt else _in_front(tokenizer)
    ids: list[int] = tokenizer(prompt + completion)["input_ids"]
    end = tokenizer.eos_token_id
    if end is not None and end not in ids[-2:]:
        ids = [*ids, end]
    start = _common(alone, ids)
    return ids, [place >= start for place in range(len(ids))]


def _in_front(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before every text, without what it would put behind."""
    ids: list[int] = tokenizer("")["input_ids"]
    return [token for token in ids if token == tokenizer.bos_token_id]


def _prompt_and_answer(
    reading: RowReading, values: dict[str, Any], line: int, tokenizer: Any
) -> tuple[list[int], list[bool]]:
    """The tokens of a conversation, of which all behind the rendered prompt are learnt; nothing is added to what is rendered."""
    subject = f"line {line} of {reading.name}"
    prompt = render_chat(tokenizer, values["prompt"], announce=True, subject=subject)
    whole = render_chat(tokenizer, turns_of(reading, values), announce=False, subject=subject)
    alone = plain_ids(prompt, tokenizer)
    ids = plain_ids(whole, tokenizer)
    start = _common(alone, ids)
    return ids, [place >= start for place in range(len(ids))]


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (token, other) in enumerate(pairs) if token != other), min(len(first), len(second)))


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
        before = rendered(at, announce=True)
        upto = rendered(at + 1).rstrip("\n")
        if upto.startswith(before) and whole.startswith(upto):
            spans.append((len(before), len(upto)))
        elif at == len(turns) - 1:
            raise ChatTemplateRefused(subject, "the rendered conversation does not begin with its rendered prompt")
        else:
            untaught += 1
    pieces = []
    done = 0
    for start, stop in spans:
        pieces += [(plain_ids(whole[done:start], tokenizer), False), (plain_ids(whole[start:stop], tokenizer), True)]
        done = stop
    if done < len(whole) or not pieces:  # the last answer has the weight 0
        pieces.append((plain_ids(whole[done:], tokenizer), False))
    return pieces, untaught
