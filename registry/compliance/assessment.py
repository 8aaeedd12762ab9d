"""What follows from a record's own figures and answers: the terms of its bases, cumulative compute, the ratio with its band, the
sign of systemic risk, the indicative status, the energy that declared power gives, the days of retention, the forms' figures.

This is the only place where something follows from what people may answer, and it forgets what an earlier assessment derived:
two records with equal inputs have equal derived values, whatever stood there before. What was measured, imported or declared
stands. Nothing is decided from absence: what an answer is missing for stays `unknown` with the question.
"""

import math
from typing import Any, Literal, TypeVar

from peft_registry.registry.compliance.answer_forms import misfits
from peft_registry.registry.compliance.base_terms import licence_of_merge, lists_exclusion, with_derived_terms
from peft_registry.registry.compliance.completeness import disqualifying_flags, is_yes, makes_media
from peft_registry.registry.compliance.documentation import with_forms, with_size
from peft_registry.registry.compliance.energy import with_estimate
from peft_registry.registry.compliance.fields import Leaf, field_rules
from peft_registry.registry.compliance.licence_terms import flags_by_rule_set
from peft_registry.registry.compliance.proposals import is_proposal, with_proposals_open
from peft_registry.registry.compliance.recorded_run import counts_earlier_runs, step_flop
from peft_registry.registry.compliance.retention import with_dates
from peft_registry.registry.compliance.verdicts.gpai import ThirdRatio, dense_flop, one_third_ratio, tolerance_pct
from peft_registry.registry.compliance.verdicts.high_risk import is_high
from peft_registry.registry.compliance.verdicts.modifier import ModifierAnswers, gpai_verdict
from peft_registry.registry.compliance.verdicts.rules import shipped_rules
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.modification import (
    ASKED,
    NOT_DERIVED,
    BaseUsed,
    Gpai,
    ModificationRecord,
    OpenSourceExemption,
    RecordSections,
    UpstreamTerms,
)
from peft_registry.schemas.values import Value, derived, not_derived, unknown

Record = TypeVar("Record", bound=RecordSections)
# Art. 51(2): cumulative training compute greater than this is presumed high-impact
_Scope = Literal["step", "sum_same_actor", "merge_wide"]
_OWN_COMPUTE: dict[_Scope, Code] = {
    "step": code("dense_flop_of_modification"),
    "sum_same_actor": code("dense_flop_of_run_and_earlier"),
    "merge_wide": code("dense_flop_of_all_merged"),
}
"""What the compute of a record is the sum of."""
_WHY_SCOPE: dict[_Scope, Code] = {
    "step": code("scope_modification_alone"),
    "sum_same_actor": code("scope_run_and_earlier"),
    "merge_wide": code("scope_all_merged"),
}
_ROLE = "modifier.role_claimed"
_RATIO_FIGURES = ("ratio", "ratio_low", "ratio_high", "ratio_method_aware", "threshold_kind", "threshold_flop")


def with_assessment(record: ModificationRecord) -> ModificationRecord:
    """The record with what its figures and answers imply, and with nothing that others implied.

    A record names no rules: the statement that holds it names the edition.
    """
    record = with_size(record.revised(rule_set=None, upstream=_terms(record)))
    if record.identity.kind.value == "merge":
        licence = licence_of_merge(record.product.licence, record.base)
        record = record.revised(product=record.product.revised(licence=licence))
    compute = record.compute.revised(cumulative_flop=_cumulative(record))
    record = record.revised(compute=compute, energy=with_estimate(record.energy, record.power, compute))
    original = original_flop(record)
    record = record.revised(gpai=_gpai(record, original), step=record.step.revised(ratio=_step_ratio(record, original)))
    return with_forms(record.revised(retention=with_dates(record.retention, as_answered(record).gpai)))


def as_answered(record: Record) -> Record:
    """The record as what follows from answers reads it: of a legal one, what somebody signed who may give it."""
    return with_proposals_open(record) if "signed_answers" in shipped_rules().reads else record


def _terms(record: ModificationRecord) -> tuple[UpstreamTerms, ...]:
    """The terms of each base; a record may hold terms of a model that is not among its bases, which stay."""
    bases = {str(base.name.value): base for base in reversed(record.base)}
    return tuple(
        with_derived_terms(terms, bases[str(terms.name.value)], record.use.modalities)
        if str(terms.name.value) in bases
        else terms
        for terms in record.upstream
    )


