"""Every published test vector, each with the verdict that its authors wrote down, counted against a table.

A case that is lost or not read any more fails as one that is answered wrongly.

The suites' own tests stand beside what they test; here is that nothing of the folder `vectors` is left out.
"""

import base64
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from peft_registry.cli.main import run
from peft_registry.registry.intake.json import MalformedJson, read_json
from peft_registry.registry.signing import dsse, strict_base64
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.transparency import merkle
from peft_registry.schemas.errors import IntegrityBroken
from tests.builders.signing import a_p256_key, verified_note


@dataclass(frozen=True)
class Case:
    """One vector: what its authors expect, and what came out. `expected` None: they leave it open."""

    name: str
    expected: str | None
    outcome: str


Suite = Callable[[Path, Path], Iterator[Case]]
"""Takes the folder of vectors and a scratch folder."""


def verdict(is_accepted: bool) -> str:
    return "accepted" if is_accepted else "refused"


def raises(action: Callable[[], object], *errors: type[Exception]) -> bool:
    try:
        action()
    except errors:
        return True
    return False


def wycheproof(vectors: Path, _: Path) -> Iterator[Case]:
    """Verification vectors; a result is valid or invalid."""
    for path in sorted((vectors / "wycheproof").iterdir()):
        for group in json.loads(path.read_bytes())["testGroups"]:
            key = PublicKey.parse(group["publicKeyPem"].encode("ascii"))
            for test in group["tests"]:
                accepted = key.verify(bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
                expected = verdict(test["result"] == "valid")
                yield Case(f"{path.stem} {test['tcId']} {test['comment']}", expected, verdict(accepted))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    yield from map(json.loads, path.read_text("utf-8").splitlines())


def _hashes(texts: list[str] | None) -> tuple[bytes, ...]:
    return tuple(base64.b64decode(text or "") for text in texts or ())


def inclusion(vectors: Path, _: Path) -> Iterator[Case]:
    for case in _lines(vectors / "merkle" / "inclusion.jsonl"):
        leaf, root = _hashes([case["leafHash"], case["root"]])
        proof = _hashes(case["proof"])
        wrong = raises(
            lambda: merkle.check_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root),  # noqa: B023  called now
            IntegrityBroken,
        )
        yield Case(f"{case['file']} {case['desc']}", verdict(not case["wantErr"]), verdict(not wrong))


def consistency(vectors: Path, _: Path) -> Iterator[Case]:
    for case in _lines(vectors / "merkle" / "consistency.jsonl"):
        old, new = _hashes([case["root1"], case["root2"]])
        proof = _hashes(case["proof"])
        wrong = raises(
            lambda: merkle.check_consistency(case["size1"], case["size2"], proof, old, new),  # noqa: B023  called now
            IntegrityBroken,
        )
        # one compares two equal texts that are no hashes; RFC 9162 knows SHA-256 only, so it is refused here
        is_wrong = case["wantErr"] or any(len(root) != merkle.HASH_BYTES for root in (old, new))
        yield Case(f"{case['file']} {case['desc']}", verdict(not is_wrong), verdict(not wrong))


def roots(vectors: Path, _: Path) -> Iterator[Case]:
    """The classic tree of eight leaves: its root at each size."""
    classic = json.loads((vectors / "merkle" / "rfc6962_roots.json").read_bytes())
    leaves = [bytes.fromhex(leaf) for leaf in classic["leaf_inputs_hex"]]
    for size, root in enumerate(classic["root_by_size_hex"]):
        yield Case(f"size {size}", "accepted", verdict(merkle.root_of(leaves[:size]).hex() == root))


