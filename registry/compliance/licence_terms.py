"""The terms of a licence that follow from its identifier alone: licence flags. Pure; nothing here reads a licence.

An identifier is one of SPDX or of the Hub, which writes its own in lower case and has some that SPDX does not list (`llama3`). It
says the same in capitals and in small letters: SPDX specification 2.3, annex D.2. What the rules do not list is not known: it is
never a licence without terms.
"""

import re
from collections import deque
from collections.abc import Callable
from functools import cache

from peft_registry.registry.compliance.fields import field_rules
from peft_registry.schemas.codes import code
from peft_registry.schemas.values import Value, derived, unknown

_OPERATORS = ("AND", "OR", "WITH")  # of SPDX expressions
UNKNOWN_TERMS = "unknown"  # among flags: there may be others
_DEEPEST = 50  # brackets in an expression
_LONGEST_QUOTE = 120  # characters of a licence in a reason


def implied_flags(licence: object) -> tuple[str, ...]:
    """The licence flags that follow from an identifier or expression, whichever of the licences is taken that it lets choose."""
    return tuple(sorted(_sure_flags(licence, lambda name: _flags_of(name) or frozenset()) - {UNKNOWN_TERMS}))


def flags_with_unknown(licence: Value) -> tuple[str, ...]:
    """The flags that follow from a recorded licence, with `unknown` among them where it may have terms that do not."""
    if not licence.applies:  # whoever owns what it is of needs none
        return ()
    unknown_terms = () if flags_of_licence(licence).known else (UNKNOWN_TERMS,)
    return (*implied_flags(licence.value), *unknown_terms)


def flags_of_licence(licence: Value) -> Value:
    """All flags of a licence that is recorded of something, as they follow from its identifier.

    Unknown, with the reason, unless the rules list every licence of the expression with all of its terms.
    """
    if not licence.known:
        return unknown(licence.reason or code("no_licence_recorded"))
    of_each = [_flags_of(identifier) for identifier in _identifiers(licence.value)]
    flags = _sure_flags(licence.value, lambda name: _flags_of(name) or frozenset())
    if not of_each or None in of_each or UNKNOWN_TERMS in flags:
        return unknown(code("terms_not_from_name", licence=_quoted(licence.value)))
    return derived(sorted(flags), method=code("terms_from_name", licence=_quoted(licence.value)))


def flags_by_rule_set(licence: object) -> frozenset[str]:
    """The flags that records of this rule set derive from: those of identifiers as SPDX spells them, of the licences that it lists.

    What records derive changes with `rule_set` alone: else a record of before would be called forged.
    """
    prefixes = field_rules().licence_terms.derived_prefixes
    of_each = [
        frozenset(flag for prefix, flags in prefixes.items() if identifier.startswith(prefix) for flag in flags)
        for identifier in _identifiers(licence)
    ]
    if not of_each:
        return frozenset()
    # with a choice only what every licence has is sure; records of before took any `OR` for one over the whole
    is_choice = " OR " in str(licence).upper()
    return frozenset.intersection(*of_each) if is_choice else frozenset.union(*of_each)


def _sure_flags(licence: object, flags_of: Callable[[str], frozenset[str]]) -> frozenset[str]:
    """The flags that nobody avoids: of `OR` those that both sides have, of all else those of every licence (SPDX 2.3, annex D.4).

    `AND` binds closer than `OR`, and brackets closer than both. What is not an expression is read as if all of it held.
    """
    words = re.findall(r"[()]|[A-Za-z0-9.+-]+", "" if licence is None else str(licence))
    if words.count("(") > _DEEPEST:  # nobody writes it, and whoever sends it wants to see the parser fail
        return frozenset[str]().union(*map(flags_of, words))
    tokens = deque(words)
    flags = _choice(tokens, flags_of)
    while tokens:  # a bracket too many, or two licences without a word between them
        if tokens[0] == ")":
            tokens.popleft()
        else:
            flags |= _choice(tokens, flags_of)
    return flags


def _choice(tokens: deque[str], flags_of: Callable[[str], frozenset[str]]) -> frozenset[str]:
    flags = _all_of(tokens, flags_of)
    while tokens and tokens[0].upper() == "OR":
        tokens.popleft()
        flags &= _all_of(tokens, flags_of)
    return flags


def _all_of(tokens: deque[str], flags_of: Callable[[str], frozenset[str]]) -> frozenset[str]:
    flags: frozenset[str] = frozenset()
    while tokens and tokens[0] != ")" and tokens[0].upper() != "OR":
        word = tokens.popleft()
        if word == "(":
            flags |= _choice(tokens, flags_of)
            if tokens:  # the bracket that closes it: nothing else ends a choice
                tokens.popleft()
        elif word.upper() not in _OPERATORS:
            flags |= flags_of(word)
    return flags


def _identifiers(licence: object) -> list[str]:
    words = re.findall(r"[A-Za-z0-9.+-]+", "" if licence is None else str(licence))
    return [word for word in words if word.upper() not in _OPERATORS]


@cache
def _listed() -> dict[str, frozenset[str]]:
    return {name.lower(): frozenset(flags) for name, flags in field_rules().licence_terms.flags.items()}


def _flags_of(identifier: str) -> frozenset[str] | None:
    """The flags of the entries that an identifier is, or begins with where they end in a hyphen; None where none is listed."""
    name = identifier.lower()
    entries = [
        flags for entry, flags in _listed().items() if name == entry or (entry.endswith("-") and name.startswith(entry))
    ]
    return frozenset.union(*entries) if entries else None


def _quoted(licence: object) -> str:
    text = " ".join(str(licence).split())
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"
