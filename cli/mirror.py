"""Sending a copy to the server that a home names, after something was registered or an alias was moved."""

from typing import TYPE_CHECKING

from peft_registry.cli import console
from peft_registry.schemas.errors import KnownError

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry


def push_after(registry: "Registry", *labels: str) -> str | None:
    """What became of the copy of these versions on the server that the home names; None where it names none.

    What was registered stays, whatever the server says: a failure is a warning.
    """
    if registry.settings.mirror != "server":
        return None
    from peft_registry.registry.mlflow.push import push_versions

    try:
        outcome = push_versions(registry, labels)
    except KnownError as error:
        console.warn(f"{error.what}: {error.why}")
        return "not pushed: see `registry mirror push`"
    for label, why in outcome.set_aside:
        console.warn(f"{label} was not sent to {outcome.server}: {why}")
    return "pushed" if outcome.is_whole else "not pushed: see `registry mirror push`"
