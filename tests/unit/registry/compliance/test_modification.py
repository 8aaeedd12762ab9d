"""What a run's modification record says: measured where it was measured, unknown with a reason elsewhere, never a silent no."""

import json

import pytest

from peft_registry.registry.compliance.completeness import completeness, conditions_of
from peft_registry.registry.compliance.facts import FactMalformed, FactNotDeclarable, FactUnknown
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.modification import ChangeFigures
from peft_registry.schemas.values import declared, imported, measured, unknown
from tests.builders.records import (
    NOW,
    a_base_input,
    a_base_record,
    a_digest,
    a_modification_record,
    a_profile,
    a_run_record,
    an_evaluation,
    some_base_facts,
    some_compute,
)

BASE_FLOP = 1.6e21  # 6 · 134.5e6 parameters · 2e12 tokens, about


def with_base_facts(**facts):
    record = a_base_record(facts=some_base_facts(**facts))
    return a_modification_record(bases=(a_base_input(record=record),))


def test_what_the_run_measured_is_measured():
    record = a_modification_record()
    assert record.peft.rank.value == 8
    assert record.peft.rank.source == "measured"
    assert record.method.kind.value == "lora"
    assert record.change.params_changed.value == 0
    assert record.change.base_weights_untouched.value == "yes"
    assert record.data[0].n_points.value == 200
    assert record.data[0].n_tokens.value == 23_700
    assert record.compute.inputs.value == {"P": 134_515_008, "D": 21_400}
    assert record.compute.wall_clock_days.value == pytest.approx(281 / 86400)
    assert record.compute.nca_range.value == "<1 month"


def test_unanswered_profile_questions_stay_unknown_with_the_reason():
    record = a_modification_record()
    assert record.modifier.legal_name.value == "Example Laboratory"
    assert record.modifier.contact.reason == "not answered at init"


def test_every_unknown_value_gives_a_reason():
    assert all(leaf.value.reason for leaf in leaves(a_modification_record()) if not leaf.value.known)


def test_without_the_base_compute_there_is_no_ratio_and_no_verdict():
    gpai = a_modification_record().gpai
    assert not gpai.ratio.known
    assert "neither the training compute nor the training tokens" in gpai.ratio.reason
    assert not gpai.verdict.known
    assert "whether the base is a general-purpose model" in gpai.verdict.reason
    assert not gpai.sr_flag.known


def test_the_ratio_uses_the_conservative_figure_and_shows_the_other():
    gpai = with_base_facts(training_compute_flop=imported(BASE_FLOP, "FLOP", method="model card")).gpai
    assert gpai.ratio.value == pytest.approx(1.73e13 / BASE_FLOP)
    assert gpai.ratio.source == "derived"
    assert gpai.ratio_low.value == pytest.approx(gpai.ratio.value * 0.7 / 1.3)
    assert gpai.ratio_high.value == pytest.approx(gpai.ratio.value * 1.3 / 0.7)
    assert gpai.ratio_method_aware.value == pytest.approx(1.2e13 / BASE_FLOP)
    assert gpai.threshold_flop.value == pytest.approx(BASE_FLOP / 3)
    assert not gpai.verdict.known


def test_the_base_compute_is_estimated_from_its_tokens_before_it_counts_as_unknown():
    record = with_base_facts(training_tokens=imported(2e12, "tokens", method="model card"))
    assert record.gpai.original_flop.value == pytest.approx(6 * 134_515_008 * 2e12)
    assert "6·P·D" in record.gpai.original_flop.method
    assert record.compute.cumulative_flop.value == pytest.approx(6 * 134_515_008 * 2e12, rel=1e-6)


@pytest.mark.parametrize("nonsense", ["lots", 0, -1, True, [1]])
def test_a_base_compute_that_is_no_positive_number_gives_no_ratio(nonsense):
    assert not with_base_facts(training_compute_flop=declared(nonsense, by="x", at=NOW)).gpai.ratio.known


@pytest.mark.parametrize(
    ("stated", "flag"),
    [(declared("no", by="x", at=NOW), "none"), (declared("yes", by="x", at=NOW), "inherited"), (unknown("?"), None)],
)
def test_absence_of_a_statement_on_systemic_risk_is_not_a_no(stated, flag):
    compute = imported(BASE_FLOP, "FLOP", method="model card")
    record = with_base_facts(training_compute_flop=compute, has_systemic_risk=stated)
    assert record.gpai.sr_flag.value == flag