def original_flop(record: ModificationRecord) -> Value:
    """Training compute of the base: as recorded, else estimated as 6·P·D from its parameters and training tokens."""
    bases = _bases(record)
    if len(bases) != 1:
        return unknown(code("not_one_base"))
    return _training_flop(bases[0])


def _bases(record: ModificationRecord) -> tuple[BaseUsed, ...]:
    """The models that everything stands on, one that comes twice once: weights say which is which."""
    unique = {str(base.tensor_digest.value): base for base in record.base if base.role.value == "base"}
    return tuple(unique.values())


def _training_flop(base: BaseUsed) -> Value:
    rules = field_rules().by_path()
    stated = base.training_compute_flop.positive_number
    parameters = base.params_total.positive_number
    tokens = base.training_tokens.positive_number
    # whatever was signed before its field had bounds: no figure is better than one that cannot be
    for figure, name in ((stated, "training_compute_flop"), (tokens, "training_tokens")):
        if figure is not None and any(misfits(rules[f"base[].{name}"], figure)):
            return unknown(code("recorded_of_base_misfits", field=name, figure=figure))
    if stated is not None:
        return derived(stated, "FLOP", method=code("base_compute_as_recorded"))
    if parameters is None or tokens is None:
        return unknown(code("base_compute_not_recorded"))
    flop = dense_flop(parameters, tokens)
    if not math.isfinite(flop):
        return unknown(code("base_compute_too_large"))
    return derived(
        flop,
        "FLOP",
        method=code("base_compute_estimated"),
        uncertainty_pct=tolerance_pct(),
    )


def _cumulative(record: ModificationRecord) -> Value:
    own = record.compute.conservative_flop.number
    known = _known_flop(record)
    if own is None or not known or len(known) < len(_bases(record)):
        return not_derived(code("compute_of_base_or_modification_not_known"))
    summands = [
        code("compute_of_the_base") if len(known) == 1 else code("compute_of_bases", bases=len(known)),
        _OWN_COMPUTE[_scope(record)],
    ]
    synthetic = record.compute.private_synthetic_flop.number
    if synthetic is None and _has_synthetic_data(record):
        return not_derived(code("compute_of_synthetic_data_not_recorded"))
    if synthetic is not None:
        summands.append(code("compute_of_synthetic_data"))
    cumulative = sum(known) + own + (synthetic or 0.0)
    if not math.isfinite(cumulative):
        return not_derived(code("sum_too_large"))
    return derived(
        cumulative,
        "FLOP",
        method=code("cumulative_compute", summands=summands),
        uncertainty_pct=tolerance_pct(),
    )


def _step_ratio(record: ModificationRecord, original: Value) -> Value:
    """The ratio of this modification alone; several steps may each be under a third whose sum is over it."""
    base = original.positive_number
    if base is None:
        return not_derived(original.reason or code("base_compute_not_known"))
    if record.identity.kind.value == "merge":
        return derived(0.0, method=code("merge_computes_no_gradients"))
    own = step_flop(record.compute)
    flop = own.number
    if flop is None:
        return not_derived(own.reason or code("own_compute_not_known"))
    ratio = flop / base
    if not math.isfinite(ratio):
        return not_derived(code("quotient_too_large"))
    return derived(ratio, method=code("ratio_of_modification_alone"))


def _known_flop(record: ModificationRecord) -> list[float]:
    flops = [_training_flop(base).positive_number for base in _bases(record)]
    return [flop for flop in flops if flop is not None]


def _has_synthetic_data(record: ModificationRecord) -> bool:
    return any(data.provenance_class.value == "synthetic_private" for data in record.data)


def compute_at_least(record: ModificationRecord) -> float:
    """Cumulative compute as far as it is known, FLOP: what is not known can only add to it."""
    own = (record.compute.conservative_flop, record.compute.private_synthetic_flop)
    return sum(_known_flop(record)) + sum(figure.number or 0.0 for figure in own)


