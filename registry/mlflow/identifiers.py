"""What MLflow calls our things: ids that follow from ours, so that nothing has to be remembered. Pure.

A run keeps the id that it had while it was under way. Everything else is called by a digest of what we call it.
"""

import hashlib
import re

from peft_registry.registry.mlflow.projection import experiment_of

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_ID_HEX = 32
# MLflow's pages and its login take the number of an experiment for digits; JavaScript counts exactly up to 2^53
_EXPERIMENT_HEX = 12


def experiment_id(project: str | None) -> str:
    """The number of the experiment of a project; of versions without one it is 1."""
    return "1" if project is None else f"{int(_digest(f'experiment {project}')[:_EXPERIMENT_HEX], 16) + 2}"


def experiment_name(project: str | None) -> str:
    """The name of the experiment of a project."""
    return experiment_of(project)


def run_id(label: str, own_id: str | None) -> str:
    """The id of the run that made a version: its own, where it has one in MLflow's form."""
    return own_id if own_id is not None and is_run_id(own_id) else derived_run_id(label)


def is_run_id(text: str) -> bool:
    """Whether MLflow takes this for the id of a run."""
    return _RUN_ID.fullmatch(text) is not None


def derived_run_id(label: str) -> str:
    """The id of the run of a version that no run of ours made."""
    return _digest(f"run {label}")


def trial_id(label: str, seed: int) -> str:
    """The id of the run that stands for a seed that was tried."""
    return _digest(f"trial {label} {seed}")


def comparison_id(comparison: str, project: str | None) -> str:
    """The id of the run over the arms of a comparison, in the experiment of a project."""
    return _digest(f"comparison {comparison} {experiment_of(project)}")


def model_id(label: str) -> str:
    """The id of the logged model behind a version."""
    return f"m-{_digest(f'model {label}')}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_HEX]
