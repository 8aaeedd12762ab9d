"""What is installed, and what it executes: one package and nothing of whatever lies in the user's folder or beside it."""

import json
import os
import queue
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import STATE
from tests.processes.distribution import LAYERS, build, copy_checkout, install, tracked, unpack, write_wheel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TIMEOUT_SECONDS = 280
PORT = 5290
QUICK = ("training.num_train_epochs=1", "evaluation.bias=[]")  # one epoch, and no bias suite


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", checkout, tmp_path_factory.mktemp("sdist"))


def members(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel by name; the lines of RECORD, whose order means nothing, are sorted."""
    with zipfile.ZipFile(wheel) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    return {
        name: b"\n".join(sorted(data.splitlines())) if name.endswith(".dist-info/RECORD") else data
        for name, data in contents.items()
    }


# --- what the distributions hold ---


def test_the_wheel_holds_one_package_and_its_metadata(wheel: Path) -> None:
    assert {name.partition("/")[0] for name in members(wheel)} == {
        "peft_registry",
        "peft_registry-0.3.0.dev0.dist-info",
    }


def test_the_wheel_holds_every_tracked_file_and_no_other(wheel: Path) -> None:
    expected = {f"peft_registry/{name}" for name in tracked(*LAYERS)}
    expected |= {"peft_registry/__init__.py", "peft_registry/py.typed"}
    assert any(name.endswith(".safetensors") for name in expected)
    assert {name for name in members(wheel) if name.startswith("peft_registry/")} == expected


def test_the_wheel_holds_files_and_no_links(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        kinds = {stat.S_IFMT(entry.external_attr >> 16) for entry in archive.infolist()}
        assert kinds <= {stat.S_IFREG, 0}  # 0: the writer recorded no kind
        # a link that was packed as a file would hold the path it points to
        assert b"../" not in archive.read("peft_registry/cli/__init__.py")


def test_the_source_distribution_holds_files_and_no_links(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        assert [entry.name for entry in archive if not entry.isfile() and not entry.isdir()] == []
        names = {entry.name.partition("/")[2] for entry in archive if entry.isfile()}
    assert {f"src/peft_registry/{name}" for name in tracked(*LAYERS)} <= names
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE"} <= names


def test_the_wheel_from_the_source_distribution_equals_the_one_from_the_tree(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    again = members(build("wheel", unpack(sdist, tmp_path / "unpacked"), tmp_path / "wheel"))
    assert sorted(again) == sorted(members(wheel))
    # by name first, so that a failure shows names and not bytes
    assert {name for name, data in members(wheel).items() if again[name] != data} == set()


def test_a_checkout_whose_links_are_text_files_is_refused_with_one_sentence(tmp_path: Path) -> None:
    source = copy_checkout(tmp_path / "checkout")
    for layer in LAYERS:
        link = source / "src" / "peft_registry" / layer
        target = str(link.readlink())
        link.unlink()
        link.write_text(target)  # what git writes where core.symlinks is false
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-index", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", str(tmp_path / "wheel"), str(source)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "error: src/peft_registry/schemas is not a link to the folder schemas: clone on a POSIX file system" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "wheel").glob("*.whl"))


# --- what it executes ---

# the five first; then ours, what MLflow's server and torch's launcher look for by name, and the standard library's
HOSTILE = (
    "trainer.py",
    "schemas/__init__.py",
    "registry.py",
    "cli.py",
    "sitecustomize.py",
    "usercustomize.py",
    "peft_registry/__init__.py",
    "peft_registry/cli/main.py",
    "datasets/__init__.py",
    "mlflow.py",
    "flask.py",
    "uvicorn.py",
    "huey.py",
    "torch.py",
    "transformers.py",
    "tqdm.py",
    "numpy.py",
    "json.py",
    "random.py",
    "tokenize.py",
    "gunicorn.conf.py",
    "alembic.ini.py",
)


def plant(folder: Path, names: tuple[str, ...], marks: Path) -> Path:
    """A folder with modules that leave a mark when anything imports them."""
    marks.mkdir(exist_ok=True)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(marking(name, marks))
    return folder


def marking(name: str, marks: Path) -> str:
    return f"open({str(marks / name.replace('/', '-'))!r}, 'w').close()\n"


def executed(marks: Path) -> list[str]:
    return sorted(path.name for path in marks.iterdir())


class Installed:
    """The `registry` command of an environment into which the wheel was installed, as a user runs it."""

    def __init__(self, binaries: Path, home: Path) -> None:
        self.binaries = binaries
        self._home = home

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing of ours: no PYTHONPATH, no PYTHONSAFEPATH."""
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "XDG_STATE_HOME": str(STATE),
            "OMP_NUM_THREADS": "1",
        }
        return own | more

    def script(self) -> list[str]:
        return [str(self.binaries / "registry")]

    def module(self) -> list[str]:
        return [str(self.binaries / "python"), "-P", "-m", "peft_registry.cli.main"]

    def run(self, command: list[str], cwd: Path, **variables: str) -> str:
        """Run to a good end and return what it wrote to stdout."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def ui(self, cwd: Path) -> Iterator[str]:
        """`registry ui` from its ready line to Ctrl-C; gives its address."""
        process = subprocess.Popen(
            [*self.script(), "ui", "--no-open", "--port", str(PORT)],
            cwd=cwd,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=lambda: [lines.put(line) for line in process.stdout or ()], daemon=True)
        reader.start()
        try:
            line = ""
            while not line.startswith("ready"):
                line = lines.get(timeout=TIMEOUT_SECONDS)
            yield line.split()[1]
        finally:
            # also where the test failed: killed at once, it would leave MLflow's server behind
            process.send_signal(signal.SIGINT)
            try:
                ended = process.wait(60)
            finally:
                process.kill()
                reader.join(60)
                process.stdout.close()
        assert ended in (0, 130)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel beside one that ships `trainer/` and `schemas/` at the top of site-packages."""
    folder = tmp_path_factory.mktemp("installed")
    marks = folder / "marks"
    marks.mkdir()
    neighbour = write_wheel(
        folder / "neighbour",
        "foreign_trainer",
        {
            f"{package}/__init__.py": marking(f"neighbour-{package}", marks)
            for package in ("trainer", "schemas", "registry", "cli")
        },
    )
    command = Installed(install([wheel, neighbour], folder / "venv"), folder)
    # the neighbour is there, and it does leave a mark
    command.run([str(command.binaries / "python"), "-c", "import trainer"], folder)
    assert executed(marks) == ["neighbour-trainer"]
    (marks / "neighbour-trainer").unlink()
    where = command.run(
        [str(command.binaries / "python"), "-P", "-c", "import peft_registry as p; print(p.__file__)"], folder
    )
    assert Path(where.strip()).is_relative_to(folder / "venv")
    return command


