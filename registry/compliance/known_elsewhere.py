"""What a record leaves open and is known elsewhere: in the organisation's profile, and in what is recorded of its bases. Pure."""

from dataclasses import dataclass

from peft_registry.registry.compliance.base_facts import facts_by_path
from peft_registry.registry.compliance.base_terms import eu_exclusion_of, licence_flags_of
from peft_registry.registry.compliance.declared import problem_of_value, sound_facts
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import Leaf, field_rules, leaves
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.schemas.base_model import DeclaredFacts
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.values import Value

_EXCLUSION = "upstream[].eu_exclusion"
_FLAGS = "base[].licence_flags"


def known_of_organisation(record: RecordSections, profile: OrganisationProfile) -> dict[str, Value]:
    """What a record leaves open and the organisation's profile answers, by path."""
    return _open_of(record, {path: getattr(profile, key) for key, path in field_rules().profile.items()})


def known_of_base(record: RecordSections, position: int, facts: DeclaredFacts, role: str | None) -> dict[str, Value]:
    """What a record leaves open of one of its bases and is declared of that, by path.

    What is recorded of a base since the record was made answers only where the role of whoever signed that may: registering a base
    takes the key of a trainer, and most of what is declared of one is for somebody else to say.

    Args:
        record: of either form.
        position: of the base in it.
        facts: what is declared about the base now.
        role: of the key that signed that; None where the trust file does not list it.
    """
    sound = sound_facts(facts)
    # the exclusion of the Union is a flag, and has a field of its own
    own_forms = {_FLAGS: licence_flags_of(sound), _EXCLUSION: eu_exclusion_of(sound)}
    terms = record.upstream if isinstance(record, ModificationRecord) else ()
    name = record.base[position].name.value
    rules = field_rules().by_path()
    known = {}
    for rule, key in facts_by_path().items():
        fact = getattr(sound, key)
        if not rules[rule].is_answered_by(role) or (rule == _EXCLUSION and not fact.settled):
            continue
        value = own_forms.get(rule, fact)
        path = FieldPath.parse(rule)
        if path.section == "base":
            known[str(path.at(position))] = value
        else:
            known |= {str(path.at(place)): value for place, term in enumerate(terms) if term.name.value == name}
    return _open_of(record, known)


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A value that a record has from elsewhere: its path, and the statements about a base that hold it; none of the profile's."""

    path: str
    value: Value
    statements: tuple[Digest, ...]


def taken_over_elsewhere(record: ModificationRecord, before: RecordSections) -> tuple[TakenOver, ...]:
    """What a record has from elsewhere that the one which it supersedes has not; nothing of what people answered."""
    earlier = {leaf.path: leaf.value for leaf in leaves(in_third_form(before))}
    elsewhere = {*field_rules().profile.values(), *facts_by_path()}
    answered = set(record.correction.answers)
    return tuple(
        TakenOver(leaf.path, leaf.value, leaf.value.evidence)
        for leaf in leaves(record)
        if leaf.rule in elsewhere
        and (leaf.value.is_stated or leaf.value.source == "imported")
        and leaf.value != earlier.get(leaf.path)
        and answered.isdisjoint(leaf.value.evidence)
    )


def _open_of(record: RecordSections, known: dict[str, Value]) -> dict[str, Value]:
    """Those of the known values that a record leaves open, and that have the form of their field."""
    is_open = {leaf.path for leaf in leaves(record) if not leaf.value.settled or is_replaced(leaf)}
    by_path = field_rules().by_path()
    return {
        path: value
        for path, value in known.items()
        if path in is_open and value.settled and problem_of_value(value, by_path[FieldPath.parse(path).rule]) is None
    }


def is_replaced(leaf: Leaf) -> bool:
    """Whether what is declared of a base takes the place of a value: of an exclusion that only followed from its flags."""
    return leaf.rule == _EXCLUSION and leaf.value.source == "derived"
