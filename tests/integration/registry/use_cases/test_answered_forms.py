"""How many rows of each form are filled: as a version was trained, and once people have answered everything by `registry decide`.

What is counted is kept in `docs/measured/answered-forms.json`, from which the page of the forms has its table. Look at what
changed, then UPDATE_GOLDEN=1.
"""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance.answer_forms import AnswerForm
from peft_registry.registry.compliance.answers import OpenQuestion, open_questions
from peft_registry.registry.compliance.form_rows import answered, forms
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.decide import decide
from peft_registry.schemas.answers import AREA_ROLES
from peft_registry.schemas.modification import RecordSections
from tests.builders.decisions import ENGINEER, OFFICER, Place, fill
from tests.builders.homes import a_home, reopened

KEPT = Path(__file__).resolve().parents[4] / "docs" / "measured" / "answered-forms.json"
FORMS = ("annex_iv", "annex_xi", "annex_xii", "mdf", "pst")
# of a provider of a general-purpose model in a high-risk system, of whom every row is asked
ANSWERS = {
    "high_risk.classification_before": "annex_iii_4",
    "high_risk.classification_after": "annex_iii_4",
    "gpai.placed_on_eu_market": "yes",
    "gpai.same_provider": "no",
    "gpai.result_is_gpai_by_itself": "yes",
    "modifier.country": "NL",
    "product.licence": "Apache-2.0",
    "data[].special_categories": "no",
    "energy.training_kwh": 0.002,
    "power.device_watts": 65,
    "retention.log_retention_months": 12,
}
ROUNDS = 3  # an answer decides whether others are asked
# an energy that was not measured here is stated with how it was found
BESIDE = {"energy.training_kwh": {"energy.method": "0.078 h at the 65 W of the data sheet", "energy.boundary": "node"}}
OF_TYPE = {
    "text": "as the plan of 1 November says",
    "url": "https://example.org/plan",
    "contact": "lab@example.org",
    "number": 1,
    "date": "2026-11-01",
    "month": "11/2026",
    "months": "10/2026-11/2026",
    "country": "NL",
    "licence": "Apache-2.0",
    "digest": f"sha256:{'0' * 64}",
    "time": "2026-11-01T00:00:00Z",
}


def an_answer(form: AnswerForm) -> Any:  # any JSON value
    """A value of the form that is asked for."""
    if form.type == "choice":
        return form.values[0]
    if form.type == "list":
        return [OF_TYPE["text"] if form.items is None else an_answer(form.items)]
    if form.type == "object":
        return {name: an_answer(member) for name, member in form.members.items()}
    return OF_TYPE[form.type]


def answers_to(questions: list[OpenQuestion]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for question in questions:
        said[question.path] = ANSWERS.get(question.rule.path) or an_answer(question.rule)
        said |= BESIDE.get(question.path, {})
    return said


def states(record: RecordSections) -> dict[str, dict[str, str]]:
    return {name: {row.row.row: row.state for row in answered(record, forms().named(name))} for name in FORMS}


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The state of each row before and after, and how many answers and signatures lie between."""
    folder = tmp_path_factory.mktemp("answered")
    with a_home(folder / "home") as registry:
        fill(registry, folder)
    with closing(reopened(folder / "home")) as registry:
        place = Place(folder, registry, version_named(registry, "sums"))
        count: dict[str, Any] = {"as_trained": states(place.record), "answers": 0, "signatures": 0}
        for _ in range(ROUNDS):
            for key, role in ((OFFICER, "officer"), (ENGINEER, "evaluator")):
                theirs = [one for one in open_questions(place.record) if role in AREA_ROLES[one.area]]
                if key is OFFICER:
                    theirs = [one for one in theirs if one.area != "engineer"]
                if theirs:
                    said = answers_to(theirs)
                    decide(registry, place.version, place.form(said), key)
                    count["answers"] += len(said)
                    count["signatures"] += 1
        assert not open_questions(place.record)
        count["answered"] = states(place.record)
        place.holds()
    yield count


def test_the_counts_are_those_that_the_page_of_the_forms_shows(counted: dict[str, Any]) -> None:
    text = json.dumps(counted, indent=1) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        KEPT.write_text(text, "utf-8")
    assert text == KEPT.read_text("utf-8"), f"{KEPT.name} changed; look at it, then UPDATE_GOLDEN=1 and `make docs`"


def test_of_the_45_items_of_the_form_at_least_42_are_answered_by_commands(counted: dict[str, Any]) -> None:
    """Cards that are public answer a median of 26 of them."""
    items = {row: state for row, state in counted["answered"]["mdf"].items() if row != "0"}
    assert len(items) == 45
    assert sum(state == "filled" for state in items.values()) >= 42
    before = sum(state == "filled" for row, state in counted["as_trained"]["mdf"].items() if row != "0")
    assert 20 <= before < 42, "what a training alone fills"


def test_what_is_left_open_is_what_no_answer_gives_afterwards(counted: dict[str, Any]) -> None:
    left = {(name, row) for name in FORMS for row, state in counted["answered"][name].items() if state != "filled"}
    assert left == {
        ("annex_iv", "2(g)"),  # a plan is fixed before an evaluation, or never
        ("pst", "3.3"),  # other information, which nobody is asked
    }
