"""Randomness by name: one seed, and an independent stream for each purpose."""

import hashlib


def seed_of(seed: int, purpose: str) -> int:
    """A seed below 2^63 for one purpose (`adapter`, `order`), independent of those of other purposes."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{purpose}".encode()).digest()[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Set Python's, NumPy's and torch's generators.

    Dropout and initialisation draw from torch. Data order and splits do not draw from here: they have functions of
    their own that nothing else can disturb.
    """
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def rank_by_hash(count: int, *, seed: int, purpose: str) -> list[int]:
    """The numbers below `count` in an order that depends on seed and purpose only, never on a library's version."""
    prefix = f"{seed}:{purpose}:".encode()
    return sorted(range(count), key=lambda index: hashlib.sha256(prefix + str(index).encode()).digest())
