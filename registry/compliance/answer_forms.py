"""The form of an answer: what a date, a country, a licence or a count looks like, and what is said of one that does not.

Which field has which form is data (`rules/modification_fields.json`); how each type is checked stands here. Pure.

What is recorded is signed, printed and copied into pages, tables and other tools. So no text may hold characters that steer a
terminal or turn the direction of reading, none may be longer than anybody reads, and a word such as `tbd` is not an answer.
"""

import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from packaging.licenses import InvalidLicenseExpression
from pydantic import Field

from peft_registry.registry.compliance.notations import (
    LICENCE_CHARACTERS,
    MONTH,
    calendar_day,
    canonical_licence,
    countries,
    day_meant,
    days_of,
    is_address,
    is_mail,
    licence_remedy,
    time_meant,
)
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.hub_names import HUB_ID
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.suggestions import closest
from peft_registry.schemas.values import RFC3339

FieldType = Literal[
    "text",
    "number",
    "date",
    "month",
    "months",
    "time",
    "list",
    "object",
    "digest",
    "choice",
    "country",
    "licence",
    "url",
    "contact",
]

MAX_CHARACTERS = (
    4000  # of one text: about 600 words, twice what the longest field of the Model Documentation Form asks for
)
MAX_ENTRIES = 1000  # of one list or object
MAX_DEPTH = 8  # of lists and objects inside an answer
ABOUT = 1.25  # the forms ask for "about" so many words, which is taken as up to a quarter more
# C0 but tab and line feed, C1, soft hyphen, invisible and bidirectional controls, line separators, tags, half pairs; the joiners
# U+200C and U+200D stay, which Persian, Indic scripts and emoji are written with
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
_BETWEEN_CLAUSES = re.compile(r"[,;:.!()]|\s[-–—]+\s")
# what is written in a field to say that nothing has been written yet
_NO_ANSWERS = frozenset(
    {"?", "??", "???", "tbd", "tba", "tbc", "todo", "to do", "fixme", "xxx", "to be determined", "to be decided"}
    | {"unknown", "not known", "not yet known", "not yet"}
)
_UNKNOWN = "state a value, or {unknown: the reason}"


class AnswerForm(Frozen):
    """What an answer looks like.

    Attributes:
        type: how it is written.
        values: the answers of a choice, or of the entries of a list.
        minimum: the least number.
        above: what a number is greater than.
        maximum: the greatest number.
        earliest: the first day.
        latest: the last day.
        because: why the bounds of the number or day are these.
        unit: of the number, where its kind has one; an answer is written without it.
        whole: whether a number is a count.
        about_words: how many words the law's form asks for.
        no_answers: what reads like an answer to this field and is none, lower case.
        none_is_answer: whether a list may be empty; whoever states it says so: `none`, or `[]`.
        not_applicable: codes of the reasons for which a person may say that there is no answer to give; none: there always is one.
        items: of each entry of a list; None: a text, a number or an object.
        members: of the keys of an object; empty: any.
    """

    type: FieldType
    values: tuple[str, ...] = ()
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    earliest: date | None = None
    latest: date | None = None
    because: str | None = None
    unit: str | None = None
    whole: bool = False
    about_words: int | None = None
    no_answers: tuple[str, ...] = ()
    none_is_answer: bool = False
    not_applicable: tuple[str, ...] = ()
    items: "AnswerForm | None" = None
    members: dict[str, "AnswerForm"] = Field(default_factory=dict)

    @property
    def description(self) -> str:
        """For a table: the type, with its answers or bounds."""
        if self.type == "choice":
            return ", ".join(self.values)
        if self.type == "object" and self.members:
            return f"object with {'; '.join(f'{name}: {member.description}' for name, member in self.members.items())}"
        if self.type == "list":
            entries = self.items
            named = None if entries is None else ", ".join(entries.values) or entries.type
            return ("list" if named is None else f"list of {named}") + ("; or none" if self.none_is_answer else "")
        above = self.above if self.minimum is None else None  # the least number says it already
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("from", self.minimum), ("above", above), ("to", self.maximum))
            if bound is not None
        ]
        words = [f"about {self.about_words} words"] if self.about_words else []
        return ", ".join([_WORDS.get(self.type, self.type), *(["whole"] if self.whole else []), *bounds, *words])


@dataclass(frozen=True, slots=True)
class Misfit:
    """What is wrong with an answer: `place` inside it, empty for the whole; why; and what would be right."""

    place: str
    reason: str
    remedy: str


def misfits(form: AnswerForm, value: Any) -> Iterator[Misfit]:
    """Everything that keeps a value from being the answer that a form asks for; nothing where it fits.

    Args:
        form: of the field.
        value: any JSON value.
    """
    unprintable = list(_unwritable(value, "", 0))
    if unprintable:  # whatever else it is, it is not quoted in a sentence about its form
        yield from unprintable
        return
    yield from _CHECKS[form.type](form, value)


