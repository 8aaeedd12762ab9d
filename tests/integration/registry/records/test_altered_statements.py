"""What a database says of a version is used as it was signed, or not at all: no report, re-check or training on an edited row."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.registry.database import catalog, envelopes
from peft_registry.registry.database.failures import RowDamaged
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import base_record
from peft_registry.registry.records.plans import logged_plans
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import StatementAltered, records_of
from peft_registry.registry.records.views import SaidDiffers
from peft_registry.registry.signing.dsse import ENVELOPE_MAX_BYTES, Envelope
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.version import Version
from tests.builders.homes import register_adapter


def said(registry: Registry, version: Version, kind: str) -> StoredStatement:
    with registry.database.read() as tx:
        return next(one for one in catalog.statements_of(tx, subject=version.manifest_digest) if one.kind == kind)


def edited(stored: StoredStatement) -> bytes:
    """The envelope with another text under the old signature."""
    envelope = Envelope.parse(stored.envelope)
    value = json.loads(envelope.payload)
    value["predicate"]["added_later"] = "this model is unbiased"
    payload = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    return Envelope(envelope.payload_type, payload, envelope.signatures).render()


def replace(registry: Registry, old: StoredStatement, **columns: object) -> None:
    """Write a row behind the program's back."""
    connection = sqlite3.connect(registry.folder / "database.sqlite")
    for column, value in columns.items():
        connection.execute(f"UPDATE statements SET {column} = ? WHERE log_index = ?", (value, old.log_index))
    connection.commit()
    connection.close()


READERS: tuple[Callable[[Registry, Version], object], ...] = (
    lambda registry, version: records_of(registry, version),
    lambda registry, version: logged_plans(registry, version),
)


def test_what_was_signed_is_read(registry: Registry, version: Version) -> None:
    assert records_of(registry, version).modification is not None
    assert logged_plans(registry, version) == {}


@pytest.mark.parametrize("read", READERS)
def test_an_edited_text_is_not_used(registry: Registry, version: Version, read: Callable[..., object]) -> None:
    stored = said(registry, version, "modification")
    replace(registry, stored, envelope=edited(stored))
    with pytest.raises(StatementAltered, match="modification") as refused:
        read(registry, version)
    assert refused.value.exit_code == 6


def test_an_edited_text_with_its_digest_put_right_is_not_used(registry: Registry, version: Version) -> None:
    stored = said(registry, version, "modification")
    envelope = edited(stored)
    replace(registry, stored, envelope=envelope, digest=str(Digest.of(Envelope.parse(envelope).payload)))
    with pytest.raises(SaidDiffers) as refused:
        records_of(registry, version)
    assert "one of them is another" in refused.value.why


def test_envelopes_about_one_subject_are_read_up_to_a_bound_for_all_of_them(
    registry: Registry, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row is small on the disk and may hold 64 MiB: were each of them allowed that much, a few would fill the memory."""
    assert envelopes.READ_MAX_BYTES == 2 * ENVELOPE_MAX_BYTES
    with registry.database.read() as tx:
        said = catalog.statements_of(tx, subject=version.manifest_digest)
    sizes = [len(stored.envelope) for stored in said]
    monkeypatch.setattr(envelopes, "READ_MAX_BYTES", sum(sizes))
    assert records_of(registry, version).modification is not None
    monkeypatch.setattr(envelopes, "READ_MAX_BYTES", sum(sizes[:-1]))
    with pytest.raises(RowDamaged, match="the other envelopes about its subject") as refused:
        records_of(registry, version)
    assert (refused.value.exit_code, said[-1].digest.short in refused.value.why) == (6, True)


def test_a_statement_in_the_name_of_another_key_is_not_used(registry: Registry, version: Version) -> None:
    replace(registry, said(registry, version, "modification"), key_id="00" * 32)
    with pytest.raises(StatementAltered):
        records_of(registry, version)


def test_a_statement_moved_to_another_version_is_not_used(registry: Registry, version: Version, tmp_path: Path) -> None:
    other = register_adapter(registry, tmp_path, name="other", value=0.25)
    replace(registry, said(registry, other, "modification"), subject=str(version.manifest_digest))
    with pytest.raises(SaidDiffers):
        records_of(registry, version)


def test_edited_facts_of_a_base_enter_no_run(registry: Registry, version: Version) -> None:
    base = version_named(registry, "tiny:1")
    stored = said(registry, base, "base")
    replace(registry, stored, envelope=edited(stored))
    with pytest.raises(StatementAltered):
        base_record(registry, base)