def test_a_cumulative_compute_over_1e25_is_flagged_whatever_is_stated():
    record = with_base_facts(
        training_compute_flop=imported(1.1e25, "FLOP", method="model card"),
        has_systemic_risk=declared("no", by="x", at=NOW),
    )
    assert record.gpai.sr_flag.value == "cumulative_over_1e25"


def test_without_an_evaluation_the_held_out_loss_remains():
    evaluation = a_modification_record(evaluation=None).evaluation
    assert evaluation.delta.value[0]["change"] == pytest.approx(-0.541)
    assert not evaluation.bias.known
    assert "no evaluation" in evaluation.bias.reason


def test_the_evaluation_section_binds_the_evidence_and_keeps_intervals():
    evidence = an_evaluation()
    section = a_modification_record(evaluation=evidence).evaluation
    assert evidence.items.sha256 in section.metrics.evidence
    assert section.metrics.value[0]["low"] == 0.5622
    assert section.bias.value[0]["conclusion"] == "inconclusive"
    assert section.bias.value[0]["introduced"] == 4


def test_unknown_energy_says_why_and_asks_for_no_boundary():
    record = a_modification_record()
    assert record.energy.missing_info.value == "no energy sensor on this machine"
    assert "energy.boundary" not in [gap.field for gap in completeness(record).open]
    metered = a_run_record(compute=some_compute(energy_kwh=measured(0.01, "kWh", method="RAPL")))
    assert "energy.boundary" in [gap.field for gap in completeness(a_modification_record(run=metered)).open]


def test_the_same_inputs_give_the_same_record():
    assert a_modification_record().to_canonical() == a_modification_record().to_canonical()


def test_an_adapter_beside_an_untouched_base_changed_none_of_its_parameters():
    change = a_modification_record(change=ChangeFigures(added=7, base_untouched=True)).change
    assert (change.params_changed.value, change.params_removed.value, change.pct_of_base.value) == (0, 0, 0.0)
    assert not a_modification_record(change=ChangeFigures(added=7)).change.params_changed.known


def test_the_optimiser_of_the_loop_is_recorded():
    assert a_modification_record(optimiser="AdamW").method.optimiser.value == "AdamW"
    assert not a_modification_record().method.optimiser.known


# --- completeness ---


def test_completeness_adds_up():
    found = completeness(a_modification_record())
    assert found.filled + len(found.open) == found.total
    assert sum(count for _, count in found.by_owner) == len(found.open)
    assert found.sentence.startswith(f"{found.filled} of {found.total} fields filled, {len(found.open)} open (")


def test_one_more_answer_is_one_more_filled_field():
    before = completeness(a_modification_record())
    after = completeness(a_modification_record(profile=a_profile(contact=declared("post@example.org", by="x", at=NOW))))
    assert (after.filled, after.total) == (before.filled + 1, before.total)
    assert dict(after.by_owner)["modifier"] == dict(before.by_owner)["modifier"] - 1


def test_a_second_data_file_asks_its_own_questions():
    one = a_run_record()
    two = a_run_record(data=(one.data[0], one.data[0].model_copy(update={"name": "more.jsonl"})))
    fields = [gap.field for gap in completeness(a_modification_record(run=two)).open]
    assert "data[0].labelling" in fields
    assert "data[1].labelling" in fields


def test_a_base_that_may_be_general_purpose_is_asked_about_and_one_that_is_not_is_not():
    maybe = completeness(a_modification_record())
    not_gpai = completeness(with_base_facts(is_gpai=declared("no", by="x", at=NOW)))
    assert "base[0].release_date" in [gap.field for gap in maybe.open]
    assert "base[0].release_date" not in [gap.field for gap in not_gpai.open]


def test_questions_that_nobody_decided_are_listed_and_do_not_count_as_no():
    assert "gpai.placed_on_eu_market" in completeness(a_modification_record()).undecided


@pytest.mark.parametrize(
    ("facts", "condition", "field"),
    [
        ({"gpai": {"placed_on_eu_market": "yes"}}, "eu", "modifier.size_class"),
        ({"high_risk": {"classification_after": "annex_iii_4"}}, "hr", "risk.register_ref"),
    ],
)
def test_an_answer_can_make_more_fields_required(facts, condition, field):
    record = a_modification_record(facts={"asserted_by": "a lawyer"} | facts)
    assert condition in conditions_of(record).met
    assert field in [gap.field for gap in completeness(record).open]


