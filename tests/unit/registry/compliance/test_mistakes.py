"""Mistakes that records, reports, cards and forms about the AI Act are known to make, each as a test that it is not made here.

The expected dates, clauses and recipients are written out from the law, the guidelines and the forms, and not taken from the rules
that the tool carries.
"""

import html
import re
from dataclasses import dataclass
from typing import Any

import pytest

from peft_registry.registry.compliance.answers import problems_of_answers
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.completeness import completeness, conditions_of, required_leaves
from peft_registry.registry.compliance.contradictions import FactContradicted
from peft_registry.registry.compliance.declared import problems_of_declared
from peft_registry.registry.compliance.facts import problems_of_facts
from peft_registry.registry.compliance.fields import field_rules, leaves
from peft_registry.registry.compliance.form_rows import answered, forms
from peft_registry.registry.compliance.inheritance import Ancestor
from peft_registry.registry.compliance.record_changes import changes_between
from peft_registry.registry.compliance.recorded_evaluation import EvaluationSignature, with_later_evaluations
from peft_registry.registry.compliance.recorded_result import Scan, scans_value
from peft_registry.registry.compliance.recorded_run import TrainedRun
from peft_registry.registry.compliance.superseding import newly_declared, superseding, with_values
from peft_registry.registry.exports.model_card import merge_card, model_card
from peft_registry.registry.reports.html import render_html
from peft_registry.registry.reports.view import build_report_view
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.errors import SeveralProblems
from peft_registry.schemas.modification import ASKED, BaseUsed, ModificationRecord
from peft_registry.schemas.report import ReportView
from peft_registry.schemas.values import declared, derived, imported, measured, unknown
from tests.builders.mirror import a_projection
from tests.builders.records import (
    NOW,
    TOOL,
    a_base_input,
    a_base_record,
    a_digest,
    a_lineage,
    a_manifest,
    a_merge_modification,
    a_merge_record,
    a_modification_record,
    a_profile,
    a_run_record,
    a_version,
    an_evaluation,
    an_outcome,
    some_base_facts,
    some_compute,
)
from tests.processes.interpreter import ROOT

RULES = field_rules()
BY_PATH = RULES.by_path()
PARAMETERS = 134_515_008
TOKENS = 21_400
# a status that is a provider's needs all of these answers; the run of the builders is over a third of such a base
ANSWERS: dict[str, Any] = {
    "asserted_by": "a lawyer",
    "modifier": {"role_claimed": "downstream_modifier"},
    "base": {"*": {"is_gpai": "yes", "has_systemic_risk": "no"}},
    "upstream": {"*": {"eu_exclusion": "no"}},
    "gpai": {
        "placed_on_eu_market": "yes",
        "placing_date": "2026-03-01",
        "qualitative_change": {"generality": "none", "capabilities": "minor", "systemic_risk": "none"},
    },
}
SMALL_BASE = 1e4  # tokens that it was trained on: 2.14 times less than the run processed


def a_base(tokens: float | None = SMALL_BASE, **facts: Any) -> Any:
    """A base that was trained on so many tokens."""
    known = {} if tokens is None else {"training_tokens": imported(tokens, "tokens", method="its model card")}
    return a_base_input(record=a_base_record(facts=some_base_facts(**known | facts)))


def a_record(*, tokens: float | None = SMALL_BASE, facts: dict[str, Any] | None = None, **over: Any) -> Any:
    """A fine-tune with these facts beside those of `ANSWERS`."""
    stated = {**ANSWERS}
    for section, fields in (facts or {}).items():
        stated[section] = stated.get(section, {}) | fields
    return a_modification_record(**({"bases": (a_base(tokens),), "facts": stated} | over))


def a_view(record: ModificationRecord, **over: Any) -> ReportView:
    fields: dict[str, Any] = {
        "version": a_version(),
        "lineage": a_lineage(),
        "as_of": NOW,
        "tool_version": TOOL,
        "run": a_run_record(),
        "evaluation": an_evaluation(),
        "record": record,
        "verification": an_outcome(),
    }
    return build_report_view(**(fields | over))


def page(view: ReportView) -> str:
    """The text of a report, titles of its elements left out."""
    text = html.unescape(re.sub(r"<[^>]*>", " ", render_html(view).partition("</style>")[2]))
    return " ".join(text.replace("\u202f", " ").split())


def a_card(record: ModificationRecord) -> str:
    """The card of the fine-tune."""
    card = model_card(
        name="sums-tutor",
        manifest=a_manifest(),
        run=a_run_record(),
        base_name="small-llama",
        base=a_base_record(),
        evaluation=an_evaluation(),
        record=record,
    )
    return card.decode().replace("\u202f", " ")


