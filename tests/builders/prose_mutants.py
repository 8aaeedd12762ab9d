"""Mutants of prose: one sentence of the product changed, and a home that was signed before is verified by what it is then.

`python -m tests.builders.prose_mutants HOME` reads jobs from standard input, a JSON object a line (`file`, `number`), and answers
each with the verdict of every version. Each job runs in a process of its own, forked before anything of the product is imported.
"""

import ast
import importlib.abc
import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

SOURCE = Path(__file__).resolve().parents[2]
MUTATED = ("registry/compliance", "registry/evaluation", "schemas/codes")
"""Where sentences stand that are in what is signed, or are rendered from it."""

_LEAST_WORDS = 2
NOW = "2026-11-24T12:00:00Z"


@dataclass(frozen=True, slots=True)
class Prose:
    """A literal of two words or more: the file that it stands in, its number there, its line and its text."""

    file: str
    number: int
    line: int
    text: str


def prose_of(file: Path) -> list[Prose]:
    """The literals of prose in a file, docstrings left out: nobody reads those from a record."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    name = file.relative_to(SOURCE).as_posix()
    return [Prose(name, number, node.lineno, str(node.value)) for number, node in enumerate(_literals(tree))]


def all_prose() -> list[Prose]:
    """Every literal of prose of the rooms that derive, compute and word."""
    files = sorted(file for folder in MUTATED for file in (SOURCE / folder).rglob("*.py"))
    return [prose for file in files for prose in prose_of(file)]


def sample(count: int, *, seed: int) -> list[Prose]:
    """Some of them, drawn by a seed."""
    return random.Random(seed).sample(all_prose(), count)


def _literals(tree: ast.AST) -> Iterator[ast.Constant]:
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    documented = {
        id(following.value)  # a text below a constant documents it
        for node in ast.walk(tree)
        if isinstance(node, ast.Module)
        for following in node.body
        if isinstance(following, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | documented:
            words = [word for word in node.value.split() if any(letter.isalpha() for letter in word)]
            if len(words) >= _LEAST_WORDS:
                yield node


def mutated_source(file: Path, number: int) -> ast.Module:
    """A module with one of its literals reworded."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for place, node in enumerate(_literals(tree)):
        if place == number:
            words = node.value.split(" ")  # type: ignore[union-attr]  # texts alone are given
            node.value = " ".join(["indeed", *words]) if words[0] else " ".join(["", "indeed", *words[1:]])
            break
    return tree


class _Mutating(SourceFileLoader):
    """Loads one module with a reworded literal."""

    def __init__(self, name: str, path: str, number: int) -> None:
        super().__init__(name, path)
        self._number = number

    def get_code(self, fullname: str) -> CodeType:
        return compile(mutated_source(Path(self.path), self._number), self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    """Finds that module before anybody else does."""

    def __init__(self, file: str, number: int) -> None:
        module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self._name = f"peft_registry.{module}"
        self._path = str(SOURCE / file)
        self._number = number

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        is_package = self._path.endswith("__init__.py")
        loader = _Mutating(fullname, self._path, self._number)
        places = [str(Path(self._path).parent)] if is_package else None
        return importlib.util.spec_from_file_location(
            fullname, self._path, loader=loader, submodule_search_locations=places
        )


def verdicts(home: Path) -> dict[str, str]:
    """The verdict of every version of a home, by label."""
    from peft_registry.registry.database import catalog
    from peft_registry.registry.homes.home import open_home
    from peft_registry.registry.use_cases.verify import verify_version

    registry = open_home(home, clock=lambda: NOW)
    try:
        with registry.database.read() as tx:
            rows = list(catalog.every_version(tx))
        from peft_registry.registry.records.references import version_named

        labels = [f"{row.name}:{row.number}" for row in rows]
        return {
            label: verify_version(registry, version_named(registry, label), look_for_base=False).verdict
            for label in labels
        }
    finally:
        registry.close()


def run_mutants(home: Path, mutants: Iterable[Prose]) -> dict[Prose, dict[str, str]]:
    """The verdicts of a home by each mutant; a mutant that cannot even be imported answers with `error`."""
    mutants = list(mutants)
    jobs = "".join(json.dumps({"file": prose.file, "number": prose.number}) + "\n" for prose in mutants)
    done = subprocess.run(
        [sys.executable, "-m", "tests.builders.prose_mutants", str(home)],
        input=jobs,
        capture_output=True,
        text=True,
        cwd=SOURCE,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(mutants), done.stderr[-2000:]
    return dict(zip(mutants, answers, strict=True))


def _serve(home: Path) -> None:
    """Fork a process for each job; what is not the product's is imported once, before."""
    import alembic.config  # noqa: F401
    import cryptography.hazmat.primitives.asymmetric.ec  # noqa: F401
    import numpy  # noqa: F401
    import pydantic  # noqa: F401
    import rfc8785  # noqa: F401
    import sqlmodel  # noqa: F401
    import yaml  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            sys.meta_path.insert(0, _Finder(job["file"], job["number"]))
            try:
                answer = verdicts(home)
            except BaseException as error:  # a mutant may break anything, and that is its answer
                answer = {"error": f"{type(error).__name__}: {error}"[:300]}
            with os.fdopen(writing, "w") as out:
                out.write(json.dumps(answer))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as told:
            print(told.read(), flush=True)
        os.waitpid(child, 0)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
