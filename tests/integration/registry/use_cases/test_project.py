"""The project of a version: kept with its run, and shown and found where such facts are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.where import read_query
from peft_registry.registry.records.facets import FACETS_FORM
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.fill_facets import fill_facets
from peft_registry.registry.use_cases.find import all_found
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.schemas.progress import Warned
from tests.builders.homes import a_home, add_a_base
from tests.builders.products import a_product

PROJECTS = {"sums": "support-bot", "other": None, "third": "billing"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, AddedBase]]:
    """Three trainings, of which two name a project; `sums` and `third` have equal bytes."""
    folder = tmp_path_factory.mktemp("projects")
    with a_home(folder / "home") as registry:
        base = add_a_base(registry, folder / "base")
        for name, project in PROJECTS.items():
            value = 0.25 if name == "other" else 0.5
            register_product(
                registry,
                a_product(registry, folder / name, base, name=name, run_id=name, value=value, project=project),
            )
        yield registry, base


@pytest.fixture
def registry(made: tuple[Registry, AddedBase]) -> Registry:
    return made[0]


def found(registry: Registry, where: str) -> list[str]:
    return [version.label for version in all_found(registry, read_query(where))]


def test_versions_are_found_by_their_project(registry: Registry) -> None:
    assert found(registry, "project=support-bot") == ["sums:1"]
    assert found(registry, "project=billing,support-bot") == ["sums:1", "third:1"]
    assert found(registry, "project!=support-bot kind=adapter") == ["other:1", "third:1"]
    assert found(registry, "project=support") == []


def test_an_upgrade_reads_the_same_projects_from_what_was_signed(registry: Registry) -> None:
    with registry.database.write() as tx:
        catalog.set_meta(tx, FACETS_FORM, "another form")
    assert fill_facets(registry) == 4, "with the base"
    assert found(registry, "project=billing") == ["third:1"]
    assert found(registry, "project=support-bot") == ["sums:1"]


@pytest.mark.parametrize(("name", "project"), PROJECTS.items())
def test_a_version_is_shown_with_its_project(registry: Registry, name: str, project: str | None) -> None:
    version = version_named(registry, name)
    shown = describe_version(registry, name)
    records = records_of(registry, version)
    page = make_report(registry, version).decode()
    assert records.card is not None
    card = records.card.decode()
    assert records.project == project
    if project is None:
        assert "project" not in shown.to_json() and "project" not in dict(shown.lines())
        assert "Project:" not in card and "Project:" not in page
    else:
        assert shown.to_json()["project"] == dict(shown.lines())["project"] == project
        assert project not in card, "everybody reads a card, and a project may be a customer's"
        assert f"Project: {project}." in page


@pytest.mark.parametrize(
    ("project", "warnings"),
    [
        ("support-bot", []),
        (None, []),
        ("billing", ["sums:1 was registered before, and its project stays support-bot"]),
    ],
)
def test_an_equal_result_does_not_move_a_version_to_another_project(
    made: tuple[Registry, AddedBase], tmp_path: Path, project: str | None, warnings: list[str]
) -> None:
    registry, base = made
    told: list[Any] = []
    again = a_product(registry, tmp_path / "again", base, run_id="again", project=project)
    registered = register_product(registry, again, observe=told.append)
    assert (registered.was_there, registered.version.label) == (True, "sums:1")
    said = [event.text for event in told if isinstance(event, Warned) and event.reference == "project-not-recorded"]
    assert said == warnings
    assert describe_version(registry, "sums:1").project == "support-bot"
