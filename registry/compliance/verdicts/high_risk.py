"""The indicative status under the rules for high-risk systems: a decision table over recorded answers.

It is never mixed with the status for general-purpose models: it is about a system with an intended purpose, and not about weights.
The first row that holds decides; an answer that it needs and nobody has given leaves the status open, with the question.
Source: Arts. 2(2), 3(3), 3(23), 6, 25, 26, 43(4), 111(2) of the AI Act; recital 97.
"""

from collections.abc import Callable

from pydantic import Field

from peft_registry.registry.compliance.verdicts.decision import Decision
from peft_registry.schemas.document import Frozen

ARTICLES = (9, 10, 11, 12, 13, 14, 15)
"""Of Chapter III Section 2: what a substantial modification affects compliance with."""


SECTION_B = "annex_i_b"


class AffectedArticles(Frozen):
    """Which of the articles the change affects, is stated not to affect, or nobody has said."""

    affected: tuple[int, ...] = ()
    unaffected: tuple[int, ...] = ()

    @property
    def open(self) -> tuple[int, ...]:
        """The articles that nobody has answered for."""
        return tuple(article for article in ARTICLES if article not in (*self.affected, *self.unaffected))


class HighRiskAnswers(Frozen):
    """What the table reads; None where nobody has answered it. Classifications are those of `high_risk.classification_*`."""

    is_in_system: bool | None = None
    before: str | None = None
    after: str | None = None
    has_own_name: bool | None = None  # the modifier's name or trademark
    is_system_provider: bool | None = None  # the modifier, of the system as it was
    is_deployer: bool = False  # by the role that the modifier claims
    is_purpose_changed: bool | None = None
    is_foreseen: bool | None = None  # in the initial conformity assessment
    is_within_plan: bool | None = None  # a pre-determined change, dated before that assessment, and within its bounds
    effects: AffectedArticles = AffectedArticles()
    signs: tuple[str, ...] = ()  # what was measured that speaks against "no effect"
    profiles: bool | None = None  # natural persons
    is_exit_documented: bool | None = None  # the assessment of Art. 6(3), and its registration
    # what a person decided by Art. 3(23); left out where nobody did, so that the digest of these answers stays what it was
    is_substantial: bool | None = Field(default=None, exclude_if=lambda value: value is None)

    @property
    def was_high(self) -> bool:
        """The system was high-risk before the change."""
        return is_high(self.before)

    @property
    def is_high(self) -> bool:
        """It is after."""
        return is_high(self.after)


def is_high(classification: object) -> bool:
    """Whether a classification is one that Chapter III is about: a product of Section B of Annex I is not, Art. 2(2)."""
    return str(classification).startswith("annex_") and classification != SECTION_B


_Outcome = Decision | None
_OPEN = {
    "is_in_system": "whether the result is part of a system (high_risk.classification_after: no_system if it is not)",
    "before": "how the system was classified before (high_risk.classification_before)",
    "after": "how it is classified after (high_risk.classification_after)",
    "has_own_name": "whether the modifier's name or trademark is put on it (identity.name_or_trademark_on_result)",
    "is_system_provider": "whether the modifier is the provider of the system as it was (modifier.role_claimed says so of a "
    "deployer; else a person decides)",
    "is_purpose_changed": "whether the intended purpose changed (high_risk.intended_purpose_changed, or `registry decide "
    "--on purpose`)",
    "is_foreseen": "whether the initial conformity assessment foresaw it (high_risk.foreseen_in_initial_assessment)",
    "profiles": "whether the system profiles natural persons (high_risk.profiling)",
    "is_exit_documented": "whether the assessment of Art. 6(3) is documented and registered (a person decides)",
}


def _open(answers: HighRiskAnswers, *needs: str) -> _Outcome:
    """An open decision where an answer is missing; None where all are there."""
    missing = tuple(_OPEN[need] for need in needs if getattr(answers, need) is None)
    return Decision(missing=missing) if missing else None


def _model_only(answers: HighRiskAnswers) -> _Outcome:
    if answers.is_in_system is False:
        return Decision(row="H1", reasons=("the result is stated not to be part of a system",))
    return _open(answers, "is_in_system", "before", "after")


