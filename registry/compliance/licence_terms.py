"""The terms of a licence that follow from its identifier alone: licence flags. Pure; nothing here reads a licence.

An identifier is one of SPDX or of the Hub, which writes its own in lower case and has some that SPDX does not list (`llama3`). It
says the same in capitals and in small letters: SPDX specification 2.3, annex D.2. What the rules do not list is not known: it is
never a licence without terms.
"""

import re
from collections.abc import Iterable
from functools import cache

from peft_registry.registry.compliance.fields import field_rules
from peft_registry.schemas.codes import code
from peft_registry.schemas.values import Value, derived, unknown

_OPERATORS = ("AND", "OR", "WITH")  # of SPDX expressions
_UNKNOWN = "unknown"  # among flags: there may be others
_LONGEST_QUOTE = 120  # characters of a licence in a reason


def implied_flags(licence: object) -> tuple[str, ...]:
    """The licence flags that follow from an identifier or expression: those of each licence that may be chosen."""
    of_each = [_flags_of(identifier) or frozenset() for identifier in _identifiers(licence)]
    return tuple(sorted(_of_expression(licence, of_each) - {_UNKNOWN}))


def flags_of_licence(licence: Value) -> Value:
    """All flags of a licence that is recorded of something, as they follow from its identifier.

    Unknown, with the reason, unless the rules list every licence of the expression with all of its terms.
    """
    if not licence.known:
        return unknown(licence.reason or code("no_licence_recorded"))
    of_each = [_flags_of(identifier) for identifier in _identifiers(licence.value)]
    listed = [flags for flags in of_each if flags is not None]
    flags = _of_expression(licence.value, listed)
    if not of_each or len(listed) < len(of_each) or _UNKNOWN in flags:
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
    return _of_expression(licence, of_each)


def _identifiers(licence: object) -> list[str]:
    words = re.findall(r"[A-Za-z0-9.+-]+", "" if licence is None else str(licence))
    return [word for word in words if word.upper() not in _OPERATORS]


def _of_expression(licence: object, of_each: Iterable[frozenset[str]]) -> frozenset[str]:
    each = list(of_each)
    if not each:
        return frozenset()
    # with a choice only what every licence has is sure
    is_choice = " OR " in str(licence).upper()
    return frozenset.intersection(*each) if is_choice else frozenset.union(*each)


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
