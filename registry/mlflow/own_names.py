"""Names in MLflow that are ours: only what was registered here becomes a version of them. No mlflow here.

All other names are the users' own: their models and prompts are registered as on any MLflow server.
"""

import os
import re
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import HomeNotFound
from peft_registry.registry.homes.known_homes import state_folder
from peft_registry.registry.mlflow.home_reader import open_registry
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.schemas.errors import KnownError

_OURS = re.compile(re.escape(SOURCE_PREFIX) + "[0-9a-f]{64}")


def refusal_of_version(asked: Mapping[str, Any]) -> str | None:
    """Why a version must not be made in MLflow, for the person who asked; None where it may be.

    Args:
        asked: what MLflow's call `model-versions/create` was sent.
    """
    name, source = asked.get("name"), asked.get("source")
    if isinstance(source, str) and _OURS.fullmatch(source):
        return None
    try:
        with (
            closing(open_registry(os.environ.get("REGISTRY_HOME"), state=state_folder(os.environ))) as registry,
            registry.database.read() as tx,
        ):
            is_ours = isinstance(name, str) and catalog.count_versions(tx, name) > 0
    except HomeNotFound:
        return None
    except KnownError as error:
        return f"the registry could not be asked whose name this is: {error.what}"
    if not is_ours:
        return None
    return f"{name} is a name of the registry, whose versions are made by `registry train`, `merge` and `import`: use another name"
