"""MLflow's entry points `mlflow.tracking_store` and `mlflow.model_registry_store` for `registry:HOME`.

MLflow loads this module while it is itself being imported: whatever imports mlflow here at the top would find half of it, and the
store would be dropped with a warning. So nothing is imported before a store is asked for.
"""

from typing import Any

from peft_registry.registry.mlflow.home_address import SCHEME


def tracking_store(
    store_uri: str, artifact_uri: str | None = None
) -> Any:  # a class of MLflow, which mypy does not follow
    """The runs and experiments of a home, read only."""
    from peft_registry.registry.mlflow.read_only import translated_errors
    from peft_registry.registry.mlflow.tracking_store import RegistryTrackingStore

    with translated_errors():
        return RegistryTrackingStore(store_uri, artifact_uri)


def model_registry_store(store_uri: str, tracking_uri: str | None = None) -> Any:  # noqa: ARG001 - MLflow's signature
    """The registered models of a home, read only."""
    from peft_registry.registry.mlflow.model_registry_store import RegistryModelStore
    from peft_registry.registry.mlflow.read_only import translated_errors

    with translated_errors():
        return RegistryModelStore(store_uri)


def mlflow_reads_a_home() -> bool:
    """Whether MLflow is told, in this process, to read a home: then whoever logs to it is refused."""
    import mlflow

    return str(mlflow.get_tracking_uri()).startswith(f"{SCHEME}:")
