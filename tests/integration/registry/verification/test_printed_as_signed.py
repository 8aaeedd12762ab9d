"""What `show`, `list`, `lineage`, the report and MLflow print of a version is what was signed and logged, or nothing (6)."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry, utc_now
from peft_registry.registry.mlflow.projected_versions import VersionLoader
from peft_registry.registry.mlflow.version_rows import VersionName
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.verification.signed_versions import signed_lineage, signed_page
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from tests.builders.backends import BACKENDS, MadeHome, Rows, make_on
from tests.builders.homes import register_adapter
from tests.builders.mirror import projection_of

OTHER = str(Digest.of(b"other"))


def fill(registry: Registry, folder: Path) -> None:
    first, second = (register_adapter(registry, folder, value=value) for value in (0.25, 0.5))
    set_alias(registry, first, "champion")
    set_alias(registry, second, "challenger")


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def home(made: MadeHome, tmp_path: Path) -> MadeHome:
    return made.copy(tmp_path / "home")


def listed(registry: Registry) -> object:
    return signed_page(registry).versions


def shown(registry: Registry) -> object:
    return describe_version(registry, "helper:1").to_json()


def drawn(registry: Registry) -> object:
    return signed_lineage(registry, version_named(registry, "helper:1").manifest_digest)


def reported(registry: Registry) -> object:
    return make_report(registry, version_named(registry, "helper:1"))


def mirrored(registry: Registry) -> object:
    return projection_of(registry, VersionName("helper", 1)).digest


def mirrored_with_others(registry: Registry) -> object:
    """The same, where other versions are read in the same transaction and what was proven for them counts."""
    entries = [VersionName(name, number) for name, number in (("tiny", 1), ("helper", 2), ("helper", 1))]
    loader = VersionLoader(registry)
    loader.read_ahead(entries)
    return loader.load(entries[-1]).digest


READERS: tuple[Callable[[Registry], object], ...] = (
    listed,
    shown,
    drawn,
    reported,
    mirrored,
    mirrored_with_others,
)
OF_VERSION = frozenset({listed, shown, reported, mirrored, mirrored_with_others})
OF_ARTIFACT = frozenset(READERS)
OF_STATEMENT = frozenset({shown, reported, mirrored, mirrored_with_others})


def column(table: str, name: str, value: object) -> Callable[[Rows], None]:
    where = {"versions": "name = 'helper' AND number = 1", "statements": "kind = 'modification'"}
    chosen = where.get(
        table, "manifest_digest = (SELECT manifest_digest FROM versions WHERE name = 'helper' AND number = 1)"
    )

    def edit(rows: Rows) -> None:
        assert rows.run(f"UPDATE {table} SET {name} = :value WHERE {chosen}", value=value).rowcount

    return edit


def a_parent_that_nobody_signed(rows: Rows) -> None:
    rows.run(
        "INSERT INTO artifact_parents (child, parent, role) SELECT manifest_digest, :other, 'adapter' FROM versions"
        " WHERE name = 'helper' AND number = 1",
        other=OTHER,
    )


def no_parent(rows: Rows) -> None:
    rows.run("DELETE FROM artifact_parents")


def other_data(rows: Rows) -> None:
    rows.run(
        "INSERT INTO artifact_data (manifest_digest, sha256, name) SELECT manifest_digest, :other, 'clean.jsonl' FROM versions"
        " WHERE name = 'helper' AND number = 1",
        other=OTHER,
    )


def one_removed(rows: Rows) -> None:
    rows.run("DELETE FROM aliases")
    rows.run("DELETE FROM alias_events")
    rows.run("DELETE FROM versions WHERE name = 'helper' AND number = 2")


def no_artifact(rows: Rows) -> None:
    rows.run(
        "DELETE FROM artifacts WHERE manifest_digest ="
        " (SELECT manifest_digest FROM versions WHERE name = 'helper' AND number = 1)"
    )


def another_card(rows: Rows) -> None:
    rows.run("UPDATE artifacts SET card_digest = signature_digest WHERE kind = 'adapter'")


def no_card(rows: Rows) -> None:
    rows.run("UPDATE artifacts SET card_digest = NULL WHERE kind = 'adapter'")


EDITS: dict[str, tuple[Callable[[Rows], None], frozenset[Callable[[Registry], object]]]] = {
    "kind of the version": (column("versions", "kind", "model"), OF_VERSION),
    "kind of the artifact": (column("artifacts", "kind", "model"), OF_ARTIFACT),
    "layout": (column("artifacts", "layout", "model"), OF_ARTIFACT),
    "method of the version": (column("versions", "method", "ia3"), OF_VERSION),
    "method of the artifact": (column("artifacts", "method", "ia3"), OF_ARTIFACT),
    "size": (column("artifacts", "size_bytes", 1), OF_ARTIFACT),
    "weights": (column("artifacts", "weights_digest", OTHER), OF_ARTIFACT),
    "base": (column("artifacts", "base_manifest", OTHER), OF_ARTIFACT),
    "base weights": (column("versions", "base_weights", OTHER), OF_VERSION),
    "time": (column("versions", "registered_at", "2020-01-01T00:00:00Z"), OF_ARTIFACT),
    "signer": (column("versions", "key_id", "00" * 32), OF_ARTIFACT),
    "label": (column("versions", "number", 7), OF_ARTIFACT),
    "file": (column("artifact_files", "size", 1), OF_ARTIFACT),
    "a removed version": (one_removed, OF_VERSION),
    "a removed artifact": (no_artifact, OF_ARTIFACT),
    "a parent": (a_parent_that_nobody_signed, OF_ARTIFACT),
    "no parent": (no_parent, OF_ARTIFACT),
    "data": (other_data, OF_ARTIFACT),
    "kind of a statement": (column("statements", "kind", "approval"), OF_STATEMENT | {listed}),
    "time of a statement": (column("statements", "appended_at", "2020-01-01T00:00:00Z"), OF_STATEMENT),
    "signer of a statement": (column("statements", "key_id", "00" * 32), OF_STATEMENT),
    "card": (another_card, frozenset({reported, mirrored, mirrored_with_others})),
    "no card": (no_card, frozenset({reported, mirrored, mirrored_with_others})),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_row_is_not_printed_as_if_it_was_signed(home: MadeHome, name: str) -> None:
    edit, readers = EDITS[name]
    registry = home.opened()
    before = {read: read(registry) for read in READERS}
    registry.close()
    with home.rows() as rows:
        edit(rows)
    registry = home.opened()
    for read in READERS:
        if read in readers:
            with pytest.raises(IntegrityBroken):
                read(registry)
        elif read is not listed or name not in ("card", "no card"):
            assert read(registry) == before[read], "it does not print what was edited"
    registry.close()


def another_kind(rows: Rows) -> None:
    rows.run("UPDATE versions SET kind = 'model' WHERE name = 'helper' AND number = 1")


def the_artifact_of_another_kind(rows: Rows) -> None:
    """The whole row of the version repeats what another artifact is, of which it now is a version."""
    rows.run(
        "UPDATE versions SET kind = 'base', method = NULL, base_weights = NULL, manifest_digest ="
        " (SELECT manifest_digest FROM artifacts WHERE kind = 'base') WHERE name = 'helper' AND number = 1"
    )


@pytest.mark.parametrize("edit", [another_kind, the_artifact_of_another_kind], ids=lambda edit: edit.__name__)
@pytest.mark.parametrize("kind", ["adapter", "base", "model", "bundle"])
def test_a_version_that_an_edited_row_moves_to_another_kind_is_named_in_a_list_of_any_kind(
    home: MadeHome, edit: Callable[[Rows], None], kind: str
) -> None:
    with home.rows() as rows:
        edit(rows)
    registry = home.opened()
    with pytest.raises(IntegrityBroken, match="helper:1"):
        signed_page(registry, kind=kind)
    registry.close()


def test_a_version_that_was_removed_is_missed_in_a_list_of_another_kind(home: MadeHome) -> None:
    with home.rows() as rows:
        one_removed(rows)
    registry = home.opened()
    with pytest.raises(IntegrityBroken, match="registers a version of it that has no row"):
        signed_page(registry, kind="base")
    registry.close()


def test_a_list_of_a_kind_is_what_was_signed_page_by_page(home: MadeHome) -> None:
    registry = home.opened()
    pages = [signed_page(registry, kind="adapter", limit=1)]
    while pages[-1].next is not None:
        pages.append(signed_page(registry, kind="adapter", limit=1, after=pages[-1].next))
    assert [[version.label for version in page.versions] for page in pages] == [["helper:1"], ["helper:2"]]
    assert [version.label for version in signed_page(registry, kind="base").versions] == ["tiny:1"]
    assert signed_page(registry, kind="bundle").versions == ()
    assert signed_page(registry, kind="adapter", name_prefix="tin").versions == ()
    registry.close()


def test_a_short_list_of_a_kind_reads_no_further_than_its_next_page(home: MadeHome) -> None:
    with home.rows() as rows:
        rows.run("UPDATE versions SET kind = 'model' WHERE name = 'tiny'")  # the last one by name
    registry = home.opened()
    page = signed_page(registry, kind="adapter", limit=1)
    assert [version.label for version in page.versions] == ["helper:1"] and page.next == ("helper", 1)
    with pytest.raises(IntegrityBroken, match="tiny:1"):
        signed_page(registry, kind="adapter", limit=1, after=page.next)
    registry.close()


def test_a_descendant_that_nobody_registered_is_not_drawn(home: MadeHome) -> None:
    with home.rows() as rows:
        rows.run(
            "INSERT INTO artifact_parents (child, parent, role) SELECT :other, manifest_digest, 'adapter' FROM versions"
            " WHERE name = 'helper' AND number = 1",
            other=OTHER,
        )
    registry = home.opened()
    with pytest.raises(IntegrityBroken, match="has no such artifact"):
        drawn(registry)
    registry.close()


def move_the_alias(rows: Rows) -> None:
    rows.run("UPDATE aliases SET number = 2 WHERE alias = 'champion'")


def remove_the_alias(rows: Rows) -> None:
    rows.run("DELETE FROM aliases")


def plant_an_alias(rows: Rows) -> None:
    rows.run("INSERT INTO aliases (name, alias, number, event_id) VALUES ('helper', 'approved', 1, 1)")


@pytest.mark.parametrize("edit", [move_the_alias, remove_the_alias, plant_an_alias], ids=lambda edit: edit.__name__)
@pytest.mark.parametrize("read", [listed, shown, mirrored, mirrored_with_others], ids=lambda read: read.__name__)
def test_aliases_are_printed_as_the_log_has_them(
    home: MadeHome, edit: Callable[[Rows], None], read: Callable[[Registry], object]
) -> None:
    registry = home.opened()
    before = read(registry)
    registry.close()
    with home.rows() as rows:
        edit(rows)
    registry = home.opened()
    assert read(registry) == before
    registry.close()


def test_the_commands_end_with_6_where_a_row_was_edited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.builders.homes import a_home

    with a_home(tmp_path / "home", now=utc_now()) as registry:
        register_adapter(registry, tmp_path)
    home = MadeHome(tmp_path / "home")
    where = ["--home", str(home.folder)]
    commands = (["list"], ["show", "helper:1"], ["lineage", "helper:1"], ["list", "-o", "json"])
    for command in commands:
        assert run([*command, *where]) == 0
    with home.rows() as rows:
        rows.run("UPDATE artifacts SET method = 'unbiased' WHERE kind = 'adapter'")
    capsys.readouterr()
    for command in commands:
        assert run([*command, *where]) == 6
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "method" in printed.err


def test_no_alias_is_hidden_by_exchanging_the_text_of_its_move(home: MadeHome) -> None:
    """Its row still names what was logged, and the text in it moves another alias."""
    move = "kind = 'alias' AND log_index = (SELECT {}(log_index) FROM statements WHERE kind = 'alias')"
    with home.rows() as rows:
        other = f"(SELECT envelope FROM statements WHERE {move.format('max')})"
        rows.run(f"UPDATE statements SET envelope = {other} WHERE {move.format('min')}")
    with closing(home.opened()) as registry, pytest.raises(IntegrityBroken) as refused:
        listed(registry)
    assert "is not what was logged" in refused.value.why


def test_the_lineage_of_a_base_ends_where_it_is_asked_to_and_counts_the_rest(
    home: MadeHome, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(home.opened()) as registry:
        base = version_named(registry, "tiny").manifest_digest
        whole, cut = signed_lineage(registry, base), signed_lineage(registry, base, limit=1)
    assert (len(whole.edges), whole.rest) == (2, 0)
    assert (len(cut.edges), cut.rest) == (1, 1)
    at = ("--home", str(home.folder))
    assert run(["lineage", "tiny", "--limit", "1", *at]) == 0
    printed = capsys.readouterr()
    assert "and 1 more version below" in printed.out and "helper@challenger, helper@champion" in printed.err
    assert run(["lineage", "tiny", "--output", "svg", *at]) == 0
    assert capsys.readouterr().out.startswith("<svg")
    assert run(["lineage", "tiny", "--output", "mermaid", *at]) == 0
    assert capsys.readouterr().out.startswith("flowchart LR")
    assert run(["lineage", "impact", "tiny", "--depth", "1", "--output", "json", *at]) == 0
    assert '"count": 2' in capsys.readouterr().out
