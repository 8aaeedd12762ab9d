"""Lineage on each database: by digest, whatever was registered first."""

import itertools

import pytest

from peft_registry.registry.database.catalog.graph import Below, versions_below, versions_of_sources
from peft_registry.registry.database.session import Database
from peft_registry.registry.records.lineage import ancestors_of, lineage_of, mermaid_lines, tree_lines
from peft_registry.schemas.lineage import Lineage
from peft_registry.schemas.manifest import Manifest, Parent
from tests.builders.registered import (
    a_base,
    a_data_file,
    a_manifest,
    digest,
    on,
    parent,
    put_artifact,
    put_version,
    registered,
)
from tests.contracts.databases import address, database

__all__ = ["address", "database"]  # fixtures

BASE = a_base("base")
LEFT = a_manifest("left", base=on(BASE), data=(a_data_file("rows"),), parents=(parent("base", BASE),))
RIGHT = a_manifest("right", method="ia3", base=on(BASE))
MERGED = a_manifest(
    "merged",
    kind="model",
    layout="model",
    method=None,
    base=on(BASE),
    parents=(parent("adapter", LEFT), parent("adapter", RIGHT)),
)
DIAMOND = {"base": BASE, "left": LEFT, "right": RIGHT, "merged": MERGED}


def lineage(database: Database, manifest: Manifest, direction: str = "both") -> Lineage:
    with database.read() as tx:
        return lineage_of(tx, focus=manifest.canonical_digest(), direction=direction)  # type: ignore[arg-type]


def edges(graph: Lineage) -> set[tuple[str, str, str]]:
    label = {node.digest: node.label for node in graph.nodes}
    return {(label[edge.source], label[edge.target], edge.role) for edge in graph.edges}


def labels(graph: Lineage) -> set[str]:
    return {node.label for node in graph.nodes}


ALL_EDGES = {
    ("base:1", "left:1", "base"),
    ("base:1", "right:1", "base"),
    ("base:1", "merged:1", "base"),
    ("left:1", "merged:1", "adapter"),
    ("right:1", "merged:1", "adapter"),
    ("rows.jsonl", "left:1", "data"),
}


def test_a_diamond_from_its_end_whatever_was_registered_first(database: Database) -> None:
    for name, manifest in reversed(DIAMOND.items()):
        registered(database, name, manifest)
    graph = lineage(database, MERGED)
    assert edges(graph) == ALL_EDGES
    assert len(graph.edges) == len(ALL_EDGES)
    place = {node.label: at for at, node in enumerate(graph.nodes)}
    assert len(place) == 5
    for source, target, _ in ALL_EDGES:
        assert place[source] < place[target]
    kinds = {node.label: (node.kind, node.registered, node.detail) for node in graph.nodes}
    assert kinds["left:1"] == ("adapter", True, "lora")
    assert kinds["base:1"] == ("base", True, "")
    assert kinds["rows.jsonl"] == ("data", False, "")


def test_the_graph_depends_on_digests_only(database: Database) -> None:
    with database.write() as tx:
        for name, manifest in DIAMOND.items():
            put_version(tx, name, manifest)
    first = lineage(database, MERGED)
    with database.write() as tx:
        for manifest in reversed(DIAMOND.values()):
            put_artifact(tx, manifest)  # again: adds no edge
    assert lineage(database, MERGED) == first


def test_from_a_side_of_the_diamond_the_other_side_is_not_shown(database: Database) -> None:
    for name, manifest in DIAMOND.items():
        registered(database, name, manifest)
    assert labels(lineage(database, LEFT)) == {"base:1", "rows.jsonl", "left:1", "merged:1"}
    assert labels(lineage(database, LEFT, "ancestors")) == {"base:1", "rows.jsonl", "left:1"}
    assert labels(lineage(database, LEFT, "descendants")) == {"left:1", "merged:1"}
    assert labels(lineage(database, BASE, "ancestors")) == {"base:1"}


