"""Amounts of memory as people write them: `12GiB` counts in powers of 1024, `14.7 GB` in powers of 1000."""

import re

_UNITS = {"": 1, "B": 1} | {
    prefix + suffix: base ** (power + 1)
    for power, prefix in enumerate("kMGT")
    for suffix, base in (("B", 1000), ("iB", 1024))
}
_UNITS |= {"KB": 1000, "KiB": 1024}


def bytes_of(text: str) -> int:
    """The bytes of a number with or without a unit.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?i?B?)\s*", text)
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{text[:40]!r} is not an amount of memory: write it like 12GiB or 14.7GB")
    return round(float(match[1]) * int(_UNITS[match[2]]))


def human_bytes(size: int) -> str:
    """A size for people, decimal units."""
    amount = float(size)
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount = amount / 1000
        unit = larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
