"""How right an answer is: exact match and F1 of words, the number that it comes to, and macro-F1 of chosen classes. Pure.

Texts are compared after folding case, articles, punctuation and spaces, as SQuAD's evaluation does (Rajpurkar et al. 2016). A
number is read as the GSM8K task of lm-evaluation-harness reads it: what stands behind `####`, else the last number of the text.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

# a minus behind a digit is the dash of a range
_NUMBER = re.compile(r"(?:(?<!\d)-)?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_MARK = "####"


def exact_match(answer: str, reference: str) -> float:
    """1.0 if both are the same once folded."""
    return float(_folded(answer) == _folded(reference))


def f1(answer: str, reference: str) -> float:
    """The harmonic mean of precision and recall over folded words."""
    words = _folded(answer).split()
    wanted = _folded(reference).split()
    if not words or not wanted:
        return float(words == wanted)
    both = sum((Counter(words) & Counter(wanted)).values())
    return 2 * both / (len(words) + len(wanted))


def number_match(answer: str, reference: str) -> float:
    """1.0 if both come to the same number; an answer without one is wrong."""
    number = number_of(answer)
    return float(number is not None and number == number_of(reference))


def number_of(text: str) -> Decimal | None:
    """The first number behind the last `####`, else the last number of the text; None where there is none."""
    before, mark, behind = text.rpartition(_MARK)
    numbers = _NUMBER.findall(behind if mark else text)
    if not numbers and mark:
        numbers = _NUMBER.findall(before)[-1:]
    if not numbers:
        return None
    found: str = numbers[0] if mark else numbers[-1]
    return Decimal(found.replace(",", "").replace("$", ""))


def is_marked(text: str) -> bool:
    """Whether the text says its number behind `####` and has ended that line: what comes after it changes nothing."""
    _, mark, behind = text.rpartition(_MARK)
    return bool(mark) and "\n" in behind and bool(_NUMBER.search(behind.partition("\n")[0]))


def macro_f1_values(wanted: Sequence[str], chosen: Sequence[str]) -> list[float]:
    """A value for each row, whose mean is macro-F1: the mean over the classes that rows have of 2·TP / (2·TP + FP + FN).

    Macro-F1 is not a mean over rows, so that a row's own share does not say how much the figure would vary with other rows. The
    value of a row is macro-F1 plus n times what the row moves it by, to first order (its influence): the spread of these values
    gives the interval of the delta method, and their differences between two arms that of the change (Takahashi et al. 2022,
    *Confidence interval for micro-averaged F1 and macro-averaged F1 scores*, https://doi.org/10.1007/s10489-021-02635-5).

    Args:
        wanted: the class of each row; at least one row.
        chosen: the class that was answered. One that no row has lowers the F1 of those that it was taken for, and has none itself.
    """
    sizes = Counter(wanted) + Counter(chosen)  # 2·TP + FP + FN
    right = Counter(label for label, answer in zip(wanted, chosen, strict=True) if label == answer)
    of_class = {label: 2 * right[label] / sizes[label] for label in sorted(set(wanted))}
    macro = sum(of_class.values()) / len(of_class)
    scale = len(wanted) / len(of_class)
    values = []
    for label, answer in zip(wanted, chosen, strict=True):
        moved = 2 / sizes[label] if label == answer else 0.0
        moved -= sum(of_class[name] / sizes[name] for name in (label, answer) if name in of_class)
        values.append(macro + scale * moved)
    return values


def _folded(text: str) -> str:
    plain = "".join(character for character in text.casefold() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())
