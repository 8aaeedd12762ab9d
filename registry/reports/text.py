"""Numbers and values as text: one form, independent of locale, and never more digits than are meant."""

import math
import re
from typing import Any

from peft_registry.schemas.codes import Code, Said, code, code_in, says
from peft_registry.schemas.values import Value

THIN = "\u202f"  # narrow no-break space, between groups of three digits and before a unit
MINUS = "\u2212"
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_SHOWN_ITEMS = 6
_LINES = 6  # of one list on the first page, so that it stays one; the rest stands in the evidence
_SMALL = 1e-5  # a share that is written as a number
# C0 but tab and line ends, DEL, C1, line and paragraph separators, marks that reorder text (Unicode TR 36 §3.4)
_OBEYED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """The text with what a screen would obey instead of show escaped: control characters, marks that turn its direction."""
    return _OBEYED.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)


def whole(number: int) -> str:
    """`134 515 008`."""
    return f"{number:,}".replace(",", THIN).replace("-", MINUS)


def number(value: float, digits: int = 4) -> str:
    """`digits` significant figures at most, no trailing zeros; powers of ten outside 0.001 … 1 000 000."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and (abs(value) < 10**9 or isinstance(value, int)):
        return whole(int(value))
    exponent = math.floor(math.log10(abs(value)))
    if -4 < exponent < 6:
        text = _trimmed(f"{value:.{max(digits - 1 - exponent, 0)}f}")
        head, _, tail = text.partition(".")
        grouped = f"{int(head):,}".replace(",", THIN) if exponent >= 4 else head
        return (grouped + (f".{tail}" if tail else "")).replace("-", MINUS)
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    return f"{_trimmed(mantissa)} × 10{str(int(power)).translate(_SUPERSCRIPT)}".replace("-", MINUS)


def _trimmed(decimal: str) -> str:
    return decimal.rstrip("0").rstrip(".") if "." in decimal else decimal


def signed(value: float, digits: int = 4) -> str:
    """As `number`, with its sign."""
    return f"+{number(value, digits)}" if value > 0 else number(value, digits)


def share(value: float) -> str:
    """`62.5 %`, of a fraction."""
    return f"{100 * value:.1f}{THIN}%".replace("-", MINUS)


def points(difference: float) -> str:
    """`−0.6`, of a difference of shares, in percentage points."""
    return f"{100 * difference:+.1f}".replace("-", MINUS)


def percent(ratio: float, digits: int = 4) -> str:
    """A share in per cent; a very small one as a number, since a power of ten beside a sign of per cent is read twice."""
    return f"{number(100 * ratio, digits)}{THIN}%" if abs(ratio) >= _SMALL else number(ratio, digits)


def size(count: int) -> str:
    """`9.8 MB`, in powers of a thousand."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g}{THIN}{unit}"


def plain_size(count: int) -> str:
    """As `size`, with a plain space: terminals and aligned tables want one."""
    return size(count).replace(THIN, " ")


def reason_text(reason: Said) -> str:
    """Why a value is unknown, for a reader."""
    # what was written before there were codes only whoever set a registry up understands
    return str(code("not_answered_at_init") if says(reason, "not_answered_at_init") else reason)


def value_text(value: Value) -> str:
    """A recorded value for a reader; for an unknown one its reason."""
    if not value.applies:
        return f"not applicable: {value.reason}"
    if not value.known:
        return reason_text(value.reason or "")
    text = plain(value.value)
    return f"{text}{THIN}{value.unit}" if value.unit else text


def said_text(value: Value) -> str:
    """A recorded value for a reader; for an unknown one that it is unknown, and its reason."""
    return value_text(value) if value.settled else f"unknown: {value_text(value)}"


def first_lines(lines: tuple[str, ...], place: str) -> tuple[str, ...]:
    """The first lines of a list on the first page, and in which part of the evidence the rest stands."""
    rest = len(lines) - _LINES
    return (*lines[:_LINES], f"and {rest} more: {place}") if rest > 0 else lines


def plain(value: Any) -> str:  # any JSON value
    """Any JSON value as one line, a code as its sentence. Long lists are cut, and say how many entries the signed record has."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, dict):
        return _object(value)
    if isinstance(value, list):
        return _list(value)
    return str(value)


def _object(members: dict[str, Any]) -> str:
    said = code_in(members)
    if said is not None:
        return str(said)
    return "; ".join(f"{key}: {plain(item)}" for key, item in members.items() if item is not None) or "none"


def _list(values: list[Any]) -> str:
    items = [code_in(item) or item for item in values]
    if any(isinstance(item, dict | list) for item in items) and len(items) > 1:
        return f"{len(items)} entries in the signed record, the first: {plain(items[0])}"
    text = ", ".join(str(item) if isinstance(item, Code) else plain(item) for item in items[:_SHOWN_ITEMS])
    rest = len(items) - _SHOWN_ITEMS
    return f"{text} and {rest} more in the signed record" if rest > 0 else text or "none"
