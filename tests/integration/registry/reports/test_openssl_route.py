"""The commands that a report prints work: a reader with openssl and Python's standard library can check a signature."""

import shutil
import subprocess

import pytest

from peft_registry.registry.reports.verification_text import how_to_verify
from tests.builders.records import a_version
from tests.builders.signing import a_bundle, a_p256_key
from tests.conftest import not_run

pytestmark = pytest.mark.openssl


@pytest.fixture
def folder(tmp_path):
    if shutil.which("openssl") is None:
        not_run("there is no openssl command")
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "FOLDER" / "model.sig").write_bytes(a_bundle())
    (tmp_path / "KEY.pub").write_bytes(a_p256_key().public.pem)
    return tmp_path


def run_route(folder):
    unpack = next(line for line in how_to_verify(a_version()) if line.startswith("python3"))
    check = next(line for line in how_to_verify(a_version()) if "-signature signature.der" in line)
    script = f"{unpack} && {check}"
    return subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False)


def test_a_good_signature_is_accepted(folder):
    done = run_route(folder)
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stdout


def test_another_key_is_refused(folder):
    (folder / "KEY.pub").write_bytes(a_p256_key(seed=2).public.pem)
    assert run_route(folder).returncode != 0
