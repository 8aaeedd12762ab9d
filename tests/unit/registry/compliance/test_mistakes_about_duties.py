"""Mistakes about dates and duties of the AI Act that records, cards and forms are known to make, each as a test that it is not made
here.

The expected dates, clauses and recipients are written out from the law, the guidelines and the forms, and not taken from the rules
that the tool carries.
"""

import json
import re
from typing import Any

import pytest

from peft_registry.registry.compliance.answers import problems_of_answers
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.contradictions import FactContradicted
from peft_registry.registry.compliance.derivation import NextInputs, derive_next
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.form_cuts import cut_form
from peft_registry.registry.compliance.form_rows import answered, forms
from peft_registry.registry.compliance.recorded_evaluation import EvaluationSignature, with_later_evaluations
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.registry.exports.model_card import merge_card
from peft_registry.schemas.codes import code, in_words
from peft_registry.schemas.errors import SeveralProblems
from peft_registry.schemas.modification import ASKED, ModificationRecord
from peft_registry.schemas.values import Value, declared, derived, imported, measured, unknown
from tests.builders.provider import (
    BY_PATH,
    RULES,
    a_base,
    a_card,
    a_record,
    a_view,
    every_kind_of_record,
    page,
    refused,
    required,
    said,
)
from tests.builders.records import (
    NOW,
    a_base_input,
    a_base_record,
    a_digest,
    a_manifest,
    a_merge_modification,
    a_merge_record,
    a_modification_record,
    a_profile,
    a_version,
    an_evaluation,
    signed_by_an_officer,
)
from tests.processes.interpreter import ROOT


def row(record: ModificationRecord, form: Any, name: str) -> Any:
    return next(found for found in answered(record, forms().named(form)) if found.row.row == name)


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
    (flags,) = [answer.lines for answer in view.behind if answer.question == "What is said beside the roles?"]
    of_that_day = [text for text in flags if "2026-08-02" in text]
    assert all(text.startswith("Transparency (A50, Art. 50(1)-(4)): ") for text in of_that_day)
    without_flags = page(view)
    for text in of_that_day:
        without_flags = without_flags.replace(text, "")
    assert "2026-08-02" not in without_flags
    assert "2027-12-02" in (ROOT / "docs/reference/modification-record.md").read_text(encoding="utf-8")


def test_article_10_5_is_not_cited_where_article_4a_holds():
    record = a_record(facts={"data": {"*": {"special_categories": "yes", "personal_data": "yes"}}})
    asked = {gap.field: gap.answers for gap in completeness(record).open if ".art4a." in gap.field}
    assert sorted(asked.values()) == [f"Art. 4a(1)({letter})" for letter in "abcdef"]
    shown = page(a_view(record))
    assert "Art. 4a(1)(f)" in shown
    assert "10(5)" not in shown
    assert not [one for one in said(record) if "10(5)" in one.text]


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
    assert "GL J83" in str(record.gpai.open_source_exemption.licence_ok.method)
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
    version = a_version()
    later = derive_next(
        NextInputs(before=record, name=version.name, manifest=version.manifest_digest),
        record_id="later",
        now="2027-06-30T00:00:00Z",
    )
    assert later.record_created_at > record.record_created_at
    assert later.retention.until.value == "2036-03-01"
    assert "Art. 18" in str(later.retention.until.method)
    unplaced = a_modification_record()
    assert not unplaced.retention.until.known
    # the runtime logs of a system are another duty
    rule = BY_PATH["retention.log_retention_months"]
    assert (rule.answers, rule.minimum) == ("Arts. 19, 26(6)", 6)
    assert not later.retention.log_retention_months.known
    (problem,) = refused({"retention": {"log_retention_months": 5}})
    assert "less than 6" in problem


