"""`registry import` on a small base: what comes in, what it is called, and where it says that it was imported."""

import json
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.registry.verification.signed_versions import signed_page
from tests.builders.homes import NOW
from tests.builders.importing import imported
from tests.builders.imports import PRODUCERS, peft_folder, trl_folder
from tests.builders.mirror import projection_of


@pytest.mark.parametrize("producer", PRODUCERS)
def test_each_producer_is_told_and_its_adapter_verifies_as_imported(
    registry: Registry, base: AddedBase, tmp_path: Path, producer: str
) -> None:
    outcome = imported(registry, PRODUCERS[producer](tmp_path / "helper"))
    assert outcome.record.producer == producer
    assert outcome.version.label == "helper:1"
    verified = verify_version(registry, outcome.version)
    assert verified.verdict == "verified", verified.failed_text
    assert "adapter, imported, layout peft" in " ".join(check.text for check in verified.checks)
    assert records_of(registry, outcome.version).imported == outcome.record


def test_what_was_imported_says_so_in_list_show_report_and_mlflow(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    version = imported(registry, trl_folder(tmp_path / "helper"), project="colours").version
    listed = next(row for row in signed_page(registry).versions if row.name == "helper")
    assert listed.origin == "imported"
    assert ("origin", "imported: made elsewhere, and nobody here saw how") in describe_version(
        registry, "helper"
    ).lines()
    assert ("project", "colours") in describe_version(registry, "helper").lines()
    page = make_report(registry, version).decode()
    assert "Imported: made elsewhere" in page
    assert "Found when it was imported" in page
    projection = projection_of(registry, version)
    assert projection.run.name == "import helper:1"
    assert dict(projection.version.tags)["registry.origin"] == "imported"


def test_a_pulled_import_says_it_without_the_registry(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    version = imported(registry, peft_folder(tmp_path / "helper")).version
    pull_version(registry, version, tmp_path / "pulled")
    assert json.loads((tmp_path / "pulled/manifest.json").read_bytes())["origin"] == "imported"
    outcome = verify_folder(tmp_path / "pulled", trust=registry.trust, now=NOW)
    assert "imported" in next(check.text for check in outcome.checks if check.step == "policy")
