"""Whose word decides which version `models:/NAME@alias` is: MLflow's rows are signed by nobody. No mlflow here.

MLflow looks a name up in rows that whoever reaches it can edit. What came out of that is compared with this registry: an alias
has to point where its signed, logged move points, `latest` at the newest logged version, and a version has to have the manifest
that was registered as it. Names that no version of this registry has are the users' own, and are left alone.
"""

import logging
import os
from contextlib import closing
from dataclasses import dataclass

from peft_registry.registry.homes.home import HomeNotFound, Registry
from peft_registry.registry.homes.known_homes import state_folder
from peft_registry.registry.mlflow.home_reader import open_registry
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.registry.records.references import version_named
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotFound
from peft_registry.schemas.identity import MalformedReference

LATEST = "latest"
# "1" in the environment: an alias or version that MLflow has otherwise than we is refused when it is loaded; else a warning
STRICT = "REGISTRY_MLFLOW_STRICT"

_logger = logging.getLogger(__name__)


class AliasElsewhere(IntegrityBroken):
    what = "{name}@{alias} is {name}:{shown} in MLflow, and {ours} by the signed log"
    why = "an alias in MLflow is signed by nobody, and whoever reaches it can move it"
    fix = "run `registry mirror push`, which moves it there; `registry pull {name}@{alias}` copies what was signed"

    name: str
    alias: str
    shown: int
    ours: str


class VersionElsewhere(IntegrityBroken):
    what = "{name}:{number} in MLflow is not the version that was registered as it"
    why = "MLflow has the source {shown!a}, and registered is {ours!a}"
    fix = "take it away in MLflow, then run `registry mirror push`; `registry pull {name}:{number}` copies what was signed"

    name: str
    number: int
    shown: str
    ours: str


class VersionOnlyInMlflow(IntegrityBroken):
    what = "{name}:{number} is in MLflow, and nobody registered it"
    why = "the name is of this registry, where its newest version is {newest}"
    fix = "take the version away in MLflow, or rename it there"

    name: str
    number: int
    newest: str


@dataclass(frozen=True, slots=True)
class NamedVersion:
    """What MLflow says that a user's name is.

    Attributes:
        name: of the model.
        alias: that the user wrote, `latest` among them; None where they named a number.
        number: of the version that it is in MLflow.
        source: where MLflow says that its files are.
    """

    name: str
    alias: str | None
    number: int
    source: str


def require_ours(registry: Registry, answer: NamedVersion) -> None:
    """Raise unless this registry says the same, or has no version of that name.

    Raises:
        AliasElsewhere, VersionElsewhere, VersionOnlyInMlflow: it says something else; both sides are named.
        AliasUnsigned: the alias is MLflow's alone.
        IntegrityBroken, NotChecked: what this registry says could not be read, or is not what was logged.
    """
    try:
        newest = version_named(registry, answer.name)
    except (NotFound, MalformedReference):
        return
    if answer.alias is not None:
        ours = newest if answer.alias == LATEST else version_named(registry, f"{answer.name}@{answer.alias}")
        if ours.number != answer.number:
            raise AliasElsewhere(answer.name, answer.alias, answer.number, ours.label)
    try:
        version = version_named(registry, f"{answer.name}:{answer.number}")
    except NotFound as error:
        raise VersionOnlyInMlflow(answer.name, answer.number, newest.label) from error
    source = f"{SOURCE_PREFIX}{version.manifest_digest.hex}"
    if answer.source != source:
        raise VersionElsewhere(answer.name, answer.number, answer.source, source)


def refusal_of(answer: NamedVersion) -> KnownError | None:
    """Why an answer of MLflow is not followed, by the registry that this process reads; None where it is.

    Without `REGISTRY_MLFLOW_STRICT=1` the reason is only logged. Where there is no registry nothing is compared, because its
    versions cannot be loaded there either.
    """
    try:
        with closing(open_registry(os.environ.get("REGISTRY_HOME"), state=state_folder(os.environ))) as registry:
            require_ours(registry, answer)
    except HomeNotFound:
        return None
    except KnownError as error:
        if os.environ.get(STRICT) == "1":
            return error
        _logger.warning("%s: %s; with %s=1 in the environment this is refused", error.what, error.why, STRICT)
    return None
