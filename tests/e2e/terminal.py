"""A training in a terminal of its own, where somebody presses Ctrl-C."""

import fcntl
import os
import pty
import re
import subprocess
import termios
from pathlib import Path

from tests.e2e.commands import command_line, environment, signals_of_a_terminal


def ctrl_c_after_some_steps(workplace: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and the screen of a command in a terminal of its own, where Ctrl-C is pressed while it trains."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command_line(*arguments),
        cwd=workplace,
        env=environment(workplace, TERM="xterm"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_the_terminal,
    )
    os.close(theirs)
    screen = ""
    pressed = False
    try:
        while block := _read_terminal(ours):
            screen += block
            if not pressed and re.search(r"train +[━╺]+ [1-9]\d*/", screen):
                os.write(ours, b"\x03")
                pressed = True
        return process.wait(60), screen
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _take_the_terminal() -> None:
    """Let the Ctrl-C of the keyboard mean this process, and be heard by it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signals_of_a_terminal()


def _read_terminal(terminal: int) -> str:
    """What was written since; nothing once the other side is closed."""
    try:
        return os.read(terminal, 65536).decode("utf-8", "replace")
    except OSError:  # Linux says EIO where other systems say end of file
        return ""
