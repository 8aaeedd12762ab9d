"""What a run's modification record says: measured where it was measured, unknown with a reason elsewhere, never a silent no."""

import hashlib
import json

import pytest

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.completeness import completeness, conditions_of
from peft_registry.registry.compliance.energy import COUNTERS
from peft_registry.registry.compliance.facts import FactUnknown
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.modification import ChangeFigures
from peft_registry.registry.compliance.recorded_result import Signing
from peft_registry.registry.compliance.rule_files import deriving_by
from peft_registry.registry.compliance.stated import FactMalformed, FactNotDeclarable
from peft_registry.registry.reports.text import value_text
from peft_registry.schemas.codes import code, says
from peft_registry.schemas.modification import DeclaredPower
from peft_registry.schemas.values import declared, derived, imported, measured, unknown
from tests.builders.records import (
    NOW,
    a_base_input,
    a_base_record,
    a_digest,
    a_merge_modification,
    a_modification_record,
    a_profile,
    a_run_record,
    an_evaluation,
    signed_by_an_officer,
    some_base_facts,
    some_compute,
)

OWN_FLOP = 6 * 134_515_008 * 21_400
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
    assert value_text(record.compute.nca_range) == "<1 month"


def recomputed(record):
    """6·P·D from what the record prints."""
    return 6 * record.compute.inputs.value["P"] * record.compute.inputs.value["D"]


def test_the_printed_inputs_give_the_printed_compute_and_ratio():
    record = with_base_facts(training_tokens=imported(2e12, "tokens", method="model card"))
    assert recomputed(record) == record.compute.conservative_flop.value
    original = 6 * record.base[0].params_total.value * record.base[0].training_tokens.value
    assert record.gpai.ratio.value == pytest.approx(recomputed(record) / original, rel=1e-12)


@pytest.mark.parametrize(("figure", "tokens"), [(6.0 * 134_515_008 * 21_400, 21_400), (1.9e13, 21_400)])
def test_a_run_that_kept_no_inputs_prints_those_that_give_its_figure(figure, tokens):
    compute = some_compute(
        conservative_flop=derived(figure, "FLOP", method="6·P·D"),
        tokens=measured(tokens, "tokens"),
        dense_inputs=None,
    )
    # the run counted the adapter's parameters among all of the model's
    run = a_run_record(compute=compute, parameters_total=134_515_008 + 2_442_240)
    record = a_modification_record(run=run)
    assert recomputed(record) == pytest.approx(figure, rel=1e-12)


def test_a_run_record_that_kept_no_inputs_reads_back_to_its_own_bytes():
    old = a_run_record(compute=some_compute(dense_inputs=None))
    assert "dense_inputs" not in old.to_json()["compute"]
    assert type(old).from_json(old.to_json()).to_canonical() == old.to_canonical()


def test_a_run_that_went_on_from_others_prints_what_gives_the_sum():
    earlier = tuple(
        Ancestor(label=f"step:{step}", manifest=a_digest(f"step {step}"), is_parent=step == 2, run=a_run_record())
        for step in (1, 2)
    )
    record = a_modification_record(ancestors=earlier)
    rows = record.compute.inputs.value["went_on_from"]
    assert record.compute.conservative_flop.value == recomputed(record) + sum(6 * row["P"] * row["D"] for row in rows)
    own = record.compute.inputs.value["step_param_update_flop"]
    assert record.compute.param_update_flop.value == own + sum(row["param_update_flop"] for row in rows)
    assert own == 1.2e13
    assert record.compute.inputs.source == "derived", "the figures of its rows are"


@pytest.mark.parametrize(
    ("kept", "source"),
    [({}, "measured"), ({"dense_inputs": None}, "measured"), ({"dense_inputs": None, "figure": 1.9e13}, "derived")],
)
def test_a_d_that_was_solved_from_the_figure_is_derived_with_its_formula(kept, source):
    over = dict(kept)
    if "figure" in over:
        over["conservative_flop"] = derived(over.pop("figure"), "FLOP", method="6·P·D")
    inputs = a_modification_record(run=a_run_record(compute=some_compute(**over))).compute.inputs
    assert inputs.source == source
    assert ("figure / (6·P)" in str(inputs.method)) == (source == "derived")


def test_the_inputs_of_a_merge_are_derived_from_its_runs():
    inputs = a_merge_modification().compute.inputs
    assert inputs.source == "derived"
    assert "run record" in str(inputs.method)


