"""What a facts file may state: each line is checked before a run, with its path, what is wrong with it and what would be right."""

import json
import re
from importlib import resources

import pytest

from peft_registry.registry.compliance.answer_forms import MAX_CHARACTERS, as_recorded, misfits
from peft_registry.registry.compliance.base_facts import UnknownFact, declared_base_facts
from peft_registry.registry.compliance.contradictions import FactContradicted, FactIncomplete, FactsOutOfOrder
from peft_registry.registry.compliance.declared import problems_of_declared, sound_facts
from peft_registry.registry.compliance.facts import FactUnknown, overtaken_facts, problems_of_facts
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.stated import (
    WHY_NOT_APPLICABLE,
    FactMalformed,
    FactNeedsSignature,
    FactNotDeclarable,
)
from peft_registry.registry.reports.text import value_text
from peft_registry.schemas.base_model import LICENCE_FLAGS, DeclaredFacts
from peft_registry.schemas.codes import code
from peft_registry.schemas.errors import SeveralProblems
from peft_registry.schemas.modification import BaseUsed
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.values import declared, imported, measured, not_applicable
from tests.builders.records import (
    NOW,
    a_base_record,
    a_merge_modification,
    a_modification_record,
    a_run_record,
    some_base_facts,
    some_compute,
)

BASE = "small-llama"
DATA = "sums.jsonl"
RULES = field_rules()


def nested(path, value):
    """The facts that state one value: `data.sums.jsonl.licence` names the data file and then the field."""
    parts = path.replace(DATA, "DATA").split(".")
    for part in reversed(parts):
        value = {DATA if part == "DATA" else part: value}
    return value


def problems(facts, *, at=NOW, base=None):
    stated = {"asserted_by": "a data owner"} | facts
    sections = [base or BaseUsed(name=measured(BASE))]
    return list(problems_of_facts(stated, at=at, bases=sections, data=[DATA]))


def only_problem(facts, **choices):
    found = problems(facts, **choices)
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


# --- approvals, verdicts, signatures ---


@pytest.mark.parametrize(
    ("path", "value", "says", "instead"),
    [
        (
            "approvals",
            [{"role": "approver", "person": "A. Smith", "decision": "approved"}],
            "the person who may give it",
            "an approver's own key",
        ),
        ("gpai.verdict", "downstream_modifier_not_provider", "verdict", "state the facts that it rests on"),
        ("high_risk.substantial", "no", "verdict", "until it is signed"),
        ("high_risk.article25_case", "none", "whoever decides that signs it", "registry decide"),
        ("high_risk.art5_screen", {"ba": "cleared"}, "whoever decides that signs it", "registry decide"),
        ("evaluation.signed_by", ["A. Smith"], "read from the signature", "registry evaluate"),
        ("evaluation.signed_at", "2026-11-24T09:30:00Z", "read from the signature", "registry evaluate"),
        ("evaluation.plan_digest", f"sha256:{'0' * 64}", "the log says which plan", "--policy"),
        ("evaluation.plan_created_at", "2026-01-01T00:00:00Z", "the log says which plan", "--policy"),
        ("security.signature", {"key": "mine"}, "read from the signature", "signed and logged"),
        ("retention.legal_hold", "none", "order of the person", "own key"),
        ("lifecycle", ["promoted"], "after the record is written", "signed statement"),
        ("documents", ["annex-xi.pdf"], "after the record is written", "signed statement"),
        ("requests", ["answered in time"], "after the record is written", "signed statement"),
        ("incidents", ["none"], "after the record is written", "signed statement"),
    ],
)
def test_an_approval_typed_into_a_facts_file_is_refused_by_name(path, value, says, instead):
    problem = only_problem(nested(path, value))
    assert isinstance(problem, FactNeedsSignature)
    assert path in problem.what
    assert says in problem.why
    assert instead in problem.fix
    assert problem.exit_code == 2


def test_no_field_that_a_person_fills_and_that_decides_or_signs_is_a_fact():
    """Read off the labels: what a person decides, approves, signs or orders has its act in the rules."""
    deciding = [
        rule.path
        for rule in RULES.fields
        if rule.owner != "tool" and re.search(r"\b(approvals?|signed|hold|verdict|substantial)\b", rule.label.lower())
    ]
    assert deciding
    assert [path for path in deciding if RULES.by_path()[path].act is None] == []
    assert {rule.act for rule in RULES.fields if rule.act} == set(RULES.acts)