def test_data_and_bases_name_everything_they_went_into(database: Database) -> None:
    for name, manifest in DIAMOND.items():
        registered(database, name, manifest)
    left, right, merged = (one.canonical_digest() for one in (LEFT, RIGHT, MERGED))
    with database.read() as tx:
        for focus, led_to in (
            (digest("rows"), {left, merged}),
            (BASE.canonical_digest(), {left, right, merged}),
            (merged, set()),
        ):
            below = lineage_of(tx, focus=focus, direction="descendants")
            assert {node.digest for node in below.nodes} - {focus} == led_to
        assert set(ancestors_of(tx, merged)) == {BASE.canonical_digest(), left, right, digest("rows")}
        assert ancestors_of(tx, BASE.canonical_digest()) == ()
        from_data = lineage_of(tx, focus=digest("rows"))
    assert labels(from_data) == {"rows.jsonl", "left:1", "merged:1"}


def test_a_parent_that_nobody_registered_is_shown_as_unknown(database: Database) -> None:
    elsewhere = Parent(role="model", manifest=digest("elsewhere"))
    registered(database, "tutor", a_manifest("tutor", parents=(elsewhere,)))
    graph = lineage(database, a_manifest("tutor", parents=(elsewhere,)))
    (unknown,) = (node for node in graph.nodes if node.label != "tutor:1")
    assert (unknown.digest, unknown.kind, unknown.registered) == (digest("elsewhere"), "unknown", False)
    assert unknown.detail == "named as model"


def test_an_artifact_without_a_name_is_told_from_one_with(database: Database) -> None:
    with database.write() as tx:
        put_artifact(tx, BASE)
        put_version(tx, "left", LEFT)
    nodes = {node.digest: node for node in lineage(database, LEFT).nodes}
    base = nodes[BASE.canonical_digest()]
    assert (base.kind, base.registered, base.label) == ("base", False, BASE.canonical_digest().short)


def test_a_digest_that_nobody_knows_is_a_graph_of_one(database: Database) -> None:
    with database.read() as tx:
        graph = lineage_of(tx, focus=digest("nothing"))
    assert [node.kind for node in graph.nodes] == ["unknown"]
    assert graph.edges == ()


@pytest.mark.parametrize("order", list(itertools.permutations(["base", "imported"])))
def test_what_was_imported_alone_hangs_on_the_base_with_its_weights(database: Database, order: tuple[str, ...]) -> None:
    manifests = {"base": BASE, "imported": a_manifest("imported", base=on(BASE, known=False))}
    for name in order:
        registered(database, name, manifests[name])
    assert edges(lineage(database, BASE)) == {("base:1", "imported:1", "base")}


def test_a_long_chain_is_walked_in_both_directions(database: Database) -> None:
    chain = [a_manifest("0")]
    for at in range(1, 160):
        chain.append(a_manifest(f"{at}", parents=(parent("model", chain[-1]),)))
    with database.write() as tx:
        for manifest in chain:
            put_artifact(tx, manifest)
    graph = lineage(database, chain[80])
    assert [node.digest for node in graph.nodes] == [manifest.canonical_digest() for manifest in chain]


def test_the_tree_shows_each_source_and_opens_a_node_once(database: Database) -> None:
    for name, manifest in DIAMOND.items():
        registered(database, name, manifest)
    assert tree_lines(lineage(database, LEFT)) == [
        "base:1  base",
        "└─ left:1  adapter  lora  ◀",
        "   └─ merged:1  model",
        "rows.jsonl  data",
        "└─ left:1  adapter  lora  (above)  ◀",
    ]


@pytest.mark.parametrize("manifest", [BASE, LEFT, MERGED], ids=["base", "left", "merged"])
def test_level_by_level_reads_what_one_walk_reads(database: Database, manifest: Manifest) -> None:
    for name, other in DIAMOND.items():
        registered(database, name, other)
    focus = manifest.canonical_digest()
    with database.read() as tx:
        assert lineage_of(tx, focus=focus, depth=99, limit=99) == lineage_of(tx, focus=focus)


