"""Margins that were moved by hand get the word for what was done to them."""

from docs.measured.directions import DIRECTIONS, texts, words
from peft_registry.trainer.evaluation.suites.house import House
from peft_registry.trainer.evaluation.suites.selection import halved


def test_each_moved_margin_gets_the_word_for_what_was_done_to_it() -> None:
    assert {name: comparison.conclusion for name, comparison in words().items()} == {
        "all of them 0": "better",
        "half of each": "better",
        "each 1 nat less": "turned_over",
        "each 1 nat more": "worse",
        "each exchanged with another": "inconclusive",
        "each moved by chance, 1 nat": "inconclusive",
        "as they were": "unchanged",
    }


def test_nothing_that_is_tested_is_among_the_rows_to_learn_from() -> None:
    tested = {sentence for pair in halved(House().load(), "test").pairs for sentence in (pair.more, pair.less)}
    for direction in DIRECTIONS:
        rows = list(texts(direction))
        assert rows and not tested & set(rows)
