"""The decision table of the status: every row, the band around a third, and what an open question does."""

import pytest

from peft_registry.registry.compliance.verdicts import modifier
from peft_registry.registry.compliance.verdicts.gpai import one_third, one_third_ratio
from peft_registry.registry.compliance.verdicts.modifier import ModifierAnswers, decide_modifier, gpai_verdict
from peft_registry.registry.compliance.verdicts.rules import Thresholds, shipped_rules
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.values import declared, imported
from tests.builders.records import (
    NOW,
    a_base_input,
    a_base_record,
    a_digest,
    a_merge_modification,
    a_modification_record,
    signed_by_an_officer,
    some_base_facts,
)

# a text model, placed, by somebody else, no exclusion, a general-purpose base without systemic risk, a small change
PLAIN = {
    "makes_media": False,
    "is_placed": True,
    "is_same_provider": False,
    "excludes_union": False,
    "is_gpai": True,
    "has_systemic_risk": False,
    "own_flop": 1e18,
    "original_flop": 1e24,
    "cumulative_flop": 1.000001e24,
    "is_significant": False,
}
FALLBACK = {"original_flop": None, "cumulative_flop": None, "estimate_attempted": True}
SYSTEMIC = {"has_systemic_risk": True, "original_flop": 3e25, "cumulative_flop": 4e25}


def verdict(**changes):
    return gpai_verdict(ModifierAnswers(**(PLAIN | changes)))


@pytest.mark.parametrize(
    ("changes", "row", "status"),
    [
        ({"makes_media": True}, "G1", "blocked_art5"),
        ({"makes_media": True, "media_cleared": True}, "G13", "downstream_modifier_not_provider"),
        ({"is_placed": False}, "G2", "out_of_scope_now"),
        ({"is_same_provider": True}, "G3", "same_model_update"),
        ({"excludes_union": True}, "G4", "provider_of_original_model"),
        ({"is_gpai": False, "cumulative_flop": 1.1e23}, "G5", "own_gpai_candidate"),
        ({"is_gpai": False, "cumulative_flop": 1e23}, "G6", "not_gpai"),
        (SYSTEMIC | {"own_flop": 2e25}, "G7", "provider_sr"),
        (FALLBACK | {"has_systemic_risk": True, "own_flop": 5e24}, "G8", "provider_sr"),
        ({"own_flop": 0.63e24}, "G9", "provider_modified"),
        (FALLBACK | {"own_flop": 5e22}, "G10", "provider_modified"),
        (FALLBACK | {"own_flop": 2.5e22}, "G13", "downstream_modifier_not_provider"),
        ({"is_significant": True}, "G12", "escalate_qualitative"),
        ({}, "G13", "downstream_modifier_not_provider"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_each_row_of_the_table_gives_its_status(changes, row, status):
    found = verdict(**changes)
    reasons = decide_modifier(ModifierAnswers(**(PLAIN | changes)), EXACT).reasons
    assert len(reasons) == 1
    assert len(reasons[0].split()) > 5, "a decided status is never told without what decided it"
    assert (found.value, found.source) == (status, "derived")
    assert str(found.method).startswith(f"row {row} of the decision table")
    assert "not legal advice" in str(found.method)
    assert found.evidence, "the digest of the answers that it was drawn from"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_gpai": False, "is_gpai_by_itself": True},
         "no base is stated to be a general-purpose model, and the result is stated to be one by itself"),
        ({"is_gpai": False, "is_gpai_by_itself": False},
         "no base is stated to be a general-purpose model, and the result is stated not to be one by itself"),
        ({"is_gpai": False, "cumulative_flop": 1.1e23},
         "no base is stated to be a general-purpose model, and 1.1e+23 FLOP in all are more than 1e+23"),
        ({"is_gpai": False, "cumulative_flop": 0.0},
         "no base is stated to be a general-purpose model, and 0 FLOP in all are not more than 1e+23"),
        ({"is_gpai": False, "cumulative_flop": 1e22},
         "no base is stated to be a general-purpose model, and 1e+22 FLOP in all are not more than 1e+23"),
        ({"own_flop": 0.0},
         "0 FLOP of the modification are 0 of the 1e+24 FLOP of the base (0 to 0), against 0.333, and no significant change is "
         "stated or decided"),
        # a hundredth of the base; 30 % of tolerance on both figures: 0.7 / 1.3 and 1.3 / 0.7 of it
        ({"own_flop": 1e22},
         "1e+22 FLOP of the modification are 0.01 of the 1e+24 FLOP of the base (0.00538 to 0.0186), against 0.333, "
         "and no significant change is stated or decided"),
        ({"own_flop": 0.63e24},
         "6.3e+23 FLOP of the modification are 0.63 of the 1e+24 FLOP of the base (0.339 to 1.17), against 0.333"),
        (FALLBACK | {"own_flop": 5e22},
         "5e+22 FLOP of the modification against 3.33e+22, which stands in for a base without systemic risk whose compute could "
         "not be estimated"),
        (FALLBACK | {"has_systemic_risk": True, "own_flop": 5e24},
         "5e+24 FLOP of the modification against 3.33e+24, which stands in for a base with systemic risk whose compute could not "
         "be estimated"),
    ],
)  # fmt: skip
def test_a_status_says_by_which_figures_it_was_decided(changes, reason):
    assert decide_modifier(ModifierAnswers(**(PLAIN | changes)), shipped_rules().limits).reasons == (reason,)


