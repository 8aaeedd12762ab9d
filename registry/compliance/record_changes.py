"""What differs between a modification record and the one that supersedes it, value by value. Pure."""

from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.values import Value


class ValueChange(Frozen):
    """One value that is another in the later record; None where a record has no such place."""

    path: str
    before: Value | None
    after: Value | None


def changes_between(before: RecordSections, after: RecordSections) -> tuple[ValueChange, ...]:
    """Every value that differs, with its source and evidence, in the order of the schema; removed places come last.

    A record of the first form is read as one of the second, so that a field which it did not have does not count as changed.
    """
    earlier = {leaf.path: leaf.value for leaf in leaves(in_third_form(before))}
    later = {leaf.path: leaf.value for leaf in leaves(in_third_form(after))}
    changed = [
        ValueChange(path=path, before=earlier.get(path), after=value)
        for path, value in later.items()
        if earlier.get(path) != value
    ]
    removed = [ValueChange(path=path, before=value, after=None) for path, value in earlier.items() if path not in later]
    return (*changed, *removed)
