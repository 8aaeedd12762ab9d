"""What other libraries raise and say, in a form that an error of ours can carry."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def bare_exceptions_as_values() -> Iterator[None]:
    """The library `tokenizers` raises `Exception` itself for a malformed tokenizer; here it becomes a ValueError.

    Raises:
        ValueError: for an exception of exactly that type; every other passes.
    """
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise ValueError(str(error)) from error


def first_line(error: Exception, folder: Path, *, shown: str) -> str:
    """What a library said, at most 300 characters, with `shown` in the place of the folder's path."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).replace(str(folder), shown)[:300]
