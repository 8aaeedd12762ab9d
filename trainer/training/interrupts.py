"""Ctrl-C between two steps of a training and not inside one, so that the state can be kept before the run ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def finish_step_on_interrupt(*, active: bool) -> Iterator[Interrupt]:
    """Inside, the first Ctrl-C is only noted, for the loop to look at after a step; a second one interrupts at once.

    Nothing changes where SIGINT is ignored or has no handler in Python, and outside the main thread, which is the only one
    that receives signals.

    Args:
        active: False where there is no state to keep; Ctrl-C then interrupts at once.

    Raises:
        KeyboardInterrupt: on leaving, where Ctrl-C was pressed after the loop had looked for the last time.
    """
    interrupt = Interrupt()
    handler_before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not active or not in_main_thread or not callable(handler_before):
        yield interrupt
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        interrupt.requested = True
        signal.signal(signal.SIGINT, handler_before)

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, handler_before)
    if interrupt.requested:
        raise KeyboardInterrupt
