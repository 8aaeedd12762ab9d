"""Rows that somebody deleted: every list that would be short of one says so, on SQLite and PostgreSQL."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.where import read_query
from peft_registry.registry.records.lost_rows import RowsMissing
from peft_registry.registry.records.views import VersionsDiffer
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.find import find_versions
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.show_impact import describe_impact
from peft_registry.registry.verification.signed_versions import signed_lineage, signed_page
from peft_registry.schemas.errors import IntegrityBroken
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.homes import add_a_base
from tests.builders.lineage import register_made_from
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

pytestmark = pytest.mark.sql

APPROVER = a_p256_key(7)


def fill(registry: Registry, folder: Path) -> None:
    """A base, an adapter, and another whose training began at it, to which an alias points."""
    base = add_a_base(registry, folder / "base")
    first = register_made_from(registry, folder / "first", base, (), name="first", value=0.25)
    second = register_made_from(registry, folder / "second", base, (first,), name="second", value=0.5)
    set_alias(registry, second, "prod")
    listed = a_trusted_key(APPROVER, person="alex", role="approver", predicate_types=None)
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, listed))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def edited(made: MadeHome, tmp_path: Path) -> Iterator[Callable[[str], Registry]]:
    """The home, opened after somebody ran a statement on its database."""
    home = made.copy(tmp_path / "home")
    opened: list[Registry] = []

    def edit(statement: str) -> Registry:
        with home.rows() as rows:
            rows.run(statement)
        opened.append(home.opened())
        return opened[-1]

    yield edit
    for registry in opened:
        registry.close()


def impact(registry: Registry) -> object:
    return describe_impact(registry, "first:1", limit=10)


def near_impact(registry: Registry) -> object:
    return describe_impact(registry, "first:1", limit=10, depth=1)


def of_one_method(registry: Registry) -> object:
    return find_versions(registry, read_query("method=lora", None))


def by_rank(registry: Registry) -> object:
    return find_versions(registry, read_query("", "rank"))


def at_the_alias(registry: Registry) -> object:
    return find_versions(registry, read_query("alias=prod", None))


def listed(registry: Registry) -> object:
    return signed_page(registry)


def drawn(registry: Registry) -> object:
    return signed_lineage(registry, describe_impact(registry, "first:1", limit=1).subject)


DELETED = {
    "a source": ("DELETE FROM version_sources WHERE name = 'second'", impact),
    "every source": ("DELETE FROM version_sources", impact),
    "an edge, of a walk": ("DELETE FROM artifact_parents WHERE role = 'start'", near_impact),
    "an edge, of a drawing": ("DELETE FROM artifact_parents WHERE role = 'start'", drawn),
    "a word": ("DELETE FROM facet_words WHERE facet = 'method' AND name = 'second'", of_one_method),
    "a number": ("DELETE FROM facet_numbers WHERE facet = 'rank' AND name = 'second'", by_rank),
    "an alias": ("DELETE FROM aliases", at_the_alias),
    "a name, of a list": ("DELETE FROM versions WHERE name = 'first'", listed),
    "no version, by a count": ("UPDATE row_counts SET counted = counted + 1 WHERE kind = 'version'", listed),
    "a name, of a question": ("DELETE FROM versions WHERE name = 'first'", of_one_method),
}


@pytest.mark.parametrize("deleted", DELETED)
def test_a_list_that_would_be_short_says_so(edited: Callable[[str], Registry], deleted: str) -> None:
    statement, ask = DELETED[deleted]
    registry = edited(statement)
    with pytest.raises(IntegrityBroken) as refused:
        ask(registry)
    assert isinstance(refused.value, RowsMissing | VersionsDiffer)
    assert "registry admin rebuild" in refused.value.fix
    assert check_log(registry).exit_code == 6


def test_sources_that_are_gone_with_their_counts_are_missed_all_the_same(edited: Callable[[str], Registry]) -> None:
    edited("DELETE FROM row_counts WHERE kind = 'source'").close()
    registry = edited("DELETE FROM version_sources")
    with pytest.raises(RowsMissing):
        impact(registry)
    assert check_log(registry).exit_code == 6


def test_what_nobody_edited_is_listed_as_before(edited: Callable[[str], Registry]) -> None:
    registry = edited("SELECT 1")
    for _, ask in DELETED.values():
        ask(registry)
    report = check_log(registry)
    assert (report.contradictions, report.unchecked) == ((), ())


def test_a_recall_reaches_what_rows_have_lost_and_says_that_they_did(edited: Callable[[str], Registry]) -> None:
    registry = edited("DELETE FROM version_sources WHERE name = 'second'")
    done = recall(registry, "first:1", APPROVER, reason="it is harmful")
    assert [version.version for version in done.touched] == ["first:1", "second:1"]
    assert done.touched[1].aliases == ("prod",)
    assert done.lost_rows is not None
    assert "registry admin rebuild" in done.lost_rows
