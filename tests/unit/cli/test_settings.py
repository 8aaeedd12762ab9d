"""The passphrase: never echoed, asked for twice when it is new, and never waited for without a terminal."""

import getpass as getpass_module
import sys
import warnings
from collections.abc import Callable

import pytest

from peft_registry.cli import settings
from peft_registry.cli.settings import PassphraseUnavailable, PassphraseWouldShow, new_passphrase, passphrase_source

Typing = Callable[..., None]


@pytest.fixture
def person_types(monkeypatch: pytest.MonkeyPatch) -> Typing:
    """Somebody at a terminal, who types these answers."""
    monkeypatch.delenv("REGISTRY_PASSPHRASE", raising=False)

    def types(*answers: str) -> None:
        left = list(answers)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(settings, "getpass", lambda prompt: left.pop(0))

    return types


def test_a_new_passphrase_is_typed_twice(person_types: Typing) -> None:
    person_types("horse", "horse")
    assert new_passphrase(None, unencrypted=False) == b"horse"


def test_two_that_differ_are_asked_for_again(person_types: Typing, capsys: pytest.CaptureFixture[str]) -> None:
    person_types("horse", "hoarse", "staple", "staple")
    assert new_passphrase(None, unencrypted=False) == b"staple"
    shown = capsys.readouterr()
    assert "differ" in shown.err
    assert "orse" not in shown.out + shown.err


def test_it_is_asked_for_once(person_types: Typing) -> None:
    person_types("horse")
    ask = passphrase_source()
    assert (ask(), ask()) == (b"horse", b"horse")


def test_a_terminal_that_would_echo_is_refused(person_types: Typing, monkeypatch: pytest.MonkeyPatch) -> None:
    person_types()

    def echoing(prompt: str) -> str:
        warnings.warn("Can not control echo on the terminal.", getpass_module.GetPassWarning, stacklevel=2)
        return "horse"

    monkeypatch.setattr(settings, "getpass", echoing)
    with pytest.raises(PassphraseWouldShow):
        passphrase_source()()


def test_the_end_of_the_input_is_not_a_passphrase(person_types: Typing, monkeypatch: pytest.MonkeyPatch) -> None:
    person_types()

    def ended(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr(settings, "getpass", ended)
    with pytest.raises(PassphraseUnavailable):
        passphrase_source()()
