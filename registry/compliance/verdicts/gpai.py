"""Compute of a modification against compute of its base: the indicative one-third criterion.

Source: Commission guidelines on general-purpose AI models, C(2025) 5045 paragraphs 60-64 and annex A (in C(2025) 7719 three
lower). They are not binding, and the criterion stands for the question whether the model changed significantly. This module
computes figures; it decides nothing.
"""

import math

from peft_registry.registry.compliance.verdicts.rules import shipped_rules
from peft_registry.schemas.document import Frozen

# annex A, J123: any method, within this much of the reported estimate


def tolerance_pct() -> float:
    """The tolerance of a figure of compute, in %."""
    return shipped_rules().limits.tolerance_pct


def one_third() -> float:
    """The share of the base's compute above which a modification makes a provider."""
    return shipped_rules().limits.one_third


class ThirdRatio(Frozen):
    """Modification over base, and the band that the tolerance on both figures leaves."""

    ratio: float
    low: float
    high: float

    def straddles(self, share: float) -> bool:
        """The band holds that share, so that the figures do not say on which side the ratio is."""
        return self.low <= share < self.high


def one_third_ratio(
    conservative_flop: float, original_flop: float, tolerance: float | None = None
) -> ThirdRatio | None:
    """`R = modification / original` with `[R·0.7/1.3, R·1.3/0.7]`; the criterion is met by R > 1/3, strictly.

    None where the two have no ratio: the modification's compute is negative, the base's is not positive, or the quotient is larger
    than any number. What somebody signed may say so.

    Args:
        conservative_flop: 6·P·D of the modification over all parameters, not only the trainable ones.
        original_flop: training compute of the base.
        tolerance: of both figures, in %; None for that of the edition in force.
    """
    if conservative_flop < 0 or original_flop <= 0:
        return None
    ratio = conservative_flop / original_flop
    percent = tolerance_pct() if tolerance is None else tolerance
    under = 1 - percent / 100
    over = 1 + percent / 100
    low = ratio * under / over
    high = ratio * over / under
    return ThirdRatio(ratio=ratio, low=low, high=high) if math.isfinite(high) else None


def dense_flop(parameters: float, tokens: float) -> float:
    """`6·P·D` (J132): P all parameters of a dense model, D training tokens with repeats over epochs."""
    return 6.0 * parameters * tokens
