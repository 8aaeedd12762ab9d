"""A fine-tune whose modifier would be a provider, and everything in which its record is shown."""

import html
import re
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.compliance.completeness import conditions_of, required_leaves
from peft_registry.registry.compliance.facts import problems_of_facts
from peft_registry.registry.compliance.fields import field_rules, leaves
from peft_registry.registry.exports.model_card import model_card
from peft_registry.registry.reports.html import render_html
from peft_registry.schemas.modification import BaseUsed, ModificationRecord
from peft_registry.schemas.report import ReportView
from peft_registry.schemas.values import imported, measured
from tests.builders.records import (
    NOW,
    a_base_input,
    a_base_record,
    a_lineage,
    a_manifest,
    a_merge_modification,
    a_modification_record,
    a_run_record,
    a_version,
    an_evaluation,
    an_outcome,
    signed_by_an_officer,
    some_base_facts,
)
from tests.builders.report_views import a_report_view

RULES = field_rules()
BY_PATH = RULES.by_path()
PARAMETERS = 134_515_008
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
    """A fine-tune with these facts beside those of `ANSWERS`, the legal ones signed by who may."""
    stated = {**ANSWERS}
    for section, fields in (facts or {}).items():
        stated[section] = stated.get(section, {}) | fields
    return signed_by_an_officer(a_modification_record(**({"bases": (a_base(tokens),), "facts": stated} | over)))


def a_view(record: ModificationRecord, **over: Any) -> ReportView:
    fields: dict[str, Any] = {
        "version": a_version(),
        "lineage": a_lineage(),
        "run": a_run_record(),
        "evaluation": an_evaluation(),
        "record": record,
        "verification": an_outcome(),
    }
    return a_report_view(**(fields | over))


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


def refused(facts: dict[str, Any]) -> list[str]:
    """What, why and how of each refusal of facts about the records of the builders."""
    problems = problems_of_facts(
        {"asserted_by": "sam, data owner"} | facts,
        at=NOW,
        bases=[BaseUsed(name=measured("small-llama"))],
        data=["sums.jsonl"],
    )
    return [f"{problem.reference}: {problem.what}; {problem.why}; {problem.fix}" for problem in problems]


@dataclass(frozen=True)
class Sentence:
    """A sentence of the tool about the law, and where it stands."""

    where: str
    text: str


def said(*records: ModificationRecord) -> list[Sentence]:
    """Everything that rules, records and their reports say."""
    sentences = [Sentence(rule.path, f"{rule.label} | {rule.answers}") for rule in RULES.fields]
    sentences += [Sentence(application.what, application.sentence) for application in RULES.applications]
    for record in records:
        sentences += [
            Sentence(leaf.path, f"{leaf.value.method or ''} {leaf.value.reason or ''}") for leaf in leaves(record)
        ]
        view = a_view(record)
        sentences += [Sentence(answer.question, line) for answer in view.answers for line in answer.lines]
        sentences += [Sentence("attention", line) for line in view.attention]
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