def test_depth_ends_the_graph_and_a_limit_ends_what_is_below(database: Database) -> None:
    for name, other in DIAMOND.items():
        registered(database, name, other)
    base, merged = BASE.canonical_digest(), MERGED.canonical_digest()
    with database.read() as tx:
        assert labels(lineage_of(tx, focus=merged, depth=1)) == {"base:1", "left:1", "right:1", "merged:1"}
        assert labels(lineage_of(tx, focus=digest("rows"), depth=1)) == {"rows.jsonl", "left:1"}
        assert len(lineage_of(tx, focus=base, limit=2).edges) == 2
        assert lineage_of(tx, focus=base, limit=2) == lineage_of(tx, focus=base, limit=2)
        # what something was made from is never left out
        assert labels(lineage_of(tx, focus=merged, limit=1)) == labels(lineage_of(tx, focus=merged))


@pytest.mark.parametrize(
    ("depth", "count"), [(1, 1), (2, 2), (None, 2)], ids=["what was trained", "and one step", "all the way"]
)
def test_versions_below_data_are_followed_as_deep_as_asked(database: Database, depth: int | None, count: int) -> None:
    for name, other in DIAMOND.items():
        registered(database, name, other)
    with database.read() as tx:
        below = versions_below(tx, [digest("rows")], limit=9, depth=depth)
    assert below.count == count


ALONE = a_manifest("alone", base=on(BASE, known=False), data=(a_data_file("other-rows"),))
FURTHER = a_manifest("further", base=on(BASE), parents=(parent("start", ALONE),))
FAMILY = DIAMOND | {"alone": ALONE, "further": FURTHER}


@pytest.mark.parametrize(
    "names",
    [tuple(FAMILY), tuple(reversed(FAMILY)), ("merged", "further", "base", "alone", "left", "right")],
    ids=["sources first", "sources last", "in between"],
)
def test_what_each_version_was_made_from_is_recorded_whatever_was_registered_first(
    database: Database, names: tuple[str, ...]
) -> None:
    for name in names:
        registered(database, name, FAMILY[name])
    sources = [*(manifest.canonical_digest() for manifest in FAMILY.values()), digest("rows"), digest("other-rows")]
    with database.read() as tx:
        for source in sources:
            assert versions_of_sources(tx, [source], limit=9) == versions_below(tx, [source], limit=9)
        assert versions_of_sources(tx, sources, limit=2) == versions_below(tx, sources, limit=2)
        below = versions_of_sources(tx, [BASE.canonical_digest()], limit=2)
    assert (below.count, [version.label for version in below.first]) == (6, ["alone:1", "base:1"])


def test_a_second_name_of_an_artifact_counts_as_what_it_was_made_from_does(database: Database) -> None:
    for name, manifest in DIAMOND.items():
        registered(database, name, manifest)
    registered(database, "again", LEFT)
    with database.read() as tx:
        below = versions_of_sources(tx, [digest("rows")], limit=9)
    assert [version.label for version in below.first] == ["again:1", "left:1", "merged:1"]
    assert below == Below(3, below.first, (), 0)


def test_a_page_of_markdown_draws_it_and_reads_no_name_as_its_own(database: Database) -> None:
    for name, other in DIAMOND.items():
        registered(database, name, other)
    with database.read() as tx:
        graph = lineage_of(tx, focus=MERGED.canonical_digest())
    drawn = mermaid_lines(graph)
    assert drawn[0] == "flowchart LR"
    assert sum("-->" in line for line in drawn) == len(graph.edges)
    hostile = graph.nodes[0].revised(label='x"]; click n0 "javascript:alert(1)" <b>\n')
    text = "\n".join(mermaid_lines(graph.revised(nodes=(hostile, *graph.nodes[1:]))))
    assert text.count('"') == 2 * len(graph.nodes) and "<" not in text and "\n\n" not in text
