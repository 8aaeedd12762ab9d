"""The licence flags of what a record describes: those of its own licence, and those of all that it was made from. Pure."""

from collections.abc import Iterator

from peft_registry.registry.compliance.base_terms import EU_EXCLUSION
from peft_registry.registry.compliance.completeness import is_yes
from peft_registry.registry.compliance.fields import Leaf
from peft_registry.registry.compliance.licence_terms import UNKNOWN_TERMS, flags_with_unknown, implied_flags
from peft_registry.registry.compliance.proposals import lacks_signature, proposed_answer
from peft_registry.schemas.modification import DataUsed, ModificationRecord
from peft_registry.schemas.values import Value

_OWN = "product.licence"
_OF_DATA = "data[].licence"


def licence_flags_of(record: ModificationRecord) -> tuple[str, ...]:
    """All of them, each once."""
    return tuple(dict.fromkeys((*own_licence_flags(record), *inherited_licence_flags(record))))


def own_licence_flags(record: ModificationRecord) -> tuple[str, ...]:
    """Those of the licence of the result itself.

    What is only proposed restricts what it restricts, and nobody who may has said that there is nothing else.
    """
    licence = record.product.licence
    proposed = proposed_answer(Leaf(_OWN, _OWN, licence))
    return flags_with_unknown(licence) if proposed is None else (*implied_flags(proposed), UNKNOWN_TERMS)


def inherited_licence_flags(record: ModificationRecord) -> Iterator[str]:
    """Those of its bases, and of the data of everything that went in.

    A licence of data that was typed restricts what it restricts, and no data owner has said that there is nothing else.
    """
    for used in record.base:
        yield from stated_licence_flags(used.licence_id, used.licence_flags)
    if any(is_yes(terms.eu_exclusion) for terms in record.upstream):
        yield EU_EXCLUSION
    for data in record.data:
        yield from data_licence_flags(data)


def data_licence_flags(data: DataUsed) -> Iterator[str]:
    """Those of the licence of a data file."""
    yield from flags_with_unknown(data.licence)
    if lacks_signature(Leaf(_OF_DATA, _OF_DATA, data.licence)):
        yield UNKNOWN_TERMS


def stated_licence_flags(licence: Value, flags: Value) -> Iterator[str]:
    """The flags that somebody stated, with those that the licence implies; by its name alone, where nobody read it."""
    if isinstance(flags.value, list):
        yield from map(str, flags.value)
        yield from implied_flags(licence.value)
    else:
        yield from flags_with_unknown(licence)
