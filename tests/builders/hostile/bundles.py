"""Bundles of Open Model Signing, of others and of ours."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

from peft_registry.registry.signing import dsse
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import PAYLOAD_TYPE
from tests.builders.hostile.edits import JSON_BYTES, removed, spoiled
from tests.builders.hostile.place import Case, Place
from tests.builders.signing import a_p256_key


def bundles() -> Iterator[Case]:
    def of(change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.model / "model.sig", change)
            return place.verify_foreign()

        return make

    def of_ours(change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.pulled / "model.sig", change)
            return place.verify()

        return make

    for name, change in JSON_BYTES.items():
        yield Case("bundle", f"foreign-{name}", of(change), 6)
    for name in ("empty", "cut", "repeated-key", "100000-levels", "a-list"):
        yield Case("bundle", f"ours-{name}", of_ours(JSON_BYTES[name]), 6)
    yield Case("bundle", "removed", lambda place: removed(place.model / "model.sig", place.verify_foreign()), 7)
    yield Case("bundle", "removed-from-ours", lambda place: removed(place.pulled / "model.sig", place.verify()), 6)

    names = {
        "parent": "../config.json",
        "absolute": "/etc/passwd",
        "dot": "./config.json",
        "doubled-slash": "sub//config.json",
        "backslash": "sub\\config.json",
        "nul": "config\x00.json",
        "newline": "config\n.json",
        "escape": "config\x1b[31m.json",
        "right-to-left": "config\u202enosj.json",
        "drive": "c:config.json",
        "trailing-slash": "config.json/",
        "empty": "",
    }
    for name, path in names.items():
        yield Case("name", f"signed-{name}", _signed_name(path), 6)
    yield Case("bundle", "nothing-listed", _resigned(lambda predicate: predicate | {"resources": []}), 6)
    yield Case("bundle", "listed-twice", _resigned(lambda p: p | {"resources": p["resources"] * 2}), 6)
    yield Case("bundle", "ignores-everything", _resigned(lambda p: _serialized(p, ignore_paths=["."])), 6)
    yield Case(
        "bundle", "ignores-weights", _resigned(lambda p: _serialized(p, ignore_paths=["weights.safetensors"])), 6
    )
    yield Case("bundle", "ignores-a-pattern", _pattern_over_an_extra_file, 6)
    yield Case("bundle", "md5", _resigned(lambda p: _serialized(p, hash_type="md5")), 6)
    yield Case("bundle", "links-allowed", _resigned(lambda p: _serialized(p, allow_symlinks=True)), 6)
    yield Case("bundle", "an-unknown-method", _resigned(lambda p: _serialized(p, method="guess")), 6)


def _serialized(predicate: dict[str, Any], **over: Any) -> dict[str, Any]:
    return predicate | {"serialization": predicate["serialization"] | over}


def _pattern_over_an_extra_file(place: Place) -> list[str]:
    (place.model / "extra.py").write_text("import os")
    return _resigned(lambda predicate: _serialized(predicate, ignore_paths=["*"]))(place)


def _resigned(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Place], list[str]]:
    """The model's signature made anew over another predicate, by the right key."""

    def make(place: Place) -> list[str]:
        path = place.model / "model.sig"
        bundle = json.loads(path.read_bytes())
        statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        statement["predicate"] = change(statement["predicate"])
        digests = b"".join(bytes.fromhex(resource["digest"]) for resource in statement["predicate"]["resources"])
        statement["subject"][0]["digest"]["sha256"] = Digest.of(digests).hex
        envelope = dsse.sign(a_p256_key(), PAYLOAD_TYPE, json.dumps(statement).encode())
        path.write_text(json.dumps(bundle | {"dsseEnvelope": envelope.to_json()}))
        return place.verify_foreign()

    return make


def _signed_name(name: str) -> Callable[[Place], list[str]]:
    return _resigned(
        lambda predicate: (
            predicate | {"resources": [predicate["resources"][0] | {"name": name}, *predicate["resources"][1:]]}
        )
    )
