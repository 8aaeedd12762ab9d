"""The hostile corpus: what somebody might hand to a command, made by code, with the exit code that it must end with.

Each case takes a fresh copy of something valid, spoils one thing in it, and gives the command line to run. Twelve classes; the
codes are those of the table in `docs/reference/errors.md`: 2 for what is offered for intake or typed, 5 for what could not be
checked, 6 for what is wrong in what was presented. Verifying never ends with 2 for the content of what it looks at.
"""

import base64
import json
import os
import pickle
import shutil
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from peft_registry.registry.homes.home import open_home
from peft_registry.registry.signing import dsse, oms
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import PAYLOAD_TYPE
from tests.builders.homes import base_files
from tests.builders.signing import a_p256_key, an_ed25519_key

STATEMENTS = "evidence/statements.intoto.jsonl"
PROOF = "evidence/log.tlog-proof"
COMPLETE = "evidence/complete.tlog-proof"
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Workplace:
    """What is valid and shared: a home, a version pulled from it, and its trust file. Nobody changes them."""

    home: Path
    pulled: Path
    trust: Path


class Place:
    """Copies for one case, each made when it is first asked for."""

    def __init__(self, shared: Workplace, folder: Path) -> None:
        self._shared = shared
        self.folder = folder

    @cached_property
    def home(self) -> Path:
        return Path(shutil.copytree(self._shared.home, self.folder / "home"))

    @cached_property
    def pulled(self) -> Path:
        return Path(shutil.copytree(self._shared.pulled, self.folder / "pulled"))

    @cached_property
    def trust(self) -> Path:
        return Path(shutil.copy(self._shared.trust, self.folder / "trust.json"))

    @cached_property
    def model(self) -> Path:
        """A model that somebody signed with Open Model Signing; the public key is beside it."""
        folder = self.folder / "model"
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(bytes(64))
        (folder / "config.json").write_text("{}")
        self.sign_model(*(oms.Resource(path.name, Digest.of(path.read_bytes())) for path in sorted(folder.iterdir())))
        (self.folder / "key.pub").write_bytes(a_p256_key().public.pem)
        return folder

    def sign_model(self, *resources: oms.Resource, ignore_paths: tuple[str, ...] = ()) -> None:
        statement = oms.sign_folder_listing(
            a_p256_key(), model_name="model", resources=resources, ignore_paths=ignore_paths
        )
        (self.folder / "model" / "model.sig").write_bytes(statement)

    @cached_property
    def base(self) -> Path:
        return base_files(self.folder / "base")

    @cached_property
    def trainer(self) -> PrivateKey:
        """The key that signed everything, in the hand of somebody who makes up what he likes."""
        return PrivateKey.load(self._shared.home / "keys" / "trainer.key")

    @cached_property
    def manifest(self) -> Digest:
        return Digest.of((self._shared.pulled / "manifest.json").read_bytes())

    # the command lines

    def verify(self) -> list[str]:
        return ["verify", str(self.pulled), "--trust", str(self.trust)]

    def verify_foreign(self) -> list[str]:
        return ["verify", str(self.model), "--key", str(self.folder / "key.pub")]

    def add_base(self) -> list[str]:
        return ["base", "add", str(self.base), "--name", "offered", "--home", str(self.home)]

    def in_home(self, *words: str) -> list[str]:
        return [*words, "--home", str(self.home)]


@dataclass(frozen=True)
class Case:
    """`make` spoils something in its place and gives the command line; `code` is what the command must end with."""

    kind: str
    name: str
    make: Callable[[Place], list[str]]
    code: int

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.name}"


# --- what can be done to the bytes of any JSON, and of any text ---


def _twice(data: bytes) -> bytes:
    """The first key of the object, once more before it, with another value."""
    key = data[: data.index(b":")].strip().lstrip(b"{").strip()
    return b"{" + key + b":null," + data.strip()[1:]


