"""A record as far as those who may have answered it: what is only proposed is open in it, and a status rests on the rest. Pure.

Records of earlier editions derived status and days from what was proposed, too: those of 2026-12 from all of it, those of 2027-01
from the role that the modifier claims. For a reader they follow from the rest.
"""

from typing import TypeVar

from peft_registry.registry.compliance.assessment import modifier_answers, original_flop, same_provider_of
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.proposals import with_proposals_open
from peft_registry.registry.compliance.retention import with_dates
from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.compliance.verdicts.modifier import gpai_verdict
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import unknown

Record = TypeVar("Record", bound=RecordSections)
DECIDED_BESIDE = "not answered in the record; by a signed decision"
"""How the reason of a field begins that a person has decided beside the record."""
_CHANGE = "gpai.qualitative_change"
_DECIDED: dict[str, tuple[str, ...]] = {
    "purpose": ("high_risk.intended_purpose_changed",),
    "qualitative-change": (f"{_CHANGE}.generality", f"{_CHANGE}.capabilities", f"{_CHANGE}.systemic_risk"),
}
"""The fields that ask what persons also decide by a statement of their own, by its question (`schemas/acts.py`)."""


def without_proposals(record: Record) -> Record:
    """The record in which each legal answer that nobody signed is open, with who proposed what; itself where there is none."""
    answered = with_proposals_open(record)
    if answered is record or not isinstance(answered, ModificationRecord):
        return answered
    answered = answered.revised(gpai=answered.gpai.revised(same_provider=same_provider_of(answered)))
    status = gpai_verdict(modifier_answers(answered, original_flop(answered).positive_number))
    return answered.revised(
        gpai=answered.gpai.revised(verdict=status), retention=with_dates(answered.retention, answered.gpai)
    )


def with_decisions(record: Record, decided: Decided) -> Record:
    """The record in which what a person decided is not said to be answered by nobody; itself where there is nothing of that.

    A decision is for a policy and for the record that the person looked at: it fills no field, and the field says who decided it.
    """
    reasons = {}
    for text in (*decided.of_model, *decided.of_system):
        for path in _DECIDED.get(text.partition(":")[0], ()):
            reasons[path] = f"{DECIDED_BESIDE}, {text}"
    values = {leaf.path: leaf.value for leaf in leaves(record)}
    told = {path: reason for path, reason in reasons.items() if path in values and not values[path].known}
    if not told:
        return record
    places = {FieldPath.parse(path): reason for path, reason in told.items()}
    document = record.sections_to_json({place.outermost for place in places})
    for place, reason in places.items():
        section, key = place.place_in(document)
        section[key] = unknown(reason).to_json()
    return record.revised(**document)
