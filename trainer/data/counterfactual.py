"""Counterfactual rows: a row that speaks of one group, and the same row of another, by pinned lists of words.

Counterfactual data augmentation (Lu et al. 2018, https://arxiv.org/abs/1807.11714; Zmigrod et al., ACL 2019), without a
parser. So only what stays grammatical by the lists alone is swapped; a row of which that is not sure is dropped, with the
reason. The lists are English; nobody checks the language of a row.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.trainer.data.formats import RowReading

FILE_NAME = "swap_lists.json"
_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
_NEXT_WORD = re.compile(rf"[ \t\n]+({_WORD.pattern})")
_ARTICLE = re.compile(r"(?<!\w)([Aa])n?([ \t]{1,4})$")
_BETWEEN_SENTENCES = " \t\r\n\"'“”‘’()[]*"
_ENDS_SENTENCE = ".!?:;"

NO_WORD = "no word of the axis"
_LONGER_WORD = "a part of a longer word"
_NAME = "a name, or what may be one"
_EITHER = "a pronoun that could be either of two"
_THING = "a colour or an origin, not surely of persons"
_ONE_GROUP = "two groups would become one"


class UnknownAxis(InputRefused):
    what = "there is no list of words for the axis {name!q}"
    why = "the axes are {axes!l}"
    fix = "{suggestion}"

    name: str
    axes: Sequence[str]

    @property
    def suggestion(self) -> str:
        return did_you_mean(closest(self.name, self.axes), "name one of them")


class NothingSwapped(InputRefused):
    what = "no row of {name} could be swapped, and nothing was written"
    why = "every row was dropped, for {reasons!l}"
    fix = "name another axis, or data in which persons of that axis are spoken of"

    name: str
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True)
class Dropped:
    """Why a text has no counterfactual of an axis."""

    reason: str


@dataclass(frozen=True, slots=True)
class SwapList:
    """The words of one axis. `digest` is that of all that decides a swap on it, the shared lists among it."""

    axis: str
    digest: Digest
    swaps: Mapping[str, str]  # by the word in lower case
    spelling: Mapping[str, str]  # of the list, by the word in lower case
    several_groups: bool  # more than two, so that two of them may have the same counterpart
    before_persons: frozenset[str]
    by_next_word: Mapping[str, Mapping[str, Any]]
    closed: frozenset[str]
    singular: frozenset[str]
    refused: Mapping[str, str]  # reason by word
    beginnings: frozenset[str]
    capitals: frozenset[str]
    persons: frozenset[str]
    terms: re.Pattern[str]


def swap_list(axis: str) -> SwapList:
    """The list of an axis.

    Raises:
        UnknownAxis: there is none.
    """
    lists = _lists()
    if axis not in lists:
        raise UnknownAxis(axis, tuple(lists))
    return lists[axis]


def axes() -> tuple[str, ...]:
    """Those that have a list, in its order."""
    return tuple(_lists())


def swapped(text: str, words: SwapList) -> str | Dropped:
    """The text with every word of the axis exchanged for its counterpart, or why there is none."""
    matches = list(words.terms.finditer(text))
    if not matches:
        return Dropped(NO_WORD)
    spans = [match.span() for match in matches]
    problem = _refused_word(text, words) or _unknown_name(text, spans, words)
    if problem is not None:
        return Dropped(problem)
    pieces: list[str] = []
    end = 0
    replaced: dict[str, str] = {}
    for match in matches:
        if _touches_hyphen(text, match):
            return Dropped(_LONGER_WORD)
        replacement = _replacement(text, match, words)
        if isinstance(replacement, Dropped):
            return replacement
        replaced[_group(match.group().lower())] = _group(replacement.lower())
        pieces += [_with_article(text[end : match.start()], replacement), replacement]
        end = match.end()
    if words.several_groups and len(set(replaced.values())) < len(replaced):
        return Dropped(_ONE_GROUP)
    return "".join([*pieces, text[end:]])


def counterfactual_row(values: Mapping[str, Any], reading: RowReading, words: SwapList) -> dict[str, Any] | Dropped:
    """The row's values by meaning, its texts swapped; a class's name stays. A text without a word of the axis stays as it is,
    where another text of the row has one."""
    found: dict[str, Any] = {}
    changed = False
    for meaning, value in values.items():
        if reading.row_format == "classification" and meaning == "label":
            found[meaning] = value
            continue
        turns = value if isinstance(value, list) else [{"content": value}]
        texts = []
        for turn in turns:
            text = swapped(turn["content"], words)
            if isinstance(text, Dropped) and text.reason != NO_WORD:
                return text
            texts.append(turn["content"] if isinstance(text, Dropped) else text)
            changed = changed or not isinstance(text, Dropped)
        found[meaning] = (
            [{**turn, "content": text} for turn, text in zip(turns, texts, strict=True)]
            if isinstance(value, list)
            else texts[0]
        )
    return found if changed else Dropped(NO_WORD)


def _refused_word(text: str, words: SwapList) -> str | None:
    low = [match.group().lower().replace("’", "'") for match in _WORD.finditer(text)]
    seen = {
        *low,
        *(word.split("'")[0] for word in low),
        *(f"{word} {following}" for word, following in pairwise(low)),
    }
    return next((words.refused[word] for word in words.refused if word in seen), None)


def _unknown_name(text: str, spans: Sequence[tuple[int, int]], words: SwapList) -> str | None:
    """A name tells the group that it belongs to, and no list of words knows all names."""
    for match in _WORD.finditer(text):
        word = match.group().replace("’", "'")
        if not word[0].isupper() or any(start <= match.start() < end for start, end in spans):
            continue
        low = word.lower()
        allowed = words.beginnings if _begins_sentence(text, match.start()) else words.capitals
        if low not in allowed and low not in words.capitals:
            return _NAME
    return None


def _begins_sentence(text: str, at: int) -> bool:
    while at and text[at - 1] in _BETWEEN_SENTENCES:
        at -= 1
        if text[at] == "\n":
            return True
    return not at or text[at - 1] in _ENDS_SENTENCE or text[max(0, at - 2) : at] == "--"


def _touches_hyphen(text: str, match: re.Match[str]) -> bool:
    after = text[match.end() : match.end() + 2]
    before = text[max(0, match.start() - 2) : match.start()]
    return (after[:1] == "-" and after[1:].isalpha()) or (before[1:] == "-" and before[:1].isalpha())


def _replacement(text: str, match: re.Match[str], words: SwapList) -> str | Dropped:
    low = match.group().lower()
    following = _next_word(text, match.end())
    if low in words.by_next_word:
        target = words.by_next_word[low][_kind_of_following(following, words)]
        if target is None:
            return Dropped(_EITHER)
    else:
        target = words.swaps[low]
    if low in words.before_persons and following not in words.persons:
        return Dropped(_THING)
    return _spelt(match.group(), target, words.spelling[low], begins=_begins_sentence(text, match.start()))


def _kind_of_following(following: str | None, words: SwapList) -> str:
    """What the next word tells of a word that stands for two: the end of its phrase, a noun in the singular, or neither."""
    if following is None or following in words.closed:
        return "closed"
    return "singular" if following in words.singular else "other"


def _next_word(text: str, end: int) -> str | None:
    """The word that follows with nothing but spaces between, in lower case."""
    match = _NEXT_WORD.match(text, end)
    return None if match is None else match.group(1).lower()


def _spelt(was: str, target: str, listed: str, *, begins: bool) -> str:
    """The target in capitals where the word stood in capitals, with one where a sentence begins or the word had one of its own."""
    if len(was) > 1 and was.isupper():
        return target.upper()
    own = listed[0].islower()
    if was[0].isupper() and (begins or own):
        return target[0].upper() + target[1:]
    if was.islower() and not listed.islower():
        return target.lower()
    return target


def _with_article(before: str, target: str) -> str:
    """The text before a word, its article fitted to it: no word of the lists begins with a letter that is not as it sounds."""
    tail = before[-8:]
    match = _ARTICLE.search(tail)
    if match is None:
        return before
    article = match.group(1) + ("n" if target[0].lower() in "aeiou" else "")
    return before[: len(before) - len(tail) + match.start()] + article + match.group(2)


def _group(word: str) -> str:
    return word.removesuffix("s")


@cache
def _lists() -> dict[str, SwapList]:
    raw = json.loads((files(__package__) / FILE_NAME).read_text(encoding="utf-8"))
    shared = {name: frozenset(raw[name]["words"]) for name in ("beginnings", "capitals", "persons")}
    return {axis: _read_list(axis, entry, raw, shared) for axis, entry in raw["axes"].items()}


def _read_list(axis: str, entry: dict[str, Any], raw: dict[str, Any], shared: dict[str, frozenset[str]]) -> SwapList:
    pairs = list(_pairs(entry))
    by_next = entry.get("by_next_word", {})
    spelling = {word.lower(): word for word, _ in pairs} | {word: word for word in by_next}
    longest_first = sorted(spelling, key=lambda word: (-len(word), word))
    alternatives = "|".join(re.escape(word).replace(r"\ ", r"\s") for word in longest_first)
    decides = {"rules": RULES, "axis": entry, **{name: raw[name] for name in shared}}
    return SwapList(
        axis=axis,
        digest=Digest.of(json.dumps(decides, sort_keys=True).encode()),
        swaps={word.lower(): target for word, target in pairs},
        spelling=spelling,
        several_groups=entry["several_groups"],
        before_persons=frozenset(word.lower() for word in entry.get("before_persons", ())),
        by_next_word=by_next,
        closed=frozenset(entry.get("closed", ())),
        singular=frozenset(entry.get("singular", ())),
        refused={word: reason for reason, listed in entry["refused"].items() for word in listed},
        beginnings=shared["beginnings"],
        capitals=shared["capitals"],
        persons=shared["persons"],
        terms=re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE),
    )


def _pairs(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for word, other in entry.get("both_ways", ()):
        yield word, other
        yield other, word
    yield from entry.get("one_way", {}).items()


RULES = "1"  # of this module: raised where the same lists would give other rows
