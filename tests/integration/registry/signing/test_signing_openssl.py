"""By hand: the commands of docs/reference/signing.md check our signatures and log with openssl alone."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from peft_registry.registry.signing import dsse
from peft_registry.registry.transparency import note
from peft_registry.schemas.statement import PAYLOAD_TYPE
from tests.builders.signing import ORIGIN, a_bundle, a_p256_key, an_ed25519_key
from tests.conftest import not_run
from tests.processes.interpreter import ROOT

pytestmark = pytest.mark.openssl


@pytest.fixture(scope="module")
def openssl() -> str:
    return shutil.which("openssl") or not_run("the openssl command is not installed")


def verdict(command: list[object]) -> bool:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode == 0


def pae_by_hand(envelope: dict) -> bytes:
    payload, name = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    return b" ".join([b"DSSEv1", str(len(name)).encode(), name, str(len(payload)).encode(), payload])


@pytest.mark.parametrize("source", ["statement", "model.sig"])
def test_openssl_verifies_our_p256_signatures(openssl, tmp_path, source):
    if source == "statement":
        envelope = json.loads(dsse.sign(a_p256_key(), PAYLOAD_TYPE, '{"é": 1}'.encode()).render())
    else:
        envelope = json.loads(a_bundle())["dsseEnvelope"]
    (tmp_path / "key.pub").write_bytes(a_p256_key().public.pem)
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "pae").write_bytes(pae_by_hand(envelope))
    command = [openssl, "dgst", "-sha256", "-verify", tmp_path / "key.pub", "-signature", tmp_path / "sig"]
    assert verdict([*command, tmp_path / "pae"])
    (tmp_path / "pae").write_bytes(pae_by_hand(envelope) + b" ")
    assert not verdict([*command, tmp_path / "pae"])


def test_openssl_verifies_our_checkpoints(openssl, tmp_path):
    text = note.sign_checkpoint(an_ed25519_key(), origin=ORIGIN, size=3, root=bytes(32))
    body, _, line = text.rpartition("\n\n")
    (tmp_path / "log.pub").write_bytes(an_ed25519_key().public.pem)
    (tmp_path / "sig").write_bytes(base64.b64decode(line.split()[-1])[4:])
    (tmp_path / "text").write_text(body + "\n")
    command = [openssl, "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", tmp_path / "log.pub"]
    assert verdict([*command, "-sigfile", tmp_path / "sig", "-in", tmp_path / "text"])
    (tmp_path / "text").write_text(body)
    assert not verdict([*command, "-sigfile", tmp_path / "sig", "-in", tmp_path / "text"])


def test_openssl_gives_the_key_id_that_we_use(openssl, tmp_path):
    path: Path = tmp_path / "key.pub"
    path.write_bytes(a_p256_key().public.pem.replace(b"\n", b"\r\n"))
    pem = subprocess.run([openssl, "pkey", "-pubin", "-in", path], capture_output=True, check=True, timeout=60).stdout
    (tmp_path / "normal.pub").write_bytes(pem)
    shown = subprocess.run(
        [openssl, "dgst", "-sha256", "-r", tmp_path / "normal.pub"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert shown.split()[0] == a_p256_key().public.key_id


def test_the_commands_of_the_reference_page_do_what_it_says(openssl, tmp_path):
    page = ROOT / "docs" / "reference" / "signing.md"
    blocks = [
        block for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL) if "model_signing" not in block
    ]
    evidence = tmp_path / "DIR" / "evidence"
    evidence.mkdir(parents=True)
    (tmp_path / "DIR" / "model.sig").write_bytes(a_bundle())
    line = dsse.sign(a_p256_key(), PAYLOAD_TYPE, b"{}").render()
    (evidence / "statements.intoto.jsonl").write_bytes(line + b"\n")
    checkpoint = note.sign_checkpoint(an_ed25519_key(), origin=ORIGIN, size=1, root=bytes(32))
    proof = note.render_proof(note.Proof(index=0, hashes=(), checkpoint_text=checkpoint))
    (evidence / "log.tlog-proof").write_text(proof)
    (tmp_path / "KEY.pub").write_bytes(a_p256_key().public.pem)
    (tmp_path / "LOG.pub").write_bytes(an_ed25519_key().public.pem)
    script = "set -e\n" + "\n".join(blocks)
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert a_p256_key().public.key_id in done.stdout
    assert "Verified OK" in done.stdout
    assert "Signature Verified Successfully" in done.stdout
    assert (tmp_path / "line.json").read_bytes() == line + b"\n"