def _section_b(answers: HighRiskAnswers) -> _Outcome:
    if answers.after != SECTION_B:
        return None
    return Decision(row="H16", reasons=("the system is a product, or part of one, under Section B of Annex I",))


def _renamed(answers: HighRiskAnswers) -> _Outcome:
    if not answers.was_high:
        return None
    missing = _open(answers, "has_own_name")
    if missing is not None or not answers.has_own_name:
        return missing
    if answers.is_system_provider is None:
        return _open(answers, "is_system_provider")
    return None if answers.is_system_provider else Decision(row="H2", reasons=("another name is put on the system",))


def _planned(answers: HighRiskAnswers) -> _Outcome:
    if not (answers.was_high and answers.is_within_plan):
        return None
    reason = "a change that was planned before the initial conformity assessment, within its bounds"
    if answers.is_purpose_changed and answers.is_substantial is None:
        question = (
            "whether the plan covers the changed purpose: Art. 43(4) speaks of changes to the system and its performance "
            "(`registry decide --on substantial-modification`)"
        )
        return Decision(missing=(question,), reasons=(reason, "the intended purpose changed"))
    if answers.is_substantial:
        question = (
            "whether it is the change that was planned or a substantial one, Art. 43(4): a person decided the latter"
        )
        return Decision(missing=(question,), reasons=(reason,))
    return Decision(row="H3", reasons=(reason,))


def _substantial(answers: HighRiskAnswers) -> _Outcome:
    """Not foreseen, and a purpose or an article is affected: whatever else is open, it is substantial."""
    if not (answers.was_high and answers.is_high):
        return None
    touched = tuple(f"Art. {article} is stated to be affected" for article in answers.effects.affected)
    if answers.is_purpose_changed:
        touched = ("the intended purpose changed", *touched)
    if answers.is_substantial:
        touched = ("a person decided that it is a substantial modification", *touched)
    if not touched:
        return _reclassified(answers)
    # a person who decides by Art. 3(23) decides this too
    if answers.is_foreseen is None and not answers.is_substantial:
        return _open(answers, "is_foreseen")
    if answers.is_foreseen:
        # foreseen, but no plan holds that says so: claimed afterwards it is not pre-determined
        question = (
            "the plan that foresaw it, dated before the assessment, and that it keeps to it (high_risk.predetermined)"
        )
        return Decision(missing=(question,), reasons=touched)
    missing = _open(answers, "is_system_provider")
    if missing is not None:
        either = "a new conformity assessment is owed whoever the provider is, Art. 43(4)"
        return Decision(missing=missing.missing, reasons=(*touched, either))
    return Decision(row="H5" if answers.is_system_provider else "H4", reasons=touched)


def _reclassified(answers: HighRiskAnswers) -> _Outcome:
    """A system is classified by its purpose: another class beside an unchanged purpose is a contradiction (Arts. 3(12), 6)."""
    is_doubted = answers.before != answers.after and answers.is_purpose_changed is False
    if not is_doubted or answers.is_substantial is not None:
        return None
    question = (
        "whether the intended purpose changed: it is stated not to have, and the system is classified otherwise "
        "(`registry decide --on purpose`, or `--on substantial-modification`)"
    )
    return Decision(missing=(question,), reasons=(f"{answers.before} before, {answers.after} after",))


def _becomes_high(answers: HighRiskAnswers) -> _Outcome:
    is_product = answers.after == "annex_i" and answers.before == "no_system"  # of its own, H8
    if answers.was_high or not answers.is_high or is_product:
        return None
    moved = f"{answers.before} before, {answers.after} after"
    if answers.is_system_provider:
        return Decision(row="H13", reasons=(moved, "the modifier is its provider, whatever it was classified before"))
    return _new_system(answers, moved) if answers.before == "no_system" else _by_purpose(answers, moved)