def required(record: ModificationRecord) -> set[str]:
    return {leaf.path for leaf in required_leaves(record, conditions_of(record))}


def row(record: ModificationRecord, form: Any, name: str) -> Any:
    return next(found for found in answered(record, forms().named(form)) if found.row.row == name)


def refused(facts: dict[str, Any]) -> list[str]:
    """What, why and how of each refusal of facts about the records of the builders."""
    problems = problems_of_facts(
        {"asserted_by": "somebody"} | facts,
        at=NOW,
        bases=[BaseUsed(name=measured("small-llama"))],
        data=["sums.jsonl"],
    )
    return [f"{problem.reference}: {problem.what}; {problem.why}; {problem.fix}" for problem in problems]


@dataclass(frozen=True)
class Said:
    """A sentence of the tool about the law, and where it stands."""

    where: str
    text: str


def said(*records: ModificationRecord) -> list[Said]:
    """Everything that rules, records and their reports say."""
    sentences = [Said(rule.path, f"{rule.label} | {rule.answers}") for rule in RULES.fields]
    sentences += [Said(application.what, application.sentence) for application in RULES.applications]
    for record in records:
        sentences += [
            Said(leaf.path, f"{leaf.value.method or ''} {leaf.value.reason or ''}") for leaf in leaves(record)
        ]
        view = a_view(record)
        sentences += [Said(answer.question, line) for answer in view.answers for line in answer.lines]
        sentences += [Said("attention", line) for line in view.attention]
    return sentences


def every_kind_of_record() -> list[ModificationRecord]:
    large = a_base(tokens=None, training_compute_flop=imported(2e25, "FLOP", method="its model card"))
    return [
        a_modification_record(),
        a_record(),
        a_record(bases=(large,)),
        a_record(tokens=None, facts={"gpai": {"estimate_attempt": "its provider was asked, and did not say"}}),
        a_record(facts={"high_risk": {"classification_after": "annex_iii_4"}}),
        a_merge_modification(base=a_base()),
    ]


# --- the mistakes of law and guidelines ---

# Arts. 111 and 113 of the consolidated text of 27 July 2026
APPLIES = {
    "prohibited_media": ("2026-12-02", "Art. 113(a)"),
    "gpai": ("2025-08-02", "Art. 113(b)"),
    "gpai_fines": ("2026-08-02", "Arts. 101, 113"),
    "gpai_legacy": ("2027-08-02", "Art. 111(3)"),
    "transparency": ("2026-08-02", "Art. 113"),
    "marking_legacy": ("2026-12-02", "Art. 111(4)"),
    "annex_iii": ("2027-12-02", "Art. 113(c)(i)"),
    "annex_i": ("2028-08-02", "Art. 113(c)(ii)"),
    "high_risk_public_legacy": ("2030-08-02", "Art. 111(2)"),
}


@pytest.mark.parametrize(
    ("classification", "day"),
    [("annex_iii_4", "2027-12-02 (Art. 113(c)(i))"), ("annex_i", "2028-08-02 (Art. 113(c)(ii))")],
)
def test_high_risk_duties_are_not_dated_to_2_august_2026(classification, day):
    assert {rule.what: (rule.since.isoformat(), rule.clause) for rule in RULES.applications} == APPLIES
    assert all(rule.source in {source.short for source in RULES.sources} for rule in RULES.applications)
    view = a_view(a_record(facts={"high_risk": {"classification_after": classification}}))
    (line,) = [line for line in view.attention if "is classified" in line]
    assert line.endswith(f"apply from {day}.")
    assert "2026-08-02" not in page(view)
    assert "2027-12-02" in (ROOT / "docs/reference/modification-record.md").read_text(encoding="utf-8")


def test_article_10_5_is_not_cited_where_article_4a_holds():
    record = a_record(facts={"data": {"*": {"special_categories": "yes", "personal_data": "yes"}}})
    asked = {gap.field: gap.answers for gap in completeness(record).open if ".art4a." in gap.field}
    assert sorted(asked.values()) == [f"Art. 4a(1)({letter})" for letter in "abcdef"]
    shown = page(a_view(record))
    assert "Art. 4a(1)(f)" in shown
    assert "10(5)" not in shown
    assert not [one for one in said(record) if "10(5)" in one.text]


def test_a_lora_is_not_called_a_substantial_modification():
    """Not even one over a third of its base: that is said of systems, and by a person."""
    record = a_record()
    assert record.gpai.verdict.value == "provider_modified"
    assert record.high_risk.substantial == ASKED
    assert "high_risk.substantial" not in required(record)
    projection = a_projection()
    for text in (page(a_view(record)), a_card(record), projection.version.description, str(projection.version.tags)):
        assert "substantial" not in text.lower()
    in_a_system = a_record(facts={"high_risk": {"classification_after": "annex_iii_4"}})
    (gap,) = [gap for gap in completeness(in_a_system).open if gap.field == "high_risk.substantial"]
    assert (gap.owner, gap.answers) == ("legal", "Art. 3(23)")
    (problem,) = refused({"high_risk": {"substantial": "yes"}})
    assert problem.startswith("fact-needs-signature")


