"""A wrong rule is seen: unit tests fail for nearly all the small changes that mutmut makes of verdicts, gate and acts."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.conftest import not_run

ROOT = Path(__file__).parents[2]
LEAST = 0.95
VERDICTS = "registry/compliance/verdicts"
FILES = ("registry/gate/reasons.py", "schemas/acts.py")
TESTS = (
    "tests/unit/registry/compliance/verdicts",
    "tests/unit/registry/compliance/test_record_verdicts.py",
    "tests/unit/registry/gate",
    "tests/unit/schemas/test_acts.py",
)
# what a mutant can come to where it is not found
UNSEEN = ("survived", "no tests", "suspicious", "timeout", "not checked", "check was interrupted by user")

# changed line, what it became, and why no answers tell the two apart
EQUIVALENT = {
    ("if own is None or kind is None:", "if own is None and kind is None:"): "the table asks for both before",
    (
        'assert kind is not None, "compute decides only against a threshold"',
        "assert kind is not None, ",
    ): "nobody reads it: a status by compute has a threshold",
    ('raise AssertionError("the last row of the table always holds")', "raise AssertionError("): "no answers reach it",
    (
        'evidence=(canonical_digest(answers.model_dump(mode="json")),),',
        "evidence=(canonical_digest(answers.model_dump(mode=",
    ): ("they are truths and numbers, which every mode leaves as they are"),
    ('return file.read_text(encoding="utf-8")', "return file.read_text(encoding=None)"): "the file is ASCII",
    ('return file.read_text(encoding="utf-8")', 'return file.read_text(encoding="UTF-8")'): "another name of it",
    (
        "yield answers.revised(**dict(zip(names, tried, strict=True)))",
        "yield answers.revised(**dict(zip(names, tried, ",
    ): ("one answer is tried for each name"),
    ("return Field(default=None, exclude_if=lambda value: value is None)", "return Field("): (
        "it is called while the file is imported, before mutmut chooses a change; tests/unit/schemas/test_acts.py fails for each"
    ),
}


def mutated_modules() -> dict[str, str]:
    """Path and dotted name of every module that decides."""
    paths = [*FILES, *(str(path.relative_to(ROOT)) for path in sorted((ROOT / VERDICTS).glob("*.py")))]
    return {path: f"peft_registry.{path.removesuffix('.py').replace('/', '.')}" for path in paths}


def copy_of_the_project(folder: Path) -> Path:
    """What mutmut works in: the code under one real path, without the links, and the tests that are run."""
    shutil.copytree(ROOT / "src" / "peft_registry", folder / "src" / "peft_registry")
    (folder / "tests" / "unit").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "__init__.py", folder / "tests")
    shutil.copytree(ROOT / "tests" / "builders", folder / "tests" / "builders")
    shutil.copytree(ROOT / "tests" / "golden", folder / "tests" / "golden")
    shutil.copytree(ROOT / "tests" / "unit" / "registry", folder / "tests" / "unit" / "registry")
    shutil.copytree(ROOT / "tests" / "unit" / "schemas", folder / "tests" / "unit" / "schemas")
    shutil.copy(ROOT / "tests" / "unit" / "__init__.py", folder / "tests" / "unit")
    settings = (
        "[tool.mutmut]",
        'source_paths = ["src"]',
        f"only_mutate = {[f'src/peft_registry/{path}' for path in mutated_modules()]}",
        'pytest_add_cli_args = ["-p", "no:cacheprovider"]',
        "timeout_constant = 60.0",  # seconds of CPU: nothing here loops, and a busy machine is no test that failed
        f"pytest_add_cli_args_test_selection = {list(TESTS)}",
    )
    (folder / "pyproject.toml").write_text("\n".join(settings) + "\n", encoding="utf-8")
    return folder


def mutmut(folder: Path, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def outcomes(folder: Path) -> dict[str, str]:
    """What each mutant came to, by its name."""
    lines = (line.strip().rpartition(": ") for line in mutmut(folder, "results", "--all", "true").splitlines())
    return {name: outcome for name, _, outcome in lines if name.startswith("peft_registry.")}


def equivalent(changed: list[str]) -> str | None:
    """Why a change is none, from the line before and the beginning of the line after."""
    if len(changed) != 2:
        return None
    before, after = (line[1:].strip() for line in changed)
    return next(
        (why for (line, begins), why in EQUIVALENT.items() if line == before and after.startswith(begins)), None
    )


def test_only_the_changes_that_are_listed_are_called_none():
    line = 'return file.read_text(encoding="utf-8")'
    assert equivalent([f"-    {line}", "+    return file.read_text(encoding=None)"]) == "the file is ASCII"
    assert equivalent([f"-    {line}", '+    return file.read_text(encoding="XXutf-8XX")']) is None
    assert equivalent(["-    if own is None or kind is None:", "+    if own is not None or kind is None:"]) is None


@pytest.mark.full
@pytest.mark.peers
@pytest.mark.timeout(7200)
def test_nearly_every_small_change_of_a_rule_is_seen_by_a_test(tmp_path, capsys):
    if importlib.util.find_spec("mutmut") is None:
        not_run("mutmut is not installed")
    folder = copy_of_the_project(tmp_path / "project")
    mutmut(folder, "run", "--max-children", "2")
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    survivors = []
    for name, outcome in outcomes(folder).items():
        module = name.rpartition(".")[0]
        if outcome not in UNSEEN:
            counts[module][outcome] += 1
            continue
        shown = mutmut(folder, "show", name).splitlines()
        changed = [line for line in shown if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")]
        why = equivalent(changed)
        counts[module][outcome if why is None else "equivalent"] += 1
        survivors.append("\n  ".join((f"{outcome if why is None else f'no change, {why}'}: {name}", *changed)))
    for count in counts.values():
        del count["equivalent"]
    shares = {module: 1 - sum(count[word] for word in UNSEEN) / count.total() for module, count in counts.items()}
    with capsys.disabled():
        print()
        for module, share in shares.items():
            print(f"{module}: {share:.1%} of {counts[module].total()} mutants killed")
        print("\n".join(survivors))
    expected = {name for name in mutated_modules().values() if not name.endswith(".__init__")}
    assert set(shares) == expected
    assert {module for module, share in shares.items() if share < LEAST} == set()
