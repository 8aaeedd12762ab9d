"""Statements that were opened a moment ago are not opened again, and what a row holds now is what is read of it."""

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalog import statements as rows
from peft_registry.registry.database.envelopes import packed
from peft_registry.registry.database.failures import RowDamaged
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.signing.dsse import Envelope, MalformedEnvelope
from peft_registry.schemas.version import Version


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The envelopes that were parsed since; none is known from an earlier test."""
    monkeypatch.setattr(rows, "_RECENT", rows._RecentRows())
    seen: list[bytes] = []
    parse = Envelope.parse

    def note(data: bytes, *, what: str = "an envelope") -> Envelope:
        seen.append(data)
        return parse(data, what=what)

    monkeypatch.setattr(Envelope, "parse", note)
    return seen


def opened(registry: Registry, version: Version) -> tuple[catalog.OpenedRow, ...]:
    subject = version.manifest_digest
    with registry.database.read() as tx:
        return catalog.opened_statements(tx, subjects=(subject,))[subject]


def test_a_statement_is_opened_once_however_often_it_is_read(
    registry: Registry, version: Version, parsed: list[bytes]
) -> None:
    first = opened(registry, version)
    assert len(parsed) == len(first) > 3
    assert opened(registry, version) == first
    assert len(parsed) == len(first)


def test_a_row_that_was_edited_is_read_as_it_is_now(registry: Registry, version: Version, parsed: list[bytes]) -> None:
    first = opened(registry, version)
    edited = first[0].stored
    with registry.database.write() as tx:
        tx.exec_driver_sql("PRAGMA foreign_keys = off")
        tx.exec_driver_sql("UPDATE statements SET key_id = ? WHERE digest = ?", ("other", str(edited.digest)))
    now = opened(registry, version)
    assert [row.stored.key_id for row in now] == ["other", *(row.stored.key_id for row in first[1:])]
    assert len(parsed) == len(first) + 1
    with registry.database.write() as tx:
        broken = (packed(edited.envelope.replace(b'"payload"', b'"cargo"')), str(edited.digest))
        tx.exec_driver_sql("UPDATE statements SET envelope = ? WHERE digest = ?", broken)
    with pytest.raises(MalformedEnvelope):
        opened(registry, version)


def test_what_is_more_than_may_be_read_at_once_is_refused_though_it_is_known(
    registry: Registry, version: Version, parsed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    all_bytes = sum(len(row.stored.envelope) for row in opened(registry, version))
    monkeypatch.setattr("peft_registry.registry.database.envelopes.READ_MAX_BYTES", all_bytes // 2)
    with pytest.raises(RowDamaged, match="read together"):
        opened(registry, version)


def test_those_that_nobody_asked_for_the_longest_are_forgotten(
    registry: Registry, version: Version, parsed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [len(row.stored.envelope) for row in opened(registry, version)]
    parsed.clear()
    monkeypatch.setattr(rows, "_RECENT", rows._RecentRows())
    monkeypatch.setattr(rows, "_RECENT_MAX_BYTES", sum(sizes[1:]))  # all but the first
    opened(registry, version)
    assert rows._RECENT._bytes <= sum(sizes[1:])
    assert len(parsed) == len(sizes)
    with registry.database.read() as tx:
        last = opened(registry, version)[-1].stored.digest
        parsed.clear()
        catalog.opened_with(tx, (last,))
    assert parsed == []