def test_personal_data_asks_for_the_legal_basis_of_that_file_only():
    run = a_run_record()
    run = a_run_record(data=(run.data[0], run.data[0].model_copy(update={"name": "more.jsonl"})))
    facts = {"asserted_by": "a data owner", "data": {"more.jsonl": {"personal_data": "yes"}}}
    fields = [gap.field for gap in completeness(a_modification_record(run=run, facts=facts)).open]
    assert "data[1].legal_basis" in fields
    assert "data[0].legal_basis" not in fields


# --- facts ---


def test_a_fact_is_declared_by_its_author_at_the_time_of_the_record():
    record = a_modification_record(facts={"asserted_by": "a data owner", "data": {"*": {"labelling": "by hand"}}})
    value = record.data[0].labelling
    assert (value.value, value.source, value.asserted_by, value.asserted_at) == (
        "by hand",
        "declared",
        "a data owner",
        NOW,
    )


def test_a_declared_base_compute_gives_a_ratio():
    facts = {"asserted_by": "a lawyer", "base": {"small-llama": {"training_compute_flop": BASE_FLOP}}}
    assert a_modification_record(facts=facts).gpai.ratio.value == pytest.approx(1.73e13 / BASE_FLOP)


def test_a_fact_may_say_that_the_answer_was_looked_for():
    facts = {"asserted_by": "a lawyer", "use": {"intended": {"unknown": "the product is not chosen"}}}
    assert a_modification_record(facts=facts).use.intended.reason == "the product is not chosen (stated by a lawyer)"


@pytest.mark.parametrize(
    ("facts", "error", "says"),
    [
        pytest.param({"use": {"intended": "x"}}, FactMalformed, "nobody is named", id="nobody asserts it"),
        pytest.param({"asserted_by": "x", "use": {"intendd": "y"}}, FactUnknown, "use.intendd", id="misspelt"),
        pytest.param({"asserted_by": "x", "data": {"other": {}}}, FactUnknown, "data.other", id="no such data"),
        pytest.param({"asserted_by": "x", "use": "y"}, FactMalformed, "section", id="text for a section"),
        pytest.param({"asserted_by": "x", "use": {"intended": None}}, FactMalformed, "empty", id="empty"),
        pytest.param({"asserted_by": "x", "use": {"intended": 3}}, FactMalformed, "not text", id="number for text"),
        pytest.param({"asserted_by": "x", "data": {"*": {"languages": "en"}}}, FactMalformed, "several", id="no list"),
        pytest.param(
            {"asserted_by": "x", "data": {"*": {"personal_data": "some"}}}, FactMalformed, "none", id="choice"
        ),
        pytest.param({"asserted_by": "x", "gpai": {"ratio": 0.1}}, FactNotDeclarable, "itself", id="the tool's field"),
    ],
)
def test_a_fact_that_cannot_be_is_refused(facts, error, says):
    with pytest.raises(error) as caught:
        a_modification_record(facts=facts)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_what_was_derived_stands_against_a_fact():
    record = a_modification_record(facts={"asserted_by": "x", "energy": {"missing_info": "the meter was off"}})
    assert record.energy.missing_info.value == "no energy sensor on this machine"


def test_a_full_fine_tune_needs_no_rank():
    run = a_run_record(method="full", config={"training": {"num_train_epochs": 1.0}})
    record = a_modification_record(run=run)
    assert record.method.kind.value == "full_ft"
    assert "peft.rank" not in [gap.field for gap in completeness(record).open]


def test_the_record_names_the_weights_that_the_change_is_against():
    assert a_modification_record().change.relative_to.value == str(a_digest("base weights"))


@pytest.mark.parametrize("flop", [1e18, 2.0**53, 3.7e20, 1.2e23])
def test_a_count_beyond_2_to_the_53_is_written_read_and_written_again(flop):
    value = declared({"flop": [flop]}, "FLOP", by="provider", at=NOW)
    again = type(value).from_json(json.loads(value.to_canonical()))
    assert again.to_canonical() == value.to_canonical()
    assert again.value == {"flop": [flop]}
