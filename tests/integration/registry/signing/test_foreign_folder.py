"""`registry verify FOLDER --key PEM`: models that others signed with OpenSSF Model Signing, right, changed, and of other kinds."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from peft_registry.cli.main import run
from peft_registry.registry.signing import dsse, oms
from peft_registry.schemas.identity import Digest
from tests.builders.signing import a_p256_key, an_ed25519_key

FILES = {"config.json": b"{}", "model.safetensors": bytes(300), "sub/tokenizer.json": b"[]", "naïve.txt": b"x"}
Printed = pytest.CaptureFixture[str]


def write_files(folder: Path) -> Path:
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model signed here, as any tool of OMS may sign it, and its public key beside it."""
    root = write_files(tmp_path / "model")
    sign(root)
    (tmp_path / "key.pub").write_bytes(a_p256_key().public.pem)
    return root


def sign(root: Path, *, ignore_paths: tuple[str, ...] = ()) -> None:
    left_out = (*ignore_paths, "model.sig")
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    resources = [
        oms.Resource(name, Digest.of((root / name).read_bytes()))
        for name in names
        if not any(name == path or name.startswith(f"{path}/") for path in left_out)
    ]
    signature = oms.sign_folder_listing(
        a_p256_key(), model_name="model", resources=resources, ignore_paths=ignore_paths
    )
    (root / "model.sig").write_bytes(signature)


def verify(folder: Path, *more: str, key: Path | None = None) -> int:
    return run(["verify", str(folder), "--key", str(key or folder.parent / "key.pub"), *more])


def document(capsys: Printed) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_folder_that_was_signed_elsewhere_verifies_by_its_key_without_a_registry(
    folder: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert verify(folder) == 0
    assert "4 files match" in capsys.readouterr().out
    assert verify(folder, "-o", "json") == 0
    outcome = document(capsys)
    assert outcome["verdict"] == "verified"
    assert [check["step"] for check in outcome["checks"]] == ["signature", "files", "ignored"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda root: (root / "model.safetensors").write_bytes(bytes(299) + b"\1"), "changed: model.safetensors"),
        (lambda root: (root / "sub" / "tokenizer.json").unlink(), "missing: sub/tokenizer.json"),
        (lambda root: (root / "extra.py").write_text("import os"), "extra: extra.py"),
        (lambda root: (root / "link").symlink_to("/etc/hostname"), "link"),
        (lambda root: (root / "config.json").rename(root / "config.JSON"), "missing: config.json"),
    ],
    ids=["changed", "missing", "extra", "link", "renamed"],
)
def test_a_folder_that_was_changed_is_broken_and_the_file_is_named(
    folder: Path, capsys: Printed, change: Any, named: str
) -> None:
    change(folder)
    assert verify(folder) == 6
    assert named in capsys.readouterr().out


def test_a_signature_by_another_key_could_not_be_checked(folder: Path, tmp_path: Path, capsys: Printed) -> None:
    (tmp_path / "other.pub").write_bytes(a_p256_key(2).public.pem)
    assert verify(folder, key=tmp_path / "other.pub") == 5
    assert "unverified" in capsys.readouterr().out


def test_a_signature_that_names_the_key_and_is_not_by_it_is_broken(
    folder: Path, tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "other.pub").write_bytes(a_p256_key(2).public.pem)
    forged = (folder / "model.sig").read_text().replace(a_p256_key().public.key_id, a_p256_key(2).public.key_id)
    (folder / "model.sig").write_text(forged)
    assert verify(folder, key=tmp_path / "other.pub") == 6


def edited(folder: Path, edit: Any) -> None:
    bundle = json.loads((folder / "model.sig").read_text())
    edit(bundle)
    (folder / "model.sig").write_text(json.dumps(bundle))


@pytest.mark.parametrize(
    ("edit", "reference"),
    [
        (
            lambda one: one.update(verificationMaterial={"certificate": {"rawBytes": "AA=="}, "tlogEntries": [{}]}),
            "unsupported-bundle",
        ),
        (
            lambda one: one.update(verificationMaterial={"x509CertificateChain": {"certificates": []}}),
            "unsupported-bundle",
        ),
        (lambda one: one.update(extra=1), "malformed-bundle"),
        (lambda one: one["dsseEnvelope"].update(payloadType="text/plain"), "malformed-bundle"),
    ],
    ids=["keyless", "certificate", "unknown field", "payload type"],
)
def test_material_of_another_kind_is_broken_with_a_sentence(
    folder: Path, capsys: Printed, edit: Any, reference: str
) -> None:
    edited(folder, edit)
    assert verify(folder, "-o", "json") == 6
    check = document(capsys)["checks"][0]
    assert (check["status"], check["error"]) == ("failed", reference)
    assert check["detail"]


def test_what_the_signer_left_out_is_shown(folder: Path, capsys: Printed) -> None:
    (folder / "notes").mkdir()
    (folder / "notes" / "draft.txt").write_text("not signed")
    sign(folder, ignore_paths=("notes",))
    assert verify(folder) == 0
    text = capsys.readouterr().out
    assert "leaves out notes" in text
    assert "not covered: notes/draft.txt" in text


