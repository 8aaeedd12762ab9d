"""The indicative status of a modifier under the rules for general-purpose models: a decision table over recorded answers.

The first row that holds decides; a row that needs an answer which nobody has given leaves the status open, with the question.
Source: Commission guidelines C(2025) 5045, J17-20, J23, J53-71, J123; Arts. 3(9), 3(63), 5(1), 51-55; recital 97.
"""

from collections.abc import Callable, Iterator
from itertools import product

from pydantic import Field

from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.verdicts.decision import Decision
from peft_registry.registry.compliance.verdicts.gpai import one_third_ratio
from peft_registry.registry.compliance.verdicts.rules import Thresholds, shipped_rules
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.codes import code
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.values import Value, derived, unknown


class ModifierAnswers(Frozen):
    """What the table reads; None where nobody has answered it, or it is not known. Compute is in FLOP."""

    makes_media: bool | None = None  # images, audio or video
    media_cleared: bool | None = None  # of prohibited output, by the screen of Art. 5
    is_placed: bool | None = None  # on the Union market
    is_same_provider: bool | None = None
    excludes_union: bool | None = None
    is_gpai: bool | None = None  # any base
    has_systemic_risk: bool | None = None  # any base
    own_flop: float | None = None
    original_flop: float | None = None
    cumulative_flop: float | None = None
    estimate_attempted: bool = False
    is_significant: bool | None = None
    # what the edition 2026-12 did not read; left out where it is not there, so that the digest of its answers stays what it was
    # somebody's word for the result where no base is general: compute is only an indication, GL J18-20
    is_gpai_by_itself: bool | None = Field(default=None, exclude_if=lambda value: value is None)
    # the licence excludes the Union, and no system is made of the result: GL J58-59 speak of systems; None: not known
    excluded_in_no_system: bool | None = Field(default=False, exclude_if=lambda value: value is False)
    # part of a high-risk system that is not supplied to others: where rights are affected that is placing, GL J57, recital 97
    internal_high_risk_use: bool = Field(default=False, exclude_if=lambda value: not value)
    # of several bases each figure is known, so that no fixed threshold stands in for one, GL J64
    several_known_bases: bool = Field(default=False, exclude_if=lambda value: not value)

    @property
    def is_placing_clear(self) -> bool | None:
        """None where what is stated not to be placed is used in a high-risk system all the same; a need of `verdicts.json`."""
        return None if self.internal_high_risk_use else True

    def is_large(self, limits: Thresholds) -> bool | None:
        """The result alone is taken for a general-purpose model: as stated, else by the indicative compute. Asked where no base is
        one."""
        if self.is_gpai:
            return False
        if self.is_gpai_by_itself is not None:
            return self.is_gpai_by_itself
        return None if self.cumulative_flop is None else self.cumulative_flop > limits.gpai_flop

    @property
    def threshold_kind(self) -> str | None:
        """Which threshold the compute is held against; None while that is not decided."""
        if self.original_flop is not None:
            has_ratio = self.own_flop is None or one_third_ratio(self.own_flop, self.original_flop) is not None
            return "relative" if has_ratio else None
        if not self.estimate_attempted or self.has_systemic_risk is None or self.several_known_bases:
            return None  # a fixed threshold stands in only after an estimate was tried, GL J64
        return "fallback_sr" if self.has_systemic_risk else "fallback_gpai"


# the row of compute over each kind of threshold: where a base has systemic risk, and where none has
_ROWS_OVER = {"relative": ("G7", "G9"), "fallback_sr": ("G8", "G8"), "fallback_gpai": ("G10", "G10")}


def _prohibited(answers: ModifierAnswers, limits: Thresholds) -> str | None:  # noqa: ARG001  all rows are called alike
    return "G1" if answers.makes_media and not answers.media_cleared else None


def _placed(answers: ModifierAnswers, limits: Thresholds) -> str | None:  # noqa: ARG001  as above
    return None if answers.is_placed else "G2"


def _provider(answers: ModifierAnswers, limits: Thresholds) -> str | None:  # noqa: ARG001  as above
    return "G3" if answers.is_same_provider else None


def _excluded(answers: ModifierAnswers, limits: Thresholds) -> str | None:  # noqa: ARG001  as above
    return "G4" if answers.excludes_union and not answers.excluded_in_no_system else None


