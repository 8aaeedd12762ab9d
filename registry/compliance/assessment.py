"""What follows from a record's own figures for the status under the rules for general-purpose models.

Figures only: cumulative compute, the ratio with its band, the sign of systemic risk. The verdict stays `unknown` with the
names of what is missing; "no" never follows from absence.
"""

from peft_registry.registry.compliance.completeness import is_yes
from peft_registry.registry.compliance.gpai import TOLERANCE_PCT, ThirdRatio, dense_flop, one_third_ratio
from peft_registry.schemas.modification import BaseUsed, Compute, Gpai, ModificationRecord
from peft_registry.schemas.values import Value, derived, unknown

SYSTEMIC_RISK_FLOP = 1e25  # Art. 51(2): cumulative training compute greater than this is presumed high-impact
_RATIO_METHOD = "compute of the modification / training compute of the base, GL J63"
_BAND_METHOD = f"the ratio with ±{TOLERANCE_PCT:g} % on both figures, GL J123"


def with_assessment(record: ModificationRecord) -> ModificationRecord:
    """The record with what its figures imply: `compute.cumulative_flop` and the figures of `gpai`."""
    original = original_flop(record)
    own = "6·P·D of this modification"
    if record.identity.kind.value == "merge":
        own = "6·P·D of every training run that went in, each once"
    elif "went_on_from" in (record.compute.inputs.value or {}):
        own = "6·P·D of this run and of every run that it went on from"
    compute = record.compute.revised(cumulative_flop=_cumulative(record.compute, original, own))
    record = record.revised(compute=compute)
    return record.revised(gpai=_gpai(record, original))


def original_flop(record: ModificationRecord) -> Value:
    """Training compute of the base: as recorded, else estimated as 6·P·D from its parameters and training tokens."""
    bases = [base for base in record.base if base.role.value == "base"]
    if len(bases) != 1:
        return unknown("there is not exactly one base to compare with")
    stated = _positive(bases[0].training_compute_flop)
    if stated is not None:
        return derived(stated, "FLOP", method="training compute of the base as recorded for it")
    parameters, tokens = _positive(bases[0].params_total), _positive(bases[0].training_tokens)
    if parameters is None or tokens is None:
        return unknown("neither the training compute nor the training tokens of the base are recorded")
    return derived(
        dense_flop(parameters, tokens),
        "FLOP",
        method="6·P·D from the base's parameters and training tokens, GL J132",
        uncertainty_pct=TOLERANCE_PCT,
    )


def _positive(value: Value) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _number(value: Value) -> float | None:
    number = value.value
    return float(number) if isinstance(number, int | float) and not isinstance(number, bool) else None


def _cumulative(compute: Compute, original: Value, own_method: str) -> Value:
    own, base = _number(compute.conservative_flop), _positive(original)
    if own is None or base is None:
        return unknown("not derived: the compute of the base or of the modification is not known")
    return derived(
        base + own,
        "FLOP",
        method=f"training compute of the base + {own_method}, GL J119-121",
        uncertainty_pct=TOLERANCE_PCT,
    )


def _gpai(record: ModificationRecord, original: Value) -> Gpai:
    own, aware = _number(record.compute.conservative_flop), _number(record.compute.param_update_flop)
    base = _positive(original)
    figures: dict[str, Value] = {"original_flop": original, "verdict": _verdict(record, original)}
    if record.modifier.role_claimed.known and not record.gpai.same_provider.known:
        same = record.modifier.role_claimed.value in ("original_provider", "on_behalf_of_provider")
        figures["same_provider"] = derived("yes" if same else "no", method="from the role that the modifier claims")
    if own is None or base is None:
        return record.gpai.revised(**figures, **_no_ratio(original))
    figures |= _ratio_figures(one_third_ratio(own, base), base, record)
    if aware is not None:
        figures["ratio_method_aware"] = derived(
            one_third_ratio(aware, base).ratio, method=f"{_RATIO_METHOD}, with the method-aware figure"
        )
    figures["sr_flag"] = _systemic_risk(record.base, base + own)
    return record.gpai.revised(**figures)


def _ratio_figures(third: ThirdRatio, base: float, record: ModificationRecord) -> dict[str, Value]:
    scope = derived("step", method="this modification alone")
    if "went_on_from" in (record.compute.inputs.value or {}):
        scope = derived("sum_same_actor", method="this run and every run that it went on from")
    if record.identity.kind.value == "merge":
        scope = derived("merge_wide", method="everything that went in besides the base; the narrow value is no answer")
    return {
        "ratio": derived(third.ratio, method=f"{_RATIO_METHOD}, with 6·P·D"),
        "ratio_low": derived(third.low, method=_BAND_METHOD),
        "ratio_high": derived(third.high, method=_BAND_METHOD),
        "ratio_scope": scope,
        "threshold_kind": derived("relative", method="the training compute of the base is known or estimated"),
        "threshold_flop": derived(base / 3, "FLOP", method="a third of the training compute of the base, GL J63"),
    }


def _no_ratio(original: Value) -> dict[str, Value]:
    reason = unknown(f"not derived: {original.reason or 'the compute of this modification is not known'}")
    return dict.fromkeys(("ratio", "ratio_low", "ratio_high", "threshold_kind", "threshold_flop"), reason)


def _systemic_risk(bases: tuple[BaseUsed, ...], cumulative: float) -> Value:
    method = "cumulative compute against 10^25 FLOP (Art. 51(2)), and what is stated of the bases"
    answers = [is_yes(base.has_systemic_risk) for base in bases]
    if cumulative > SYSTEMIC_RISK_FLOP:
        return derived("cumulative_over_1e25", method=method)
    if any(answer is True for answer in answers):
        return derived("inherited", method=method)
    if all(answer is False for answer in answers):
        return derived("none", method=method)
    return unknown("nobody has said whether the base is a model with systemic risk")


def _verdict(record: ModificationRecord, original: Value) -> Value:
    questions = {
        "whether the base is a general-purpose model": all(base.is_gpai.known for base in record.base),
        "whether the base has systemic risk": all(base.has_systemic_risk.known for base in record.base),
        "whether the result is placed on the Union market": record.gpai.placed_on_eu_market.known,
        "the training compute of the base": original.known,
        "whether the change is significant": record.gpai.qualitative_change.capabilities.known,
    }
    missing = [question for question, known in questions.items() if not known]
    if missing:
        return unknown(f"undetermined: not recorded is {'; '.join(missing)}")
    return unknown("this version of the tool records the figures and draws no verdict from them")