def clauses(text: str) -> list[str]:
    """The parts of a text between commas, semicolons, colons, full stops and dashes, lower case; `[""]` where it has none."""
    parts = [" ".join(part.split()).lower() for part in _BETWEEN_CLAUSES.split(text)]
    return [part for part in parts if part] or [""]


def is_blank(value: Any) -> bool:
    """Whether a JSON value says nothing: no value, blank text, a list or an object in which nothing says anything."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, dict | list):
        return all(is_blank(item) for item in (value.values() if isinstance(value, dict) else value))
    return value is None


def as_recorded(form: AnswerForm, value: Any) -> Any:  # any JSON value
    """A value that fits, as records write it: a licence in SPDX's own spelling, true and false as yes and no."""
    if form.type == "licence":
        return canonical_licence(value)
    if isinstance(value, bool) and form.type == "choice":
        return "yes" if value else "no"
    if form.type == "list" and _says_none(form, value):
        return []
    if form.type == "list" and form.items is not None:
        return [as_recorded(form.items, item) for item in value]
    if form.type == "object":
        return {
            key: as_recorded(form.members[key], item) if key in form.members else item for key, item in value.items()
        }
    return value


# --- what holds for every text and number ---


def _unwritable(value: Any, place: str, depth: int) -> Iterator[Misfit]:
    if isinstance(value, str):
        yield from _unreadable(value, place)
    elif isinstance(value, dict | list):
        yield from _unwritable_inside(value, place, depth)
    elif isinstance(value, float) and not math.isfinite(value):
        yield Misfit(place, f"{value} is not a finite number", "write a number, or {unknown: the reason}")
    elif isinstance(value, int) and abs(value) > sys.float_info.max:
        # a record writes numbers as doubles (RFC 8785)
        yield Misfit(place, "it is larger than any number that a record can hold", "correct the number")
    elif value is not None and not isinstance(value, bool | int | float):
        yield Misfit(place, f"it is a {type(value).__name__}, not text, a number or a list", "write it as text")


def _unwritable_inside(value: dict[str, Any] | list[Any], place: str, depth: int) -> Iterator[Misfit]:
    if depth == MAX_DEPTH:
        yield Misfit(
            place, f"it nests deeper than {MAX_DEPTH} levels", "write it flat, or name a document that holds it"
        )
        return
    if len(value) > MAX_ENTRIES:
        yield Misfit(place, f"it has {len(value)} entries, and at most {MAX_ENTRIES} are recorded", "name a document")
        return
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unwritable(item, f"{place}[{number}]", depth + 1)
        return
    for key, item in value.items():
        unreadable = list(_unreadable(str(key), place))
        yield from unreadable
        if not unreadable:
            yield from _unwritable(item, f"{place}.{key}", depth + 1)


def _unreadable(text: str, place: str) -> Iterator[Misfit]:
    if len(text) > MAX_CHARACTERS:
        yield Misfit(
            place,
            f"it has {len(text)} characters, and at most {MAX_CHARACTERS} are recorded",
            "shorten it, and name the document that says it in full",
        )
        return
    steering = _STEERING.search(text)
    if steering is not None:
        yield Misfit(
            place,
            f"character {steering.start() + 1} is an invisible control character (U+{ord(steering.group()):04X}), "
            "which changes how the text around it is shown",
            "take it out: type the text anew, without what came along when it was copied",
        )


# --- the types ---


def _text(form: AnswerForm, value: Any) -> Iterator[Misfit]:
    if not isinstance(value, str):
        yield Misfit("", f"{_quoted(value)} is not text", "write text, in quotes where needed")
        return
    words = value.split()
    plain = " ".join(words).strip(".!").lower()
    if not words:
        yield Misfit("", "it is empty", _UNKNOWN)
    elif (
        plain in _NO_ANSWERS or plain in form.no_answers or all(clause in form.no_answers for clause in clauses(plain))
    ):
        yield Misfit("", f"{_quoted(value)} answers nothing", _UNKNOWN)
    elif form.about_words is not None and len(words) > form.about_words * ABOUT:
        most = int(form.about_words * ABOUT)
        yield Misfit(
            "",
            f"it has {len(words)} words, and the form asks for about {form.about_words}",
            f"shorten it to {most} words, and name the document that says it in full",
        )