@pytest.mark.parametrize("tokens", [1e4, 8e4, 13e4])
def test_one_third_is_not_stated_as_statute(tokens):
    record = a_record(tokens=tokens)
    view = a_view(record)
    about = [one.text for one in said(record) if re.search(r"\ba third\b", one.text) and "FLOP" not in one.text]
    about = [text for text in about if "Whether" not in text]
    assert any("indicative criterion of the Commission's guidelines, which are not binding" in text for text in about)
    for text in about:
        assert "Art." not in text
    for text in (line for line in view.attention if "third" in line):
        assert "indicative criterion, not a rule of law" in text
    assert record.gpai.threshold_flop.method == "a third of the training compute of the base, GL J63"
    assert record.gpai.verdict.method is not None
    assert "indicative" in record.gpai.verdict.method
    assert {source.short: source.weight for source in RULES.sources}["GL"] == "not binding"
    assert any(line.startswith("GL: ") and line.endswith("(not binding)") for line in view.law)


def test_the_fixed_threshold_is_not_used_whenever_the_compute_of_the_base_is_missing():
    tried = {"gpai": {"estimate_attempt": "its provider was asked, and neither tokens nor hours are published"}}
    missing = a_record(tokens=None)
    assert not missing.gpai.threshold_kind.known
    assert not missing.gpai.verdict.known
    assert "what was tried to estimate it" in (missing.gpai.verdict.reason or "")
    # 6·P·D can be computed, so that an attempt which failed does not matter
    estimated = a_record(tokens=2e12, facts=tried)
    assert estimated.gpai.threshold_kind.value == "relative"
    assert estimated.gpai.threshold_flop.value == pytest.approx(6 * PARAMETERS * 2e12 / 3)
    for risk, kind, limit in (("no", "fallback_gpai", 3.33e22), ("yes", "fallback_sr", 3.33e24)):
        failed = a_record(tokens=None, facts=tried | {"base": {"*": {"is_gpai": "yes", "has_systemic_risk": risk}}})
        assert failed.gpai.threshold_kind.value == kind
        assert failed.gpai.threshold_flop.value == pytest.approx(limit, rel=2e-3)
        assert "GL J64" in (failed.gpai.threshold_kind.method or "")


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
    assert answer.lines[0].replace("\u202f", " ").startswith("Yes: 214 %")


OPEN_SOURCE = {
    "claimed": "yes",
    "licence_ok": "yes",
    "no_monetisation": "yes",
    "weights_public": "yes",
    "architecture_public": "yes",
    "usage_public": "yes",
}
# Art. 53(1)(c): the copyright policy; (d): the public summary
STAYS = {
    "content.code_signatory",
    "content.content_types",
    "content.obtained_and_selected",
    "content.latest_acquisition",
    "content.other_sources",
    "data[0].tdm_reservations",
    "data[0].illegal_content_measures",
    "data[0].provenance_class",
}
REPRESENTATIVE = {"representative.name", "representative.contact", "representative.mandate_ref"}


def test_open_source_does_not_exempt_from_copyright_policy_and_summary():
    outside = a_profile(country=declared("US", by="registry init", at=NOW))
    exempt = a_record(facts={"gpai": {"open_source_exemption": OPEN_SOURCE}}, profile=outside)
    assert exempt.gpai.verdict.value == "provider_modified"
    assert required(exempt) >= STAYS
    assert not required(exempt) & REPRESENTATIVE, "Art. 54(6)"
    assert "Art. 53(1)(c) and (d), are owed with it as without" in page(a_view(exempt))
    claimed_only = a_record(facts={"gpai": {"open_source_exemption": {"claimed": "yes"}}}, profile=outside)
    assert required(claimed_only) >= STAYS | REPRESENTATIVE
    assert "not all of its conditions" in page(a_view(claimed_only))


