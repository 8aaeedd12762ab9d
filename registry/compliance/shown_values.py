"""The values of a record as a reader is shown them: each with its unit, and a rule of two cases with the case that holds.

What is signed stays as it is: nothing of this goes into a record. Pure.
"""

from collections.abc import Iterator

from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import Leaf, field_rules, leaves
from peft_registry.registry.compliance.retention import basis_of
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.values import Value


def shown_leaves(record: RecordSections) -> Iterator[Leaf]:
    """Every value of a record as a reader is shown it, in the order of the schema."""
    for leaf in leaves(record):
        value = basis_of(record.retention, record.gpai) if leaf.path == "retention.basis" else leaf.value
        yield Leaf(leaf.path, leaf.rule, with_unit(leaf.path, value))


def with_unit(path: str, value: Value) -> Value:
    """The value with the unit that the form of its field asks for, where somebody stated a number without one."""
    if value.unit is not None or value.source != "declared" or value.number is None:
        return value
    rule = field_rules().by_path().get(FieldPath.parse(path).rule)
    return value if rule is None or rule.unit is None else value.revised(unit=rule.unit)