def test_the_share_that_changed_is_of_the_bases_parameters():
    run = a_run_record(method="full", parameters_total=150_000_000)
    change = a_modification_record(run=run, change=ChangeFigures(changed=134_515_008)).change
    assert change.pct_of_base.value == 100.0


def test_a_norm_that_there_cannot_be_says_why():
    why = code("no_norm", because="a prompt")
    change = a_modification_record(change=ChangeFigures(norm_unknown=why)).change
    assert (str(change.rel_norm_global.reason), str(change.modules.reason)) == ("there is none: a prompt",) * 2


def test_unanswered_profile_questions_stay_unknown_with_the_reason():
    record = a_modification_record()
    assert record.modifier.legal_name.value == "Example Laboratory"
    assert says(record.modifier.contact.reason, "not_answered_at_init")


def test_every_unknown_value_gives_a_reason():
    assert all(leaf.value.reason for leaf in leaves(a_modification_record()) if not leaf.value.known)


def test_without_the_base_compute_there_is_no_ratio_and_no_verdict():
    gpai = a_modification_record().gpai
    assert not gpai.ratio.known
    assert "neither the training compute nor the training tokens" in str(gpai.ratio.reason)
    assert not gpai.verdict.known
    assert "whether the base is a general-purpose model" in str(gpai.verdict.reason)
    assert not gpai.sr_flag.known


def test_the_ratio_uses_the_conservative_figure_and_shows_the_other():
    gpai = with_base_facts(training_compute_flop=imported(BASE_FLOP, "FLOP", method="model card")).gpai
    assert gpai.ratio.value == pytest.approx(OWN_FLOP / BASE_FLOP)
    assert gpai.ratio.source == "derived"
    assert gpai.ratio_low.value == pytest.approx(gpai.ratio.value * 0.7 / 1.3)
    assert gpai.ratio_high.value == pytest.approx(gpai.ratio.value * 1.3 / 0.7)
    assert gpai.ratio_method_aware.value == pytest.approx(1.2e13 / BASE_FLOP)
    assert gpai.threshold_flop.value == pytest.approx(BASE_FLOP / 3)
    assert not gpai.verdict.known


def test_the_base_compute_is_estimated_from_its_tokens_before_it_counts_as_unknown():
    record = with_base_facts(training_tokens=imported(2e12, "tokens", method="model card"))
    assert record.gpai.original_flop.value == pytest.approx(6 * 134_515_008 * 2e12)
    assert "6·P·D" in str(record.gpai.original_flop.method)
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
    assert "no evaluation" in str(evaluation.bias.reason)


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
    metered = a_run_record(compute=some_compute(energy_kwh=measured(0.01, "kWh", method="a meter of the wall socket")))
    assert "energy.boundary" in [gap.field for gap in completeness(a_modification_record(run=metered)).open]


def test_counters_of_chips_say_what_they_see_and_what_not():
    metered = a_run_record(compute=some_compute(energy_kwh=measured(0.01, "kWh", method=COUNTERS)))
    energy = a_modification_record(run=metered).energy
    assert energy.boundary.value == "accelerator"
    assert "power supplies" in value_text(energy.missing_info)


POWER = {"asserted_by": "an engineer", "power": {"device_watts": 400}}


def test_without_a_sensor_declared_power_gives_the_energy():
    energy = a_modification_record(facts=POWER).energy
    assert energy.training_kwh.value == pytest.approx(0.078 * 400 / 1000)
    assert (energy.training_kwh.source, energy.training_kwh.unit) == ("derived", "kWh")
    assert "declared by an engineer" in str(energy.method.method)
    assert energy.boundary.value == "accelerator"
    missing = value_text(energy.missing_info)
    assert "not measured" in missing and "power usage effectiveness" in missing


def test_a_declared_power_usage_effectiveness_makes_it_the_energy_of_the_facility():
    record = a_modification_record(facts=POWER | {"energy": {"pue": 1.3}})
    assert record.energy.training_kwh.value == pytest.approx(0.078 * 400 / 1000 * 1.3)
    assert record.energy.boundary.value == "facility"
    assert record.documentation.energy_mwh.value == pytest.approx(0.078 * 400 / 1e6 * 1.3)


def test_what_a_sensor_measured_is_not_replaced_by_declared_power():
    metered = a_run_record(compute=some_compute(energy_kwh=measured(0.01, "kWh", method=COUNTERS)))
    energy = a_modification_record(run=metered, facts=POWER).energy
    assert (energy.training_kwh.value, energy.training_kwh.source) == (0.01, "measured")


