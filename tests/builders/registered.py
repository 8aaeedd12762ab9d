"""Registers small artifacts straight in a database: what a use case does there, without files and signatures."""

import base64
import json
from typing import Any

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import append_event
from peft_registry.registry.database.session import Database
from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.dataset import DataIdentity, RowSelection
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import BaseReference, FileEntry, Manifest, Parent
from peft_registry.schemas.statement import statement_about
from peft_registry.schemas.version import Version

NOW = "2026-03-01T12:00:00Z"


def digest(word: str) -> Digest:
    return Digest.of(word.encode())


def a_manifest(word: str, **over: Any) -> Manifest:
    """A manifest told apart by a word; its weights digest is `digest(f"{word} weights")`."""
    fields: dict[str, Any] = {
        "kind": "adapter",
        "layout": "peft",
        "method": "lora",
        "files": (FileEntry(path="adapter_config.json", size=len(word), sha256=digest(f"{word} file")),),
        "weights": (),
        "weights_digest": digest(f"{word} weights"),
    }
    return Manifest(**(fields | over))


def a_base(word: str) -> Manifest:
    return a_manifest(word, kind="base", layout="model", method=None)


def on(base: Manifest, *, known: bool = True) -> BaseReference:
    """A reference to a base; not `known`: by its identity alone, as after an import."""
    identity = BaseIdentity(weights=base.weights_digest, config=digest("config"), tokenizer=digest("tokenizer"))
    return BaseReference(identity=identity, manifest=base.canonical_digest() if known else None)


def parent(role: str, manifest: Manifest) -> Parent:
    return Parent(role=role, manifest=manifest.canonical_digest())  # type: ignore[arg-type]


def a_data_file(word: str) -> DataIdentity:
    return DataIdentity(
        name=f"{word}.jsonl",
        format="jsonl",
        sha256=digest(word),
        bytes=10,
        rows_total=2,
        template_sha256=digest("template"),
        selections=(RowSelection(split="train", rule="all", rows=2, rows_sha256=digest("rows")),),
    )


def envelope_about(subject: Digest, word: str) -> tuple[bytes, Digest]:
    """A statement's envelope (its signature means nothing) and the digest of its payload."""
    return envelope_of(statement_about(subject, "card", {"word": word}).to_canonical())


def envelope_of(payload: bytes) -> tuple[bytes, Digest]:
    """An envelope of whatever bytes, whose signature means nothing, and their digest."""
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": "", "sig": base64.b64encode(b"signature").decode()}],
    }
    return json.dumps(envelope).encode(), Digest.of(payload)


def put_artifact(tx: catalog.Transaction, manifest: Manifest, **over: Any) -> Digest:
    found = manifest.canonical_digest()
    fields: dict[str, Any] = {
        "manifest_size": 100,
        "size_bytes": 1000,
        "signature_digest": None,
        "card_digest": None,
        "by_reference": False,
    }
    catalog.insert_artifact(tx, manifest=manifest, manifest_digest=found, **(fields | over))
    return found


def put_version(tx: catalog.Transaction, name: str, manifest: Manifest, *, at: str = NOW) -> Version:
    found = put_artifact(tx, manifest)
    index = append_event(tx, f"{name} {found}".encode())
    return catalog.add_version(tx, name=name, manifest_digest=found, key_id="key", registered_at=at, log_index=index)


def put_statement(tx: catalog.Transaction, subject: Digest, word: str, *, at: str = NOW) -> Digest:
    return put_envelope(tx, subject, *envelope_about(subject, word), at=at)


def put_envelope(tx: catalog.Transaction, subject: Digest, envelope: bytes, found: Digest, *, at: str = NOW) -> Digest:
    """Append a statement about the subject; `found` is the digest that its row names."""
    catalog.insert_statement(
        tx,
        digest=found,
        subject=subject,
        kind="card",
        predicate_type="urn:peft-registry:card:v1",
        key_id="key",
        envelope=envelope,
        log_index=append_event(tx, envelope),
        appended_at=at,
    )
    return found


def registered(database: Database, name: str, manifest: Manifest) -> Version:
    with database.write() as tx:
        return put_version(tx, name, manifest)
