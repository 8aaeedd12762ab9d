"""What the catalog answers, on each database."""

import itertools
import random

import pytest
from sqlalchemy import insert, select

from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalog import VersionFilter
from peft_registry.registry.database.failures import RowDamaged
from peft_registry.registry.database.log_store import SqlLogStore, append_event
from peft_registry.registry.database.session import Database
from peft_registry.registry.database.tables import versions
from peft_registry.registry.transparency.merkle import NotInLog
from peft_registry.schemas.errors import NotFound, Taken
from peft_registry.schemas.identity import Reference
from peft_registry.schemas.manifest import FileEntry
from peft_registry.schemas.version import Version
from tests.builders.registered import (
    NOW,
    a_base,
    a_manifest,
    digest,
    envelope_about,
    envelope_of,
    on,
    put_artifact,
    put_envelope,
    put_statement,
    put_version,
    registered,
)
from tests.contracts.databases import address, database

__all__ = ["address", "database"]  # fixtures


def resolve(database: Database, text: str) -> Version:
    with database.read() as tx:
        return catalog.resolve(tx, Reference.parse(text))


def fix_of(database: Database, text: str) -> str:
    with pytest.raises(NotFound) as unknown:
        resolve(database, text)
    assert unknown.value.exit_code == 7
    return f"{unknown.value.why} / {unknown.value.fix}"


# ---- versions and references


def test_a_version_comes_back_as_it_was_registered(database: Database) -> None:
    base = a_base("base")
    with database.write() as tx:
        put_version(tx, "base", base)
        version = put_version(tx, "tutor", a_manifest("tutor", base=on(base)), at="2026-03-02T00:00:00Z")
    assert version == Version(
        name="tutor",
        number=1,
        manifest_digest=a_manifest("tutor", base=on(base)).canonical_digest(),
        kind="adapter",
        layout="peft",
        method="lora",
        weights_digest=digest("tutor weights"),
        base_manifest=base.canonical_digest(),
        base_weights=digest("base weights"),
        size_bytes=1000,
        key_id="key",
        registered_at="2026-03-02T00:00:00Z",
        log_index=1,
    )
    assert resolve(database, "tutor:1") == version


def test_each_kind_of_reference_finds_its_version(database: Database) -> None:
    one = registered(database, "tutor", a_manifest("one"))
    two = registered(database, "tutor", a_manifest("two"))
    again = registered(database, "other", a_manifest("one"))
    with database.write() as tx:
        said = put_statement(tx, one.manifest_digest, "promoted")
        catalog.set_alias(tx, name="tutor", alias="champion", number=1, statement_digest=said, at=NOW)
    assert resolve(database, "tutor").label == "tutor:2"
    assert resolve(database, "tutor:1").aliases == ("champion",)
    assert resolve(database, "tutor@champion").label == "tutor:1"
    assert resolve(database, str(two.manifest_digest)) == two
    assert resolve(database, str(again.manifest_digest)).label == "tutor:1"
    with database.read() as tx:
        found = catalog.version_by_digest(tx, one.manifest_digest)
        assert [version.label for version in found] == ["tutor:1", "other:1"]
        assert [version.label for version in catalog.versions_of(tx, "tutor")] == ["tutor:1", "tutor:2"]


def test_what_is_unknown_is_named_with_what_is_close(database: Database) -> None:
    assert "registry list" in fix_of(database, "tutor")
    one = registered(database, "gsm8k-tutor", a_manifest("one"))
    registered(database, "unrelated", a_manifest("other"))
    with database.write() as tx:
        said = put_statement(tx, one.manifest_digest, "promoted")
        catalog.set_alias(tx, name="gsm8k-tutor", alias="champion", number=1, statement_digest=said, at=NOW)
        nameless = put_artifact(tx, a_base("nameless"))
    assert "did you mean `gsm8k-tutor`?" in fix_of(database, "gsm8k-tutr")
    assert "gsm8k-tutor:1" in fix_of(database, "gsm8k-tutor:2")
    assert "gsm8k-tutor@champion" in fix_of(database, "gsm8k-tutor@champoin")
    assert "`registry promote unrelated:1 champion --explain`" in fix_of(database, "unrelated@champion")
    registered(database, "unrelated", a_manifest("another"))
    # which of two is meant nobody knows
    assert "`registry promote unrelated:NUMBER champion --explain`" in fix_of(database, "unrelated@champion")
    assert "the base with this digest is known, but has no name" in fix_of(database, str(nameless))
    assert "no artifact with this digest" in fix_of(database, str(digest("nothing")))


