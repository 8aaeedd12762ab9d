"""The indicative status of a modifier under the rules for general-purpose models: a decision table over recorded answers.

The first row that holds decides; a row that needs an answer which nobody has given leaves the status open, with the question.
Source: Commission guidelines C(2025) 5045, J23, J53-71, J123; Arts. 3(9), 3(63), 5(1), 51-55.
"""

from collections.abc import Callable

from peft_registry.registry.compliance.base_terms import GPAI_FLOP
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.gpai import THIRD, TOLERANCE_PCT, one_third_ratio
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.values import Value, derived, unknown

# GL J64, where the training compute of the base is not known and cannot be estimated
FALLBACK_FLOP = {"fallback_sr": THIRD * 1e25, "fallback_gpai": THIRD * 1e23}


class Answers(Frozen):
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

    @property
    def is_large(self) -> bool | None:
        """The result alone passes the indicative compute of a general-purpose model; asked where no base is one."""
        if self.is_gpai:
            return False
        return None if self.cumulative_flop is None else self.cumulative_flop > GPAI_FLOP

    @property
    def threshold_kind(self) -> str | None:
        """Which threshold the compute is held against; None while that is not decided."""
        if self.original_flop is not None:
            has_ratio = self.own_flop is None or one_third_ratio(self.own_flop, self.original_flop) is not None
            return "relative" if has_ratio else None
        if not self.estimate_attempted or self.has_systemic_risk is None:
            return None  # a fixed threshold stands in only after an estimate was tried, GL J64
        return "fallback_sr" if self.has_systemic_risk else "fallback_gpai"


_Row = tuple[str, str] | None  # of the table, and the status that it gives
# the row of compute over each kind of threshold: where a base has systemic risk, and where none has
_ROWS_OVER = {"relative": ("G7", "G9"), "fallback_sr": ("G8", "G8"), "fallback_gpai": ("G10", "G10")}


def _prohibited(answers: Answers) -> _Row:
    return ("G1", "blocked_art5") if answers.makes_media and not answers.media_cleared else None


def _placed(answers: Answers) -> _Row:
    return None if answers.is_placed else ("G2", "out_of_scope_now")


def _provider(answers: Answers) -> _Row:
    return ("G3", "same_model_update") if answers.is_same_provider else None


def _excluded(answers: Answers) -> _Row:
    return ("G4", "provider_of_original_model") if answers.excludes_union else None


def _no_gpai(answers: Answers) -> _Row:
    if answers.is_gpai:
        return None
    return ("G5", "own_gpai_candidate") if answers.is_large else ("G6", "not_gpai")


def _over(answers: Answers) -> _Row:
    """A band that holds the threshold is borderline on both sides: the figures do not say on which one it is."""
    own = answers.own_flop
    kind = answers.threshold_kind
    if own is None or kind is None:
        return None
    third = None if answers.original_flop is None else one_third_ratio(own, answers.original_flop)
    if third is not None:
        straddles = third.straddles
        is_over = third.ratio > THIRD
    else:
        # a fixed threshold is not an estimate, so that the band is that of one figure
        limit = FALLBACK_FLOP[kind]
        tolerance = TOLERANCE_PCT / 100
        straddles = own * (1 - tolerance) <= limit < own * (1 + tolerance)
        is_over = own > limit
    if straddles:
        return "G11", "borderline"
    if not is_over:
        return None
    row_of_systemic_risk, row_without = _ROWS_OVER[kind]
    return (row_of_systemic_risk, "provider_sr") if answers.has_systemic_risk else (row_without, "provider_modified")


def _below(answers: Answers) -> _Row:
    return ("G12", "escalate_qualitative") if answers.is_significant else ("G13", "downstream_modifier_not_provider")


# what a row needs, and the row
_TABLE: tuple[tuple[tuple[str, ...], Callable[[Answers], _Row]], ...] = (
    (("makes_media",), _prohibited),
    (("is_placed",), _placed),
    (("is_same_provider",), _provider),
    (("excludes_union",), _excluded),
    (("is_gpai", "is_large"), _no_gpai),
    (("has_systemic_risk", "own_flop", "threshold_kind"), _over),
    (("is_significant",), _below),
)
_QUESTIONS = {
    "makes_media": "whether the result generates images, audio or video",
    "is_placed": "whether the result is placed on the Union market",
    "is_same_provider": "whether the modifier is the provider of the base or acts for it",
    "excludes_union": "whether the licence of the base excludes the Union",
    "is_gpai": "whether the base is a general-purpose model",
    "is_large": "the training compute of all that went in",
    "has_systemic_risk": "whether the base has systemic risk",
    "own_flop": "the compute of this modification",
    "threshold_kind": "the training compute of the base, or what was tried to estimate it",
    "is_significant": "whether the change is significant",
}


def gpai_verdict(answers: Answers) -> Value:
    """The status with the row that gave it, or every open question that it may depend on."""
    for needs, row in _TABLE:
        if any(getattr(answers, need) is None for need in needs):
            missing = [text for need, text in _QUESTIONS.items() if getattr(answers, need) is None]
            return unknown(f"undetermined: not recorded is {'; '.join(missing)}")
        decided = row(answers)
        if decided is not None:
            return _indicative(*decided, answers)
    raise AssertionError("the last row of the table always holds")


def _indicative(row: str, status: str, answers: Answers) -> Value:
    rules = field_rules()
    return derived(
        status,
        method=f"row {row} of the decision table, from recorded answers; indicative. {rules.notice} Rule set "
        f"{rules.rule_set}, law as of {rules.law_as_of}",
        evidence=(canonical_digest(answers.model_dump(mode="json")),),
    )