@pytest.mark.parametrize("flag", ["non_commercial", "user_threshold", "eu_exclusion", "no_redistribution"])
def test_a_licence_with_such_terms_is_no_open_source_licence(flag):
    base = a_base(licence_flags=imported([flag], method="its licence"))
    record = a_record(bases=(base,), facts={"gpai": {"open_source_exemption": {"claimed": "yes"}}})
    assert record.gpai.open_source_exemption.licence_ok.value == "no"
    assert "GL J83" in (record.gpai.open_source_exemption.licence_ok.method or "")
    assert f"the licence of a base does not allow it: {flag}" in page(a_view(record))
    with pytest.raises((FactContradicted, SeveralProblems), match="does not permit"):
        a_record(bases=(base,), facts={"gpai": {"open_source_exemption": OPEN_SOURCE}})
    # an older version took it: what is signed stands, and the page says what is against it
    stated = {
        f"gpai.open_source_exemption.{name}": declared(value, by="alex", at=NOW) for name, value in OPEN_SOURCE.items()
    }
    against = with_assessment(with_values(record, stated))
    assert against.gpai.open_source_exemption.licence_ok.source == "declared", "what a person states is not overwritten"
    assert f"does not allow it: {flag}" in page(a_view(against))
    harmless = a_base(licence_flags=imported(["share_alike", "use_restrictions"], method="its licence"))
    assert not a_record(bases=(harmless,)).gpai.open_source_exemption.licence_ok.known


def test_the_codes_signature_gives_no_presumption_of_conformity():
    records = {
        answer: a_record(
            facts={"content": {"code_signatory": answer}, "high_risk": {"classification_after": "annex_iii_4"}}
        )
        for answer in ("yes", "no")
    }
    signed, unsigned = records["yes"], records["no"]
    assert signed.gpai.verdict.value == unsigned.gpai.verdict.value == "provider_modified"
    assert required(signed) == required(unsigned)
    assert completeness(signed).sentence == completeness(unsigned).sentence
    assert row(signed, "annex_iv", "7").state == "open", "harmonised standards, or the solutions in their place"
    assert signed.conformity.standards == ASKED
    shown = page(a_view(signed))
    assert "voluntary; signing it gives no presumption of conformity, Art. 53(4)" in shown
    assert shown.count("presumption") == shown.count("no presumption of conformity")


def test_retention_does_not_count_from_the_last_update():
    record = a_record()
    assert (record.retention.start_date.value, record.retention.until.value) == ("2026-03-01", "2036-03-01")
    later = superseding(record, version=a_version(), record_id="later", now="2027-06-30T00:00:00Z", reason="an answer")
    assert later.record_created_at > record.record_created_at
    assert later.retention.until.value == "2036-03-01"
    assert "Art. 18" in (later.retention.until.method or "")
    unplaced = a_modification_record()
    assert not unplaced.retention.until.known
    # the runtime logs of a system are another duty
    rule = BY_PATH["retention.log_retention_months"]
    assert (rule.answers, rule.minimum) == ("Arts. 19, 26(6)", 6)
    assert not later.retention.log_retention_months.known
    (problem,) = refused({"retention": {"log_retention_months": 5}})
    assert "less than 6" in problem


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


# recipients of the Model Documentation Form, row by row: AI Office, national authority, downstream provider
EVERYBODY, AUTHORITIES, OFFICE, DOWNSTREAM = "aio nca dp", "aio nca", "aio", "dp"
RECIPIENTS = {
    "Header": "",
    "Legal name of provider": EVERYBODY,
    "Model name": EVERYBODY,
    "Model authenticity": AUTHORITIES,
    "Release date": EVERYBODY,
    "Union market release date": EVERYBODY,
    "Model dependencies": EVERYBODY,
    "Architecture": EVERYBODY,
    "Design specifications": AUTHORITIES,
    "Input modalities": EVERYBODY,
    "Output modalities": EVERYBODY,
    "Total size, exact": OFFICE,
    "Total size, range": "nca dp",
    "Channels": AUTHORITIES,
    "Channels, downstream providers": DOWNSTREAM,
    "Licence": AUTHORITIES,
    "Licence type": DOWNSTREAM,
    "Additional assets": AUTHORITIES,
    "Acceptable use policy": EVERYBODY,
    "Intended uses": EVERYBODY,
    "Type and nature of AI systems": EVERYBODY,
    "Technical means for integration": EVERYBODY,  # the authorities by Annex XI 2(a)
    "Required hardware": DOWNSTREAM,
    "Required software": DOWNSTREAM,
    "Training process": AUTHORITIES,
    "Data type": EVERYBODY,
    "Data provenance": EVERYBODY,
    "How data was obtained and selected": AUTHORITIES,
    "Number of data points": AUTHORITIES,
    "Scope and main characteristics": AUTHORITIES,
    "Curation methodologies": EVERYBODY,
    "Measures against unsuitable sources": AUTHORITIES,
    "Measures to detect identifiable biases": AUTHORITIES,
    "Training time": AUTHORITIES,
    "Amount of computation": AUTHORITIES,
    "Measurement methodology of computation": AUTHORITIES,
    "Energy used for training": AUTHORITIES,
    "Measurement methodology of energy": AUTHORITIES,
    "Benchmarked computation for inference": AUTHORITIES,
    "Inference methodology": AUTHORITIES,
}
# exact for the AI Office alone; the largest input and output are for whoever integrates the model
OFFICE_ALONE = {
    "product.params_total",
    "compute.param_update_flop",
    "compute.inputs",
    "compute.wall_clock_days",
    "compute.hardware_days",
}


