"""Which of a home's keys signs the answers of a form, where nobody has named one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.use_cases.gap_form import read_form
from peft_registry.registry.use_cases.keys import list_keys
from peft_registry.schemas.answers import AREA_ROLES, AnsweringRole, Area
from peft_registry.schemas.errors import InputRefused


class AnsweringKeyNeeded(InputRefused):
    what = "nobody is named who answers {file}, and {why_none}"
    why = "what it answers is owed by {areas!l}; a key of the role {roles} answers for all of it"
    fix = (
        "name the key of whoever answers with --key. Where there is none, `registry keys create {role} --person NAME "
        "--out FOLDER` makes it, and `registry trust add FOLDER/{role}.pub --person NAME --role {role}` lists it"
    )

    file: str
    why_none: str
    areas: tuple[str, ...]
    allowed: tuple[AnsweringRole, ...]

    @property
    def role(self) -> str:
        return self.allowed[0]

    @property
    def roles(self) -> str:
        return " or ".join(self.allowed)


def answering_key(registry: Registry, file: Path) -> PrivateKey:
    """The private key of the home whose role may give every answer of a form, or else some; its passphrase is asked for.

    Args:
        registry: whose keys are looked at; no other home's.
        file: the form, as it was filled in.

    Raises:
        MalformedYaml, FormRefused, FormUnanswered: it is not a form that was filled in.
        AnsweringKeyNeeded: no key here may, or keys of several people may.
        WrongPassphrase, PassphraseNeeded, KeyFileMissing: the key does not open.
    """
    form = read_form(file)
    areas = _areas(form.answers)
    allowed = tuple(role for role in _BY_REACH if all(role in AREA_ROLES[area] for area in areas))
    keys = [key for key in list_keys(registry) if key.state == "listed"]
    for_all = [key for key in keys if key.listed_role in allowed]
    # where nobody here may give all of them, whoever may give some signs those, and the rest stays in the form
    for_some = [key for key in keys if any(key.listed_role in AREA_ROLES[area] for area in areas)]
    able = for_all or for_some
    people = {key.person for key in able}
    if len(people) != 1:
        here = "no key of this registry may" if not people else f"keys of {' and '.join(sorted(map(str, people)))} may"
        raise AnsweringKeyNeeded(form.name, here, areas, allowed)
    reach: dict[str | None, int] = {role: place for place, role in enumerate(_BY_REACH)}
    widest = min(able, key=lambda key: reach[key.listed_role])
    return PrivateKey.load(Path(widest.file), registry.passphrase)


# the role that answers for most comes first: it is the one to make a key for
_BY_REACH: tuple[AnsweringRole, ...] = tuple(
    sorted(get_args(AnsweringRole), key=lambda role: -sum(role in roles for roles in AREA_ROLES.values()))
)


def _areas(answers: Mapping[str, Any]) -> tuple[Area, ...]:
    """Who owes what is answered; what no person answers is refused when the answers are checked."""
    rules = field_rules().by_path()
    answered = [rules.get(FieldPath.parse(path).rule) for path in answers]
    owners = {rule.owner for rule in answered if rule is not None and rule.takes_answers}
    return tuple(area for area in get_args(Area) if area in owners)
