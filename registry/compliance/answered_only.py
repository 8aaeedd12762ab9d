"""A record as far as those who may have answered it: what is only proposed is open in it, and a status rests on the rest. Pure.

Records of the edition 2026-12 derived status and days from what was proposed, too. For a reader they follow from the rest.
"""

from typing import TypeVar

from peft_registry.registry.compliance.assessment import modifier_answers, original_flop
from peft_registry.registry.compliance.proposals import with_proposals_open
from peft_registry.registry.compliance.retention import with_dates
from peft_registry.registry.compliance.verdicts.modifier import gpai_verdict
from peft_registry.schemas.modification import ModificationRecord, RecordSections

Record = TypeVar("Record", bound=RecordSections)


def without_proposals(record: Record) -> Record:
    """The record in which each legal answer that nobody signed is open, with who proposed what; itself where there is none."""
    answered = with_proposals_open(record)
    if answered is record or not isinstance(answered, ModificationRecord):
        return answered
    status = gpai_verdict(modifier_answers(answered, original_flop(answered).positive_number))
    return answered.revised(
        gpai=answered.gpai.revised(verdict=status), retention=with_dates(answered.retention, answered.gpai)
    )
