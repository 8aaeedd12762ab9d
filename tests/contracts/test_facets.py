"""Versions by what they are found by, on each database: what a question gives, page by page, and what it costs."""

import sqlite3
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalog.facets import FEW_ROWS
from peft_registry.registry.database.session import Database
from peft_registry.registry.database.tables import METADATA, facet_words, versions
from peft_registry.registry.intake.where import read_query
from peft_registry.schemas.facets import Facet
from tests.builders.backends import counted_statements
from tests.builders.registered import a_base, a_data_file, a_manifest, digest, on, put_statement, put_version
from tests.contracts.databases import address, database

__all__ = ["address", "database"]  # fixtures

METHODS = ("lora", "ia3", "bottleneck")
FIGURE = "metric[house.pct_stereotype]"


class Shelf:
    """Versions with known facets, and which of them a question should give."""

    def __init__(self) -> None:
        self.facts: dict[tuple[str, int], dict[str, object]] = {}

    def where(self, wanted: Callable[[dict[str, object]], bool]) -> list[str]:
        keys = [key for key, facts in self.facts.items() if wanted(facts)]
        return [f"{name}:{number}" for name, number in sorted(keys)]


def filled(database: Database, count: int = 24) -> Shelf:
    shelf = Shelf()
    bases = (a_base("first"), a_base("second"))
    with database.write() as tx:
        for index in range(count):
            name = ("a", "a-b", "a.b", "b")[index % 4]
            data = tuple(a_data_file(f"data {part}") for part in {index % 3, index % 5})
            manifest = a_manifest(
                f"{index}", method=METHODS[index % 3], base=on(bases[index % 2]), data=data, origin=None
            )
            at = f"2026-03-{1 + index:02}T00:00:00Z"
            version = put_version(tx, name, manifest, at=at)
            facts: dict[str, object] = {
                "name": name,
                "method": METHODS[index % 3],
                "base": digest(f"{('first', 'second')[index % 2]} weights"),
                "data": {digest(f"data {part}") for part in {index % 3, index % 5}},
                "rank": float(2 ** (index % 5)) if index % 4 else None,
                "licence": {"apache-2.0"} | ({"non_commercial"} if index % 3 == 0 else {"unknown"}),
                "figure": index / 10 if index % 2 else None,
                "registered": at,
                "index": index,
                "alias": set(),
            }
            facets = [Facet("licence", word) for word in sorted(facts["licence"])]  # type: ignore[call-overload]
            facets += [] if facts["rank"] is None else [Facet("rank", facts["rank"])]  # type: ignore[arg-type]
            facets += [] if facts["figure"] is None else [Facet(FIGURE, facts["figure"])]  # type: ignore[arg-type]
            key = (version.name, version.number)
            catalog.put_facets(tx, key, registered_at=at, facets=facets)
            shelf.facts[key] = facts
        for name, alias, number in (("a", "champion", 2), ("a", "candidate", 3), ("b", "champion", 1)):
            said = put_statement(tx, digest("1"), f"{name} {alias}")
            catalog.set_alias(
                tx, name=name, alias=alias, number=number, statement_digest=said, at="2026-04-01T00:00:00Z"
            )
            shelf.facts[name, number]["alias"] = {alias}
    return shelf


def pages(database: Database, where: str, sort: str | None = None, limit: int = 100) -> Iterator[str]:
    after = None
    while True:
        with database.read() as tx:
            page = catalog.search_versions(tx, read_query(where, sort), after=after, limit=limit)
        assert len(page.versions) <= limit
        yield from (version.label for version in page.versions)
        after = page.next
        if after is None:
            return


