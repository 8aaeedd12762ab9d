"""The page of false accusations and of edited texts that are found, from a kept result. No figure is typed."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from docs.tables import table
from peft_registry.trainer.evaluation.nearness import BEARABLE

HEAD = f"""\
# How near is near

Generated from `docs/measured/nearness.json`, which `python -m docs.measured.nearness DATA` makes of three public sets: requests to
a bank (Banking77), questions of arithmetic (GSM8K) and pairs of sentences (CrowS-Pairs). Each is parted into halves five times; one
half is trained on, and the other one is looked for. [Trained on the test](trained-on-the-test.md) says what the words mean.

What accuses is exact, or within two edits and as long as the set asks for: of different texts of its kind at most {BEARABLE:.2%}
may be accused.

## False accusations

Of a half that nobody trained on, the share that is accused, in each of the five partings. Most of the exact ones are texts that the
set has twice, or as a sentence of another one. *Excess* is by how many standard errors more of the others are near than different
texts of the kind are near each other; beyond 3 it is said.
"""
CURVE = """\
## What the length decides

The share of the same halves that would be accused, over the five partings, if two edits accused from so many words on. In bold
where it is at most 2 %.
"""
FOUND = """\
## What is found

Texts of the other half with words replaced, put in or taken out at random places, trained on beside the first half: the share that
is accused, and in brackets the share that is near at least. What has no edits is found whatever its length. Banking77 asks for 18
to 20 words, as the table above has it, and what is shorter is not accused.
"""

BY_PARTING = """\
Of texts with the most words and two edits, the share that is accused in each parting. A parting in which texts of the kind are more
alike by chance asks for more words, and then finds fewer of the shortest:
"""


def nearness_page(kept: Path) -> str:
    """The page, from what was measured."""
    value = json.loads(kept.read_text("utf-8"))
    sets: list[dict[str, Any]] = value["sets"]
    halves = [_half(one["set"], number, half) for one in sets for number, half in enumerate(one["halves"], start=1)]
    names = ("set", "parting", "accused", "exact", "within two edits", "from words", "near besides", "excess")
    lines = [HEAD, *table(names, halves), "", CURVE]
    lines += table(("set", *(f"{words} words" for words in value["from"])), [_curve(one) for one in sets])
    lines += ["", FOUND]
    classes = [f"{first} to {after - 1} words" for first, after in pairwise(value["lengths"])]
    classes.append(f"{value['lengths'][-1]} words and more")
    rows = [_found(one["set"], edits, partings) for one in sets for edits, partings in one["recall"].items()]
    lines += [*table(("set", "edits", *classes), rows), "", BY_PARTING]
    partings = [f"parting {number}" for number in range(1, len(sets[0]["halves"]) + 1)]
    return "\n".join([*lines, *table(("set", *partings), [_by_parting(one) for one in sets])]) + "\n"


def _half(name: str, number: int, half: dict[str, Any]) -> list[str]:
    texts = half["texts"]
    least = half["two_edits_from"]
    return [
        name,
        str(number),
        f"{half['accused'] / texts:.2%} of {texts}",
        str(half["exact"]),
        str(half["within_two_edits"]),
        "none" if least is None else str(least),
        f"{half['near'] / texts:.1%}",
        f"{half['excess']:.1f}",
    ]


def _curve(one: dict[str, Any]) -> list[str]:
    texts = sum(half["texts"] for half in one["halves"])
    shares = [sum(counts) / texts for counts in zip(*(half["accused_from"] for half in one["halves"]), strict=True)]
    return [one["set"], *(f"**{share:.2%}**" if share <= 0.02 else f"{share:.2%}" for share in shares)]


def _found(name: str, edits: str, partings: Sequence[Sequence[Sequence[int]]]) -> list[str]:
    cells = []
    for of_class in zip(*partings, strict=True):
        texts, accused, near = (sum(counts) for counts in zip(*of_class, strict=True))
        cells.append(f"{accused / texts:.0%} ({near / texts:.0%})" if texts else "no such text")
    return [name, edits, *cells]


def _by_parting(one: dict[str, Any]) -> list[str]:
    longest = [parting[-1] for parting in one["recall"]["2"]]
    return [one["set"], *(f"{accused / texts:.1%}" for texts, accused, _ in longest)]
