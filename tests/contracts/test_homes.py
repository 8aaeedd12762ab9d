"""One home, other backends: the same registration, verification, pull and listing on SQLite and PostgreSQL, folder and S3."""

from pathlib import Path

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from tests.builders.homes import NOW, a_home, register_adapter
from tests.servers.postgres import PostgresServer
from tests.servers.s3 import S3Server


@pytest.fixture(params=["sqlite+folder", "postgresql+folder", "sqlite+s3", "postgresql+s3"])
def backends(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str | None]:
    database, store = request.param.split("+")
    chosen: dict[str, str | None] = {"database": None, "store": None}
    if database == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        chosen["database"] = server.new_database(f"home_{abs(hash(request.node.nodeid)):x}")
    if store == "s3":
        bucket: S3Server = request.getfixturevalue("s3_credentials")
        chosen["store"] = f"s3://bucket/{tmp_path.name}?endpoint_url={bucket.endpoint_url}&region=us-east-1"
    return chosen


def test_a_home_on_every_backend_registers_verifies_pulls_and_reports(
    backends: dict[str, str | None], tmp_path: Path
) -> None:
    with a_home(tmp_path / "home", **backends) as registry:
        version = register_adapter(registry, tmp_path)
        assert version.label == "helper:1"
        assert register_adapter(registry, tmp_path) == version
        assert verify_version(registry, version).verdict == "verified"
        set_alias(registry, version, "champion")
        assert version_named(registry, "helper@champion").manifest_digest == version.manifest_digest
        pull_version(registry, version, tmp_path / "pulled")
        assert verify_folder(tmp_path / "pulled", trust=registry.trust, now=NOW).verdict == "verified"
        with registry.database.read() as tx:
            listed = catalog.list_versions(tx).versions
        assert [one.label for one in listed] == ["helper:1", "tiny:1"]
        assert b"helper:1" in make_report(registry, listed[1])
