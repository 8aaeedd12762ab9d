"""Margins that were moved by hand get the word for what was done to them."""

import pytest

from docs.measured.directions import DIRECTIONS, main, texts, words
from peft_registry.trainer.evaluation.leakage import check_leakage, known_training
from peft_registry.trainer.evaluation.suites.house import House
from peft_registry.trainer.evaluation.suites.selection import halved
from peft_registry.trainer.evaluation.text_hashes import hash_texts
from tests.processes.interpreter import ROOT


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


def test_the_page_prints_what_the_words_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["words"]) == 0
    assert capsys.readouterr().out in (ROOT / "docs" / "explanation" / "directions.md").read_text("utf-8")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_hardly_an_item_that_is_tested_occurs_in_the_rows_to_learn_from(direction: str) -> None:
    """It would be left out; of more than a tenth nothing would be concluded at all."""
    check = check_leakage(known_training("rows", hash_texts(texts(direction))), [halved(House().load(), "test")], [])
    (suite,) = check.datasets
    assert suite.hits <= 0.02 * suite.items and suite.unchecked == 0
