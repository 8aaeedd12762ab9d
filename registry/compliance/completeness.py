"""How much of a modification record is filled, and who can fill the rest.

Only fields that are required for this record count. A condition that nobody has decided (is it placed on the Union market?)
asks its own question and is listed as undecided: more may be required once it is answered.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import get_args

from peft_registry.registry.compliance.answer_forms import is_blank
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import FieldRule, Leaf, Owner, field_rules, leaves
from peft_registry.registry.compliance.licence_terms import implied_flags
from peft_registry.registry.compliance.proposals import is_proposal, why_open
from peft_registry.registry.compliance.recent import OfRecent
from peft_registry.registry.compliance.rule_files import by_edition
from peft_registry.registry.compliance.used_rows import mixed_roles, unknown_overlaps
from peft_registry.registry.compliance.verdicts.high_risk import is_high
from peft_registry.schemas.codes import code
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.methods import OF_KIND
from peft_registry.schemas.methods.declaration import TrainableMethod
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.report import Gap
from peft_registry.schemas.values import Value

_READ_TOGETHER = 40  # records: who reads many versions counts all of them before the first is shown
PROVIDER_VERDICTS = (
    "provider_of_original_model",
    "own_gpai_candidate",
    "provider_sr",
    "provider_modified",
    "borderline",
)


class Conditions(Frozen):
    """Which conditions hold for a record; `undecided` are questions that nobody has answered, as field paths."""

    met: frozenset[str]
    undecided: tuple[str, ...]


class Completeness(Frozen):
    """Filled of required fields, and the open ones."""

    filled: int
    total: int
    not_applicable: int  # neither filled nor open, and not of the total: there is no answer to give
    open: tuple[Gap, ...]
    undecided: tuple[str, ...]

    @property
    def by_owner(self) -> tuple[tuple[str, int], ...]:
        """Open fields of each owner who has any."""
        counts = Counter(gap.owner for gap in self.open)
        return tuple((owner, counts[owner]) for owner in get_args(Owner) if counts[owner])

    @property
    def sentence(self) -> str:
        """`62 % complete, 23 fields open (modifier 9, data owner 11, legal 3)`; 100 % only where nothing is open."""
        text = f"{100 * self.filled // self.total if self.total else 100} % complete"
        if self.open:
            owners = ", ".join(f"{owner} {count}" for owner, count in self.by_owner)
            text += f", {len(self.open)} {'field' if len(self.open) == 1 else 'fields'} open ({owners})"
        return f"{text}, {self.not_applicable} not applicable" if self.not_applicable else text


class SectionCount(Frozen):
    """Filled and open fields of one section of a record, of those that it has to have."""

    section: str
    filled: int
    required: int
    open: int


def counts_of_sections(record: RecordSections) -> tuple[SectionCount, ...]:
    """The counts of each section that has a required field, in the order of the schema; all data files are one section."""
    filled: Counter[str] = Counter()
    required: Counter[str] = Counter()
    for leaf in own_required_leaves(record):
        path = FieldPath.parse(leaf.path)
        section = path.section or path.field.partition(".")[0]
        required[section] += 1
        filled[section] += is_filled(leaf)
    return tuple(
        SectionCount(section=section, filled=filled[section], required=count, open=count - filled[section])
        for section, count in required.items()
    )


def completeness(record: RecordSections, conditions: Conditions | None = None) -> Completeness:
    """Count the fields that are required under `conditions` (those of the record when not given)."""
    if conditions is None:
        return own_completeness(record)
    return _counted(record, required_leaves(record, conditions), conditions)


def _counted(record: RecordSections, required: tuple[Leaf, ...], conditions: Conditions) -> Completeness:
    gaps = tuple(gap_of(leaf) for leaf in required if not is_filled(leaf))
    return Completeness(
        filled=len(required) - len(gaps),
        total=len(required),
        not_applicable=sum(not leaf.value.applies for leaf in leaves(record)),
        open=gaps,
        undecided=conditions.undecided,
    )


def is_filled(leaf: Leaf) -> bool:
    """Whether a value says something: blank text and empty lists do not, unless the field says that none is an answer; nor does a
    legal answer that is only proposed."""
    if not leaf.value.known or is_proposal(leaf):
        return False
    rule = field_rules().by_path().get(leaf.rule)
    return (rule is not None and rule.none_is_answer) or not is_blank(leaf.value.value)


def required_leaves(record: RecordSections, conditions: Conditions) -> tuple[Leaf, ...]:
    """The values that this record has to have, filled or open; none of which somebody says that it does not apply."""
    rules = field_rules().by_path()
    return tuple(
        leaf
        for leaf in leaves(record)
        if (leaf.value.applies or is_proposal(leaf)) and _is_required(rules[leaf.rule], leaf, record, conditions)
    )


@OfRecent
def _own_conditions(record: RecordSections) -> Conditions:
    return conditions_of(record)


own_required_leaves = OfRecent(lambda record: required_leaves(record, _own_conditions(record)), kept=_READ_TOGETHER)
"""The values that a record has to have under the conditions that its own values meet."""

own_completeness = OfRecent(
    lambda record: _counted(record, own_required_leaves(record), _own_conditions(record)), kept=_READ_TOGETHER
)
"""The count of a record under those conditions."""


def conditions_of(record: RecordSections) -> Conditions:
    """The conditions that the record's own values meet."""
    kind = record.identity.kind.value
    method = OF_KIND.get(str(record.method.kind.value))
    settings = frozenset() if method is None else method.recorded_settings
    in_few_bits = isinstance(method, TrainableMethod) and method.needs_quantized_base
    gpai_answers = [is_yes(base.is_gpai) for base in record.base]
    classified = str(record.high_risk.classification_after.value or "")
    energy_known = record.energy.training_kwh.known
    conditions = {
        "all": True,
        "ft": kind in ("fine_tune", "import"),  # what was imported was trained, elsewhere
        "mg": kind == "merge",
        "im": kind == "import",
        "eu": is_yes(record.gpai.placed_on_eu_market) is True,
        "gp": any(answer is not False for answer in gpai_answers),
        "not_gpai": bool(gpai_answers) and all(answer is False for answer in gpai_answers),
        "pv": record.gpai.verdict.value in PROVIDER_VERDICTS,
        "hr": is_high(classified),
        "annex_iii": classified.startswith("annex_iii") or classified == "art6_3_exempt",
        "integrated": _is_in_a_system(record),
        "sr": _has_systemic_risk(record),
        "non_eu": record.modifier.country.known and record.modifier.country.value not in field_rules().eu_members,
        "not_exempt": not is_exempt(record),
        "adapter": method is not None and method.is_adapter,
        "ranked": "r" in settings,
        "scaled": "alpha" in settings,
        "dropped": "dropout" in settings,
        "targeted": "target_modules" in settings,
        "prompt": "num_virtual_tokens" in settings,
        "quantised": in_few_bits or any(base.quantised_view.known for base in record.base),
        "media": makes_media(record),
        # asked for before the threshold stands in: it does only once an estimate was tried, GL J64
        "fallback": str(record.gpai.threshold_kind.value or "").startswith("fallback")
        or not record.gpai.original_flop.known,
        "predetermined": is_yes(record.high_risk.foreseen_in_initial_assessment) is True,
        "art25": record.high_risk.article25_case.value in ("a", "b", "c", "manufacturer"),
        "metered": energy_known,
        "unmetered": kind in ("fine_tune", "import") and not energy_known,
        "mixed_roles": bool(mixed_roles(record.data)),
        "overlaps": bool(unknown_overlaps(record.data)),
        "synthetic_any": any(data.provenance_class.value == "synthetic_private" for data in record.data),
    }
    return Conditions(met=frozenset(name for name, holds in conditions.items() if holds), undecided=_undecided(record))


