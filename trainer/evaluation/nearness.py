"""How near a text is to what a model was trained on, as a score: exact, within two edits, near.

A text occurs exactly where it does as a whole, letters alone, with its clauses or two neighbouring sentences in whatever order, or
where all its runs do and it has at least 18 words, so that it lies verbatim in a longer text. It is within two edits where at least
four of its runs of five words occur and two edits explain the others: a word that is replaced, put in or taken out breaks at most
five runs in a row. Every text of 18 words that was changed in two places is found so. It is near where half of its runs occur.

Texts that were never copied can look so too, where many of one kind are alike: requests to a bank share most of their words. So two
edits accuse only texts of as many words as keeps false accusations below `BEARABLE` among the different texts of that kind
(`Alikeness`); for a set of short texts that are alike this is none, and exact ones alone accuse.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
WORDS = 5  # of a run
SHARE = 0.5  # of a text's runs that make it near
EDITS = 2
LEAST_RUNS = 4  # that must occur before edits explain the rest
VERBATIM_RUNS = 14  # in a row, which 18 words have: fewer words are said again by chance
# share of the texts of a kind that may be accused falsely: below the 2 % that are promised, because rows that a data set has twice
# come on top
BEARABLE = 0.0125
KEY_SHIFT = 64 - (8 * 5 - 3)  # from 64 bits to the lowest eighth of what a hash of 40 bits can be


@dataclass(frozen=True, slots=True)
class Marks:
    """What a text is looked for by among hashes of one form.

    Attributes:
        words: how many it has.
        runs: hashes of its runs of words.
        identity: 64 bits of the whole text, letters alone; None in forms that have no keys, and of a text without letters.
        parts: keys that all occur where the whole does in another order: of its clauses, or of each two neighbouring sentences.
        sentences: keys by which others find one sentence of it; nothing is looked for by them.
    """

    words: int
    runs: tuple[int, ...]
    identity: int | None = None
    parts: tuple[int, ...] = ()
    sentences: tuple[int, ...] = ()

    @property
    def wanted(self) -> tuple[int, ...]:
        """The hashes that are looked for: its runs, then its keys, that of the whole first."""
        return self.runs if self.identity is None else (*self.runs, self.identity >> KEY_SHIFT, *self.parts)

    @property
    def kept(self) -> set[int]:
        """All hashes that are kept of it."""
        return {*self.wanted, *self.sentences}


@dataclass(frozen=True, slots=True)
class Nearness:
    """How near one text is; `is_looked_for` is false where none of its hashes could be, and nothing is known then."""

    words: int
    is_looked_for: bool = True
    is_exact: bool = False
    is_within_two_edits: bool = False
    is_near: bool = False

    def __or__(self, other: "Nearness") -> "Nearness":
        """The nearer of the two, by each measure: of the same text to two trainings."""
        return Nearness(
            self.words,
            self.is_looked_for or other.is_looked_for,
            self.is_exact or other.is_exact,
            self.is_within_two_edits or other.is_within_two_edits,
            self.is_near or other.is_near,
        )


@dataclass(frozen=True, slots=True)
class Alikeness:
    """How alike the different texts of a data set are: what a text of the same kind is near to, though it was never among them.

    Attributes:
        rows: texts that were looked for among the others.
        exact: those that occur exactly in another one, as a sentence of it does.
        near: those that are near another one.
        two_edits: of those that do not, the ones that seem to be within two edits of another one: (words, texts), by the number
            of their words.
    """

    rows: int = 0
    exact: int = 0
    near: int = 0
    two_edits: tuple[tuple[int, int], ...] = ()

    @property
    def accuses_from(self) -> int | None:
        """The fewest words from which on two edits, and exact texts, accuse at most `BEARABLE` of the texts falsely.

        None where not even the longest that seem to be near another one can be accused: nothing is known then of longer ones.
        """
        fewest = LEAST_RUNS + WORDS - 1
        accused = self.exact
        shortest: int | None = None
        for words, texts in sorted(self.two_edits, reverse=True):
            accused += texts
            if accused > BEARABLE * self.rows:
                return None if shortest is None else max(fewest, words + 1)
            shortest = words
        return None if accused > BEARABLE * self.rows else fewest

    @property
    def near_share(self) -> float:
        return self.near / self.rows if self.rows else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "exact": self.exact,
            "near": self.near,
            "rows": self.rows,
            "two_edits": [list(entry) for entry in self.two_edits],
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:  # any JSON value
        """The same again.

        Raises:
            ValueError: the value has another shape.
        """
        if not isinstance(value, Mapping) or value.keys() != {"exact", "near", "rows", "two_edits"}:
            raise ValueError("it has other keys")
        table = value["two_edits"]
        if not isinstance(table, list) or not all(isinstance(entry, list) and len(entry) == 2 for entry in table):
            raise ValueError("its table is not one of pairs")
        counts = [value["exact"], value["near"], value["rows"], *(number for entry in table for number in entry)]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("it holds what is not a count")
        return cls(value["rows"], value["exact"], value["near"], tuple((words, texts) for words, texts in table))


def is_accused(nearness: Nearness, alike: Alikeness | None) -> bool:
    """Whether a text was trained on: it is exact, or within two edits and as long as `alike`, of its kind, asks for."""
    least = None if alike is None else alike.accuses_from
    return nearness.is_exact or (nearness.is_within_two_edits and least is not None and nearness.words >= least)


def nearness_of(
    texts: Sequence[Marks], has: Callable[[Hashes], npt.NDArray[np.bool_]], *, below: int
) -> list[Nearness]:
    """How near each text is to the one whose hashes `has` knows, all of them that are below a bound."""
    flat = np.asarray([value for marks in texts for value in marks.wanted], dtype=np.uint64)
    occurs = has(flat)
    known = occurs | (flat < below)
    found: list[Nearness] = []
    start = 0
    for marks in texts:
        stop = start + len(marks.wanted)
        found.append(_nearness(marks, occurs[start:stop].tolist(), known[start:stop].tolist()))
        start = stop
    return found


def alikeness_of(texts: Sequence[Marks], groups: Sequence[Hashable]) -> Alikeness:
    """How alike texts of different groups are; texts of one group, as the two sentences of a pair, are not compared."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    of_text = [numbers[group] for group in groups]
    kept = [marks.kept for marks in texts]
    hashes = np.asarray([value for of_one in kept for value in of_one], dtype=np.uint64)
    owners = np.repeat(np.asarray(of_text, dtype=np.uint64), [len(of_one) for of_one in kept])
    values, places = np.unique(hashes, return_inverse=True)
    # each pair of a hash and a group once: hashes that are left more than once are those of several groups
    pairs = np.unique(places.astype(np.uint64) * np.uint64(max(1, len(numbers))) + owners)
    in_groups = np.bincount((pairs // np.uint64(max(1, len(numbers)))).astype(np.int64), minlength=len(values))
    repeated = values[in_groups > 1]
    return alikeness_among(texts, lambda wanted: among(wanted, repeated), below=1 << 64)


def alikeness_among(texts: Sequence[Marks], has: Callable[[Hashes], npt.NDArray[np.bool_]], *, below: int) -> Alikeness:
    """How many of some texts are near what others have; `has` knows the hashes that several have."""
    counts: dict[int, int] = {}
    found = nearness_of(texts, has, below=below)
    for nearness in found:
        if nearness.is_within_two_edits and not nearness.is_exact:
            counts[nearness.words] = counts.get(nearness.words, 0) + 1
    return Alikeness(
        rows=len(texts),
        exact=sum(nearness.is_exact for nearness in found),
        near=sum(nearness.is_near for nearness in found),
        two_edits=tuple(sorted(counts.items())),
    )


def among(wanted: Hashes, kept: Hashes) -> npt.NDArray[np.bool_]:
    """Whether each value is among sorted ones."""
    if not len(kept):
        return np.zeros(len(wanted), dtype=np.bool_)
    places = np.minimum(np.searchsorted(kept, wanted), len(kept) - 1)
    matches: npt.NDArray[np.bool_] = kept[places] == wanted
    return matches


def _nearness(marks: Marks, occurs: Sequence[bool], known: Sequence[bool]) -> Nearness:
    if not any(known):
        return Nearness(marks.words, is_looked_for=False)
    if not any(occurs):
        return Nearness(marks.words)
    count = len(marks.runs)
    runs = [occurs[place] for place in range(count) if known[place]]
    hits = sum(runs)
    keys = occurs[count:]
    # forms without keys know of a text only that all of its runs are somewhere
    is_exact = hits == len(runs) and (hits >= VERBATIM_RUNS or marks.identity is None)
    is_exact = is_exact or (len(keys) > 0 and (keys[0] or (len(keys) > 1 and all(keys[1:]))))
    return Nearness(
        marks.words,
        is_exact=is_exact,
        is_within_two_edits=hits >= LEAST_RUNS and _edits_of(occurs, known, count) <= EDITS,
        is_near=is_exact or (hits > 0 and hits >= SHARE * len(runs)),
    )


def _edits_of(occurs: Sequence[bool], known: Sequence[bool], count: int) -> int:
    """The fewest edits that explain the runs that do not occur, each a run's length of them in a row."""
    edits = 0
    explained = 0
    for place in range(count):
        if place >= explained and known[place] and not occurs[place]:
            edits += 1
            explained = place + WORDS
    return edits