@pytest.mark.parametrize("name", ["model.safetensors", "sub", "config.json"])
def test_a_signature_that_leaves_out_what_is_loaded_is_broken(folder: Path, capsys: Printed, name: str) -> None:
    """The reference tool says "Verification succeeded", also when nothing was verified."""
    sign(folder, ignore_paths=(name,))
    assert verify(folder, "-o", "json") == 6
    check = document(capsys)["checks"][-1]
    assert check["error"] == "file-outside-signature"
    assert check["detail"][0].startswith(name)


def test_a_link_in_the_place_of_what_the_signer_left_out_is_not_followed(folder: Path, capsys: Printed) -> None:
    """Whoever hands the folder on would learn which files lie on the machine that verifies it."""
    (folder / "notes").mkdir()
    sign(folder, ignore_paths=("notes",))
    (folder / "notes").rmdir()
    (folder.parent / "private").mkdir()
    (folder.parent / "private" / "salaries.txt").write_text("")
    (folder / "notes").symlink_to(folder.parent / "private")
    assert verify(folder) == 6
    shown = capsys.readouterr()
    assert "'notes' is not a path that may be verified" in shown.out
    assert "salaries" not in shown.out + shown.err


@pytest.mark.parametrize("path", ["/", "..", "../private"])
def test_paths_that_a_lone_files_signature_leaves_out_are_not_looked_for_elsewhere(
    tmp_path: Path, path: str, capsys: Printed
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"x")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "salaries.txt").write_text("")
    (tmp_path / "key.pub").write_bytes(a_p256_key().public.pem)
    resources = [oms.Resource("weights.bin", Digest.of(b"x"))]
    bundle = json.loads(
        oms.sign_folder_listing(a_p256_key(), model_name="m", resources=resources, ignore_paths=["notes"])
    )
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"][0]["name"] = "."
    statement["predicate"]["serialization"]["ignore_paths"] = [path]
    envelope = dsse.sign(a_p256_key(), oms.PAYLOAD_TYPE, json.dumps(statement).encode())
    (folder / "model.sig").write_text(json.dumps(bundle | {"dsseEnvelope": envelope.to_json()}))
    assert verify(folder) == 6
    shown = capsys.readouterr()
    assert "is not a path that may be verified" in shown.out
    assert "salaries" not in shown.out + shown.err


def test_a_key_that_is_none_and_a_signature_that_is_absent_are_said(
    folder: Path, tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "ed25519.pub").write_bytes(an_ed25519_key().public.pem)
    assert verify(folder, key=tmp_path / "ed25519.pub") == 2
    (folder / "model.sig").unlink()
    assert verify(folder) == 7
    assert verify(folder.parent / "nowhere", key=tmp_path / "key.pub") == 7


@pytest.mark.parametrize(
    "option", [("--deep",), ("--trust", "x"), ("--root", "x"), ("--base", "x"), ("--require", "log-proof")]
)
def test_what_only_a_registry_knows_cannot_be_asked_with_a_key(folder: Path, option: tuple[str, ...]) -> None:
    assert verify(folder, *option) == 2
    assert run(["verify", str(folder), "--ignore-paths", "x"]) == 2


# --- other releases of the reference tool ---


@pytest.mark.parametrize(
    ("release", "options"),
    [
        ("v0.3.1-elliptic-key", ()),
        ("v1.0.1-elliptic-key", ("--ignore-paths", "ignore-me")),
        ("v1.1.0-elliptic-key", ()),
    ],
)
def test_models_signed_by_three_releases_of_the_reference_tool_verify(
    test_data: Path, tmp_path: Path, capsys: Printed, release: str, options: tuple[str, ...]
) -> None:
    history = test_data / "vectors" / "oms" / "history"
    folder = Path(shutil.copytree(history / release, tmp_path / release))
    key = history / "signing-key-pub.pem"
    assert verify(folder, *options, key=key) == 0, capsys.readouterr()
    (folder / "signme-1").write_bytes(b"another")
    assert verify(folder, *options, key=key) == 6


def test_an_unsigned_file_in_a_folder_of_an_older_release_is_named(test_data: Path, capsys: Printed) -> None:
    history = test_data / "vectors" / "oms" / "history"
    assert verify(history / "v1.0.1-elliptic-key", key=history / "signing-key-pub.pem") == 6
    assert "extra: ignore-me" in capsys.readouterr().out


def test_a_lone_file_can_be_named_itself(test_data: Path, capsys: Printed) -> None:
    history = test_data / "vectors" / "oms" / "history"
    lone = history / "v0.3.1-elliptic-key" / "signme-1"
    assert verify(lone, key=history / "signing-key-pub.pem") == 0, capsys.readouterr()


def test_every_bundle_of_the_specification_and_of_sigstore_that_is_not_by_this_key_is_refused(
    test_data: Path, tmp_path: Path, capsys: Printed
) -> None:
    vectors = test_data / "vectors"
    bundles = [*vectors.glob("oms/spec/*/*.bundle.json"), *vectors.glob("sigstore/**/*.json")]
    assert len(bundles) >= 6
    root = write_files(tmp_path / "model")
    (tmp_path / "key.pub").write_bytes(a_p256_key().public.pem)
    for bundle in bundles:
        shutil.copy(bundle, root / "model.sig")
        code = verify(root)
        assert code == (5 if bundle.name == "key.bundle.json" else 6), (bundle, capsys.readouterr())


