"""`--on ray://HEAD`: tasks of a Ray cluster that runs already, as an executor."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from peft_registry.registry.bulk.executors import ExecutorUnreachable
from peft_registry.registry.extras import ExtraMissing

AUTO = "ray://auto"
"""The cluster of this node, or that of RAY_ADDRESS."""


def ray(text: str) -> Executor:
    """The workers of the cluster at `ray://HOST:PORT` of Ray's client, or at `ray://auto`.

    Raises:
        ExtraMissing: Ray is not installed.
        ExecutorUnreachable: no cluster answers there.
    """
    try:
        import ray as engine
    except ImportError as error:
        raise ExtraMissing("ray", "`--on ray://`") from error
    try:
        engine.init(address="auto" if text == AUTO else text, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ExecutorUnreachable(text, f"{error}") from error
    return RayExecutor(engine)


class RayExecutor(Executor):
    """Each call is a task of one CPU, which Ray runs again where its worker died."""

    def __init__(self, engine: Any) -> None:  # the module, which has no types
        self._engine = engine
        self._task = engine.remote(_called)

    def submit(self, call: Callable[..., Any], /, *values: Any, **named: Any) -> "Future[Any]":
        future: Future[Any] = self._task.remote(call, values, named).future()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002  as `Executor` has it
        self._engine.shutdown()


def _called(call: Callable[..., Any], values: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return call(*values, **named)
