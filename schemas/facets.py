"""What versions are asked for by: the facets with their types, and a question over them as a value. Pure.

A facet is one thing that is known of a version: a word of it (its method, the flags of its licences), a digest, a number or a time.
Which words and numbers a version has is read from what was signed about it (`registry/records/facets.py`).
"""

from dataclasses import dataclass
from typing import Literal

FacetType = Literal["name", "word", "digest", "number", "time"]
Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Kept = Literal["row", "words", "numbers", "aliases"]
"""Where the values of a facet are: the version itself, a table of words, a table of numbers, or the aliases."""

OPERATORS: dict[FacetType, tuple[Operator, ...]] = {
    "name": ("=", "!="),
    "word": ("=", "!="),
    "digest": ("=", "!="),
    "number": ("=", "!=", "<", "<=", ">", ">="),
    "time": ("=", "<", "<=", ">", ">="),
}
METRIC = "metric"  # the facet with a name in brackets: metric[house.pct_stereotype]
# the data sets of what a training asks of rows held out of it
HELD_OUT_CLASSES = "held-out-classes"
HELD_OUT_ANSWERS = "held-out-answers"  # in words
HELD_OUT_NUMBERS = "held-out-numbers"  # the numbers in those answers
OF_HELD_OUT_ROWS = {
    "loss": f"{METRIC}[held-out.loss]",
    "accuracy": f"{METRIC}[{HELD_OUT_CLASSES}.accuracy]",
    "number_match": f"{METRIC}[{HELD_OUT_NUMBERS}.number_match]",
    "exact_match": f"{METRIC}[{HELD_OUT_ANSWERS}.exact_match]",
}
"""The figures that a training measures on rows held out of it, by the word that people have for each, with its facet."""
LONGEST_WORD = 200  # characters of a word that is kept: what somebody declares as a licence may be a text


@dataclass(frozen=True, slots=True)
class FacetRule:
    """A facet by name: its type, an example, what it says, where it is, whether a version may have several values of it."""

    name: str
    type: FacetType
    example: str
    says: str
    kept: Kept = "words"
    several: bool = False
    known: tuple[str, ...] = ()  # its only values; none where it may have others
    is_of_today: bool = (
        False  # what it is is found out where it is shown, and rows only choose versions that may have it
    )

    @property
    def operators(self) -> tuple[Operator, ...]:
        """What may stand between it and a value."""
        return OPERATORS[self.type]


FACETS: tuple[FacetRule, ...] = (
    FacetRule("name", "name", "name=polite*", "name of the version; a star at its end stands for any ending", "row"),
    FacetRule("kind", "word", "kind=adapter", "what it is", known=("base", "adapter", "model", "bundle")),
    FacetRule("project", "word", "project=support-bot", "what it was made for, as its training file or command says"),
    FacetRule("method", "word", "method=lora,ia3", "how it was trained"),
    FacetRule("origin", "word", "origin=imported", "where it was made", known=("made", "imported")),
    FacetRule(
        "base", "digest", "base=smollm2", "its base: a version of a base, or the digest of its manifest or weights"
    ),
    FacetRule("data", "digest", "data=sha256:…", "a data file that it was trained on, by digest", several=True),
    FacetRule("rank", "number", "rank<=8", "rank of a low-rank method", "numbers"),
    FacetRule("parameters", "number", "parameters<1e6", "parameters that were trained", "numbers"),
    FacetRule("size", "number", "size<=100e6", "bytes of its files", "numbers"),
    FacetRule(
        METRIC,
        "number",
        "metric[house.pct_stereotype]<0.5",
        "a figure of its newest evaluation, as data set.metric",
        "numbers",
    ),
    FacetRule(
        "licence",
        "word",
        "licence!=non_commercial",
        "own licence and those of what went in, and what they say",
        several=True,
    ),
    FacetRule(
        "verdict",
        "word",
        "verdict=provider_25_1_c",
        "what both tables of `registry record verdict` come to, with what persons decided",
        several=True,
        is_of_today=True,
    ),
    FacetRule(
        "limits",
        "word",
        "limits=held",
        "whether the limits of its newest evaluation held",
        known=("held", "broken", "undecided"),
    ),
    FacetRule(
        "quality",
        "word",
        "quality=lost",
        "whether its evaluations show something that it became worse at, beyond its limit",
        known=("kept", "lost"),
    ),
    FacetRule("signer", "word", "signer=lab-1", "who registered it: a person of the trust file, or the id of a key"),
    FacetRule("alias", "word", "alias=champion", "an alias that points at it now", "aliases", several=True),
    FacetRule(
        "gate",
        "word",
        "gate=closed",
        "how it stands today before the policy of an alias that points at it",
        "aliases",
        several=True,
        known=("open", "closed", "none"),
        is_of_today=True,
    ),
    FacetRule(
        "recalled",
        "word",
        "recalled=yes",
        "whether it, or anything that it was made from, is recalled today",
        known=("yes", "no"),
        is_of_today=True,
    ),
    FacetRule("registered", "time", "registered>=2026-05-01", "when it was registered (UTC)", "row"),
)
RULES = {rule.name: rule for rule in FACETS}
OF_TODAY = frozenset(rule.name for rule in FACETS if rule.is_of_today)
UNSETTLED = "unsettled"
"""A facet of no question: names the facets of which a version has more words among its rows than it may have today."""


def rule_of(facet: str) -> FacetRule:
    """What is known of a facet that a question may name, with the name in brackets that some have.

    Raises:
        KeyError: no question may.
    """
    return RULES[facet.partition("[")[0]]


@dataclass(frozen=True, slots=True)
class Facet:
    """What one version is found by: a word, or a finite number."""

    name: str
    value: str | float


@dataclass(frozen=True, slots=True)
class Words:
    """One of these words, or with `excluded` none of them. A word that ends in a star stands for all that begin so (names only)."""

    facet: str
    words: tuple[str, ...]
    excluded: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """A number between two bounds; None where there is none. With `excluded` any number but those between."""

    facet: str
    low: float | None = None
    high: float | None = None
    includes_low: bool = True
    includes_high: bool = True
    excluded: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """A time from `start` on and before `end`, RFC 3339; None where there is no bound."""

    facet: str
    start: str | None = None
    end: str | None = None


Condition = Words | Range | Span


@dataclass(frozen=True, slots=True)
class Order:
    """By which facet versions are listed: `name`, `registered`, or one that is a number. Equal ones come by name and number."""

    facet: str = "name"
    descending: bool = False

    @property
    def text(self) -> str:
        """As it is written in an option."""
        return f"-{self.facet}" if self.descending else self.facet


@dataclass(frozen=True, slots=True)
class VersionQuery:
    """Which versions, all conditions together, and in which order."""

    conditions: tuple[Condition, ...] = ()
    order: Order = Order()
