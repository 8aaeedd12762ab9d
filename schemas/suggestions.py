"""What a mistyped word may have meant, and the sentence that says so."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, or None where none is (difflib's ratio is below 0.6 for each)."""
    return next(iter(get_close_matches(word, known, n=1)), None)


def misspelt(word: str, known: Collection[str]) -> str | None:
    """The known word that this one is a slip of; None where it is known, or like none (difflib's ratio is below 0.8 for each)."""
    return None if word in known else next(iter(get_close_matches(word, known, n=1, cutoff=0.8)), None)


def did_you_mean(nearest: str | None, otherwise: str) -> str:
    """The question with the nearest known word, or another way to go on where no word is near."""
    return f"did you mean `{nearest}`?" if nearest else otherwise