QUESTIONS: list[tuple[str, Callable[[dict[str, object]], bool]]] = [
    ("", lambda facts: True),
    ("name=a", lambda facts: facts["name"] == "a"),
    ("name=a*", lambda facts: str(facts["name"]).startswith("a")),
    ("name=a.b,b", lambda facts: facts["name"] in ("a.b", "b")),
    ("name!=a*", lambda facts: facts["name"] == "b"),
    ("kind=adapter", lambda facts: True),
    ("kind=base", lambda facts: False),
    ("method=ia3", lambda facts: facts["method"] == "ia3"),
    ("method=ia3,lora", lambda facts: facts["method"] in ("ia3", "lora")),
    ("method!=ia3", lambda facts: facts["method"] != "ia3"),
    (f"base={digest('first weights')}", lambda facts: facts["base"] == digest("first weights")),
    (f"base!={digest('first weights')}", lambda facts: facts["base"] != digest("first weights")),
    (f"data={digest('data 2')}", lambda facts: digest("data 2") in facts["data"]),  # type: ignore[operator]
    (
        f"data={digest('data 1')},{digest('data 2')}",
        lambda facts: facts["data"] & {digest("data 1"), digest("data 2")} != set(),  # type: ignore[operator]
    ),
    (
        f"data={digest('data 1')} data={digest('data 2')}",
        lambda facts: {digest("data 1"), digest("data 2")} <= facts["data"],  # type: ignore[operator]
    ),
    (f"data!={digest('data 2')}", lambda facts: digest("data 2") not in facts["data"]),  # type: ignore[operator]
    ("rank=8", lambda facts: facts["rank"] == 8),
    ("rank!=8", lambda facts: facts["rank"] not in (8, None)),
    ("rank<8", lambda facts: facts["rank"] is not None and facts["rank"] < 8),  # type: ignore[operator]
    ("rank<=8", lambda facts: facts["rank"] is not None and facts["rank"] <= 8),  # type: ignore[operator]
    ("rank>4", lambda facts: facts["rank"] is not None and facts["rank"] > 4),  # type: ignore[operator]
    ("rank>=4 rank<16", lambda facts: facts["rank"] in (4, 8)),
    ("size>=1000", lambda facts: True),
    (f"{FIGURE}<0.5", lambda facts: facts["figure"] is not None and facts["figure"] < 0.5),  # type: ignore[operator]
    ("licence=non_commercial", lambda facts: "non_commercial" in facts["licence"]),  # type: ignore[operator]
    ("licence!=non_commercial", lambda facts: "non_commercial" not in facts["licence"]),  # type: ignore[operator]
    ("licence!=non_commercial licence!=unknown", lambda facts: False),
    ("signer=key", lambda facts: True),
    ("signer!=key", lambda facts: False),
    ("alias=champion", lambda facts: "champion" in facts["alias"]),  # type: ignore[operator]
    ("alias=champion,candidate", lambda facts: facts["alias"] != set()),
    ("alias!=champion", lambda facts: "champion" not in facts["alias"]),  # type: ignore[operator]
    ("registered=2026-03-04", lambda facts: facts["index"] == 3),
    ("registered>=2026-03-04", lambda facts: facts["index"] >= 3),  # type: ignore[operator]
    ("registered>2026-03-04", lambda facts: facts["index"] > 3),  # type: ignore[operator]
    ("registered<=2026-03-04", lambda facts: facts["index"] <= 3),  # type: ignore[operator]
    ("registered<2026-03-04", lambda facts: facts["index"] < 3),  # type: ignore[operator]
    ("verdict=not_gpai", lambda facts: False),
    ("limits=held", lambda facts: False),
    ("origin=made", lambda facts: False),
    (
        "method=ia3 rank<=8 licence!=non_commercial registered>=2026-03-03 name=a*",
        lambda facts: (
            facts["method"] == "ia3"
            and facts["rank"] is not None
            and facts["rank"] <= 8  # type: ignore[operator]
            and "non_commercial" not in facts["licence"]  # type: ignore[operator]
            and facts["index"] >= 2  # type: ignore[operator]
            and str(facts["name"]).startswith("a")
        ),
    ),
]


