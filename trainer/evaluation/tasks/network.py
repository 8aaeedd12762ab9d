"""Code of others without the network: whatever it asks for outside of this machine is refused, and named afterwards.

A task may fetch where nothing in its description says so: a metric that downloads itself, word lists, a judge behind an interface.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

# https://docs.python.org/3/library/audit_events.html
_EVENTS = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname"})
_asked_for: ContextVar[list[str] | None] = ContextVar("asked_for", default=None)


class NetworkClosed(ConnectionError):
    """What such code gets in the place of a connection."""


@contextmanager
def without_network() -> Iterator[list[str]]:
    """Let nothing inside the block reach another machine; the list is what it asked for, in the order of asking.

    Other threads, and this one afterwards, connect as before.
    """
    _listen()
    asked_for: list[str] = []
    token = _asked_for.set(asked_for)
    try:
        yield asked_for
    finally:
        _asked_for.reset(token)


@cache
def _listen() -> None:
    """Once a process: a hook of the interpreter cannot be taken out again."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event not in _EVENTS:
        return
    asked_for = _asked_for.get()
    if asked_for is not None:
        address = arguments[1] if event == "socket.connect" else arguments[0]
        asked_for.append(str(address[0] if isinstance(address, tuple) else address))
        raise NetworkClosed(f"{asked_for[-1]} is outside of this machine")
