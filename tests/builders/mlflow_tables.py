"""MLflow's tables in the empty database of a home, without what its migrations take for each, nor what reading them takes."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sqlalchemy import Engine


class MlflowTables:
    """A database that MLflow's migrations have made, once for this process and those that it forks."""

    def __init__(self, folder: Path) -> None:
        # MLflow reads the environment when it is imported
        from peft_registry.registry.mlflow.route import prepare_environment

        prepare_environment()
        from mlflow.store.db import utils

        self._utils = utils
        self._initialize: Callable[[Engine], None] = utils._initialize_tables
        self._made = folder / "mlflow-tables.db"

    def make(self) -> None:
        """Have them made, if they are not yet."""
        from sqlalchemy import create_engine

        if self._made.exists():
            return
        unfinished = self._made.with_name(f"{self._made.name}.{os.getpid()}")
        engine = create_engine(f"sqlite:///{unfinished}")
        self._initialize(engine)
        engine.dispose()
        unfinished.replace(self._made)

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Let every empty SQLite database have a copy of them; any other is left to MLflow.

        Each opening of a store compares the database with the newest of MLflow's migrations. Which that is stands in some
        sixty files of the installed package, which stay as they are while tests run: they are read once.
        """
        patch.setattr(self._utils, "_initialize_tables", self._fill)
        patch.setattr(self._utils, "_get_latest_schema_revision", cache(self._utils._get_latest_schema_revision))

    def _fill(self, engine: "Engine") -> None:
        from sqlalchemy import inspect

        path = engine.url.database
        if engine.dialect.name != "sqlite" or not path or inspect(engine).get_table_names():
            self._initialize(engine)
            return
        self.make()
        with closing(sqlite3.connect(self._made)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