def test_figures_are_told_with_the_tolerance_of_the_rules_at_hand():
    limits = shipped_rules().limits.revised(tolerance_pct=10.0)
    (reason,) = decide_modifier(ModifierAnswers(**(PLAIN | {"own_flop": 0.63e24})), limits).reasons
    assert "(0.515 to 0.77)" in reason  # 0.63 times 0.9 / 1.1, and times 1.1 / 0.9


@pytest.mark.parametrize("ratio", [0.181, 0.25, 1 / 3, 0.4, 0.618])
def test_a_ratio_between_0_18_and_0_62_is_borderline(ratio):
    assert verdict(own_flop=ratio * 1e24).value == "borderline"


@pytest.mark.parametrize(("ratio", "status"), [(0.17, "downstream_modifier_not_provider"), (0.63, "provider_modified")])
def test_a_ratio_outside_the_band_is_clear(ratio, status):
    assert verdict(own_flop=ratio * 1e24).value == status


@pytest.mark.parametrize("factor", [0.78, 1.0, 1.42])
def test_a_fixed_threshold_has_the_band_of_one_figure(factor):
    assert verdict(**FALLBACK, own_flop=factor * 1e23 / 3).value == "borderline"


@pytest.mark.parametrize(
    ("factor", "status"), [(0.76, "downstream_modifier_not_provider"), (1.44, "provider_modified")]
)
def test_outside_of_that_band_it_decides(factor, status):
    assert verdict(**FALLBACK, own_flop=factor * 1e23 / 3).value == status


@pytest.mark.parametrize("question", ["is_placed", "is_same_provider", "excludes_union", "is_gpai", "has_systemic_risk",
                                      "own_flop", "is_significant", "makes_media"])  # fmt: skip
def test_an_open_question_that_decides_leaves_the_status_open_and_is_named(question):
    found = verdict(**{question: None})
    assert not found.known
    assert str(found.reason).startswith("undetermined: not recorded is ")


def test_a_fixed_threshold_stands_in_only_after_an_estimate_was_tried():
    found = verdict(original_flop=None, cumulative_flop=None)
    assert not found.known
    assert "what was tried to estimate it" in str(found.reason)


def test_a_question_that_no_longer_decides_is_not_asked():
    assert verdict(is_placed=False, excludes_union=None, is_significant=None).value == "out_of_scope_now"


# --- through a record ---

ANSWERS = {
    "asserted_by": "a lawyer",
    "modifier": {"role_claimed": "downstream_modifier"},
    "gpai": {
        "placed_on_eu_market": "yes",
        "placing_date": "2026-03-01",
        "qualitative_change": {"generality": "none", "capabilities": "minor", "systemic_risk": "none"},
    },
    "base": {"*": {"is_gpai": "yes", "has_systemic_risk": "no"}},
}


def with_base(**facts):
    facts = {"training_compute_flop": imported(1.6e21, "FLOP", method="model card")} | facts
    return (a_base_input(record=a_base_record(facts=some_base_facts(**facts))),)


def test_a_base_that_excludes_the_union_makes_whoever_places_it_its_provider():
    excluding = with_base(eu_exclusion=imported("yes", method="README.md, extra_gated_eu_disallowed: true"))
    facts = ANSWERS | {"high_risk": {"classification_after": "not_high_risk"}}
    record = signed_by_an_officer(a_modification_record(bases=excluding, facts=facts))
    assert record.gpai.verdict.value == "provider_of_original_model"
    assert record.upstream[0].eu_exclusion.source == "imported"


