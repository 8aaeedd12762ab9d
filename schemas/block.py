"""What every part of a training file is: strict values, whose numbers can be recorded and computed with."""

import re
from typing import Any

from pydantic import ConfigDict, field_validator

from peft_registry.schemas.document import Frozen

MAX_NUMBER = 1e30  # a product with a weight still fits 32 bits, which end at 3.4e38
MAX_REPETITIONS, MAX_GROUPS = 3, 4  # in one regular expression over module names
_REPETITION = re.compile(r"[*+{]")
_REPEATED_GROUP = re.compile(r"\)[*+{]")


class Block(Frozen):
    """A part of the file; strict, so that a value of the wrong type is refused and not converted.

    Its numbers can be recorded (whole ones are exact in every JSON reader) and computed with in 32 bits.
    """

    model_config = ConfigDict(strict=True)

    @field_validator("*")
    @classmethod
    def _can_be_used(cls, value: Any) -> Any:  # any field
        for number in value.values() if isinstance(value, dict) else (value,):
            if isinstance(number, int) and abs(number) >= 2**53:
                raise ValueError("a whole number below 2^53")
            if isinstance(number, float) and abs(number) > MAX_NUMBER:
                raise ValueError(f"a number of at most {MAX_NUMBER:g}")
        return value


def check_pattern(pattern: str) -> None:
    """Raise unless this is a regular expression whose match with a name always ends quickly.

    Backtracking takes exponential time where a group that can match in several ways is repeated, and n^k steps for k
    repetitions in a row.

    Raises:
        ValueError: it is not a regular expression, or its match might never end.
    """
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"module names, or regular expressions over them: {error}") from error
    if len(_REPETITION.findall(pattern)) > MAX_REPETITIONS or pattern.count("(") > MAX_GROUPS:
        raise ValueError(f"regular expressions with at most {MAX_REPETITIONS} repetitions and {MAX_GROUPS} groups")
    if _REPEATED_GROUP.search(pattern):
        raise ValueError("regular expressions that repeat no group")
