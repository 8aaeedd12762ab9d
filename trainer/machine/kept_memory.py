"""Main memory that a process keeps without using it: freed blocks, and oneDNN's code for products that are done."""

import ctypes
import os

# oneDNN writes code for each shape of a product, two thirds of a megabyte, and keeps that of the last 1024. Batches of a run differ
# in their shapes, while all layers of one batch share a few dozen: those of a batch are kept, and what a later one meets again is
# written again in a millisecond. The numbers are the same.
PRODUCTS_KEPT = 128
_SETTING = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def keep_code_of_few_products() -> None:
    """Let oneDNN keep the code of about one batch's products. A setting of the user's stays.

    oneDNN reads the setting at its first product: call this before anything is computed.
    """
    os.environ.setdefault(_SETTING, str(PRODUCTS_KEPT))


def give_back_freed_memory() -> None:
    """Return freed memory that the allocator keeps to the system; nothing happens without glibc.

    A training leaves holes that are too small for what scoring needs in one piece: its memory would come on top of them.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