def test_a_person_who_is_named_in_facts_asserts_and_signs_nothing():
    record = a_modification_record(facts={"asserted_by": "A. Smith, approver", "use": {"intended": "sums of pupils"}})
    assert record.use.intended.asserted_by == "A. Smith, approver"
    assert "approvals" not in record.to_json()
    assert record.evaluation.signed_by.value == [{"key": "lab-1"}], "the key that signs, whoever the facts name"


# --- types ---

LONG = "a" * 10_000_000

WRONG = [
    ("gpai.placing_date", "tomorrow", "not a day of the calendar", "2026-11-24"),
    ("gpai.placing_date", "2026-13-45", "not a day of the calendar", "year-month-day"),
    ("gpai.placing_date", "2026-02-30", "not a day of the calendar", "year-month-day"),
    ("gpai.placing_date", "24.11.2026", "not a day of the calendar", "did you mean `2026-11-24`?"),
    ("gpai.placing_date", "2026-11-24T09:30:00Z", "not a day of the calendar", "did you mean `2026-11-24`?"),
    ("gpai.placing_date", "٢٠٢٦-١١-٢٤", "not a day of the calendar", "year-month-day"),
    ("gpai.placing_date", 20261124, "not a day of the calendar", "did you mean `2026-11-24`?"),
    ("gpai.placing_date", "0026-11-24", "before 1900", "year"),
    ("data.sums.jsonl.acquired_to", "13/2026", "neither a day nor a month", "11/2026"),
    ("data.sums.jsonl.acquired_to", "2026-05", "neither a day nor a month", "did you mean `05/2026`?"),
    ("data.sums.jsonl.crawler", {"period": "2026"}, "not a period", "03/2026-11/2026"),
    ("data.sums.jsonl.crawler", {"period": "11/2026-03/2026"}, "ends before it begins", "earlier month first"),
    ("base.small-llama.retrieved_at", "2026-11-24", "not a time", "UTC"),
    ("base.small-llama.retrieved_at", "2026-11-24T25:00:00Z", "not a time", "UTC"),
    ("base.small-llama.retrieved_at", "2026-11-24T10:30:00+01:00", "not a time", "did you mean `2026-11-24T09:30:00Z`?"),
    ("base.small-llama.licence_text_digest", "zzz", "not a SHA-256 digest", "64 characters"),
    ("base.small-llama.licence_text_digest", "AB" * 32, "not a SHA-256 digest", f"did you mean `sha256:{'ab' * 32}`?"),
    ("modifier.country", "ZZ", "not a country of ISO 3166", "such as DE"),
    ("modifier.country", "nl", "not a country of ISO 3166", "did you mean `NL`?"),
    ("modifier.country", "UK", "not a country of ISO 3166", "did you mean `GB`?"),
    ("modifier.country", ["NL"], "not a country of ISO 3166", "such as DE"),
    ("data.sums.jsonl.licence", "none", "not a licence of the SPDX list", "NONE where no licence was given"),
    ("data.sums.jsonl.licence", "llama3.2 community", "not a licence", "`LicenseRef-llama3.2-community`"),
    ("data.sums.jsonl.licence", "Apache License 2.0", "not a licence", "did you mean `Apache-2.0`?"),
    ("data.sums.jsonl.licence", "MIT AND", "not a licence", "LicenseRef-"),
    ("data.sums.jsonl.licence", "Foo-1.0", "not a licence of the SPDX list", "`LicenseRef-Foo-1.0`"),
    ("data.sums.jsonl.licence", "MIT OR GPL-2.0-only WITH Foo", "not a licence of the SPDX list", "`LicenseRef-MIT-OR-GPL"),
    ("data.sums.jsonl.licence", "(" * 5000, "", ""),
    ("base.small-llama.licence_flags", ["non-commercial"], "none of its answers", "did you mean `non_commercial`?"),
    ("data.sums.jsonl.source_url", "javascript:alert(1)", "not an address", "https://"),
    ("data.sums.jsonl.source_url", "example.org/data", "not an address", "did you mean `https://example.org/data`?"),
    ("data.sums.jsonl.source_url", "openai/gsm8k", "not an address", "did you mean `https://huggingface.co/openai/gsm8k`?"),
    ("data.sums.jsonl.source_url", "https://[::1", "not an address", "https://"),
    ("modifier.contact", "come by", "neither an e-mail address nor a web page", "post@example.org"),
    ("energy.training_kwh", -3, "-3 is not more than 0", "above 0"),
    ("energy.training_kwh", "3 kWh", "not a number", "without its unit"),
    ("energy.training_kwh", True, "not a number", "without"),
    ("energy.training_kwh", float("nan"), "not a finite number", "unknown"),
    ("energy.training_kwh", float("inf"), "not a finite number", "unknown"),
    ("energy.pue", 0.9, "less than 1", "from 1"),
    ("energy.method", "no sensor", "answers nothing", "unknown"),
    ("gpai.estimate_attempt", "No attempt was made.", "answers nothing", "unknown"),
    ("gpai.estimate_attempt", "none: not needed", "answers nothing", "unknown"),
    ("base.small-llama.training_compute_flop", 0, "not more than 0", "above 0"),
    ("base.small-llama.training_tokens", 1.5, "not a whole number", "count"),
    ("retention.log_retention_months", 3, "less than 6", "from 6"),
    ("gpai.placed_on_eu_market", "maybe", "none of its answers", "answer yes or no"),
    ("gpai.placed_on_eu_market", "unknown", "has a reason", "{unknown: the reason}"),
    ("gpai.placed_on_eu_market", "Yes", "none of its answers", "did you mean `yes`?"),
    ("high_risk.classification_after", "annex_iii_9", "none of its answers", "did you mean `annex_iii_"),
    ("use.intended", 3, "not text", "in quotes"),
    ("use.intended", "", "empty", "unknown"),
    ("use.intended", " \n ", "empty", "unknown"),
    ("use.intended", "TBD", "answers nothing", "unknown"),
    ("use.intended", None, "empty", "unknown"),
    ("use.intended", "word " * 251, "251 words, and the form asks for about 200", "250 words"),
    ("use.intended", "a" * (MAX_CHARACTERS + 1), f"at most {MAX_CHARACTERS}", "shorten"),
    ("use.intended", LONG, f"at most {MAX_CHARACTERS}", "shorten"),
    ("use.intended", "pupils\x1b[2J", "U+001B", "take it out"),
    ("use.intended", "pupils\u202egpj.exe", "U+202E", "take it out"),
    ("use.intended", "pu\u200bpils", "U+200B", "take it out"),
    ("use.intended", "pupils\x00", "U+0000", "take it out"),
    ("use.intended", "pupils\ud800", "U+D800", "take it out"),
    ("use.intended", {"unknown": ""}, "empty", "reason"),
    ("use.intended", {"unknown": None}, "without a reason", "the reason"),
    ("use.intended", {"unknown": "lost", "value": "x"}, "unknown and known at once", "unknown"),
    ("use.intended", {"unknown": "lost\x1b"}, "U+001B", "take it out"),
    ("use.foreseeable_misuse", {"not_applicable": "own_data"}, "always has an answer", "{unknown: the reason}"),
    ("data.sums.jsonl.labelling", {"not_applicable": "nothing_labeled"}, "not a reason", "did you mean `nothing_labelled`?"),
    ("data.sums.jsonl.labelling", {"not_applicable": ["own_data"]}, "not a reason", "{not_applicable: nothing_labelled}"),
    ("data.sums.jsonl.labelling", {"not_applicable": None}, "not a reason", "{not_applicable: nothing_labelled}"),
    ("data.sums.jsonl.labelling", {"not_applicable": "nothing_labelled", "unknown": "x"}, "unknown and known", "unknown"),
    ("data.sums.jsonl.labelling", {"not_applicable": "nothing_labelled", "by": "x"}, "at once", "leave one"),
    ("limitations.known", "forgets", "several answers", "write a list"),
    ("limitations.known", [""], "empty", "unknown"),
    ("data.sums.jsonl.curation_steps", [{"tool\x1b": "x"}], "U+001B", "take it out"),
    ("data.sums.jsonl.curation_steps", ["x"] * 2000, "2000 entries", "document"),
    ("data.sums.jsonl.synthetic_generator", {"modell": "x"}, "no such key", "did you mean `model`?"),
    ("data.sums.jsonl.synthetic_generator", {"model": "x", "samples_kept": -1}, "less than 0", "from 0"),
    ("data.sums.jsonl.crawler", ["x"], "several named answers", "period"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "says", "remedy"), WRONG, ids=lambda part: repr(part)[:40])