def test_exact_flop_energy_and_size_do_not_go_to_downstream_providers():
    rows = forms().named("mdf").rows
    assert {row.row: " ".join(row.recipients) for row in rows} == RECIPIENTS
    gets = {who: {path for row in rows for path in row.fields_for(who)} for who in ("aio", "nca", "dp")}
    assert gets["aio"] >= OFFICE_ALONE
    assert not gets["nca"] & OFFICE_ALONE
    assert gets["nca"] >= {"compute.nca_range", "documentation.flop_order", "documentation.size_range"}
    kept = {path for path in gets["dp"] if path.startswith(("compute.", "energy.", "inference.", "gpai.ratio"))}
    assert not kept | (gets["dp"] & {"product.params_total", "documentation.flop_order", "documentation.energy_mwh"})
    assert gets["dp"] >= {"documentation.size_range", "use.max_input", "use.max_output"}
    annex_xii = {path for row in forms().named("annex_xii").rows for path in row.fields}
    assert not {path for path in annex_xii if path.startswith(("compute.", "energy.")) or path in OFFICE_ALONE}
    merged = merge_card(
        name="tutor-merged",
        manifest=a_manifest(kind="model", layout="model", method="merge"),
        merge=a_merge_record(),
        base_name="small-llama",
        base=a_base_record(),
        record=a_merge_modification(),
    )
    for card in (a_card(a_record()), merged.decode().replace("\u202f", " ")):
        assert "1-500M" in card
        for exact in ("134 515 008", "2 442 240", "106 000 000", "180 of", "FLOP", "kWh", "hours"):
            assert exact not in card


def test_inference_is_not_reported_in_kwh():
    rows = {row.row: row for row in forms().named("mdf").rows}
    assert rows["Benchmarked computation for inference"].fields == ("inference.benchmark_flop",)
    assert rows["Benchmarked computation for inference"].content == "FLOP, not energy"
    rule = BY_PATH["inference.benchmark_flop"]
    assert (rule.type, "in FLOP" in rule.label) == ("number", True)
    assert not [path for path in BY_PATH if path.startswith("inference.") and re.search("kwh|energy|watt", path)]
    (problem,) = refused({"inference": {"benchmark_flop": "0.3 kWh"}})
    assert "is not a number" in problem
    (problem,) = refused({"inference": {"energy_kwh": 0.3}})
    assert problem.startswith("fact-unknown")
    stated = a_record(facts={"inference": {"benchmark_flop": 2.6e15, "task": "generating 100 000 tokens"}})
    assert row(stated, "mdf", "Benchmarked computation for inference").state == "filled"
    assert not stated.energy.training_kwh.known, "and that of inference is no energy of the training"


def test_unknown_is_not_written_as_no():
    record = a_modification_record(evaluation=None)
    rows = {shown.path: shown for shown in a_view(record, evaluation=None).fields}
    asked = [leaf for leaf in leaves(record) if {"yes", "no"} <= set(BY_PATH[leaf.rule].values) and leaf.path in rows]
    unanswered = [leaf for leaf in asked if leaf.value.source not in ("measured", "derived")]
    assert {"data[0].personal_data", "base[0].is_gpai", "gpai.placed_on_eu_market"} <= {
        leaf.path for leaf in unanswered
    }
    for leaf in unanswered:
        assert (leaf.value.value, leaf.value.source) == (None, "unknown"), leaf.path
        assert rows[leaf.path].text == leaf.value.reason != "no", leaf.path
    # the yes and no of the public summary are attestations
    for name in ("2.1", "2.2.1", "2.2.2", "2.3", "2.4", "2.5"):
        assert row(record, "pst", name).state == "open", name
    looked_for = a_record(facts={"data": {"*": {"personal_data": {"unknown": "the supplier did not say"}}}})
    assert looked_for.data[0].personal_data.value is None
    assert "the supplier did not say" in page(a_view(looked_for))
    assert not a_modification_record(bases=(a_base_input(),)).upstream[0].eu_exclusion.known


