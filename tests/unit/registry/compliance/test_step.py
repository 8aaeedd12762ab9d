"""What a record says of this modification alone: what it adapts of the base, and its own share of the base's compute."""

import json
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.recorded_run import TrainedRun
from peft_registry.registry.compliance.synthetic_compute import inherited_synthetic_flop
from peft_registry.registry.exports.model_card import model_card
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.modification import ModificationRecord, Step
from peft_registry.schemas.run import Coverage
from peft_registry.schemas.statement import MODIFICATION_V1, MODIFICATION_V2
from peft_registry.schemas.values import Value, declared, derived
from tests.builders.records import (
    NOW,
    a_base_input,
    a_base_record,
    a_data_identity,
    a_digest,
    a_manifest,
    a_merge_modification,
    a_modification_record,
    a_run_record,
    modification_of,
    some_base_facts,
    some_compute,
)
from tests.unit.registry.compliance.test_inheritance import a_run_ancestor, merged

KEPT = Path(__file__).parents[3] / "compat" / "modification-v2.json"
EXPERTS_LEFT_OUT = (
    Coverage(kind="router", weights=100, adapted=0),
    Coverage(kind="experts", weights=800, adapted=0),
    Coverage(kind="attention", weights=100, adapted=100),
)
BASE_FLOP = 1e24


def a_known_base() -> BaseRecord:
    flop = declared(BASE_FLOP, "FLOP", by="its provider", at=NOW)
    return a_base_record(facts=some_base_facts(training_compute_flop=flop))


def flop_of_run(flop: float) -> Any:
    return some_compute(conservative_flop=derived(flop, "FLOP", method="6·P·D"), dense_inputs=None)


# --- what is adapted ---


def test_all_linear_that_leaves_the_experts_out_is_recorded_and_said_on_the_card() -> None:
    run = a_run_record(coverage=EXPERTS_LEFT_OUT)
    record = a_modification_record(run=run)
    assert (record.step.adapted_pct.value, record.step.adapted_pct.unit) == (pytest.approx(10.0), "%")
    assert record.step.adapted_pct_by_kind.value == {"router": 0.0, "experts": 0.0, "attention": 100.0}
    assert record.step.adapted_pct_by_kind.source == "measured"
    card = model_card(
        name="tutor", manifest=a_manifest(), run=run, base_name="small-llama", base=a_base_record(), record=record
    ).decode()
    assert "- Adapts 10% of the weights of all matrices: router 0%, experts 0%, attention 100%" in card


def test_a_run_that_counted_no_matrices_says_nothing_of_them() -> None:
    record = a_modification_record(run=a_run_record(coverage=None))
    assert not record.step.adapted_pct.known
    assert not record.step.adapted_pct_by_kind.known


# --- the compute of the step ---


def test_the_ratio_of_a_continued_run_is_of_all_runs_and_its_own_stands_beside_it() -> None:
    earlier = a_run_record(run_id="first", compute=flop_of_run(3e23))
    manifest = a_digest("first manifest")
    ancestor = Ancestor(label="first:1", manifest=manifest, is_parent=True, run=earlier, runs=frozenset({manifest}))
    record = a_modification_record(
        run=a_run_record(compute=flop_of_run(2e23)),
        bases=(a_base_input(record=a_known_base()),),
        ancestors=(ancestor,),
    )
    assert record.gpai.ratio.value == pytest.approx(0.5)
    assert record.step.ratio.value == pytest.approx(0.2)


def test_the_ratio_of_a_first_run_is_that_of_the_record() -> None:
    record = a_modification_record(
        run=a_run_record(compute=flop_of_run(2e23)), bases=(a_base_input(record=a_known_base()),)
    )
    assert record.step.ratio.value == record.gpai.ratio.value == pytest.approx(0.2)


def test_a_merge_alone_computes_nothing_and_without_the_bases_compute_there_is_no_ratio() -> None:
    known = a_merge_modification(base=a_base_input(record=a_known_base()))
    assert (known.step.ratio.value, known.gpai.ratio.known) == (0.0, True)
    unrecorded = a_merge_modification(base=a_base_input(record=a_base_record(facts=some_base_facts())))
    assert not unrecorded.step.ratio.known