def test_a_value_of_the_wrong_form_is_refused_with_its_path_and_remedy(path, value, says, remedy):
    problem = only_problem(nested(path, value))
    assert isinstance(problem, FactMalformed)
    assert path in problem.what
    assert says in problem.why
    assert remedy in problem.fix
    assert problem.exit_code == 2
    sentences = problem.what + problem.why + problem.fix
    assert "\x1b" not in sentences
    assert "\u202e" not in sentences
    assert len(sentences) < 1000


RIGHT = [
    ("gpai.placing_date", "2028-02-29"),
    ("data.sums.jsonl.acquired_from", "05/2026"),
    ("data.sums.jsonl.acquired_from", "2026-05-31"),
    ("data.sums.jsonl.crawler", {"names": ["ours"], "period": "03/2026-11/2026"}),
    ("base.small-llama.retrieved_at", "2026-11-24T09:30:00Z"),
    ("base.small-llama.licence_text_digest", f"sha256:{'ab' * 32}"),
    ("modifier.country", "NL"),
    ("data.sums.jsonl.licence", "CC-BY-SA-4.0"),
    ("data.sums.jsonl.licence", "MIT OR (Apache-2.0 WITH LLVM-exception)"),
    ("data.sums.jsonl.licence", "LicenseRef-Llama-3.2"),
    ("data.sums.jsonl.licence", "NONE"),
    ("base.small-llama.licence_flags", []),
    ("base.small-llama.licence_flags", ["non_commercial", "eu_exclusion"]),
    ("data.sums.jsonl.source_url", "https://example.org/data?version=2#rows"),
    ("modifier.contact", "ai-office@example.org"),
    ("modifier.contact", "https://example.org/contact"),
    ("energy.pue", 1),
    ("base.small-llama.training_tokens", 2e12),
    ("use.intended", "word " * 250),
    ("use.intended", "Übungen zum Rechnen\nauf zwei Zeilen, with a tab\tand \u200cjoiners"),
    ("use.intended", "<script>alert(1)</script>"),
    ("use.intended", "=cmd()|'/c calc'!A0"),
    ("use.intended", {"unknown": "the product is not chosen"}),
    ("use.intended", {"not_applicable": "licence_forbids_to_say"}),
    ("evaluation.not_measured", [{"what": "robustness", "why": "no suite"}, "security"]),
    ("data.sums.jsonl.personal_data", False),
]