def test_overall_accuracy_alone_is_not_taken_for_figures_of_groups():
    with_groups = an_evaluation()
    record = a_record(evaluation=with_groups)
    groups = {figure["slice"] for figure in record.evaluation.metrics.value}
    assert groups == {None, "gender"}
    alone = with_groups.revised(results=tuple(one for one in with_groups.results if one.category is None))
    overall = a_record(evaluation=alone)
    sentence = "house: figures for all items together, and none for a group (Annex IV 3, Art. 13(3)(b)(v))"
    assert sentence in overall.evaluation.limitations.value
    assert sentence in page(a_view(overall))
    assert sentence not in record.evaluation.limitations.value
    signature = EvaluationSignature(
        statement=a_digest("later"), evaluation=with_groups.canonical_digest(), key_id="lab-1", person=None, at=NOW
    )
    later = with_later_evaluations(overall.evaluation, [with_groups], [signature])
    assert sentence not in later.limitations.value
    assert {"evaluation.metrics", "evaluation.bias"} <= set(row(record, "annex_iv", "3").row.fields)


def test_an_unsigned_test_report_does_not_count():
    facts = {"high_risk": {"classification_after": "annex_iii_4"}}
    signed, unsigned = a_record(facts=facts), a_record(facts=facts, signing=None)
    assert signed.evaluation.metrics == unsigned.evaluation.metrics
    open_fields = {gap.field: gap for gap in row(unsigned, "annex_iv", "2(g)").gaps}
    assert row(unsigned, "annex_iv", "2(g)").state == "open"
    assert {"evaluation.signed_by", "evaluation.signed_at"} <= set(open_fields)
    assert open_fields["evaluation.signed_by"].answers == "Annex IV 2(g)"
    assert not {"evaluation.signed_by", "evaluation.signed_at"} & {gap.field for gap in completeness(signed).open}
    (who,) = signed.evaluation.signed_by.value
    assert (who["key"], signed.evaluation.signed_at.value) == ("lab-1", NOW)
    for field, value in (("signed_by", ["the laboratory"]), ("signed_at", NOW)):
        (problem,) = refused({"evaluation": {field: value}})
        assert problem.startswith("fact-needs-signature")


PLAN = {
    "plan": "retraining on new rows of the same source",
    "plan_digest": f"sha256:{'ab' * 32}",
    "plan_date": "2026-02-01",
    "assessment_date": "2026-02-15",
    "within_bounds": "yes",
}


def test_a_pre_determined_change_is_not_claimed_after_the_fact():
    def problems(**over: Any) -> list[str]:
        stated = {key: value for key, value in (PLAN | over).items() if value is not None}
        return refused({"high_risk": {"predetermined": stated, "foreseen_in_initial_assessment": "yes"}})

    assert problems() == []
    assert problems(plan_date="2026-02-15") == []
    (problem,) = problems(plan_date="2026-02-16")
    assert problem.startswith("facts-out-of-order")
    assert "high_risk.predetermined.plan_date" in problem
    assert "Arts. 3(23), 43(4)" in problem
    (problem,) = problems(plan_date="2026-12-01", assessment_date="2026-12-24")
    assert "today" in problem
    for missing in ("plan_date", "assessment_date", "plan_digest"):
        (problem,) = problems(**{missing: None})
        assert problem.startswith("fact-incomplete")
        assert f"high_risk.predetermined.{missing}" in problem
    system = a_record(facts={"high_risk": {"classification_after": "annex_i", "foreseen_in_initial_assessment": "yes"}})
    assert "high_risk.predetermined" in {gap.field for gap in completeness(system).open}, "foreseen needs its plan"
    answers = {"high_risk.predetermined": PLAN | {"plan_date": "2026-03-01"}}
    found = list(problems_of_answers(system, answers, role="officer", version=a_version(), at=NOW))
    assert len(found) == 1
    assert "not pre-determined" in found[0].reason


def test_the_art_5_screen_is_not_skipped_for_image_adapters():
    record = a_record()
    images = record.revised(use=record.use.revised(modalities=measured({"input": ["text"], "output": ["image"]})))
    assert "high_risk.art5_screen" not in required(record)
    made = with_assessment(images)
    assert made.gpai.verdict.value == "blocked_art5"
    (gap,) = [gap for gap in completeness(made).open if gap.field == "high_risk.art5_screen"]
    assert (gap.owner, gap.answers) == ("legal", "Art. 5(1)(ba), (bb), 5(1a)")
    assert (
        "the prohibitions of art. 5(1)(ba) and (bb) apply from 2026-12-02 (art. 113(a))" in page(a_view(made)).lower()
    )
    (problem,) = refused({"high_risk": {"art5_screen": {"ba": "cleared", "bb": "cleared"}}})
    assert problem.startswith("fact-needs-signature")
    for screen, status in (
        ({"ba": "cleared", "bb": "cleared"}, "provider_modified"),
        ({"ba": "cleared", "bb": "blocked"}, "blocked_art5"),
    ):
        screened = images.high_risk.revised(art5_screen=declared(screen, by="a lawyer", at=NOW))
        assert with_assessment(images.revised(high_risk=screened)).gpai.verdict.value == status
    silent = record.revised(use=record.use.revised(modalities=unknown("the base's configuration does not say")))
    assert "generates images, audio or video" in (with_assessment(silent).gpai.verdict.reason or "")


