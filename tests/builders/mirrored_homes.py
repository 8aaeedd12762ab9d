"""Homes with a mirror, what MLflow has of them, and two machines that share a registry."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from peft_registry.registry.homes.home import Registry, read_settings
from peft_registry.registry.homes.kept_seals import KeptSeals
from peft_registry.registry.mlflow.home_route import mirror_route
from tests.builders.homes import a_home, reopened


def labels_in_mlflow(registry: Registry) -> list[str]:
    from mlflow import MlflowClient

    uri = mirror_route(registry).uri
    found = MlflowClient(tracking_uri=uri, registry_uri=uri).search_model_versions(max_results=1_000)
    return sorted(f"{version.name}:{version.version}" for version in found)


def runs_in_mlflow(registry: Registry) -> Counter[str]:
    from mlflow import MlflowClient

    uri = mirror_route(registry).uri
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return Counter(run.data.tags.get("registry.id", "") for run in client.search_runs(experiments, max_results=1_000))


@contextmanager
def two_machines(first: Path, second: Path, address: str) -> Iterator[tuple[Registry, Registry]]:
    """Two homes of one registry, whose database is on a server: the second is a copy of the first one's folder."""
    with a_home(first, database=address) as here:
        shutil.copytree(first, second, ignore=shutil.ignore_patterns("mlflow", "objects", "mirror"))
        (second / "objects").symlink_to(first / "objects")
        with closing(reopened(second)) as there:
            yield here, there


def mirrored_to(home: Path, uri: str) -> None:
    """Write into a home's settings which server it is mirrored to."""
    path = home / "registry.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mirror": "server", "mirror_uri": uri}))


def kept_seals(home: Path, state: Path) -> KeptSeals:
    """The seals that a user with this state folder keeps of a home."""
    return KeptSeals.of(state, read_settings(home).registry_id, home)


def move_seals(home: Path, state: Path, to: Path, other_state: Path) -> None:
    """Let another user keep of a copy of a home what one keeps of the first, as if they had checked it there."""
    data = kept_seals(home, state).read()
    assert data is not None
    assert kept_seals(to, other_state).write(data)
