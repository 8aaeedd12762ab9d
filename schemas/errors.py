"""Errors that we foresaw, and the exit code of each family.

KnownError                    the root; anything else that escapes is a bug (exit 1)
├── InputRefused        2     usage, configuration, or input refused at intake
├── Refused             3     a gate, an obligation, a hold or a recall says no
├── RunFailed           4     the work itself failed (diverged, out of memory, over tolerance)
├── NotChecked          5     could not be checked: accuses nobody
├── IntegrityBroken     6     what was presented is not what was signed or recorded
├── NotFound / Taken    7     unknown name, or a name that already means something else
└── Unavailable         8     this machine or a backend cannot

Concrete errors live beside the code that raises them. They have a stable kebab-case `reference`, take facts, and write
three sentences: what happened, why, how to go on. `docs/reference/errors.md` lists them all, generated.
"""

from typing import ClassVar

EXIT_BUG = 1
EXIT_INTERRUPTED = 130


class KnownError(Exception):
    """Something we foresaw: `what` happened, `why`, and how to `fix` it or go on."""

    exit_code: ClassVar[int] = EXIT_BUG
    reference: ClassVar[str] = "known-error"

    def __init__(self, *, what: str, why: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


class InputRefused(KnownError):
    """Usage, configuration, or input that intake refuses."""

    exit_code = 2
    reference = "input-refused"


class Refused(KnownError):
    """A gate, an obligation, a hold or a recall forbids it."""

    exit_code = 3
    reference = "refused"


class RunFailed(KnownError):
    """The work was started and failed."""

    exit_code = 4
    reference = "run-failed"


class NotChecked(KnownError):
    """Something required could not be checked; nothing is known to be wrong."""

    exit_code = 5
    reference = "not-checked"


class IntegrityBroken(KnownError):
    """Bytes, signatures or trust that were presented are not what was recorded."""

    exit_code = 6
    reference = "integrity-broken"


class NotFound(KnownError):
    """No such name, version or digest."""

    exit_code = 7
    reference = "not-found"


class Taken(KnownError):
    """The name or version exists already with other content."""

    exit_code = 7
    reference = "taken"


class Unavailable(KnownError):
    """This machine or a backend cannot do it: disk full, database down, extra missing."""

    exit_code = 8
    reference = "unavailable"