# --- kept records ---


def test_a_record_that_was_signed_without_this_section_reads_back_to_its_own_bytes_and_gets_it_with_a_correction() -> (
    None
):
    signed = KEPT.read_bytes()
    assert "step" not in json.loads(signed)
    record = modification_of(MODIFICATION_V2, json.loads(signed))
    assert isinstance(record, ModificationRecord)
    assert record.to_canonical() == signed
    assert record.step == Step()
    superseding = with_assessment(record)
    assert "step" in superseding.to_json()
    assert ModificationRecord.from_json(superseding.to_json()).to_canonical() == superseding.to_canonical()


def test_the_first_form_has_no_such_section() -> None:
    first = {"record_id": "r", "record_created_at": NOW, "schema_version": "1"}
    assert "step" not in modification_of(MODIFICATION_V1, first).to_json()


# --- compute that generated synthetic data ---


def synthetic(label: str, file: str, flop: float | None) -> Any:
    ancestor = a_run_ancestor(
        label, (a_data_identity(name=file, sha256=a_digest(file)),), provenance_class="synthetic_private"
    )
    assert ancestor.record is not None
    if flop is None:
        return ancestor
    value = declared(flop, "FLOP", by="alex", at=NOW)
    compute = ancestor.record.compute.revised(private_synthetic_flop=value)
    return ancestor.revised(record=ancestor.record.revised(compute=compute))


def of_merge(*ancestors: Any) -> tuple[Value, ModificationRecord]:
    trained = tuple(
        TrainedRun(label=ancestor.label, manifest=ancestor.manifest, run=ancestor.run) for ancestor in ancestors
    )
    record = merged(*ancestors, trained=trained, base=a_base_input(record=a_known_base()))
    return record.compute.private_synthetic_flop, record


def test_a_merge_is_no_way_to_lose_the_compute_of_synthetic_data() -> None:
    flop, record = of_merge(synthetic("a:1", "a.jsonl", 2e23), synthetic("b:1", "b.jsonl", 3e23))
    assert (flop.value, flop.source) == (pytest.approx(5e23), "derived")
    assert str(flop.method) == "as recorded of each training, the same data once: a:1 2e+23 FLOP, b:1 3e+23 FLOP"
    assert flop.evidence == (a_digest("statement of a:1"), a_digest("statement of b:1"))
    own = record.compute.conservative_flop.value
    assert record.compute.cumulative_flop.value == pytest.approx(BASE_FLOP + own + 5e23)


def test_data_that_both_trained_on_were_generated_once() -> None:
    flop, _ = of_merge(synthetic("a:1", "same.jsonl", 2e23), synthetic("b:1", "same.jsonl", 2e23))
    assert flop.value == 2e23


def test_two_figures_of_one_file_are_a_question_and_no_sum() -> None:
    flop, record = of_merge(synthetic("a:1", "same.jsonl", 2e23), synthetic("b:1", "same.jsonl", 3e23))
    assert not flop.known
    assert "a:1 and b:1 (a:1 2e+23 FLOP, b:1 3e+23 FLOP)" in str(flop.reason)
    assert not record.compute.cumulative_flop.known


def test_synthetic_data_without_a_figure_are_never_none() -> None:
    flop, record = of_merge(synthetic("a:1", "a.jsonl", 2e23), synthetic("b:1", "b.jsonl", None))
    assert str(flop.reason) == "not derived: not recorded of b:1; a:1 2e+23 FLOP"
    assert not record.compute.cumulative_flop.known


def test_a_run_and_what_it_continued_from_may_mean_the_same_compute() -> None:
    first = synthetic("a:1", "a.jsonl", 2e23)
    second = synthetic("b:1", "b.jsonl", 3e23)
    second = second.revised(runs=second.runs | first.runs)
    flop, _ = of_merge(first, second)
    assert not flop.known


def test_without_synthetic_data_nothing_is_inherited() -> None:
    assert inherited_synthetic_flop([a_run_ancestor("a:1"), a_run_ancestor("b:1")]) is None
