"""Kernels that give the same numbers each time, asked for on a GPU, and the operations that have none there.

A processor's operations are deterministic by themselves: nothing is changed there.
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# cuBLAS chooses its algorithm by the workspace that it gets: without one of a fixed size two runs may differ in their last bits
# (cuBLAS documentation, "Results reproducibility"); this is the larger of the two sizes that it names
_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
_HAS_NONE = re.compile(r"^(\S+).* does not have a deterministic implementation", re.DOTALL)


def ask_for_determinism() -> None:
    """Choose deterministic kernels on a GPU, where there are some. cuBLAS reads its setting when it first multiplies, so that
    this comes before anything is computed; a setting of the user's stays."""
    import torch

    os.environ.setdefault(*_WORKSPACE)
    # else every tensor that is allocated is filled first, in case somebody reads what nobody wrote
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # of a class that torch puts there
    torch.use_deterministic_algorithms(True, warn_only=True)


@contextmanager
def noted_exceptions() -> Iterator[set[str]]:
    """Inside, torch's warnings of operations without a deterministic kernel are collected, by the name of the operation."""
    names: set[str] = set()
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=".*does not have a deterministic implementation")
        show = warnings.showwarning

        def note(message: Warning | str, *arguments: Any, **options: Any) -> None:  # Python's: category, file, line
            match = _HAS_NONE.match(str(message))
            if match is None:
                show(message, *arguments, **options)
            else:
                names.add(match[1])

        warnings.showwarning = note
        yield names
