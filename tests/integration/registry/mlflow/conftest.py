"""Mirrors of many homes, whose tables MLflow makes once."""

from collections.abc import Iterator

import pytest

from tests.builders.mlflow_tables import MlflowTables


@pytest.fixture(scope="session", autouse=True)
def _mlflow_makes_its_tables_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        MlflowTables(tmp_path_factory.mktemp("mlflow")).use(patch)
        yield
