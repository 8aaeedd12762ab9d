"""What entities are written with besides a projection: tags that name the version, and links to the page of its run. Pure."""

from peft_registry.registry.mlflow.description import with_run_link
from peft_registry.registry.mlflow.projection import NOTE_TAG, Projection


def identity_tags(projection: Projection) -> dict[str, str]:
    """The tags of a run and of a logged model by which they are found again."""
    version = projection.version
    return {"registry.id": f"{version.name}:{version.number}", "registry.manifest": str(projection.manifest)}


def linked_description(projection: Projection, *, experiment: str, run_id: str) -> str:
    """The description that a version is written with; `experiment` is the id of that of its run."""
    return with_run_link(projection.version.description, experiment, run_id)


def run_tags(projection: Projection, *, experiment: str, run_id: str) -> dict[str, str]:
    """The tags that a run is written with, with those by which it is found again; `experiment` is the id of its own."""
    note = linked_description(projection, experiment=experiment, run_id=run_id)
    tags = {key: note if key == NOTE_TAG else value for key, value in projection.run.tags}
    return identity_tags(projection) | tags
