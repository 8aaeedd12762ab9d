"""MLflow as the mirror writes it: a part for each kind of entity, whose calls may all be repeated.

MLflow has no upsert: it chooses run id, model id and version number. So each `ensure` looks for what an interrupted sync left
behind (the tags `registry.id` and `registry.manifest`) before it creates anything.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from peft_registry.registry.mlflow.comparing import Difference
from peft_registry.registry.mlflow.entity_files import EntityFiles
from peft_registry.registry.mlflow.experiments import Experiments
from peft_registry.registry.mlflow.logged_models import LoggedModels
from peft_registry.registry.mlflow.model_versions import ModelVersions
from peft_registry.registry.mlflow.own_files import create_store
from peft_registry.registry.mlflow.planned_versions import PlannedVersions
from peft_registry.registry.mlflow.refusals import EntryRefused, refusals
from peft_registry.registry.mlflow.registered_models import RegisteredModels
from peft_registry.registry.mlflow.route import MirrorRoute, MirrorUnavailable, MlflowMissing
from peft_registry.registry.mlflow.runs import Runs
from peft_registry.registry.mlflow.shown_entities import ShownEntities
from peft_registry.registry.mlflow.side_runs import PARENT, PARENT_OF_RUN, TRIAL
from peft_registry.registry.mlflow.trials_and_comparisons import SideRuns

if TYPE_CHECKING:
    from mlflow import MlflowClient


def open_surface(route: MirrorRoute) -> "Surface":
    """MLflow at the end of the route; a store is created when it is not there.

    Raises:
        MlflowMissing: it is not installed.
        MirrorUnavailable: it does not answer, or its database has another version.
        DiskFull, NotWritable: the folder of the store cannot be made.
    """
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise MlflowMissing(str(error)) from error
    if route.artifact_root is not None:
        create_store(route, route.artifact_root)
    surface = Surface(MlflowClient(tracking_uri=route.uri, registry_uri=route.uri), route)
    surface.check_reachable()
    return surface


class Surface:
    """The parts of one MLflow. Their methods raise `EntryRefused` for what MLflow refuses, `DriftFound` for what is not ours.

    All of them raise `MirrorFull` where there is no room.

    Attributes:
        experiments: by name, with our mark.
        runs: of versions.
        side_runs: of seeds and comparisons.
        models: the logged models.
        names: the registered models.
        versions: of these names.
        planned: versions that are written many at once into the home's own store.
        shown: what is read back.
    """

    def __init__(self, client: "MlflowClient", route: MirrorRoute) -> None:
        self._client = client
        self._route = route
        files = EntityFiles(client, route)
        self.experiments = Experiments(client, route)
        self.side_runs = SideRuns(client)
        self.runs = Runs(client, route, experiments=self.experiments, files=files, side_runs=self.side_runs)
        self.models = LoggedModels(client, route, experiments=self.experiments, files=files)
        self.names = RegisteredModels(client)
        self.versions = ModelVersions(client, experiments=self.experiments, names=self.names)
        self.planned = PlannedVersions(route, experiments=self.experiments, files=files, side_runs=self.side_runs)
        self.shown = ShownEntities(client, files)

    def close(self) -> None:
        """Close what was opened besides MLflow's client."""
        self.planned.close()

    def check_reachable(self) -> None:
        """Raise MirrorUnavailable unless MLflow answers.

        Raises:
            MirrorUnavailable: it does not answer.
        """
        try:
            with refusals():
                self._client.search_experiments(max_results=1)
        except EntryRefused as error:
            raise MirrorUnavailable(self._route.described, str(error)) from error

    @property
    def where(self) -> str:
        """MLflow's place, for people."""
        return self._route.described

    def take_away(self, name: str, number: int, run_id: str, added: Iterable[Difference]) -> None:
        """Take away what somebody added: tags of ours and aliases of a version, tags of its run, and changed runs of seeds."""
        with refusals():
            for difference in added:
                if difference.kind == "tag":
                    self._client.delete_model_version_tag(name, str(number), difference.key)
                elif difference.kind == "run tag":
                    self._client.delete_tag(run_id, difference.key)
                elif difference.kind == PARENT_OF_RUN:
                    self._client.delete_tag(run_id, PARENT)
                elif difference.kind == TRIAL:
                    self.side_runs.delete_trials(run_id, difference.key)
                elif difference.kind == "model tag":
                    for model in self._client.get_run(run_id).outputs.model_outputs:
                        self._client.delete_logged_model_tag(model.model_id, difference.key)
                elif difference.kind == "tag of the name":
                    self._client.delete_registered_model_tag(name, difference.key)
                elif difference.kind == "alias":
                    self._client.delete_registered_model_alias(name, difference.key)
