"""Questions in sentences: each is of a field that people answer, and no choice is left without its meaning."""

from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.reports.questions import _CHOICES, _SENTENCES, choices_of


def test_every_sentence_is_of_a_field_that_people_answer_and_every_choice_has_its_meaning():
    rules = field_rules().by_path()
    for path in (*_SENTENCES, *_CHOICES):
        assert rules[path].takes_answers, path
    for path in _CHOICES:
        assert [value for value, _ in choices_of(rules[path])] == list(rules[path].values), path


def test_whatever_legal_owes_in_every_record_or_of_a_system_is_asked_in_a_sentence():
    rules = [rule for rule in field_rules().fields if rule.owner == "legal" and rule.takes_answers]
    asked = [rule.path for rule in rules if rule.path.startswith("high_risk.") and rule.type == "choice"]
    assert len(asked) > 5
    assert {path for path in asked if path not in _SENTENCES} == {"high_risk.significant_design_change"}
