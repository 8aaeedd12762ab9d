"""What people take for the same name is one text when it is folded, and what they tell apart is not."""

import pytest

from peft_registry.schemas.lookalikes import folded


@pytest.mark.parametrize(
    "twin",
    [
        "Ada Lovelace",
        "ADA LOVELACE",
        " ada  lovelace ",
        "ada\u00a0lovelace",
        "ada love\u200blace",
        "\u202eada lovelace",
        "\u0430da lovelac\u0435",  # two Cyrillic letters
        "ad\u03b1 lovelace",  # a Greek one
        "\uff41da lovelace",
        "ada\tlovelace\n",
    ],
)
def test_twins_of_a_name_are_folded_onto_it(twin: str) -> None:
    assert folded(twin) == "ada lovelace"


def test_names_that_people_tell_apart_stay_apart() -> None:
    names = ("ada", "ad", "adam", "a da", "\u00e1da", "\u0430\u0434\u0430", "ada-1", "ada_1", "")
    assert len({folded(name) for name in names}) == len(names)
    assert folded("jean\u2010luc o\u2019neil") == folded("Jean-Luc O'Neil") == "jean-luc o'neil"


def test_what_was_folded_stays_as_it_is() -> None:
    for name in ("\u0130stanbul", "stra\u00dfe", "\u1e9e", "\ufb01n", "\u03a3\u0391\u03a3", "\u0345"):
        assert folded(folded(name)) == folded(name)
