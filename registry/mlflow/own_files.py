"""The home's own store of MLflow: made, its files, and what may be taken out where nobody else writes."""

from collections.abc import Iterable
from pathlib import Path

from peft_registry.registry.disk.files import unwritable, write_below
from peft_registry.registry.mlflow.projection import ArtifactFile
from peft_registry.registry.mlflow.route import ARTIFACT_SCHEME, MirrorRoute, MirrorUnavailable
from peft_registry.schemas.identity import Digest


def create_store(route: MirrorRoute, artifact_root: Path) -> None:
    """Create folder and tables, and MLflow's default experiment without a path of this machine in it."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import DBAPIError

    try:
        artifact_root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(artifact_root, error) from error
    try:
        SqlAlchemyStore(route.uri, f"{ARTIFACT_SCHEME}:/")
    except DBAPIError as error:  # MLflow makes its tables outside its own translation of errors
        raise MirrorUnavailable(route.described, str(error.orig)) from error
    except MlflowException as error:
        raise MirrorUnavailable(route.described, str(error)) from error


def delete_metrics(uri: str, run_id: str, keys: Iterable[str]) -> None:
    """Take metrics out of the home's own store, where nobody else writes: of the run, and of the model that it made."""
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlLoggedModelMetric, SqlMetric
    from sqlalchemy import create_engine, delete
    from sqlalchemy.orm import Session

    names = sorted(keys)
    engine = create_engine(uri)
    with Session(engine) as session, session.begin():
        for table in (SqlMetric, SqlLatestMetric):
            session.execute(delete(table).where(table.run_uuid == run_id, table.key.in_(names)))
        of_model = SqlLoggedModelMetric
        session.execute(delete(of_model).where(of_model.run_id == run_id, of_model.metric_name.in_(names)))
    engine.dispose()


def write_files(folder: Path, files: Iterable[ArtifactFile]) -> dict[str, str]:
    """Write files below a folder; the SHA-256 of each, by its path from there.

    Raises:
        DiskFull, NotWritable: a folder or a file cannot be written.
    """
    contents = {file.path: file.content.make() for file in files}
    write_below(folder, contents.items())
    return {path: str(Digest.of(data)) for path, data in contents.items()}


def digests_below(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path from there; nothing where there is none."""
    return {
        path.relative_to(folder).as_posix(): str(Digest.of(path.read_bytes()))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
