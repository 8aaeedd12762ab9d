"""A chat template that is hostile: it ends in a sentence, in bounded time, and leaves the process as it was."""

import signal
import time

import pytest

from peft_registry.trainer.data import chat_template
from peft_registry.trainer.data.chat_template import ChatTemplateRefused, render_chat
from tests.builders.training import a_tokenizer

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TURNS = [{"role": "user", "content": "hello"}]


def rendered(template: str) -> str:
    return render_chat(a_tokenizer(chat_template=template), TURNS, announce=True, subject="line 1")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        pytest.param("{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}", "RecursionError", id="recursion"),
        pytest.param(
            # each step takes longer than the one before it, so that it is stopped at the bound that users have
            "{% set n = namespace(x=3) %}{% for a in range(99999) %}{% set n.x = n.x * n.x %}{% endfor %}",
            "ran for more than 2 seconds",
            id="squares",
        ),
        pytest.param("{{ 10 ** 10 ** 9 }}", "power", id="power"),
        pytest.param("{% generation %}{{ 7**messages|length }}{% endgeneration %}", "power", id="power in a tag"),
        pytest.param("{{ 'a' * 99999999 }}", "writes 99999999 characters", id="length"),
        pytest.param("{{ 'a' * 999999999999999 }}", "MemoryError", id="memory"),
        pytest.param("{{ range(10000000) | list }}", "OverflowError", id="range"),
        pytest.param("{{ ''.__class__.__mro__ }}", "SecurityError", id="attributes"),
        pytest.param("{% include '/etc/passwd' %}", "stopped with", id="file"),
        pytest.param("{{ raise_exception('\\x1b[2J') }}", "TemplateError", id="escape"),
        pytest.param("{% if", "TemplateSyntaxError", id="syntax"),
    ],
)
def test_a_hostile_template_ends_in_a_sentence_in_bounded_time(template: str, why: str) -> None:
    started = time.process_time()
    with pytest.raises(ChatTemplateRefused, match=why) as caught:
        rendered(template)
    assert time.process_time() - started < 4
    assert caught.value.exit_code == 2
    assert "\x1b" not in str(caught.value)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer ends what takes for ever after a part of the two seconds."""
    monkeypatch.setattr(chat_template, "MAX_SECONDS", 0.25)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    "template",
    [
        pytest.param(LOOP, id="loop"),
        pytest.param(
            "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
            id="two to the sixtieth",
        ),
    ],
)
def test_a_template_that_takes_for_ever_is_stopped_by_the_timer(template: str) -> None:
    started = time.process_time()
    with pytest.raises(ChatTemplateRefused, match=r"ran for more than 0\.25 seconds") as caught:
        rendered(template)
    assert time.process_time() - started < 2
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("soon")
def test_the_timer_and_its_handler_are_put_back() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(ChatTemplateRefused, match="ran for more than"):
        rendered(LOOP)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) == before


@pytest.mark.parametrize("text", ["**bold** ", "a ** b", "{# 2 ** 3 #}x", "{{ '2 ** 3' }}", "{{ 2 * 3 }}"])
def test_asterisks_that_are_no_power_are_rendered(text: str) -> None:
    assert rendered(text)
