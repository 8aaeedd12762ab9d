"""Mistakes that were seen in tools that write such records, each as a test that it is not made here."""

import re
from dataclasses import replace

import pytest
from pydantic import ValidationError

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.answers import problems_of_answers
from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.declared import problems_of_declared
from peft_registry.registry.compliance.derivation import NextInputs, derive_next, facts_taken_up
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.form_rows import answered, forms
from peft_registry.registry.compliance.record_changes import changes_between
from peft_registry.registry.compliance.recorded_result import Scan, scans_value
from peft_registry.registry.exports.model_card import model_card
from peft_registry.registry.reports.text import value_text
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.codes import code
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.report import ReportView
from peft_registry.schemas.values import declared, derived, measured, unknown
from tests.builders.mirror import a_projection
from tests.builders.provider import PARAMETERS, a_base, a_card, a_record, a_view, page, refused
from tests.builders.records import (
    NOW,
    TOOL,
    a_base_input,
    a_base_record,
    a_digest,
    a_manifest,
    a_merge_modification,
    a_merge_record,
    a_modification_record,
    a_run_record,
    a_version,
    an_outcome,
    some_base_facts,
    some_compute,
)


def test_completeness_is_not_claimed_for_empty_sections():
    empty = ModificationRecord(record_id="r", record_created_at=NOW)
    count = completeness(empty)
    assert (count.filled, len(count.open)) == (0, count.total)
    filled = {
        (form.name, one.row.row) for form in forms().forms for one in answered(empty, form) if one.state == "filled"
    }
    assert filled == {
        ("mdf", "0"),
        ("record", "7.2 record_id, schema_version"),
        ("record", "7.2 record_created_at, supersedes"),
    }
    assert dict(a_projection(completeness=None).version.tags).get("registry.record") is None
    (problem,) = refused({"limitations": {"known": []}})
    assert "it is empty" in problem
    (problem,) = refused({"conformity": {"standards": []}})
    assert "it is empty" in problem
    assert refused({"base": {"*": {"licence_flags": []}}}) == [], "none of the flags is an answer"


def test_a_probe_that_never_ran_is_not_reported_as_passed():
    ran = Scan(name="secrets", what=code("scan_of_secrets"), files=2)
    not_run = Scan(name="malware", what=code("scan_of_unknown_code"), ran=False, why=code("no_scanner"))
    record = a_record(scans=(ran, not_run))
    (passed, never) = record.security.scans.value
    assert (passed["ran"], passed["found"]) == ("yes", "nothing")
    assert never == {
        "scan": "malware",
        "what": {"code": "scan_of_unknown_code"},
        "ran": "no",
        "why": {"code": "no_scanner"},
    }
    assert "did not run: malware (this tool has no scanner for it)" in page(a_view(record))
    none = scans_value((not_run,), TOOL)
    assert none is not None
    assert not none.known
    assert "security.scans" in {gap.field for gap in completeness(a_record(scans=(not_run,))).open}
    unfolded = a_merge_record(fold_error=None, distance=None, why_bundled="its weights cannot be folded")
    assert not a_merge_modification(merge=unfolded).evaluation.metrics.known
    unchecked = an_outcome(verdict="unverified")
    assert any(line.startswith("Not verified") for line in a_view(record, verification=unchecked).attention)


def test_no_ancestor_is_invented():
    local = a_base_input(
        record=a_base_record(
            origin=BaseOrigin(format="huggingface", source="/models/llama-7b"), facts=some_base_facts()
        )
    )
    record = a_modification_record(bases=(local,))
    assert [base.name.value for base in record.base] == ["small-llama"]
    assert not record.base[0].parent_records.known
    assert not record.base[0].provider.known
    card = model_card(
        name="sums-tutor",
        manifest=a_manifest(),
        run=a_run_record(),
        base_name="small-llama",
        base=local.record,
        record=record,
    ).decode()
    assert "base_model" not in card
    assert "llama-7b" not in card
    merged = a_merge_modification()
    assert [base.name.value for base in merged.base] == ["small-llama", "part-1:1", "part-2:1"]
    # a parent of which nothing is recorded has no data of another's
    known = Ancestor(
        label="part-1:1",
        manifest=a_digest("part 1 manifest"),
        is_parent=True,
        run=a_run_record(),
        runs=frozenset({a_digest("part 1 manifest")}),
    )
    silent = Ancestor(
        label="part-2:1",
        manifest=a_digest("part 2 manifest"),
        is_parent=True,
        runs=frozenset({a_digest("part 2 manifest")}),
    )
    of_silent = [data for data in a_merge_modification(ancestors=(known, silent)).data if not data.digest.known]
    assert len(of_silent) == 1
    assert not [
        leaf.path for leaf in leaves(ModificationRecord(record_id="r", record_created_at=NOW, data=tuple(of_silent)))
        if leaf.value.known and leaf.path != "data[0].name"
    ]  # fmt: skip


