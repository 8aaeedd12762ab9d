"""Building the distributions of this checkout, and a virtual environment that holds one of them, without a network."""

import os
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.processes.interpreter import ROOT

LAYERS = ("schemas", "registry", "trainer", "cli")
_BUILT_FROM = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "src", *LAYERS)
_TIMEOUT_SECONDS = 300


def tracked(*folders: str) -> list[str]:
    """The files of this checkout that git tracks or would add, as paths from its top."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = sorted(set(listed.stdout.split("\0")) - {""})
    return [name for name in names if os.path.lexists(ROOT / name)]


def copy_checkout(destination: Path) -> Path:
    """What the build reads, as git would check it out: links stay links, and nothing that git ignores comes along."""
    for name in tracked(*_BUILT_FROM):
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return destination


def build(kind: str, source: Path, destination: Path) -> Path:
    """Build the `wheel` or the `sdist` of a source tree with the hooks of setuptools, and return the file.

    A virtual environment of Python 3.12 or later brings no setuptools; the extra `test` does.
    """
    destination.mkdir(parents=True, exist_ok=True)
    hook = f"import sys; from setuptools.build_meta import build_{kind} as build; build(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", hook, str(destination)],
        cwd=source,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = destination.iterdir()
    return built


def unpack(sdist: Path, destination: Path) -> Path:
    """The folder that an sdist unpacks into."""
    with tarfile.open(sdist) as archive:
        archive.extractall(destination, filter="data")
    (folder,) = destination.iterdir()
    return folder


def write_wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A wheel of another project that ships these files."""
    info = f"{name}-1.0.dist-info"
    members = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{member},,\n" for member in (*members, f"{info}/RECORD"))
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, text in (members | {f"{info}/RECORD": record}).items():
            archive.writestr(member, text)
    return wheel


def needed_by(requirements: Path) -> dict[str, Distribution]:
    """By name the distributions of this environment that a list of requirements asks for, with all that those ask for."""
    lines = (line.partition("#")[0].strip() for line in requirements.read_text("utf-8").splitlines())
    waiting = [Requirement(line) for line in lines if line]
    asked: set[tuple[str, str]] = set()  # name, extra
    needed: dict[str, Distribution] = {}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        needed[name] = distribution(name)
        for extra in {"", *requirement.extras} - {extra for one, extra in asked if one == name}:
            asked.add((name, extra))
            for line in needed[name].requires or ():
                further = Requirement(line)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    waiting.append(further)
    return needed


def copy_distributions(distributions: Iterable[Distribution], site_packages: Path) -> None:
    """What pip would unpack of each, uncompiled: their files, but for scripts outside of the site folder."""
    for one in distributions:
        for file in one.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = site_packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(str(one.locate_file(file)), target)


def install(wheels: list[Path], venv: Path) -> Path:
    """A virtual environment with these wheels, in which the packages of this one can be imported; returns its `bin`.

    Our own editable installation is not among them: it is reached through a `.pth` file, and Python follows those only in
    the site folders of the environment that runs.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=_TIMEOUT_SECONDS)
    (site_packages,) = venv.glob("lib/python3*/site-packages")
    (site_packages / "heavy-packages.pth").write_text("".join(f"{path}\n" for path in site.getsitepackages()))
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install", "-q"),
            *("--disable-pip-version-check", "--no-index", "--no-deps", "--ignore-installed", *map(str, wheels)),
        ],
        check=True,
        timeout=_TIMEOUT_SECONDS,
    )
    return venv / "bin"
