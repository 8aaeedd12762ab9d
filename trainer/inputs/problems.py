"""Everything that is wrong with an input, told at once: a person mends it in one go, not one refusal at a time."""

from collections.abc import Callable
from typing import TypeVar

from peft_registry.schemas.errors import KnownError, SeveralProblems, raise_any

Checked = TypeVar("Checked")


class Problems:
    """Collects what checks refuse, so that the ones behind them run too."""

    def __init__(self) -> None:
        self._found: list[KnownError] = []

    def attempt(self, check: Callable[[], Checked]) -> Checked | None:
        """What a check returns; None where it refuses, which is kept for `raise_if_any`."""
        try:
            return check()
        except SeveralProblems as error:
            self._found += error.problems
        except KnownError as error:
            self._found.append(error)
        return None

    def add(self, problem: KnownError) -> None:
        """Keep a problem that was found without a check that raises."""
        self._found.append(problem)

    def raise_if_any(self) -> None:
        """Raise the one problem that was found as it is, or several as one error.

        Raises:
            KnownError: the only one.
            SeveralProblems: where there are more.
        """
        raise_any(self._found)