def _with_first(data: bytes, text: bytes) -> bytes:
    """One more member at the beginning of the object."""
    return b'{"zzz":' + text + b"," + data.strip()[1:]


JSON_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "byte-order-mark": lambda data: b"\xef\xbb\xbf" + data,
    "trailing-bytes": lambda data: data.rstrip(b"\n") + b"x",
    "two-documents": lambda data: data.rstrip(b"\n") + data,
    "utf-16": lambda data: data.decode().encode("utf-16"),
    "not-utf-8": lambda data: _with_first(data, b'"\xff"'),
    "nul": lambda data: data.replace(b":", b"\x00:", 1),
    "repeated-key": _twice,
    "nan": lambda data: _with_first(data, b"NaN"),
    "infinity": lambda data: _with_first(data, b"1e999"),
    "5000-digits": lambda data: _with_first(data, b"9" * 5_000),
    "100000-levels": lambda data: _with_first(data, b"[" * 100_000 + b"]" * 100_000),
    "half-a-surrogate-pair": lambda data: _with_first(data, b'"\\ud800"'),
    "a-list": lambda data: b"[" + data.rstrip(b"\n") + b"]",
    "null": lambda data: b"null",
    "a-number": lambda data: b"7",
    "2000000-lists": lambda data: _with_first(data, b"[" + b"[]," * 2_000_000 + b"0]"),
}


def _line(text: bytes, number: int, change: Callable[[bytes], bytes]) -> bytes:
    lines = text.split(b"\n")
    lines[number] = change(lines[number])
    return b"\n".join(lines)


NOTE_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "no-signature": lambda data: data[: data.rindex("—".encode())],
    "no-last-newline": lambda data: data.rstrip(b"\n"),
    "carriage-returns": lambda data: data.replace(b"\n", b"\r\n"),
    "nul": lambda data: data.replace(b"\n\n", b"\n\x00\n", 1),
    "not-utf-8": lambda data: b"\xff" + data,
    "signature-of-another": lambda data: _line(data, -2, lambda line: line[:-9] + b"AAAAAAAA="),
    "a-mebibyte-more": lambda data: data + b"x" * (1 << 20),
    "100000-signatures": lambda data: data + data.split(b"\n")[-2].join([b"\n"] * 20_000) + b"\n",
}


def spoiled(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))


def edited(path: Path, **over: Any) -> None:
    """Members of a JSON object set to something else, its signature left as it was."""
    value = json.loads(path.read_bytes())
    path.chmod(0o644)
    path.write_text(json.dumps(value | over))


# --- trust files ---


def trust_files() -> Iterator[Case]:
    def of(change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.trust, change)
            return place.verify()

        return make

    for name, change in JSON_BYTES.items():
        yield Case("trust", name, of(change), 6)

    def signed_by(*seeds: int) -> Callable[[Place], list[str]]:
        """The newest version signed by other keys than those that it names as roots."""

        def make(place: Place) -> list[str]:
            version = _newest_version(place.trust)
            payload = base64.b64decode(version["payload"])
            version["signatures"] = [
                {
                    "keyid": a_p256_key(seed).public.key_id,
                    "sig": base64.b64encode(a_p256_key(seed).sign(payload)).decode(),
                }
                for seed in seeds
            ]
            _put_newest_version(place.trust, version)
            return place.verify()

        return make

    yield Case("trust", "signed-by-a-stranger", signed_by(5), 6)
    yield Case("trust", "signed-by-nobody", signed_by(), 5)
    yield Case("trust", "not-json-but-a-key", lambda place: _written(place.trust, a_p256_key().public.pem, place), 6)
    yield Case("trust", "a-folder", _trust_is_a_folder, 6)
    yield Case("trust", "a-fifo", _trust_is_a_fifo, 6)
    yield Case("trust", "none", lambda place: ["verify", str(place.pulled), "--trust", str(place.folder / "none")], 7)


