"""How a day, a licence, a country or an address is written, and what was meant by one that is written otherwise. Pure."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from packaging.licenses import canonicalize_license_expression

from peft_registry.schemas.suggestions import closest
from peft_registry.schemas.values import RFC3339, timestamp

MONTH = re.compile(r"(0[1-9]|1[0-2])/([0-9]{4})")
LICENCE_CHARACTERS = 200  # of an SPDX expression; a longer text is refused before it is parsed
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SCHEMES = frozenset({"https", "http", "ftp", "s3", "gs", "hf"})
_MAIL = re.compile(r"[^\s@<>\"',;:()\[\]\\]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?\.[A-Za-z]{2,63}")
_NO_LICENCE = "NONE"  # SPDX's word where no licence was given: SPDX specification 2.3, clause 7.15
_COMMON_LICENCES = (
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "GPL-2.0-only",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "LGPL-3.0-only",
    "AGPL-3.0-only",
    "MPL-2.0",
    "CC0-1.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0",
    "CC-BY-ND-4.0",
    "ODC-By-1.0",
    "ODbL-1.0",
    "CDLA-Permissive-2.0",
    "Unlicense",
)


def days_of(value: Any) -> tuple[date, date] | None:
    """The first and the last day that a recorded date, month or time covers; None where it is none of them."""
    if not isinstance(value, str):
        return None
    if MONTH.fullmatch(value):
        return _days_of_month(int(value[:2]), int(value[3:]))
    is_day_or_time = len(value) == len("2026-11-24") or re.match(RFC3339, value)
    day = calendar_day(value[:10])
    return (day, day) if day is not None and is_day_or_time else None


def _days_of_month(month: int, year: int) -> tuple[date, date] | None:
    if not date.min.year <= year < date.max.year:  # the last month of the calendar is followed by none
        return None
    following = date(year + month // 12, month % 12 + 1, 1)
    return date(year, month, 1), following - timedelta(days=1)


def calendar_day(value: Any) -> date | None:
    """The day that a value, any JSON, writes as YYYY-MM-DD; None where it writes none that the calendar has."""
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def day_meant(value: Any) -> str | None:
    """The one day that another way of writing it can mean; 03/04/2026 can mean two."""
    text = str(value).strip()
    for written in ("%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d", "%Y%m%d", "%d.%m.%Y"):
        try:
            return datetime.strptime(text[:10], written).replace(tzinfo=UTC).date().isoformat()
        except ValueError:
            continue
    return None


def time_meant(value: Any) -> str | None:
    """The UTC time of a text in another notation; None where the text has no time zone, or is not a time."""
    try:
        moment = datetime.fromisoformat(str(value))
        return timestamp(moment.astimezone(UTC)) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):  # in UTC it may be a day before the calendar begins, or after it ends
        return None


def is_mail(text: str) -> bool:
    """Whether a text is an e-mail address."""
    return _MAIL.fullmatch(text) is not None


def is_address(text: str) -> bool:
    """Whether a text is a URL that people may follow: of a scheme that fetches data, with a host, and without a password."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        return False
    is_written = bool(re.fullmatch(r"[^\s<>\"'`\\]+", text)) and not parts.username and not parts.password
    return is_written and parts.scheme in _SCHEMES and ("." in host or parts.scheme in ("s3", "gs", "hf"))


def canonical_licence(text: str) -> str:
    """An SPDX licence expression in the spelling of its list; `NONE` says that no licence was given.

    Raises:
        InvalidLicenseExpression: it is none (packaging's error).
    """
    return _NO_LICENCE if text == _NO_LICENCE else str(canonicalize_license_expression(text))


def licence_remedy(text: str) -> str:
    """What to write in place of a text that is not an SPDX licence expression."""
    said = "-".join(text.strip().split()).lower().removeprefix("the-").removesuffix("-license").removesuffix("-licence")
    by_lower = {licence.lower(): licence for licence in _COMMON_LICENCES}
    meant = closest(said, by_lower)
    own = re.sub(r"[^A-Za-z0-9.]+", "-", text[:40]).strip("-.") or "NAME"
    if said in ("none", "no", "no-licence", "unlicensed", "n/a"):
        return f"write {_NO_LICENCE} where no licence was given at all, or {{unknown: the reason}}"
    if said in ("other", "proprietary", "custom", "unknown", "tbd", "?"):
        return "write LicenseRef- and its name, such as LicenseRef-Example-1.0, or {unknown: the reason}"
    other = f"a licence without an SPDX identifier is written `LicenseRef-{own}`"
    return (
        f"did you mean `{by_lower[meant]}`? {other}" if meant else f"write an identifier of spdx.org/licenses; {other}"
    )


@cache
def countries() -> tuple[frozenset[str], dict[str, str]]:
    """The codes of ISO 3166-1, and what is often written in their place."""
    file = resources.files("peft_registry.registry.compliance") / "rules" / "countries.json"
    table = json.loads(file.read_text(encoding="utf-8"))
    return frozenset(table["codes"]), table["often_meant"]