def examples(vectors: Path, _: Path) -> Iterator[Case]:
    """The examples of two specifications: DSSE's signed bytes and signature, and a signed note."""
    both = json.loads((vectors / "spec-examples.json").read_bytes())
    envelope, signed = both["dsse"], both["signed_note"]
    pae = dsse.pae(envelope["payload_type"], envelope["body"].encode())
    yield Case("the bytes that DSSE signs", "accepted", verdict(pae == envelope["pae"].encode()))
    point = ec.EllipticCurvePublicNumbers(envelope["x"], envelope["y"], ec.SECP256R1()).public_key()
    key = _public(point)
    raw = base64.b64decode(envelope["sig_b64_raw_r_s"])
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    yield Case("its signature, in the form that OMS has", "accepted", verdict(key.verify(der, pae)))
    yield Case("its signature as two bare numbers", "refused", verdict(key.verify(raw, pae)))
    name, _, encoded = signed["vkey"].split("+", 2)
    note_key = _public(ed25519.Ed25519PublicKey.from_public_bytes(strict_base64.decode(encoded, what="vkey")[1:]))
    text = verified_note(signed["note"], name=name, key=note_key)
    yield Case("the signed note", "accepted", verdict(text == signed["note"].split("\n\n")[0] + "\n"))
    changed = signed["note"].replace("example message", "exumple message")
    wrong = raises(lambda: verified_note(changed, name=name, key=note_key), IntegrityBroken)
    yield Case("the signed note with another text", "refused", verdict(not wrong))