@pytest.mark.parametrize("watts", [0, -400])
def test_power_that_is_none_gives_no_energy(watts):
    power = DeclaredPower(device_watts=declared(watts, by="an engineer", at=NOW))
    record = with_assessment(a_modification_record().revised(power=power))
    assert not record.energy.training_kwh.known


def placed(day, **more):
    facts = {"asserted_by": "a lawyer", "gpai": {"placed_on_eu_market": "yes", "placing_date": day} | more}
    return signed_by_an_officer(a_modification_record(facts=facts)).retention


@pytest.mark.parametrize(
    ("day", "until"), [("2026-03-01", "2036-03-01"), ("2024-02-29", "2034-02-28"), ("2028-02-29", "2038-02-28")]
)
def test_retention_counts_ten_calendar_years_from_placing(day, until):
    retention = placed(day)
    assert (retention.start_date.value, retention.until.value) == (day, until)
    assert "Art. 18" in str(retention.until.method)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({}, "whether and when it was placed"),
        ({"placed_on_eu_market": "no"}, "not placed on the Union market"),
        ({"placed_on_eu_market": "yes"}, "the day of placing"),
    ],
)
def test_what_is_not_placed_is_kept_without_end(facts, why):
    record = a_modification_record(facts={"asserted_by": "a lawyer", "gpai": facts} if facts else None)
    retention = signed_by_an_officer(record).retention
    assert retention.until.value is None
    assert why in str(retention.until.reason) and "kept without end" in str(retention.until.reason)


def test_a_longer_time_that_somebody_declared_stands():
    facts = {"asserted_by": "a lawyer", "gpai": {"placed_on_eu_market": "yes", "placing_date": "2026-03-01"}}
    record = signed_by_an_officer(a_modification_record(facts=facts | {"retention": {"until": "2046-03-01"}}))
    assert (record.retention.until.value, record.retention.until.source) == ("2046-03-01", "declared")
    assert record.retention.start_date.value == "2026-03-01"


def test_a_later_answer_changes_what_was_derived_before():
    record = a_modification_record(facts=POWER)
    later = with_assessment(record.revised(energy=record.energy.revised(pue=declared(1.5, by="an engineer", at=NOW))))
    assert later.energy.training_kwh.value == pytest.approx(record.energy.training_kwh.value * 1.5)
    assert later.energy.boundary.value == "facility"
    assert with_assessment(later).to_canonical() == later.to_canonical(), "an assessment changes nothing twice"


def test_a_signed_evaluation_has_its_signer():
    signing = Signing(key_id="lab-1", person="the engineer", log_origin="peft-registry/example")
    section = a_modification_record(signing=signing).evaluation
    assert section.signed_by.value == [{"key": "lab-1", "person": "the engineer"}]
    assert an_evaluation().canonical_digest() in section.signed_by.evidence
    assert section.signed_at.value == NOW
    assert "followed no plan" in str(section.plan_digest.reason)


@pytest.mark.parametrize(("entry", "where"), [({}, "in no log before it"), ({"log_index": 12}, "entry 12 of the log")])
def test_the_plan_of_an_evaluation_is_named_with_where_it_stands(entry, where):
    plan = {"sha256": str(a_digest("plan")), "plan": {}} | entry
    section = a_modification_record(evaluation=an_evaluation(extra={"plan": plan})).evaluation
    assert section.plan_digest.value == str(a_digest("plan"))
    assert where in str(section.plan_digest.method)


def test_without_an_evaluation_nobody_signed_one():
    section = a_modification_record(evaluation=None).evaluation
    assert not section.signed_by.known
    assert "no evaluation" in str(section.signed_by.reason)


@pytest.mark.parametrize(
    ("parameters", "size"),
    [(705_408, "1-500M"), (499_999_999, "1-500M"), (500_000_000, "500M-5B"), (7_000_000_000, "5B-15B"),
     (70_000_000_000, "50B-100B"), (2_000_000_000_000, ">1T")],
)  # fmt: skip
def test_the_size_is_in_the_range_of_the_form(parameters, size):
    base = a_base_input(record=a_base_record(parameters_total=parameters))
    record = a_modification_record(bases=(base,), change=ChangeFigures(added=0, base_untouched=True))
    assert record.product.params_total.value == parameters
    assert record.documentation.size_range.value == size


