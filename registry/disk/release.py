"""Which release of this tool runs."""

from functools import cache
from importlib.metadata import version as package_version


@cache
def tool_version() -> str:
    """The version of this tool; the files of its installation are read once."""
    return package_version("peft-registry")
