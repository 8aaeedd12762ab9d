"""What the log costs: opening a home and reading an alias, and a log of a million entries read from its bytes.

    python -m tests.bench.log [--versions 10000] [--entries 1000000] [--repeats 31]

Each bar stands beside the peer of the same run: the row of the catalogue read alone, SHA-256 of the leaves alone, the library's own
check of a signature. CPU seconds of this process, so that a busy machine says little less than an idle one.
"""

import argparse
import base64
import gc
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import open_home
from peft_registry.registry.homes.rare_collections import rare_collections
from peft_registry.registry.records.entries import read_statement
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.snapshots import read_leaf
from peft_registry.registry.signing import dsse
from peft_registry.registry.transparency import merkle
from peft_registry.registry.transparency.projection import LogState
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.schemas.identity import Reference
from peft_registry.schemas.log import LogEvent
from tests.bench.load import fill
from tests.bench.machine import machine
from tests.builders.signing import a_p256_key

READ_BAR_MS = 5.0
TREE_BAR, PROJECTION_BAR, SIGNATURE_BAR = (
    5.0,
    30.0,
    80.0,
)  # seconds at a million entries, twice; microseconds a signature
MILLION = 1_000_000
_AT_ONCE = 20_000  # entries made before the clock runs, so that memory stays bounded
_SIGNATURES = 2_000


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.log")
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=MILLION)
    parser.add_argument("--repeats", type=int, default=31, help="of what takes milliseconds")
    asked = parser.parse_args(arguments)
    print(machine())
    reading(asked.versions, asked.repeats)
    with rare_collections():  # as `check_log` reads
        replaying(asked.entries)
    signatures()


