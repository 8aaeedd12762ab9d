"""What each indicative status says, in words for people. Nothing is derived from them."""

from collections.abc import Mapping

# indicative statuses of a modifier (rows of `modifier.py`)
STATUSES: Mapping[str, str] = {
    "blocked_art5": "not to be released: the screen for prohibited output is not passed (Art. 5)",
    "out_of_scope_now": "out of scope as long as it is not on the Union market",
    "same_model_update": "a new version by the provider of the base",
    "provider_of_original_model": "provider of the whole model, because the base's provider excluded the Union",
    "own_gpai_candidate": "the result may be a general-purpose model of its own",
    "not_gpai": "not a general-purpose model",
    "provider_sr": "provider of a general-purpose model with systemic risk",
    "provider_modified": "provider of a general-purpose model, for the modification",
    "borderline": "borderline, to be treated as a provider until the figures are better known",
    "escalate_qualitative": "below a third, and a significant change is stated: for legal review",
    "downstream_modifier_not_provider": "downstream modifier, not a provider",
}
# indicative statuses of a system (rows of `high_risk.py`)
SYSTEM_STATUSES: Mapping[str, str] = {
    "not_applicable_model_only": "not part of a system, so that the high-risk rules do not apply to it",
    "provider_25_1_a": "provider of the high-risk system, because another name is put on it",
    "provider_25_1_b": "provider of the high-risk system, because its modification is substantial",
    "provider_unchanged_new_assessment": "a substantial modification by the system's own provider: a new conformity assessment",
    "provider_25_1_c": "provider of a high-risk system, because its purpose makes it one",
    "manufacturer_provider": "provider of the high-risk system, as manufacturer of the product",
    "exempt_documented": "exempt under Art. 6(3), as documented",
    "deployer_of_high_risk": "deployer of a high-risk system that it leaves as it is",
    "provider_3_3": "provider of the high-risk system, which is its own",
    "supplier_25_4": "supplier of what another's high-risk system is made of",
    "no_longer_high_risk": "no longer a high-risk system",
    "annex_i_section_b": "a product under Section B of Annex I, whose own law decides",
    "not_substantial": "not a substantial modification of the system",
    "not_high_risk": "not a high-risk system",
}


def status_words(status: str) -> str:
    """A status of either table in words; itself where a file of rules of one's own has others."""
    return STATUSES.get(status) or SYSTEM_STATUSES.get(status) or status
