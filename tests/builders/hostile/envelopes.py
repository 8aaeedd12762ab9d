"""Envelopes, and the statements in them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from peft_registry.registry.signing import dsse
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.schemas.statement import PAYLOAD_TYPE
from tests.builders.hostile.edits import JSON_BYTES, changed_line, spoiled
from tests.builders.hostile.place import STATEMENTS, Case, Place
from tests.builders.signing import a_p256_key


def envelopes() -> Iterator[Case]:
    def of(change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        """The first line changed, the others as they were."""

        def make(place: Place) -> list[str]:
            spoiled(place.pulled / STATEMENTS, lambda data: changed_line(data, 0, change))
            return place.verify()

        return make

    for name, change in JSON_BYTES.items():
        # an empty line is a statement that was withheld
        yield Case("envelope", name, of(change), 5 if name == "empty" else 6)

    def member(**over: Any) -> Callable[[Place], list[str]]:
        return of(lambda line: json.dumps(json.loads(line) | over).encode())

    yield Case("envelope", "another-type", member(payloadType="application/json"), 6)
    yield Case("envelope", "empty-type", member(payloadType=""), 6)
    yield Case("envelope", "no-signatures", member(signatures=[]), 6)
    yield Case("envelope", "empty-signature", member(signatures=[{"sig": "", "keyid": ""}]), 6)
    yield Case("envelope", "loose-base64", of(lambda line: line.replace(b'"sig":"', b'"sig":" ')), 6)
    yield Case("envelope", "more-members", member(more=1), 6)
    yield Case("envelope", "payload-of-another-kind", member(payload=["eyJ9"]), 6)
    yield Case("envelope", "two-signatures", of(_two_signatures), 6)
    yield Case("envelope", "a-keyid", of(lambda line: line.replace(b'"keyid":""', b'"keyid":"me"')), 6)
    yield Case("envelope", "blank-line", of(lambda line: b"\n" + line), 0)  # says nothing
    yield Case("envelope", "100000-lines", lambda place: _more_lines(place, 100_000), 6)
    yield Case("envelope", "line-removed", lambda place: _lines(place, lambda lines: lines[1:]), 5)
    yield Case(
        "envelope", "line-twice", lambda place: _lines(place, lambda lines: [*lines, lines[0]]), 0
    )  # says nothing new
    yield Case("envelope", "2000-by-90-keys-in-turn", _by_strangers_in_turn, 6)


def _two_signatures(line: bytes) -> bytes:
    value = json.loads(line)
    return json.dumps(value | {"signatures": value["signatures"] * 2}).encode()


def _more_lines(place: Place, count: int) -> list[str]:
    with (place.pulled / STATEMENTS).open("ab") as file:
        file.write(b"{}\n" * count)
    return place.verify()


def _by_strangers_in_turn(place: Place) -> list[str]:
    """Good signatures by strangers' keys in turn: which of them made the next one is found by trying all."""
    strangers = [a_p256_key(seed) for seed in range(1000, 1090)]
    for key in strangers:
        (place.pulled / "evidence" / "keys" / f"{key.public.key_id[:16]}.pub").write_bytes(key.public.pem)
    with (place.pulled / STATEMENTS).open("ab") as file:
        for nonce in range(2000):
            signer = strangers[nonce % len(strangers)]
            file.write(sign_statement(place.manifest, "test-result", {"nonce": nonce}, signer).line + b"\n")
    return place.verify()


def _lines(place: Place, change: Callable[[list[bytes]], list[bytes]]) -> list[str]:
    path = place.pulled / STATEMENTS
    path.write_bytes(b"\n".join(change(path.read_bytes().splitlines())) + b"\n")
    return place.verify()


def statements() -> Iterator[Case]:
    """Signed by the right key, about the right artifact or not, and never logged: whoever has a trainer's key can make these."""

    def said(make: Callable[[Place], bytes]) -> Callable[[Place], list[str]]:
        def add(place: Place) -> list[str]:
            with (place.pulled / STATEMENTS).open("ab") as file:
                file.write(make(place) + b"\n")
            return place.verify()

        return add

    def of_kind(kind: Any, predicate: dict[str, Any]) -> Callable[[Place], bytes]:
        return lambda place: sign_statement(place.manifest, kind, predicate, place.trainer).line

    for kind in ("approval", "waiver", "decision", "hold", "recall"):
        yield Case("statement", f"{kind}-by-the-trainer", said(of_kind(kind, {})), 6)
    for kind in ("registration", "card", "alias", "bias-evaluation", "modification", "provenance", "evaluation-plan"):
        yield Case("statement", f"{kind}-of-nothing", said(of_kind(kind, {})), 6)
    yield Case("statement", "unlisted-in-the-log", said(of_kind("test-result", {"result": "PASSED"})), 6)

    def payload(**over: Any) -> Callable[[Place], bytes]:
        def make(place: Place) -> bytes:
            value = {
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"name": "manifest.json", "digest": {"sha256": place.manifest.hex}}],
                "predicateType": "urn:peft-registry:card:v1",
                "predicate": {},
            }
            return dsse.sign(place.trainer, PAYLOAD_TYPE, json.dumps(value | over).encode()).render()

        return make

    other = "0" * 64
    subjects: dict[str, Any] = {
        "about-another": [{"name": "manifest.json", "digest": {"sha256": other}}],
        "about-nothing": [],
        "about-two": [{"name": "a", "digest": {"sha256": other}}] * 2,
        "about-a-sha1": [{"name": "a", "digest": {"sha1": "0" * 40}}],
        "about-a-number": 7,
    }
    for name, subject in subjects.items():
        yield Case("statement", name, said(payload(subject=subject)), 6)
    yield Case("statement", "of-an-unknown-type", said(payload(predicateType="urn:peft-registry:unknown:v1")), 6)
    yield Case("statement", "of-no-type", said(payload(predicateType=None)), 6)
    yield Case("statement", "another-statement-type", said(payload(_type="https://in-toto.io/Statement/v0.1")), 6)
    yield Case("statement", "predicate-is-a-text", said(payload(predicate="x")), 6)
    yield Case(
        "statement",
        "payload-is-no-json",
        said(lambda place: dsse.sign(place.trainer, PAYLOAD_TYPE, b"\xff").render()),
        6,
    )
    yield Case(
        "statement",
        "by-a-stranger",
        said(lambda place: sign_statement(place.manifest, "card", {}, a_p256_key(9)).line),
        6,
    )
