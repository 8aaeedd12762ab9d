"""The terms of a licence that follow from its identifier alone: licence flags. Pure; nothing here reads a licence."""

import re

from peft_registry.registry.compliance.fields import field_rules

_OPERATORS = ("AND", "OR", "WITH")  # of SPDX expressions


def implied_flags(licence: object) -> tuple[str, ...]:
    """The licence flags that follow from an SPDX expression: those of each licence that may be chosen; none of another text."""
    identifiers = [word for word in re.findall(r"[A-Za-z0-9.+-]+", str(licence)) if word not in _OPERATORS]
    prefixes = field_rules().licence_terms.prefixes
    of_each = [
        {flag for prefix, flags in prefixes.items() if identifier.startswith(prefix) for flag in flags}
        for identifier in identifiers
    ]
    if not of_each:
        return ()
    # with a choice only what every licence has is sure
    implied = set.intersection(*of_each) if " OR " in str(licence) else set.union(*of_each)
    return tuple(sorted(implied))