def test_a_hash_of_the_configuration_is_not_given_as_the_models():
    record, manifest = a_record(), a_manifest()
    assert record.identity.result_manifest.value == str(manifest.canonical_digest())
    assert record.security.digests.value == {
        "manifest": str(manifest.canonical_digest()),
        "weights": str(a_digest("adapter weights digest")),
    }
    assert record.base[0].tensor_digest.value == str(a_digest("base weights"))
    assert record.change.relative_to.value == str(a_digest("base weights"))
    digests = {entry["path"]: entry["sha256"] for entry in record.change.artifact_digests.value}
    assert digests == {str(file.path): str(file.sha256) for file in manifest.files}
    configurations = [str(a_digest(word)) for word in ("config", "base config")]
    sections = (record.identity, record.security, record.change, *record.base)
    texts = [str(section.to_json()) for section in sections] + [a_card(record)]
    assert not [text for text in texts for digest in configurations if digest in text]
    version = a_version()
    tags = dict(a_projection(version).run.tags)
    assert tags["registry.weights_digest"] == str(version.weights_digest)
    assert tags["registry.manifest"] == str(version.manifest_digest)
    assert f"`{a_digest('base weights')}`" in a_card(record)


def test_hardware_requirements_do_not_come_from_nowhere():
    run = a_run_record()
    needs = a_record().use.required_hardware
    assert (value_text(needs), needs.source) == (
        "0.27 GB for the weights in bfloat16",
        "derived",
    )  # 134 515 008 × 2 bytes
    assert "parameters × bytes of one value" in str(needs.method)
    on_a_gpu = run.environment.revised(device="cuda", processor="NVIDIA H100", threads=16)
    compute = some_compute(hardware=measured("cuda: NVIDIA H100"))
    elsewhere = a_record(run=a_run_record(environment=on_a_gpu, compute=compute))
    assert elsewhere.use.required_hardware == needs, "what it was trained on is not what it needs"
    unheard_of = a_record(run=a_run_record(environment=run.environment.revised(dtype="posit8")))
    assert not unheard_of.use.required_hardware.known
    assert not a_modification_record(bases=()).use.required_hardware.known
    stated = a_record(facts={"use": {"required_hardware": "8 × H100"}})
    assert stated.use.required_hardware == needs, "what somebody states takes the place of nothing that follows"


def test_approvals_are_not_typed_into_a_form():
    approval = [{"role": "approver", "person": "somebody", "decision": "approved"}]
    (problem,) = refused({"approvals": approval})
    assert problem.startswith("fact-needs-signature")
    record = a_record()
    (found,) = problems_of_answers(record, {"approvals": approval}, role="officer", version=a_version(), at=NOW)
    assert found.path == "approvals"
    typed = record.to_json() | {"approvals": declared(approval, by="somebody", at=NOW).to_json()}
    assert [problem.reference for problem in problems_of_declared("modification", typed)] == ["fact-needs-signature"]
    with pytest.raises(ValidationError, match="approvals: records of the third form do not have it"):
        ModificationRecord.from_json(typed)


def test_a_later_record_does_not_hide_an_earlier_one():
    first = a_record(facts={"use": {"intended": "sums for pupils"}})
    assert facts_taken_up(first, {}, at=NOW) == {}, "a second run without facts takes nothing away"
    version = a_version()
    inputs = NextInputs(before=first, name=version.name, manifest=version.manifest_digest)
    second = derive_next(inputs, record_id="second", now=NOW)
    assert (second.supersedes, second.correction.supersedes_digest) == (first.record_id, first.canonical_digest())
    assert second.use.intended == first.use.intended
    facts = {"asserted_by": first.use.intended.asserted_by, "use": {"intended": "fractions for pupils"}}
    seen = Observations(
        nonce="00", record_id="third", made_at=NOW, name=version.name, tool_version="0.1.0", facts=facts
    )
    corrected = derive_next(replace(inputs, before=second, observations=seen), record_id="third", now=NOW)
    (change,) = [change for change in changes_between(second, corrected) if change.path == "use.intended"]
    assert change.before is not None
    assert change.after is not None
    assert (change.before.value, change.after.value) == ("sums for pupils", "fractions for pupils")
    assert corrected.correction.supersedes_digest == second.canonical_digest()
    assert corrected.compute.conservative_flop == first.compute.conservative_flop


def printed(view: ReportView) -> dict[str, str]:
    return {figure.label: figure.text.replace("\u202f", " ") for figure in view.compute}


def as_number(text: str) -> float:
    """A number as reports print it: `1.727 × 10¹³ FLOP`, `21 400`."""
    plain = text.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--"))
    match = re.match(r"-?[\d ]*\d(?:\.\d+)?(?: × 10-?\d+)?", plain)
    assert match is not None, text
    mantissa, _, power = match[0].partition(" × 10")
    return float(mantissa.replace(" ", "")) * 10 ** int(power or 0)


