"""How mlflow is imported and started: quietly, and without telling anybody."""

import os
from collections.abc import Iterable
from pathlib import Path

from peft_registry.registry.disk.child_environment import Need, child_environment

# set before mlflow is imported: it reads them then, and with telemetry on client and server call home
_TELL_NOBODY = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
_QUIET = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# MLflow's defaults try seven times with growing pauses, minutes in all
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


def prepare_environment() -> None:
    """Set what mlflow reads from the environment while it is imported. What a user set about patience stays."""
    os.environ.update(_TELL_NOBODY)
    for name, value in (_QUIET | _PATIENCE).items():
        os.environ.setdefault(name, value)


def server_environment(home: Path, needs: Iterable[Need]) -> dict[str, str]:
    """The environment of the server we start: the user's without any MLFLOW_ setting or secret that it does not need, then ours."""
    kept = {name: value for name, value in child_environment(os.environ, needs=needs).items() if "MLFLOW" not in name}
    return (
        kept
        | _TELL_NOBODY
        | {
            "REGISTRY_HOME": str(home.resolve()),
            "PYTHONSAFEPATH": "1",  # for the processes that MLflow starts itself
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
    )
