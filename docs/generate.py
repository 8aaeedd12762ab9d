"""Write the generated pages of `docs/reference`: `python -m docs.generate`, or `--check` that they are what the code says.

    errors.md      every foreseen error, from the source of the four packages
    cli.md         the help text of every command, 80 columns wide
    codes.md       the codes in place of prose that signed documents hold, each with its sentence
    documents.md   the documents that `registry schema` prints, and the permanent names of statements
    checks.md      the ten steps of `registry verify`
    methods.md     the table of methods, with the source of each default
    modification-record.md  every field of the modification record, its clause, and who answers it
    record-forms.md  which fields of the modification record answer which row of the annexes and forms
    architectures.md  which families of models train, merge, evaluate and quantise, from a kept result
    ../compliance/bias-metrics.md        every figure of every suite, its neutral point and its defects
    ../explanation/claims.md             popular claims against the results kept in `docs/measured`
    ../explanation/suites-on-smollm2.md  every suite before and after one run, from records kept there
    ../../trainer/evaluation/suites/house-2.jsonl  the sentences of `house`, from `docs/house-pairs.yml`
    ../explanation/nearness.md           false accusations and edited texts that are found, from a kept result
    ../explanation/mitigation.md         what training against stereotypes changed, from a kept result
    ../explanation/adversary.md          attempts to be called better without being it, from a kept result
    ../explanation/other-tools.md        what other tools say of one adapter and one merge, and what they take for everyday tasks
    ../explanation/operating-characteristics.md  what each suite can show, from a kept simulation
    ../explanation/intervals.md          how often each kind of interval covers what it should, from a kept simulation
    ../explanation/methods-compared.md   those results as tables, and the learning rates that were measured

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

from docs.adversary_page import adversary_page
from docs.architectures_page import architectures_page
from docs.codes_page import codes_page
from docs.comparisons_page import comparisons_page
from docs.coverage_page import coverage_page
from docs.errors_page import errors_page
from docs.everyday_page import everyday_section
from docs.fields_page import fields_page
from docs.forms_page import forms_page
from docs.house_pairs import house_rows
from docs.methods_page import methods_page
from docs.metrics_page import metrics_page
from docs.mitigation_page import mitigation_page
from docs.nearness_page import nearness_page
from docs.operating_page import operating_page
from docs.rivals_page import rivals_page
from docs.suites_page import suites_page
from docs.tables import table
from peft_registry.registry.compliance.fields import field_rules

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
MEASURED = ROOT / "docs" / "measured"
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
            sys.stdout.write(f"wrote    {(REFERENCE / name).resolve().relative_to(ROOT)}\n")
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
        "checks.md": checks_page(),
        "codes.md": codes_page(),
        "methods.md": methods_page(),
        "modification-record.md": fields_page(field_rules()),
        "record-forms.md": forms_page(MEASURED / "answered-forms.json"),
        "architectures.md": architectures_page(MEASURED / "architectures.json"),
        "../compliance/bias-metrics.md": metrics_page(),
        "../explanation/claims.md": claims(),
        "../explanation/methods-compared.md": comparisons_page(MEASURED),
        "../explanation/intervals.md": coverage_page(MEASURED / "coverage.json"),
        "../explanation/operating-characteristics.md": operating_page(),
        "../explanation/other-tools.md": rivals_page(MEASURED / "rivals.json")
        + everyday_section(MEASURED / "everyday.json"),
        "../explanation/nearness.md": nearness_page(MEASURED / "nearness.json"),
        "../explanation/adversary.md": adversary_page(MEASURED / "adversary.json"),
        "../explanation/mitigation.md": mitigation_page(MEASURED / "mitigation.json"),
        "../explanation/suites-on-smollm2.md": suites_page(MEASURED / "suites-smollm2.jsonl"),
        "../../trainer/evaluation/suites/house-2.jsonl": house_rows(ROOT / "docs" / "house-pairs.yml"),
    }


def checks_page() -> str:
    """The steps of the verification checklist, and what each may find."""
    from peft_registry.registry.verification.checklist import CHECKLIST

    rows = [
        (
            str(step.number),
            f"`{step.name}`",
            step.holds,
            "yes" if step.required else "when demanded",
        )
        for step in CHECKLIST
    ]
    lines = [
        "# The checks of `registry verify`",
        "",
        "`failed` in any step makes the verdict *broken* (exit code 6). A required step that is not `ok` makes it",
        "*unverified* (5). `recorded`: the digest is signed, the bytes are not here.",
        "",
        *table(("Step", "Name", "It is `ok` when", "Required"), rows),
        "",
    ]
    return "\n".join(lines)


def commands_page() -> str:
    """The help text of the program and of every command."""
    from typer.main import get_command

    from peft_registry.cli.main import app

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
    """Every command and its path, in the order of `--help`; a group that is not a command itself is left out."""
    for name, command in group.commands.items():
        if getattr(command, "invoke_without_command", True):
            yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


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
    from peft_registry.schemas.catalog import DOCUMENTS
    from peft_registry.schemas.statement import KINDS, PREDICATE_TYPES, ROLE_KINDS

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
        for name, kind in sorted(KINDS.items(), key=lambda row: list(PREDICATE_TYPES).index(row[1]))
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
        "A statement is an in-toto Statement v1 about one manifest digest. These names of predicate types are permanent; of a kind",
        "that has several, the newest is written and all are read.",
        "",
        *table(("Kind", "Predicate type", "Signed by"), statements),
    ]
    return "\n".join(lines) + "\n"


def claims() -> str:
    """What kept results say about popular claims: `python -m docs.claims` prints the same."""
    from docs.claims.judging import claims_page, judge_claims

    return claims_page(judge_claims(MEASURED / "claims.yml"))


def _written(name: str) -> str:
    path = REFERENCE / name
    return path.read_text("utf-8") if path.exists() else ""


def _difference(name: str, text: str) -> str:
    before, after = _written(name).splitlines(), text.splitlines()
    return "\n".join(difflib.unified_diff(before, after, f"{name} is", f"{name} should be", lineterm="")) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
