"""The part of the build that `pyproject.toml` cannot say: a checkout whose links are text files cannot be built.

`src/peft_registry/` reaches the four folders at the top of the repository through symbolic links. A checkout on a file system
without links holds small text files in their place, and the wheel would be empty without a word.
"""

import sys
from pathlib import Path

from setuptools import setup

PACKAGE = Path(__file__).resolve().parent / "src" / "peft_registry"
LAYERS = ("schemas", "registry", "trainer", "cli")

for layer in LAYERS:
    if not (PACKAGE / layer).is_dir():
        sys.exit(
            f"error: src/peft_registry/{layer} is not a link to the folder {layer}: "
            "clone on a POSIX file system with `git config core.symlinks true`, or build from the source distribution"
        )

setup()
