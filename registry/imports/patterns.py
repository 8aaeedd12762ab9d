"""The regular expressions in an adapter's configuration, with which a loader looks for modules: tried before they are registered.

An expression can take longer than anybody waits (`(a+)+$`), and nothing ends it while it runs. So it is tried in a child process
that may use a few seconds of the processor, on the names that a loader would try.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from peft_registry.registry.disk.child_environment import child_environment
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.intake.peft_config import FILE_NAME
from peft_registry.schemas.errors import InputRefused

_CPU_SECONDS = 5  # an expression that names modules takes microseconds a name
_WALL_SECONDS = 300  # of a machine that is busy with other things
_PLAIN = re.compile(r"[A-Za-z0-9_.-]*\Z")
_ALL_LINEAR = "all-linear"
_PROGRAM = """
import json, re, resource, sys
asked = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (asked["seconds"], asked["seconds"]))
for key, expression in asked["expressions"]:
    try:
        compiled = re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        print(key, error)
        sys.exit(3)
    for name in asked["names"]:
        compiled.match(name)
"""
_MALFORMED = 3


class PatternRefused(InputRefused):
    what = f"{FILE_NAME} names modules by an expression that no loader can use"
    why = "{reason}"
    fix = "write the names of the modules as a list; the names of the tensors beside it show them"

    reason: str


def require_usable_patterns(values: Mapping[str, Any], base: Iterable[Tensor], adapted: Iterable[str] = ()) -> None:
    """Raise unless each regular expression of a configuration is one, and ends soon on the modules of the base.

    Args:
        values: the configuration.
        base: its tensors.
        adapted: names of modules that the expressions will be matched with besides.

    Raises:
        PatternRefused: one is malformed, or takes too long.
    """
    expressions = list(_expressions(values))
    if not expressions:
        return
    names = sorted({tensor.name.rpartition(".")[0] for tensor in base} | set(adapted))
    asked = {"expressions": expressions, "names": names, "seconds": _CPU_SECONDS}
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and program; what is tried goes to its stdin
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=_WALL_SECONDS,
            env=child_environment(os.environ),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PatternRefused(f"it does not end within {_WALL_SECONDS} seconds on the modules of the base") from error
    if done.returncode == _MALFORMED:
        raise PatternRefused(f"it is not a regular expression: {done.stdout.strip()[:200]}")
    if done.returncode != 0:
        raise PatternRefused(f"it takes more than {_CPU_SECONDS} seconds of a processor on the modules of the base")


def _expressions(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, expression) as peft makes them of a configuration; a plain name is none."""
    for key in ("target_modules", "exclude_modules", "feedforward_modules"):
        text = values.get(key)
        if isinstance(text, str) and text != _ALL_LINEAR and not _PLAIN.match(text):
            yield key, f"(?:{text})\\Z"
    for key in sorted(key for key in values if key.endswith("_pattern")):  # of ranks, scales, sizes of blocks …
        patterns = values[key]
        for text in patterns if isinstance(patterns, dict) else ():
            if not _PLAIN.match(text):
                yield key, rf"(.*\.)?({text})$"
    stated = values.get("layers_pattern")
    for text in stated if isinstance(stated, list) else [stated]:
        if isinstance(text, str) and not _PLAIN.match(text):
            yield "layers_pattern", rf".*\.{text}\.(\d+)\."
