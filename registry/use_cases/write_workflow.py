"""`registry init --ci`: the workflow of a service that runs checks, in the place where the service looks for it."""

import importlib.metadata
from pathlib import Path

from peft_registry.registry.disk.files import unwritable
from peft_registry.registry.disk.hashing import write_and_hash
from peft_registry.registry.exports.ci_workflow import DISTRIBUTION, PLACES, CiService, ci_workflow
from peft_registry.schemas.errors import Taken


class WorkflowExists(Taken):
    what = "{place} is there already"
    why = "a workflow that somebody may have changed is never written over"
    fix = "remove or rename it, then run the command again"

    place: Path


def write_workflow(folder: Path, service: CiService) -> Path:
    """Write the workflow of a service into a repository; returns its path inside it.

    Args:
        folder: the top of the repository.
        service: that will run it.

    Raises:
        WorkflowExists: there is a file in its place.
        DiskFull, NotWritable: as `unwritable`.
    """
    place = Path(PLACES[service])
    if (folder / place).exists():
        raise WorkflowExists(place)
    text = ci_workflow(
        service, importlib.metadata.requires(DISTRIBUTION) or (), importlib.metadata.version(DISTRIBUTION)
    )
    try:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        write_and_hash([text.encode()], folder / place, mode=0o644)
    except OSError as error:
        raise unwritable(folder / place, error) from error
    return place
