"""Bringing MLflow up to date after something was registered."""

from typing import TYPE_CHECKING

from peft_registry.cli import console
from peft_registry.schemas.errors import KnownError

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry


def mirror_after(registry: "Registry") -> str:
    """What became of the mirror; the version is registered whatever MLflow says, and the outbox keeps the entry."""
    from peft_registry.registry.mlflow.draining import sync_mirror

    try:
        if sync_mirror(registry).clean:
            return "mirrored"
    except KnownError as error:
        console.note(f"warning  {error.what}: {error.why}")
    return "not mirrored: see `registry mirror sync`"
