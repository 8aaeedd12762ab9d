"""Every foreseen error of the program, read from its source without importing it: reference, exit code, sentences.

Reading the source needs none of the packages that the modules import, and shows the sentences as patterns: what an error
takes as a fact appears as `{fact}`.
"""

import ast
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from docs.tables import table
from peft_registry.schemas.errors import reference_of

ROOT_ERROR = "peft_registry.schemas.errors.KnownError"
IMPORT_PACKAGE = "peft_registry"
PACKAGES = ("schemas", "registry", "trainer", "cli")
_SENTENCES = ("what", "why", "fix")
Constant = str | int | float


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """One class as its source states it; `base` is its first base's full name, and empty sentences are the base's own."""

    module: str
    name: str
    base: str
    reference: str | None
    exit_code: int | None
    summary: str
    what: str = ""
    why: str = ""
    fix: str = ""

    @property
    def path(self) -> str:
        """The class's full name."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class KnownErrorEntry:
    """One error as the page lists it. `family` is the class of `schemas/errors.py` it belongs to, itself for a family."""

    error: ErrorClass
    family: str
    reference: str
    exit_code: int
    what: str
    why: str
    fix: str


@cache
def known_errors(root: Path) -> tuple[KnownErrorEntry, ...]:
    """Every subclass of `KnownError` under `root`, by exit code, family and reference."""
    classes = {found.path: found for found in _classes(root)}
    entries = [_entry(one, classes) for one in classes.values() if _leads_to_root(one, classes)]
    return tuple(
        sorted(entries, key=lambda one: (one.exit_code, one.family, one.error.name != one.family, one.reference))
    )


def errors_page(root: Path) -> str:
    """The Markdown page: one table for each family."""
    entries = known_errors(root)
    lines = [
        "# Errors",
        "",
        "Every error that the program foresees. A command that meets one prints three sentences on stderr (what happened,",
        "why, how to go on) and ends with the exit code of the error's family; with `--output json` it prints one object with",
        "`error` (the reference), `what`, `why`, `fix` and `exit`. `{…}` stands for a fact of the case at hand.",
        "",
        "Anything else that stops a command is a bug: exit 1, with a traceback. An interrupted command ends with 130.",
    ]
    for family in entries:
        if family.error.name != family.family:
            continue
        lines += ["", f"## {family.exit_code}: {family.reference}", "", family.error.summary]
        rows = [_row(one) for one in entries if one.family == family.family and one is not family]
        if rows:
            lines += ["", *table(("Reference", "What happened, and why", "How to go on", "From"), rows)]
    return "\n".join(lines) + "\n"


def _row(entry: KnownErrorEntry) -> tuple[str, ...]:
    text = f"{entry.what}: {entry.why}" if entry.what else entry.error.summary
    return f"`{entry.reference}`", text, entry.fix, f"`{entry.error.module.removeprefix(IMPORT_PACKAGE + '.')}`"


def _classes(root: Path) -> Iterator[ErrorClass]:
    trees = dict(_modules(root))
    constants = {f"{module}.{name}": text for module, tree in trees.items() for name, text in _constants(tree)}
    for module, tree in trees.items():
        nodes = list(ast.walk(tree))
        names = _full_names(module, tree, nodes)
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                yield _read_class(node, module, names, constants)


def _modules(root: Path) -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            inside = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            yield f"{IMPORT_PACKAGE}.{inside}", ast.parse(path.read_text("utf-8"), filename=str(path))


def _constants(tree: ast.Module) -> Iterator[tuple[str, Constant]]:
    """The names of a module that stand for one text or number."""
    for name, value in _assigned(tree):
        if isinstance(value, ast.Constant) and isinstance(value.value, str | int | float):
            yield name, value.value


def _full_names(module: str, tree: ast.Module, nodes: Iterable[ast.AST]) -> dict[str, str]:
    """What the names of a module mean elsewhere: its own constants, and what it imports, by any of its nodes."""
    own = {name: f"{module}.{name}" for name, _ in _constants(tree)}
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    return own | imported


def _read_class(
    node: ast.ClassDef, module: str, names: Mapping[str, str], constants: Mapping[str, Constant]
) -> ErrorClass:
    base = node.bases[0].id if node.bases and isinstance(node.bases[0], ast.Name) else ""
    values = dict(_assigned(node))
    reference, exit_code = values.get("reference"), values.get("exit_code")
    return ErrorClass(
        module=module,
        name=node.name,
        base=names.get(base, f"{module}.{base}" if base else ""),
        reference=reference.value if isinstance(reference, ast.Constant) and isinstance(reference.value, str) else None,
        exit_code=exit_code.value if isinstance(exit_code, ast.Constant) and isinstance(exit_code.value, int) else None,
        summary=(ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " "),
        **_sentences(node, {name: constants[full] for name, full in names.items() if full in constants}),
    )


def _assigned(node: ast.ClassDef | ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value


def _sentences(node: ast.ClassDef, constants: Mapping[str, Constant]) -> dict[str, str]:
    """The templates of a class, with the constants of its module filled in."""
    declared = {
        name: _template(value, constants)
        for name, value in _assigned(node)
        if name in _SENTENCES and isinstance(value, ast.Constant | ast.JoinedStr | ast.Name)
    }
    return {name: _plain(text) for name, text in declared.items()}


def _plain(template: str) -> str:
    """A template with `{fact}` for each fact, however it is written out, and its escaped braces as they are shown."""
    parts = string.Formatter().parse(template)
    return "".join(literal + ("" if fact is None else f"{{{fact}}}") for literal, fact, _, _ in parts)


def _template(node: ast.expr, constants: Mapping[str, Constant]) -> str:
    match node:
        case ast.Constant(value=text):
            return str(text)
        case ast.JoinedStr(values=parts):
            return "".join(_template(part, constants) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name), format_spec=spec) if name in constants:
            return format(constants[name], _template(spec, constants) if spec else "")
        case ast.Name(id=name) if name in constants:
            return str(constants[name])
        case ast.FormattedValue(value=ast.Name(id=name)) | ast.Name(id=name):
            return f"{{{name}}}"
        case _:
            raise TypeError(f"a sentence is a text, or one with constants filled in: {ast.unparse(node)}")


def _leads_to_root(one: ErrorClass, classes: Mapping[str, ErrorClass]) -> bool:
    return any(name == ROOT_ERROR for name in _bases(one, classes))


def _bases(one: ErrorClass, classes: Mapping[str, ErrorClass]) -> Iterator[str]:
    seen: set[str] = set()
    while one.base and one.base not in seen:
        seen.add(one.base)
        yield one.base
        if one.base not in classes:
            return
        one = classes[one.base]


def _entry(one: ErrorClass, classes: Mapping[str, ErrorClass]) -> KnownErrorEntry:
    chain = [one, *(classes[name] for name in _bases(one, classes) if name in classes)]

    def first(field: str) -> str:
        return next((text for text in (getattr(link, field) for link in chain) if text), "")

    return KnownErrorEntry(
        error=one,
        family=next(link.name for link in chain if link.base == ROOT_ERROR),
        reference=one.reference or reference_of(one.name),
        exit_code=next(link.exit_code for link in chain if link.exit_code is not None),
        what=first("what"),
        why=first("why"),
        fix=first("fix"),
    )
