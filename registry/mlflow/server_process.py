"""`mlflow server` with its command and what answers in one process: `python -P -m peft_registry.registry.mlflow.server_process`.

MLflow's command reads its options, starts uvicorn as a child and waits for it, and both hold all of MLflow in memory. Here the
command is the same, and uvicorn runs where it would have been waited for: a server of half the size, ready sooner.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any


def main() -> None:
    """Run MLflow's command line with what this process was started with."""
    # first: MLflow holds requests against the allowed hosts only where it finds a server among the modules
    import uvicorn.main  # noqa: F401
    from mlflow import server
    from mlflow.cli import cli

    # the name by which MLflow starts its child; where a release has no such name, it starts one as before
    server._exec_cmd = run_here
    cli()


def run_here(command: Sequence[str], *, extra_env: Mapping[str, str], **_how: Any) -> None:
    """Run uvicorn in this process until it ends, with the options that MLflow gives its child; never returns."""
    from uvicorn.main import main as serve

    os.environ.update(extra_env)
    serve(args=command[command.index("uvicorn") + 1 :], prog_name="uvicorn")  # of click, which ends the process


if __name__ == "__main__":
    main()
