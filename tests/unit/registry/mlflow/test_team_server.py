"""Where a server may have files put, of all that it can name."""

import pytest

from peft_registry.registry.mlflow.team_server import NotSent, require_on_server

SERVER = "https://mlflow.example:8443/team"


@pytest.mark.parametrize(
    "location", ["mlflow-artifacts:/7/a/artifacts", "mlflow-artifacts://mlflow.example:8443/7/a", "mlflow-artifacts:7"]
)
def test_what_the_server_keeps_itself_is_sent(location: str) -> None:
    require_on_server(location, SERVER)


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/home/alex/.config",
        "relative/folder",
        "file:///home/alex",
        "s3://bucket/prefix",
        "gs://bucket/prefix",
        "dbfs:/databricks/mlflow",
        "hdfs://host/path",
        "ftp://host/path",
        "registry:.registry",
        "runs:/a/b",
        "models:/a/1",
        "https://mlflow.example:8443/team/api/2.0/mlflow-artifacts/artifacts/7",
        "mlflow-artifacts://elsewhere.example/7",
        "mlflow-artifacts://mlflow.example/7",
        "mlflow-artifacts://alex@mlflow.example:8443/7",
        "mlflow-artifacts:/\t/elsewhere.example/7",
        "mlflow-artifacts://[/7",
    ],
)
def test_every_other_location_is_refused(location: str) -> None:
    with pytest.raises(NotSent, match="start it with `--serve-artifacts`"):
        require_on_server(location, SERVER)
