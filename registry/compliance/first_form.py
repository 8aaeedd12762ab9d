"""What a record of the first form says to its readers. Pure.

When that form was written, a line of a facts file was recorded as an approval or a verdict by anybody. None of those was signed by
the person whose it is: to a reader they are what was stated in the facts of an old record, and the question is open. The signed
document stays as it is.
"""

from typing import TypeVar

from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import Leaf, field_rules, leaves
from peft_registry.schemas.codes import code
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import Value, unknown

Record = TypeVar("Record", bound=RecordSections)

_LONGEST_QUOTE = 120  # characters


def as_read(record: Record) -> Record:
    """A record without approvals, verdicts and holds that nobody signed: each is open, and its reason quotes what was stated.

    A record of the second form is returned as it is: `RecordChecks` compares it with the statements that it names.
    """
    if isinstance(record, ModificationRecord):
        return record
    unsigned = [leaf for leaf in leaves(record) if _is_unsigned_act(leaf)]
    if not unsigned:
        return record
    document = record.to_json()
    for leaf in unsigned:
        holder, key = FieldPath.parse(leaf.path).place_in(document)
        holder[key] = _open(leaf.value).to_json()
    return type(record).from_json(document)


def _is_unsigned_act(leaf: Leaf) -> bool:
    """Whether a value is what only a signature or the log states, and it came from a facts file."""
    rule = field_rules().by_path()[leaf.rule]
    return leaf.value.known and rule.act is not None and (rule.is_signed_by_people or leaf.value.source == "declared")


def _open(value: Value) -> Value:
    text = str(value.value)
    quote = text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"
    by = value.asserted_by or "somebody"
    return unknown(code("stated_in_old_facts", by=by, answer=quote))
