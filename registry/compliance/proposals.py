"""What somebody typed and nobody who may answer it signed: a legal answer is a proposal, any other is stated. Pure.

Whoever trains states facts under the key that makes versions, and so does the organisation's profile. What is for legal, a data
owner or the modifier to say is answered under a key whose role may (`AREA_ROLES`), by a signed answer that the value names as its
evidence. Until then it is shown as what it is, and no gate takes it for an answer. A legal answer is a proposal until then: it is
open, and no status rests on it. What is declared of a base speaks of somebody else's documents, and is not meant here.
"""

from typing import TypeVar

from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import Leaf, field_rules, leaves, leaves_of
from peft_registry.registry.compliance.rule_files import by_edition
from peft_registry.registry.compliance.verdicts.rules import shipped_rules
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.values import Value, unknown

Record = TypeVar("Record", bound=RecordSections)

_LONGEST_QUOTE = 120  # characters of a proposal in a reason
_OF_OTHERS = ("base[].", "upstream[].")
_WHO_SIGN = ("legal", "data owner", "modifier")
"""The owners whose answers are signed under another key than the one that makes versions."""


@by_edition
def _legal_fields() -> frozenset[str]:
    rules = field_rules()
    # editions until 2027-01 took the role that the profile claims for answered
    of_organisation = set() if "signed_role" in shipped_rules().reads else set(rules.profile.values())
    return frozenset(
        rule.path
        for rule in rules.fields
        if rule.owner == "legal" and not rule.path.startswith(_OF_OTHERS) and rule.path not in of_organisation
    )


def is_proposal(leaf: Leaf) -> bool:
    """Whether a value is a legal answer that was typed, and that no signed answer stands behind."""
    return leaf.rule in _legal_fields() and _is_unsigned(leaf.value)


def _is_unsigned(value: Value) -> bool:
    return value.is_stated and not value.evidence


def lacks_signature(leaf: Leaf) -> bool:
    """Whether a value is for legal, a data owner or the modifier to say, was typed, and no signed answer stands behind it."""
    rule = field_rules().by_path().get(leaf.rule)
    if rule is None or rule.owner not in _WHO_SIGN or rule.path.startswith(_OF_OTHERS):
        return False
    return _is_unsigned(leaf.value)


def why_open(value: Value) -> Code:
    """Why what is proposed is open all the same."""
    return code("proposed_by", answer=_quoted(value), by=value.asserted_by or "somebody")


def why_asked(leaf: Leaf) -> str:
    """Why an owner is asked what was stated without their signature."""
    owner = field_rules().by_path()[leaf.rule].owner
    by = leaf.value.asserted_by or "somebody"
    return f"stated is {_quoted(leaf.value)}, as typed by {by}; nobody who answers for {owner} has signed it"


def _quoted(value: Value) -> str:
    said = " ".join(str(value.value if value.applies else value.reason).split())
    return said[:_LONGEST_QUOTE]


def proposed_answer(leaf: Leaf) -> str | None:
    """What is proposed as an answer, whether the record has it as a value or, as later editions do, as the reason why it is open.

    A long one is cut. None where nothing is.
    """
    reason = leaf.value.reason
    if is_proposal(leaf):
        reason = why_open(leaf.value)
    if not isinstance(reason, Code) or reason.code != "proposed_by":
        return None
    return str((reason.model_extra or {}).get("answer"))


def proposals_in(record: RecordSections) -> tuple[Leaf, ...]:
    """The proposals of a record, in the order of the schema."""
    return tuple(leaf for leaf in leaves_of(record, _legal_fields()) if _is_unsigned(leaf.value))


def unsigned_in(record: RecordSections) -> tuple[Leaf, ...]:
    """What a record has without the signature of anybody who may answer it, in the order of the schema."""
    return tuple(leaf for leaf in leaves(record) if lacks_signature(leaf))


def with_proposals_open(record: Record) -> Record:
    """The record in which each legal answer that nobody signed is open, with who proposed what; itself where there is none.

    What follows from an answer is not derived anew.
    """
    proposals = proposals_in(record)
    if not proposals:
        return record
    paths = {FieldPath.parse(leaf.path): leaf.value for leaf in proposals}
    document = record.sections_to_json({path.outermost for path in paths})
    for path, value in paths.items():
        section, key = path.place_in(document)
        section[key] = unknown(why_open(value)).to_json()
    return record.revised(**document)