# --- the reference tool itself ---


def write_key_pair(folder: Path, curve: ec.EllipticCurve = ec.SECP256R1()) -> Path:  # noqa: B008  a curve is a constant
    """A private key; its public half is `key.pub` beside it."""
    secret = ec.derive_private_key(7, curve)
    pem = serialization.Encoding.PEM
    private = secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    public = secret.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pub").write_bytes(public)
    return folder / "key.pem"


def signed_by_tool(tool: str, root: Path, key: Path, *more: str) -> None:
    command = [
        tool,
        "sign",
        "key",
        str(root),
        "--signature",
        str(root / "model.sig"),
        "--private_key",
        str(key),
        *more,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.peers
@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=["p256", "p384", "p521"])
def test_what_the_reference_tool_signs_verifies_and_a_change_of_it_does_not(
    tool: str, curve: ec.EllipticCurve, tmp_path: Path, capsys: Printed
) -> None:
    root = write_files(tmp_path / "model")
    (root / ".git").mkdir()
    (root / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    signed_by_tool(tool, root, write_key_pair(tmp_path, curve))
    assert verify(root) == 0, capsys.readouterr()
    assert "4 files match" in capsys.readouterr().out
    (root / "model.safetensors").write_bytes(bytes(299) + b"\1")
    assert verify(root) == 6
    assert "changed: model.safetensors" in capsys.readouterr().out


def by_tool(tool: str, root: Path) -> bool:
    signature, key = str(root / "model.sig"), str(root.parent / "key.pub")
    command = [tool, "verify", "key", str(root), "--signature", signature, "--public_key", key]
    return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0


@pytest.mark.peers
def test_a_hint_that_the_reference_tool_refuses_verifies_as_the_standard_leaves_its_text_open(
    tool: str, folder: Path, capsys: Printed
) -> None:
    """That tool compares the hint with the SHA-256 of the key's PEM text in lower case."""
    edited(folder, lambda bundle: bundle["verificationMaterial"]["publicKey"].update(hint="release key"))
    assert not by_tool(tool, folder)
    assert verify(folder) == 0, capsys.readouterr()


@pytest.mark.peers
def test_of_two_signatures_the_reference_tool_reads_the_first_and_the_standard_none(
    tool: str, folder: Path, capsys: Printed
) -> None:
    """Who signed such a bundle depends on who reads it, so that it says nothing here."""
    trusted = json.loads((folder / "model.sig").read_bytes())["dsseEnvelope"]["signatures"][0]
    stranger = {"sig": base64.b64encode(a_p256_key(2).sign(b"anything")).decode(), "keyid": ""}
    for signatures, is_first in (([trusted, stranger], True), ([stranger, trusted], False)):
        edited(folder, lambda bundle, both=signatures: bundle["dsseEnvelope"].update(signatures=both))
        assert by_tool(tool, folder) == is_first
        assert verify(folder) == 6
        assert "it holds 2 signatures: a Sigstore bundle has exactly one" in capsys.readouterr().out


@pytest.mark.peers
def test_a_lone_file_and_ignored_paths_of_the_reference_tool_verify(tool: str, tmp_path: Path, capsys: Printed) -> None:
    key = write_key_pair(tmp_path)
    root = write_files(tmp_path / "model")
    signed_by_tool(tool, root, key, "--ignore-paths", str(root / "naïve.txt"))
    assert verify(root) == 0, capsys.readouterr()
    assert "not covered: naïve.txt" in capsys.readouterr().out
    lone = tmp_path / "lone.safetensors"
    lone.write_bytes(bytes(40))
    signature = tmp_path / "lone.sig"
    command = [
        tool,
        "sign",
        "key",
        str(lone),
        "--signature",
        str(signature),
        "--private_key",
        str(tmp_path / "key.pem"),
    ]
    assert subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0
    assert verify(lone, "--signature", str(signature)) == 0, capsys.readouterr()
    lone.write_bytes(bytes(39) + b"\1")
    assert verify(lone, "--signature", str(signature)) == 6


@pytest.mark.peers
def test_a_signature_by_shards_of_the_reference_library_is_refused_with_a_sentence(
    tool: str, tmp_path: Path, capsys: Printed
) -> None:
    root = write_files(tmp_path / "model")
    key = write_key_pair(tmp_path)
    script = (
        "import sys\n"
        "from model_signing import hashing, signing\n"
        "root, key = sys.argv[1:]\n"
        "config = hashing.Config().use_shard_serialization(hashing_algorithm='sha256', shard_size=100)\n"
        "signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(config).sign(root, root + '/model.sig')\n"
    )
    command = [sys.executable, "-c", script, str(root), str(key)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert verify(root, "-o", "json") == 6
    check = document(capsys)["checks"][0]
    assert (check["error"], "shards" in check["detail"][0]) == ("unsupported-bundle", True)
