"""The organisation's answers as values: what was answered is declared, what was not is unknown."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.answer_forms import misfits
from peft_registry.registry.compliance.declared import problem_of_value
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.homes.home import Registry, read_own
from peft_registry.registry.intake.secrets import secret_in
from peft_registry.schemas.errors import InputRefused, KnownError, raise_any
from peft_registry.schemas.profile import NOT_ANSWERED, OrganisationProfile
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.values import Value, declared


class UnknownProfileKey(InputRefused):
    what = "the profile has no field {key!q}"
    why = "its fields are {fields!l}"
    fix = "{suggestion}"

    key: str
    nearest: str | None = None

    fields = tuple(OrganisationProfile.model_fields)

    @property
    def suggestion(self) -> str:
        return did_you_mean(self.nearest, "correct the key in the profile file")


class ProfileNotAMapping(InputRefused):
    what = "the profile is not a mapping"
    why = "it holds no keys"
    fix = "write `legal_name: …` and so on"


class ProfileAnswerRefused(InputRefused):
    what = "the answer to {key} cannot be used"
    why = "{reason}"
    fix = "{expected}; or leave it empty: it is then recorded as unknown"

    key: str
    reason: str
    expected: str


class ProfileValueRefused(InputRefused):
    """An answer that an earlier version of the tool took."""

    what = "the {key} of this registry's profile cannot be recorded"
    why = "{reason}"
    fix = "correct the `value` of {key} in {path}"

    key: str
    reason: str
    path: Path


def profile_from_answers(answers: Mapping[str, Any], *, by: str, at: str) -> OrganisationProfile:
    """The profile that these answers make; an empty or missing one is unknown, with the reason.

    Raises:
        UnknownProfileKey: an answer to a question that is not asked.
        ProfileAnswerRefused: an answer that is not text, or not one of those that there are.
        ProfileNotAMapping: the answers are not a mapping.
        SeveralProblems: more than one of them.
    """
    if not isinstance(answers, Mapping):
        raise ProfileNotAMapping
    fields: dict[str, Value] = {}
    problems: list[KnownError] = []
    for key, answer in answers.items():
        if key not in OrganisationProfile.model_fields:
            problems.append(UnknownProfileKey(str(key), closest(str(key), OrganisationProfile.model_fields)))
            continue
        try:
            text = answer_text(str(key), answer)
        except ProfileAnswerRefused as error:
            problems.append(error)
            continue
        fields[key] = declared(text, by=by, at=at) if text else NOT_ANSWERED
    raise_any(problems)
    for key in OrganisationProfile.model_fields:
        fields.setdefault(key, NOT_ANSWERED)
    return OrganisationProfile(**fields)


def answer_text(key: str, answer: Any) -> str:  # any YAML value
    """The answer to one question as text, empty for none.

    Raises:
        ProfileAnswerRefused: no text, or not one of the answers that there are.
    """
    if answer is None:
        return ""
    if not isinstance(answer, str):
        raise ProfileAnswerRefused(key, "it is not text", "write a text; put it in quotes")
    text = answer.strip()
    kind = secret_in(text)
    if kind is not None:
        raise ProfileAnswerRefused(key, f"it holds what looks like {kind}", "take the secret out")
    wrong = next(misfits(field_rules().profile_forms()[key], text), None) if text else None
    if wrong is not None:
        raise ProfileAnswerRefused(key, wrong.reason, wrong.remedy)
    return text


def read_profile(registry: Registry) -> OrganisationProfile:
    """The profile kept in the home.

    Raises:
        HomeDamaged, MalformedJson: it cannot be read as one.
    """
    return read_own(registry.files.profile, OrganisationProfile)


def checked_profile(registry: Registry) -> OrganisationProfile:
    """The profile kept in the home, each of its answers of a form that a record may declare.

    Raises:
        HomeDamaged, MalformedJson: it cannot be read as one.
        ProfileValueRefused: an answer that was taken once, and is none.
        SeveralProblems: more than one of them.
    """
    profile = read_profile(registry)
    raise_any(_outdated(profile, registry.files.profile))
    return profile


def _outdated(profile: OrganisationProfile, path: Path) -> Iterator[ProfileValueRefused]:
    for key, form in field_rules().profile_forms().items():
        reason = problem_of_value(getattr(profile, key), form)
        if reason is not None:
            yield ProfileValueRefused(key, reason, path)
