"""Both verdicts about one modification record, by a set of rules: what decided, why, what is missing, and what is said beside it.

A verdict is a pure function of a record and of rules. It is computed wherever it is shown, so that it can be told again under other
rules.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from peft_registry.registry.compliance.assessment import compute_at_least, modifier_answers, original_flop
from peft_registry.registry.compliance.completeness import PROVIDER_VERDICTS, is_exempt, is_yes
from peft_registry.registry.compliance.fields import Leaf, field_rules
from peft_registry.registry.compliance.proposals import lacks_signature
from peft_registry.registry.compliance.verdicts.decision import NOBODY, Decided, Decision, with_decision
from peft_registry.registry.compliance.verdicts.high_risk import (
    ARTICLES,
    AffectedArticles,
    HighRiskAnswers,
    decide_high_risk,
)
from peft_registry.registry.compliance.verdicts.modifier import ANSWERED_IN, ModifierAnswers, decide_modifier
from peft_registry.registry.compliance.verdicts.rules import Row, TableName, Thresholds, VerdictRules, shipped_rules
from peft_registry.registry.compliance.verdicts.words import status_words
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import Value

UNDETERMINED = "undetermined"
_PURPOSE = "use.intended"
# "no idea" and "no one looked" begin with the word and say something else: behind a "no" stands nothing, or punctuation
_STATED_EFFECT = re.compile(r"\s*(yes\b|no(?=\s*\Z|[ \t]*\n|[ \t]*[:.,;!(–—]|[ \t]+-\s))", re.IGNORECASE)
_KNOWS_THE_SYSTEM = {"deployer": False}
"""Roles that say whether the modifier is the provider of the system; the others are about the model."""


class Verdict(Frozen):
    """What one table comes to. `inputs` is the SHA-256 of the canonical JSON of the answers that it read."""

    table: TableName
    row: str | None
    status: str
    clause: str | None
    source: str | None
    applies_since: str | None  # a sentence with the day of application
    action: str | None
    reasons: tuple[str, ...]
    missing: tuple[str, ...]
    inputs: Digest

    @property
    def text(self) -> str:
        """The status in words, with its code, row and clause behind them; or that it is open."""
        if self.row is None:
            return f"{self.words} ({self.status})"
        return f"{status_words(self.status)} ({self.status}: {self.row}, {self.clause})"

    @property
    def words(self) -> str:
        """The status in words alone."""
        if self.row is not None:
            return status_words(self.status)
        return (
            "open, 1 answer is missing" if len(self.missing) == 1 else f"open, {len(self.missing)} answers are missing"
        )

    @property
    def open_questions(self) -> Iterator[str]:
        """What is missing, each with the field that answers it; the table of systems names its fields itself."""
        for question in self.missing:
            field = ANSWERED_IN.get(question)
            yield question if field is None else f"{question} ({field})"


class RaisedFlag(Frozen):
    """Something that is said beside a status."""

    flag: str
    name: str
    clause: str
    effect: str
    because: str

    @property
    def title(self) -> str:
        """Its name in words, with its code and clause."""
        return f"{self.name.replace('_', ' ').capitalize()} ({self.flag}, {self.clause})"

    @property
    def text(self) -> str:
        """Name, reason and effect in a line."""
        return f"{self.title}: {self.because}. {self.effect}"


class RecordVerdicts(Frozen):
    """Both verdicts, which are never mixed, and the flags. `notice` has to stand wherever they are shown."""

    gpai_modifier: Verdict
    high_risk: Verdict
    flags: tuple[RaisedFlag, ...]
    rules: str
    law_as_of: str
    notice: str

    @property
    def both(self) -> tuple[Verdict, Verdict]:
        """The two, in the order in which they are shown."""
        return self.gpai_modifier, self.high_risk


def verdicts_of(
    record: ModificationRecord,
    rules: VerdictRules | None = None,
    decided: Decided = NOBODY,
    *,
    today: date | None = None,
) -> RecordVerdicts:
    """Both verdicts about a record and what persons decided of it, by these rules or by the shipped ones.

    `today` is the day on which it is told which rules apply; None: only from when on they do.
    """
    rules = rules or shipped_rules()
    answers = _Answers.of(record, decided)
    gpai, high_risk = answers.both(rules, decided, today)
    return RecordVerdicts(
        gpai_modifier=gpai,
        high_risk=high_risk,
        flags=tuple(_flags(record, answers, gpai, rules, today)),
        rules=rules.version,
        law_as_of=rules.law_as_of,
        notice=notice_of(rules),
    )


def notice_of(rules: VerdictRules) -> str:
    """What stands wherever a verdict by these rules is shown: whatever a file of rules says of itself, it gives no legal advice."""
    shipped = shipped_rules().notice
    notices = dict.fromkeys((shipped, rules.notice))
    return f"{' '.join(notices)} Rule set {rules.version}, law as of {rules.law_as_of}."


def verdicts_by_each(
    record: ModificationRecord, rule_sets: Iterable[VerdictRules], decided: Decided = NOBODY
) -> Iterator[tuple[Verdict, Verdict]]:
    """Both verdicts by each of these rules, as `verdicts_of`: what a record answers is the same under all of them."""
    answers = _Answers.of(record, decided)
    return (answers.both(rules, decided) for rules in rule_sets)


@dataclass(frozen=True, slots=True)
class _Answers:
    """What both tables read of a record, whatever the rules, and the digests that name it."""

    modifier: ModifierAnswers
    system: HighRiskAnswers
    modifier_digest: Digest
    system_digest: Digest
    placed: date | None  # the model, on the Union market

    @classmethod
    def of(cls, record: ModificationRecord, decided: Decided) -> "_Answers":
        recorded = modifier_answers(record, original_flop(record).positive_number)
        significant = with_decision(recorded.is_significant, decided.qualitative_change)
        modifier = recorded.revised(is_significant=significant)
        system = high_risk_answers(record, decided)
        placed = _day(record.gpai.placing_date.value)
        return cls(modifier, system, _digest_of(modifier), _digest_of(system), placed)

    def both(self, rules: VerdictRules, decided: Decided, today: date | None = None) -> tuple[Verdict, Verdict]:
        """The verdict about the model, and that about the system."""
        modifier = decide_modifier(self.modifier, rules.limits)
        system = decide_high_risk(self.system)
        return (
            _verdict(
                "gpai_modifier",
                modifier,
                self.modifier_digest,
                rules,
                decided=decided.of_model,
                days=lambda row: _days_of_model(row, self.placed, today),
            ),
            _verdict(
                "high_risk",
                system,
                self.system_digest,
                rules,
                decided=decided.of_system,
                days=lambda row: _days_of_system(row, self.system, today),
            ),
        )


def high_risk_verdict(record: RecordSections, rules: VerdictRules | None = None, decided: Decided = NOBODY) -> Verdict:
    """The verdict about the system, which a record of either form answers for, and what persons decided of it."""
    answers = high_risk_answers(record, decided)
    decision = decide_high_risk(answers)
    return _verdict(
        "high_risk",
        decision,
        _digest_of(answers),
        rules or shipped_rules(),
        decided=decided.of_system,
        days=lambda row: _days_of_system(row, answers, None),
    )


def _days_of_model(row: Row, placed: date | None, today: date | None) -> str | None:
    """Since when the rules of a row apply to a model that was placed on a day, and those that fine who breaks them."""
    if row.applies is None:
        return None
    fields = field_rules()
    applies = fields.application(row.applies)
    if row.applies == "gpai" and placed is not None and placed < applies.since:
        applies = fields.application("gpai_legacy")
    sentence = applies.sentence_on(today)
    if row.status not in PROVIDER_VERDICTS:
        return sentence
    return f"{sentence}; {fields.application('gpai_fines').sentence_on(today)}"


def _days_of_system(row: Row, system: HighRiskAnswers, today: date | None) -> str | None:
    """Since when the rules of a row apply to a system: those for products come later than those for uses."""
    return None if row.applies is None else field_rules().application(_rules_of(row, system)).sentence_on(today)


def _rules_of(row: Row, system: HighRiskAnswers) -> str:
    classification = system.after if system.is_high else system.before
    return "annex_i" if classification == "annex_i" else str(row.applies)


def _digest_of(answers: ModifierAnswers | HighRiskAnswers) -> Digest:
    return canonical_digest(answers.model_dump(mode="json"))


def high_risk_answers(record: RecordSections, decided: Decided = NOBODY) -> HighRiskAnswers:
    """What a record answers of the questions of the high-risk table, and persons decided."""
    stated = record.high_risk
    role = record.modifier.role_claimed.value
    return HighRiskAnswers(
        is_in_system=_is_in_system(record),
        before=_text(stated.classification_before),
        after=_text(stated.classification_after),
        has_own_name=is_yes(record.identity.name_or_trademark_on_result),
        # a role that the modifier claims under a signature is not decided otherwise
        is_deployer=role == "deployer",
        is_system_provider=_KNOWS_THE_SYSTEM.get(str(role), decided.system_provider),
        is_purpose_changed=with_decision(_is_purpose_changed(record), decided.purpose),
        is_foreseen=is_yes(stated.foreseen_in_initial_assessment),
        is_within_plan=_is_within_plan(record),
        effects=_effects(record),
        signs=tuple(_signs(record)),
        profiles=is_yes(stated.profiling),
        is_exit_documented=decided.article_6_3,
        is_substantial=decided.substantial_modification,
    )


def _text(value: Value) -> str | None:
    return str(value.value) if value.known else None


def _is_in_system(record: RecordSections) -> bool | None:
    after = _text(record.high_risk.classification_after)
    if after is not None:
        return after != "no_system"
    return True if record.high_risk.system_ref.known else None


def _is_purpose_changed(record: RecordSections) -> bool | None:
    stated = is_yes(record.high_risk.intended_purpose_changed)
    if stated is not None:
        return stated
    before = record.high_risk.intended_purpose_before
    after = record.use.intended
    # what somebody typed without a signature of the modifier closes no question
    if lacks_signature(Leaf(_PURPOSE, _PURPOSE, after)):
        return None
    # two texts that differ may mean the same; that they are equal says that nothing changed
    return False if before.known and after.known and before.value == after.value else None


def _is_within_plan(record: RecordSections) -> bool | None:
    """Whether the change that is claimed to be pre-determined is: planned before the assessment, in its bounds, not expired."""
    plan = record.high_risk.predetermined.value
    if not isinstance(plan, dict):
        return None
    days = [_day(plan.get(name)) for name in ("plan_date", "assessment_date", "expires")]
    planned, assessed, expires = days
    if planned is None or assessed is None or not plan.get("plan_digest"):
        return False
    made = _day(record.record_created_at)
    in_time = planned <= assessed and (expires is None or (made is not None and made <= expires))
    return in_time and plan.get("within_bounds") == "yes"


def _day(text: object) -> date | None:
    try:
        return date.fromisoformat(str(text)[:10])
    except ValueError:
        return None


def _effects(record: RecordSections) -> AffectedArticles:
    """An answer that is yes or no, with a reason behind it or without, says so; any other text leaves it open what it says."""
    stated = {}
    for article in ARTICLES:
        text = _text(getattr(record.high_risk.effect_on, f"article_{article}"))
        begins = None if text is None else _STATED_EFFECT.match(text)
        stated[article] = None if begins is None else begins[1].lower()
    return AffectedArticles(
        affected=tuple(article for article, word in stated.items() if word == "yes"),
        unaffected=tuple(article for article, word in stated.items() if word == "no"),
    )


def _signs(record: RecordSections) -> Iterator[str]:
    """What is recorded that speaks against "no effect on any article"."""
    compared = record.evaluation.bias.value
    for row in compared if isinstance(compared, list) else ():
        if isinstance(row, dict) and row.get("conclusion") == "worse":
            group = f", group {row['slice']}" if row.get("slice") else ""
            yield f"the evaluation of {row.get('suite')}{group} says worse (Arts. 10, 15)"
    if is_yes(record.high_risk.art50_marking_preserved) is False:
        yield "the marking of output is not preserved (Art. 50(2))"
    if any(is_yes(data.personal_data) is True for data in record.data):
        yield "it was trained on personal data (Art. 10)"


def _verdict(
    table: TableName,
    decision: Decision,
    inputs: Digest,
    rules: VerdictRules,
    *,
    decided: tuple[str, ...],
    days: Callable[[Row], str | None],
) -> Verdict:
    row = None if decision.row is None else rules.row(decision.row)
    return Verdict(
        table=table,
        row=None if row is None else row.row,
        status=UNDETERMINED if row is None else row.status,
        clause=None if row is None else row.clause,
        source=None if row is None else row.source,
        applies_since=None if row is None else days(row),
        action=None if row is None else row.action,
        reasons=(*decision.reasons, *decided),
        missing=decision.missing,
        inputs=inputs,
    )


def _flags(
    record: ModificationRecord, answers: _Answers, gpai: Verdict, rules: VerdictRules, today: date | None
) -> Iterator[RaisedFlag]:
    modifier, system = answers.modifier, answers.system
    limits = rules.limits
    exempt = is_exempt(record)
    reasons = {
        "F1": "every condition is stated to hold" if exempt else None,
        "F2": None if exempt else _outside_union(record, gpai),
        "F3": _over_systemic_risk(record, limits),
        "F4": _without_attempt(modifier),
        "F5": _split(record, modifier, limits),
        "F6": "the result is part of a system" if system.is_in_system and modifier.is_placed else None,
        "A50": _of_transparency(record, modifier, system, today),
        "H11": _placed_before(record, system, today),
    }
    raised = {name: reason for name, reason in reasons.items() if reason is not None}
    for flag in rules.raised(frozenset(raised)):
        yield RaisedFlag(
            flag=flag.flag, name=flag.name, clause=flag.clause, effect=flag.effect, because=raised[flag.flag]
        )


def _outside_union(record: ModificationRecord, gpai: Verdict) -> str | None:
    country = record.modifier.country
    if gpai.status not in PROVIDER_VERDICTS or not country.known or country.value in field_rules().eu_members:
        return None
    return f"the status is that of a provider, and the modifier is established in {country.value}"


def _over_systemic_risk(record: ModificationRecord, limits: Thresholds) -> str | None:
    known = compute_at_least(record)
    return f"at least {known:.3g} FLOP in all" if known > limits.systemic_risk_flop else None


def _without_attempt(modifier: ModifierAnswers) -> str | None:
    if modifier.original_flop is not None or modifier.own_flop is None or modifier.estimate_attempted:
        return None
    return "the compute of the base is not known, and nothing is recorded of an attempt to estimate it"


def _split(record: ModificationRecord, modifier: ModifierAnswers, limits: Thresholds) -> str | None:
    """Whether the two ways to count fall on different sides of the threshold that decides."""
    aware = record.compute.param_update_flop.number
    own = modifier.own_flop
    kind = modifier.threshold_kind
    if aware is None or own is None or kind is None:
        return None
    fixed = modifier.original_flop is None
    limit = limits.fallback_flop(kind) if fixed else limits.one_third * (modifier.original_flop or 0.0)
    return f"{aware:.3g} and {own:.3g} FLOP against {limit:.3g}" if (aware > limit) != (own > limit) else None


def _of_transparency(
    record: ModificationRecord, modifier: ModifierAnswers, system: HighRiskAnswers, today: date | None
) -> str | None:
    """Whose duties of Art. 50 are owed, paragraph by paragraph, and since when."""
    if not system.is_in_system or not (modifier.is_placed or system.is_deployer):
        return None
    fields = field_rules()
    whose = (
        "the modifier deploys a system: (3) and (4)"
        if system.is_deployer
        else "the result is part of a system that is placed: (1) and (2)"
    )
    days = [fields.application("transparency").sentence_on(today)]
    placed = _day(record.conformity.system_placing_date.value)
    if placed is not None and placed < fields.application("transparency").since:
        days.append(fields.application("marking_legacy").sentence_on(today))
    return "; ".join((whose, *days))


def _placed_before(record: ModificationRecord, system: HighRiskAnswers, today: date | None) -> str | None:
    """What holds of a system that was on the market before its rules apply; of one whose day nobody states what it waits for."""
    stated = record.conformity.system_placing_date
    if not (system.is_high or system.was_high) or not stated.applies:
        return None
    fields = field_rules()
    classification = system.after if system.is_high else system.before
    applies = fields.application("annex_i" if classification == "annex_i" else "annex_iii")
    placed = _day(stated.value)
    if placed is not None and placed >= applies.since:
        return None
    when = (
        "when the system was placed is open (conformity.system_placing_date)"
        if placed is None
        else f"the system was placed on {placed}"
    )
    public = fields.application("high_risk_public_legacy")
    return f"{when}; {applies.sentence_on(today)}; in any case {public.sentence_on(today)}"
