"""`registry verify FOLDER --audit`: what was done again, a line each, and what came of all of it."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from peft_registry.cli import console
from peft_registry.cli.outcome import Line, Note, Outcome, Part

if TYPE_CHECKING:
    from peft_registry.registry.documents.reperformed import Outcome as Again
    from peft_registry.registry.use_cases.audit_folder import FolderAudit

_SIGNS: "dict[Again, str]" = {"reproduced": "=", "within tolerance": "≈", "not possible": "?", "differs": "✗"}


def of_audit(audit: "FolderAudit") -> Outcome:
    """What came of an audit; it ends with 0, 5 or 6."""
    return Outcome(
        {
            "subject": audit.subject,
            "version": audit.version,
            "verdict": audit.verdict,
            "lines": [line.model_dump(mode="json") for line in audit.lines],
            "checks": audit.outcome.model_dump(mode="json")["checks"],
        },
        _lines(audit),
        f"registry record {audit.subject}" if audit.exit_code == 0 else None,
        exit_code=audit.exit_code,
    )


def _lines(audit: "FolderAudit") -> Iterator[Part]:
    # as they are printed: what does not show as itself takes more columns
    figures = [console.printable(line.figure) for line in audit.lines]
    width = max(map(len, figures), default=0)
    for line, figure in zip(audit.lines, figures, strict=True):
        # the file is named where somebody has to look at it
        place = f"  [{line.file}]" if line.outcome == "differs" and line.file else ""
        yield Line(f"{_SIGNS[line.outcome]} {figure:<{width}}  {line.text}{place}", indent=width + 4)
    counts = Counter(line.outcome for line in audit.lines)
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in _SIGNS if counts[outcome])
    yield f"audit    {audit.version or audit.subject}: {told}"
    for line in audit.edited:
        yield f"differs  {line.file or line.figure}: {line.text}"
    yield audit.verdict
    if audit.verdict == "broken":
        yield Note("fix: keep it as evidence, and ask whoever handed it over for another copy")
    elif audit.verdict == "unverified":
        yield Note(
            "fix: ask whoever handed it over for what each ? line lacks, or give --trust FILE where nobody is trusted yet"
        )