def reading(versions: int, repeats: int) -> None:
    """Opening a home and reading an alias against opening its database and reading the row; then the whole check."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        load = fill(home, versions=versions, stored=True)
        print(f"home         {load.versions} versions, {load.entries} entries, filled in {load.seconds:.0f} s")
        # a command begins with an empty heap: the collector is not to walk through what filling left at each question
        gc.collect()
        gc.freeze()
        ours = median_ms(lambda: read_alias(home), repeats)
        row = median_ms(lambda: read_row(home), repeats)
        more = ours - row
        print(
            f"alias        open and read as the log has it {ours:.1f} ms, the row alone {row:.1f} ms: "
            f"{more:+.1f} ms (bar {READ_BAR_MS:g})"
        )
        registry = open_home(home, check_log=False)
        try:
            spent = seconds_of(lambda: check_log(registry))
        finally:
            registry.close()
        print(
            f"log check    {load.entries} entries with signatures: {spent:.1f} s, {spent / load.entries * 1e6:.0f} µs an entry"
        )


def read_alias(home: Path) -> None:
    registry = open_home(home)
    try:
        version_named(registry, "registered@newest")
    finally:
        registry.close()


def read_row(home: Path) -> None:
    """What reading an alias was before a log decided: the row that says where it points."""
    registry = open_home(home, check_log=False)
    try:
        with registry.database.read() as tx:
            catalog.resolve(tx, Reference.parse("registered@newest"))
    finally:
        registry.close()


def replaying(count: int) -> None:
    """A log of many entries from bytes: its tree, and what it says in the end, without signatures."""
    tree = merkle.Growing()
    projection = LogState()
    in_tree = in_projection = peer = 0.0
    for first in range(0, count, _AT_ONCE):
        entries = list(some_entries(first, min(_AT_ONCE, count - first)))
        peer += seconds_of(lambda entries=entries: [hashlib.sha256(leaf).digest() for leaf, _ in entries])
        in_tree += seconds_of(lambda entries=entries: [tree.append(merkle.leaf_hash(leaf)) for leaf, _ in entries])
        in_projection += seconds_of(lambda entries=entries, first=first: follow(projection, entries, first))
    assert tree.size == sum(len(said) for said in projection.statements.values()) == count
    scale = MILLION / count
    print(
        f"tree         {count} leaves: {in_tree:.1f} s, SHA-256 of each alone {peer:.1f} s; a million "
        f"{in_tree * scale:.1f} s (bar {TREE_BAR:g})"
    )
    print(
        f"projection   {count} entries with their statements: {in_projection:.1f} s, a million {in_projection * scale:.1f} s "
        f"(bar {PROJECTION_BAR:g})"
    )


def follow(projection: LogState, entries: list[tuple[bytes, bytes]], first: int) -> None:
    for index, (data, envelope) in enumerate(entries, start=first):
        leaf = read_leaf(data)
        assert isinstance(leaf, LogEvent)
        projection.apply(index, leaf, read_statement(envelope, index, leaf).statement)


_TYPES = {"registration": "urn:peft-registry:registration:v1", "card": "urn:peft-registry:card:v1"}
_TYPES |= {"alias": "urn:peft-registry:alias:v1"}


def some_entries(first: int, count: int) -> Iterator[tuple[bytes, bytes]]:
    """(leaf, envelope) of a card, a registration and a move in turn, written as their classes write them; unsigned."""
    signature = base64.b64encode(bytes(72)).decode()
    key = hashlib.sha256(b"key").hexdigest()
    for index in range(first, first + count):
        subject = hashlib.sha256(b"%d" % (index // 3)).hexdigest()
        nonce = f"{index:032x}"
        name = f"name-{index // 3 % 5000}"
        kind, predicate = (
            ("card", f'{{"path":"README.md","sha256":"sha256:{subject}"}}'),
            (
                "registration",
                f'{{"accompanied_by":["sha256:{subject}"],"completeness_provable":true,"name":"{name}","nonce":"{nonce}",'
                f'"signature":"sha256:{subject}","source":"train"}}',
            ),
            ("alias", f'{{"alias":"champion","name":"{name}","nonce":"{nonce}","reason":null,"removed":false}}'),
        )[index % 3]
        payload = (
            f'{{"_type":"https://in-toto.io/Statement/v1","predicate":{predicate},"predicateType":"{_TYPES[kind]}",'
            f'"subject":[{{"digest":{{"sha256":"{subject}"}},"name":"manifest.json"}}]}}'
        ).encode()
        envelope = (
            f'{{"payload":"{base64.b64encode(payload).decode()}","payloadType":"application/vnd.in-toto+json",'
            f'"signatures":[{{"keyid":"","sig":"{signature}"}}]}}'
        ).encode()
        leaf = (
            f'{{"at":"2026-11-24T12:00:00Z","key":"{key}","kind":"{kind}","schema":"urn:peft-registry:log-event:v1",'
            f'"statement":"sha256:{hashlib.sha256(payload).hexdigest()}","subject":"sha256:{subject}"}}'
        ).encode()
        yield leaf, envelope


def signatures() -> None:
    """One envelope's signature checked by us and by the library alone."""
    signer = a_p256_key()
    envelope = dsse.sign(signer, "application/vnd.in-toto+json", bytes(600))
    key = signer.public
    message, signature = dsse.pae(envelope.payload_type, envelope.payload), envelope.signatures[0].sig
    library = ec.derive_private_key(1, ec.SECP256R1()).public_key()
    library.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    ours = seconds_of(lambda: [dsse.verify(envelope, (key,), expected_key_id=key.key_id) for _ in range(_SIGNATURES)])
    alone = seconds_of(
        lambda: [library.verify(signature, message, ec.ECDSA(hashes.SHA256())) for _ in range(_SIGNATURES)]
    )
    print(
        f"signature    {ours / _SIGNATURES * 1e6:.0f} µs, the library alone {alone / _SIGNATURES * 1e6:.0f} µs "
        f"(bar {SIGNATURE_BAR:g})"
    )


def seconds_of(action: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    action()
    return time.process_time() - began


def median_ms(action: Callable[[], object], repeats: int) -> float:
    action()
    return statistics.median(seconds_of(action) for _ in range(repeats)) * 1000


if __name__ == "__main__":
    main()
