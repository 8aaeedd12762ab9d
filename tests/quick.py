"""The tests of `make quick`: those nearest to what differs from a base, `main` where none is named.

    python -m tests.quick [BASE]

prints a line for each file or folder that pytest is to run. What differs is compared with where the work left the base, and counts
uncommitted and new files. Of each changed room these are its unit tests and the contracts that import it; of the tests, what was
changed among the units and contracts themselves. What else would test the room takes longer: `make test` runs it.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
# inside the others every folder is a room; of these one folder of unit tests holds all
ONE_ROOM = ("schemas", "cli", "docs")
LAYERS = ("cli", "trainer", "registry", "schemas")
# the rules for the pages and the errors of every room
OF_EVERY_ROOM = ("tests/unit/test_architecture.py", "tests/contracts/test_errors.py")


def changed_paths(base: str, *, root: Path = ROOT) -> list[str]:
    """The paths that differ from where HEAD left `base`, with what is not committed."""

    def git(*words: str) -> list[str]:
        done = subprocess.run(["git", *words], cwd=root, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.split("\0")[:-1]

    tracked = git("diff", "--name-only", "--no-renames", "-z", "--merge-base", base)
    return sorted({*tracked, *git("ls-files", "--others", "--exclude-standard", "-z")})


def nearest_tests(changed: Iterable[str], *, root: Path = ROOT) -> list[str]:
    """The files and folders of tests that are nearest to the changed paths."""
    paths = [PurePosixPath(path) for path in changed]
    chosen = {test for path in paths for test in (*_units(path), *_contracts(path, root))}
    if paths:
        chosen |= set(OF_EVERY_ROOM)
    there = sorted(test for test in chosen if (root / test).exists())
    # a file whose folder is run as well would be run twice
    return [test for test in there if not any(str(folder) in there for folder in PurePosixPath(test).parents)]


def _units(path: PurePosixPath) -> Iterator[str]:
    layer, *inside = path.parts
    if layer in ONE_ROOM and path.suffix == ".py":
        yield f"tests/unit/{layer}"
    elif layer in LAYERS and len(inside) > 1:
        yield f"tests/unit/{layer}/{inside[0]}"
    elif path.match("test_*.py") and inside[0] in ("unit", "contracts"):
        yield str(path)


def _contracts(path: PurePosixPath, root: Path) -> Iterator[str]:
    layer, *inside = path.parts
    if layer not in LAYERS or not inside:
        return
    room = re.compile(rf"\bpeft_registry\.{layer}\.{PurePosixPath(inside[0]).stem}\b")
    for file in (root / "tests" / "contracts").glob("test_*.py"):
        if room.search(file.read_text("utf-8")):
            yield file.relative_to(root).as_posix()


if __name__ == "__main__":
    try:
        paths = changed_paths(*(sys.argv[1:] or ["main"]))
    except subprocess.CalledProcessError:  # git said why
        sys.exit("name the branch or commit that your work left, as in `make quick BASE=origin/main`")
    print(*nearest_tests(paths), sep="\n")
