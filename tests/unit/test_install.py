"""`.ci/install` with a stubbed pip and disk: what it fetches from where, what it keeps, and how it ends where room is missing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes.interpreter import ROOT

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# stands for the environment's Python: writes down what pip is asked, knows one installed package, and fails on demand
PYTHON = """#!/bin/sh
echo "$*" >> "$LOG"
case "$*" in
  *"pip show -q torch"*) [ -n "${HAS_TORCH:-}" ] ;;
  *"pip install"*) if [ -n "${FAILS:-}" ]; then echo "$FAILS" >&2; exit 1; fi ;;
esac
"""
# free blocks of 1 KiB, on one disk
DF = """#!/bin/sh
echo "Filesystem 1024-blocks Used Available Capacity Mounted on"
echo "disk 1 1 $((FREE_GIB * 1048576)) 1% /"
"""


class Checkout:
    """The script and what it reads, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("pyproject.toml", "constraints.txt", ".ci/install"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        self._stub("stubs/df", DF)
        self._stub("stubs/uname", "#!/bin/sh\necho Linux\n")

    def _stub(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def with_environment(self) -> "Checkout":
        self._stub("venv/bin/python", PYTHON)
        return self

    def install(self, group: str = "demo", **variables: str) -> "subprocess.CompletedProcess[str]":
        own = {
            "PATH": f"{self.folder / 'stubs'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LOG": str(self.folder / "log"),
            "FREE_GIB": "100",
        }
        return subprocess.run(
            ["sh", ".ci/install", "venv", group],
            cwd=self.folder,
            env=own | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def installs(self) -> list[str]:
        lines = (self.folder / "log").read_text().splitlines()
        return [line for line in lines if "pip install" in line]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_by_default_the_index_decides_which_torch_it_is(checkout: Checkout) -> None:
    done = checkout.with_environment().install()
    assert done.returncode == 0, done.stderr
    (command,) = checkout.installs
    assert command.endswith("-c constraints.txt -e .")
    assert CPU_INDEX not in command
    assert "about 4 GB to fetch and 7 on disk" in done.stderr


def test_the_cpu_build_comes_from_pytorchs_index_before_the_rest(checkout: Checkout) -> None:
    done = checkout.with_environment().install(TORCH="cpu")
    assert done.returncode == 0, done.stderr
    first, second = checkout.installs
    assert f"--index-url {CPU_INDEX} torch>=2.6,<3" in first
    assert CPU_INDEX not in second
    assert "about 1 GB to fetch and 3 on disk" in done.stderr


@pytest.mark.parametrize("choice", ["", "cpu"])
def test_a_torch_that_is_installed_is_kept(checkout: Checkout, choice: str) -> None:
    done = checkout.with_environment().install(TORCH=choice, HAS_TORCH="1")
    assert done.returncode == 0, done.stderr
    (command,) = checkout.installs
    assert "torch>" not in command
    assert "the torch that is installed is kept" in done.stderr


def test_what_pip_brings_is_compiled_on_all_cores(checkout: Checkout) -> None:
    checkout.with_environment().install("peers")
    assert all("--no-compile" in command for command in checkout.installs)
    *_, last = (checkout.folder / "log").read_text().splitlines()
    assert last == "-m compileall -qq -j 0 venv/lib"


def test_a_second_run_does_nothing(checkout: Checkout) -> None:
    checkout.with_environment().install()
    before = len(checkout.installs)
    assert checkout.install().returncode == 0
    assert len(checkout.installs) == before


def test_what_a_larger_group_brought_is_not_installed_again(checkout: Checkout) -> None:
    checkout.with_environment().install("check")
    before = len(checkout.installs)
    assert checkout.install("test").returncode == 0
    assert len(checkout.installs) == before
    assert checkout.install("peers").returncode == 0
    assert len(checkout.installs) > before


def test_another_choice_is_refused(checkout: Checkout) -> None:
    done = checkout.with_environment().install(TORCH="rocm")
    assert done.returncode == 8
    assert "error: TORCH=rocm is not a choice" in done.stderr


@pytest.mark.parametrize(("choice", "free", "needed"), [("", 14, 15), ("cpu", 4, 5)])
def test_a_disk_that_is_too_small_is_refused_before_anything_is_made(
    checkout: Checkout, choice: str, free: int, needed: int
) -> None:
    done = checkout.install(TORCH=choice, FREE_GIB=str(free))
    assert done.returncode == 8
    assert f"error: only {free} GiB are free on /, and the installation takes about {needed}" in done.stderr
    assert ("TORCH=cpu" in done.stderr) == (choice == "")
    assert not (checkout.folder / "venv").exists()
    assert not (checkout.folder / "venv.part").exists()


@pytest.mark.parametrize(
    ("failure", "free"),
    [
        ("Traceback (most recent call last):\nOSError: [Errno 28] No space left on device", "100"),
        ("Traceback (most recent call last):\nError: ensurepip returned non-zero exit status 1", "0"),
    ],
    ids=["pip says so", "the disk says so"],
)
def test_a_disk_that_fills_meanwhile_ends_with_a_sentence(checkout: Checkout, failure: str, free: str) -> None:
    done = checkout.with_environment().install(FAILS=failure, FREE_GIB=free)
    assert done.returncode == 8
    assert "error: the disk filled while packages were installed" in done.stderr
    assert "run the command again: it continues" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((checkout.folder / "venv").glob(".installed-*"))


def test_another_failure_of_pip_is_shown_as_it_is(checkout: Checkout) -> None:
    done = checkout.with_environment().install(FAILS="ERROR: No matching distribution found for torch")
    assert done.returncode == 1
    assert "No matching distribution found for torch" in done.stderr
