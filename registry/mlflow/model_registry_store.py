"""MLflow's model registry over a home, read only: names, versions and aliases, each as the signed log says it."""

from collections.abc import Callable
from typing import Any

from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry import SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD
from mlflow.store.model_registry.abstract_store import AbstractStore
from mlflow.utils.search_utils import SearchModelUtils, SearchModelVersionUtils

from peft_registry.registry.mlflow.entities import name_entity, version_entity
from peft_registry.registry.mlflow.home_address import home_of
from peft_registry.registry.mlflow.narrowing import Narrowed, narrowed_by
from peft_registry.registry.mlflow.paging import page_at_offset, page_in_order, position_of, require_page_size
from peft_registry.registry.mlflow.projection import PROMPT_TAG, RECORD_TAGS
from peft_registry.registry.mlflow.read_only import read_only
from peft_registry.registry.mlflow.shown_homes import shown_home
from peft_registry.registry.mlflow.shown_registry import RegistryReading
from peft_registry.registry.mlflow.version_rows import ROWS_AT_ONCE, Position, VersionName
from peft_registry.schemas.identity import Reference

_SHOWN_IN_FULL = 100
"""How many versions of a list are shown as their own pages show them: deriving a record takes ten times as long as the rest, and
MLflow's page of a model asks for all of its versions to show ten."""
_NEWEST_FIRST = (("last_updated_timestamp", False), ("creation_timestamp", False))


@read_only(
    "search_registered_models",
    "get_registered_model",
    "get_latest_versions",
    "get_model_version",
    "get_model_version_by_alias",
    "get_model_version_download_uri",
    "search_model_versions",
    # of which there is nothing here
    "search_prompts",
    "list_webhooks",
    "list_webhooks_by_event",
)
class RegistryModelStore(AbstractStore):  # type: ignore[misc]  # mlflow has no types that mypy follows
    """What a home has, as registered models."""

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        super().__init__(store_uri, tracking_uri)
        self._shown = shown_home(home_of(store_uri))

    # --- names ---

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int = 100,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList:
        """Names; a filter by tags reads the newest version of each."""
        require_page_size(max_results, SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD)
        clauses = SearchModelUtils.parse_search_filter(filter_string) if filter_string else []
        narrowed = narrowed_by(clauses)
        if narrowed.nothing:
            return PagedList([], None)
        by_tags = any(clause["type"] == "tag" and clause["key"] != PROMPT_TAG for clause in clauses)
        with self._shown.reading() as reading:

            def rank() -> list[str]:
                names = reading.names()
                entities = [name_entity(reading.name_in_full(name.name) if by_tags else name) for name in names]
                kept = SearchModelUtils.filter(entities, filter_string)
                return [model.name for model in SearchModelUtils.sort(kept, order_by)]

            ranked = reading.values.ranked(("names", filter_string, tuple(order_by or ())), rank)
            chosen, token = page_at_offset(ranked, page_token, limit=max_results)
            models = [name_entity(reading.name_in_full(name)) for name in chosen]
        return PagedList(models, token)

    def get_registered_model(self, name: str) -> RegisteredModel:
        """A name with its newest version and its aliases."""
        with self._shown.reading() as reading:
            return name_entity(reading.name_in_full(name))

    def get_latest_versions(self, name: str, stages: list[str] | None = None) -> list[ModelVersion]:
        """The newest version of a name; stages are not used."""
        if stages and "None" not in stages:
            return []
        with self._shown.reading() as reading:
            newest = reading.name_in_full(name).newest
            return [] if newest is None else [version_entity(reading.version(VersionName(name, newest.number)))]

    # --- versions ---

    def get_model_version(self, name: str, version: str) -> ModelVersion:
        """A version as its own page shows it."""
        with self._shown.reading() as reading:
            return version_entity(reading.version(_version_name(name, version)))

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """The version that an alias points at by its signed, logged move."""
        with self._shown.reading() as reading:
            return version_entity(reading.version_at(name, alias))

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        """Where the files of a version are read from: the registry, which verifies them."""
        with self._shown.reading() as reading:
            return reading.source_of(_version_name(name, version))

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int = 100,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList:
        """Versions: the first hundred each as its own page shows it, those behind them as lists do, without their records."""
        require_page_size(max_results, SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD)
        clauses = SearchModelVersionUtils.parse_search_filter(filter_string) if filter_string else []
        orders = [SearchModelVersionUtils.parse_order_by_for_search_model_versions(clause) for clause in order_by or ()]
        narrowed = narrowed_by(clauses)
        in_full = any(clause["type"] == "tag" and clause["key"] in RECORD_TAGS for clause in clauses)

        def keep(versions: list[ModelVersion]) -> list[ModelVersion]:
            kept: list[ModelVersion] = SearchModelVersionUtils.filter(versions, filter_string)
            return kept

        with self._shown.reading() as reading:
            if not orders or orders[0][-2:] in _NEWEST_FIRST:
                batches = _versions(reading, narrowed, position_of(page_token), in_full=in_full, first=max_results + 1)
                page, token = page_in_order(batches, keep, limit=max_results)
                chosen = [VersionName(version.name, int(version.version)) for version in page]
            else:
                ranked = reading.values.ranked(
                    ("versions", filter_string, tuple(order_by or ())),
                    lambda: _ranked_versions(reading, narrowed, keep, order_by, in_full=in_full),
                )
                chosen, token = page_at_offset(ranked, page_token, limit=max_results)
            shown = reading.versions_in_full(chosen[:_SHOWN_IN_FULL]) + reading.versions_listed(chosen[_SHOWN_IN_FULL:])
            versions = [version_entity(version) for version in shown]
        return PagedList(versions, token)

    # --- of which there is nothing here ---

    def search_prompts(self, *_arguments: Any, **_named: Any) -> PagedList:
        """None are recorded."""
        return PagedList([], None)

    def list_webhooks(self, *_arguments: Any, **_named: Any) -> PagedList:
        """There are none."""
        return PagedList([], None)

    def list_webhooks_by_event(self, *_arguments: Any, **_named: Any) -> PagedList:
        """There are none."""
        return PagedList([], None)


def _versions(
    reading: RegistryReading, narrowed: Narrowed, after: Position | None, *, in_full: bool, first: int = ROWS_AT_ONCE
) -> Any:  # batches of positions and entities
    for batch in reading.listed_versions(narrowed, after, first=first):
        shown = [version for _, version in batch]
        if in_full:
            shown = reading.versions_in_full([VersionName(version.name, version.number) for version in shown])
        yield [(position, version_entity(version)) for (position, _), version in zip(batch, shown, strict=True)]


def _ranked_versions(
    reading: RegistryReading,
    narrowed: Narrowed,
    keep: Callable[[list[ModelVersion]], list[ModelVersion]],
    order_by: list[str] | None,
    *,
    in_full: bool,
) -> list[VersionName]:
    versions: list[ModelVersion] = []
    for batch in _versions(reading, narrowed, None, in_full=in_full):
        versions += keep([version for _, version in batch])
    ordered = SearchModelVersionUtils.sort(versions, order_by)
    return [VersionName(version.name, int(version.version)) for version in ordered]


def _version_name(name: str, version: str) -> VersionName:
    """A version as a client names it.

    Raises:
        MalformedReference: the name or the number is not one that a version can have.
    """
    reference = Reference.parse(f"{name}:{version}")
    return VersionName(reference.name or name, reference.number or 0)
