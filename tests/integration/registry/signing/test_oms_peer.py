"""The reference tool of OMS accepts what is signed here, and what it signs is read here (model-signing 1.1.1)."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from peft_registry.registry.signing import oms
from peft_registry.registry.signing.dsse import BadSignature
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.schemas.identity import Digest
from tests.builders.signing import a_p256_key

pytestmark = pytest.mark.peers
FILES = {
    "manifest.json": b"{}",
    "adapter_config.json": b'{"peft_type": "LORA"}',
    "adapter_model.safetensors": bytes(200),
    # code points and path components order these two differently
    "adapter/x": b"1",
    "adapter-x/y": b"2",
    "naïve name.txt": "é".encode(),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "tutor"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "README.md").write_text("# card\n")
    (root / "evidence").mkdir()
    resources = [oms.Resource(name, Digest.of(data)) for name, data in FILES.items()]
    signature = oms.sign_folder_listing(
        a_p256_key(), model_name="tutor", resources=resources, ignore_paths=("README.md", "evidence")
    )
    (root / "model.sig").write_bytes(signature)
    (tmp_path / "key.pub").write_bytes(a_p256_key().public.pem)
    return root


def verify(tool: str, folder: Path, *more: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    shown = folder.relative_to(cwd) if cwd else folder
    key = folder.parent / "key.pub"
    command = [tool, "verify", "key", shown, "--signature", shown / "model.sig", "--public_key", key, *more]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=120)


def test_the_plain_command_accepts_our_folder_also_after_evidence_and_card_changed(tool, folder):
    fresh = verify(tool, folder)
    assert (fresh.returncode, fresh.stdout.strip()) == (0, "Verification succeeded"), fresh.stderr
    (folder / "evidence" / "signatures").mkdir()
    (folder / "evidence" / "signatures" / "lab-1.sig").write_text("later\n")
    (folder / "evidence" / "statements.intoto.jsonl").write_text("{}\n")
    (folder / "README.md").write_text("# card, edited\n")
    later = verify(tool, folder)
    assert later.returncode == 0, later.stderr


def test_the_plain_command_works_with_relative_paths_too(tool, folder):
    assert verify(tool, folder, cwd=folder.parent).returncode == 0


@pytest.mark.parametrize("change", ["content", "extra", "missing"])
def test_the_plain_command_refuses_a_changed_folder(tool, folder, change):
    if change == "content":
        (folder / "adapter_model.safetensors").write_bytes(bytes(199) + b"\x01")
    elif change == "extra":
        (folder / "extra.bin").write_bytes(b"x")
    else:
        (folder / "adapter" / "x").unlink()
    refused = verify(tool, folder)
    assert refused.returncode == 1
    assert "Signature mismatch" in refused.stderr


def test_the_plain_command_refuses_another_key(tool, folder):
    (folder.parent / "key.pub").write_bytes(a_p256_key(2).public.pem)
    assert verify(tool, folder).returncode == 1


def test_what_the_reference_tool_signs_is_read_and_verified_here(tool, folder, tmp_path):
    secret = ec.derive_private_key(7, ec.SECP256R1())
    pem = secret.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(pem)
    (folder / "model.sig").unlink()
    command = [tool, "sign", "key", folder, "--signature", folder / "model.sig", "--private_key", tmp_path / "key.pem"]
    command += ["--ignore-paths", folder / "README.md", "--ignore-paths", folder / "evidence"]
    signed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert signed.returncode == 0, signed.stderr
    public = PublicKey.parse(
        secret.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    bundle = oms.parse_bundle((folder / "model.sig").read_bytes())
    assert oms.verify_bundle(bundle, [a_p256_key().public, public]) == public
    assert {one.name: one.sha256 for one in bundle.resources} == {n: Digest.of(data) for n, data in FILES.items()}
    assert {"README.md", "evidence"} <= set(bundle.ignore_paths)
    # its own list also names the signature and git's files, which a strict policy must not let pass unseen
    with pytest.raises(oms.UnexpectedIgnorePaths):
        oms.require_ignore_paths(bundle, ("README.md", "evidence"))
    forged = (folder / "model.sig").read_bytes().replace(bundle.hint.encode(), a_p256_key().public.key_id.encode())
    with pytest.raises(BadSignature):
        oms.verify_bundle(oms.parse_bundle(forged), [a_p256_key().public, public])
