"""MLflow's tracking store over a home, read only: experiments, runs, metrics with history, data sets and logged models.

Filters, orders and offsets are MLflow's own helpers'; which versions are read at all is chosen by an index where one gives that.
"""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from mlflow.entities import Experiment, LoggedModel, Metric, Run, ViewType
from mlflow.entities.dataset_summary import _DatasetSummary
from mlflow.entities.metric import MetricWithRunId
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT, SEARCH_MAX_RESULTS_THRESHOLD
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.utils.search_utils import SearchExperimentsUtils, SearchLoggedModelsUtils, SearchUtils

from peft_registry.registry.mlflow import identifiers
from peft_registry.registry.mlflow.entities import experiment_entity, model_entity, points_of_run, run_entity
from peft_registry.registry.mlflow.experiments import ExperimentUnknown
from peft_registry.registry.mlflow.figures import milliseconds
from peft_registry.registry.mlflow.home_address import SHOWN_FILES, home_of
from peft_registry.registry.mlflow.narrowing import Narrowed, narrowed_by
from peft_registry.registry.mlflow.paging import page_at_offset, page_in_order, position_of, require_page_size
from peft_registry.registry.mlflow.read_only import read_only
from peft_registry.registry.mlflow.shown_homes import shown_home
from peft_registry.registry.mlflow.shown_registry import RegistryReading
from peft_registry.registry.mlflow.shown_runs import ShownRun
from peft_registry.registry.mlflow.side_runs import PARENT
from peft_registry.registry.mlflow.version_rows import ROWS_AT_ONCE, Position

_PROXIED = "mlflow-artifacts:"
_DESTINATION = "_MLFLOW_SERVER_ARTIFACT_DESTINATION"  # MLflow's: where a server reads what it hands out
_DATASETS_OF = 100  # runs whose data sets the page of runs offers to filter by
_NEWEST_FIRST = ("attribute", "start_time", False)
_CREATED = ("creation_timestamp", "creation_time")  # the names that MLflow has for when a logged model was made


