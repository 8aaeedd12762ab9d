"""Whose word decides which version `models:/NAME@alias` is: MLflow's rows are signed by nobody. No mlflow here.

MLflow looks a name up in rows that whoever reaches it can edit. What came out of that is compared with this registry: an alias
has to point where its signed, logged move points, `latest` at the newest logged version, and a version has to have the manifest
that was registered as it. Names that no version of this registry has are the users' own, and are left alone.
"""

import logging
import os
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.homes.home import HomeNotFound, Registry
from peft_registry.registry.homes.known_homes import state_folder
from peft_registry.registry.mlflow.home_reader import open_registry
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.registry.mlflow.route import STRICT
from peft_registry.registry.records.references import version_named
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotFound
from peft_registry.schemas.identity import MalformedReference

LATEST = "latest"

_logger = logging.getLogger(__name__)


class AliasElsewhere(IntegrityBroken):
    reference = "alias-elsewhere"
    what = "{name}@{alias} is {name}:{shown} in MLflow, and {ours} by the signed log"
    why = "an alias in MLflow is signed by nobody, and whoever reaches it can move it"
    fix = "run `registry mirror check`, then `registry mirror repair`; `registry pull {name}@{alias}` copies what was signed"

    name: str
    alias: str
    shown: int
    ours: str


class VersionElsewhere(IntegrityBroken):
    reference = "version-elsewhere"
    what = "{name}:{number} in MLflow is not the version that was registered as it"
    why = "MLflow has the source {shown!a}, and registered is {ours!a}"
    fix = "run `registry mirror check`; `registry pull {name}:{number}` copies what was signed"

    name: str
    number: int
    shown: str
    ours: str


class VersionOnlyInMlflow(IntegrityBroken):
    reference = "version-only-in-mlflow"
    what = "{name}:{number} is in MLflow, and nobody registered it"
    why = "the name is of this registry, where its newest version is {newest}"
    fix = "run `registry mirror check`, and take the version away in MLflow or rename it there"

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


def checked_answer(response: Any) -> Any:  # flask's response
    """What MLflow's server answers to a client that looks a name up to load it, or 403 where this registry says something else."""
    from flask import jsonify, request

    answer = _answer_in(request, response) if response.status_code == 200 else None
    refusal = None if answer is None else refusal_of(answer)
    if refusal is None:
        return response
    refused = jsonify(error_code="PERMISSION_DENIED", message=f"{refusal} — {refusal.fix}")
    refused.status_code = 403
    return refused


def _answer_in(request: Any, response: Any) -> NamedVersion | None:  # flask's
    """What a response says that a name is; None where it answers another question."""
    if request.path.endswith("/mlflow/registered-models/alias") and request.method == "GET":
        version = response.get_json().get("model_version", {})
        return NamedVersion(
            version["name"], request.args.get("alias"), int(version["version"]), version.get("source", "")
        )
    if request.path.endswith("/mlflow/model-versions/get-download-uri") and request.method == "GET":
        source = response.get_json().get("artifact_uri", "")
        return NamedVersion(request.args["name"], None, int(request.args["version"]), source)
    return None
