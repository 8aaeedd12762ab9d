"""A home with four trainings of several projects: one tried seeds, one is the arm of a comparison, one continues another."""

from pathlib import Path
from typing import Any

from peft_registry.registry.mlflow.home_address import address_of
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.run import Trial
from tests.builders.homes import a_home, add_a_base
from tests.builders.products import a_product

PROJECTS = {"sums": "support-bot", "other": None, "third": "billing", "fourth": "support-bot"}
TRIED = (Trial(seed=7, score=1.5, chosen=False), Trial(seed=8, score=1.25, chosen=True))
SHOWN = {
    "registry": ["add tiny:1", "train other:1"],
    "registry/billing": ["third:1 trial, seed 7", "third:1 trial, seed 8", "train third:1"],
    "registry/support-bot": ["compare c0ffee", "train fourth:1", "train sums:1"],
}
"""The runs of each experiment."""


def run_id_of(name: str) -> str:
    """The id that the run of a name recorded: 32 hexadecimal characters, as a new one has."""
    return name.encode().hex().rjust(32, "0")


def make_shown_home(folder: Path, *, database: str | None = None) -> Path:
    """The home, whose versions all are `@champion` but for the base."""
    with a_home(folder / "home", database=database) as registry:
        base = add_a_base(registry, folder / "base")
        beside: dict[str, dict[str, Any]] = {"third": {"trials": TRIED}, "fourth": {"comparison": "c0ffee"}}
        for number, (name, project) in enumerate(PROJECTS.items(), start=1):
            product = a_product(
                registry,
                folder / name,
                base,
                name=name,
                run_id=run_id_of(name),
                value=number / 8,
                project=project,
                **beside.get(name, {}),
            )
            set_alias(registry, register_product(registry, product).version, "champion")
    return folder / "home"


def client_of(home: Path) -> Any:
    """MLflow's client on a home, without a server."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=address_of(home), registry_uri=address_of(home))


def runs_shown(client: Any) -> dict[str, list[str]]:
    """The names of the runs of each experiment."""
    return {
        experiment.name: sorted(run.info.run_name for run in client.search_runs([experiment.experiment_id]))
        for experiment in client.search_experiments()
    }
