"""`registry verify FOLDER --audit`: what was done again, a line each, and what came of all of it."""

from collections import Counter
from typing import TYPE_CHECKING, NoReturn

import typer

from peft_registry.cli import console
from peft_registry.cli.options import Output

if TYPE_CHECKING:
    from peft_registry.registry.documents.reperformed import Outcome as Again
    from peft_registry.registry.use_cases.audit_folder import FolderAudit

_SIGNS: "dict[Again, str]" = {"reproduced": "=", "within tolerance": "≈", "not possible": "?", "differs": "✗"}


def print_audit(audit: "FolderAudit", output: Output) -> NoReturn:
    """Print an audit, and end with 0, 5 or 6."""
    if output is Output.json:
        console.out_json(
            {
                "subject": audit.subject,
                "version": audit.version,
                "verdict": audit.verdict,
                "lines": [line.model_dump(mode="json") for line in audit.lines],
                "checks": audit.outcome.model_dump(mode="json")["checks"],
            }
        )
        raise typer.Exit(audit.exit_code)
    width = max((len(line.figure) for line in audit.lines), default=0)
    for line in audit.lines:
        # the file is named where somebody has to look at it
        place = f"  [{console.printable(line.file)}]" if line.outcome == "differs" and line.file else ""
        text = (
            f"{_SIGNS[line.outcome]} {console.printable(line.figure):<{width}}  {console.printable(line.text)}{place}"
        )
        console.line(text, indent=width + 4)
    counts = Counter(line.outcome for line in audit.lines)
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in _SIGNS if counts[outcome])
    console.line(f"audit    {audit.version or audit.subject}: {told}", indent=9)
    for line in audit.differing:
        console.line(
            f"differs  {console.printable(line.file or line.figure)}: {console.printable(line.text)}", indent=9
        )
    console.line(audit.verdict)
    if audit.exit_code == 0:
        console.next_step(f"registry record {audit.subject}")
    raise typer.Exit(audit.exit_code)
