"""The organisation's answers as values: what was answered is declared, what was not is unknown."""

from collections.abc import Mapping
from typing import Any

from registry.home import Registry
from registry.intake.json import read_json
from schemas.errors import InputRefused
from schemas.profile import OrganisationProfile
from schemas.values import Value, declared, unknown

NOT_ANSWERED = "not answered at init"


class UnknownProfileKey(InputRefused):
    reference = "unknown-profile-key"

    def __init__(self, key: str) -> None:
        super().__init__(
            what=f"the profile has no field {key!r}",
            why=f"it knows {', '.join(OrganisationProfile.model_fields)}",
            fix="correct the key in the profile file",
        )


def profile_from_answers(answers: Mapping[str, Any], *, by: str, at: str) -> OrganisationProfile:
    """The profile that these answers make; an empty or missing one is unknown, with the reason.

    Raises:
        UnknownProfileKey: an answer to a question that is not asked.
        InputRefused: the answers are not a mapping of texts.
    """
    if not isinstance(answers, Mapping):
        raise InputRefused(
            what="the profile is not a mapping", why="it holds no keys", fix="write `legal_name: …` and so on"
        )
    fields: dict[str, Value] = {}
    for key, answer in answers.items():
        if key not in OrganisationProfile.model_fields:
            raise UnknownProfileKey(str(key))
        text = "" if answer is None else str(answer).strip()
        fields[key] = declared(text, by=by, at=at) if text else unknown(NOT_ANSWERED)
    for key in OrganisationProfile.model_fields:
        fields.setdefault(key, unknown(NOT_ANSWERED))
    return OrganisationProfile(**fields)


def read_profile(registry: Registry) -> OrganisationProfile:
    """The profile kept in the home."""
    path = registry.folder / "profile.json"
    return OrganisationProfile.model_validate(read_json(path.read_bytes(), what=str(path)))
