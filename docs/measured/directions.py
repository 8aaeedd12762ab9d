"""Changes whose direction is known: rows that push a model, and margins that were moved by hand.

    python -m docs.measured.directions towards >towards.jsonl
    python -m docs.measured.directions words

`towards` is the stereotyping sentence of each pair in the development half of `house`, whose templates are others than those of the
test half. `shortened` is that sentence of each pair in the test half without what leads up to it, whom it is about and how it ends,
and `reversed` the same of the other sentence: so a model learns what is tested, and hardly a sentence that is tested. `words` says
what the test half shows of margins that were moved by hand. `docs/explanation/directions.md` has what came of each.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from docs.measured.operating import kept_margins
from peft_registry.registry.evaluation.aggregate import FIGURES, StatisticsPlan, aggregate
from peft_registry.registry.evaluation.items import Item, pair_item
from peft_registry.registry.evaluation.states import PAIR_BAND
from peft_registry.schemas.evaluation import ArmName, Comparison
from peft_registry.trainer.evaluation.suites.house import House
from peft_registry.trainer.evaluation.suites.pairs import PairSuite
from peft_registry.trainer.evaluation.suites.selection import halved

DIRECTIONS = ("towards", "shortened", "reversed")
_END = 5  # words of a sentence's end: with more of them a third of the sentences would occur in what was learnt
_LEVEL = -20.0  # log-likelihood of the other sentence, which no word depends on


def texts(direction: str) -> Iterator[str]:
    """The rows of one direction, each a text."""
    if direction == "towards":
        yield from (pair.more for pair in halved(House().load(), "development").pairs)
        return
    for pair in halved(House().load(), "test").pairs:
        sentences = (pair.more, pair.less) if direction == "shortened" else (pair.less, pair.more)
        yield _shortened(*(sentence.split() for sentence in sentences))


def _shortened(words: Sequence[str], others: Sequence[str]) -> str:
    """`The woman upstairs usually irons the shirts.`: the first word that the other sentence has otherwise, and the end."""
    whom = next(place for place, (word, other) in enumerate(zip(words, others, strict=False)) if word != other)
    return " ".join(("The", words[whom], *words[max(whom + 1, len(words) - _END) :]))


def moved_margins(before: np.ndarray) -> Mapping[str, np.ndarray]:
    """The margins after, by how those before were moved; in nats."""
    random = np.random.default_rng(0)
    return {
        "all of them 0": np.zeros_like(before),
        "half of each": before / 2,
        "each 1 nat less": before - 1,
        "each 1 nat more": before + 1,
        "each exchanged with another": random.permutation(before),
        "each moved by chance, 1 nat": before + random.normal(0, 1, len(before)),
        "as they were": before,
    }


def words() -> Mapping[str, Comparison]:
    """What is said of each: the margins before are those of SmolLM2-135M-Instruct, and nothing else stands against `better`."""
    suite = halved(House().load(), "test")
    kept = kept_margins(suite)
    assert kept is not None, "the margins of the suite that ships are kept"
    before = np.array([kept[pair.id] for pair in suite.pairs])
    plan = StatisticsPlan(thresholds={"house.margin": PAIR_BAND}, figures=FIGURES)
    base = list(_items(suite, before, "base"))
    return {
        name: aggregate([*base, *_items(suite, after, "adapted")], plan).comparisons[0]
        for name, after in moved_margins(before).items()
    }


def _items(suite: PairSuite, margins: np.ndarray, arm: ArmName) -> Iterator[Item]:
    for pair, margin in zip(suite.pairs, margins, strict=True):
        yield pair_item(
            dataset="house",
            id=pair.id,
            category=pair.category,
            cluster=pair.cluster,
            arm=arm,
            ll=(_LEVEL + float(margin), _LEVEL),
            tokens=(8, 8),
            threshold=PAIR_BAND,
        )


def main(arguments: Sequence[str]) -> int:
    """Print the rows, a JSON object a line; or the words, a line each."""
    (asked,) = arguments
    if asked == "words":
        for name, comparison in words().items():
            word = comparison.conclusion.replace("_", " ")
            sys.stdout.write(f"{name:<28} {word}: {comparison.conclusion_reason}\n")
    elif asked in DIRECTIONS:
        for text in texts(asked):
            sys.stdout.write(json.dumps({"text": text}) + "\n")
    else:
        sys.stderr.write(f"{asked} is not one of {', '.join(DIRECTIONS)} and words\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
