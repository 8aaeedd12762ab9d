"""Which process something is, so that one that died, or another one that has its number by now, is not taken for it."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from peft_registry.schemas.run_log import ProcessIdentity

_PROC = Path("/proc")  # Linux's; other systems tell nothing there
_STARTED = 22  # proc(5): the field of /proc/PID/stat that holds the clock ticks from the machine's start


def this_process() -> ProcessIdentity:
    """The process that asks."""
    pid = os.getpid()
    return ProcessIdentity(
        pid=pid, started=_started(pid), boot=_boot(), namespace=_namespace(), host=socket.gethostname()
    )


def is_of_this_machine(process: ProcessIdentity) -> bool:
    """Whether it ran here: since this start of the machine, under whatever name, or before it under the machine's name."""
    return process.host == socket.gethostname() or (process.boot is not None and process.boot == _boot())


def is_alive(process: ProcessIdentity) -> bool | None:
    """Whether it runs now; None where its number means nothing here, or this system does not tell."""
    boot = _boot()
    if boot is None or process.boot is None or process.started is None:
        return None
    if boot != process.boot:
        return False
    return None if process.namespace != _namespace() else _started(process.pid) == process.started


def _started(pid: int) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        # the second field is the program's name in parentheses, which may hold anything
        after_name = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        return int(after_name[_STARTED - 3])
    return None


def _boot() -> str | None:
    with suppress(OSError, ValueError):
        return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    return None


def _namespace() -> str | None:
    with suppress(OSError):
        return str((_PROC / "self/ns/pid").readlink())
    return None