PRINTED = 1e-3  # four figures are printed of each


@pytest.mark.parametrize("kept", [True, False], ids=["inputs kept", "an older run without its inputs"])
def test_printed_inputs_give_the_printed_figure(kept):
    compute = some_compute() if kept else some_compute(
        dense_inputs=None, conservative_flop=derived(6.0 * PARAMETERS * 23_117, "FLOP", method="6·P·D")
    )  # fmt: skip
    run = a_run_record(compute=compute.revised(energy_kwh=unknown("no sensor")))
    facts = {"power": {"device_watts": 65}, "energy": {"pue": 1.3}}
    record = a_record(run=run, facts=facts)
    shown = printed(a_view(record, run=run))
    inputs = re.fullmatch(r"P: ([\d ]+); D: ([\d .]+)", shown["Inputs of the formula"])
    assert inputs is not None
    parameters, tokens = (as_number(part) for part in inputs.groups())
    flop = as_number(shown["Compute by 6·P·D over all parameters"])
    assert 6 * parameters * tokens == pytest.approx(flop, rel=PRINTED)
    original = as_number(shown["Training compute of the base that the ratio uses"])
    ratio = as_number(shown["Compute of the modification over that of the base, conservative"])
    assert flop / original == pytest.approx(ratio, rel=PRINTED)
    assert as_number(shown["Lower end of the ratio"]) == pytest.approx(ratio * 0.7 / 1.3, rel=PRINTED)
    assert as_number(shown["Upper end of the ratio"]) == pytest.approx(ratio * 1.3 / 0.7, rel=PRINTED)
    cumulative = as_number(shown["Cumulative compute: the base's and this modification's"])
    assert cumulative == pytest.approx(original + flop, rel=PRINTED)
    energy = record.energy.training_kwh
    used = re.match(r"(\S+) device hours × (\S+) W × power usage effectiveness (\S+)", str(energy.method))
    assert used is not None
    hours, watts, pue = (float(part) for part in used.groups())
    assert hours * watts / 1000 * pue == pytest.approx(energy.value, rel=1e-5)


def test_the_printed_rows_of_a_merge_give_its_printed_figure():
    record = a_merge_modification(base=a_base())
    rows = record.compute.inputs.value["ingredients"]
    assert len(rows) > 1
    for part in rows:
        assert 6.0 * part["P"] * part["D"] == part["conservative_flop"]
    assert sum(part["conservative_flop"] for part in rows) == record.compute.conservative_flop.value
    cumulative = record.compute.cumulative_flop.value
    assert cumulative == pytest.approx(record.gpai.original_flop.value + record.compute.conservative_flop.value)


def test_a_record_names_no_device_energy_or_hours_that_nobody_measured_or_declared():
    silent = some_compute(
        hardware=unknown("the run did not record it"),
        hardware_hours=unknown("the run did not record it"),
        wall_seconds=unknown("the run did not record it"),
        energy_kwh=unknown("no energy sensor on this machine that this user may read"),
    )
    run = a_run_record(compute=silent)
    record = a_record(run=run, facts={"power": {"device_watts": 300}})
    for value in (
        record.compute.hardware,
        record.compute.hardware_days,
        record.compute.wall_clock_days,
        record.compute.nca_range,
        record.energy.training_kwh,  # watts without hours are no energy
        record.energy.boundary,
        record.documentation.energy_mwh,
    ):
        assert (value.value, value.source) == (None, "unknown")
        assert value.reason
    hours_alone = a_record(run=a_run_record(compute=silent.revised(hardware_hours=measured(2.0, "h"))))
    assert not hours_alone.energy.training_kwh.known
    known = a_record(
        run=a_run_record(compute=silent.revised(hardware_hours=measured(2.0, "h"))),
        facts={"power": {"device_watts": 300}},
    )
    energy = known.energy
    assert (energy.training_kwh.value, energy.training_kwh.source) == (0.6, "derived")
    assert "300 W" in str(energy.training_kwh.method)
    assert "declared by a lawyer" in str(energy.method.method)
    assert "not measured" in value_text(energy.missing_info)
    merged = a_merge_modification(base=a_base())
    assert merged.compute.hardware.value == "cpu: x86_64", "of the machine that merged"
    assert not merged.energy.training_kwh.known
    assert not merged.compute.hardware_days.known
    for made in (record, known, merged):
        for leaf in leaves(made):
            if leaf.path.startswith(("compute.", "energy.", "power.", "inference.")) and leaf.value.known:
                assert leaf.value.source in ("measured", "derived", "declared"), leaf.path
                assert leaf.value.method or leaf.value.asserted_by or leaf.path == "compute.hardware", leaf.path