def _no_gpai(answers: ModifierAnswers, limits: Thresholds) -> str | None:
    if answers.is_gpai:
        return None
    return "G5" if answers.is_large(limits) else "G6"


def _over(answers: ModifierAnswers, limits: Thresholds) -> str | None:
    """A band that holds the threshold is borderline on both sides: the figures do not say on which one it is."""
    own = answers.own_flop
    kind = answers.threshold_kind
    if own is None or kind is None:
        return None
    share = None if answers.original_flop is None else one_third_ratio(own, answers.original_flop, limits.tolerance_pct)
    if share is not None:
        straddles = share.straddles(limits.one_third)
        is_over = share.ratio > limits.one_third
    else:
        # a fixed threshold is not an estimate, so that the band is that of one figure
        limit = limits.fallback_flop(kind)
        tolerance = limits.tolerance_pct / 100
        straddles = own * (1 - tolerance) <= limit < own * (1 + tolerance)
        is_over = own > limit
    if straddles:
        return "G11"
    if not is_over:
        return None
    row_of_systemic_risk, row_without = _ROWS_OVER[kind]
    return row_of_systemic_risk if answers.has_systemic_risk else row_without


def _below(answers: ModifierAnswers, limits: Thresholds) -> str | None:  # noqa: ARG001  as above
    return "G12" if answers.is_significant else "G13"


# what a row needs, and the row
_TABLE: tuple[tuple[tuple[str, ...], Callable[[ModifierAnswers, Thresholds], str | None]], ...] = (
    (("makes_media",), _prohibited),
    (("is_placed", "is_placing_clear"), _placed),
    (("is_same_provider",), _provider),
    (("excludes_union", "excluded_in_no_system"), _excluded),
    (("is_gpai", "is_large"), _no_gpai),
    (("has_systemic_risk", "own_flop", "threshold_kind"), _over),
    (("is_significant",), _below),
)
_QUESTIONS = {
    "makes_media": code("whether_media_generated"),
    "is_placed": code("whether_placed"),
    "is_placing_clear": code("whether_internal_use_is_placing"),
    "is_same_provider": code("whether_same_provider"),
    "excludes_union": code("whether_union_excluded"),
    "excluded_in_no_system": code("whether_in_system"),
    "is_gpai": code("whether_base_is_gpai"),
    "is_large": code("compute_of_all"),
    "has_systemic_risk": code("whether_base_has_systemic_risk"),
    "own_flop": code("compute_of_modification"),
    "threshold_kind": code("base_compute_or_attempt"),
    "is_significant": code("whether_significant"),
}
ANSWERED_IN = {
    str(_QUESTIONS[need]): path
    for need, path in {
        "makes_media": "use.modalities",
        "is_placed": "gpai.placed_on_eu_market",
        "is_placing_clear": "gpai.placed_on_eu_market",
        "is_same_provider": "gpai.same_provider",
        "excludes_union": "upstream[].eu_exclusion",
        "excluded_in_no_system": "high_risk.classification_after",
        "is_gpai": "base[].is_gpai",
        "is_large": "compute.cumulative_flop",
        "has_systemic_risk": "base[].has_systemic_risk",
        "own_flop": "compute.conservative_flop",
        "threshold_kind": "gpai.estimate_attempt",
        "is_significant": "gpai.qualitative_change.*, or `registry decide --on qualitative-change`",
    }.items()
}
"""Of each question the field that answers it. The question alone stands in records, whose bytes are signed."""


def decide_modifier(answers: ModifierAnswers, limits: Thresholds) -> Decision:
    """The first row that holds, or every open question that can still decide which one does."""
    missing = tuple(_questions_that_decide(answers, limits))
    for needs, row in _TABLE:
        if any(need in missing for need in needs):
            return Decision(missing=tuple(str(_QUESTIONS[need]) for need in missing))
        decided = row(answers, limits)
        if decided is not None:
            return Decision(row=decided, reasons=(_reason(decided, answers, limits),))
    raise AssertionError("the last row of the table always holds")


