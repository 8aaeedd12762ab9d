"""Mistakes about the compute of a modification that records and reports are known to make, each as a test that it is not made here.

The expected dates, clauses and figures are written out from the law and the guidelines, and not taken from the rules that the tool
carries.
"""

import re

import pytest

from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.recorded_run import TrainedRun
from peft_registry.schemas.values import derived, imported, measured
from tests.builders.mirror import a_projection
from tests.builders.provider import (
    BY_PATH,
    PARAMETERS,
    RULES,
    SMALL_BASE,
    a_base,
    a_card,
    a_record,
    a_view,
    every_kind_of_record,
    page,
    refused,
    said,
)
from tests.builders.records import (
    a_digest,
    a_merge_modification,
    a_merge_record,
    a_modification_record,
    a_run_record,
    a_version,
    some_compute,
)

TOKENS = 21_400


def test_a_lora_is_not_called_a_substantial_modification():
    """Not even one over a third of its base: that is said of systems, and by a person."""
    record = a_record()
    assert record.gpai.verdict.value == "provider_modified"
    projection = a_projection()
    for text in (page(a_view(record)), a_card(record), projection.version.description, str(projection.version.tags)):
        assert "substantial" not in text.lower()
    in_a_system = a_record(facts={"high_risk": {"classification_after": "annex_iii_4"}})
    assert "high_risk.substantial" not in {leaf.path for leaf in leaves(in_a_system)}, (
        "a person decides it, by a signed decision"
    )
    (problem,) = refused({"high_risk": {"substantial": "yes"}})
    assert problem.startswith("fact-needs-signature")


@pytest.mark.parametrize("tokens", [1e4, 8e4, 13e4])
def test_one_third_is_not_stated_as_statute(tokens):
    record = a_record(tokens=tokens)
    view = a_view(record)
    about = [one.text for one in said(record) if re.search(r"\ba third\b", one.text) and "FLOP" not in one.text]
    about = [text for text in about if "Whether" not in text]
    assert any("the Commission's guidelines (not binding;" in text for text in about)
    for text in about:
        assert "Art." not in text
    for text in (line for line in view.attention if "third" in line):
        assert "indicative criterion, not a rule of law" in text
    assert str(record.gpai.threshold_flop.method) == "a third of the training compute of the base, GL J63"
    assert record.gpai.verdict.method is not None
    assert "indicative" in str(record.gpai.verdict.method)
    assert {source.short: source.weight for source in RULES.sources}["GL"] == "not binding"
    assert any(line.startswith("GL: ") and line.endswith("(not binding)") for line in view.law)


def test_the_fixed_threshold_is_not_used_whenever_the_compute_of_the_base_is_missing():
    tried = {"gpai": {"estimate_attempt": "its provider was asked, and neither tokens nor hours are published"}}
    missing = a_record(tokens=None)
    assert not missing.gpai.threshold_kind.known
    assert not missing.gpai.verdict.known
    assert "what was tried to estimate it" in str(missing.gpai.verdict.reason)
    # 6·P·D can be computed, so that an attempt which failed does not matter
    estimated = a_record(tokens=2e12, facts=tried)
    assert estimated.gpai.threshold_kind.value == "relative"
    assert estimated.gpai.threshold_flop.value == pytest.approx(6 * PARAMETERS * 2e12 / 3)
    for risk, kind, limit in (("no", "fallback_gpai", 3.33e22), ("yes", "fallback_sr", 3.33e24)):
        failed = a_record(tokens=None, facts=tried | {"base": {"*": {"is_gpai": "yes", "has_systemic_risk": risk}}})
        assert failed.gpai.threshold_kind.value == kind
        assert failed.gpai.threshold_flop.value == pytest.approx(limit, rel=2e-3)
        assert "GL J64" in str(failed.gpai.threshold_kind.method)


def test_6pd_is_not_of_the_trained_parameters_or_of_one_epoch():
    run = a_run_record()
    positions = 3 * TOKENS
    training = run.config["training"] | {"num_train_epochs": 3.0}
    dense = some_compute().dense_inputs
    assert dense is not None
    compute = some_compute(
        conservative_flop=derived(6.0 * PARAMETERS * positions, "FLOP", method="6·P·D"),
        dense_inputs=dense.revised(positions=positions),
        tokens=measured(positions, "tokens"),
    )
    thrice = a_run_record(config=run.config | {"training": training}, compute=compute)
    record = a_record(run=thrice)
    assert record.compute.inputs.value == {"P": PARAMETERS, "D": positions}
    assert record.data[0].epochs.value == 3
    assert record.data[0].n_tokens.value == 21_400 + 2_300  # once through
    assert record.compute.conservative_flop.value == 6.0 * PARAMETERS * positions
    assert record.gpai.ratio.value == pytest.approx(positions / SMALL_BASE)
    assert record.gpai.ratio.value > record.gpai.ratio_method_aware.value, "and the smaller figure decides nothing"
    assert run.parameters_trainable < PARAMETERS / 50
    without_inputs = a_record(run=a_run_record(compute=compute.revised(dense_inputs=None)))
    assert without_inputs.compute.inputs.value == {"P": PARAMETERS, "D": positions}


