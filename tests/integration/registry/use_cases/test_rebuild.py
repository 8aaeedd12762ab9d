"""`registry admin rebuild`: each table that repeats the log is emptied and made again, row for row, on SQLite and PostgreSQL."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from peft_registry.registry.database.catalogue_rows import REPEATING
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.rebuild import RebuildRefused, rebuild
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.register import NewArtifact, register_version
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Parent
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.homes import NOW, adapter_files, base_files, reopened
from tests.builders.lineage import register_graph
from tests.builders.made import reference_of, trained_artifact
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

pytestmark = pytest.mark.sql

APPROVER = a_p256_key(7)


def fill(registry: Registry, folder: Path) -> None:
    """Bases, adapters, one of them of a data file, merges, evaluations and aliases that moved; a recall."""
    graph = register_graph(registry, folder / "made", nodes=6, seed=4)
    origin = BaseOrigin(format="huggingface", source="other")
    base = add_base(registry, base_files(folder / "other", seed=9), name="other", origin=origin)
    register_version(registry, of_data(folder / "of-data", base))
    listed = a_trusted_key(APPROVER, person="alex", role="approver", predicate_types=None)
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, listed))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))
    with closing(reopened(registry.folder)) as again:
        recall(again, list(graph.versions)[-1], APPROVER, reason="it is harmful")


_ROWS = DataIdentity(name="rows.jsonl", format="jsonl", sha256=Digest.of(b"rows"), bytes=4, rows_total=1, selections=())


def of_data(folder: Path, base: AddedBase) -> NewArtifact:
    adapter_files(folder, value=0.125)
    base_manifest = base.version.manifest_digest
    manifest = manifest_of_folder(
        folder,
        kind="adapter",
        layout="peft",
        method="lora",
        base=reference_of(base),
        parents=(Parent(role="base", manifest=base_manifest),),
        data=(_ROWS,),
    )
    return trained_artifact("of-data", folder, manifest, base, b"# of data\n")


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def home(made: MadeHome, tmp_path: Path) -> MadeHome:
    return made.copy(tmp_path / "home")


@pytest.fixture
def registry(home: MadeHome) -> Iterator[Registry]:
    registry = open_home(home.folder, clock=lambda: NOW, check_log=False)
    yield registry
    registry.close()


def rows_of(registry: Registry) -> dict[str, list[str]]:
    with registry.database.read() as tx:
        return {table.name: sorted(repr(tuple(row)) for row in tx.execute(select(table))) for table in REPEATING}


@pytest.mark.parametrize(
    "share", [pytest.param(0, id="a third"), pytest.param(1, id="the others", marks=pytest.mark.full)]
)
def test_every_table_is_made_again_row_for_row(home: MadeHome, registry: Registry, share: int) -> None:
    """Each by itself; on every change a third of them, and in `test_all_of_them…` all at once."""
    before = rows_of(registry)
    assert all(before.values())
    for table in (table for number, table in enumerate(REPEATING) if bool(number % 3) == bool(share)):
        with home.rows() as rows:
            rows.run(f"DELETE FROM {table.name}")
        done = rebuild(registry)
        assert rows_of(registry) == before, table.name
        assert table.name in {changed.table for changed in done.changed}
    assert rebuild(registry).changed == ()
    assert check_log(registry).exit_code == 0


def test_all_of_them_are_made_again_at_once_and_the_home_opens(home: MadeHome, registry: Registry) -> None:
    before = rows_of(registry)
    with home.rows() as rows:
        for table in REPEATING:
            rows.run(f"DELETE FROM {table.name}")
    rebuild(registry)
    assert rows_of(registry) == before
    home.opened().close()


def test_a_log_that_contradicts_itself_makes_no_catalogue(home: MadeHome, registry: Registry) -> None:
    before = rows_of(registry)
    with home.rows() as rows:
        rows.run("DELETE FROM statements WHERE log_index = 3")
    with pytest.raises(RebuildRefused, match="entry 3"):
        rebuild(registry)
    assert rows_of(registry) == before
