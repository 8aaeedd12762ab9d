"""Which rows go into one pack of a bounded number of tokens: best fit, longest first, so that little room is left.

A pack is rows side by side that do not see each other (`trainer/training/row_attention.py`), never text run together.
"""

import bisect
from collections.abc import Sequence


def packs(lengths: Sequence[int], order: Sequence[int], *, capacity: int) -> list[list[int]]:
    """The rows of each pack, by index; their number depends on the lengths and the capacity alone.

    Args:
        lengths: of each row, in tokens, none over the capacity.
        order: every index once; decides among rows of equal length.
        capacity: of a pack, in tokens.
    """
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, pack), sorted
    for index in sorted(order, key=lambda place: -lengths[place]):  # a stable sort: equal lengths keep their order
        at = bisect.bisect_left(room, (lengths[index], -1))
        if at == len(room):
            packs.append([index])
            bisect.insort(room, (capacity - lengths[index], len(packs) - 1))
            continue
        left, pack = room.pop(at)
        packs[pack].append(index)
        bisect.insort(room, (left - lengths[index], pack))
    return packs
