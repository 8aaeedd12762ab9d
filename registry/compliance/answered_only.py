"""A record as far as those who may have answered it: what is only proposed is open in it, and a status rests on the rest. Pure."""

from typing import TypeVar

from peft_registry.registry.compliance.assessment import modifier_answers, original_flop
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.proposals import proposals_in, why_open
from peft_registry.registry.compliance.verdicts.modifier import gpai_verdict
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import unknown

Record = TypeVar("Record", bound=RecordSections)


def without_proposals(record: Record) -> Record:
    """The record in which each legal answer that nobody signed is open, with who proposed what; itself where there is none."""
    proposals = proposals_in(record)
    if not proposals:
        return record
    document = record.to_json()
    for leaf in proposals:
        section, key = FieldPath.parse(leaf.path).place_in(document)
        section[key] = unknown(why_open(leaf.value)).to_json()
    answered = type(record).from_json(document)
    if not isinstance(answered, ModificationRecord):
        return answered
    status = gpai_verdict(modifier_answers(answered, original_flop(answered).positive_number))
    return answered.revised(gpai=answered.gpai.revised(verdict=status))
