"""The files that an edition derives by: those of the newest lie in `rules/`, those of an earlier one in a folder of its name there.

Whoever derives a record by an earlier edition says so with `deriving_by`; inside the block every rule is that edition's.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

Value = TypeVar("Value")

RULES: Traversable = resources.files("peft_registry.registry.compliance") / "rules"
DERIVED_BY = ("modification_fields", "verdicts", "retention")
"""The files from which a value of a record can follow; `codes` stands beside those of an earlier edition."""

_NEWEST = ""
_in_force: ContextVar[str] = ContextVar("edition in force", default=_NEWEST)


@contextmanager
def deriving_by(edition: str) -> Iterator[None]:
    """Inside the block every rule is that of an edition, which this release knows."""
    token = _in_force.set(edition if is_earlier(edition) else _NEWEST)
    try:
        yield
    finally:
        _in_force.reset(token)


def is_earlier(edition: str) -> bool:
    """Whether an edition has a folder of its own: another one came after it."""
    return (RULES / edition).is_dir()


def rules_in_force() -> tuple[str, str]:
    """What names the rules by which is derived here: whatever is kept of what followed from them is kept for them alone."""
    return str(RULES), _in_force.get()


def by_edition(read: Callable[[], Value]) -> Callable[[], Value]:
    """What a function gives, computed once for each edition."""

    @cache
    def of_edition(*_: str) -> Value:
        return read()

    @wraps(read)
    def now() -> Value:
        return of_edition(*rules_in_force())

    return now


def rules_text(name: str) -> str:
    """The text of a file of the edition in force."""
    edition = _in_force.get()
    folder = RULES / edition if edition and name in DERIVED_BY else RULES
    return (folder / f"{name}.json").read_text(encoding="utf-8")


def rules_of(name: str, edition: str = _NEWEST) -> Any:  # a JSON object
    """A file as JSON, of an edition that has a folder of its own, or of the newest."""
    folder = RULES / edition if edition else RULES
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
