"""A leaf is read in one way only: canonical bytes of an event or a snapshot, whichever way reads them faster."""

import json

import pytest

from peft_registry.registry.records.snapshots import SnapshotMalformed, read_leaf
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import LogEvent, LogSnapshot

NOW = "2026-11-24T12:00:00Z"
EVENT = LogEvent(kind="card", subject=Digest.of(b"a"), statement=Digest.of(b"b"), key="0" * 64, at=NOW)
DATA = EVENT.to_canonical()


def changed(**over: object) -> bytes:
    value = EVENT.to_json() | over
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "leaf",
    [
        EVENT,
        EVENT.revised(kind="registration", key="lab-1"),
        EVENT.revised(key='a"quote'),  # needs an escape, and is read the other way
        EVENT.revised(key="schlüssel"),
        LogEvent.from_json(EVENT.to_json() | {"more": 1}),
        LogSnapshot(size=3, root="0" * 64, at=NOW),
    ],
    ids=["event", "another", "escaped", "not-ascii", "more-fields", "snapshot"],
)
def test_a_leaf_is_read_as_what_was_written(leaf: LogEvent | LogSnapshot) -> None:
    read = read_leaf(leaf.to_canonical())
    assert read == leaf
    assert read.to_canonical() == leaf.to_canonical()


@pytest.mark.parametrize(
    "data",
    [
        b" " + DATA,
        DATA + b"\n",
        DATA.replace(b'","', b'", "', 1),
        DATA.replace(b'"kind":"card",', b'"kind":"card","kind":"card",'),
        DATA.replace(b'"kind":"card",', b"")[:-1] + b',"kind":"card"}',
        changed(kind="unknown"),
        changed(at="2026-11-24 12:00:00Z"),
        changed(at="٢٠٢٦-11-24T12:00:00Z"),
        changed(subject="sha256:" + "A" * 64),
        changed(statement="sha256:" + "0" * 63),
        changed(schema="urn:peft-registry:log-event:v2"),
        DATA.replace(b"card", b"c\\u0061rd"),
        DATA[:-1],
        b"",
    ],
)
def test_bytes_that_have_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityBroken):
        read_leaf(data)


def test_a_refusal_says_that_the_form_is_another() -> None:
    with pytest.raises(SnapshotMalformed, match="canonical"):
        read_leaf(DATA.replace(b'","', b'", "', 1))