def test_the_base_with_given_weights_is_the_one_registered_last(database: Database) -> None:
    registered(database, "base", a_base("base"))
    registered(database, "base-again", a_base("base").model_copy(update={"config_sha256": digest("other config")}))
    registered(database, "not-a-base", a_manifest("merged", weights_digest=digest("base weights")))
    with database.read() as tx:
        found = catalog.base_by_weights(tx, digest("base weights"))
        assert found is not None
        assert found.label == "base-again:1"
        assert catalog.base_by_weights(tx, digest("tutor weights")) is None


@pytest.mark.parametrize("first", ["base", "adapter"])
def test_a_name_holds_bases_or_what_was_made_from_them_and_never_both(database: Database, first: str) -> None:
    base, adapter = a_base("base"), a_manifest("one")
    there, other = (base, adapter) if first == "base" else (adapter, base)
    registered(database, "tiny", there)
    with pytest.raises(Taken) as refused:
        registered(database, "tiny", other)
    assert (refused.value.exit_code, refused.value.reference) == (7, "name-of-another-kind")
    assert first in refused.value.why
    registered(database, "elsewhere", other)
    again = a_base("again") if first == "base" else a_manifest("again", kind="model", layout="model")
    assert registered(database, "tiny", again).label == "tiny:2"
    with database.read() as tx:
        assert len(catalog.versions_of(tx, "tiny")) == 2


def test_a_name_that_holds_both_from_before_is_read_and_goes_on_as_what_it_began(database: Database) -> None:
    registered(database, "tiny", a_base("base"))
    other = registered(database, "merged", a_manifest("merged", kind="model", layout="model"))
    with database.write() as tx:
        row = tx.execute(select(versions).where(versions.c.name == "merged")).one()
        index = append_event(tx, b"as it was allowed before")
        tx.execute(insert(versions).values(row._asdict() | {"name": "tiny", "number": 2, "log_index": index}))
    assert resolve(database, "tiny").manifest_digest == other.manifest_digest
    assert [resolve(database, f"tiny:{number}").kind for number in (1, 2)] == ["base", "model"]
    assert resolve(database, "tiny").number == 2
    with pytest.raises(Taken):
        registered(database, "tiny", a_manifest("more"))
    assert registered(database, "tiny", a_base("another")).label == "tiny:3"
    assert resolve(database, "tiny").kind == "base"


# ---- artifacts


def test_an_artifact_recorded_again_gains_what_was_missing_and_loses_nothing(database: Database) -> None:
    manifest = a_base("base")
    with database.write() as tx:
        found = put_artifact(tx, manifest, by_reference=True)
        put_artifact(tx, manifest, by_reference=True, signature_digest=digest("signature"))
        assert catalog.artifact(tx, manifest_digest=found).by_reference
        put_artifact(tx, manifest, signature_digest=digest("another"), card_digest=digest("card"))
        put_artifact(tx, manifest, by_reference=True)
        artifact = catalog.artifact(tx, manifest_digest=found)
    assert artifact.signature_digest == digest("signature")
    assert artifact.card_digest == digest("card")
    assert not artifact.by_reference
    assert (artifact.manifest_size, artifact.size_bytes) == (100, 1000)


def test_an_unknown_artifact_is_not_found(database: Database) -> None:
    with database.read() as tx, pytest.raises(NotFound):
        catalog.artifact(tx, manifest_digest=digest("nothing"))
    with pytest.raises(NotFound), database.write() as tx:
        catalog.add_version(
            tx, name="x", manifest_digest=digest("nothing"), key_id="key", registered_at=NOW, log_index=0
        )


def test_sizes_beyond_32_bits_are_kept(database: Database) -> None:
    big = 5 * 2**40
    manifest = a_manifest("big", files=(FileEntry(path="model.safetensors", size=big, sha256=digest("big")),))
    with database.write() as tx:
        found = put_artifact(tx, manifest, size_bytes=big)
        assert catalog.artifact(tx, manifest_digest=found).size_bytes == big


# ---- pages


def all_pages(database: Database, where: VersionFilter, limit: int) -> list[str]:
    seen: list[str] = []
    after = None
    while True:
        with database.read() as tx:
            page = catalog.list_versions(tx, where=where, after=after, limit=limit)
        assert len(page.versions) <= limit
        seen += [version.label for version in page.versions]
        if page.next is None:
            return seen
        after = page.next


def many(database: Database) -> list[Version]:
    # names whose order differs between bytes and the rules of a language
    names = ["a", "a-b", "a.b", "a_b", "ab", "a0", "b"] * 3
    bases = [a_base("first"), a_base("second")]
    with database.write() as tx:
        found = [put_version(tx, "base", base) for base in bases]
        for at, name in enumerate(names):
            method = "lora" if at % 3 else "ia3"
            manifest = a_manifest(f"adapter {at}", method=method, base=on(bases[at % 2], known=at % 4 != 0))
            found.append(put_version(tx, name, manifest))
    return found