@pytest.mark.parametrize(
    ("edition", "acquired_to", "latest"),
    [
        ("2027-02", "11/2021", "11/2021"),  # as the public summary writes it
        ("2027-02", "2026-09-30", "09/2026"),
        ("2027-01", "11/2021", None),
        ("2027-01", "2026-09-30", "09/2026"),
    ],
)
def test_the_latest_acquisition_is_read_of_a_day_and_of_a_month(edition, acquired_to, latest):
    with deriving_by(edition):
        record = a_modification_record(facts={"asserted_by": "x", "data": {"*": {"acquired_to": acquired_to}}})
    assert record.content.latest_acquisition.value == latest


def test_figures_for_authorities_are_orders_of_magnitude_and_ranges():
    record = a_modification_record(facts={"asserted_by": "x", "data": {"*": {"acquired_to": "2026-09-30"}}})
    assert record.documentation.flop_order.value == "10^13"
    assert value_text(record.content.size_range) == "<1 B tokens"
    assert record.content.latest_acquisition.value == "09/2026"
    assert not a_modification_record().content.latest_acquisition.known
    assert value_text(record.product.architecture) == "LlamaForCausalLM, changed by lora"


def test_the_list_of_dependencies_is_bound_by_a_digest_that_anybody_can_compute():
    listed = {"torch": "2.9.0", "peft": "0.20.0"}
    run = a_run_record()
    run = a_run_record(environment=run.environment.revised(distributions=listed))
    expected = hashlib.sha256(b"peft==0.20.0\ntorch==2.9.0\n").hexdigest()
    assert a_modification_record(run=run).code.dependency_sbom.value == f"sha256:{expected}"
    assert "did not record" in str(a_modification_record().code.dependency_sbom.reason)
    assert "distributions" not in a_run_record().to_json()["environment"]


def test_a_section_by_itself_is_written_as_in_the_whole_record():
    record = a_modification_record()
    whole = record.to_json()
    assert {name: record.sections_to_json({name}) for name in whole} == {name: {name: whole[name]} for name in whole}
    of_earlier_forms = record.sections_to_json({"approvals", "nothing"})
    assert of_earlier_forms == {}


def test_the_same_inputs_give_the_same_record():
    assert a_modification_record().to_canonical() == a_modification_record().to_canonical()


def test_an_adapter_beside_an_untouched_base_changed_none_of_its_parameters():
    change = a_modification_record(change=ChangeFigures(added=7, base_untouched=True)).change
    assert (change.params_changed.value, change.params_removed.value, change.pct_of_base.value) == (0, 0, 0.0)
    assert not a_modification_record(change=ChangeFigures(added=7)).change.params_changed.known


def test_a_trained_whole_model_is_not_said_to_hold_no_tensor_of_the_base():
    untouched = a_modification_record(change=ChangeFigures(base_untouched=False)).change.base_weights_untouched
    assert (untouched.value, str(untouched.method)) == ("no", "the result is a whole model")


def test_the_optimiser_of_the_loop_is_recorded():
    assert a_modification_record(optimiser="AdamW").method.optimiser.value == "AdamW"
    assert not a_modification_record().method.optimiser.known


# --- completeness ---


def test_completeness_adds_up():
    found = completeness(a_modification_record())
    assert found.filled + len(found.open) == found.total
    assert sum(count for _, count in found.by_owner) == len(found.open)
    assert found.sentence.startswith(f"{100 * found.filled // found.total} % complete, {len(found.open)} fields open (")


def test_one_more_answer_is_one_more_filled_field():
    before = completeness(a_modification_record())
    after = completeness(a_modification_record(profile=a_profile(contact=declared("post@example.org", by="x", at=NOW))))
    assert (after.filled, after.total) == (before.filled + 1, before.total)
    assert dict(after.by_owner)["modifier"] == dict(before.by_owner)["modifier"] - 1


def test_a_second_data_file_asks_its_own_questions():
    one = a_run_record()
    two = a_run_record(data=(one.data[0], one.data[0].revised(name="more.jsonl")))
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
    run = a_run_record(data=(run.data[0], run.data[0].revised(name="more.jsonl")))
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
    assert a_modification_record(facts=facts).gpai.ratio.value == pytest.approx(OWN_FLOP / BASE_FLOP)


def test_a_fact_may_say_that_the_answer_was_looked_for():
    facts = {"asserted_by": "a lawyer", "use": {"intended": {"unknown": "the product is not chosen"}}}
    assert (
        str(a_modification_record(facts=facts).use.intended.reason) == "the product is not chosen (stated by a lawyer)"
    )


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
