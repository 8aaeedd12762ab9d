"""The passphrase: never echoed, asked for twice when it is new, and never waited for without a terminal."""

import getpass as getpass_module
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.cli import settings
from peft_registry.cli.settings import (
    PassphraseFileExposed,
    PassphraseUnavailable,
    PassphraseWouldShow,
    new_passphrase,
    passphrase_source,
)
from tests.conftest import not_run

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


def a_passphrase_file(folder: Path) -> Path:
    path = folder / "passphrase"
    path.write_bytes(b"correct horse\r\n")
    path.chmod(0o600)
    return path


def test_a_passphrase_is_read_from_a_file_of_ones_own(tmp_path: Path) -> None:
    assert passphrase_source(a_passphrase_file(tmp_path))() == b"correct horse"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_passphrase_file_that_others_can_reach_is_refused(mode: int, tmp_path: Path) -> None:
    path = a_passphrase_file(tmp_path)
    path.chmod(mode)
    with pytest.raises(PassphraseFileExposed, match=f"{mode:04o}") as caught:
        passphrase_source(path)()
    assert caught.value.exit_code == 2
    assert "horse" not in str(caught.value)


def test_a_link_or_a_second_name_of_a_passphrase_file_is_refused(tmp_path: Path) -> None:
    path = a_passphrase_file(tmp_path)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(PassphraseFileExposed, match="link"):
        passphrase_source(tmp_path / "link")()
    os.link(path, tmp_path / "second")
    with pytest.raises(PassphraseFileExposed, match="2 names"):
        passphrase_source(path)()


def test_a_passphrase_file_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.getuid() != 0:
        not_run("only root can give files to another user")
    path = a_passphrase_file(tmp_path)
    os.chown(path, 65534, 65534)
    with pytest.raises(PassphraseFileExposed, match="user 65534"):
        passphrase_source(path)()