def _number(form: AnswerForm, value: Any) -> Iterator[Misfit]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield Misfit("", f"{_quoted(value)} is not a number", "write a number without its unit, and without quotes")
        return
    if form.whole and value != int(value):
        yield Misfit("", f"{value:g} is not a whole number", "write the count itself")
    if form.above is not None and value <= form.above:
        yield Misfit("", f"{value:g} is not more than {form.above:g}", f"write a number above {form.above:g}")
    elif form.minimum is not None and value < form.minimum:
        why = f"{value:g} is less than {form.minimum:g}"
        yield Misfit("", _with_reason(why, form), f"write a number from {form.minimum:g}")
    if form.maximum is not None and value > form.maximum:
        why = f"{value:g} is more than {form.maximum:g}"
        yield Misfit("", _with_reason(why, form), f"write a number up to {form.maximum:g}")


def _with_reason(why: str, form: AnswerForm) -> str:
    return why if form.because is None else f"{why}: {form.because}"


def _out_of_range(form: AnswerForm, day: date, value: Any) -> Iterator[Misfit]:
    """Why a day of the calendar is none that is meant; `value` as it was written."""
    if form.earliest is not None and day < form.earliest:
        yield Misfit("", _with_reason(f"{value} is before {form.earliest}", form), "correct the year")
    if form.latest is not None and day > form.latest:
        yield Misfit("", _with_reason(f"{value} is after {form.latest}", form), "correct the year")


def _date(form: AnswerForm, value: Any) -> Iterator[Misfit]:
    day = calendar_day(value)
    if day is None:
        yield Misfit(
            "",
            f"{_quoted(value)} is not a day of the calendar",
            _meant(day_meant(value), "write year-month-day, such as 2026-11-24"),
        )
    else:
        yield from _out_of_range(form, day, value)


def _month(form: AnswerForm, value: Any) -> Iterator[Misfit]:
    """A month as the public summary writes it, or the day itself."""
    covered = days_of(value) if isinstance(value, str) and MONTH.fullmatch(value) else None
    if covered is not None:
        yield from _out_of_range(form, covered[1], value)
        return
    if calendar_day(value) is not None:
        yield from _date(form, value)
        return
    meant = re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])", value) if isinstance(value, str) else None
    yield Misfit(
        "",
        f"{_quoted(value)} is neither a day nor a month",
        _meant(f"{meant[2]}/{meant[1]}" if meant else day_meant(value), "write 2026-11-24, or the month as 11/2026"),
    )


def _months(form: AnswerForm, value: Any) -> Iterator[Misfit]:
    """A period from month to month, as the public summary asks of crawlers."""
    parts = value.split("-") if isinstance(value, str) else []
    months = [days_of(part.strip()) for part in parts if MONTH.fullmatch(part.strip())]
    covered = [days for days in months if days is not None]
    if len(parts) != 2 or len(covered) != 2:
        yield Misfit("", f"{_quoted(value)} is not a period", "write the months from and to, such as 03/2026-11/2026")
    elif covered[0][0] > covered[1][0]:
        yield Misfit("", f"{value} ends before it begins", "write the earlier month first")
    else:
        for part, days in zip(parts, covered, strict=True):
            yield from _out_of_range(form, days[1], part.strip())


def _time(form: AnswerForm, value: Any) -> Iterator[Misfit]:
    if isinstance(value, str) and re.match(RFC3339, value):
        try:
            day = datetime.fromisoformat(value).date()
        except ValueError:
            pass
        else:
            yield from _out_of_range(form, day, value)
            return
    yield Misfit(
        "",
        f"{_quoted(value)} is not a time",
        _meant(time_meant(value), "write it in UTC, such as 2026-11-24T09:30:00Z"),
    )


def _digest(_: AnswerForm, value: Any) -> Iterator[Misfit]:
    try:
        Digest.parse(str(value))
    except MalformedDigest:
        bare = str(value).strip().lower().removeprefix("sha256:").removeprefix("sha256-")
        meant = f"sha256:{bare}" if re.fullmatch(r"[0-9a-f]{64}", bare) else None
        yield Misfit(
            "",
            f"{_quoted(value)} is not a SHA-256 digest",
            _meant(meant, "write sha256: and 64 characters of 0-9 and a-f, such as `sha256sum FILE` prints"),
        )


def _choice(form: AnswerForm, value: Any) -> Iterator[Misfit]:
    if isinstance(value, bool) and {"yes", "no"} <= set(form.values):
        return
    if isinstance(value, str) and value in form.values:
        return
    words = " or ".join(filter(None, (", ".join(form.values[:-1]), form.values[-1])))
    said = str(value).strip().lower().replace("-", "_").replace(" ", "_")
    if said in ("unknown", "not_known", "?"):
        yield Misfit("", "nobody knows it yet, and that has a reason", f"answer {words}, or {{unknown: the reason}}")
        return
    yield Misfit("", f"{_quoted(value)} is none of its answers", _meant(closest(said, form.values), f"answer {words}"))