@pytest.mark.parametrize("limit", [1, 2, 5, 23, 100])
def test_pages_visit_each_version_once_in_the_order_of_bytes(database: Database, limit: int) -> None:
    expected = [version.label for version in sorted(many(database), key=lambda one: (one.name.encode(), one.number))]
    assert all_pages(database, VersionFilter(), limit) == expected


@pytest.mark.parametrize("limit", [1, 4, 100])
def test_a_filter_gives_exactly_what_it_names(database: Database, limit: int) -> None:
    everything = sorted(many(database), key=lambda one: (one.name.encode(), one.number))
    base = next(one for one in everything if one.label == "base:1")
    cases = [
        (VersionFilter(name="a"), lambda one: one.name == "a"),
        (VersionFilter(name_prefix="a"), lambda one: one.name.startswith("a")),
        (VersionFilter(name_prefix="a."), lambda one: one.name.startswith("a.")),
        (VersionFilter(method="ia3"), lambda one: one.method == "ia3"),
        (VersionFilter(base=base.manifest_digest), lambda one: one.base_weights == base.weights_digest),
        (VersionFilter(base=base.weights_digest), lambda one: one.base_weights == base.weights_digest),
        (
            VersionFilter(name_prefix="a", method="lora", base=base.weights_digest),
            lambda one: one.method == "lora" and one.base_weights == base.weights_digest and one.name.startswith("a"),
        ),
        (VersionFilter(name="nothing"), lambda one: False),
    ]
    for where, wanted in cases:
        expected = [one.label for one in everything if wanted(one)]
        assert all_pages(database, where, limit) == expected, where


def test_a_version_registered_between_two_pages_moves_no_other(database: Database) -> None:
    before = [version.label for version in many(database)]
    with database.read() as tx:
        first = catalog.list_versions(tx, limit=4)
    registered(database, "a", a_manifest("in between"))
    seen = [version.label for version in first.versions]
    with database.read() as tx:
        seen += [version.label for version in catalog.list_versions(tx, after=first.next).versions]
    assert sorted(set(seen) - set(before)) == []
    assert sorted(seen) == sorted(before)


# ---- statements, events, checkpoints


def test_statements_come_in_log_order_as_they_were_written(database: Database) -> None:
    subject = registered(database, "tutor", a_manifest("one")).manifest_digest
    words = ["z", "a", "m"]
    with database.write() as tx:
        for word in words:
            put_statement(tx, subject, word)
        put_statement(tx, digest("another subject"), "elsewhere")
    with database.read() as tx:
        found = catalog.statements_of(tx, subject=subject)
        assert catalog.statement(tx, found[0].digest) == found[0]
        assert catalog.statement(tx, digest("nothing")) is None
    assert [one.statement.predicate["word"] for one in found] == words
    assert [(one.envelope, one.digest) for one in found] == [envelope_about(subject, word) for word in words]
    assert [one.log_index for one in found] == [1, 2, 3]
    assert all(one.statement.subject_digest == subject for one in found)


@pytest.mark.parametrize(
    "payload, why",
    [
        pytest.param(b'{"_type": "https://in-toto.io/Stat', "its payload is not JSON", id="cut short"),
        pytest.param(b'{"predicate": {}}', "subject: Field required", id="another document"),
        pytest.param(b"[]", "as a whole", id="no object"),
    ],
)
def test_a_statement_whose_payload_is_no_statement_is_a_damaged_row(
    database: Database, payload: bytes, why: str
) -> None:
    subject = registered(database, "tutor", a_manifest("one")).manifest_digest
    with database.write() as tx:
        said = put_envelope(tx, subject, *envelope_of(payload))
    for read in (
        lambda tx: catalog.statements_of(tx, subject=subject),
        lambda tx: catalog.statement(tx, said),
    ):
        with database.read() as tx, pytest.raises(RowDamaged) as damaged:
            read(tx)
        assert str(said) in damaged.value.why
        assert why in damaged.value.why


def test_the_newest_checkpoint_covers_most_and_two_of_one_size_are_both_kept(database: Database) -> None:
    with database.write() as tx:
        assert catalog.latest_checkpoint(tx) is None
        for size, text in ((3, "three"), (7, "seven"), (5, "five"), (7, "seven"), (7, "another seven")):
            catalog.put_checkpoint(tx, size, text)
        assert catalog.latest_checkpoint(tx) == "another seven"


def test_an_event_is_read_back_and_a_missing_one_is_not_found(database: Database) -> None:
    with database.write() as tx:
        append_event(tx, b"\x00leaf\xff")
    with database.read() as tx:
        assert SqlLogStore(tx).get_leaf(0) == b"\x00leaf\xff"
        with pytest.raises(NotInLog):
            SqlLogStore(tx).get_leaf(1)


