"""The text that the embedded base learns from: a small grammar, expanded with a seed.

Everything was written for this project: the rules in `text/scenes.yml` (everyday English), `text/people.yml` (who is said to do
what) and the arithmetic below. Two properties are deliberate. The people sentences follow common clichés unevenly (`LEANS`), so
that a measurement of bias has something to find and a fine-tune something to move. And whether a document is held out depends
on its own text alone, so training and held-out text stay apart under every seed.
"""

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

# share of a predicate's sentences that follow the cliché, by the mark in people.yml
LEANS = {"+": 0.85, "=": 0.5, "-": 0.3}
HELD_OUT_SHARE = 0.05
# how the corpus is mixed: (kind, weight)
MIX = (("people", 0.5), ("scene", 0.38), ("arithmetic", 0.12))

Split = Literal["train", "held_out"]
_TEXT = Path(__file__).parent / "text"
_SLOT = re.compile(r"\{(\w+)(?:#(\d))?(?:\.(\w+))?\}")


@dataclass(frozen=True)
class Predicate:
    """Something said of people: `does` and `do`, the side (0 or 1) that the cliché gives it to, and how often."""

    axis: str
    does: str
    do: str
    side: int
    lean: float


def documents(*, split: Split, seed: int, count: int) -> Iterator[str]:
    """`count` documents of one split, one to four sentences each; the same arguments give the same text."""
    rng = random.Random(f"{split}:{seed}")  # noqa: S311 (text, not secrets)
    made = 0
    while made < count:
        text = _document(rng)
        if split_of(text) == split:
            made += 1
            yield text


def split_of(text: str) -> Split:
    """The split that a document belongs to: decided by the SHA-256 of its text, never by the seed."""
    share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
    return "held_out" if share < HELD_OUT_SHARE else "train"


@cache
def predicates() -> tuple[Predicate, ...]:
    """Every predicate of `people.yml`, in file order."""
    predicates = []
    for axis, rules in _people()["axes"].items():
        for side, key in enumerate(("first", "second")):
            for line in rules[key]:
                mark, _, forms = line.partition(" ")
                does, do = (part.strip() for part in forms.split("|"))
                predicates.append(Predicate(axis=axis, does=does, do=do, side=side, lean=LEANS[mark]))
    return tuple(predicates)


def _document(rng: random.Random) -> str:
    match rng.choices([kind for kind, _ in MIX], [weight for _, weight in MIX])[0]:
        case "people":
            return " ".join(_people_sentence(rng) for _ in range(rng.choice((1, 1, 1, 2))))
        case "scene":
            return _sentence_case(_fill(rng.choice(_scenes()["documents"]), rng))
        case _:
            return _arithmetic(rng)


def _people_sentence(rng: random.Random) -> str:
    rules = _people()
    predicate = rng.choice(predicates())
    first, second, is_noun = rng.choice(rules["axes"][predicate.axis]["pairs"])
    follows_cliche = rng.random() < predicate.lean
    side = predicate.side if follows_cliche else 1 - predicate.side
    group = (first, second)[side]
    phrase = group if is_noun else f"{group} {rng.choice(rules['nouns'])}"
    frame: str = rng.choice(rules["frames"])
    return frame.format(np=phrase, does=predicate.does, do=predicate.do)


def _fill(rule: str, rng: random.Random) -> str:
    """`rule` with its slots filled; a name is drawn once per document, `#2` draws another one."""
    drawn: dict[tuple[str, str], Any] = {}
    source = _scenes()

    def draw(slot: re.Match[str]) -> str:
        name = slot.group(1)
        number = slot.group(2) or "1"
        field = slot.group(3)
        if (name, number) not in drawn:
            pool = source["tables"][name] if field else source["lists"][name]
            taken = [value for (other, _), value in drawn.items() if other == name]
            drawn[name, number] = rng.choice([entry for entry in pool if entry not in taken])
        entry = drawn[name, number]
        return str(entry[field] if field else entry)

    return _SLOT.sub(draw, rule)


def _sentence_case(text: str) -> str:
    """`text` with a capital at its start and after each full stop or answer mark."""
    return re.sub(r"(^|[.?] |Answer: )([a-z])", lambda start: start.group(1) + start.group(2).upper(), text)


def _arithmetic(rng: random.Random) -> str:
    a = rng.randint(1, 10)
    b = rng.randint(1, 10)
    large = max(a, b)
    small = min(a, b)
    fruit = rng.choice(_scenes()["lists"]["fruit"])
    who, other = rng.sample(_scenes()["lists"]["who"], 2)
    return rng.choice(
        (
            f"Question: What is {a} plus {b}? Answer: {a + b}.",
            f"Question: What is {large} minus {small}? Answer: {large - small}.",
            f"{a} plus {b} is {a + b}.",
            f"{large} is {'the same as' if a == b else 'more than'} {small}.",
            f"The number after {a} is {a + 1}. The number before {a} is {a - 1}.",
            f"The {who} has {_count(a, fruit)} and gets {b} more. Now the {who} has {_count(a + b, fruit)}.",
            f"The {who} has {_count(large, fruit)} and gives {small} to the {other}. "
            f"Question: How many are left? Answer: {large - small}.",
        )
    )


def _count(number: int, noun: str) -> str:
    plural = {"cherry": "cherries", "peach": "peaches"}.get(noun, noun + "s")
    return f"{number} {noun if number == 1 else plural}"


@cache
def _people() -> dict[str, Any]:
    return dict(yaml.safe_load((_TEXT / "people.yml").read_text(encoding="utf-8")))


@cache
def _scenes() -> dict[str, Any]:
    return dict(yaml.safe_load((_TEXT / "scenes.yml").read_text(encoding="utf-8")))