# items of the Model Documentation Form: A the AI Office, N a national authority, D a downstream provider, and how many words
ITEMS = """
1 legal name of provider | AND
2 model name | AND
3 authenticity | AN
4 release date | AND
5 Union market date | AND
6 dependencies | AND
7 architecture | AND | 20
8 design specifications of the model | AN | 100
9 input modalities | AND
10 input maximum size | AD
11 output modalities | AND
12 output maximum size | D
13 total size, exact | A
14 total size, range | ND
15 channels in the Union | AN
16 channels for downstream providers | D
17 licence | AN
18 licence type | D
19 additional assets | AD
20 acceptable use policy | AND
21 intended uses | AND | 200
22 kinds of AI systems | AND | 300
23 technical means | D | 100
24 required hardware | D | 100
25 required software | D | 100
26 design specifications of training | AN | 400
27 decision rationale | AN | 200
28 modality | AND
29 provenance | AND
30 how obtained and selected | AN | 300
31 number of points, coarse | N
32 number of points | A
33 scope and characteristics | AN | 200
34 curation | AND | 300
35 unsuitable sources | AN | 400
36 identifiable biases | AN | 200
37 training time, range | N
38 training time | A
39 computation, order | N
40 computation | A
41 method of measuring the computation | AN
42 energy of training | AN
43 method of measuring the energy | AN | 100
44 computation for inference | AN
45 method of measuring the computation for inference | AN
"""
LETTERS = {"aio": "A", "nca": "N", "dp": "D"}

# exact for the AI Office alone; the largest input and output are for whoever integrates the model
OFFICE_ALONE = {
    "product.params_total",
    "compute.param_update_flop",
    "compute.inputs",
    "compute.wall_clock_days",
    "compute.hardware_days",
    "data[].n_points",
    "data[].splits",
    "all_data.n_points",
}


def fields_for(recipient: str) -> set[str]:
    """The fields that the rows of a recipient let them have."""
    rows = [row for row in forms().named("mdf").rows if recipient in row.recipients]
    return {path for row in rows for path in (*row.fields, *row.beside)}


def test_the_45_items_of_the_model_documentation_form_have_their_recipients_and_words():
    listed = [
        " | ".join(
            [
                f"{row.row} {row.title}",
                "".join(LETTERS[one] for one in row.recipients),
                *([str(row.words)] * bool(row.words)),
            ]
        )
        for row in forms().named("mdf").rows[1:]
    ]
    assert listed == ITEMS.strip().splitlines()


def test_what_a_recipient_gets_holds_no_figure_that_is_for_others():
    """Neither in a value nor in how it came about: the counts of rows, the parameters, the operations and the days."""
    facts = {"asserted_by": "sam", "data": {"*": {"synthetic_generator": {"model": "m", "samples_kept": 4321}}}}
    record = a_modification_record(facts=facts)
    exact = ("134515008", "2442240", "106000000", str(record.compute.param_update_flop.value), "180", "4321")
    cuts = {who: cut_form(record, forms().named("mdf"), who) for who in LETTERS}
    texts = {who: json.dumps([row.model_dump(mode="json") for row in cut]) for who, cut in cuts.items()}
    assert "134515008" in texts["aio"]
    for who in ("nca", "dp"):
        assert not [figure for figure in exact if figure in texts[who]], who
        for row in cuts[who]:
            assert not (row.state == "not for this recipient" and (row.values or row.owners))
            assert {FieldPath.parse(value.path).rule.split(".")[0] for value in row.values} <= {
                path.split(".")[0] for path in (*fields_for(who), "record_id", "record_created_at", "supersedes")
            }
    assert {row.row: row.values[0].value for row in cuts["nca"] if row.row in ("31", "37", "39")} == {
        "31": {"train": 200, "validation": 20}, "37": "<1 month", "39": "10^13"
    }  # fmt: skip


def test_a_row_is_not_answered_by_a_field_that_answers_something_else():
    said = {"personal_data": "no", "special_categories": "no"}
    provider = a_record(facts={"data": {"*": said}})
    states = {one.row.row: one.state for one in answered(provider, forms().named("mdf"))}
    assert states["35"] != "filled", "that there are no personal data is no measure against unsuitable sources"
    assert provider.evaluation.bias.known
    assert states["36"] != "filled", "biases of the model are no method in acquiring or processing data"
    measures = {
        "unsuitability_measures": "a list of blocked hosts",
        "illegal_content_measures": "hashes of known files",
    }
    provider = a_record(facts={"data": {"*": said | measures}})
    assert row(provider, "mdf", "35").state == "filled"


