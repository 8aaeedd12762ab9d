"""An auditor's laptop: the few packages of requirements-verify.txt, no torch, no transformers, no MLflow, no registry."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from peft_registry.registry.documents.dossier import SMALL_INSTALL_MB
from peft_registry.registry.homes.home import utc_now
from peft_registry.registry.use_cases.exchange_trust import export_trust
from peft_registry.registry.use_cases.hand_over import hand_over
from peft_registry.registry.use_cases.pull import pull_version
from tests.builders.homes import a_home, register_adapter
from tests.builders.products import register_sums
from tests.processes.distribution import copy_distributions, needed_by
from tests.processes.interpreter import ROOT

REQUIREMENTS = ROOT / "requirements-verify.txt"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def laptop(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with only what verifying needs.

    The files of what it takes are copied from this environment, which has them of the same index: pip takes ten times as long to
    come to the same ones.
    """
    folder = tmp_path_factory.mktemp("laptop") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    (site_packages,) = folder.glob("lib/python3*/site-packages")
    copy_distributions(needed_by(REQUIREMENTS).values(), site_packages)
    # of what is installed few modules are imported, and the first command that imports one compiles it
    options = ["-q", "--disable-pip-version-check", "--no-compile", "--ignore-installed", "--no-index", "--no-deps"]
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", *options]
    subprocess.run([*pip, str(wheel)], check=True, timeout=300)
    return folder / "bin"


@pytest.mark.full
def test_pip_takes_from_the_index_what_the_other_tests_take_from_this_environment() -> None:
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "-q", "--report", "-"]
    lists = ["-c", str(ROOT / "constraints.txt"), "-r", str(REQUIREMENTS)]
    done = subprocess.run([*pip, *lists], capture_output=True, text=True, check=True, timeout=600)
    chosen = {canonicalize_name(one["metadata"]["name"]) for one in json.loads(done.stdout)["install"]}
    assert chosen == set(needed_by(REQUIREMENTS))


def test_an_auditor_verifies_a_pulled_folder_with_a_small_install(laptop: Path, tmp_path: Path) -> None:
    with a_home(tmp_path / "home", now=utc_now()) as registry:
        version = register_adapter(registry, tmp_path)
        pull_version(registry, version, tmp_path / "pulled")
        export_trust(registry, tmp_path / "handed-over")
    have = subprocess.run(
        [
            str(laptop / "python"),
            "-c",
            "import importlib.util as u; print([u.find_spec(n) is None for n in ('torch', 'mlflow')])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert have.stdout.strip() == "[True, True]"
    command = [str(laptop / "registry"), "verify", "./pulled", "--output", "json", "--trust", "handed-over/trust.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["verdict"] == "verified"
    listed = subprocess.run(
        [str(laptop / "registry"), "report", "helper", "--home", "home", "--out", "-"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert listed.returncode == 0, listed.stderr
    assert "helper:1" in listed.stdout


def test_an_auditor_reads_and_does_again_a_dossier_with_a_small_install_and_no_registry(
    laptop: Path, tmp_path: Path
) -> None:
    with a_home(tmp_path / "home", now=utc_now()) as registry:
        version = register_sums(registry, tmp_path / "made")
        hand_over(registry, version, "ai-office", tmp_path / "office", signer=registry.trainer_key)
        export_trust(registry, tmp_path / "handed-over")
    (tmp_path / "elsewhere").mkdir()
    trust = ("--trust", str(tmp_path / "handed-over" / "trust.json"))
    for words, shown in (
        (("verify", "../office", "--audit"), "= record"),
        (("record", "../office"), "version      sums:1"),
        (("record", "verdict", "../office"), "version   sums:1"),
        (("report", "../office", "--out", "-"), "<h1>sums:1</h1>"),
    ):
        done = subprocess.run(
            [str(laptop / "registry"), *words, *trust],
            cwd=tmp_path / "elsewhere",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode, shown in done.stdout) == (0, True), done.stdout + done.stderr


def test_the_small_install_is_as_small_as_it_is_said_to_be(laptop: Path) -> None:
    """After it was used: what was imported is compiled by then. pip and setuptools, which this one has not, are 24 MB."""
    files = [path for path in laptop.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    megabytes = sum(path.stat().st_size for path in files) / 2**20
    assert megabytes <= SMALL_INSTALL_MB


@pytest.fixture(scope="module")
def workplace(laptop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home, made by the small install, and a base in it, which takes the whole one to add."""
    folder = tmp_path_factory.mktemp("workplace")
    subprocess.run([str(laptop / "registry"), "init", "--unencrypted"], cwd=folder, check=True, timeout=120)
    whole = [sys.executable, "-m", "peft_registry.cli.main"]
    subprocess.run([*whole, "base", "add", "embedded", "--name", "tiny"], cwd=folder, check=True, timeout=120)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("train", "example/train.yml"), id="train"),
        pytest.param(("compare", "example/train.yml"), id="compare"),
        pytest.param(("diff", "tiny", "tiny"), id="diff"),
    ],
)
def test_a_command_that_trains_names_the_missing_package(
    laptop: Path, workplace: Path, arguments: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [str(laptop / "registry"), *arguments], cwd=workplace, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 8, done.stdout + done.stderr
    assert "this command needs the package" in done.stderr
    assert "pip install peft-registry" in done.stderr
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr
