"""The schema of a database, held against what the revisions make of one, before anything else of the database is read.

A view in the place of a table can make every read take time without bound, and a trigger can change or delete rows while somebody
else writes. So the schema is read from the catalogue of the database, in one query that runs neither. What revisions make stands
in `schema_of_revisions.json`: objects, the digests of their definitions, and the revisions that have them. A contract test runs the
revisions on both databases and holds that file against them.

On a server the schema may hold tables of others: what counts is what our names mean for whoever is connected.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from peft_registry.registry.database.tables import READABLE_REVISIONS
from peft_registry.schemas.errors import IntegrityBroken

if TYPE_CHECKING:
    from sqlalchemy import Connection

REVISIONS_FILE = Path(__file__).parent / "schema_of_revisions.json"
_VERSION_TABLE = ("table", "alembic_version")
# hexadecimal digits: enough to see a change; a definition made to collide would have to be of use to whoever planted it, too
_DIGEST_LENGTH = 16

# SQLite makes its own tables and the indexes of constraints; a trigger or a view that is called so was written into the schema by
# hand, and is run like any other
_OF_SQLITE = text("""
SELECT type, name, tbl_name, sql FROM sqlite_master
WHERE NOT (type = 'table' AND name LIKE 'sqlite\\_%' ESCAPE '\\') AND NOT (type = 'index' AND sql IS NULL)
""")
# as both databases spell it: of columns alone
_PLAIN_INDEX = re.compile(r'CREATE INDEX \S+ ON \S+ (?:USING btree )?\("?\w+"?(?: DESC)?(?:, "?\w+"?(?: DESC)?)*\)')
_DECIDING_INDEX = "unique or computed index"
_OF_POSTGRESQL = text("""
WITH ours AS (
    SELECT c.oid, c.relname, c.relkind, c.relrowsecurity
    FROM unnest(CAST(:names AS text[])) AS given (name) JOIN pg_class c ON c.oid = to_regclass(given.name)
)
SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'view' ELSE 'relation' END,
    relname, relname, concat_ws(E'\\n',
        CASE WHEN relkind <> 'r' THEN relkind::text END,
        CASE WHEN relrowsecurity THEN 'row level security' END,
        (SELECT 'inherited by ' || count(*) FROM pg_inherits WHERE inhparent = ours.oid HAVING count(*) > 0),
        (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END,
                nullif(attgenerated, ''), collname, pg_get_expr(adbin, adrelid)), E'\\n' ORDER BY attnum)
            FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
                LEFT JOIN pg_collation ON pg_collation.oid = attcollation
            WHERE attrelid = ours.oid AND attnum > 0 AND NOT attisdropped),
        (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid, true), E'\\n' ORDER BY conname)
            FROM pg_constraint WHERE conrelid = ours.oid AND contype <> 'n'))
FROM ours
UNION ALL
SELECT 'index', i.relname, ours.relname, pg_get_indexdef(indexrelid, 0, true)
FROM pg_index JOIN ours ON indrelid = ours.oid JOIN pg_class i ON i.oid = indexrelid
WHERE NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
UNION ALL
SELECT 'trigger', tgname, ours.relname, pg_get_triggerdef(t.oid, true) || E'\\n' || prosrc
FROM pg_trigger t JOIN ours ON tgrelid = ours.oid JOIN pg_proc p ON p.oid = tgfoid WHERE NOT tgisinternal
UNION ALL
SELECT 'rule', rulename, ours.relname, pg_get_ruledef(r.oid, true)
FROM pg_rewrite r JOIN ours ON ev_class = ours.oid WHERE rulename <> '_RETURN'
""")


class SchemaChanged(IntegrityBroken):
    what = "the schema of the database {where} is not one that a release made"
    why = "{difference}{others}"
    fix = "remove what was added if you know who added it, or restore the home from a backup; nothing of it was run"

    where: str
    difference: str
    more: int = 0

    @property
    def others(self) -> str:
        return f", and {self.more} more differ" if self.more else ""


class SchemaObject(NamedTuple):
    """Something in a schema: what it is, its name, the table that it belongs to, and the digest of its definition."""

    kind: str
    name: str
    table: str
    digest: str

    @property
    def shown(self) -> str:
        """For people."""
        return (
            f"{self.kind} {self.name}" if self.kind in ("table", "view") else f"{self.kind} {self.name} on {self.table}"
        )


@dataclass(frozen=True, slots=True)
class KnownObject:
    """An object that the revisions make: the first that has it as it is, and the last (None: it is there today)."""

    object: SchemaObject
    since: str
    until: str | None

    def is_of(self, revision: str) -> bool:
        """Whether a database of a revision has it."""
        # revisions are numbered in the order of the releases
        return self.since <= revision and (self.until is None or revision <= self.until)


@dataclass(frozen=True, slots=True)
class MadeSchema:
    """A schema that a release made: its revision (None in an empty database), and what was added that changes nothing."""

    revision: str | None
    noted: tuple[str, ...] = ()


def read_objects(connection: "Connection") -> list[SchemaObject]:
    """What the schema holds, but what the database makes by itself; no view, trigger or function of it is run."""
    if connection.dialect.name == "postgresql":
        names = sorted({known.object.table for known in known_objects("postgresql")} | {_VERSION_TABLE[1]})
        rows = connection.execute(_OF_POSTGRESQL, {"names": names})
    else:
        rows = connection.execute(_OF_SQLITE)
    return [
        SchemaObject(_kind(kind, definition), name, table, _digest(definition))
        for kind, name, table, definition in rows
    ]


def require_made(connection: "Connection", where: str) -> MadeSchema:
    """The schema of a database, if a release made it; of a revision that this release does not know only the number.

    Raises:
        SchemaChanged: there is a view, a trigger, a rule, or an index that decides which rows are added, that no release made; or a
            table or an index is another or missing.
    """
    objects = read_objects(connection)
    here = {(existing.kind, existing.name): existing for existing in objects}
    named = next((existing for existing in objects if existing.name == _VERSION_TABLE[1]), None)
    if named is None:
        return MadeSchema(None)
    dialect = connection.dialect.name
    known = known_objects(dialect)
    version_table = next(made.object for made in known if made.object.name == _VERSION_TABLE[1])
    if named != version_table:
        raise SchemaChanged(where, _another(named, version_table))
    revision = _revision(connection, where)
    if revision not in READABLE_REVISIONS:
        return MadeSchema(revision)
    made = {(entry.object.kind, entry.object.name): entry.object for entry in known if entry.is_of(revision)}
    of_any = {entry.object.name for entry in known}
    differences = sorted(_differences(here, made, of_any, revision))
    if differences:
        raise SchemaChanged(where, differences[0][1], len(differences) - 1)
    return MadeSchema(revision, tuple(sorted(found.shown for key, found in here.items() if key not in made)))


@cache
def known_objects(dialect: str) -> tuple[KnownObject, ...]:
    """What the revisions make on a kind of database."""
    rows = json.loads(REVISIONS_FILE.read_bytes())[dialect]
    return tuple(
        KnownObject(SchemaObject(row["kind"], row["name"], row["table"], row["digest"]), row["since"], row.get("until"))
        for row in rows
    )


def _revision(connection: "Connection", where: str) -> str | None:
    """What the table of the revision says, which is known to be a table; None where it says nothing."""
    revisions = connection.execute(text("SELECT version_num FROM alembic_version LIMIT 2")).scalars().all()
    if not revisions:
        return None
    if len(revisions) > 1 or not isinstance(revisions[0], str):
        raise SchemaChanged(where, "the table alembic_version does not name one revision")
    return revisions[0]


def _differences(
    here: Mapping[tuple[str, str], SchemaObject],
    made: Mapping[tuple[str, str], SchemaObject],
    of_any: Iterable[str],
    revision: str,
) -> Iterator[tuple[int, str]]:
    """What is another than a revision makes it: a sentence each, behind a number that puts the worst first."""
    names = {found.name for found in here.values()}
    for key, found in here.items():
        expected = made.get(key)
        in_its_place = made.get(("table", found.name))
        if expected is not None:
            if found != expected:
                yield 2 if found.kind == "table" else 3, _another(found, expected)
        elif in_its_place is not None:
            yield 0, _another(found, in_its_place)
        # a table of somebody else, or an index of columns, decides nothing; one with a name of ours is of another revision
        elif found.kind not in ("index", "table"):
            yield 0, f"there is a {found.shown}, and revision {revision} has none"
        elif found.name in of_any:
            yield 3, f"there is a {found.shown}, which is of another revision than {revision}"
    for (kind, name), expected in made.items():
        # a trigger kept rows of earlier releases from being changed, and nothing that is read rests on it
        if name not in names and kind != "trigger":
            yield 1 if kind == "table" else 3, f"the {expected.shown} is missing, which revision {revision} has"


def _another(found: SchemaObject, expected: SchemaObject) -> str:
    if found.kind != expected.kind:
        return f"{found.name} is a {found.kind}, and a {expected.kind} belongs there"
    return f"the {found.shown} is defined in another way than the releases define it"


def _kind(kind: str, definition: str | None) -> str:
    """The kind of an object. An index that is unique, of an expression or of some rows is another than one of columns.

    It decides which rows are added: what violates it, or what its expression fails on, is refused or, where a row that is there
    may be met, left out without a word.
    """
    if kind == "index" and not _PLAIN_INDEX.fullmatch(_on_one_line(definition)):
        return _DECIDING_INDEX
    return kind


def _digest(definition: str | None) -> str:
    return hashlib.sha256(_on_one_line(definition).encode()).hexdigest()[:_DIGEST_LENGTH]


def _on_one_line(definition: str | None) -> str:
    # SQLite keeps the text of a statement as it was written, and how a library breaks its lines says nothing
    return " ".join((definition or "").split())
