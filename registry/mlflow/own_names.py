"""What may not be made in MLflow although its own rules allow it: versions and names that pass for ours. No mlflow here.

All other names are the users' own: their models and prompts are registered as on any MLflow server.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from peft_registry.registry.database import catalog
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.homes.home import HomeNotFound
from peft_registry.registry.homes.known_homes import state_folder
from peft_registry.registry.mlflow.home_reader import open_registry
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lookalikes import folded

_OURS = re.compile(re.escape(SOURCE_PREFIX) + "([0-9a-f]{64})")
_SCHEME = SOURCE_PREFIX.partition(":")[0] + ":"


def refusal_of_version(asked: Mapping[str, Any]) -> str | None:
    """Why a version must not be made in MLflow, for the person who asked; None where it may be.

    A version has our name and our source, or neither: under a name of their own, those who may not read ours in MLflow would be
    handed its files.

    Args:
        asked: what MLflow's call `model-versions/create` was sent.
    """
    name, source = asked.get("name"), asked.get("source")
    if not isinstance(name, str) or not isinstance(source, str):
        return None  # MLflow refuses it
    ours = _OURS.fullmatch(source)
    if ours is None and source.strip().lower().startswith(_SCHEME):
        return f"a source of the registry is {SOURCE_PREFIX} and the 64 hexadecimal characters of a manifest digest"
    try:
        with _catalogue() as tx:
            versions = () if ours is None else catalog.version_by_digest(tx, Digest(ours[1]))
            is_ours = catalog.count_versions(tx, name) > 0
    except HomeNotFound:
        return None
    except KnownError as error:
        return _not_asked(error)
    return _refusal_of_source(name, {version.name for version in versions}, is_ours=is_ours)


def _refusal_of_source(name: str, registered_as: Collection[str], *, is_ours: bool) -> str | None:
    if name in registered_as:
        return None
    if is_ours:
        made_by = "`registry train`, `merge` and `import`"
        return f"{name} is a name of the registry, whose versions are made by {made_by}: use another name"
    if registered_as:
        return "what has this source is registered under another name, and whoever may read it reads it there"
    return None


def refusal_of_name(name: object, *, is_new: bool) -> str | None:
    """Why a model must not be called so in MLflow: people would take it for one of ours. None where it may.

    Args:
        name: what it is to be called.
        is_new: whether the name is given to a new model. One of ours is, by the mirror; no other model is given it afterwards.
    """
    if not isinstance(name, str):
        return None  # MLflow refuses it
    known = folded(name)  # ours have small letters of ASCII, which fold to themselves
    if is_new and known == name:
        return None
    try:
        with _catalogue() as tx:
            is_ours = catalog.count_versions(tx, known) > 0
    except HomeNotFound:
        return None
    except KnownError as error:
        return _not_asked(error)
    return f"it reads like {known}, which is a name of the registry: use another name" if is_ours else None


def refusal_of_location(asked: Mapping[str, Any]) -> str | None:
    """Why an experiment must not be made in MLflow; None where it may.

    The server writes where an experiment says that its files are, for whoever may make one: into any folder that it can write to.

    Args:
        asked: what MLflow's call `experiments/create` was sent.
    """
    if any(asked.get(spelling) for spelling in ("artifact_location", "artifactLocation")):
        return "this server keeps the files of an experiment itself: leave its artifact location out"
    return None


@contextmanager
def _catalogue() -> Iterator[Transaction]:
    """A reading transaction of the registry of this process.

    Raises:
        HomeNotFound: there is none.
        KnownError: it cannot be read.
    """
    with (
        closing(open_registry(os.environ.get("REGISTRY_HOME"), state=state_folder(os.environ))) as registry,
        registry.database.read() as tx,
    ):
        yield tx


def _not_asked(error: KnownError) -> str:
    return f"the registry could not be asked whose name this is: {error.what}"