def is_yes(value: Value) -> bool | None:
    """True or False where the value answers a question, None where nobody has."""
    if value.value in (True, "yes", "true"):
        return True
    return False if value.value in (False, "no", "false") else None


def makes_media(record: RecordSections) -> bool:
    """Whether the result is recorded to generate images, audio or video."""
    modalities = record.use.modalities.value
    output = modalities.get("output", ()) if isinstance(modalities, dict) else modalities
    return any(word in str(output or "") for word in ("image", "audio", "video"))


@by_edition
def _not_open() -> frozenset[str]:
    """The licence flags with which no model is free and open-source; other restrictions of use may stand, GL J80-84."""
    claim = "gpai.open_source_exemption.licence_ok"
    flags = "base[].licence_flags"
    conflicts = (rule for rule in field_rules().conflicts if (rule.answer, rule.against) == (claim, flags))
    return frozenset(flag for conflict in conflicts for flag in conflict.holds)


def disqualifying_flags(
    record: RecordSections, implied: Callable[[object], Iterable[str]] = implied_flags
) -> tuple[str, ...]:
    """The licence flags of the bases, and those that their licences imply, with which nothing that is made from them is free and
    open-source (GL J83)."""
    listed = [base.licence_flags.value for base in record.base if isinstance(base.licence_flags.value, list)]
    listed += [list(implied(base.licence_id.value)) for base in record.base]
    return tuple(sorted({str(flag) for flags in listed for flag in flags} & _not_open()))


def terms_that_end_openness(licence: object) -> tuple[str, ...]:
    """Of the flags that an SPDX expression implies, those with which nothing is free and open-source."""
    return tuple(flag for flag in implied_flags(licence) if flag in _not_open())


def is_exempt(record: RecordSections) -> bool:
    """Whether every condition of the exemption is stated to hold, and nothing recorded speaks against it (Arts. 53(2), 54(6)).

    It ends Art. 53(1)(a), (b) and Art. 54. The copyright policy and the public summary, (c) and (d), stay.
    """
    stated = record.gpai.open_source_exemption
    conditions = (
        stated.claimed,
        stated.licence_ok,
        stated.no_monetisation,
        stated.weights_public,
        stated.architecture_public,
        stated.usage_public,
    )
    if not all(is_yes(condition) for condition in conditions) or _may_have_systemic_risk(record):
        return False
    own = record.product.licence.value if isinstance(record, ModificationRecord) else None
    return not disqualifying_flags(record) and not terms_that_end_openness(own)


