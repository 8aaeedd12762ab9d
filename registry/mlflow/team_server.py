"""A team's own MLflow server, as MLflow's client writes it: what is there is compared, and what is missing is sent, as a copy.

Every call may be repeated after a kill at any point. Nothing is remembered of a server: MLflow chooses its own ids, so each entity
is found again by its tags, and the last tag that a run gets says what it was filled with. What others made there is left as it is.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from peft_registry.registry.disk.files import write_below
from peft_registry.registry.mlflow.environment import prepare_environment
from peft_registry.registry.mlflow.projection import (
    COMPARISON_TAG,
    EXPERIMENT,
    EXTERNAL_TAG,
    NOTE_TAG,
    PROJECT_TAG,
    TRIAL_TAG,
    ArtifactFile,
    Projection,
)
from peft_registry.registry.mlflow.side_runs import PARENT, SideRun, comparison_of, comparison_run, trial_runs
from peft_registry.registry.mlflow.written_tags import identity_tags, linked_description, run_tags
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.errors import Unavailable
from peft_registry.schemas.identity import Digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, LoggedModel, Metric, Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.store.entities import PagedList

COPY_TAG = "registry.copy"
COPY = "a copy, proves nothing"
COPY_NOTE = "A copy: it proves nothing. `registry verify` checks what was signed."
MARK_TAG = "registry.copied"  # of a run that is whole: the digest of all that it was filled with
_OURS = "registry."
_PAGE = 1_000
_MOST_PAGES = 100  # no server holds more experiments of ours, or versions of one name
_SCRATCH_PREFIX = "registry-push-"

_Entity = TypeVar("_Entity")
_Tags = dict[str, str]


class MlflowMissing(Unavailable):
    what = "MLflow cannot be imported"
    why = "{reason}"
    fix = "install it with `pip install 'mlflow>=3.11,<4'`; everything but MLflow's pages works without it"

    reason: str


class MirrorUnavailable(Unavailable):
    what = "MLflow at {where} cannot be used"
    why = "{reason}"
    fix = "check that it runs and can be reached, then run the command again; nothing is lost meanwhile"

    where: str
    reason: str


class NotSent(Exception):
    """The server refuses something, or has something else in its place; carries the sentence to report."""

    @property
    def is_answer(self) -> bool:
        """Whether a call failed; else it was not made."""
        return self.__cause__ is not None


@dataclass
class _Name:
    """A registered model on the server, with its versions by number."""

    is_there: bool = False
    tags: _Tags = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    versions: "dict[int, ModelVersion]" = field(default_factory=dict)


def require_on_server(location: str, server: str) -> None:
    """Raise NotSent unless what is uploaded to this location goes to the server of this address.

    A server names the location, and MLflow's client writes to any: a folder of this machine, or a bucket with this user's keys.
    """
    try:
        parts = urlsplit(location)  # as MLflow reads it
        is_on_server = parts.scheme == "mlflow-artifacts" and parts.netloc in ("", urlsplit(server).netloc)
    except ValueError:
        is_on_server = False
    if not is_on_server:
        raise NotSent(
            f"the server has its files put at {location[:200]!a}, and they are sent to the server only: "
            "start it with `--serve-artifacts`, its default"
        )


def open_server(address: str) -> "TeamServer":
    """The server of an address.

    Raises:
        MlflowMissing: MLflow is not installed.
        MirrorUnavailable: the server does not answer, or does not let this user in.
    """
    prepare_environment()
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise MlflowMissing(str(error)) from error
    server = TeamServer(MlflowClient(tracking_uri=address, registry_uri=address))
    server.check_reachable()
    return server


class TeamServer:
    """One server. Its methods raise `NotSent` for what it refuses."""

    def __init__(self, client: "MlflowClient") -> None:
        self._client = client
        self._writes = 0
        self._experiments: dict[str, Experiment] = {}
        self._names: dict[str, _Name] = {}
        self._models: dict[Digest, str] = {}  # ids of the logged models of artifacts

    def check_reachable(self) -> None:
        """Look for our experiments.

        Raises:
            MirrorUnavailable: the server does not answer, or does not let this user in.
        """
        from mlflow.entities import ViewType

        where = f"name LIKE '{EXPERIMENT}%'"
        try:
            with _refusals():
                search = self._client.search_experiments
                there: Experiment
                for there in entities_of(lambda token: search(ViewType.ALL, _PAGE, where, page_token=token)):
                    if there.name.partition("/")[0] == EXPERIMENT:
                        self._experiments[there.name] = there
        except NotSent as refused:
            raise MirrorUnavailable(self._client.tracking_uri, f"{refused}") from refused

    def send(self, projection: Projection) -> bool:
        """Have the server show a version as it is now; whether anything was missing."""
        before = self._writes
        with _refusals():
            # first: nothing is written for a version that has no place
            self._require_place(projection)
            experiment = self._experiment_id(projection.experiment)
            identity = identity_tags(projection)
            run = self._run_having(identity) or self._create_run(projection, experiment, projection.run.name, identity)
            # one that was sent with its project stays in the experiment of that: MLflow moves no run
            experiment = str(run.info.experiment_id)
            above = self._run_above(projection, experiment)
            taken = self._models_of(projection.parents)
            tags = run_tags(projection, experiment=experiment, run_id=run.info.run_id) | {COPY_TAG: COPY}
            if above is not None:
                tags[PARENT] = above
            mark = str(canonical_digest([str(projection.digest), above, taken]))
            if not _is_whole(run) or _ours(run.data.tags) != _ours(tags | {MARK_TAG: mark}):
                self._fill(run, projection, tags, taken=taken)
                # last: what was killed before it is filled again
                self._write().set_tag(run.info.run_id, MARK_TAG, mark)
            self._send_version(projection, experiment=experiment, run_id=run.info.run_id)
        return self._writes > before

    def send_aliases(self, name: str, aliases: Mapping[str, int]) -> list[str]:
        """Have each alias of a name point at the version of a number; those that did not."""
        moved = []
        with _refusals():
            there = self._named(name)
            for alias, number in sorted(aliases.items()):
                if there.aliases.get(alias) != number:
                    self._write().set_registered_model_alias(name, alias, str(number))
                    moved.append(alias)
        return moved

    def others(self, name: str, numbers: Collection[int]) -> list[str]:
        """The versions that stand under a name with other numbers than these."""
        with _refusals():
            versions = self._named(name).versions
        return [f"{name}:{number}, from {versions[number].source!a}" for number in sorted(versions.keys() - numbers)]

    def _write(self) -> "MlflowClient":
        """The client, for a call that changes something: these are counted."""
        self._writes += 1
        return self._client

    def _require_place(self, projection: Projection) -> None:
        """Raise unless the version is there, or is the next that MLflow makes, behind one of ours."""
        version = projection.version
        versions = self._named(version.name).versions
        shown, newest = versions.get(version.number), max(versions, default=0)
        if shown is not None and shown.source != version.source:
            raise NotSent(f"its number is that of another version there, from {shown.source!a}, which is left as it is")
        if shown is None and newest >= version.number:
            raise NotSent(f"it is not there, MLflow is at {version.name}:{newest}, and it gives no number twice")
        before = f"{version.name}:{version.number - 1}"
        if shown is None and version.number > 1:
            if newest + 1 < version.number:
                raise NotSent(f"{before} comes first, and is not there")
            if versions[newest].tags.get("registry.id") != before:
                raise NotSent(f"{before} comes first, and is another version there")

    def _experiment_id(self, name: str) -> str:
        there = self._experiments.get(name)
        if there is None or there.lifecycle_stage != "active":
            if there is None:
                identity = self._write().create_experiment(name, tags=_experiment_tags(name))
            else:
                identity = there.experiment_id
                self._write().restore_experiment(identity)
            there = self._experiments[name] = self._client.get_experiment(identity)
        # no run is begun that cannot be filled
        require_on_server(there.artifact_location, self._client.tracking_uri)
        return str(there.experiment_id)

    def _run_having(self, tags: Mapping[str, str]) -> "Run | None":
        """A run of ours with these tags, also one that somebody deleted."""
        from mlflow.entities import ViewType

        ids = [experiment.experiment_id for experiment in self._experiments.values()]
        runs = self._client.search_runs(ids, _having(tags), ViewType.ALL, max_results=1)
        return runs[0] if runs else None

    def _create_run(self, projection: Projection, experiment: str, name: str, tags: Mapping[str, str]) -> "Run":
        marked = {**tags, COPY_TAG: COPY}
        return self._write().create_run(experiment, projection.run.start_ms, run_name=name, tags=marked)

    def _run_above(self, projection: Projection, experiment: str) -> str | None:
        """The run that a version's stands below: over its comparison, or of what it continues; None for none."""
        comparison = comparison_of(projection.run)
        if comparison is not None:
            over = comparison_run(comparison)
            return self._send_side_run(projection, experiment, over, (COMPARISON_TAG, "registry.kind"))
        if projection.continues is None:
            return None
        earlier = self._run_having({"registry.manifest": str(projection.continues)})
        # MLflow shows one run below another in one list only
        if earlier is None or earlier.info.experiment_id != experiment:
            return None
        return str(earlier.info.run_id)

    def _send_side_run(self, projection: Projection, experiment: str, run: SideRun, identity: Collection[str]) -> str:
        """The id of a run that stands beside that of a version; it is found again by these of its tags."""
        from mlflow.entities import Metric, Param, RunTag

        there = self._run_having({key: run.tags[key] for key in identity})
        if there is None:
            there = self._create_run(projection, experiment, run.name, run.tags)
        run_id = str(there.info.run_id)
        if not _is_whole(there):
            self._restore(there)
            end_ms = projection.run.end_ms
            metrics = [Metric(key, value, end_ms, 0) for key, value in run.metrics.items()]
            params = [Param(key, value) for key, value in run.params.items()]
            self._write().log_batch(run_id, metrics, params, [RunTag(NOTE_TAG, COPY_NOTE)])
            self._finish(there, end_ms)
        return run_id

    def _fill(self, run: "Run", projection: Projection, tags: _Tags, *, taken: Collection[str]) -> None:
        """Give a run, and the logged model that it made, all that they have; points that are there the server passes."""
        from mlflow.entities import LoggedModelOutput, Param, RunTag

        run_id, shown = str(run.info.run_id), projection.run
        self._restore(run)
        model_id = self._send_model(projection, run)
        for key in _stale(run.data.tags, tags):
            self._write().delete_tag(run_id, key)
        # MLflow lets nobody change a parameter
        params = [Param(key, value) for key, value in shown.params if key not in run.data.params]
        written = [RunTag(key, value) for key, value in tags.items()]
        self._write().log_batch(run_id, _metrics(projection, run_id, model_id), params, written)
        self._log_inputs(run, projection, taken)
        outputs = {output.model_id for output in (run.outputs.model_outputs if run.outputs else ())}
        if model_id not in outputs:
            step = max((point.step for point in shown.metrics), default=0)
            self._write().log_outputs(run_id, [LoggedModelOutput(model_id=model_id, step=step)])
        label = f"{projection.version.name}:{projection.version.number}"
        for seed in trial_runs(label, shown, run_id).values():
            self._send_side_run(projection, run.info.experiment_id, seed, (PARENT, TRIAL_TAG))
        self._upload(shown.artifacts, run.info.artifact_uri)
        self._finish(run, shown.end_ms)
        if run.info.run_name != shown.name:
            self._write().update_run(run_id, name=shown.name)

    def _restore(self, run: "Run") -> None:
        """Take a run back that somebody deleted: MLflow writes to no other."""
        if run.info.lifecycle_stage != "active":
            self._write().restore_run(run.info.run_id)

    def _finish(self, run: "Run", end_ms: int) -> None:
        if run.info.status != "FINISHED":
            self._write().set_terminated(run.info.run_id, "FINISHED", end_time=end_ms)

    def _log_inputs(self, run: "Run", projection: Projection, taken: Collection[str]) -> None:
        """Name the data sets that a run used, and the logged models that it took."""
        from mlflow.entities import LoggedModelInput

        from peft_registry.registry.mlflow.entities import dataset_entity

        datasets = [dataset_entity(use) for use in projection.run.datasets]
        known = {model.model_id for model in (run.inputs.model_inputs if run.inputs else ())}
        models = [LoggedModelInput(model_id=model_id) for model_id in taken if model_id not in known]
        if datasets or models:
            self._write().log_inputs(run.info.run_id, datasets, models)

    def _send_model(self, projection: Projection, run: "Run") -> str:
        """The id of the logged model of a version, with its files; the weights are elsewhere."""
        version = projection.version
        tags = {**identity_tags(projection), COPY_TAG: COPY, NOTE_TAG: COPY_NOTE, EXTERNAL_TAG: "true"}
        model = self._model_having(identity_tags(projection))
        if model is None:
            model = self._write().create_logged_model(
                run.info.experiment_id, version.model_name, run.info.run_id, tags, model_type=version.model_type
            )
        elif tags.items() - model.tags.items():
            self._write().set_logged_model_tags(model.model_id, tags)
        model_id = str(model.model_id)
        self._upload(version.artifacts, model.artifact_location)
        if str(model.status) != "READY":
            self._write().finalize_logged_model(model_id, "READY")
        return model_id

    def _model_having(self, tags: Mapping[str, str]) -> "LoggedModel | None":
        ids = [str(experiment.experiment_id) for experiment in self._experiments.values()]
        models = self._client.search_logged_models(ids, _having(tags), max_results=1)
        return models[0] if models else None

    def _models_of(self, manifests: Collection[Digest]) -> list[str]:
        """The logged models of artifacts, of those that are there."""
        for manifest in manifests:
            if manifest not in self._models:
                model = self._model_having({"registry.manifest": str(manifest)})
                if model is not None:
                    self._models[manifest] = str(model.model_id)
        return sorted({self._models[manifest] for manifest in manifests if manifest in self._models})

    def _send_version(self, projection: Projection, *, experiment: str, run_id: str) -> None:
        """Make the version of the registered model, or mend its tags and its description."""
        version = projection.version
        name, number = version.name, str(version.number)
        named, tags = self._named(name), {**dict(version.tags), COPY_TAG: COPY}
        description = linked_description(projection, experiment=experiment, run_id=run_id)
        shown = named.versions.get(version.number)
        if shown is None:
            named.versions[version.number] = self._create_version(projection, tags, description, run_id=run_id)
        else:
            for key in _stale(shown.tags, tags):
                self._write().delete_model_version_tag(name, number, key)
            for key, value in sorted(tags.items() - shown.tags.items()):
                self._write().set_model_version_tag(name, number, key, value)
            if shown.description != description:
                self._write().update_model_version(name, number, description)
        if version.name_tags:  # it is the newest of its name
            tags = {**dict(version.name_tags), COPY_TAG: COPY}
            for key in _stale(named.tags, tags):
                self._write().delete_registered_model_tag(name, key)
            for key, value in sorted(tags.items() - named.tags.items()):
                self._write().set_registered_model_tag(name, key, value)

    def _create_version(self, projection: Projection, tags: _Tags, description: str, *, run_id: str) -> "ModelVersion":
        version = projection.version
        model = self._model_having(identity_tags(projection))
        named = self._named(version.name)
        if not named.is_there:
            self._write().create_registered_model(version.name, {COPY_TAG: COPY}, COPY_NOTE)
            named.is_there, named.tags = True, {COPY_TAG: COPY}
        made = self._write().create_model_version(
            version.name,
            version.source,
            run_id,
            tags=tags,
            description=description,
            await_creation_for=0,
            model_id=None if model is None else model.model_id,
        )
        if int(made.version) != version.number:  # another push was faster, or the last version was deleted there
            self._client.delete_model_version(version.name, str(made.version))
            raise NotSent(f"MLflow gave it the number {made.version}, and it was taken back")
        return made

    def _named(self, name: str) -> _Name:
        """What the server has under a name; asked once."""
        if name not in self._names:
            self._names[name] = self._asked_for(name)
        return self._names[name]

    def _asked_for(self, name: str) -> _Name:
        where = f"name = '{name}'"
        # searched for: whoever may see nothing of others gets no answer to whether a name is there
        models = self._client.search_registered_models(where, max_results=1)
        if not models:
            return _Name()
        search = self._client.search_model_versions
        versions: Iterator[ModelVersion] = entities_of(lambda token: search(where, _PAGE, page_token=token))
        aliases = {alias: int(number) for alias, number in models[0].aliases.items()}
        return _Name(True, dict(models[0].tags), aliases, {int(version.version): version for version in versions})

    def _upload(self, files: Collection[ArtifactFile], location: str) -> None:
        """Send files, made now, to a location on the server."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if not files:
            return
        server = self._client.tracking_uri
        require_on_server(location, server)
        with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX) as folder:
            write_below(Path(folder), [(file.path, file.content.make()) for file in files])
            self._writes += 1
            # not `log_artifacts` of the client: it asks the server for the location again, and takes whatever comes then
            get_artifact_repository(location, tracking_uri=server).log_artifacts(folder)


@contextmanager
def _refusals() -> Iterator[None]:
    """Calls to the server, whose exceptions become ours."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException  # what MLflow raises for files

    try:
        yield
    except (MlflowException, RequestException) as error:
        raise NotSent(" ".join(str(error).split())[:500]) from error


