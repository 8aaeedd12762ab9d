"""What a process keeps of its main memory without using it: blocks that were freed, and code of products that are over."""

import ctypes
import os

# oneDNN writes code for each shape of a product, two thirds of a megabyte, and keeps that of the last 1024. Batches of a run differ
# in their shapes, while all layers of one batch share a few dozen: those of a batch are kept, and what a later one meets again is
# written again in a millisecond. The numbers are the same.
PRODUCTS_KEPT = 128
_SETTING = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def keep_code_of_few_products() -> None:
    """Let oneDNN keep the code of a batch's products and not of all that were. It reads this when it first multiplies, so that
    this comes before anything is computed; a setting of the user's stays."""
    os.environ.setdefault(_SETTING, str(PRODUCTS_KEPT))


def give_back_freed_memory() -> None:
    """Return to the system what was freed and the allocator keeps, where that is possible: glibc has a call for it.

    A training leaves holes that are too small for what scoring needs in one piece, which would come on top of them.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
