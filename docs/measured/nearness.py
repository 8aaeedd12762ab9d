"""How many texts are accused of having been trained on that never were, and how many that were edited are found.

`python -m docs.measured.nearness DATA > docs/measured/nearness.json`, where DATA is the folder of public benchmark files that
PEFT_REGISTRY_TEST_DATA names; half a minute on one core. Each set is parted into halves, five times: one is trained on, the other
one asked. Nothing is random but the halves and the edits, which follow from the seeds.
"""

import csv
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.evaluation.leakage import excess_of
from peft_registry.schemas.evaluation import NearTexts
from peft_registry.trainer.evaluation.leakage import known_training
from peft_registry.trainer.evaluation.nearness import Alikeness, Nearness, alikeness_of, is_accused
from peft_registry.trainer.evaluation.text_hashes import TextHashes, hash_texts, marks_of, words_of

SEEDS = range(5)
EDITS = (0, 1, 2, 3, 4)
LENGTHS = (1, 8, 12, 18)  # words from which on each class is
FROM = (8, 10, 12, 14, 16, 18, 20, 22, 24, 28)  # words from which on two edits would accuse
PLANTED = 200  # texts of a class that are edited and trained on


@dataclass(frozen=True, slots=True)
class TextSet:
    """Texts of one kind in groups, as the two sentences of a pair; a half never parts a group.

    `is_suite`: how alike its texts are is known from those that are asked, and else from those that are trained on.
    """

    name: str
    groups: tuple[tuple[str, ...], ...]
    is_suite: bool = False

    def halves(self, seed: int) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
        groups = list(self.groups)
        random.Random(seed).shuffle(groups)  # noqa: S311  seeded on purpose
        return groups[: len(groups) // 2], groups[len(groups) // 2 :]


def text_sets(data: Path) -> Iterator[TextSet]:
    """The requests to a bank, the questions of arithmetic, and the pairs of sentences, as their authors publish them."""
    with (data / "tasks/banking77-train.csv").open(encoding="utf-8", newline="") as file:
        yield TextSet("Banking77", tuple((row["text"],) for row in csv.DictReader(file)))
    lines = (data / "tasks/gsm8k-train.jsonl").read_text("utf-8").splitlines()
    yield TextSet("GSM8K", tuple((json.loads(line)["question"],) for line in lines))
    with (data / "bias/crows-pairs/crows_pairs.csv").open(encoding="utf-8", newline="") as file:
        yield TextSet("CrowS-Pairs", tuple((row["sent_more"], row["sent_less"]) for row in csv.DictReader(file)), True)


@dataclass(frozen=True, slots=True)
class TrainedHalf:
    """One half of a set that was trained on, and the other one that is asked."""

    texts: TextSet
    seed: int
    trained: tuple[str, ...]
    asked: tuple[str, ...]
    hashes: TextHashes
    alike: Alikeness

    @classmethod
    def of(cls, texts: TextSet, seed: int) -> "TrainedHalf":
        trained, asked = texts.halves(seed)
        hashes = hash_texts(_flat(trained))
        groups = [number for number, group in enumerate(asked) for _ in group]
        alike = alikeness_of([marks_of(text) for text in _flat(asked)], groups) if texts.is_suite else hashes.alike
        assert alike is not None
        return cls(texts, seed, tuple(_flat(trained)), tuple(_flat(asked)), hashes, alike)

    def accusations(self) -> dict[str, Any]:
        """What is said of the half that nobody trained on."""
        found = known_training("run", self.hashes).look_for(self.asked)
        rest = [nearness for nearness in found if not is_accused(nearness, self.alike)]
        exact = sum(nearness.is_exact for nearness in found)
        near = NearTexts(
            texts=len(found),
            exact=exact,
            within_two_edits=len(found) - len(rest) - exact,
            two_edits_from=self.alike.accuses_from,
            near=sum(nearness.is_near for nearness in rest),
            groups=len(found) // len(self.texts.groups[0]),
            reference_texts=self.alike.rows,
            reference_near=self.alike.near,
        )
        return near.to_json() | {
            "accused": len(found) - len(rest),
            "accused_from": [sum(_would_accuse(nearness, words) for nearness in found) for words in FROM],
            "excess": excess_of(near),
        }

    def recall(self, edits: int) -> list[list[int]]:
        """Of each class of lengths the texts that were edited and trained on, those that are accused, and those that are near."""
        chance = random.Random(1000 * self.seed + edits)  # noqa: S311  seeded on purpose
        vocabulary = words_of(" ".join(self.trained))
        counts = []
        for at, shortest in enumerate(LENGTHS):
            longest = LENGTHS[at + 1] if at + 1 < len(LENGTHS) else sys.maxsize
            planted = [text for text in self.asked if shortest <= len(words_of(text)) < longest]
            planted = chance.sample(planted, min(PLANTED, len(planted)))
            edited = hash_texts(edit(text, edits, chance, vocabulary) for text in planted)
            found = (known_training("half", self.hashes) + known_training("edited", edited)).look_for(planted)
            accused = sum(is_accused(nearness, self.alike) for nearness in found)
            counts.append([len(found), accused, sum(nearness.is_near for nearness in found)])
        return counts


def edit(text: str, edits: int, chance: random.Random, vocabulary: Sequence[str]) -> str:
    """A text with so many of its words replaced, followed by another one, or taken out."""
    if not edits:
        return text
    words = text.split()
    for place in sorted(chance.sample(range(len(words)), min(edits, len(words))), reverse=True):
        other = chance.choice(vocabulary)
        words[place : place + 1] = chance.choice(([other], [words[place], other], []))
    return " ".join(words)


def measured(data: Path) -> Iterator[dict[str, Any]]:
    for texts in text_sets(data):
        lengths = [len(words_of(text)) for text in _flat(texts.groups)]
        halves = [TrainedHalf.of(texts, seed) for seed in SEEDS]
        yield {
            "set": texts.name,
            "texts": len(lengths),
            "long": sum(words >= LENGTHS[-1] for words in lengths),
            "halves": [half.accusations() for half in halves],
            "recall": {str(edits): [half.recall(edits) for half in halves] for edits in EDITS},
        }


def _would_accuse(nearness: Nearness, words: int) -> bool:
    return nearness.is_exact or (nearness.is_within_two_edits and nearness.words >= words)


def _flat(groups: Sequence[tuple[str, ...]]) -> list[str]:
    return [text for group in groups for text in group]


def main(arguments: Sequence[str]) -> int:
    results: list[Mapping[str, Any]] = list(measured(Path(arguments[0])))
    sys.stdout.write(json.dumps({"from": FROM, "lengths": LENGTHS, "sets": results}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