def test_compute_is_not_discounted_for_4_bit_nor_counted_with_recomputation_and_evaluation():
    plain = a_record()
    lora = a_run_record()
    compute = some_compute(
        recompute_flop=derived(7e12, "FLOP", method="forward passes computed again"),
        evaluation_flop=derived(5e12, "FLOP", method="evaluations before and after"),
    )
    quantised = a_run_record(
        method="qlora", config=lora.config | {"method": "qlora", "quantization": {"bits": 4}}, compute=compute
    )
    record = a_record(run=quantised)
    assert record.base[0].quantised_view.value == {"bits": 4}
    assert record.compute.conservative_flop.value == 6.0 * PARAMETERS * TOKENS
    for name in ("conservative_flop", "param_update_flop", "cumulative_flop"):
        assert getattr(record.compute, name).value == getattr(plain.compute, name).value, name
    assert record.gpai.ratio.value == plain.gpai.ratio.value
    assert (record.compute.excluded.recompute_flop.value, record.compute.excluded.evaluation_flop.value) == (7e12, 5e12)
    assert BY_PATH["compute.excluded.recompute_flop"].answers == "GL J122"


def test_a_merge_is_not_declared_zero_compute():
    base = a_base(tokens=None, training_compute_flop=imported(6e24, "FLOP", method="its model card"))
    record = a_merge_modification(base=base)
    wide = record.compute.conservative_flop.value
    assert record.compute.inputs.value["narrow_flop"] == 0
    assert wide == sum(part["conservative_flop"] for part in record.compute.inputs.value["ingredients"]) > 0
    assert record.compute.cumulative_flop.value == 6e24 + wide
    assert (record.gpai.ratio_scope.value, record.gpai.ratio.value) == ("merge_wide", wide / 6e24)
    view = a_view(
        record, version=a_version(kind="model", method=None), run=None, merge=a_merge_record(), evaluation=None
    )
    (answer,) = [answer for answer in view.answers if "third" in answer.question]
    assert not answer.lines[0].startswith("No: 0")
    # an ingredient of which no run is recorded has computed something, too
    imported_part = TrainedRun(label="part-1:1", manifest=a_digest("part 1 manifest"), run=None)
    for trained in ((imported_part,), ()):
        unrecorded = a_merge_modification(base=base, trained=trained)
        assert not unrecorded.compute.conservative_flop.known
        assert not unrecorded.compute.cumulative_flop.known
        assert not unrecorded.gpai.ratio.known


@pytest.mark.parametrize("role", ["original_provider", "on_behalf_of_provider"])
def test_the_third_is_not_applied_to_the_original_providers_own_fine_tunes(role):
    own = a_record(facts={"modifier": {"role_claimed": role}})
    assert own.gpai.same_provider.value == "yes"
    assert own.gpai.verdict.value == "same_model_update"
    view = a_view(own)
    (answer,) = [answer for answer in view.answers if "third" in answer.question]
    assert answer.lines[0].startswith("Not applied: ")
    assert "paragraph 23 as printed in July 2025" in answer.lines[0]
    assert not [line for line in view.attention if "third" in line]
    another = a_view(a_record())
    (answer,) = [answer for answer in another.answers if "third" in answer.question]
    assert answer.lines[0].replace("\u202f", " ").startswith("Yes: its training took 214 %")


def test_10_to_the_25_is_not_placed_in_the_definition_of_gpai():
    sentences = said(*every_kind_of_record())
    large = [one for one in sentences if re.search(r"10\^25|1e25|10²⁵", one.text)]
    small = [one for one in sentences if re.search(r"10\^23|1e23|10²³", one.text)]
    assert large
    assert small
    assert all("Art. 51(2)" in one.text for one in large), large
    assert all("GL J17" in one.text for one in small), small
    definition = [one for one in sentences if "3(63)" in one.text]
    assert definition
    assert not [one for one in definition if re.search(r"10\^|1e2", one.text)]
    for flop, flag in ((1e25 - 2**60, None), (1e25 + 2**60, "cumulative_over_1e25")):
        base = a_base(tokens=None, training_compute_flop=imported(flop, "FLOP", method="its model card"))
        assert a_modification_record(bases=(base,)).gpai.sr_flag.value == flag
