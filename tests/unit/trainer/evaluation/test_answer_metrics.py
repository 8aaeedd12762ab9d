"""How right an answer is, against definitions written out anew: macro-F1 by counts, what a row moves by finite differences."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from peft_registry.trainer.evaluation.answer_metrics import exact_match, f1, is_marked, macro_f1_values, number_of

CARD, LOST, PIN = "card", "card lost", "pin"
CASES: dict[str, tuple[list[str], list[str]]] = {
    "some are wrong": ([CARD, CARD, CARD, LOST, LOST, PIN], [CARD, LOST, CARD, LOST, PIN, PIN]),
    "a class of one row, missed": ([CARD, CARD, CARD, PIN], [CARD, CARD, CARD, CARD]),
    "a class that no row has": ([CARD, CARD, LOST], [CARD, PIN, LOST]),
    "one class alone": ([CARD, CARD], [CARD, CARD]),
    "nothing is right": ([CARD, LOST], [LOST, CARD]),
}


def macro_f1(wanted: Sequence[str], chosen: Sequence[str], weights: Sequence[float]) -> float:
    """By precision and recall of each class, each row counted as often as its weight says."""
    scores = []
    for label in dict.fromkeys(wanted):
        rows = list(zip(wanted, chosen, weights, strict=True))
        right = sum(weight for one, answer, weight in rows if one == answer == label)
        asked = sum(weight for one, _, weight in rows if one == label)
        answered = sum(weight for _, answer, weight in rows if answer == label)
        recall = right / asked
        precision = right / answered if answered else 0.0
        scores.append(2 * precision * recall / (precision + recall) if right else 0.0)
    return sum(scores) / len(scores)


@pytest.mark.parametrize("case", CASES)
def test_the_mean_of_the_values_is_macro_f1_and_each_says_what_its_row_moves(case: str) -> None:
    wanted, chosen = CASES[case]
    values = macro_f1_values(wanted, chosen)
    whole = macro_f1(wanted, chosen, [1.0] * len(wanted))
    assert sum(values) / len(values) == pytest.approx(whole, abs=1e-12)
    step = 1e-6
    for row, value in enumerate(values):
        weights = [1 + step * (at == row) for at in range(len(wanted))]
        slope = (macro_f1(wanted, chosen, weights) - whole) / step
        assert value == pytest.approx(whole + len(wanted) * slope, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She has 3 apples and 4 pears, 7 in all.", "7"),
        ("3 + 4 = 7\n#### 7\nand 2 more", "7"),
        ("#### $1,234.50", "1234.5"),
        ("it fell to -5", "-5"),
        ("between 3-5", "5"),
        ("12 of them\n####", "12"),
        ("none", None),
        ("", None),
    ],
)
def test_the_number_of_a_text(text: str, number: str | None) -> None:
    assert number_of(text) == (None if number is None else Decimal(number))


def test_an_answer_ends_behind_its_marked_number() -> None:
    assert not is_marked("3 + 4 = 7\n#### 7")  # 71 may follow
    assert is_marked("3 + 4 = 7\n#### 7\n")
    assert not is_marked("####\n7\n")


def test_an_empty_answer_is_equal_to_an_empty_one_alone() -> None:
    assert (exact_match("", ""), f1("", "")) == (1.0, 1.0)
    assert (exact_match("", "a word"), f1("", "some word"), f1("some word", "")) == (0.0, 0.0, 0.0)