_ANSWERED = {
    "G1": "it generates images, audio or video, and the screen of Art. 5 does not clear it",
    "G2": "the result is stated not to be placed on the Union market",
    "G3": "the modifier is the provider of the base, or acts for it",
    "G4": "the terms of a base exclude the Union",
    "G12": "the change is stated or decided to be significant",
}
"""The answer by which a row holds that no figure decides."""


def _reason(row: str, answers: ModifierAnswers, limits: Thresholds) -> str:
    """What of the answers made a row hold, in a line for people; no record holds it."""
    if row in _ANSWERED:
        return _ANSWERED[row]
    if row in ("G5", "G6") and answers.is_gpai_by_itself is not None:
        general = "" if answers.is_gpai_by_itself else " not"
        return f"no base is stated to be a general-purpose model, and the result is stated{general} to be one by itself"
    if row in ("G5", "G6"):
        side = "more" if row == "G5" else "not more"
        figures = f"{answers.cumulative_flop or 0.0:.3g} FLOP in all are {side} than {limits.gpai_flop:.3g}"
        return f"no base is stated to be a general-purpose model, and {figures}"
    compared = _compared(answers, limits)
    return f"{compared}, and no significant change is stated or decided" if row == "G13" else compared


def _compared(answers: ModifierAnswers, limits: Thresholds) -> str:
    """The compute of a modification against the threshold that it is held against, with the band of the tolerance."""
    own = answers.own_flop or 0.0
    original = answers.original_flop
    kind = answers.threshold_kind
    share = None if original is None else one_third_ratio(own, original, limits.tolerance_pct)
    if share is not None:
        return (
            f"{own:.3g} FLOP of the modification are {share.ratio:.3g} of the {original:.3g} FLOP of the base "
            f"({share.low:.3g} to {share.high:.3g}), against {limits.one_third:.3g}"
        )
    assert kind is not None, "compute decides only against a threshold"
    systemic = "with" if kind == "fallback_sr" else "without"
    return (
        f"{own:.3g} FLOP of the modification against {limits.fallback_flop(kind):.3g}, which stands in for a base {systemic} "
        "systemic risk whose compute could not be estimated"
    )


# what is tried for an open need that is not an answer itself: the answer that settles it
_SETTLED_BY = {"is_large": "is_gpai_by_itself", "is_placing_clear": "is_placed"}
_FIGURES = ("own_flop", "threshold_kind")  # of these no two answers stand for all


def _questions_that_decide(answers: ModifierAnswers, limits: Thresholds) -> Iterator[str]:
    """The open needs of the table up to the rows that decide whatever is answered: those below them are never reached."""
    for needs, row in _TABLE:
        open_needs = [need for need in needs if _answer(answers, need, limits) is None]
        yield from open_needs
        if not any(need in _FIGURES for need in open_needs) and all(
            row(tried, limits) is not None for tried in _every_answer(answers, open_needs)
        ):
            return


def _every_answer(answers: ModifierAnswers, open_needs: list[str]) -> Iterator[ModifierAnswers]:
    """The answers with a yes and with a no for each open need, in every combination."""
    names = [_SETTLED_BY.get(need, need) for need in open_needs]
    for tried in product((True, False), repeat=len(names)):
        yield answers.revised(**dict(zip(names, tried, strict=True)))


def _open_answers(answers: ModifierAnswers, limits: Thresholds) -> list[str]:
    return [need for need in _QUESTIONS if _answer(answers, need, limits) is None]


def _answer(answers: ModifierAnswers, need: str, limits: Thresholds) -> object:
    return answers.is_large(limits) if need == "is_large" else getattr(answers, need)


def gpai_verdict(answers: ModifierAnswers) -> Value:
    """The status by the shipped rules as a value of a record, with the row that gave it, or what is not recorded."""
    rules = shipped_rules()
    decision = decide_modifier(answers, rules.limits)
    if decision.row is None:
        questions = [_QUESTIONS[need] for need in _open_answers(answers, rules.limits)]
        return unknown(code("undetermined", because=code("answers_not_recorded", questions=questions)))
    fields = field_rules()
    return derived(
        rules.row(decision.row).status,
        method=code("row_of_decision_table", row=decision.row, rule_set=fields.rule_set, law_as_of=fields.law_as_of),
        evidence=(canonical_digest(answers.model_dump(mode="json")),),
    )