def _newest_version(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_bytes())
    newest: dict[str, Any] = value["chain"][-1] if "chain" in value else value
    return newest


def _put_newest_version(path: Path, version: dict[str, Any]) -> None:
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps({"chain": [*value["chain"][:-1], version]} if "chain" in value else version))


def _written(path: Path, data: bytes, place: Place) -> list[str]:
    path.write_bytes(data)
    return place.verify()


def _trust_is_a_folder(place: Place) -> list[str]:
    place.trust.unlink()
    place.trust.mkdir()
    return place.verify()


def _trust_is_a_fifo(place: Place) -> list[str]:
    place.trust.unlink()
    os.mkfifo(place.trust)
    return place.verify()


# --- proofs in a folder, checkpoints beside a home ---


def proofs() -> Iterator[Case]:
    def of(name: str, change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.pulled / name, change)
            return place.verify()

        return make

    for name, change in NOTE_BYTES.items():
        yield Case("proof", f"entry-{name}", of(PROOF, change), 6)
        yield Case("proof", f"complete-{name}", of(COMPLETE, change), 6)

    def index(text: bytes) -> Callable[[bytes], bytes]:
        def change(data: bytes) -> bytes:
            lines = data.split(b"\n")
            number = next(number for number, line in enumerate(lines) if line.startswith(b"index "))
            lines[number] = b"index " + text
            return b"\n".join(lines)

        return change

    for name, text in {
        "negative": b"-1",
        "padded": b"007",
        "huge": b"9" * 40,
        "another": b"0",
        "words": b"one",
    }.items():
        yield Case("proof", f"index-{name}", of(PROOF, index(text)), 6)
    yield Case(
        "proof",
        "more-hashes",
        of(
            PROOF,
            lambda data: data.replace(b"index ", b"index ", 1).replace(
                b"\n\n", b"\n" + (b"A" * 43 + b"=\n") * 70 + b"\n", 1
            ),
        ),
        6,
    )
    yield Case("proof", "removed", lambda place: _without(place, COMPLETE), 5)
    yield Case("proof", "exchanged", _exchanged_proofs, 6)


def _without(place: Place, name: str) -> list[str]:
    (place.pulled / name).unlink()
    return place.verify()


def _exchanged_proofs(place: Place) -> list[str]:
    one, other = place.pulled / PROOF, place.pulled / COMPLETE
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    return place.verify()