def _gpai(record: ModificationRecord, original: Value) -> Gpai:
    own = record.compute.conservative_flop.number
    base = original.positive_number
    figures: dict[str, Any] = {
        "original_flop": original,
        "ratio_scope": derived(_scope(record), method=_WHY_SCOPE[_scope(record)]),
        "same_provider": same_provider_of(record),
        "sr_flag": _systemic_risk(record),
        "open_source_exemption": _exemption(record),
    }
    answers = modifier_answers(as_answered(record.revised(gpai=record.gpai.revised(**figures))), base)
    figures["verdict"] = gpai_verdict(answers)
    third = None if own is None or base is None else one_third_ratio(own, base)
    if "same_provider_ratio" in shipped_rules().reads and answers.is_same_provider:
        why = not_derived(code("ratio_is_of_another_actor"))
        return record.gpai.revised(**figures, **dict.fromkeys(_RATIO_FIGURES, why))
    if base is None or third is None:
        return record.gpai.revised(**figures, **_no_ratio(own, original, answers))
    return record.gpai.revised(**figures, **_ratio_figures(third, base, record.compute.param_update_flop))


def same_provider_of(record: ModificationRecord) -> Value:
    """As somebody answered it, else from the role that the modifier claims under a signature."""
    stated = record.gpai.same_provider
    role = record.modifier.role_claimed
    if stated.known and stated.source != "derived":
        return stated
    if role.known and not is_proposal(Leaf(_ROLE, _ROLE, role)):
        same = role.value in ("original_provider", "on_behalf_of_provider")
        return derived("yes" if same else "no", method=code("from_claimed_role"))
    return ASKED if stated.known else stated


def modifier_answers(record: ModificationRecord, original: float | None) -> ModifierAnswers:
    """What the record answers of the questions that decide the status; `original` is the compute of the base in FLOP."""
    gpai = record.gpai
    changes = gpai.qualitative_change
    significant = [
        None if not change.known else change.value == "significant"
        for change in (changes.generality, changes.capabilities, changes.systemic_risk)
    ]
    reads = shipped_rules().reads
    excludes_union = _excludes_union(record)
    systemic_risk = _any([is_yes(base.has_systemic_risk) for base in record.base])
    if "presumed_systemic_risk" in reads and _is_presumed_systemic(record):
        systemic_risk = True  # until the Commission decides otherwise, Arts. 51(2), 52(2)-(5): nobody's word does
    is_gpai = _any([is_yes(base.is_gpai) for base in record.base])
    is_placed = is_yes(gpai.placed_on_eu_market)
    # each is read only where it can decide: else an answer would change the digest of what a status rests on, and nothing more
    later: dict[str, Any] = {
        "is_gpai_by_itself": is_yes(gpai.result_is_gpai_by_itself) if is_gpai is False else None,
        "excluded_in_no_system": _is_in_no_system(record) if excludes_union else False,
        "internal_high_risk_use": is_placed is False and is_high(record.high_risk.classification_after.value),
        "several_known_bases": len(_bases(record)) > 1 and len(_known_flop(record)) == len(_bases(record)),
    }
    return ModifierAnswers(
        makes_media=makes_media(record) if record.use.modalities.known else None,
        media_cleared=is_screened(record),
        is_placed=is_placed,
        is_same_provider=is_yes(gpai.same_provider),
        excludes_union=excludes_union,
        is_gpai=is_gpai,
        has_systemic_risk=systemic_risk,
        own_flop=record.compute.conservative_flop.number,
        original_flop=original,
        cumulative_flop=record.compute.cumulative_flop.number,
        estimate_attempted=gpai.estimate_attempt.known,
        is_significant=_any(significant),
        **{name: answer for name, answer in later.items() if name in reads},
    )


def _is_presumed_systemic(record: ModificationRecord) -> bool:
    """Whether a base alone took more compute than that above which a model is presumed to have high-impact capabilities."""
    return any(flop > shipped_rules().limits.systemic_risk_flop for flop in _known_flop(record))


def _is_in_no_system(record: ModificationRecord) -> bool | None:
    """None where nobody has said whether the result is part of a system."""
    after = record.high_risk.classification_after
    if after.known:
        return bool(after.value == "no_system")
    return False if record.high_risk.system_ref.known else None


def _any(answers: list[bool | None]) -> bool | None:
    """True where one is, False where every one is; None while an open one could still say yes."""
    if True in answers:
        return True
    return None if None in answers or not answers else False


