"""What another tool says of our pulled folders: the reference signing tool, before and after something more was said."""

import subprocess
import sys
from pathlib import Path

import pytest

from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.statements import append_statement
from tests.builders.homes import a_home, register_adapter

pytestmark = [pytest.mark.peers, pytest.mark.slow]


def model_signing_accepts(folder: Path, key: Path) -> bool:
    command = [str(Path(sys.executable).with_name("model_signing")), "verify", "key", str(folder)]
    command += ["--signature", str(folder / "model.sig"), "--public_key", str(key)]
    return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0


def test_model_signing_accepts_a_pulled_folder_also_after_another_statement(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        version = register_adapter(registry, tmp_path)
        key = tmp_path / "home" / "keys" / "trainer.pub"
        pull_version(registry, version, tmp_path / "first")
        append_statement(
            registry,
            subject=version.manifest_digest,
            kind="test-result",
            predicate={"result": "PASSED", "configuration": []},
            signer=registry.trainer_key,
        )
        pull_version(registry, version, tmp_path / "second")
    lines = [(tmp_path / one / "evidence" / "statements.intoto.jsonl").read_bytes() for one in ("first", "second")]
    assert len(lines[1]) > len(lines[0])
    assert model_signing_accepts(tmp_path / "first", key)
    assert model_signing_accepts(tmp_path / "second", key)
    config = tmp_path / "second" / "adapter_config.json"
    config.write_bytes(config.read_bytes() + b" ")
    assert not model_signing_accepts(tmp_path / "second", key)
