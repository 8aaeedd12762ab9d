"""Names that people take for one another: the same letters in another case, form or alphabet, with signs that nobody sees.

`folded` gives one text for all of them. It is for comparing alone: what was written is what is kept and shown. Covered are the
letters of the Greek and Cyrillic alphabets that look like Latin ones (after Unicode's list of confusables, UTS 39), and what
Unicode itself calls compatible (NFKC). Letters with different marks are different letters.
"""

import unicodedata

_CYRILLIC = (
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445"
    "\u0456\u0457\u0458\u0455\u0501\u04bb\u051b\u051d\u04cf"
)
_GREEK = "\u03b1\u03b2\u03b5\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03b3"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_QUOTES = "\u2018\u2019\u02bc\u2032"
_LOOK_LIKE = str.maketrans(
    {
        **dict(zip(_CYRILLIC, "abekmhopctyxiijsdhqwl", strict=True)),
        **dict(zip(_GREEK, "abeikvoptuxy", strict=True)),
        **dict.fromkeys(_DASHES, "-"),
        **dict.fromkeys(_QUOTES, "'"),
        "\u0131": "i",  # without its dot
    }
)
_UNSEEN = ("Cf", "Cc")  # format and control characters


def folded(text: str) -> str:
    """The text in which names that look alike are equal: spaces single, none at either end."""
    compatible = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    seen = "".join(letter for letter in compatible if unicodedata.category(letter) not in _UNSEEN or letter.isspace())
    return " ".join(seen.translate(_LOOK_LIKE).split())