def _excludes_union(record: ModificationRecord) -> bool | None:
    """Whether the licence of a base or an ingredient excludes the Union: by its licence flags, else by the terms of each base.

    A flag that says so counts whatever is stated beside it. An ingredient of which no flags are known is taken as not excluding it,
    and nobody is asked about it.
    """
    if any(_flagged(base) for base in record.base):
        return True
    stated = [is_yes(terms.eu_exclusion) for terms in record.upstream]
    if not stated:  # a record of the first form says nothing of a base's terms besides its flags
        return _any([_flagged(base) for base in record.base])
    with_terms = [terms.name.value for terms in record.upstream]
    others = [
        lists_exclusion(base.licence_flags) if base.licence_flags.known else False
        for base in record.base
        if base.name.value not in with_terms
    ]
    return _any([*stated, *others])


def _flagged(base: BaseUsed) -> bool | None:
    return lists_exclusion(base.licence_flags) if isinstance(base.licence_flags.value, list) else None


def is_screened(record: ModificationRecord) -> bool | None:
    """Whether the result is cleared of both prohibitions of what image, audio and video generators make; None where nobody says."""
    screen = record.high_risk.art5_screen
    if not screen.known:
        return None
    outcomes = screen.value if isinstance(screen.value, dict) else {}
    return all(outcomes.get(prohibition) == "cleared" for prohibition in ("ba", "bb"))


def _scope(record: ModificationRecord) -> _Scope:
    if record.identity.kind.value == "merge":
        return "merge_wide"
    return "sum_same_actor" if counts_earlier_runs(record.compute) else "step"


def _ratio_figures(third: ThirdRatio, base: float, method_aware: Value) -> dict[str, Value]:
    aware = method_aware.number
    aware_third = None if aware is None else one_third_ratio(aware, base)
    return {
        "ratio_method_aware": NOT_DERIVED
        if aware_third is None
        else derived(aware_third.ratio, method=code("ratio_method_aware")),
        "ratio": derived(third.ratio, method=code("ratio_dense")),
        "ratio_low": derived(third.low, method=code("ratio_with_tolerance", pct=tolerance_pct())),
        "ratio_high": derived(third.high, method=code("ratio_with_tolerance", pct=tolerance_pct())),
        "threshold_kind": derived("relative", method=code("base_compute_known_or_estimated")),
        "threshold_flop": derived(base / 3, "FLOP", method=code("third_of_base_compute")),
    }


def _no_ratio(own: float | None, original: Value, answers: ModifierAnswers) -> dict[str, Value]:
    """Without a ratio, a fixed threshold only where an estimate was tried and failed (GL J64)."""
    why = code("own_compute_not_known") if own is None else code("no_ratio")
    reason = not_derived(original.reason or why)
    figures = dict.fromkeys(_RATIO_FIGURES, reason)
    kind = answers.threshold_kind
    if kind is not None and kind != "relative":
        figures["threshold_kind"] = derived(kind, method=code("estimate_attempt_recorded"))
        fixed = shipped_rules().limits.fallback_flop(kind)
        figures["threshold_flop"] = derived(fixed, "FLOP", method=code("third_of_fixed_value"))
    return figures


def _exemption(record: ModificationRecord) -> OpenSourceExemption:
    """The conditions of the open-source exemption, with what the licences of the bases decide; what people stated stands."""
    exemption = record.gpai.open_source_exemption
    stated = exemption.licence_ok
    # an answer under a signature stands, also that nobody knows
    if stated.evidence or stated.source not in ("unknown", "derived"):
        return exemption
    flags = disqualifying_flags(record, implied=flags_by_rule_set)
    if flags:
        return exemption.revised(licence_ok=derived("no", method=code("licence_of_base_disqualifies", flags=flags)))
    return exemption.revised(licence_ok=ASKED) if stated.known else exemption


def _systemic_risk(record: ModificationRecord) -> Value:
    method = code("cumulative_against_systemic_risk")
    stated = _any([is_yes(base.has_systemic_risk) for base in record.base])
    if compute_at_least(record) > shipped_rules().limits.systemic_risk_flop:
        return derived("cumulative_over_1e25", method=method)
    if stated:
        return derived("inherited", method=method)
    if not record.compute.cumulative_flop.known:
        return not_derived(code("cumulative_not_known"))
    if stated is False:
        return derived("none", method=method)
    return unknown(code("systemic_risk_of_base_not_stated"))