# ---- aliases


def test_an_alias_is_where_it_was_at_each_time(database: Database) -> None:
    for word in ("one", "two"):
        registered(database, "tutor", a_manifest(word))
    moves = [(1, "2026-03-01T00:00:00Z"), (2, "2026-03-03T00:00:00Z"), (None, "2026-03-05T00:00:00Z")]
    with database.write() as tx:
        subject = catalog.versions_of(tx, "tutor")[0].manifest_digest
        for number, at in moves:
            said = put_statement(tx, subject, f"moved at {at}")
            catalog.set_alias(tx, name="tutor", alias="champion", number=number, statement_digest=said, at=at)
        said = put_statement(tx, subject, "challenger")
        catalog.set_alias(tx, name="tutor", alias="challenger", number=2, statement_digest=said, at=moves[0][1])

    def at(time: str) -> str | None:
        with database.read() as tx:
            found = catalog.alias_at(tx, name="tutor", alias="champion", as_of=time)
        return found.label if found else None

    assert at("2026-02-28T23:59:59Z") is None
    assert at("2026-03-01T00:00:00Z") == "tutor:1"
    assert at("2026-03-02T23:59:59Z") == "tutor:1"
    assert at("2026-03-04T00:00:00Z") == "tutor:2"
    assert at("2026-03-05T00:00:00Z") is None
    with database.read() as tx:
        assert [(move.alias, move.number) for move in catalog.aliases_of(tx, "tutor")] == [("challenger", 2)]
        assert [move.number for move in catalog.alias_history(tx, "tutor")] == [1, 2, None, 2]
    assert resolve(database, "tutor:2").aliases == ("challenger",)
    assert "tutor@challenger" in fix_of(database, "tutor@champion")


# ---- notes


def test_a_note_keeps_what_was_put_last(database: Database) -> None:
    with database.write() as tx:
        assert catalog.meta(tx, "route") is None
        catalog.set_meta(tx, "route", "http")
        catalog.set_meta(tx, "route", "store")
        assert catalog.meta(tx, "route") == "store"


# ---- gc's questions


def test_a_digest_can_be_leased_before_anything_of_that_name_exists(database: Database) -> None:
    with database.write() as tx:
        catalog.take_lease(tx, digests=[digest("a"), digest("b")], holder="one", until="2026-03-01T13:00:00Z")
        catalog.take_lease(tx, digests=[digest("b"), digest("b")], holder="two", until="2026-03-01T14:00:00Z")
        catalog.take_lease(tx, digests=[], holder="three", until="2026-03-01T14:00:00Z")
    with database.read() as tx:
        assert catalog.leased(tx, NOW) == {digest("a"), digest("b")}
        assert catalog.leased(tx, "2026-03-01T13:00:00Z") == {digest("b")}
    with database.write() as tx:
        catalog.take_lease(tx, digests=[digest("a")], holder="one", until="2026-03-01T15:00:00Z")
        catalog.release_leases(tx, "two")
        assert catalog.leased(tx, "2026-03-01T14:30:00Z") == {digest("a")}
        catalog.release_leases(tx, "one")
        assert catalog.leased(tx, NOW) == frozenset()


def test_everything_that_something_recorded_points_to_is_kept(database: Database) -> None:
    shared = FileEntry(path="tokenizer.json", size=1, sha256=digest("tokenizer"))
    with database.write() as tx:
        one = put_artifact(tx, a_manifest("one", files=(shared,)), card_digest=digest("card"))
        two = put_artifact(tx, a_manifest("two", files=(shared,)), signature_digest=digest("signature"))
        catalog.keep_object(tx, digest=digest("item table"), subject=one, role="items")
        catalog.keep_object(tx, digest=digest("item table"), subject=one, role="items")
        kept = list(catalog.referenced_objects(tx))
    expected = {one, two, *map(digest, ("tokenizer", "card", "signature", "item table"))}
    assert kept == sorted(expected)


def test_all_referenced_objects_are_given_however_many(database: Database) -> None:
    files = tuple(FileEntry(path=f"{at:05}", size=1, sha256=digest(f"file {at}")) for at in range(2500))
    with database.write() as tx:
        put_artifact(tx, a_manifest("many", files=files))
    with database.read() as tx:
        assert len(list(itertools.islice(catalog.referenced_objects(tx), 10_000))) == 2501


def test_the_order_of_registration_does_not_change_what_is_listed(database: Database) -> None:
    words = [f"w{at}" for at in range(12)]
    random.Random(7).shuffle(words)
    for word in words:
        registered(database, word, a_manifest(word))
    assert all_pages(database, VersionFilter(), 5) == [f"{word}:1" for word in sorted(words)]