def test_a_text_that_is_longer_than_the_form_asks_is_told_and_not_cut():
    text = " ".join(["word"] * 120)
    record = a_record(facts={"product": {"design_specifications": text}})
    cut = next(one for one in cut_form(record, forms().named("mdf"), "aio") if one.row == "8")
    assert (cut.words, cut.words_written, cut.notes) == (100, 120, ("120 words; the form asks for 100",))
    assert cut.values[0].value == text


def test_a_number_that_somebody_stated_coarser_than_the_form_asks_is_told():
    def row_40(flop: Value):
        record = with_values(a_record(), {"compute.param_update_flop": flop})
        return next(one for one in cut_form(record, forms().named("mdf"), "aio") if one.row == "40")

    coarse = row_40(declared(5e17, by="sam", at=NOW))
    assert (coarse.figures, coarse.figures_written) == (2, 1)
    assert coarse.notes == ("1 significant figure; the form asks for 2",)
    assert row_40(declared(5.4e17, by="sam", at=NOW)).notes == ()
    counted = row_40(derived(5e17, method=code("order_of_magnitude")))
    assert (counted.figures_written, counted.notes) == (None, ()), "what was counted is exact"


def test_exact_flop_energy_and_size_do_not_go_to_downstream_providers():
    gets = {who: fields_for(who) for who in LETTERS}
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
    assert rows["44"].fields == ("inference.benchmark_flop",)
    assert "not its energy" in rows["44"].content
    rule = BY_PATH["inference.benchmark_flop"]
    assert (rule.type, "in FLOP" in rule.label) == ("number", True)
    assert not [path for path in BY_PATH if path.startswith("inference.") and re.search("kwh|energy|watt", path)]
    (problem,) = refused({"inference": {"benchmark_flop": "0.3 kWh"}})
    assert "is not a number" in problem
    (problem,) = refused({"inference": {"energy_kwh": 0.3}})
    assert problem.startswith("fact-unknown")
    stated = a_record(facts={"inference": {"benchmark_flop": 2.6e15, "task": "generating 100 000 tokens"}})
    assert row(stated, "mdf", "44").state == "filled"
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
        assert rows[leaf.path].text == str(leaf.value.reason) != "no", leaf.path
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
    assert sentence in in_words(overall.evaluation.limitations.value)
    assert sentence in page(a_view(overall))
    assert sentence not in in_words(record.evaluation.limitations.value)
    signature = EvaluationSignature(
        statement=a_digest("later"), evaluation=with_groups.canonical_digest(), key_id="lab-1", person=None, at=NOW
    )
    later = with_later_evaluations(overall.evaluation, [with_groups], [signature])
    assert sentence not in in_words(later.limitations.value)
    before = overall.evaluation.revised(limitations=overall.evaluation.limitations.revised(value=[sentence]))
    assert not with_later_evaluations(before, [with_groups], [signature]).limitations.value[1:], "as it was said before"
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
    assert "not pre-determined" in str(found[0].reason)


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
        assert signed_by_an_officer(images.revised(high_risk=screened)).gpai.verdict.value == status
    silent = record.revised(use=record.use.revised(modalities=unknown("the base's configuration does not say")))
    assert "generates images, audio or video" in str(with_assessment(silent).gpai.verdict.reason)


def test_the_audit_trail_is_not_labelled_art_12_logging():
    article_12 = re.compile(r"Arts?\. (?:[\w()]+, )*12\b")
    citing = {rule.path for rule in RULES.fields if article_12.search(rule.answers)}
    assert citing == {"high_risk.effect_on.article_12"}, "the effect on the logs of the deployed system"
    for path in ("security.transparency_log", "record_created_at"):
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
    assert "paragraph 63 as printed in July 2025, 60 in November 2025" in answer.lines[1]
    (source,) = [source for source in RULES.sources if source.short == "GL"]
    assert "J: paragraph as printed in C(2025) 5045 (July 2025); N: in C(2025) 7719 (November 2025)" in source.title