@pytest.mark.parametrize("few", [FEW_ROWS, 0], ids=["few rows are sorted", "in the order of an index"])
def test_every_facet_and_operator_gives_exactly_what_it_names_in_every_order(
    database: Database, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peft_registry.registry.database.catalog.facets.FEW_ROWS", few)
    shelf = filled(database)

    def key(label: str) -> tuple[str, int]:
        name, _, number = label.rpartition(":")
        return name, int(number)

    def by(fact: str) -> Callable[[str], tuple[object, ...]]:
        return lambda label: (shelf.facts[key(label)][fact], *key(label))

    for where, wanted in QUESTIONS:
        expected = shelf.where(wanted)
        assert list(pages(database, where, limit=5)) == expected, where
        assert list(pages(database, where, "-name", limit=6)) == expected[::-1], where
        in_time = sorted(expected, key=by("registered"))
        assert list(pages(database, where, "registered", limit=5)) == in_time, where
        assert list(pages(database, where, "-registered", limit=100)) == in_time[::-1], where
        ranked = [label for label in expected if shelf.facts[key(label)]["rank"] is not None]
        assert list(pages(database, where, "rank", limit=6)) == sorted(ranked, key=by("rank")), where
        assert list(pages(database, where, "-rank", limit=5)) == sorted(ranked, key=by("rank"))[::-1], where


@pytest.mark.parametrize("sort", ["name", "-registered", "rank"])
def test_a_version_registered_between_two_pages_moves_no_other(database: Database, sort: str) -> None:
    filled(database)
    question = read_query("method=lora", sort)
    before = list(pages(database, "method=lora", sort))
    with database.read() as tx:
        first = catalog.search_versions(tx, question, limit=3)
    with database.write() as tx:
        for number, name in enumerate(("a", "0", "zz")):
            at = f"2026-03-0{number + 1}T12:00:00Z"
            version = put_version(tx, name, a_manifest(f"in between {number}"), at=at)
            catalog.put_facets(tx, (name, version.number), registered_at=at, facets=[Facet("rank", 4.0)])
    with database.read() as tx:
        rest = catalog.search_versions(tx, question, after=first.next)
    seen = [version.label for version in (*first.versions, *rest.versions)]
    assert [label for label in seen if label in before] == before
    assert len(seen) == len(set(seen))


def test_the_values_of_columns_come_with_the_versions(database: Database) -> None:
    shelf = filled(database)
    with database.read() as tx:
        values = catalog.facets_of_versions(tx, list(shelf.facts), ["rank", "licence", FIGURE])
    for key, facts in shelf.facts.items():
        assert set(values[key]["licence"]) == facts["licence"]
        assert values[key].get("rank", (None,)) == (facts["rank"],)
        assert values[key].get(FIGURE, (None,)) == (facts["figure"],)


def test_the_figures_that_there_are_are_named_however_many_versions_have_them(database: Database) -> None:
    filled(database)
    with database.read() as tx:
        assert catalog.figures(tx) == (FIGURE,)
        assert catalog.has_figure(tx, FIGURE)
        assert not catalog.has_figure(tx, "metric[house.other]")


def test_the_words_that_there_are_are_named_however_many_versions_have_them(database: Database) -> None:
    filled(database)
    with database.read() as tx:
        assert catalog.known_words(tx, "method") == tuple(sorted(METHODS))
        assert catalog.known_words(tx, "alias") == ("candidate", "champion")
        assert catalog.known_words(tx, "project") == ()
        assert catalog.is_known_word(tx, "method", "ia3") and not catalog.is_known_word(tx, "method", "ia4")
        assert catalog.is_known_word(tx, "alias", "champion") and not catalog.is_known_word(tx, "alias", "lora")


def test_rows_of_a_version_that_is_recorded_whole_again_replace_the_others(database: Database) -> None:
    filled(database)
    with database.write() as tx:
        catalog.replace_facets(tx, ("a", 1), registered_at="2026-03-01T00:00:00Z", facets=[Facet("method", "dora")])
        words = tx.execute(select(facet_words.c.word).where(facet_words.c.name == "a", facet_words.c.number == 1))
        assert words.scalars().all() == ["dora"]


SORTS = (None, "-name", "registered", "-registered", "rank", "-rank")


# how many statements are asked is decided before either database; what they give on each says the test of every facet
@pytest.mark.parametrize("address", ["sqlite", pytest.param("postgresql", marks=pytest.mark.full)], indirect=True)
@pytest.mark.parametrize("few", [FEW_ROWS, 0])
def test_every_page_is_read_by_an_index_and_by_as_many_statements_among_more_versions(
    database: Database, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peft_registry.registry.database.catalog.facets.FEW_ROWS", few)
    filled(database, 16)

    def asked() -> dict[tuple[str, str | None], list[str]]:
        statements = {}
        for where, _ in QUESTIONS:
            for sort in SORTS:
                with database.read() as tx, counted_statements() as executed:
                    page = catalog.search_versions(tx, read_query(where, sort), after=None, limit=2)
                    if page.next is not None:
                        catalog.search_versions(tx, read_query(where, sort), after=page.next, limit=2)
                statements[where, sort] = executed
        return statements

    asked_among_few = asked()
    with database.write() as tx:
        for index in range(40):
            put_version(tx, "c", a_manifest(f"more {index}", method=METHODS[index % 3]), at="2026-05-01T00:00:00Z")
    for question, statements in asked().items():
        assert len(statements) <= 8, question
        assert len(statements) <= max(len(asked_among_few[question]), 8), question
    if database.dialect == "sqlite":
        require_no_walks(database)


def require_no_walks(database: Database) -> None:
    """Every statement searches by an index, or follows one in its order until the page is full."""
    traced: list[str] = []
    with database.read() as tx:
        connection = tx.connection.dbapi_connection
        assert isinstance(connection, sqlite3.Connection)
        connection.set_trace_callback(traced.append)
        for where, _ in QUESTIONS:
            for sort in SORTS:
                page = catalog.search_versions(tx, read_query(where, sort), limit=2)
                if page.next is not None:
                    catalog.search_versions(tx, read_query(where, sort), after=page.next, limit=2)
        connection.set_trace_callback(None)
        plans = {
            statement: [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            for statement in set(traced)
            if statement.startswith("SELECT")
        }
    assert len(plans) > 100
    for statement, plan in plans.items():
        for line in plan:
            followed = "USING" in line and "INDEX" in line and "LIMIT" in statement
            is_walk = line.startswith("SCAN") and line.split()[1] in METADATA.tables
            assert followed or not is_walk, f"{line}: {statement}"


def steps(tx: catalog.Transaction, question: Callable[[], object]) -> int:
    """How many instructions of SQLite's virtual machine a question takes, in tens."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    connection = tx.connection.dbapi_connection
    assert isinstance(connection, sqlite3.Connection)
    connection.set_progress_handler(step, 10)
    try:
        question()
    finally:
        connection.set_progress_handler(None, 0)
    return count


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_a_page_costs_no_more_among_twelve_times_as_many_versions(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # so few that what is many here is many beside them
    monkeypatch.setattr("peft_registry.registry.database.catalog.facets.FEW_ROWS", 10)

    def add(first: int, last: int) -> None:
        with database.write() as tx:
            for index in range(first, last):
                manifest = a_manifest(f"{index}", method=METHODS[index % 2], data=(a_data_file(f"data {index % 2}"),))
                version = put_version(tx, f"n{index % 7}", manifest, at=f"2026-03-{1 + index % 28:02}T00:00:00Z")
                facets = [Facet("rank", float(2 ** (index // 3 % 5))), Facet(FIGURE, (index * 37 % 101) / 101)]
                key = (version.name, version.number)
                catalog.put_facets(tx, key, registered_at=version.registered_at, facets=facets)

    questions = [
        "method=lora",
        "method!=lora",
        f"data={digest('data 1')}",
        "rank<=2",
        f"{FIGURE}<0.5",
        "registered>=2026-03-10",
        "signer=key",
        "kind=adapter",
        "method=lora rank<=4",
        "method=bottleneck",
    ]

    def costs() -> dict[tuple[str, str | None], int]:
        with database.read() as tx:
            return {
                (where, sort): steps(
                    tx, lambda where=where, sort=sort: catalog.search_versions(tx, read_query(where, sort), limit=10)
                )  # type: ignore[misc]
                for where in questions
                for sort in (None, "-registered", "rank", FIGURE)
            }

    add(0, 50)
    few = costs()
    add(50, 600)
    many = costs()
    assert {question: (cost, many[question]) for question, cost in few.items() if many[question] > 2 * cost + 60} == {}
    with database.read() as tx:
        assert tx.execute(select(versions.c.name).limit(1)).scalar_one()
