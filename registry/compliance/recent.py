"""What follows from a record, kept for the records that were asked about last.

Whoever reads, checks and shows a version asks for the same of its record several times, and each walk through one takes as long
as a query.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from peft_registry.registry.compliance.rule_files import rules_in_force
from peft_registry.schemas.modification import RecordSections

Result = TypeVar("Result")
_KEPT = 4  # a record, the one before it, and what is built to hold it against


class OfRecent(Generic[Result]):
    """A function of a record, which is immutable, by the rules in force.

    Records are told apart by identity, as comparing them takes longer.
    """

    def __init__(self, make: Callable[[RecordSections], Result], *, kept: int = _KEPT) -> None:
        self._make = make
        self._most = kept
        self._kept: tuple[tuple[tuple[str, str], RecordSections, Result], ...] = ()

    def __call__(self, record: RecordSections) -> Result:
        """What the function gives of a record."""
        rules = rules_in_force()
        for followed, known, result in self._kept:
            if known is record and followed == rules:
                return result
        result = self._make(record)
        # one assignment, so that another thread sees the entries of before or those of now
        self._kept = ((rules, record, result), *self._kept[: self._most - 1])
        return result