@pytest.mark.parametrize(("path", "value"), RIGHT, ids=lambda part: repr(part)[:40])
def test_a_value_of_the_right_form_is_taken(path, value):
    assert problems(nested(path, value)) == []


@pytest.mark.parametrize("rule", [rule for rule in RULES.fields if rule.not_applicable], ids=lambda rule: rule.path)
def test_each_reason_for_which_a_field_has_no_answer_is_one_that_people_may_give(rule):
    assert set(rule.not_applicable) <= WHY_NOT_APPLICABLE.keys()
    assert rule.act is None


def test_what_a_person_says_to_have_no_answer_is_recorded_with_the_reason_and_in_their_name():
    facts = nested("data.sums.jsonl.labelling", {"not_applicable": "nothing_labelled"}) | {
        "asserted_by": "sam, data owner"
    }
    value = a_modification_record(facts=facts).data[0].labelling
    assert (value.source, value.value, value.reason) == ("not_applicable", None, code("nothing_labelled"))
    assert (value.asserted_by, value.asserted_at) == ("sam, data owner", NOW)
    assert value_text(value) == "not applicable: nothing in the data is labelled"


def test_a_licence_is_recorded_in_the_spelling_of_its_list_and_true_as_yes():
    facts = {"asserted_by": "x", "data": {"*": {"licence": "cc-by-sa-4.0 or mit", "personal_data": False}}}
    data = a_modification_record(facts=facts).data[0]
    assert (data.licence.value, data.personal_data.value) == ("CC-BY-SA-4.0 OR MIT", "no")


def test_the_countries_are_those_of_the_standard():
    table = json.loads(
        (resources.files("peft_registry.registry.compliance") / "rules" / "countries.json").read_text("utf-8")
    )
    assert len(table["codes"]) == len(set(table["codes"])) == 249  # iso.org, officially assigned alpha-2 codes
    assert set(RULES.eu_members) <= set(table["codes"])
    assert set(table["often_meant"].values()) <= set(table["codes"])
    assert not set(table["often_meant"]) & set(table["codes"])


@pytest.mark.parametrize("by", [None, "", "  ", 7, "a\nb", "x" * 300, "me\x1b", "tbd", "me", "We", "the team"])
def test_whoever_asserts_is_a_name_and_a_role_on_one_line(by):
    problem = only_problem({"asserted_by": by, "use": {"intended": "sums"}})
    assert problem.path == "asserted_by"


# --- places ---