def _is_in_a_system(record: RecordSections) -> bool:
    """Whether a system is named, or classified: then it has a name."""
    classified = (record.high_risk.classification_before.value, record.high_risk.classification_after.value)
    return record.high_risk.system_ref.known or any(text not in (None, "no_system") for text in classified)


def _has_systemic_risk(record: RecordSections) -> bool:
    stated = any(is_yes(base.has_systemic_risk) is True for base in record.base)
    return stated or record.gpai.verdict.value == "provider_sr"


def _may_have_systemic_risk(record: RecordSections) -> bool:
    """Whether Art. 53(2), last sentence, may end the exemption: stated, presumed by cumulative compute, or not answered."""
    answers = [is_yes(base.has_systemic_risk) for base in record.base if is_yes(base.is_gpai) is not False]
    presumed = record.gpai.sr_flag.value == "cumulative_over_1e25"
    return _has_systemic_risk(record) or presumed or None in answers


def _undecided(record: RecordSections) -> tuple[str, ...]:
    questions = (
        ("gpai.placed_on_eu_market", record.gpai.placed_on_eu_market),
        ("gpai.verdict", record.gpai.verdict),
        ("high_risk.classification_after", record.high_risk.classification_after),
    )
    return tuple(path for path, value in questions if not value.known)


def _is_required(rule: FieldRule, leaf: Leaf, record: RecordSections, conditions: Conditions) -> bool:
    met = conditions.met
    of_data = _conditions_of_data(leaf, record)
    if of_data:
        met = met | of_data
    return any(met.issuperset(alternative) for alternative in rule.alternatives)


def _conditions_of_data(leaf: Leaf, record: RecordSections) -> frozenset[str]:
    """Conditions that hold for one data file only."""
    # most fields are of none, and are told from the others by less than a pattern
    if not leaf.path.startswith("data["):
        return frozenset()
    item = FieldPath.parse(leaf.path).item
    if item is None or item[0] != "data":
        return frozenset()
    data = record.data[item[1]]
    origin = str(data.provenance_class.value or "")
    conditions = {
        "ft": True,  # data that were inherited were trained on as well
        "personal": is_yes(data.personal_data) is True,
        "special": is_yes(data.special_categories) is True,
        "synthetic": origin.startswith("synthetic"),
        "crawl": origin == "web_crawl",
    }
    return frozenset(name for name, holds in conditions.items() if holds)


@dataclass(frozen=True, slots=True)
class NotRequired:
    """Why a record need not have a value.

    Attributes:
        conditions: that do not hold, of which one would have to; none where the field is never asked for.
        waits_for: the open values that decide whether it is asked for; none where it is decided.
    """

    conditions: tuple[str, ...] = ()
    waits_for: tuple[Leaf, ...] = ()


class RequiredValues:
    """Which values a record has to have under the conditions that its own values meet, and why it need not have the others."""

    def __init__(self, record: RecordSections) -> None:
        self._record = record
        self._met = _own_conditions(record).met
        self.paths = frozenset(leaf.path for leaf in own_required_leaves(record))
        self.by_rule: dict[str, list[Leaf]] = {}
        for leaf in leaves(record):
            self.by_rule.setdefault(leaf.rule, []).append(leaf)

    def why_not_required(self, leaf: Leaf) -> NotRequired:
        """Of a value that applies and is not among the required ones."""
        met = self._met | _conditions_of_data(leaf, self._record)
        conditions: dict[str, None] = {}
        waits_for: dict[str, Leaf] = {}
        for alternative in field_rules().by_path()[leaf.rule].alternatives:
            deciding = {name: self._deciding(name, leaf) for name in sorted(alternative - met)}
            if all(deciding.values()):
                waits_for |= {question.path: question for questions in deciding.values() for question in questions}
            conditions |= dict.fromkeys(name for name, questions in deciding.items() if not questions)
        return NotRequired(() if waits_for else tuple(conditions), tuple(waits_for.values()))

    def _deciding(self, condition: str, leaf: Leaf) -> list[Leaf]:
        """The open values that decide whether a condition holds for a value; none where it is decided that it does not."""
        item = FieldPath.parse(leaf.path).item
        questions: dict[str, Leaf] = {}
        for rule in field_rules().conditions[condition].decided_by:
            for other in self.by_rule.get(rule, ()):
                # what is asked of a data file is decided by that file
                is_of_another = leaf.rule.startswith("data[]") and FieldPath.parse(other.path).item not in (None, item)
                if other.value.settled or is_of_another:
                    continue
                if other.path in self.paths:
                    questions[other.path] = other
                else:
                    questions |= {first.path: first for first in self.why_not_required(other).waits_for}
        return list(questions.values())


def gap_of(leaf: Leaf) -> Gap:
    """What an open field asks for, of whom, and why it is open."""
    rule = field_rules().by_path()[leaf.rule]
    reason = why_open(leaf.value) if is_proposal(leaf) else leaf.value.reason or code("recorded_is_empty")
    return Gap(field=leaf.path, owner=rule.owner, reason=reason, answers=rule.answers, label=rule.label)
