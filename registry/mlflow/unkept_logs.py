"""What transformers' MLflowCallback logs where MLflow reads a home: it is not kept, one warning says so, and the training goes on.

An error in that callback would end the training. Whoever calls MLflow in a script is refused: that call can be left out.
The callback begins a run of its own, or with MLFLOW_RUN_ID resumes one, which then stays what was signed. What it would copy at
each save with HF_MLFLOW_LOG_ARTIFACTS it does not copy: MLflow packs a checkpoint, and infers its packages, before it asks a store.
"""

import inspect
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.entities import LifecycleStage, Run, RunData, RunInfo, RunStatus
from mlflow.utils.async_logging.run_operations import RunOperations

from peft_registry.registry.mlflow import identifiers

_CALLBACKS = "transformers.integrations.integration_utils"
NOT_KEPT = (
    "MLflow reads a registry and takes no logs: what report_to='mlflow' logs is not kept, and the training goes on. The "
    "RegistryCallback records a training; report_to='none' ends this warning"
)


def is_asked_by_transformers() -> bool:
    """Whether a callback of transformers called MLflow: nothing else tells its runs from those of a script."""
    return _asking_callback() is not None


def _asking_callback() -> Any | None:
    """The callback of transformers that called MLflow, which has no types that mypy follows; None where a script did."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") != _CALLBACKS:
        frame = frame.f_back
    return None if frame is None else frame.f_locals.get("self")


def _begin_unkept_run() -> None:
    """Warn once a run, and have its callback pack no checkpoints."""
    logging.getLogger(__name__).warning(NOT_KEPT)
    callback = _asking_callback()
    if callback is not None:
        callback._log_artifacts = False  # transformers offers no other way once a training began


def _resume_unkept_run(named: Mapping[str, Any]) -> None:
    if named.get("run_status") == RunStatus.RUNNING:  # the callback also says here how a run ended
        _begin_unkept_run()


def _unkept_run(named: Mapping[str, Any]) -> Run:
    _begin_unkept_run()
    info = RunInfo(
        run_id=uuid.uuid4().hex,
        experiment_id=named["experiment_id"],
        user_id=named["user_id"],
        status="RUNNING",
        start_time=named["start_time"],
        end_time=None,
        lifecycle_stage=LifecycleStage.ACTIVE,
        run_name=named["run_name"],
    )
    return Run(info, RunData())


UNKEPT: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "create_experiment": lambda _: identifiers.experiment_id(None),
    "create_run": _unkept_run,
    "log_batch": lambda _: None,
    "log_batch_async": lambda _: RunOperations([]),
    "update_run_info": _resume_unkept_run,
}
"""What the callback is answered, by the method of MLflow's tracking store that it calls, from the arguments with names."""