def checkpoints() -> Iterator[Case]:
    def against(change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            path = place.folder / "checkpoint"
            path.write_bytes(change((place.home / "checkpoints" / "latest").read_bytes()))
            return place.in_home("log", "check", "--against", str(path))

        return make

    def beside(change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.home / "checkpoints" / "latest", change)
            return place.in_home("verify", "helper:1")

        return make

    for name, change in NOTE_BYTES.items():
        yield Case("checkpoint", f"given-{name}", against(change), 6)
        yield Case("checkpoint", f"remembered-{name}", beside(change), 6)
    sizes = {
        "zero": b"0",
        "negative": b"-3",
        "padded": b"03",
        "larger": b"400000",
        "huge": b"9" * 30,
        "words": b"three",
    }
    for name, size in sizes.items():
        yield Case("checkpoint", f"size-{name}", against(lambda data, size=size: _line(data, 1, lambda _: size)), 6)  # type: ignore[misc]
    yield Case("checkpoint", "another-log", against(lambda data: _line(data, 0, lambda _: b"peft-registry/other")), 6)
    yield Case("checkpoint", "short-root", against(lambda data: _line(data, 2, lambda _: b"AAAA")), 6)
    yield Case("checkpoint", "another-root", against(lambda data: _line(data, 2, lambda _: b"A" * 43 + b"=")), 6)


# --- envelopes and the statements in them ---


def envelopes() -> Iterator[Case]:
    def of(change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        """The first line changed, the others as they were."""

        def make(place: Place) -> list[str]:
            spoiled(place.pulled / STATEMENTS, lambda data: _line(data, 0, change))
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


def _two_signatures(line: bytes) -> bytes:
    value = json.loads(line)
    return json.dumps(value | {"signatures": value["signatures"] * 2}).encode()


def _more_lines(place: Place, count: int) -> list[str]:
    with (place.pulled / STATEMENTS).open("ab") as file:
        file.write(b"{}\n" * count)
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
        return lambda place: sign_statement(place.manifest, kind, predicate, place.trainer).envelope

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
        said(lambda place: sign_statement(place.manifest, "card", {}, a_p256_key(9)).envelope),
        6,
    )


# --- bundles of Open Model Signing, of others and of ours ---


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
    yield Case("bundle", "removed", lambda place: _removed(place.model / "model.sig", place.verify_foreign()), 7)
    yield Case("bundle", "removed-from-ours", lambda place: _removed(place.pulled / "model.sig", place.verify()), 6)

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


def _removed(path: Path, command: list[str]) -> list[str]:
    path.unlink()
    return command


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


# --- manifests ---


def manifests() -> Iterator[Case]:
    def of(change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.pulled / "manifest.json", change)
            return place.verify()

        return make

    for name, change in JSON_BYTES.items():
        yield Case("manifest", name, of(change), 6)

    def member(**over: Any) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            edited(place.pulled / "manifest.json", **over)
            return place.verify()

        return make

    yield Case("manifest", "of-a-newer-form", member(schema="urn:peft-registry:manifest:v9"), 6)
    yield Case("manifest", "of-another-kind", member(kind="base"), 6)
    yield Case("manifest", "no-files", member(files=[]), 6)
    yield Case(
        "manifest", "a-file-above", member(files=[{"path": "../x", "size": 1, "sha256": "sha256:" + "0" * 64}]), 6
    )
    yield Case(
        "manifest", "a-negative-size", member(files=[{"path": "x", "size": -1, "sha256": "sha256:" + "0" * 64}]), 6
    )
    yield Case(
        "manifest",
        "its-own-parent",
        lambda place: member(parents=[{"role": "adapter", "manifest": str(place.manifest)}])(place),
        6,
    )
    yield Case("manifest", "more-members", member(more="x" * 100), 6)
    yield Case("manifest", "removed", lambda place: _removed(place.pulled / "manifest.json", place.verify()), 6)


# --- weights ---


def _header(value: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _tensor(begin: int = 0, end: int = 8, *, dtype: Any = "F32", shape: Any = (2,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [begin, end]}


def weights() -> Iterator[Case]:
    def of(data: bytes | Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            path = place.base / "model.safetensors"
            path.write_bytes(data(path.read_bytes()) if callable(data) else data)
            return place.add_base()

        return make

    files: dict[str, bytes | Callable[[bytes], bytes]] = {
        "empty": b"",
        "seven-bytes": bytes(7),
        "header-of-nothing": struct.pack("<Q", 0),
        "header-longer-than-the-file": _header({"a": _tensor()}, bytes(8), length=1 << 20),
        "header-of-2-to-63": _header({"a": _tensor()}, bytes(8), length=1 << 63),
        "header-of-9-megabytes": _header(b" " * 9_000_000 + b"{}"),
        "header-no-json": _header(b"{tensor}", bytes(8)),
        "header-a-list": _header([1]),
        "header-begins-with-a-space": _header(b" " + json.dumps({"a": _tensor()}).encode(), bytes(8)),
        "header-not-utf-8": _header(b'{"\xff":' + json.dumps(_tensor()).encode() + b"}", bytes(8)),
        "header-nested": _header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", bytes(8)),
        "one-name-twice": _header(
            b'{"a":' + json.dumps(_tensor()).encode() + b',"a":' + json.dumps(_tensor()).encode() + b"}", bytes(8)
        ),
        "overlap": _header({"a": _tensor(0, 8), "b": _tensor(4, 12)}, bytes(12)),
        "hole": _header({"a": _tensor(0, 8), "b": _tensor(12, 20)}, bytes(20)),
        "same-bytes-twice": _header({"a": _tensor(0, 8), "b": _tensor(0, 8)}, bytes(8)),
        "trailing-bytes": lambda data: data + b"x",
        "cut": lambda data: data[:-4],
        "backwards": _header({"a": _tensor(8, 0)}, bytes(8)),
        "negative-offset": _header({"a": _tensor(-8, 0)}, bytes(8)),
        "fractional-offset": _header({"a": _tensor() | {"data_offsets": [0.0, 8.0]}}, bytes(8)),
        "shape-of-another-size": _header({"a": _tensor(shape=(3,))}, bytes(8)),
        "negative-shape": _header({"a": _tensor(shape=(-1, -2))}, bytes(8)),
        "shape-overflows": _header({"a": _tensor(shape=(1 << 62, 1 << 62, 0))}, b""),
        "shape-a-number": _header({"a": _tensor(shape=2)}, bytes(8)),
        "an-unknown-type": _header({"a": _tensor(dtype="F31")}, bytes(8)),
        "type-a-number": _header({"a": _tensor(dtype=7)}, bytes(8)),
        "more-members": _header({"a": _tensor() | {"more": 1}}, bytes(8)),
        "metadata-of-numbers": _header({"__metadata__": {"a": 1}, "a": _tensor()}, bytes(8)),
        "no-tensors": _header({}),
        "300000-empty-tensors": _header({f"t{n}": _tensor(0, 0, shape=(0,)) for n in range(300_000)}),
        "name-with-an-escape": _header({"a\x1b[31m": _tensor()}, bytes(8)),
        "name-with-a-newline": _header({"a\nb": _tensor()}, bytes(8)),
        "nan": _header({"a": _tensor()}, struct.pack("<2f", 1.0, float("nan"))),
        "infinity": _header({"a": _tensor()}, struct.pack("<2f", float("-inf"), 1.0)),
        "a-pointer-of-git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n",
        "a-page": b"<!DOCTYPE html><html><body>404</body></html>",
        "a-pickle": pickle.dumps({"a": [1.0]}),
        "a-pickle-of-protocol-0": pickle.dumps({"a": [1.0]}, protocol=0),
        "a-gguf": b"GGUF" + struct.pack("<IQQ", 3, 0, 0),
    }
    for name, data in files.items():
        yield Case("weights", name, of(data), 2)
    for name in ("pytorch_model.bin", "extra.pt", "extra.ckpt", "optimizer.pkl", "training_args.bin"):
        yield Case(
            "weights", f"beside-{name}", lambda place, name=name: _beside(place, name, pickle.dumps({"a": 1})), 2
        )  # type: ignore[misc]
    yield Case("weights", "a-torch-zip", _a_torch_zip, 2)
    yield Case(
        "weights",
        "beside-a-pickle-of-protocol-0",
        lambda place: _beside(place, "notes.txt", pickle.dumps({"a": 1}, 0)),
        2,
    )
    yield Case("weights", "missing", lambda place: _removed(place.base / "model.safetensors", place.add_base()), 2)


def _beside(place: Place, name: str, data: bytes) -> list[str]:
    (place.base / name).write_bytes(data)
    return place.add_base()


def _a_torch_zip(place: Place) -> list[str]:
    with zipfile.ZipFile(place.base / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
    return place.add_base()


# --- JSON that is offered ---


def offered_json() -> Iterator[Case]:
    def of(file: str, change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.base / file, change)
            return place.add_base()

        return make

    for name, change in JSON_BYTES.items():
        yield Case("json", f"config-{name}", of("config.json", change), 2)
    for name in ("empty", "cut", "repeated-key", "100000-levels", "a-list", "nan"):
        yield Case("json", f"tokenizer-{name}", of("tokenizer.json", JSON_BYTES[name]), 2)
    code = {"auto_map": {"AutoModel": "modeling.Evil"}}
    yield Case("json", "config-names-code", lambda place: _config(place, **code), 2)
    yield Case("json", "code-beside", lambda place: _beside(place, "modeling_evil.py", b"raise SystemExit"), 2)


def _config(place: Place, **over: Any) -> list[str]:
    edited(place.base / "config.json", **over)
    return place.add_base()


# --- names that are typed ---


def typed_names() -> Iterator[Case]:
    names = {
        "parent": "../tiny",
        "absolute": "/etc/passwd",
        "empty": "",
        "upper-case": "TINY",
        "newline": "ti\nny",
        "escape": "ti\x1b[31mny",
        "right-to-left": "ti\u202eny",
        "256-characters": "t" * 256,
        "semicolon": "tiny;drop",
        "quote": "tiny' OR '1'='1",
        "percent": "tin%",
        "template": "{{7*7}}",
        "number-0": "tiny:0",
        "number-of-30-digits": "tiny:" + "9" * 30,
        "negative-number": "tiny:-1",
        "two-aliases": "tiny@a@b",
        "short-digest": "sha256:abc",
    }
    for name, text in names.items():
        yield Case("name", f"shown-{name}", lambda place, text=text: place.in_home("show", text), 2)  # type: ignore[misc]
    for name in ("latest", "v3", "7", "a/b", "", "x" * 64):
        yield Case(
            "name",
            f"alias-{name[:8] or 'empty'}",
            lambda place, name=name: place.in_home("promote", "helper:1", name),
            2,
        )  # type: ignore[misc]


# --- what is not a regular file ---


def files() -> Iterator[Case]:
    def in_pulled(make: Callable[[Path], None], name: str = "extra") -> Callable[[Place], list[str]]:
        def spoil(place: Place) -> list[str]:
            path = place.pulled / name
            path.unlink(missing_ok=True)
            make(path)
            return place.verify()

        return spoil

    def in_base(make: Callable[[Path], None], name: str = "extra.json") -> Callable[[Place], list[str]]:
        def spoil(place: Place) -> list[str]:
            path = place.base / name
            path.unlink(missing_ok=True)
            make(path)
            return place.add_base()

        return spoil

    things: dict[str, Callable[[Path], None]] = {
        "link-to-a-device": lambda path: path.symlink_to("/dev/zero"),
        "link-to-nothing": lambda path: path.symlink_to("nothing"),
        "link-to-itself": lambda path: path.symlink_to(path.name),
        "link-to-a-folder": lambda path: path.symlink_to("/"),
        "fifo": os.mkfifo,
        "socket": _a_socket,
    }
    for name, make in things.items():
        yield Case("file", f"pulled-{name}", in_pulled(make), 6)
        yield Case("file", f"pulled-weights-{name}", in_pulled(make, WEIGHTS), 6)
        yield Case("file", f"base-{name}", in_base(make), 2)
        yield Case("file", f"base-config-{name}", in_base(make, "config.json"), 2)
    yield Case("file", "pulled-extra", in_pulled(lambda path: path.touch()), 6)
    yield Case("file", "pulled-hidden", in_pulled(lambda path: path.touch(), ".hidden"), 6)
    yield Case("file", "pulled-git", in_pulled(_a_repository, ".git"), 6)
    yield Case("file", "pulled-evidence-extra", in_pulled(lambda path: path.touch(), "evidence/more.json"), 6)
    yield Case("file", "pulled-weights-missing", in_pulled(lambda path: None, WEIGHTS), 6)
    yield Case("file", "pulled-weights-a-folder", in_pulled(lambda path: path.mkdir(), WEIGHTS), 6)
    yield Case("file", "pulled-other-case", in_pulled(lambda path: path.write_text("{}"), "ADAPTER_config.json"), 6)
    yield Case("file", "pulled-name-not-utf-8", lambda place: _name_not_utf8(place), 6)


def _a_repository(path: Path) -> None:
    path.mkdir()
    (path / "config").write_text("[core]\n")


def _a_socket(path: Path) -> None:
    there = Path.cwd()
    os.chdir(path.parent)  # the path of a socket may have about 100 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(there)


def _name_not_utf8(place: Place) -> list[str]:
    (Path(os.fsdecode(os.fsencode(place.pulled) + b"/\xff"))).touch()
    return place.verify()


# --- keys ---


def keys() -> Iterator[Case]:
    def public(data: bytes) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            command = place.verify_foreign()
            (place.folder / "key.pub").write_bytes(data)
            return command

        return make

    pem, spki = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    good = a_p256_key().public.pem
    secret = ec.derive_private_key(1, ec.SECP256R1())
    private = secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    rsa_key = rsa.generate_private_key(65537, 1024).public_key().public_bytes(pem, spki)
    koblitz = ec.derive_private_key(1, ec.SECP256K1()).public_key().public_bytes(pem, spki)
    public_keys = {
        "empty": b"",
        "words": b"my key",
        "cut": good[: len(good) // 2],
        "two": good * 2,
        "private": private,
        "rsa": rsa_key,
        "ed25519": an_ed25519_key().public.pem,
        "another-curve": koblitz,
        "certificate": good.replace(b"PUBLIC KEY", b"CERTIFICATE"),
        "der": base64.b64decode(b"".join(good.splitlines()[1:-1])),
        "loose-base64": good.replace(b"\n-----END", b"!\n-----END"),
        "2-megabytes": good + b"#" * (2 << 20),
        "not-utf-8": good.replace(b"\n-----END", b"\xff\n-----END"),
    }
    for name, data in public_keys.items():
        yield Case("key", f"public-{name}", public(data), 2)

    def signing(change: Callable[[Path], None]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            path = place.home / "keys" / "trainer.key"
            change(path)
            return place.in_home("promote", "helper:1", "candidate")

        return make

    private_keys: dict[str, tuple[Callable[[Path], None], int]] = {
        "empty": (lambda path: path.write_bytes(b"") and None, 2),
        "cut": (lambda path: path.write_bytes(path.read_bytes()[:60]) and None, 2),
        "a-public-one": (lambda path: path.write_bytes(good) and None, 2),
        "readable-by-all": (lambda path: path.chmod(0o644), 2),
        "a-link": (_through_a_link, 2),
        "a-fifo": (lambda path: (path.unlink(), os.mkfifo(path, 0o600))[0], 2),
        "a-folder": (lambda path: (path.unlink(), path.mkdir())[0], 2),
        "missing": (lambda path: path.unlink(), 7),
    }
    for name, (change, code) in private_keys.items():
        yield Case("key", f"private-{name}", signing(change), code)


def _through_a_link(path: Path) -> None:
    moved = path.rename(path.with_name("elsewhere.key"))
    path.symlink_to(moved)


# --- all of it ---


def corpus() -> tuple[Case, ...]:
    makers = (
        trust_files,
        proofs,
        checkpoints,
        envelopes,
        statements,
        bundles,
        manifests,
        weights,
        offered_json,
        typed_names,
        files,
        keys,
    )
    return tuple(case for make in makers for case in make())


def make_workplace(folder: Path) -> Workplace:
    """A home with a base and an adapter of it, the adapter pulled, the trust file exported."""
    from peft_registry.registry.homes.home import utc_now
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.pull import pull_version
    from tests.builders.homes import a_home, register_adapter

    with a_home(folder / "home", now=utc_now()):
        pass
    registry = open_home(folder / "home")
    try:
        register_adapter(registry, folder)
        pull_version(registry, version_named(registry, "helper:1"), folder / "pulled")
    finally:
        registry.close()
    shutil.copy(folder / "home" / "trust.json", folder / "trust.json")
    return Workplace(folder / "home", folder / "pulled", folder / "trust.json")