def entities_of(page_after: "Callable[[str | None], PagedList[_Entity]]") -> Iterator[_Entity]:
    """The entities of all pages; NotSent where the pages lead nowhere."""
    token, seen = None, set[str]()
    for _ in range(_MOST_PAGES):
        page = page_after(token)
        yield from page
        token = page.token
        if not token:
            return
        if not page or token in seen:
            raise NotSent("its list has no end: it names a page after one that is empty, or one that it gave before")
        seen.add(token)
    raise NotSent(f"its list has no end: more than {_MOST_PAGES} pages of {_PAGE:,}")


def _having(tags: Mapping[str, str]) -> str:
    """Entities with these tags, as MLflow's search takes it."""
    return " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())


def _is_whole(run: "Run") -> bool:
    """Whether a run was filled to its end, and is shown."""
    return (str(run.info.status), str(run.info.lifecycle_stage)) == ("FINISHED", "active")


def _ours(tags: Mapping[str, str]) -> _Tags:
    """Those of the tags that only we write. What people add under names of their own is theirs."""
    return {key: value for key, value in tags.items() if key.startswith(_OURS) or key in (NOTE_TAG, PARENT)}


def _stale(shown: Mapping[str, str], written: Mapping[str, str]) -> list[str]:
    """The tags of ours that something has and is not to have."""
    return sorted(key for key in shown.keys() - written.keys() if key.startswith(_OURS) or key == PARENT)


def _experiment_tags(name: str) -> _Tags:
    """The tags that an experiment is made with: whose runs stand in it, for the head of its page."""
    project = name.removeprefix(EXPERIMENT).removeprefix("/")
    versions = f"the versions of the project {project}" if project else "the versions of the registry"
    tags = {COPY_TAG: COPY, NOTE_TAG: f"Runs behind {versions}. {COPY_NOTE}"}
    return tags | {PROJECT_TAG: project} if project else tags


def _metrics(projection: Projection, run_id: str, model_id: str) -> "list[Metric]":
    """The points of a run; the final ones are of its logged model too."""
    from peft_registry.registry.mlflow.entities import metric_entity

    return [metric_entity(point, run_id, model_id if point.final else None) for point in projection.run.metrics]
