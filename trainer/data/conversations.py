"""Conversations in the shapes that people have them in, as turns of a chat template: who speaks, what, and what is learnt.

Every answer of the assistant is learnt, but for one that its row gives the weight 0 (OpenAI's key).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from peft_registry.schemas.errors import InputRefused

Turn = dict[str, Any]  # role and content, both text; weight 0 where its row says so: it is digested as it stands
# ShareGPT's words for who speaks, and those of the chat templates
SPEAKERS: Mapping[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}


class WrongColumnType(InputRefused):
    what = "line {line} of {name}: column `{column}` holds {found}"
    why = "{expected} is expected there"
    fix = "name another column in data.train.columns, or convert the file"

    name: str
    line: int
    column: str
    found: str
    expected: str


def conversation(
    name: str, line: int, column: str, value: Any, *, sharegpt: bool, ends_with_answer: bool = True
) -> list[Turn]:
    """The turns of one row's value.

    Args:
        name, line, column: where it stands, for errors.
        value: a list of {role, content}, or with `sharegpt` of {from, value}.
        sharegpt: which of the two.
        ends_with_answer: whether the assistant must have the last word; a prompt may end with anybody's.

    Raises:
        WrongColumnType: it is no such conversation.
    """
    keys = ("from", "value") if sharegpt else ("role", "content")
    ending = " that ends with the assistant's words" if ends_with_answer else ""
    expected = f"a list of {{{keys[0]}, {keys[1]}}} objects{ending}"

    def refused(found: str) -> WrongColumnType:
        return WrongColumnType(name, line, column, found=found, expected=expected)

    if not isinstance(value, list) or not value:
        raise refused(kind_of(value))
    turns: list[Turn] = []
    for turn in value:
        role, content = (turn.get(keys[0]), _text(turn.get(keys[1]))) if isinstance(turn, dict) else (None, None)
        if sharegpt and isinstance(role, str):
            role = SPEAKERS.get(role.lower(), None)
        if not isinstance(role, str) or content is None:
            raise refused(f"a turn without a known {keys[0]} and a {keys[1]}")
        if has_lone_surrogate(content):
            raise WrongColumnType(name, line, column, found="half a surrogate pair", expected="Unicode text")
        turns.append({"role": role, "content": content} | ({"weight": 0} if turn.get("weight") == 0 else {}))
    if ends_with_answer and turns[-1]["role"] != "assistant":
        raise refused("a conversation without a final answer")
    return turns


def is_learnt(turn: Turn) -> bool:
    """Whether the turn carries loss."""
    return turn["role"] == "assistant" and turn.get("weight") != 0


def has_lone_surrogate(text: str) -> bool:
    """Whether the text has half a surrogate pair: JSON can write one, UTF-8 cannot."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def kind_of(value: Any) -> str:
    """What a JSON value is, in a word; never the value."""
    if isinstance(value, bool):
        return "true or false"
    names: Iterable[tuple[type, str]] = ((int, "a number"), (float, "a number"), (str, "text"), (list, "a list"))
    return next((word for kind, word in names if isinstance(value, kind)), "an object")


def _text(content: Any) -> str | None:
    """The text of a turn: as it is, or its parts of type text put together; None where something else is in it."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
    return "".join(parts) if parts and all(isinstance(part, str) for part in parts) else None  # type: ignore[arg-type]
