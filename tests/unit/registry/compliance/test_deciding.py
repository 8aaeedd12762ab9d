"""Which open questions decide something: found by trying each, never listed by hand."""

import pytest

from peft_registry.registry.compliance.answers import OpenQuestion, open_questions
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.deciding import _answers_to_try, purposes
from peft_registry.registry.compliance.fields import field_rules, leaves
from peft_registry.registry.compliance.stated import misfits_of_fact
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.registry.compliance.verdicts.high_risk import ARTICLES
from peft_registry.registry.gate.policy import GatePolicy
from peft_registry.schemas.codes import code
from peft_registry.schemas.values import Value, unknown
from tests.builders.records import a_digest, a_modification_record

RECORD = a_modification_record()


def answered(**answers: str):
    # signed: what is legal's to say and nobody signed is only proposed
    stated = {
        path.replace("__", "."): Value(value=value, source="declared", evidence=(a_digest("answers"),))
        for path, value in answers.items()
    }
    return with_assessment(with_values(RECORD, stated))


def asked(record, **over):
    return purposes(record, open_questions(record), **over)


def test_every_answer_that_is_tried_is_one_that_its_field_takes():
    rules = [rule for rule in field_rules().fields if rule.takes_answers]
    assert len(rules) > 100
    for rule in rules:
        for value in _answers_to_try(rule):
            # a text is tried as a word that tables read; whether a person may leave it at that is another matter
            if rule.type not in ("text", "object", "list", "number", "months"):
                assert list(misfits_of_fact(rule.path, rule, value)) == [], rule.path


def test_every_open_field_of_a_record_can_be_tried():
    rules = field_rules().by_path()
    open_everywhere = [
        OpenQuestion(leaf.path, rules[leaf.rule], "", code("not_answered"))
        for leaf in leaves(RECORD)
        if rules[leaf.rule].takes_answers
    ]
    emptied = with_values(RECORD, {question.path: unknown(code("not_answered")) for question in open_everywhere})
    found = purposes(emptied, open_everywhere)
    assert "gpai.placed_on_eu_market" in found and "modifier.address" not in found


HIGH = {"high_risk__classification_before": "annex_iii_4", "high_risk__classification_after": "annex_iii_4"}
UNCHANGED = {"high_risk__intended_purpose_changed": "no"} | {
    f"high_risk__effect_on__article_{article}": "no: only the tone" for article in ARTICLES
}


def test_what_a_status_waits_for_is_asked_before_any_document():
    assert "product.instructions" not in asked(RECORD)
    found = asked(answered(**HIGH))
    # with the modifier's name on a high-risk system the status is another
    assert found["identity.name_or_trademark_on_result"].statuses == ("system",)
    assert not [path for path, purpose in found.items() if "annex_iv" in purpose.documents]


@pytest.mark.parametrize(
    ("answers", "is_owed"),
    [
        ({"identity__name_or_trademark_on_result": "yes", "modifier__role_claimed": "deployer"}, True),  # Art. 25(1)(a)
        (
            {"identity__name_or_trademark_on_result": "no", "modifier__role_claimed": "deployer"} | UNCHANGED,
            False,
        ),  # Art. 26
    ],
)
def test_what_only_a_document_needs_is_asked_where_the_document_is_owed(answers, is_owed):
    found = asked(answered(**HIGH, **answers))
    assert ("product.instructions" in found) is is_owed
    if is_owed:
        assert found["product.instructions"].documents == ("annex_iv",)
    assert not {path for path in found if path.startswith("product.channels")}, "of a general-purpose model alone"


@pytest.mark.parametrize("is_asked", [True, False])
def test_what_a_policy_reads_is_asked_for_its_gate_alone(is_asked):
    fields = GatePolicy(name="own", about="a purpose", answered=("use.out_of_scope",) if is_asked else ()).fields_read
    emptied = with_values(RECORD, {"use.out_of_scope": unknown(code("not_answered"))})
    found = asked(emptied, policy="own", asked_by_policy=fields)
    assert ("use.out_of_scope" in found) is is_asked
    if is_asked:
        assert found["use.out_of_scope"].policy == "own"