def _public(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> PublicKey:
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey.parse(pem)


def parsing(vectors: Path, _: Path) -> Iterator[Case]:
    """JSONTestSuite. It lets repeated keys pass, and we promise not to."""
    expects = {"accept": "accepted", "reject": "refused", "either": None}
    for case in _lines(vectors / "json" / "parsing.jsonl"):
        expected = "refused" if "duplicated_key" in case["name"] else expects[case["expect"]]
        data = base64.b64decode(case["b64"])
        wrong = raises(lambda: read_json(data, what="a vector"), MalformedJson)  # noqa: B023  called now
        yield Case(case["name"], expected, verdict(not wrong))


# --- by the command ---


def exit_of(*arguments: object) -> str:
    return f"exit {run([str(argument) for argument in arguments])}"


def releases(vectors: Path, scratch: Path) -> Iterator[Case]:
    """Models signed by three releases of the reference tool, whole, with a changed byte, and by another key."""
    history = vectors / "oms" / "history"
    key = history / "signing-key-pub.pem"
    other = scratch / "other.pub"
    other.write_bytes(a_p256_key().public.pem)
    options = {
        "v0.3.1-elliptic-key": (),
        "v1.0.1-elliptic-key": ("--ignore-paths", "ignore-me"),  # it recorded none, and the file is not signed
        "v1.1.0-elliptic-key": (),
    }
    for name, more in options.items():
        folder = Path(shutil.copytree(history / name, scratch / name))
        yield Case(f"{name} as it was signed", "exit 0", exit_of("verify", folder, "--key", key, *more))
        yield Case(f"{name} by another key", "exit 5", exit_of("verify", folder, "--key", other, *more))
        for path in sorted(folder.glob("signme-*")):
            path.chmod(0o644)
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            changed = exit_of("verify", folder, "--key", key, *more)
            path.write_bytes(data)
            yield Case(f"{name} with a changed {path.name}", "exit 6", changed)


def specification(vectors: Path, scratch: Path) -> Iterator[Case]:
    """Bundles of the OMS specification beside a file, offered to a key that signed none of them.

    The valid one by key names another key, which could not be checked; one by certificate is material of another kind.
    """
    spec = vectors / "oms" / "spec"
    for folder in ("valid", "invalid", "invalid-payload"):
        for path in sorted((spec / folder).iterdir()):
            code = "exit 5" if path.name == "key.bundle.json" else "exit 6"
            yield Case(f"{folder}/{path.name}", code, _offered(path, scratch / folder / path.stem))


def sigstore(vectors: Path, scratch: Path) -> Iterator[Case]:
    """Bundles of other kinds of signature: this verifier knows keys only, and says so. One is signed with a key that is at hand."""
    for path in sorted((vectors / "sigstore").glob("*/bundle.sigstore.json")):
        key = path.parent / "key.pub"
        outcome = _offered(path, scratch / path.parent.name, key=key if key.exists() else None)
        yield Case(path.parent.name, "exit 6", outcome)


def timestamps(vectors: Path, scratch: Path) -> Iterator[Case]:
    """RFC 3161: there is no reader of time stamps. What there is takes none of these files for something else."""
    folder = vectors / "rfc3161"
    for path in [*sorted(folder.glob("*.tsr")), folder / "request.der"]:
        yield Case(f"{path.name} as a signature", "exit 6", _offered(path, scratch / path.name))
    beside = scratch / "beside"
    beside.mkdir()
    (beside / "model.sig").write_bytes((folder / "response.tsr").read_bytes())
    code = exit_of("verify", beside, "--key", folder / "ts_chain.pem")
    yield Case("ts_chain.pem as a key", "exit 2", code)


def _offered(bundle: Path, folder: Path, *, key: Path | None = None) -> str:
    """The exit code for a folder that has this bundle as its signature."""
    folder.mkdir(parents=True)
    (folder / "signme-1").write_bytes(b"signme-1")
    (folder / "model.sig").write_bytes(bundle.read_bytes())
    if key is None:
        key = folder.parent / f"{folder.name}.pub"
        key.write_bytes(a_p256_key().public.pem)
    return exit_of("verify", folder, "--key", key)


# cases of each suite by what their authors expect; "either" where they leave it open
TABLE: dict[Suite, dict[str, int]] = {
    wycheproof: {"accepted": 174 + 88, "refused": 310 + 63},
    inclusion: {"accepted": 3, "refused": 32},
    consistency: {"accepted": 1, "refused": 34},
    roots: {"accepted": 9},
    examples: {"accepted": 3, "refused": 2},
    parsing: {"accepted": 33, "refused": 85, "either": 23},
    releases: {"exit 0": 3, "exit 5": 3, "exit 6": 5},
    specification: {"exit 5": 1, "exit 6": 5},
    sigstore: {"exit 6": 3},
    timestamps: {"exit 6": 3, "exit 2": 1},
}

# which suite reads a file, by the beginning of its path; what no suite reads says why
READ_BY: dict[str, Suite | str] = {
    "wycheproof/": wycheproof,
    "merkle/inclusion.jsonl": inclusion,
    "merkle/consistency.jsonl": consistency,
    "merkle/rfc6962_roots.json": roots,
    "spec-examples.json": examples,
    "json/parsing.jsonl": parsing,
    "oms/history/": releases,
    "oms/spec/valid/": specification,
    "oms/spec/invalid/": specification,
    "oms/spec/invalid-payload/": specification,
    "oms/spec/schemas/": "JSON schemas; the reader is stricter than they are, and the bundles beside them are its cases",
    "sigstore/a.txt": "what the sigstore bundles sign; none of them gets as far as its bytes",
    "sigstore/": sigstore,
    "rfc3161/": timestamps,
    "README.md": "says where the vectors come from",
    "SHA256SUMS": "the list itself",
}


@pytest.mark.parametrize("suite", TABLE, ids=lambda suite: suite.__name__)
def test_every_vector_gets_the_verdict_of_its_authors_and_none_is_lost(
    suite: Suite, test_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = list(suite(test_data / "vectors", tmp_path))
    wrong = [case for case in cases if case.expected not in (case.outcome, None)]
    assert wrong == []
    assert Counter(case.expected or "either" for case in cases) == TABLE[suite]
    assert len({case.name for case in cases}) == len(cases), "two cases of one name"
    assert "Traceback" not in capsys.readouterr().err


def test_every_file_of_the_vectors_is_the_published_one_and_is_read_by_a_suite(test_data: Path) -> None:
    vectors = test_data / "vectors"
    listed = {}
    for line in (vectors / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        listed[name.removeprefix("./")] = digest
    files = {str(path.relative_to(vectors)) for path in vectors.rglob("*") if path.is_file()}
    assert files == listed.keys() | {"SHA256SUMS"}
    changed = [
        name for name, digest in listed.items() if hashlib.sha256((vectors / name).read_bytes()).hexdigest() != digest
    ]
    assert changed == []
    unread = [name for name in sorted(files) if not any(name.startswith(start) for start in READ_BY)]
    assert unread == []
    unused = [start for start in READ_BY if not any(name.startswith(start) for name in files)]
    assert unused == []
    assert {suite for suite in READ_BY.values() if not isinstance(suite, str)} == TABLE.keys()
