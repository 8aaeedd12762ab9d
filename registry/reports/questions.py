"""The questions of a record as a person is asked them: a sentence for each field that a lawyer answers, and what each choice means.

A field without a sentence here is asked by its label. What an answer looks like, and which clause asks, is data of the field.
"""

from collections.abc import Mapping

from peft_registry.registry.compliance.fields import FieldRule
from peft_registry.registry.reports.wording import CLASSIFICATIONS

_SENTENCES: Mapping[str, str] = {
    "identity.name_or_trademark_on_result": "Does the result, or the system that it is part of, bear your name or trademark?",
    "modifier.legal_name": "What is the legal name of your organisation?",
    "modifier.address": "What is its postal address?",
    "modifier.country": "In which country is it established?",
    "modifier.contact": "Where do authorities and users of the result write to?",
    "modifier.role_claimed": "Who are you to this model?",
    "modifier.controls_weights": "Do you control the weights?",
    "base[].is_gpai": "Is the base a general-purpose model: can it do many different tasks well?",
    "base[].has_systemic_risk": "Is the base a model with systemic risk?",
    "base[].training_compute_flop": "How much compute was the base trained with?",
    "base[].training_tokens": "How many tokens was the base trained on?",
    "base[].licence_id": "Under which licence is the base?",
    "data[].provenance_class": "Where does the data come from?",
    "data[].licence": "Under which licence is the data?",
    "data[].personal_data": "Is there personal data in it?",
    "data[].special_categories": "Are there special categories of personal data in it (health, origin, belief …)?",
    "gpai.placed_on_eu_market": (
        "Is the result placed on the Union market? Supplied there for payment or free of charge; a use inside your organisation "
        "counts too where it affects people's rights"
    ),
    "gpai.placing_date": "On which day was it placed on the Union market?",
    "gpai.placing_channel": "How is it placed on the market?",
    "gpai.same_provider": "Are you the provider of the base, or do you act for it?",
    "gpai.result_is_gpai_by_itself": (
        "Is the result a general-purpose model by itself, although its base is not? Left open, the compute decides"
    ),
    "gpai.estimate_attempt": "What did you try, to estimate the compute that the base was trained with?",
    "gpai.qualitative_change.generality": "How far did the modification change how general the model is?",
    "gpai.qualitative_change.capabilities": "How far did it change what the model can do?",
    "gpai.qualitative_change.systemic_risk": "How far did it change a systemic risk?",
    "gpai.open_source_exemption.claimed": "Do you claim the exemption for free and open-source models?",
    "gpai.open_source_exemption.licence_ok": "Does the licence let everybody use, study, change and pass on the model?",
    "gpai.open_source_exemption.no_monetisation": "Is it offered without any payment?",
    "gpai.open_source_exemption.weights_public": "Are the weights public?",
    "gpai.open_source_exemption.architecture_public": "Is the architecture public?",
    "gpai.open_source_exemption.usage_public": "Is it public how the model is used?",
    "high_risk.system_ref": "Which system is the result part of?",
    "high_risk.system_version": "Which version of that system?",
    "high_risk.classification_before": "How was the system classified before the modification?",
    "high_risk.classification_after": "How is the system classified with the modification?",
    "high_risk.intended_purpose_before": "What was the system for before?",
    "high_risk.intended_purpose_changed": "Did the modification change what the system is for?",
    "high_risk.profiling": "Does the system profile natural persons?",
    "high_risk.foreseen_in_initial_assessment": "Did the first conformity assessment foresee this change?",
    "high_risk.predetermined": "Which change was planned before that assessment, and does this one keep to it?",
    "high_risk.article25_case": "Which case of Art. 25(1) applies?",
    "high_risk.new_conformity_assessment": "Is there a new conformity assessment?",
    "high_risk.art5_screen": "Is the output cleared of what Art. 5 prohibits of images, audio and video?",
    "high_risk.art50_marking_preserved": "Is generated output still marked as such?",
    "high_risk.effect_on.article_9": "Does the change affect how risks are managed (Art. 9)? Yes or no, and why",
    "high_risk.effect_on.article_10": "Does it affect how data is governed (Art. 10)? Yes or no, and why",
    "high_risk.effect_on.article_11": "Does it affect the technical documentation (Art. 11)? Yes or no, and why",
    "high_risk.effect_on.article_12": "Does it affect what the system logs (Art. 12)? Yes or no, and why",
    "high_risk.effect_on.article_13": "Does it affect what deployers are told (Art. 13)? Yes or no, and why",
    "high_risk.effect_on.article_14": "Does it affect how people oversee the system (Art. 14)? Yes or no, and why",
    "high_risk.effect_on.article_15": "Does it affect accuracy, robustness or security (Art. 15)? Yes or no, and why",
    "upstream[].eu_exclusion": "Did the provider of the base clearly exclude the Union market?",
    "use.intended": "What is the result for?",
    "use.out_of_scope": "What is it not for?",
    "product.licence": "Under which licence is the result given away?",
}
_HOW_MUCH = {"none": "not at all", "minor": "a little", "significant": "so much that it is another model"}
_CHOICES: Mapping[str, Mapping[str, str]] = {
    "modifier.role_claimed": {
        "original_provider": "its provider, who also made the base",
        "on_behalf_of_provider": "somebody who works for the provider of the base",
        "downstream_modifier": "somebody who modified another's model",
        "deployer": "somebody who uses a system under their own authority",
    },
    "data[].provenance_class": {
        "web_crawl": "collected from the web",
        "public_dataset": "a public data set",
        "licensed": "licensed from somebody",
        "private_third_party": "private data of somebody else",
        "user_data": "what users typed or uploaded",
        "synthetic_private": "made by a model, and not public",
        "synthetic_public": "made by a model, and public",
        "other": "something else",
    },
    "high_risk.classification_before": CLASSIFICATIONS,
    "high_risk.classification_after": CLASSIFICATIONS,
    "high_risk.article25_case": {
        "none": "none",
        "a": "another name or trademark is put on the system",
        "b": "a substantial modification",
        "c": "a purpose that makes it high-risk",
        "manufacturer": "a product's manufacturer (Art. 25(3))",
    },
    "gpai.qualitative_change.generality": _HOW_MUCH,
    "gpai.qualitative_change.capabilities": _HOW_MUCH,
    "gpai.qualitative_change.systemic_risk": _HOW_MUCH,
}


def sentence_of(rule: FieldRule) -> str:
    """The question of a field; its label where there is no sentence for it."""
    return _SENTENCES.get(rule.path, rule.label)


def choices_of(rule: FieldRule) -> tuple[tuple[str, str], ...]:
    """Each answer of a choice that is not plain, with what it means; none where the answers say it themselves."""
    meanings = _CHOICES.get(rule.path, {})
    return tuple((value, meanings[value]) for value in rule.values if value in meanings)