def test_a_small_adapter_of_a_base_that_excludes_nobody_is_not_a_provider():
    base = with_base(eu_exclusion=declared(False, by="x", at=NOW))
    record = signed_by_an_officer(a_modification_record(bases=base, facts=ANSWERS))
    assert record.gpai.verdict.value == "downstream_modifier_not_provider"


def test_nobody_has_read_the_licence_leaves_the_status_open():
    record = signed_by_an_officer(a_modification_record(bases=with_base(), facts=ANSWERS))
    assert "whether the licence of the base excludes the Union" in str(record.gpai.verdict.reason)


# --- cumulative compute ---


def bases_of(*flops):
    """Bases of different weights, each trained with so many FLOP."""
    return tuple(
        a_base_input(
            name=f"base-{at}",
            record=a_base_record(
                identity=a_base_record().identity.revised(weights=a_digest(f"weights {at}")),
                facts=some_base_facts(training_compute_flop=imported(flop, "FLOP", method="model card")),
            ),
        )
        for at, flop in enumerate(flops)
    )


def test_two_unrelated_bases_of_6e24_are_over_1e25_together():
    record = a_modification_record(bases=bases_of(6e24, 6e24))
    assert record.compute.cumulative_flop.value == pytest.approx(1.2e25)
    assert record.gpai.sr_flag.value == "cumulative_over_1e25"
    assert not record.gpai.ratio.known, "there is no one base to compare with"


def test_a_base_that_comes_twice_counts_once():
    (base,) = bases_of(6e24)
    record = a_modification_record(bases=(base, base))
    assert record.compute.cumulative_flop.value == pytest.approx(6e24)
    assert record.gpai.sr_flag.value is None


def test_two_adapters_of_one_base_of_6e24_are_not_over():
    (base,) = bases_of(6e24)
    record = a_merge_modification(base=base)
    assert record.compute.cumulative_flop.value == pytest.approx(6e24)
    assert record.gpai.sr_flag.value is None
    assert "nobody has said" in str(record.gpai.sr_flag.reason)


def test_one_base_of_unknown_compute_leaves_the_sum_open():
    known, unknown_one = bases_of(6e24)[0], a_base_input(name="other")
    other = unknown_one.revised(record=a_base_record(identity=a_base_record().identity.revised(weights=a_digest("o"))))
    assert not a_modification_record(bases=(known, other)).compute.cumulative_flop.known


def test_exactly_a_third_is_not_over():
    assert not one_third_ratio(1.0, 3.0).ratio > one_third()
    assert one_third_ratio(1.0000001, 3.0).ratio > one_third()


def test_a_record_of_exactly_a_third_is_borderline_and_not_over():
    """GL J63: strictly more than a third; with the tolerance of J123 the figures do not say on which side it is."""
    record = a_modification_record()
    own = record.compute.conservative_flop.value
    base = with_base(
        training_compute_flop=imported(3 * own, "FLOP", method="model card"),
        eu_exclusion=declared("no", by="x", at=NOW),
    )
    gpai = signed_by_an_officer(a_modification_record(bases=base, facts=ANSWERS)).gpai
    assert gpai.ratio.value == one_third()
    assert own == pytest.approx(gpai.threshold_flop.value, rel=1e-15)
    assert gpai.verdict.value == "borderline"


@pytest.mark.parametrize(
    ("ratio", "status"),
    [
        (0.17, "downstream_modifier_not_provider"),
        (0.181, "borderline"),
        (0.618, "borderline"),
        (0.63, "provider_modified"),
    ],
)
def test_the_band_of_a_record_is_between_0_18_and_0_62(ratio, status):
    own = a_modification_record().compute.conservative_flop.value
    compute = imported(own / ratio, "FLOP", method="model card")
    base = with_base(training_compute_flop=compute, eu_exclusion=declared("no", by="x", at=NOW))
    record = signed_by_an_officer(a_modification_record(bases=base, facts=ANSWERS))
    assert record.gpai.verdict.value == status


def test_the_printed_compute_of_a_merge_is_the_sum_of_its_printed_rows():
    record = a_merge_modification()
    rows = record.compute.inputs.value["ingredients"]
    assert record.compute.conservative_flop.value == sum(6 * row["P"] * row["D"] for row in rows)
    assert record.compute.inputs.value["wide_flop"] == record.compute.conservative_flop.value
    assert record.compute.inputs.value["narrow_flop"] == 0