def _by_purpose(answers: HighRiskAnswers, moved: str) -> _Outcome:
    missing = _open(answers, "is_purpose_changed")
    if missing is not None:
        return missing
    if not answers.is_purpose_changed:
        question = "why it is high-risk now, if its purpose did not change (`registry decide --on purpose`)"
        return Decision(missing=(question,), reasons=(moved,))
    return Decision(row="H6", reasons=(moved, "the intended purpose changed"))


def _new_system(answers: HighRiskAnswers, moved: str) -> _Outcome:
    """Whoever places a new system under their name is its provider, Art. 3(3); whoever supplies a part of it is not."""
    missing = _open(answers, "has_own_name")
    if missing is not None:
        return Decision(missing=missing.missing, reasons=(moved,))
    if answers.has_own_name:
        return Decision(row="H13", reasons=(moved, "the modifier's name or trademark is on the new system"))
    return Decision(row="H14", reasons=(moved, "the new system is another's, under another name"))


def _no_longer_high(answers: HighRiskAnswers) -> _Outcome:
    if not answers.was_high or answers.after != "not_high_risk":
        return None
    return Decision(row="H15", reasons=(f"{answers.before} before, {answers.after} after",))


def _exempt(answers: HighRiskAnswers) -> _Outcome:
    if answers.after != "art6_3_exempt":
        return None
    if answers.profiles:
        question = "the classification again: a system that profiles natural persons has no exit, Art. 6(3)"
        return Decision(
            missing=(question,), reasons=("the exit of Art. 6(3) is claimed, and the system profiles persons",)
        )
    missing = _open(answers, "profiles", "is_exit_documented")
    if missing is not None:
        return missing
    if not answers.is_exit_documented:
        return Decision(missing=("the documented and registered assessment, Arts. 6(4), 49(2)",))
    return Decision(row="H7", reasons=("the exit of Art. 6(3) is claimed and documented, and nobody is profiled",))


def _product(answers: HighRiskAnswers) -> _Outcome:
    if answers.after != "annex_i" or answers.was_high:
        return None
    missing = _open(answers, "has_own_name")
    if missing is not None:
        return missing
    if not answers.has_own_name:  # Art. 25(3) is for whoever's name is on the product
        return Decision(row="H14", reasons=("the system is part of a product under another's name",))
    return Decision(row="H8", reasons=("the system is part of a product under the modifier's name",))


def _without_effect(answers: HighRiskAnswers) -> _Outcome:
    if not (answers.was_high and answers.is_high):
        return None
    if answers.is_substantial is False:  # what is stated to be affected came before
        return Decision(
            row="H9", reasons=("a person decided that it is not a substantial modification", *answers.signs)
        )
    missing = _open(answers, "is_purpose_changed")
    questions = () if missing is None else missing.missing
    questions += tuple(
        f"whether Art. {article} is affected, with the reason: `no: …` or `yes: …` (high_risk.effect_on.article_{article})"
        for article in answers.effects.open
    )
    if questions:
        return Decision(missing=questions, reasons=answers.signs)
    if answers.signs:
        return Decision(
            missing=("the effect again: no effect is stated, and this was measured",), reasons=answers.signs
        )
    unchanged = "the purpose is unchanged, and no article is stated to be affected"
    if answers.is_deployer:
        return Decision(row="H12", reasons=(unchanged, "the modifier deploys the system"))
    return Decision(row="H9", reasons=(unchanged,))


def _neither(answers: HighRiskAnswers) -> _Outcome:
    if answers.was_high or answers.is_high:
        return None
    return Decision(row="H0", reasons=("not high-risk before, nor after",))


_TABLE: tuple[Callable[[HighRiskAnswers], _Outcome], ...] = (
    _model_only,
    _section_b,
    _no_longer_high,
    _renamed,
    _planned,
    _substantial,
    _becomes_high,
    _exempt,
    _product,
    _without_effect,
    _neither,
)


def decide_high_risk(answers: HighRiskAnswers) -> Decision:
    """The first row that holds; else no row (H10), with what a person has to answer or decide."""
    for row in _TABLE:
        decided = row(answers)
        if decided is not None:
            return decided
    return Decision(missing=("what no row of the table describes (a person decides)",))
