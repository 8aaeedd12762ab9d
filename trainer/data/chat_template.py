"""A base's chat template, rendered within bounds: it is a program of whoever made the base.

transformers runs it in jinja2's sandbox, which keeps it from files and attributes, not from running for ever. So its time is
bounded by a timer of the process (of CPU time, so that a busy machine changes nothing), its result by a length. A timer
interrupts between two steps of Python; the one operator whose single step can take hours, the power of two numbers, is
refused before anything is compiled. Outside the main thread the kernel's timer cannot be used, and time is not bounded.
"""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any

from peft_registry.schemas.errors import InputRefused

MAX_SECONDS = 2.0  # of CPU, for one conversation; a real template takes some milliseconds
MAX_CHARACTERS = 16 * 1024 * 1024  # more than fits the longest context there is


class ChatTemplateRefused(InputRefused):
    what = "the base's chat template does not render {subject}"
    why = "{reason}"
    fix = "{remedy}"

    subject: str
    reason: str
    remedy: str = "check the roles and their order, or write the data as prompt and completion"


class _OutOfBounds(Exception):
    """What the template does beyond its bounds; turned into `ChatTemplateRefused` where it is rendered."""


def render_chat(
    tokenizer: Any, turns: Sequence[Any], *, announce: bool, subject: str, remedy: str | None = None
) -> str:
    """The text of a conversation.

    Args:
        tokenizer: transformers' PreTrainedTokenizerBase, imported nowhere here.
        turns: role and content of each.
        announce: also render what an answer begins with.
        subject: names the conversation in an error.
        remedy: the last sentence of an error, where it is not the usual one.

    Raises:
        ChatTemplateRefused: the template fails on it, runs too long, or writes too much.
    """
    text: str
    try:
        _refuse_powers(tokenizer.chat_template)
        with _bounded_time():
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=announce)
        if len(text) > MAX_CHARACTERS:
            raise _OutOfBounds(f"it writes {len(text)} characters, more than {MAX_CHARACTERS}")
    except _OutOfBounds as error:
        raise _refusal(subject, str(error), remedy) from None
    except _failures() as error:
        raise _refusal(subject, f"it stopped with {type(error).__name__}", remedy) from None
    return text


def _refusal(subject: str, reason: str, remedy: str | None) -> ChatTemplateRefused:
    return ChatTemplateRefused(subject, reason) if remedy is None else ChatTemplateRefused(subject, reason, remedy)


def _failures() -> tuple[type[Exception], ...]:
    import jinja2

    program = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, MemoryError, RecursionError)
    return (jinja2.TemplateError, *program)


def _refuse_powers(template: str | dict[str, str] | None) -> None:
    texts = template.values() if isinstance(template, dict) else [template or ""]
    if any(_has_power(text) for text in texts):
        raise _OutOfBounds("it raises a number to a power, which may take hours and no template needs")


@cache
def _has_power(template: str) -> bool:
    import jinja2

    # only lexed: transformers' own tags need its parser, and text may well hold two asterisks
    return any(
        kind == "operator" and value == "**" for _, kind, value in jinja2.Environment(autoescape=True).lex(template)
    )


@contextmanager
def _bounded_time() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_: int, __: FrameType | None) -> None:
        raise _OutOfBounds(f"it ran for more than {MAX_SECONDS:g} seconds")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
