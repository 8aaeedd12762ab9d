"""Reading thousands of records without Python's collector of cycles walking through all that lives each few records.

A record, its page and their rows are some ten thousand objects and no cycle: they go when the last name for them goes. For every
700 that come the collector looks through what lives, which is a fifth of the time of a long reading.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS = 100_000  # more than forty versions that are read ahead; cycles of that many are some 20 MiB
_lock = threading.Lock()
_thresholds: list[tuple[int, int, int]] = []  # of before, by each block that has begun and not ended


@contextmanager
def rare_collections() -> Iterator[None]:
    """Until the block ends, Python looks for cycles after 100,000 new objects instead of 700; in all threads.

    A program that has the collector look more rarely still, or not at all, keeps that.
    """
    with _lock:
        before = gc.get_threshold()
        _thresholds.append(before)
        if 0 < before[0] < _OBJECTS:
            gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        with _lock:
            # blocks of several threads may end in another order than they began: the last one brings back what was before the first
            usual = _thresholds[0]
            _thresholds.pop()
            if not _thresholds:
                gc.set_threshold(*usual)
