"""Write the generated pages of `docs/reference`: `python -m docs.generate`, or `--check` that they are what the code says.

    errors.md      every foreseen error, from the source of the four packages
    cli.md         the help text of every command, 80 columns wide
    documents.md   the documents that `registry schema` prints, and the permanent names of statements
    methods.md     the table of methods, with the source of each default

The pages depend on nothing but the code: no clock, no terminal, no order of imports.
"""

import difflib
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from docs.errors_page import errors_page
from docs.tables import table

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
COLUMNS = "80"


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` compare them; the exit code is 1 if a page is stale."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m docs.generate [--check]\n")
        return 2
    stale = {name: text for name, text in pages().items() if _written(name) != text}
    for name, text in stale.items():
        if arguments:
            sys.stdout.write(_difference(name, text))
        else:
            (REFERENCE / name).write_text(text, "utf-8")
            sys.stdout.write(f"wrote    docs/reference/{name}\n")
    if arguments and stale:
        sys.stderr.write(f"error: {', '.join(stale)} are not what the code says\n  fix: make docs\n")
        return 1
    return 0


def pages() -> dict[str, str]:
    """Every generated page by file name."""
    return {
        "errors.md": errors_page(ROOT),
        "cli.md": commands_page(),
        "documents.md": documents_page(),
        "methods.md": methods_page(),
    }


def commands_page() -> str:
    """The help text of the program and of every command."""
    from typer.main import get_command

    from cli.main import app

    program = get_command(app)
    lines = [
        "# Commands",
        "",
        "What `--help` prints. Data goes to stdout and everything else to stderr; `--output json` prints one JSON document for",
        "programs. What the exit codes mean, and every error: [errors](errors.md).",
        "",
        "## registry",
        "",
        "```text",
        help_text(program, "registry"),
        "```",
    ]
    for path, command in commands(program):
        name = " ".join(("registry", *path))
        lines += ["", f"## {name}", "", "```text", help_text(command, name), "```"]
    return "\n".join(lines) + "\n"


def commands(
    group: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:  # typer's command classes are private
    """Every command and its path, groups left out, in the order of `--help`."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def help_text(command: Any, name: str) -> str:
    """What `name --help` prints on a terminal of 80 columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = COLUMNS
    try:
        with redirect_stdout(StringIO()) as text:
            command.main(args=["--help"], prog_name=name, standalone_mode=False)
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())


def documents_page() -> str:
    """What `registry schema` knows, and the names that never change."""
    from schemas.catalog import DOCUMENTS
    from schemas.statement import PREDICATE_TYPES, ROLE_KINDS

    documents = [
        (
            f"`{name}`",
            (document.__doc__ or "").strip().splitlines()[0],
            ", ".join(f"`{info.alias or field}`" for field, info in document.model_fields.items()),
        )
        for name, document in sorted(DOCUMENTS.items())
    ]
    statements = [
        (f"`{kind}`", f"`{name}`", ", ".join(role for role, kinds in ROLE_KINDS.items() if kind in kinds))
        for kind, name in PREDICATE_TYPES.items()
    ]
    lines = [
        "# Documents",
        "",
        "Every document that leaves the program has a JSON Schema: `registry schema NAME` prints it. Signed and stored documents",
        "keep fields that a reader does not know; configuration refuses them.",
        "",
        *table(("Name", "What it is", "Fields"), documents),
        "",
        "## Statements",
        "",
        "A statement is an in-toto Statement v1 about one manifest digest. These names of predicate types are permanent.",
        "",
        *table(("Kind", "Predicate type", "Signed by"), statements),
    ]
    return "\n".join(lines) + "\n"


def methods_page() -> str:
    """The table of methods, and where each default comes from."""
    from trainer.methods import METHODS

    rows = [
        (
            f"`{row.name}`",
            row.summary,
            "yes" if row.mergeable else "no",
            "yes" if row.quantizable else "no",
            row.memory,
            "yes" if row.available else "reserved",
        )
        for row in METHODS.values()
    ]
    advice = [
        (f"`{row.name}`", f"`{one.goal}`", "fits" if one.fits else "does not", one.why)
        for row in METHODS.values()
        for one in row.advice
    ]
    defaults = [
        (f"`{row.name}`", f"`{one.key}`", f"`{one.value}`", one.source)
        for row in METHODS.values()
        for one in row.defaults
    ]
    lines = [
        "# Methods",
        "",
        "`method:` of a training file. A reserved name is refused until its method is there.",
        "",
        *table(("Method", "What it does", "Mergeable", "On 4 bits", "Memory", "Here"), rows),
        "",
        "## Goals",
        "",
        "`goals:` of a training file, and `registry methods --for latency,many_tasks`.",
        "",
        *table(("Method", "Goal", "Fits", "Why"), advice),
        "",
        "## Defaults",
        "",
        *table(("Method", "Key", "Default", "Source"), defaults),
    ]
    return "\n".join(lines) + "\n"


def _written(name: str) -> str:
    path = REFERENCE / name
    return path.read_text("utf-8") if path.exists() else ""


def _difference(name: str, text: str) -> str:
    before, after = _written(name).splitlines(), text.splitlines()
    return "\n".join(difflib.unified_diff(before, after, f"{name} is", f"{name} should be", lineterm="")) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
