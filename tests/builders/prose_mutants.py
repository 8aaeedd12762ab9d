"""Mutants of prose: one sentence of the product changed, and a home that was signed before is verified by what it is then.

`python -m tests.builders.prose_mutants HOME` reads jobs from standard input, a JSON object a line (`file`, `number`), and answers
with the verdict of every version as the product is, a line, and as each job leaves it, a line each. Each job has a process of its
own. It is forked at the moment at which its file is asked for the first time: nothing that was imported until then can have read
it, and need not be imported again.

`python -m tests.builders.prose_mutants HOME --at-once` rewords every literal of prose in one process and answers with one line.
Each gets a word of its own: two texts that are equal today, and that something compares, must not stay equal.
"""

import ast
import importlib.abc
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
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
    left_out = docstrings | documented | _annotations(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            words = [word for word in node.value.split() if any(letter.isalpha() for letter in word)]
            if len(words) >= _LEAST_WORDS:
                yield node


def _annotations(tree: ast.AST) -> set[int]:
    """The nodes of annotations: a type in quotes is code, which cannot be reworded."""
    annotations = [node.annotation for node in ast.walk(tree) if isinstance(node, ast.AnnAssign | ast.arg)]
    annotations += [node.returns for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {id(part) for annotation in annotations if annotation is not None for part in ast.walk(annotation)}


def mutated_source(file: Path, words: Mapping[int, str]) -> ast.Module:
    """A module with some of its literals reworded: by number, the word that each of them begins with."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for place, node in enumerate(list(_literals(tree))):
        if place in words:
            text = str(node.value)
            node.value = f" {words[place]}{text}" if text.startswith(" ") else f"{words[place]} {text}"
    return tree


class _Mutating(SourceFileLoader):
    """Loads one module with reworded literals."""

    def __init__(self, name: str, path: str, words: Mapping[int, str]) -> None:
        super().__init__(name, path)
        self._words = words

    def get_code(self, fullname: str) -> CodeType:
        return compile(mutated_source(Path(self.path), self._words), self.path, "exec")


@dataclass(frozen=True, slots=True)
class _Job:
    """A literal to reword: its file, its number there, and which line of the answers is its own."""

    file: str
    number: int
    line: int


def _module_of(file: str) -> str:
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return f"peft_registry.{module}"


class _Forking(importlib.abc.MetaPathFinder):
    """Before a module is imported that jobs reword, forks a process for each, which imports it reworded and goes on from there.

    Attributes:
        answers: of the jobs that were done, by line.
        answer_here: in such a process, where its answer is written; None in the one that forks.
    """

    def __init__(self, jobs: Iterable[_Job]) -> None:
        self.answers: dict[int, str] = {}
        self.answer_here: int | None = None
        self._jobs: dict[str, list[_Job]] = {}
        for job in jobs:
            self._jobs.setdefault(_module_of(job.file), []).append(job)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        for job in self._jobs.pop(fullname, ()):
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reading)
                self.answer_here = writing
                self._jobs.clear()
                return _reworded(fullname, job.file, {job.number: "indeed"})
            os.close(writing)
            with os.fdopen(reading) as told:
                self.answers[job.line] = told.read()
            os.waitpid(child, 0)
        return None


class _RewordingAll(importlib.abc.MetaPathFinder):
    """Imports every module that has literals of prose with all of them reworded."""

    def __init__(self) -> None:
        self._words: dict[str, dict[int, str]] = {}
        for place, prose in enumerate(all_prose()):
            self._words.setdefault(prose.file, {})[prose.number] = f"indeed-{place}"
        self._files = {_module_of(file): file for file in self._words}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        file = self._files.get(fullname)
        return None if file is None else _reworded(fullname, file, self._words[file])


def _reworded(name: str, file: str, words: Mapping[int, str]) -> ModuleSpec | None:
    path = str(SOURCE / file)
    places = [str(Path(path).parent)] if path.endswith("__init__.py") else None
    loader = _Mutating(name, path, words)
    return importlib.util.spec_from_file_location(name, path, loader=loader, submodule_search_locations=places)


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


def run_mutants(home: Path, mutants: Iterable[Prose]) -> tuple[dict[str, str], dict[Prose, dict[str, str]]]:
    """The verdicts of a home by the product as it is, and by each mutant; one that cannot even be imported answers with `error`."""
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
    as_it_was, *answers = (json.loads(line) for line in done.stdout.splitlines())
    assert len(answers) == len(mutants), done.stderr[-2000:]
    return as_it_was, dict(zip(mutants, answers, strict=True))


def run_all_at_once(home: Path) -> dict[str, str]:
    """The verdicts of a home by the product with every sentence reworded."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.builders.prose_mutants", str(home), "--at-once"],
        capture_output=True,
        text=True,
        cwd=SOURCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


def _as_it_is(home: Path) -> tuple[str, list[str]]:
    """The verdicts by the product as it is, as JSON, and every module that gave them, in the order of their imports.

    From a process of its own: here nothing of the product is imported yet.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as out:
            out.write(json.dumps({"verdicts": verdicts(home), "modules": list(sys.modules)}))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        answer = json.load(told)
    os.waitpid(child, 0)
    return json.dumps(answer["verdicts"]), answer["modules"]


def _serve(home: Path) -> None:
    """Answer the jobs. What is not the product's is imported first; a file that no verification imports needs no process."""
    jobs = [_Job(**json.loads(text), line=line) for line, text in enumerate(sys.stdin)]
    as_it_is, modules = _as_it_is(home)
    own = [name for name in modules if name.partition(".")[0] == "peft_registry"]
    for name in modules:
        if name not in own:
            with suppress(ImportError):  # some packages enter names that are not modules of theirs
                importlib.import_module(name)
    forking = _Forking(jobs)
    sys.meta_path.insert(0, forking)
    try:
        for name in own:
            importlib.import_module(name)
        if forking.answer_here is not None:
            answer = json.dumps(verdicts(home))
    except BaseException as error:  # a mutant may break anything, and that is its answer
        if forking.answer_here is None:
            raise
        answer = json.dumps({"error": f"{type(error).__name__}: {error}"[:300]})
    if forking.answer_here is not None:
        with os.fdopen(forking.answer_here, "w") as out:
            out.write(answer)
        os._exit(0)
    print(as_it_is)
    for job in jobs:
        print(forking.answers.get(job.line, as_it_is))


if __name__ == "__main__":
    if sys.argv[2:] == ["--at-once"]:
        sys.meta_path.insert(0, _RewordingAll())
        print(json.dumps(verdicts(Path(sys.argv[1]))))
    else:
        _serve(Path(sys.argv[1]))
