"""`--on dask://SCHEDULER`: Dask's own executor, over the workers of a scheduler that runs already."""

from concurrent.futures import Executor

from peft_registry.registry.bulk.executors import ExecutorUnreachable
from peft_registry.registry.extras import ExtraMissing

_TIMEOUT = "30s"


def dask(text: str) -> Executor:
    """The workers of the scheduler at `dask://HOST:PORT`.

    Raises:
        ExtraMissing: Dask is not installed.
        ExecutorUnreachable: no scheduler answers there.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ExtraMissing("dask", "`--on dask://`") from error
    from distributed.cfexecutor import ClientExecutor

    class OfOneClient(ClientExecutor):  # type: ignore[misc]  # Dask has no types
        """Closes its client too, which nobody else holds."""

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=wait and not cancel_futures)  # which cancels what it does not wait for
            self._client.close()

    try:
        client = Client(f"tcp://{text.removeprefix('dask://')}", timeout=_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ExecutorUnreachable(text, f"{error}") from error
    # not pure: an item that is handed out again is to be done again
    return OfOneClient(client, pure=False)