@read_only(
    # experiments and runs
    "search_experiments",
    "get_experiment",
    "get_experiment_by_name",
    "get_run",
    "search_runs",
    "get_metric_history",
    "get_metric_history_bulk",
    "get_metric_history_bulk_interval",
    "get_metric_history_bulk_interval_from_steps",
    "filter_active_experiment_ids",
    # logged models
    "search_logged_models",
    "get_logged_model",
    # of which there is nothing here
    "search_traces",
    "search_datasets",
    "list_scorers",
    "list_scorers_across_experiments",
    "search_issues",
    # what a client that logged nothing has to end
    "end_async_logging",
    "flush_async_logging",
    "shut_down_async_logging",
)
class RegistryTrackingStore(AbstractStore):  # type: ignore[misc]  # mlflow has no types that mypy follows
    """What a home has, as runs."""

    def __init__(self, store_uri: str, artifact_uri: str | None = None) -> None:
        super().__init__()
        self._shown = shown_home(home_of(store_uri))
        self._is_proxied = (artifact_uri or "").startswith(_PROXIED)

    @property
    def _artifact_root(self) -> str:
        # a server hands the files out itself, to clients that have no home; it says so after it made its store
        is_served = self._is_proxied and os.environ.get(_DESTINATION, "") == SHOWN_FILES
        return _PROXIED if is_served else SHOWN_FILES

    # --- experiments ---

    def search_experiments(
        self,
        view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = SEARCH_MAX_RESULTS_THRESHOLD,
        filter_string: str | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList:
        """The projects; each is an experiment."""
        require_page_size(max_results, SEARCH_MAX_RESULTS_THRESHOLD)
        if view_type == ViewType.DELETED_ONLY:
            return PagedList([], None)
        with self._shown.reading() as reading:
            reading.versions.require_all()
            every = [self._experiment(reading, project) for project in reading.experiments.projects()]
        kept = SearchExperimentsUtils.filter(every, filter_string)
        ordered = SearchExperimentsUtils.sort(kept, order_by or ["last_update_time DESC", "name ASC"])
        return PagedList(*page_at_offset(ordered, page_token, limit=max_results))

    def get_experiment(self, experiment_id: str) -> Experiment:
        """The experiment of an id."""
        with self._shown.reading() as reading:
            return self._experiment(reading, reading.experiments.project_of(f"{experiment_id}"))

    def get_experiment_by_name(self, experiment_name: str) -> Experiment | None:
        """The experiment of a name; None where there is none."""
        with self._shown.reading() as reading:
            for project in reading.experiments.projects():
                if identifiers.experiment_name(project) == experiment_name:
                    return self._experiment(reading, project)
        return None

    def filter_active_experiment_ids(self, experiment_ids: list[str]) -> list[str]:
        """Of these experiments those that there are."""
        with self._shown.reading() as reading:
            known = {identifiers.experiment_id(project) for project in reading.experiments.projects()}
        return [experiment_id for experiment_id in experiment_ids if experiment_id in known]

    def _experiment(self, reading: RegistryReading, project: str | None) -> Experiment:
        newest = reading.experiments.newest_of(project)
        newest_ms = 0 if newest is None else milliseconds(newest.registered_at)
        return experiment_entity(
            project,
            artifact_root=self._artifact_root,
            newest_ms=newest_ms,
            is_signed=project in reading.experiments.signed_projects(),
        )

    # --- runs ---

    def get_run(self, run_id: str) -> Run:
        """A run as its own page shows it."""
        with self._shown.reading() as reading:
            return run_entity(reading.run(run_id), artifact_root=self._artifact_root)

    def _search_runs(  # noqa: PLR0917 - MLflow's signature
        self,
        experiment_ids: list[str],
        filter_string: str | None,
        run_view_type: int,
        max_results: int,
        order_by: list[str] | None,
        page_token: str | None,
    ) -> tuple[list[Run], str | None]:
        require_page_size(max_results, SEARCH_MAX_RESULTS_THRESHOLD)
        narrowed = narrowed_by(SearchUtils.parse_search_filter(filter_string))
        orders = [SearchUtils.parse_order_by_for_search_runs(clause) for clause in order_by or ()]
        if run_view_type == ViewType.DELETED_ONLY:
            return [], None
        with self._shown.reading() as reading:
            projects = _projects(reading, experiment_ids)
            # by what they began is by what was registered: nothing else is in the order of an index
            if not orders or orders[0] == _NEWEST_FIRST:
                return page_in_order(
                    # one more than the page has says whether another follows
                    self._runs(reading, projects, narrowed, position_of(page_token), first=max_results + 1),
                    lambda runs: SearchUtils.filter(runs, filter_string),
                    limit=max_results,
                )
            ranked = reading.values.ranked(
                ("runs", projects, filter_string, tuple(order_by or ()), tuple(reading.run_ids.under_way)),
                lambda: self._ranked_runs(reading, projects, narrowed, filter_string, order_by or []),
            )
            chosen, token = page_at_offset(ranked, page_token, limit=max_results)
            runs = self._runs_at(reading, projects, chosen)
        # what was put in order is proven only now: a run that is not what was signed meets no filter
        return SearchUtils.filter(runs, filter_string), token

    def _runs(
        self,
        reading: RegistryReading,
        projects: Sequence[str | None],
        narrowed: Narrowed,
        after: Position | None = None,
        *,
        first: int = ROWS_AT_ONCE,
    ) -> Any:  # batches of positions and entities
        for batch in reading.runs(projects, narrowed, after, first=first):
            yield [(position, run_entity(run, artifact_root=self._artifact_root)) for position, run in batch]

    def _ranked_runs(
        self,
        reading: RegistryReading,
        projects: Sequence[str | None],
        narrowed: Narrowed,
        filter_string: str | None,
        order_by: list[str],
    ) -> list[Position]:
        """The positions of all runs that are asked for, in their order; of each run no more is held than that takes.

        They are read as the log has them, which leaves out what a version was made from: whoever shows one of them proves it.
        """
        keys = {key for _, key, _ in map(SearchUtils.parse_order_by_for_search_runs, order_by)}
        asked = keys | {clause["key"] for clause in SearchUtils.parse_search_filter(filter_string)}
        read = reading.runs if PARENT in asked else reading.runs_as_logged
        positions: dict[int, Position] = {}
        reduced: list[Run] = []
        for batch in read(projects, narrowed):
            for position, run in self._kept(batch, filter_string):
                small = run_entity(_reduced(run, keys), artifact_root=self._artifact_root)
                positions[id(small)] = position
                reduced.append(small)
        return [positions[id(run)] for run in SearchUtils.sort(reduced, order_by)]

    def _kept(
        self, batch: Sequence[tuple[Position, ShownRun]], filter_string: str | None
    ) -> Sequence[tuple[Position, ShownRun]]:
        """Those of some runs that a filter lets through."""
        if not filter_string:
            return batch
        entities = [run_entity(run, artifact_root=self._artifact_root) for _, run in batch]
        kept = set(map(id, SearchUtils.filter(entities, filter_string)))
        return [shown for shown, entity in zip(batch, entities, strict=True) if id(entity) in kept]

    def _runs_at(
        self, reading: RegistryReading, projects: Sequence[str | None], positions: Sequence[Position]
    ) -> list[Run]:
        labels = frozenset(f"{name}:{number}" for _, name, number, _ in positions)
        found: dict[Position, ShownRun] = {}
        for batch in reading.runs(projects, Narrowed(labels=labels)):
            found |= dict(batch)
        return [run_entity(found[at], artifact_root=self._artifact_root) for at in positions if at in found]

    # --- metrics ---

    def get_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList:
        """Every point of a metric, by step."""
        with self._shown.reading() as reading:
            points = points_of_run(reading.history(run_id, metric_key), run_id)
        if max_results is None:
            return PagedList(points, None)
        require_page_size(max_results, SEARCH_MAX_RESULTS_THRESHOLD)
        return PagedList(*page_at_offset(points, page_token, limit=max_results))

    def get_metric_history_bulk(self, run_ids: list[str], metric_key: str, max_results: int) -> list[MetricWithRunId]:
        """The points of a metric of several runs, by run and step."""
        points: list[MetricWithRunId] = []
        with self._shown.reading() as reading:
            for run_id in sorted(run_ids):
                metrics: list[Metric] = points_of_run(reading.history(run_id, metric_key), run_id)
                points += [MetricWithRunId(run_id=run_id, metric=metric) for metric in metrics]
        return points[:max_results]

    # --- data sets ---

    def _search_datasets(self, experiment_ids: list[str]) -> list[_DatasetSummary]:
        """The data sets of the newest runs, by which the page of runs offers to filter."""
        found: dict[tuple[str, str, str, str], None] = {}
        looked_at = 0
        with self._shown.reading() as reading:
            for batch in reading.runs(_projects(reading, experiment_ids), Narrowed(), first=_DATASETS_OF):
                for _, run in batch:
                    experiment_id = identifiers.experiment_id(run.project)
                    for use in run.datasets:
                        found[experiment_id, use.name, use.digest, use.context] = None
                looked_at += len(batch)
                if looked_at >= _DATASETS_OF:
                    break
        return [_DatasetSummary(*summary) for summary in found]

    # --- logged models ---

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:  # noqa: ARG002 - MLflow's
        """What stands behind a version."""
        with self._shown.reading() as reading:
            model = reading.model(model_id)
        if model is None:
            raise MlflowException(f"there is no logged model {model_id}", RESOURCE_DOES_NOT_EXIST)
        return model_entity(model, artifact_root=self._artifact_root)

    def search_logged_models(  # noqa: PLR0917 - MLflow's signature
        self,
        experiment_ids: list[str],
        filter_string: str | None = None,
        datasets: list[dict[str, Any]] | None = None,
        max_results: int | None = None,
        order_by: list[dict[str, Any]] | None = None,
        page_token: str | None = None,
    ) -> PagedList:
        """The logged models of some experiments."""
        if datasets and not all(entry.get("dataset_name") for entry in datasets):
            raise MlflowException("each data set of a filter needs its dataset_name", INVALID_PARAMETER_VALUE)
        limit = max_results or SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT
        require_page_size(limit, SEARCH_MAX_RESULTS_THRESHOLD)
        orders = [SearchLoggedModelsUtils.parse_order_by_for_logged_models(clause) for clause in order_by or ()]

        def keep(models: list[LoggedModel]) -> list[LoggedModel]:
            kept: list[LoggedModel] = SearchLoggedModelsUtils.filter_logged_models(models, filter_string, datasets)
            return kept

        with self._shown.reading() as reading:
            projects = _projects(reading, experiment_ids)
            if not orders or (orders[0].field_name in _CREATED and not orders[0].ascending):
                batches = self._models(reading, projects, position_of(page_token), first=limit + 1)
                return PagedList(*page_in_order(batches, keep, limit=limit))
            what = ("models", projects, filter_string, f"{datasets}", f"{order_by}")
            ranked = reading.values.ranked(what, lambda: self._ranked_models(reading, projects, keep, order_by))
            chosen, token = page_at_offset(ranked, page_token, limit=limit)
            models = [reading.model(model_id) for model_id in chosen]
        entities = [model_entity(model, artifact_root=self._artifact_root) for model in models if model is not None]
        return PagedList(entities, token)

    def _models(
        self,
        reading: RegistryReading,
        projects: Sequence[str | None],
        after: Position | None = None,
        *,
        first: int = ROWS_AT_ONCE,
    ) -> Any:  # as `_runs`
        for batch in reading.models(projects, Narrowed(), after, first=first):
            yield [(position, model_entity(model, artifact_root=self._artifact_root)) for position, model in batch]

    def _ranked_models(
        self,
        reading: RegistryReading,
        projects: Sequence[str | None],
        keep: Callable[[list[LoggedModel]], list[LoggedModel]],
        order_by: list[dict[str, Any]] | None,
    ) -> list[str]:
        models: list[LoggedModel] = []
        for batch in self._models(reading, projects):
            models += keep([model for _, model in batch])
        return [model.model_id for model in SearchLoggedModelsUtils.sort(models, order_by)]

    # --- of which there is nothing here ---

    def search_traces(self, *_arguments: Any, **_named: Any) -> tuple[list[Any], None]:
        """None are recorded."""
        return [], None

    def search_datasets(self, *_arguments: Any, **_named: Any) -> PagedList:
        """MLflow's data sets for evaluations of agents: none are recorded."""
        return PagedList([], None)

    def search_issues(self, *_arguments: Any, **_named: Any) -> PagedList:
        """None are recorded."""
        return PagedList([], None)

    def list_scorers(self, experiment_id: str) -> list[Any]:  # noqa: ARG002 - MLflow's signature
        """None are recorded."""
        return []

    def list_scorers_across_experiments(self, experiment_ids: list[str]) -> list[Any]:  # noqa: ARG002 - MLflow's signature
        """None are recorded."""
        return []


def _projects(reading: RegistryReading, experiment_ids: Sequence[str]) -> tuple[str | None, ...]:
    """The projects of some experiments; one that is not there has no runs."""
    projects: list[str | None] = []
    for experiment_id in dict.fromkeys(map(str, experiment_ids)):
        try:
            projects.append(reading.experiments.project_of(experiment_id))
        except ExperimentUnknown:
            continue
    return tuple(projects)


def _reduced(run: ShownRun, keys: Collection[str]) -> ShownRun:
    """A run with no more than what puts it in order."""
    return replace(
        run,
        tags=tuple(pair for pair in run.tags if pair[0] in keys),
        params=tuple(pair for pair in run.params if pair[0] in keys),
        metrics=tuple(point for point in run.metrics if point.key in keys),
        datasets=(),
        model_inputs=(),
        model_output=None,
    )