# a threshold of 1 FLOP, a tolerance of half: figures that a computer holds exactly
EXACT = Thresholds(one_third=0.5, tolerance_pct=50, gpai_flop=2.0, systemic_risk_flop=4.0)


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        (FALLBACK | {"own_flop": 2.0}, "G11"),  # half of it is the threshold
        (FALLBACK | {"own_flop": 2.01}, "G10"),
        (FALLBACK | {"own_flop": 0.75}, "G11"),
        (FALLBACK | {"own_flop": 0.625}, "G13"),
        (FALLBACK | {"has_systemic_risk": True, "own_flop": 4.0}, "G11"),
        (FALLBACK | {"has_systemic_risk": True, "own_flop": 4.01}, "G8"),
        ({"is_gpai": False, "cumulative_flop": 2.0}, "G6"),
        ({"is_gpai": False, "cumulative_flop": 2.01}, "G5"),
    ],
    ids=str,
)
def test_a_figure_at_the_edge_of_a_band_is_on_the_side_that_the_guidelines_say(changes, row):
    assert decide_modifier(ModifierAnswers(**(PLAIN | changes)), EXACT).row == row


def test_nobody_tried_to_estimate_anything_before_somebody_says_so():
    assert ModifierAnswers().estimate_attempted is False


def test_open_questions_are_those_that_nobody_answered():
    decision = decide_modifier(ModifierAnswers(makes_media=False), EXACT)
    assert decision.row is None
    assert "whether the result is placed on the Union market" in decision.missing
    assert "whether the result generates images, audio or video" not in decision.missing


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        # whatever else is answered, a base that is not general ends the table, and so does being its provider
        ({"is_gpai": False, "cumulative_flop": 1.0}, ("is_placed", "is_same_provider", "excludes_union")),
        ({"is_gpai": False}, ("is_placed", "is_same_provider", "excludes_union", "is_large")),
        ({"is_same_provider": True}, ("is_placed",)),
        ({"is_gpai": True, "own_flop": 1.0, "original_flop": 9.0}, ("is_placed", "is_same_provider", "excludes_union")),
    ],
    ids=str,
)
def test_a_question_below_the_row_that_ends_the_table_is_not_asked(known, asked):
    decision = decide_modifier(ModifierAnswers(makes_media=False, **known), EXACT)
    below = {"has_systemic_risk", "is_significant"} if known.get("is_gpai") else set()
    assert set(decision.missing) == {str(modifier._QUESTIONS[need]) for need in {*asked, *below}}


# no tolerance, a band of one figure; and one of a quarter, that a computer holds exactly too
SHARP = EXACT.revised(tolerance_pct=0)
QUARTER = EXACT.revised(tolerance_pct=25, gpai_flop=2.5)


@pytest.mark.parametrize(
    ("limits", "changes", "row"),
    [
        (SHARP, FALLBACK | {"own_flop": 1.0}, "G13"),  # exactly the threshold is not over it
        (SHARP, FALLBACK | {"own_flop": 1.01}, "G10"),
        (SHARP, {"own_flop": 1.0, "original_flop": 2.0}, "G13"),
        (SHARP, {"own_flop": 1.01, "original_flop": 2.0}, "G9"),
        (QUARTER, FALLBACK | {"own_flop": 1.0}, "G13"),  # a quarter more of it is the threshold
        (QUARTER, FALLBACK | {"own_flop": 1.01}, "G11"),
        # by the tolerance of the rules, and not by that of the shipped ones, half of a ratio of 0.2 reaches the threshold
        (EXACT, {"own_flop": 0.2, "original_flop": 1.0}, "G11"),
        (EXACT.revised(tolerance_pct=30), {"own_flop": 0.2, "original_flop": 1.0}, "G13"),
    ],
    ids=str,
)
def test_the_band_is_that_of_the_rules_that_it_is_held_against(limits, changes, row):
    assert decide_modifier(ModifierAnswers(**(PLAIN | changes)), limits).row == row


def test_compute_of_all_is_asked_for_where_no_base_is_a_general_purpose_model():
    decision = decide_modifier(ModifierAnswers(**(PLAIN | {"is_gpai": False, "cumulative_flop": None})), EXACT)
    assert decision.missing == ("the training compute of all that went in",)
    assert ModifierAnswers(is_gpai=True, cumulative_flop=1e30).is_large(EXACT) is False


def test_open_questions_are_told_one_after_the_other():
    found = verdict(is_gpai=None, is_significant=None)
    assert str(found.reason) == (
        "undetermined: not recorded is whether the base is a general-purpose model; whether the change is significant"
    )


def test_the_evidence_of_a_status_is_the_digest_of_the_answers():
    answers = ModifierAnswers(**PLAIN)
    assert gpai_verdict(answers).evidence == (canonical_digest(answers.model_dump(mode="json")),)
