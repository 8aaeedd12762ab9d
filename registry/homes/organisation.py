"""The organisation's answers as values: what was answered is declared, what was not is unknown."""

import re
from collections.abc import Mapping
from typing import Any

from peft_registry.registry.homes.home import Registry, read_own
from peft_registry.registry.intake.secrets import secret_in
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.values import Value, declared, unknown

NOT_ANSWERED = "not answered at init"
# what an answer must look like where the rules of compliance read it, and how that is said
_SHAPES = {
    "country": (re.compile(r"[A-Z]{2}"), "two capital letters of ISO 3166, such as DE"),
    "size_class": (re.compile(r"sme|smc|large"), "sme, smc or large"),
    "role": (
        re.compile(r"original_provider|on_behalf_of_provider|downstream_modifier|deployer"),
        "original_provider, on_behalf_of_provider, downstream_modifier or deployer",
    ),
}


class UnknownProfileKey(InputRefused):
    reference = "unknown-profile-key"
    what = "the profile has no field {key!q}"
    why = "its fields are {fields!l}"
    fix = "correct the key in the profile file"

    key: str

    fields = tuple(OrganisationProfile.model_fields)


class ProfileNotAMapping(InputRefused):
    reference = "profile-not-a-mapping"
    what = "the profile is not a mapping"
    why = "it holds no keys"
    fix = "write `legal_name: …` and so on"


class ProfileAnswerRefused(InputRefused):
    reference = "profile-answer-refused"
    what = "the answer to {key} cannot be used"
    why = "expected: {expected}"
    fix = "correct it, or leave it empty: it is then recorded as unknown"

    key: str
    expected: str


def profile_from_answers(answers: Mapping[str, Any], *, by: str, at: str) -> OrganisationProfile:
    """The profile that these answers make; an empty or missing one is unknown, with the reason.

    Raises:
        UnknownProfileKey: an answer to a question that is not asked.
        ProfileAnswerRefused: an answer that is not text, or not one of those that there are.
        ProfileNotAMapping: the answers are not a mapping.
    """
    if not isinstance(answers, Mapping):
        raise ProfileNotAMapping
    fields: dict[str, Value] = {}
    for key, answer in answers.items():
        if key not in OrganisationProfile.model_fields:
            raise UnknownProfileKey(str(key))
        text = answer_text(str(key), answer)
        fields[key] = declared(text, by=by, at=at) if text else unknown(NOT_ANSWERED)
    for key in OrganisationProfile.model_fields:
        fields.setdefault(key, unknown(NOT_ANSWERED))
    return OrganisationProfile(**fields)


def answer_text(key: str, answer: Any) -> str:  # any YAML value
    """The answer to one question as text, empty for none.

    Raises:
        ProfileAnswerRefused: no text, or not one of the answers that there are.
    """
    if answer is None:
        return ""
    if not isinstance(answer, str):
        raise ProfileAnswerRefused(key, "a text; put it in quotes")
    text = answer.strip()
    kind = secret_in(text)
    if kind is not None:
        raise ProfileAnswerRefused(key, f"an answer without a secret, and it holds what looks like {kind}")
    shape, said = _SHAPES.get(key, (None, ""))
    if text and shape is not None and not shape.fullmatch(text):
        raise ProfileAnswerRefused(key, said)
    return text


def read_profile(registry: Registry) -> OrganisationProfile:
    """The profile kept in the home.

    Raises:
        HomeDamaged, MalformedJson: it cannot be read as one.
    """
    return read_own(registry.files.profile, OrganisationProfile)