def marks_of(installed: Installed) -> Path:
    return installed.binaries.parents[1] / "marks"


@pytest.fixture
def marks(installed: Installed, hostile: Path) -> Path:
    """Where hostile modules leave their marks; empty when the test begins."""
    folder = marks_of(installed)
    for mark in folder.iterdir():
        mark.unlink()
    return folder


@pytest.fixture(scope="module")
def hostile(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of hostile modules in which a home was made and a first version trained."""
    marks = marks_of(installed)
    folder = plant(tmp_path_factory.mktemp("hostile"), HOSTILE, marks)
    shell = [str(installed.binaries / "python"), "-c", "import registry"]
    installed.run(shell, folder)
    assert executed(marks) == ["registry.py"]  # they do leave marks
    (marks / "registry.py").unlink()
    for arguments in (
        ("init", "--unencrypted"),
        ("base", "add", "embedded", "--name", "tiny"),
        ("train", "example/train.yml", *QUICK),
    ):
        installed.run([*installed.script(), *arguments], folder)
    assert executed(marks) == []
    return folder


@pytest.mark.processes
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(
            ("train", "example/train.yml", *QUICK, "name=two", "--nproc", "2"),
            id="train in two processes",
            # `hostile` trained in one; and a script below trains in two, from this folder
            marks=[pytest.mark.cores, pytest.mark.full],
        ),
        pytest.param(
            ("compare", "example/train.yml", *QUICK, "--methods", "lora", "--no-latency"),
            id="compare",
        ),
        pytest.param(
            ("evaluate", "polite-replies:1", "--suite", "house", "--half", "screen"),
            id="evaluate",
            marks=pytest.mark.full,  # it imports what training does, which `hostile` did there
        ),
        pytest.param(("verify", "polite-replies:1"), id="verify"),
    ],
)
def test_a_command_executes_nothing_of_the_folder_it_runs_in_nor_of_its_neighbours(
    installed: Installed, hostile: Path, marks: Path, arguments: tuple[str, ...]
) -> None:
    installed.run([*installed.script(), *arguments], hostile)
    assert executed(marks) == []


@pytest.mark.processes
def test_the_module_run_with_a_safe_path_executes_ours(installed: Installed, hostile: Path, marks: Path) -> None:
    assert "verified" in installed.run([*installed.module(), "verify", "polite-replies:1"], hostile)
    assert executed(marks) == []


@pytest.mark.processes
def test_the_ui_and_loading_through_mlflow_execute_ours(installed: Installed, hostile: Path, marks: Path) -> None:
    with installed.ui(hostile) as address:
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.status == 200
            # our application plugin wrapped MLflow's
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
        load = "import mlflow; mlflow.artifacts.download_artifacts('models:/polite-replies/1', dst_path='copy')"
        installed.run(
            [str(installed.binaries / "python"), "-P", "-c", load],
            hostile,
            MLFLOW_TRACKING_URI=address,
            REGISTRY_HOME=str(hostile / ".registry"),
        )
    assert (hostile / "copy" / "peft" / "adapter_model.safetensors").is_file()
    assert executed(marks) == []


@pytest.mark.processes
@pytest.mark.cores
def test_a_script_of_the_users_starts_no_child_that_executes_what_lies_beside_it_nor_what_lies_where_it_runs(
    installed: Installed, hostile: Path, marks: Path, tmp_path: Path
) -> None:
    """The script's own folder is on its path; that of the processes which train for it is not."""
    ours = tuple(
        name for name in HOSTILE if name.startswith(("trainer", "schemas", "registry", "cli", "sitecustomize"))
    )
    folder = plant(tmp_path / "notebooks", ours, marks)
    arguments = ["train", str(hostile / "example" / "train.yml"), *QUICK, "name=scripted"]
    arguments += ["--nproc", "2", "--home", str(hostile / ".registry")]
    script = folder / "study.py"
    script.write_text(
        f"from peft_registry.cli.main import run\nif __name__ == '__main__':\n    raise SystemExit(run({arguments!r}))\n"
    )
    installed.run([str(installed.binaries / "python"), str(script)], hostile)
    assert executed(marks) == []


@pytest.mark.processes
def test_importing_the_package_loads_nothing_else(installed: Installed, tmp_path: Path) -> None:
    report = (
        "import sys; before = set(sys.modules); import peft_registry; after = set(sys.modules); "
        "import json; print(json.dumps(sorted(after - before)))"
    )
    shown = installed.run([str(installed.binaries / "python"), "-P", "-c", report], tmp_path)
    loaded = set(json.loads(shown))
    assert loaded == {"peft_registry"}


@pytest.mark.full
def test_the_demo_runs_from_the_installed_wheel(installed: Installed, tmp_path: Path) -> None:
    told = installed.run([*installed.script(), "demo"], tmp_path)
    assert "\npulled   polite-replies:1 → demo/pulled  verified\n" in told
    assert "What to type next:" in told
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
