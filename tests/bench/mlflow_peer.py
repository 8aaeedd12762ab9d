"""MLflow's own client with as many versions: its store in SQLite, filled through its tables, read as its users read it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.schemas.version import Version

_PAGE_OF_ALL = 10_000
"""As many as one page may have, so that the client is asked as seldom as it can be."""
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Peer:
    """The client on the store itself, without a server between."""

    client: Any  # MlflowClient, whose package is imported where it is needed

    def by_alias(self, name: str, alias: str) -> tuple[str, int]:
        version = self.client.get_model_version_by_alias(name, alias)
        return version.name, int(version.version)

    def by_digest(self, digest: str) -> list[tuple[str, int]]:
        """The versions whose tag is this digest: MLflow has no other way to ask for bytes."""
        return self._named(self.client.search_model_versions(f"tags.manifest = '{digest}'", max_results=10))

    def page_of_method(self, method: str, limit: int) -> list[tuple[str, int]]:
        return self._named(self.client.search_model_versions(f"tags.method = '{method}'", max_results=limit))

    def all_versions(self) -> list[tuple[str, int]]:
        found = []
        token = None
        while True:
            page = self.client.search_model_versions(max_results=_PAGE_OF_ALL, page_token=token)
            found += self._named(page)
            token = page.token
            if not token:
                return found

    @staticmethod
    def _named(page: Any) -> list[tuple[str, int]]:  # MLflow's list of its versions
        return [(version.name, int(version.version)) for version in page]


@contextmanager
def filled_peer(database: Path, versions: tuple[Version, ...]) -> Iterator[Peer]:
    """A client whose store has these versions, their aliases, and as tags their kind, method, manifest and base."""
    from mlflow import MlflowClient
    from mlflow.store.model_registry.dbmodels.models import (
        SqlModelVersion,
        SqlModelVersionTag,
        SqlRegisteredModel,
        SqlRegisteredModelAlias,
    )
    from sqlalchemy import create_engine, insert

    address = f"sqlite:///{database}"
    client = MlflowClient(tracking_uri=address, registry_uri=address)
    client.search_registered_models(max_results=1)  # makes the tables
    engine = create_engine(address)
    with engine.begin() as connection:
        names = sorted({version.name for version in versions})
        connection.execute(insert(SqlRegisteredModel), [{"name": name, "creation_time": 1} for name in names])
        rows = [{"name": version.name, "version": version.number, "source": "s3://models"} for version in versions]
        for some in _parts(rows):
            connection.execute(insert(SqlModelVersion), some)
        for some in _parts([tag for version in versions for tag in _tags(version)]):
            connection.execute(insert(SqlModelVersionTag), some)
        pointing = [
            {"name": version.name, "alias": alias, "version": version.number}
            for version in versions
            for alias in version.aliases
        ]
        connection.execute(insert(SqlRegisteredModelAlias), pointing)
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()
    yield Peer(client)


def _tags(version: Version) -> Iterator[dict[str, Any]]:
    values = {
        "kind": version.kind,
        "method": version.method,
        "manifest": str(version.manifest_digest),
        "base": str(version.base_weights),
    }
    for key, value in values.items():
        if value is not None:
            yield {"name": version.name, "version": version.number, "key": key, "value": value}


def _parts(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]