def test_the_audit_trail_is_not_labelled_art_12_logging():
    article_12 = re.compile(r"Arts?\. (?:[\w()]+, )*12\b")
    citing = {rule.path for rule in RULES.fields if article_12.search(rule.answers)}
    assert citing == {"high_risk.effect_on.article_12"}, "the effect on the logs of the deployed system"
    assert BY_PATH["lifecycle"].answers == "Art. 20; Annex IV 6, 9"
    for path in ("security.transparency_log", "lifecycle", "record_created_at"):
        for form in forms().forms:
            assert not [row for row in form.rows if path in row.fields and "12" in row.row]
    record = a_record(facts={"high_risk": {"classification_after": "annex_iii_4"}})
    shown = [one for one in said(*every_kind_of_record()) if article_12.search(one.text)]
    assert {one.where for one in shown} <= {"high_risk.effect_on.article_12"}
    assert record.security.transparency_log.known
    (text,) = [field.text for field in a_view(record).fields if field.path == "security.transparency_log"]
    assert "Art" not in text
    readme = (ROOT / "docs/compliance/README.md").read_text(encoding="utf-8")
    assert "The registry's history is not the logging of Art. 12" in readme


# paragraphs as printed in July 2025 (J) or November 2025 (N)
PARAGRAPHS = {
    "modifier.role_claimed": "J23, J60",
    "modifier.controls_weights": "J fn. 12",
    "base[].role": "J121-122",
    "base[].licence_flags": "J58-59, J76-84",
    "base[].is_gpai": "J17",
    "base[].training_tokens": "J132",
    "base[].training_compute_flop": "J63-64",
    "upstream[].name": "J58-59",
    "upstream[].eu_exclusion": "J58-59",
    "upstream[].gpai_indication": "J17-20",
    "change.rel_norm_global": "J62",
    "change.modules": "J62",
    "data[].epochs": "J132",
    "data[].synthetic_generator": "J119-120",
    "compute.param_update_flop": "N115",
    "compute.conservative_flop": "J132",
    "compute.private_synthetic_flop": "J119-120",
    "compute.cumulative_flop": "J119-121",
    "compute.method": "J123-132",
    "compute.inputs": "J126-132",
    "compute.uncertainty_pct": "J123",
    **{f"compute.excluded.{name}_flop": "J122" for name in ("evaluation", "recompute", "auxiliary", "failed_runs",
                                                          "public_synthetic", "teacher")},
    "gpai.same_provider": "J23",
    "gpai.ratio": "J63, J123",
    "gpai.ratio_low": "J63, J123",
    "gpai.ratio_high": "J63, J123",
    "gpai.ratio_method_aware": "J63, J118",
    "gpai.ratio_scope": "J63",
    "step.ratio": "J63",
    "gpai.threshold_kind": "J63-64",
    "gpai.threshold_flop": "J63-64",
    "gpai.original_flop": "J63",
    "gpai.estimate_attempt": "J64",
    "gpai.result_is_gpai_by_itself": "J17-20",
    "gpai.sr_flag": "J70, J121",
    "gpai.verdict": "J60-71",
    "gpai.placed_on_eu_market": "J53",
    "gpai.placing_channel": "J53",
    "gpai.placing_date": "J53",
    "gpai.qualitative_change.generality": "J62",
    "gpai.qualitative_change.capabilities": "J62",
    "gpai.qualitative_change.systemic_risk": "J62",
    "gpai.open_source_exemption.licence_ok": "J76-84",
    "gpai.open_source_exemption.no_monetisation": "J85-89",
    "gpai.open_source_exemption.weights_public": "J90",
    "gpai.open_source_exemption.architecture_public": "J90",
    "gpai.open_source_exemption.usage_public": "J90-91",
    "evaluation.delta": "J62",
}  # fmt: skip


def test_paragraphs_of_july_are_not_claimed_for_november():
    cited = {
        rule.path: match[1]
        for rule in RULES.fields
        if (match := re.search(r"GL ((?:[JN](?:\d+(?:-\d+)?| fn\. \d+)(?:, )?)+)", rule.answers))
    }
    assert cited == PARAGRAPHS
    for one in said(*every_kind_of_record()):
        for citation in re.findall(r"\bGL\b.{0,4}", one.text):
            assert re.match(r"GL [JN](\d| f)", citation), one
        for edition in re.findall(r"paragraphs? \d+(.{0,32})", one.text):
            assert "July 2025" in edition or "November 2025" in edition, one
    (answer,) = [answer for answer in a_view(a_record()).answers if "third" in answer.question]
    assert "paragraph 63 as printed in July 2025, 60 in November 2025" in answer.lines[0]
    (source,) = [source for source in RULES.sources if source.short == "GL"]
    assert "J: paragraph as printed in C(2025) 5045 (July 2025); N: in C(2025) 7719 (November 2025)" in source.title