def _says_none(form: AnswerForm, value: Any) -> bool:
    return form.none_is_answer and (value == [] or (isinstance(value, str) and value.strip().lower() == "none"))


def _list(form: AnswerForm, value: Any) -> Iterator[Misfit]:
    if _says_none(form, value):
        return
    if not isinstance(value, list):
        yield Misfit("", "it takes several answers", "write a list" + (", or none" if form.none_is_answer else ""))
        return
    if not value:
        yield Misfit("", "it is empty, and nothing is answered by that", f"say what holds instead, or {_UNKNOWN}")
        return
    for number, item in enumerate(value):
        for misfit in _CHECKS[form.items.type](form.items, item) if form.items else _any_entry(item):
            yield Misfit(f"[{number}]{misfit.place}", misfit.reason, misfit.remedy)


def _any_entry(item: Any) -> Iterator[Misfit]:
    """An entry of a list without a form of its own: a text, a number or an object."""
    if isinstance(item, str):
        yield from _text(AnswerForm(type="text"), item)
    elif is_blank(item):
        yield Misfit("", "it is empty", "write what it says, or take the entry out")


def _object(form: AnswerForm, value: Any) -> Iterator[Misfit]:
    if not isinstance(value, dict) or not value:
        yield Misfit(
            "", "it takes several named answers", f"write keys under it: {', '.join(form.members) or 'key: value'}"
        )
        return
    for key, item in value.items():
        if form.members and key not in form.members:
            yield Misfit(
                f".{key}",
                "there is no such key",
                _meant(closest(key, form.members), f"its keys are {', '.join(form.members)}"),
            )
        elif key in form.members:
            member = form.members[key]
            for misfit in _CHECKS[member.type](member, item):
                yield Misfit(f".{key}{misfit.place}", misfit.reason, misfit.remedy)
        elif is_blank(item):
            yield Misfit(f".{key}", "it is empty", "write what it says, or take the key out")


def _country(_: AnswerForm, value: Any) -> Iterator[Misfit]:
    codes, often_meant = countries()
    if isinstance(value, str) and value in codes:
        return
    said = str(value).strip().upper()
    meant = said if said in codes else often_meant.get(said)
    yield Misfit(
        "",
        f"{_quoted(value)} is not a country of ISO 3166",
        _meant(meant, "write two capital letters of ISO 3166, such as DE"),
    )


def _licence(_: AnswerForm, value: Any) -> Iterator[Misfit]:
    if isinstance(value, str) and value and len(value) <= LICENCE_CHARACTERS:
        try:
            canonical_licence(value)
        except InvalidLicenseExpression:
            pass
        else:
            return
    yield Misfit("", f"{_quoted(value)} is not a licence of the SPDX list", licence_remedy(str(value)))


def _url(_: AnswerForm, value: Any) -> Iterator[Misfit]:
    if isinstance(value, str) and is_address(value):
        return
    meant = None
    if isinstance(value, str):
        if HUB_ID.fullmatch(value) and "." not in value.split("/")[0]:
            meant = f"https://huggingface.co/{value}"
        elif is_address(f"https://{value}"):
            meant = f"https://{value}"
    yield Misfit(
        "", f"{_quoted(value)} is not an address", _meant(meant, "write it whole, such as https://example.org/data")
    )


def _contact(_: AnswerForm, value: Any) -> Iterator[Misfit]:
    if isinstance(value, str) and (is_mail(value) or (value.startswith("http") and is_address(value))):
        return
    yield Misfit(
        "",
        f"{_quoted(value)} is neither an e-mail address nor a web page",
        "write one that anybody may use, such as post@example.org or https://example.org/contact",
    )


_CHECKS: dict[str, Callable[[AnswerForm, Any], Iterator[Misfit]]] = {
    "text": _text,
    "number": _number,
    "date": _date,
    "month": _month,
    "months": _months,
    "time": _time,
    "digest": _digest,
    "choice": _choice,
    "list": _list,
    "object": _object,
    "country": _country,
    "licence": _licence,
    "url": _url,
    "contact": _contact,
}
# what a table calls a type that its name alone does not explain
_WORDS = {
    "date": "date, YYYY-MM-DD",
    "month": "date, YYYY-MM-DD or MM/YYYY",
    "months": "MM/YYYY-MM/YYYY",
    "time": "time, YYYY-MM-DDThh:mm:ssZ",
    "digest": "digest, sha256:…",
    "country": "country, ISO 3166 alpha-2",
    "licence": "licence, SPDX expression",
    "url": "URL",
    "contact": "e-mail address or URL",
}


# --- what was meant ---


def _quoted(value: Any) -> str:
    return repr(str(value)[:60])


def _meant(meant: str | None, otherwise: str) -> str:
    return f"did you mean `{meant}`?" if meant else otherwise
