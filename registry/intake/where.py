"""Text of `--where` and `--sort` → a typed question about versions (`schemas/facets.py`). Pure: looks nothing up.

    method=lora,ia3 rank<=8 base=smollm2 metric[house.pct_stereotype]<0.5 registered>=2026-05-01 licence!=non_commercial

The grammar is `where.lark`; what a facet may be compared with says its type. Whatever is wrong is refused in one sentence with its
place. Words are ASCII, so that no letter of another alphabet looks like the one that is meant; a person and a licence may be any
text between quotation marks.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Literal

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from peft_registry.schemas.base_model import LICENCE_FLAGS
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.facets import (
    METRIC,
    OF_HELD_OUT_ROWS,
    RULES,
    Condition,
    FacetRule,
    Order,
    Range,
    Span,
    VersionQuery,
    Words,
)
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.suggestions import closest, did_you_mean, misspelt
from peft_registry.schemas.values import timestamp

LONGEST = 4096  # characters; nobody types more, and each condition costs a look-up a row
MOST_VALUES = 32  # of all conditions together
SHOWN = 32  # columns of what was typed, to either side of the place that cannot be read
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_METRIC_NAME = re.compile(r"\[[A-Za-z0-9][A-Za-z0-9._/-]{0,150}\]")
_FREE_TEXT = ("signer", "licence")  # what people write: a person's name, the name of a licence
_JOINING = ("and", "or", "not", "AND", "OR", "NOT", "&", "&&", "|", "||")


class QueryMalformed(InputRefused):
    what = "invalid filter at character {position}"
    why = "{reason}{in_what}"
    fix = "{suggestion}"

    position: int  # from 1
    reason: str
    nearest: str | None = None
    text: str = ""  # that was typed

    @property
    def suggestion(self) -> str:
        return did_you_mean(self.nearest, "`registry list --facets` shows each facet with its operators and an example")

    @property
    def in_what(self) -> str:
        return f", in {self.around[0]}" if self.text else ""

    @property
    def separate_reasons(self) -> tuple[str, ...]:
        """The reason, and below it what was typed around the place, with a mark under the place."""
        if not self.text:
            return ()
        typed, column = self.around
        return (self.reason, typed, f"{' ' * column}^")

    @property
    def around(self) -> tuple[str, int]:
        """What was typed around the place, in ASCII and cut, and the column of the place in it, from 0."""
        place = self.position - 1
        # of a long text only what stands near the place is looked at
        before = _shown(reversed(self.text[max(0, place - SHOWN) : place]))
        after = _shown(self.text[place : place + SHOWN])
        start = ("..." if len(before) < place else "") + "".join(reversed(before))
        end = "".join(after) + ("..." if place + len(after) < len(self.text) else "")
        return f"{start}{end}", len(start)


def _shown(characters: Iterable[str]) -> list[str]:
    """As many of the characters as fit; each as it is typed in ASCII, so that a mark can stand under it."""
    shown: list[str] = []
    width = 0
    for character in characters:
        typed = character if " " <= character <= "~" else character.encode("unicode_escape").decode("ascii")
        width += len(typed)
        if width > SHOWN:
            break
        shown.append(typed)
    return shown


@contextmanager
def _telling(text: str) -> Iterator[None]:
    """Whatever cannot be read is told with the text in which it stands."""
    try:
        yield
    except QueryMalformed as error:
        raise QueryMalformed(error.position, error.reason, error.nearest, text) from error


@dataclass(frozen=True, slots=True)
class _Value:
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class _Part:
    """One condition as it was written."""

    rule: FacetRule
    facet: str  # with its name in brackets
    position: int
    operator: str
    values: tuple[_Value, ...]


def read_query(where: str = "", sort: str | None = None) -> VersionQuery:
    """The question that both options ask; with neither, every version by name and number.

    Raises:
        QueryMalformed: the text is not one, a facet is not known, or the conditions contradict each other.
    """
    return VersionQuery(read_conditions(where), read_order(sort))


def with_prefix(query: VersionQuery, prefix: str | None) -> VersionQuery:
    """The question about names that begin so alone; the same question for None."""
    if prefix is None:
        return query
    return replace(query, conditions=(*query.conditions, Words("name", (f"{prefix}*",))))


def read_conditions(where: str) -> tuple[Condition, ...]:
    """The conditions of `--where`, in the order in which they are written; none of an empty text.

    Raises:
        QueryMalformed: as `read_query`.
    """
    with _telling(where):
        return _conditions(where)


def read_order(sort: str | None) -> Order:
    """The order that `--sort` asks for: a facet, with a minus sign before it the other way round.

    Raises:
        QueryMalformed: the facet is not known, or versions have no order by it.
    """
    if sort is None:
        return Order()
    name = sort.removeprefix("-")
    place = len(sort) - len(name) + 1
    facet, bracket, rest = name.partition("[")
    with _telling(sort):
        rule = _rule(facet, bracket + rest, place)
        if rule.type not in ("number", "time") and rule.name != "name":
            reason = f"versions have no order by {rule.name}: only by name, registered and numbers"
            raise QueryMalformed(place, reason, "name")
    return Order(name, descending=sort.startswith("-"))


def read_facet(name: str) -> str:
    """A facet as it is named for a column.

    Raises:
        QueryMalformed: it is not known.
    """
    facet, bracket, rest = name.partition("[")
    with _telling(name):
        _rule(facet, bracket + rest, 1)
    return name


def _conditions(where: str) -> tuple[Condition, ...]:
    if len(where) > LONGEST:
        raise QueryMalformed(LONGEST + 1, f"it has {len(where)} characters, and {LONGEST} are the most")
    for position, character in enumerate(where, start=1):
        if not character.isprintable() and character not in "\t\n":
            raise QueryMalformed(position, f"{character!a} is a character that does not show")
    if not where.strip():
        return ()
    parts = [_part(tree) for tree in _parsed(where).find_pred(lambda tree: tree.data == "condition")]
    parts.sort(key=lambda part: part.position)
    last = parts[-1]
    if sum(len(part.values) for part in parts) > MOST_VALUES:
        raise QueryMalformed(last.position, f"there are more than {MOST_VALUES} values")
    conditions = []
    for number, part in enumerate(parts):
        _require_new(part, parts[:number])
        conditions.append(_condition(part))
    _require_possible(parts, conditions)
    return tuple(conditions)


@cache
def _parser() -> Lark:
    return Lark(files(__package__).joinpath("where.lark").read_text("utf-8"), parser="lalr", lexer="contextual")


def _parsed(where: str) -> Tree[Token]:
    try:
        return _parser().parse(where)
    except UnexpectedInput as error:
        raise _refusal(where, error) from error


def _refusal(where: str, error: UnexpectedInput) -> QueryMalformed:
    """What is wrong where the grammar ends, in words."""
    if isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        return QueryMalformed(len(where) + 1, "it ends where an operator or a value is needed")
    place = (error.pos_in_stream or 0) + 1
    character = where[place - 1]
    if character == '"' and isinstance(error, UnexpectedCharacters):
        return QueryMalformed(place, "the quotation mark has no partner, or stands where no value is")
    if isinstance(error, UnexpectedToken) and f"{error.token}" not in ",<=>=!=":
        word = where[: place - 1].rsplit(maxsplit=1)[-1] if where[: place - 1].split() else f"{error.token}"
        joins = next((text for text in (word, f"{error.token}") if text in _JOINING), None)
        if joins is not None:
            return QueryMalformed(
                place, f"{joins!r} joins nothing: conditions stand beside each other, and all have to hold"
            )
        return QueryMalformed(place, f"an operator (= != < <= > >=) is needed before {str(error.token)[:40]!r}")
    return QueryMalformed(place, f"{character!r} has no meaning there")


def _part(tree: Tree[Token]) -> _Part:
    tokens = [child for child in tree.children if isinstance(child, Token)]
    name = next(token for token in tokens if token.type == "FACET")
    brackets = next((str(token) for token in tokens if token.type == "NAME_IN_BRACKETS"), "")
    operator = next(token for token in tokens if token.type == "OPERATOR")
    place = (name.start_pos or 0) + 1
    rule = _rule(str(name), brackets, place)
    if operator not in rule.operators:
        allowed = " ".join(rule.operators)
        raise QueryMalformed(
            (operator.start_pos or 0) + 1, f"{rule.name} is a {rule.type}, and is compared with {allowed} alone"
        )
    values = tuple(_value(rule, str(operator), child.children[0]) for child in tree.children if isinstance(child, Tree))
    if len(values) > 1 and operator not in ("=", "!="):
        raise QueryMalformed(values[1].position, f"{operator} is compared with one value")
    return _Part(rule, f"{name}{brackets}", place, str(operator), values)


def _rule(name: str, brackets: str, place: int) -> FacetRule:
    rule = RULES.get(name)
    if rule is None:
        if name in _JOINING:
            raise QueryMalformed(
                place, f"{name!r} joins nothing: conditions stand beside each other, and all have to hold"
            )
        near = closest(name, (*RULES, *OF_HELD_OUT_ROWS))
        raise QueryMalformed(place, f"there is no facet {name[:40]!a}", OF_HELD_OUT_ROWS.get(str(near), near))
    if name == METRIC and not _METRIC_NAME.fullmatch(brackets):
        raise QueryMalformed(place, "metric needs a data set and a figure of it in brackets", RULES[METRIC].example)
    if name != METRIC and brackets:
        raise QueryMalformed(place, f"{name} takes nothing in brackets", name)
    return rule


def _value(rule: FacetRule, operator: str, token: Token | Tree[Token]) -> _Value:
    assert isinstance(token, Token)
    is_quoted = token.type == "QUOTED"
    text = re.sub(r"\\(.)", r"\1", str(token)[1:-1]) if is_quoted else str(token)
    place = (token.start_pos or 0) + 1
    if not text.strip():
        raise QueryMalformed(place, f"{rule.name} is compared with nothing")
    if not text.isascii() and not (is_quoted and rule.name in _FREE_TEXT):
        odd = next(character for character in text if not character.isascii())
        named = unicodedata.name(odd, "a character without a name")
        raise QueryMalformed(place, f"{odd!a} ({named}) is not an ASCII character", _like(rule, operator, text))
    if rule.name == "licence":
        text = " ".join(unicodedata.normalize("NFC", text).lower().split())  # as it is kept
    return _Value(unicodedata.normalize("NFC", text), place)


def _like(rule: FacetRule, operator: str, text: str) -> str | None:
    """The condition that was probably meant, with the operator as it was typed: another would ask the opposite."""
    nearest = closest(text, rule.known)
    return None if nearest is None else f"{rule.name}{operator}{nearest}"


def _condition(part: _Part) -> Condition:
    if part.rule.type == "number":
        return _range(part)
    if part.rule.type == "time":
        return _span(part)
    for value in part.values:
        _require_word(part, value)
    return Words(part.facet, tuple(value.text for value in part.values), excluded=part.operator == "!=")


def _require_word(part: _Part, value: _Value) -> None:
    rule = part.rule
    if rule.known and value.text not in rule.known:
        raise QueryMalformed(
            value.position,
            f"{rule.name} is {', '.join(rule.known)}, and never {value.text[:40]!r}",
            _like(rule, part.operator, value.text),
        )
    if rule.name == "licence":
        _require_spelt_flag(part, value)
    if rule.name == "data":
        try:
            Digest.parse(value.text)
        except MalformedDigest as error:
            raise QueryMalformed(value.position, f"{value.text[:80]!r} is not a digest: {error.why}") from error
    if rule.name != "name" and "*" in value.text:
        raise QueryMalformed(value.position, f"a star has no meaning in {rule.name}: only names have endings")
    if rule.name == "name" and "*" in value.text[:-1]:
        raise QueryMalformed(value.position, "a star stands at the end of a name alone")


def _require_spelt_flag(part: _Part, value: _Value) -> None:
    """Licences have any name, but one that looks like a flag is a misspelt flag: `licence!=` it would leave out nothing."""
    nearest = misspelt(value.text, LICENCE_FLAGS)
    if nearest is not None:
        reason = f"there is no licence flag {value.text[:40]!r}"
        raise QueryMalformed(value.position, reason, f"licence{part.operator}{nearest}")


def _range(part: _Part) -> Range:
    if len(part.values) > 1:
        raise QueryMalformed(part.values[1].position, f"{part.rule.name} is compared with one number")
    value = part.values[0]
    if not _NUMBER.fullmatch(value.text):
        raise QueryMalformed(value.position, f"{value.text[:40]!r} is not a number")
    number = float(value.text)
    if abs(number) == float("inf"):
        raise QueryMalformed(value.position, f"{value.text[:40]!r} is larger than any number here")
    match part.operator:
        case "<" | "<=":
            return Range(part.facet, high=number, includes_high=part.operator == "<=")
        case ">" | ">=":
            return Range(part.facet, low=number, includes_low=part.operator == ">=")
        case _:
            return Range(part.facet, low=number, high=number, excluded=part.operator == "!=")


def _span(part: _Part) -> Span:
    if len(part.values) > 1:
        raise QueryMalformed(part.values[1].position, f"{part.rule.name} is compared with one time")
    start, end = _moments(part.values[0])
    match part.operator:
        case "<":
            return Span(part.facet, end=start)
        case "<=":
            return Span(part.facet, end=end)
        case ">":
            return Span(part.facet, start=end)
        case ">=":
            return Span(part.facet, start=start)
        case _:
            return Span(part.facet, start, end)


def _moments(value: _Value) -> tuple[str, str]:
    """The first moment of a day or a second, and the first one after it."""
    form: Literal["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]
    if _DAY.fullmatch(value.text):
        form = "%Y-%m-%d"
        step = timedelta(days=1)
    elif _MOMENT.fullmatch(value.text):
        form = "%Y-%m-%dT%H:%M:%SZ"
        step = timedelta(seconds=1)
    else:
        raise QueryMalformed(
            value.position, f"{value.text[:40]!r} is not a day (2026-05-01) or a time (2026-05-01T12:00:00Z)"
        )
    try:
        moment = datetime.strptime(value.text, form)
        return timestamp(moment), timestamp(moment + step)
    except (ValueError, OverflowError) as error:
        raise QueryMalformed(value.position, f"there is no such time as {value.text}") from error


def _require_new(part: _Part, before: Sequence[_Part]) -> None:
    """Raise where a condition was said already, or asks another value of what has one alone."""
    for earlier in before:
        if (earlier.facet, earlier.operator) != (part.facet, part.operator):
            continue
        words = {value.text for value in part.values} & {value.text for value in earlier.values}
        if words or part.rule.type in ("number", "time") or not (part.rule.several or part.operator == "!="):
            raise QueryMalformed(part.position, f"{part.facet} is compared by {part.operator} twice")


def _require_possible(parts: Sequence[_Part], conditions: Sequence[Condition]) -> None:
    """Raise where no version can meet all conditions."""
    for number, part in enumerate(parts):
        reason = next(_contradictions(conditions[number], conditions[:number]), None)
        if reason is not None:
            raise QueryMalformed(part.position, f"no version can meet both conditions about {part.facet}: {reason}")


def _contradictions(condition: Condition, before: Sequence[Condition]) -> Iterator[str]:
    for earlier in before:
        if earlier.facet != condition.facet:
            continue
        match earlier, condition:
            case Words(), Words() if earlier.excluded != condition.excluded:
                asked, left_out = (condition, earlier) if earlier.excluded else (earlier, condition)
                if set(asked.words) <= set(left_out.words):
                    yield f"{', '.join(asked.words)} is asked for and left out"
            case Range(), Range() if not (earlier.excluded and condition.excluded):
                if _is_empty(earlier, condition):
                    yield "no number lies between them"
            case Span(), Span():
                if max(earlier.start or "", condition.start or "") >= min(earlier.end or "~", condition.end or "~"):
                    yield "no time lies between them"
            case _:
                pass


def _is_empty(first: Range, second: Range) -> bool:
    if first.excluded or second.excluded:
        # only a single number can be left out, and contradicts nothing but the same one asked for
        return (first.low, first.high) == (second.low, second.high)
    lows = [(range_.low, range_.includes_low) for range_ in (first, second) if range_.low is not None]
    highs = [(range_.high, range_.includes_high) for range_ in (first, second) if range_.high is not None]
    return any(
        low > high or (low == high and not (low_counts and high_counts))
        for low, low_counts in lows
        for high, high_counts in highs
    )