# --- mistakes that were seen in tools ---


def test_completeness_is_not_claimed_for_empty_sections():
    empty = ModificationRecord(record_id="r", record_created_at=NOW)
    count = completeness(empty)
    assert (count.filled, len(count.open)) == (0, count.total)
    filled = {
        (form.name, one.row.row) for form in forms().forms for one in answered(empty, form) if one.state == "filled"
    }
    assert filled == {
        ("mdf", "Header"),
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
    ran = Scan(name="secrets", what="forms of keys", files=2)
    not_run = Scan(name="malware", what="code", ran=False, why="this tool has no scanner for it")
    record = a_record(scans=(ran, not_run))
    (passed, never) = record.security.scans.value
    assert (passed["ran"], passed["found"]) == ("yes", "nothing")
    assert never == {"scan": "malware", "what": "code", "ran": "no", "why": "this tool has no scanner for it"}
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
    tags = dict(a_projection(version).version.tags)
    assert tags["registry.weights_digest"] == str(version.weights_digest)
    assert tags["registry.manifest"] == str(version.manifest_digest)
    assert f"`{a_digest('base weights')}`" in a_card(record)


def test_hardware_requirements_do_not_come_from_nowhere():
    run = a_run_record()
    needs = a_record().use.required_hardware
    assert (needs.value, needs.source) == ("0.27 GB for the weights in bfloat16", "derived")  # 134 515 008 × 2 bytes
    assert "parameters × bytes of one value" in (needs.method or "")
    on_a_gpu = run.environment.revised(device="cuda", processor="NVIDIA H100", threads=16)
    compute = some_compute(hardware=measured("cuda: NVIDIA H100"))
    elsewhere = a_record(run=a_run_record(environment=on_a_gpu, compute=compute))
    assert elsewhere.use.required_hardware == needs, "what it was trained on is not what it needs"
    unheard_of = a_record(run=a_run_record(environment=run.environment.revised(dtype="posit8")))
    assert not unheard_of.use.required_hardware.known
    assert not a_modification_record(bases=()).use.required_hardware.known
    (problem,) = refused({"use": {"required_hardware": "8 × H100"}})
    assert problem.startswith("fact-not-declarable")


def test_approvals_are_not_typed_into_a_form():
    approval = [{"role": "approver", "person": "somebody", "decision": "approved"}]
    (problem,) = refused({"approvals": approval})
    assert problem.startswith("fact-needs-signature")
    record = a_record()
    (found,) = problems_of_answers(record, {"approvals": approval}, role="officer", version=a_version(), at=NOW)
    assert found.path == "approvals"
    typed = record.revised(approvals=declared(approval, by="somebody", at=NOW)).to_json()
    assert [problem.reference for problem in problems_of_declared("modification", typed)] == ["fact-needs-signature"]
    assert a_record(facts={}).approvals == ASKED


def test_a_later_record_does_not_hide_an_earlier_one():
    first = a_record(facts={"use": {"intended": "sums for pupils"}})
    rerun = a_modification_record(record_id="a second run without facts")
    assert newly_declared(rerun, first) == {}, "it takes nothing away"
    version = a_version()
    second = superseding(first, version=version, record_id="second", now=NOW, reason="trained again without facts")
    assert (second.supersedes, second.correction.supersedes_digest) == (first.record_id, first.canonical_digest())
    assert second.use.intended == first.use.intended
    corrected = superseding(
        second,
        version=version,
        record_id="third",
        now=NOW,
        reason="a correction",
        values={"use.intended": declared("fractions for pupils", by="the modifier", at=NOW)},
    )
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
    used = re.match(r"(\S+) device hours × (\S+) W × power usage effectiveness (\S+)", energy.method or "")
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


# --- nothing from nowhere ---


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
    assert "300 W" in (energy.training_kwh.method or "")
    assert "declared by a lawyer" in (energy.method.method or "")
    assert "not measured" in str(energy.missing_info.value)
    merged = a_merge_modification(base=a_base())
    assert merged.compute.hardware.value == "cpu: x86_64", "of the machine that merged"
    assert not merged.energy.training_kwh.known
    assert not merged.compute.hardware_days.known
    for made in (record, known, merged):
        for leaf in leaves(made):
            if leaf.path.startswith(("compute.", "energy.", "power.", "inference.")) and leaf.value.known:
                assert leaf.value.source in ("measured", "derived", "declared"), leaf.path
                assert leaf.value.method or leaf.value.asserted_by or leaf.path == "compute.hardware", leaf.path
