"""Figures and days that no field admits: refused before anything is signed, and harmless where they were signed all the same."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from peft_registry.registry.compliance.answer_forms import MAX_CHARACTERS, misfits
from peft_registry.registry.compliance.answers import SignedAnswers, problems_of_answers, superseding_with_answers
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.base_facts import declared_base_facts
from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.contradictions import contradictions
from peft_registry.registry.compliance.declared import problems_of_declared
from peft_registry.registry.compliance.facts import problems_of_facts
from peft_registry.registry.compliance.fields import field_rules, leaves
from peft_registry.registry.compliance.stated import FactMalformed
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.registry.reports.html import render_html
from peft_registry.schemas.answers import Answer, AnswersPredicate
from peft_registry.schemas.errors import SeveralProblems
from peft_registry.schemas.modification import BaseUsed
from peft_registry.schemas.values import Value, declared, derived, measured
from tests.builders.records import (
    NOW,
    a_digest,
    a_lineage,
    a_modification_record,
    a_version,
    said_otherwise,
    signed_by_an_officer,
)
from tests.builders.report_views import a_report_view

RULES = field_rules()
BY_PATH = RULES.by_path()
RECORD = a_modification_record()
LEAVES = {leaf.path: leaf for leaf in leaves(RECORD)}
ANSWERABLE = tuple(path for path, leaf in LEAVES.items() if BY_PATH[leaf.rule].owner != "tool")
# a placing in the year 9995, compute that no ratio can be taken to, tokens of 10^306 FLOP, a whole number beyond every double
BEYOND = {
    "gpai.placing_date": ("9995-06-01", "after 2200-12-31"),
    "base[0].training_compute_flop": (5e-324, "an operation is the least there is"),
    "base[0].training_tokens": (1e304, "all text that people have written"),
    "base[0].params_active": (10**400, "larger than any number"),
    "compute.private_synthetic_flop": (1.7e308, "the largest training known"),
    "compute.excluded.teacher_flop": (1.7e308, "the largest training known"),
    "energy.training_kwh": (1e300, "the world uses"),
    "power.device_watts": (1e300, "a rack"),
    "retention.until": ("9999-12-31", "where nothing ends"),
    "data[0].acquired_to": ("01/0000", "neither a day nor a month"),
    "data[0].acquired_from": ("12/9999", "neither a day nor a month"),
}


def stated(path, value):
    """The facts that state one value; a base and a data file are named by what a record calls each of them."""
    section, _, rest = path.partition(".")
    for part in reversed([*([section[:-3], "*"] if section.endswith("[0]") else [section]), *rest.split(".")]):
        value = {part: value}
    return {"asserted_by": "alex"} | value


def declared_in(record, path, value):
    return with_values(record, {path: declared(value, by="alex", at=NOW)})


# --- every door ---


@pytest.mark.parametrize("path", BEYOND)
def test_a_figure_or_day_beyond_its_bounds_is_refused_at_every_door(path):
    value, reason = BEYOND[path]
    bases = [BaseUsed(name=measured("small-llama"))]
    facts = problems_of_facts(stated(path, value), at=NOW, bases=bases, data=["sums.jsonl"])
    assert any(isinstance(problem, FactMalformed) and reason in problem.why for problem in facts)
    answers = problems_of_answers(RECORD, {path: value}, role="officer", version=a_version(), at=NOW)
    assert any(problem.path == path for problem in answers)
    answer = {"path": path, "area": BY_PATH[LEAVES[path].rule].owner, "value": value}
    assert any(problems_of_declared("answers", {"answers": [answer]}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training_compute_flop", 5e-324),
        ("training_compute_flop", 1.7e308),
        ("training_tokens", 1e304),
        ("training_tokens", 10**400),
        ("release_date", "9995-06-01"),
        ("eu_release_date", "9999-12-31"),
    ],
)
def test_base_facts_that_crash_every_later_training_are_refused(key, value):
    with pytest.raises((FactMalformed, SeveralProblems)) as refused:
        declared_base_facts({"asserted_by": "alex", key: value}, at=NOW)
    assert refused.value.exit_code == 2
    assert key in str(refused.value)


def test_every_number_that_people_state_has_both_bounds_and_a_reason():
    for rule in RULES.fields:
        for form in (rule, *rule.members.values()):
            if form.type == "number" and rule.owner != "tool":
                assert None not in (form.minimum, form.maximum, form.because), rule.path
            if form.type in ("date", "month", "months", "time"):
                assert None not in (form.earliest, form.latest, form.because), rule.path


def test_the_last_day_and_the_largest_figure_are_taken():
    for path, value in {"gpai.placing_date": "2200-12-31", "base[0].training_compute_flop": 1e35}.items():
        assert list(misfits(BY_PATH[LEAVES[path].rule], value)) == []


@pytest.mark.parametrize("written", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:00:00-05:00"])
def test_a_time_that_has_no_day_in_utc_is_told_and_does_not_crash(written):
    (problem,) = misfits(BY_PATH["base[].retrieved_at"], written)
    assert "is not a time" in problem.reason


# --- what was signed before there were bounds ---


def test_a_placing_in_the_year_9995_has_no_end_of_retention():
    retention = signed_by_an_officer(declared_in(RECORD, "gpai.placing_date", "9995-06-01")).retention
    assert retention.start_date.value == "9995-06-01"
    assert str(retention.until.reason) == "not derived: the calendar ends before 10 years after 9995-06-01"


@pytest.mark.parametrize(
    ("path", "value"), [("base[0].training_compute_flop", 5e-324), ("base[0].training_tokens", 1e304)]
)
def test_a_base_with_an_impossible_figure_has_no_compute_and_gives_no_sign_of_systemic_risk(path, value):
    gpai = with_assessment(declared_in(RECORD, path, value)).gpai
    assert "is not one" in str(gpai.original_flop.reason)
    assert not gpai.ratio.known
    assert gpai.sr_flag.value != "cumulative_over_1e25"


def test_measured_compute_that_has_no_ratio_leaves_the_status_open():
    placed = {"gpai.placed_on_eu_market": "yes", "gpai.same_provider": "no", "upstream[0].eu_exclusion": "no"}
    placed |= {"base[0].is_gpai": "yes", "base[0].has_systemic_risk": "no", "base[0].training_compute_flop": 1}
    values = {path: declared(value, by="alex", at=NOW) for path, value in placed.items()}
    values["compute.conservative_flop"] = measured(1.7e308, "FLOP")
    gpai = with_assessment(with_values(RECORD, values)).gpai
    assert str(gpai.ratio.reason).endswith("have no ratio")
    assert not gpai.verdict.known


def test_a_record_that_contradicts_a_signed_placing_in_the_year_9995_is_told_and_crashes_nobody():
    predicate = AnswersPredicate(
        record_id=RECORD.record_id,
        record=RECORD.canonical_digest(),
        form=a_digest("a form"),
        answers=(Answer(path="gpai.placing_date", area="legal", value="9995-06-01"),),
        person="alex",
        role="officer",
        nonce="0f",
    )
    signed = SignedAnswers(a_digest("a statement"), predicate, NOW)
    honest = superseding_with_answers(RECORD, signed, version=a_version(), record_id="answered", now=NOW)
    assert said_otherwise(honest, RECORD, signed) == []
    forged = with_values(honest, {"gpai.placing_date": derived("2026-01-01", method="the first of the year")})
    told = said_otherwise(forged, RECORD, signed)
    assert "gpai.placing_date: its inputs give 9995-06-01, and the record says 2026-01-01" in told


HOSTILE = (
    0,
    -1,
    5e-324,
    1.7e308,
    "9995-06-01",
    "12/9999",
    "01/0000",
    "9999-12-31T23:59:59Z",
    "",
    [],
    [["a"], {"b": [None]}],
    {},
)


@pytest.mark.parametrize("value", [*HOSTILE, {"a": {"b": [1.7e308]}}, True, "yes", "no", ["unknown"]], ids=repr)
def test_a_record_that_says_the_same_in_every_field_is_read(value):
    hostile = with_values(RECORD, dict.fromkeys(LEAVES, measured(value)))
    assessed = with_assessment(hostile)
    assert assessed.canonical_digest()
    completeness(assessed)
    list(contradictions(assessed))


# --- whatever a form accepts ---


def values_of(form):
    """Values of a form, and some that it refuses."""
    if form.type == "number":
        bounds = (form.minimum, form.maximum)
        numbers = st.sampled_from(bounds) | st.floats(*bounds, allow_subnormal=False) | st.integers(0, 10**18)
        return numbers.map(int) if form.whole else numbers
    if form.type in ("date", "month"):
        return st.dates(form.earliest, form.latest).map(str) | st.sampled_from(["01/1900", "12/2200"])
    if form.type == "months":
        return st.sampled_from(["01/1900-12/2200", "12/2200-12/2200"])
    if form.type == "time":
        return st.sampled_from(["1900-01-01T00:00:00Z", "2200-12-31T23:59:59Z"])
    if form.type == "choice":
        return st.sampled_from(form.values)
    if form.type == "list":
        items = st.text(max_size=9) | st.integers() if form.items is None else values_of(form.items)
        return st.lists(items, max_size=3) | st.just([])
    if form.type == "object":
        members = {key: values_of(member) for key, member in form.members.items()}
        free = st.dictionaries(st.text(max_size=9), st.text(max_size=9) | st.floats(), max_size=3)
        return st.fixed_dictionaries({}, optional=members) if members else free
    fixed = {
        "digest": f"sha256:{'ab' * 32}",
        "country": "FR",
        "licence": "CC-BY-NC-4.0 OR (MIT AND Apache-2.0)",
        "url": "https://example.org/a",
        "contact": "post@example.org",
    }
    return st.just(fixed[form.type]) if form.type in fixed else st.text(max_size=30) | st.just("x" * MAX_CHARACTERS)


@st.composite
def accepted_values(draw):
    """Paths of one record with values that their forms accept."""
    values = {}
    for path in draw(st.lists(st.sampled_from(ANSWERABLE), min_size=3, max_size=12, unique=True)):
        rule = BY_PATH[LEAVES[path].rule]
        value = draw(values_of(rule))
        if not any(misfits(rule, value)):
            values[path] = declared(value, by="alex", at=NOW)
    assume(values)
    return values


def shown(record):
    return render_html(a_report_view(version=a_version(), lineage=a_lineage(), record=record))


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(accepted_values())
def test_what_the_forms_accept_never_crashes_the_assessment(values):
    assessed = with_assessment(with_values(RECORD, values))
    assert assessed.canonical_digest()
    assert isinstance(assessed.gpai.verdict, Value)
    completeness(assessed)
    list(contradictions(assessed))


@settings(max_examples=5, deadline=None, derandomize=True, database=None)
@given(accepted_values())
def test_what_the_forms_accept_is_shown_in_the_report(values):
    assert "<html" in shown(with_assessment(with_values(RECORD, values)))