@pytest.mark.parametrize(
    ("facts", "path", "meant"),
    [
        ({"use": {"intendde": "x"}}, "use.intendde", "`use.intended`"),
        ({"intended": "x"}, "intended", "`use.intended`"),
        ({"usee": {}}, "usee", "`use`"),
        ({"data": {DATA: {"labeling": "x"}}}, f"data.{DATA}.labeling", f"`data.{DATA}.labelling`"),
        ({"data": {"sum.jsonl": {"labelling": "x"}}}, "data.sum.jsonl", f"`data.{DATA}`"),
        ({"data": {"*": {"art4a": {"delete": "x"}}}}, "data.*.art4a.delete", "`data.*.art4a.deletion`"),
        ({"base": {"other": {"is_gpai": "no"}}}, "base.other", "docs/reference"),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(facts, path, meant):
    problem = only_problem(facts)
    assert isinstance(problem, FactUnknown)
    assert problem.path == path
    assert meant in problem.fix


def test_a_field_that_newer_records_do_not_have_is_refused_with_the_one_that_has_the_answer():
    problem = only_problem({"asserted_by": "x", "high_risk": {"intended_purpose_after": "marks of pupils"}})
    assert isinstance(problem, FactUnknown)
    assert "`use.intended`" in problem.fix


@pytest.mark.parametrize(
    "facts",
    [
        {"use": "sums"},
        {"data": ["x"]},
        {"data": {DATA: "x"}},
        {"gpai": {"open_source_exemption": "yes"}},
        {"use.intended": "x"},
        {"data[]": {"licence": "MIT"}},
    ],
)
def test_a_text_where_a_section_belongs_is_refused(facts):
    assert isinstance(only_problem(facts), FactMalformed)


def test_everything_that_is_wrong_is_told_at_once_whatever_stands_beside_it():
    found = problems(
        {
            "asserted_by": "",
            "use": {"intendde": "x", "intended": 3, "out_of_scope": "tbd"},
            "data": {DATA: {"licence": "none", "labeling": "x"}, "other": {"licence": "MIT"}},
            "approvals": ["me"],
            "energy": {"training_kwh": -3, "pue": 0.5},
        }
    )
    assert len(found) == 10
    with pytest.raises(SeveralProblems) as told:
        a_modification_record(facts={"asserted_by": "x", "use": {"intended": 3}, "approvals": ["me"]})
    assert told.value.exit_code == 2
    assert len(told.value.problems) == 2


def test_a_fact_of_the_wrong_form_hides_no_contradiction_between_the_others():
    facts = {
        "gpai": {"placed_on_eu_market": "no", "placing_date": "2026-11-01"},
        "modifier": {"country": "ZZ"},
        "data": {DATA: {"acquired_from": "2026-05-01", "acquired_to": "2026-04-01"}},
    }
    told = [str(problem) for problem in problems(facts)]
    assert len(told) == 3
    for said in ("'ZZ' is not a country", "has no day", "acquired_to"):
        assert any(said in problem for problem in told), told


def test_what_a_fact_of_the_wrong_form_may_still_say_is_not_held_against_the_others():
    method, unstated = problems({"energy": {"training_kwh": 3, "method": 7}})
    assert (method.path, list(unstated.missing)) == ("energy.method", ["energy.boundary"])
    dates = {"acquired_from": "2026-05-01", "acquired_to": "2026-13-45"}
    assert [problem.path for problem in problems({"data": {DATA: dates}})] == [f"data.{DATA}.acquired_to"]


def test_a_nameless_author_hides_no_contradiction():
    found = problems({"asserted_by": "", "gpai": {"placed_on_eu_market": "no", "placing_date": "2026-11-01"}})
    assert len(found) == 2


def test_what_is_said_of_each_data_file_where_there_is_none_is_not_dropped_in_silence():
    stated = {"asserted_by": "x", "data": {"*": {"licence": "MIT"}}}
    (problem,) = problems_of_facts(stated, at=NOW, bases=None, data=[])
    assert problem.path == "data.*"


def test_what_is_wrong_for_each_data_file_is_told_once():
    problem = only_problem({"data": {"*": {"licence": "none"}}})
    assert problem.path == "data.*.licence"


def test_what_is_said_of_one_data_file_wins_over_what_is_said_of_each():
    run = a_run_record()
    run = a_run_record(data=(run.data[0], run.data[0].revised(name="more.jsonl")))
    facts = {"asserted_by": "x", "data": {DATA: {"licence": "MIT"}, "*": {"licence": "CC0-1.0"}}}
    record = a_modification_record(run=run, facts=facts)
    assert [data.licence.value for data in record.data] == ["MIT", "CC0-1.0"]


# --- what stands in its way ---


def test_a_field_of_the_tool_is_not_declarable():
    assert isinstance(only_problem({"gpai": {"ratio": 0.1}}), FactNotDeclarable)


def test_what_is_known_of_the_base_before_the_run_is_refused_before_it():
    base = BaseUsed(name=measured(BASE), retrieved_at=measured("2026-11-01T00:00:00Z", method="when it was added"))
    problem = only_problem({"base": {BASE: {"retrieved_at": "2026-10-01T00:00:00Z"}}}, base=base)
    assert isinstance(problem, FactNotDeclarable)
    assert "when it was added" in problem.why


def test_a_measured_value_stands_and_the_fact_against_it_is_named():
    """Nobody knows before a run what its sensors will measure; hours of training are not thrown away over it."""
    metered = a_run_record(compute=some_compute(energy_kwh=measured(0.01, "kWh", method="RAPL")))
    energy = {"training_kwh": 9.0, "method": "a guess at the meter", "boundary": "node"}
    facts = {"asserted_by": "x", "energy": energy}
    record = a_modification_record(run=metered, facts=facts)
    assert record.energy.training_kwh.value == 0.01
    assert record.energy.boundary.value == "node"
    assert overtaken_facts(record, facts) == ("energy.training_kwh", "energy.method")


# --- dates in order, and what belongs together ---


@pytest.mark.parametrize(
    ("facts", "earlier", "later"),
    [
        (
            {"base": {BASE: {"release_date": "2026-05-01"}}, "gpai": {"placing_date": "2026-04-30"}},
            f"base.{BASE}.release_date",
            "gpai.placing_date",
        ),
        (
            {"base": {BASE: {"release_date": "2026-05-01", "eu_release_date": "2026-04-30"}}},
            f"base.{BASE}.release_date",
            f"base.{BASE}.eu_release_date",
        ),
        (
            {"data": {DATA: {"acquired_from": "2026-05-01", "acquired_to": "04/2026"}}},
            f"data.{DATA}.acquired_from",
            f"data.{DATA}.acquired_to",
        ),
        ({"data": {"*": {"acquired_to": "2031-01-01"}}}, f"data.{DATA}.acquired_to", "today"),
        ({"base": {BASE: {"release_date": "2026-11-26"}}}, f"base.{BASE}.release_date", "today"),
        (
            {"retention": {"start_date": "2026-11-24", "until": "2025-11-24"}},
            "retention.start_date",
            "retention.until",
        ),
    ],
)
def test_dates_that_cannot_be_in_this_order_are_refused_with_both_paths(facts, earlier, later):
    problem = only_problem(facts)
    assert isinstance(problem, FactsOutOfOrder)
    assert (problem.earlier, problem.later) == (earlier, later)
    assert earlier in problem.what
    assert later in problem.what


def test_a_placing_before_the_release_that_is_recorded_with_the_base_is_refused():
    base = BaseUsed(name=measured(BASE), release_date=imported("2026-05-01", method="its model card"))
    problem = only_problem({"gpai": {"placing_date": "2026-04-30"}}, base=base)
    assert isinstance(problem, FactsOutOfOrder)
    assert only_problem_free({"gpai": {"placing_date": "2026-05-01"}}, base=base)


def only_problem_free(facts, **choices):
    return problems(facts, **choices) == []


@pytest.mark.parametrize(
    "facts",
    [
        {"base": {BASE: {"release_date": "2026-05-01"}}, "gpai": {"placing_date": "2026-05-01"}},
        {"data": {DATA: {"acquired_from": "2026-05-20", "acquired_to": "05/2026"}}},
        {"data": {DATA: {"acquired_to": "2026-11-25"}}},  # NOW is 24 November at noon in UTC
    ],
)
def test_equal_days_the_same_month_and_the_day_of_who_is_ahead_of_utc_are_in_order(facts):
    assert problems(facts) == []


def test_recorded_dates_that_nobody_states_now_do_not_stop_a_run():
    base = BaseUsed(name=measured(BASE), release_date=declared("2026-05-01", by="x", at=NOW),
                    eu_release_date=declared("2026-04-01", by="x", at=NOW))  # fmt: skip
    assert problems({"use": {"intended": "sums"}}, base=base) == []


def test_a_declared_energy_without_its_method_is_asked_for_it():
    problem = only_problem({"energy": {"training_kwh": 3.0}})
    assert isinstance(problem, FactIncomplete)
    assert "energy.training_kwh" in problem.what
    assert "energy.method, energy.boundary" in problem.fix
    with_method = {"training_kwh": 3.0, "method": "wattmeter at the socket, read by hand", "boundary": "node"}
    assert problems({"energy": with_method}) == []


def test_a_declared_energy_does_not_stand_beside_the_word_that_there_is_no_sensor():
    energy = {"training_kwh": 3.0, "method": "wattmeter at the socket, read by hand", "boundary": "node"}
    record = a_modification_record(facts={"asserted_by": "x", "energy": energy})
    assert a_modification_record().energy.missing_info.value == "no energy sensor on this machine"
    assert record.energy.training_kwh.value == 3.0
    assert not record.energy.missing_info.known
    assert "is declared" in str(record.energy.missing_info.reason)


METER = {"training_kwh": 0.5, "method": "wattmeter at the socket, read by hand", "boundary": "node"}


@pytest.mark.parametrize("missing", ["no sensor", "No sensor.", "no sensor; the cooling", "not measured"])
def test_energy_declared_beside_no_sensor_is_refused(missing):
    problem = only_problem({"energy": METER | {"missing_info": missing}})
    assert isinstance(problem, FactContradicted)
    assert (problem.path, problem.against, problem.held) == ("energy.missing_info", "energy.training_kwh", "0.5")
    assert "power.device_watts" in problem.why


@pytest.mark.parametrize("missing", ["none", "the cooling of the room", "no sensor for the cooling"])
def test_what_a_declared_energy_leaves_out_is_recorded_of_a_run_as_it_was_stated(missing):
    assert problems({"energy": METER | {"missing_info": missing}}) == []
    record = a_modification_record(facts={"asserted_by": "x", "energy": METER | {"missing_info": missing}})
    assert record.energy.missing_info.value == missing


def test_energy_by_no_sensor_and_a_guess_is_refused():
    problem = only_problem({"energy": METER | {"method": "no sensor, guessed"}})
    assert isinstance(problem, FactMalformed)
    assert problem.path == "energy.method"
    assert problems({"energy": METER | {"method": "no sensor in it; wattmeter at the socket"}}) == []


def test_an_approval_under_another_name_is_told_that_approvals_are_signed():
    problem = only_problem({"approval": {"by": "me"}})
    assert isinstance(problem, FactNeedsSignature)
    assert problem.path == "approval"
    assert "approver's own key" in problem.fix


def test_what_the_tool_records_is_not_suggested():
    problem = only_problem({"documentation": {"flop_orders": 3}})
    assert isinstance(problem, FactUnknown)
    assert "flop_order" not in problem.fix


def test_a_declared_energy_of_a_merge_misses_what_its_author_says_and_else_nothing():
    energy = {"training_kwh": 3.0, "method": "wattmeter at the socket, read by hand", "boundary": "node"}
    stated = energy | {"missing_info": "the cooling of the room"}
    merged = a_merge_modification(facts={"asserted_by": "x", "energy": stated})
    assert merged.energy.missing_info.value == "the cooling of the room"
    assert "is declared" in str(
        a_merge_modification(facts={"asserted_by": "x", "energy": energy}).energy.missing_info.reason
    )


# --- the facts of a base ---


def test_a_base_is_declared_with_the_forms_of_the_record():
    facts = declared_base_facts(
        {
            "asserted_by": "legal",
            "licence": "apache-2.0",
            "release_date": "2025-01-30",
            "is_gpai": {"unknown": "asked"},
        },
        at=NOW,
    )
    assert (facts.licence.value, facts.licence.asserted_by) == ("Apache-2.0", "legal")
    assert facts.release_date.value == "2025-01-30"
    assert str(facts.is_gpai.reason) == "asked (stated by legal)"


@pytest.mark.parametrize(
    ("facts", "error", "says"),
    [
        ({"licence": "none"}, FactMalformed, "licence"),
        ({"release_date": "tomorrow"}, FactMalformed, "release_date"),
        ({"release_date": "2026-05-01", "eu_release_date": "2026-04-01"}, FactsOutOfOrder, "eu_release_date"),
        ({"release_date": "2031-01-01"}, FactsOutOfOrder, "today"),
        ({"training_compute_flop": -1}, FactMalformed, "training_compute_flop"),
        ({"is_gpai": "perhaps"}, FactMalformed, "is_gpai"),
        ({"eu_exclusion": "perhaps"}, FactMalformed, "eu_exclusion"),
        ({"licence_flags": ["nc"]}, FactMalformed, "licence_flags[0]"),
        ({"source_url": "somewhere"}, FactMalformed, "source_url"),
        ({"provider": "x\x1b[0m"}, FactMalformed, "provider"),
        ({"provider": None}, FactMalformed, "provider"),
        ({"lisence": "MIT"}, UnknownFact, "lisence"),
        ({"approvals": ["me"]}, FactNeedsSignature, "approvals"),
        ({"asserted_by": "", "licence": "MIT"}, FactMalformed, "asserted_by"),
    ],
)
def test_a_fact_of_a_base_that_cannot_be_is_refused(facts, error, says):
    with pytest.raises(error) as caught:
        declared_base_facts(facts, at=NOW)
    assert says in caught.value.what
    assert caught.value.exit_code == 2


def test_a_misspelt_fact_of_a_base_is_answered_with_the_one_that_was_meant_beside_all_else_that_is_wrong():
    with pytest.raises(SeveralProblems) as caught:
        declared_base_facts({"lisence": "MIT", "release_date": "tomorrow", "eu_exclusion": 3}, at=NOW)
    assert [problem.reference for problem in caught.value.problems] == ["unknown-base-fact", *["fact-malformed"] * 2]
    assert "did you mean `licence`?" in caught.value.fix


def test_the_rules_give_every_fact_of_a_base_and_every_answer_of_the_profile_a_form():
    assert set(RULES.base_forms()) == set(DeclaredFacts.model_fields)
    assert set(RULES.profile_forms()) == set(OrganisationProfile.model_fields)
    flags = RULES.by_path()["base[].licence_flags"].items
    assert flags is not None
    assert set(LICENCE_FLAGS) <= set(flags.values)


# --- the last look, at the door ---


def test_a_declared_value_of_the_wrong_form_is_found_in_a_record_that_nobody_checked():
    record = a_modification_record()
    gpai = record.gpai.revised(placing_date=declared("tomorrow", by="x", at=NOW))
    ratio = record.gpai.revised(ratio=declared(0.1, by="x", at=NOW))
    decided = record.high_risk.revised(article25_case=declared("none", by="x", at=NOW))
    assert list(problems_of_declared("modification", record.to_json())) == []
    for changed, reference in (
        (record.revised(gpai=gpai), "fact-malformed"),
        (record.revised(gpai=ratio), "fact-not-declarable"),
        (record.revised(high_risk=decided), "fact-needs-signature"),
    ):
        (problem,) = problems_of_declared("modification", changed.to_json())
        assert problem.reference == reference


def test_what_an_older_version_let_into_a_base_is_unknown_in_new_records_and_quoted():
    facts = some_base_facts(
        licence=declared("llama3.2 community", by="x", at=NOW), release_date=declared("2025-01-30", by="x", at=NOW)
    )
    sound = sound_facts(facts)
    assert not sound.licence.known
    assert "llama3.2 community" in str(sound.licence.reason)
    assert sound.release_date == facts.release_date
    record = a_base_record(facts=facts)
    (problem,) = problems_of_declared("base", record.to_json())
    assert "licence" in problem.what


def test_whoever_registers_a_base_does_not_close_its_questions_with_an_envelope_that_nobody_may_state():
    """That a licence does not apply, and that this tool measured it, so that the answer of legal has no place."""
    facts = some_base_facts(
        licence=not_applicable(code("own_data"), by="x", at=NOW),
        provider=measured("Example Labs"),
        release_date=not_applicable(code("never_released"), by="x", at=NOW),
    )
    sound = sound_facts(facts)
    assert (sound.licence.source, sound.provider.source) == ("unknown", "unknown")
    assert sound.release_date == facts.release_date


@pytest.mark.parametrize("rule", [rule for rule in RULES.fields if rule.owner != "tool"], ids=lambda rule: rule.path)
def test_no_form_is_broken_by_a_value_of_another_type(rule):
    for value in ("x", "", 3, -1.5, True, [], {}, ["x"], {"x": 1}, [[[]]], 10**30, "\ud800", "2026-11-24", "MIT"):
        wrong = list(misfits(rule, value))
        if not wrong:
            as_recorded(rule, value)


def test_the_page_says_the_form_of_each_field():
    assert "whole, from 1, to" in RULES.by_path()["base[].training_tokens"].description
    assert "MM/YYYY" in RULES.by_path()["data[].acquired_to"].description
